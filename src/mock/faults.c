/* faults.c - reading fault orders and deciding about requests. */
#include "faults.h"

#include "clock.h"
#include "mem.h"
#include "text.h"

#include <stdlib.h>

struct fault_rate { /* a token bucket */
    double tokens;
    int64_t filled_mono_us;
};

const char *fault_name(enum fault_kind kind) {
    static const char *const names[FAULT_COUNT] = {
        [FAULT_LATENCY] = "latency", [FAULT_SLOWDOWN] = "slowdown", [FAULT_ERROR] = "error",
        [FAULT_RESET] = "reset",     [FAULT_STALL] = "stall",       [FAULT_TRUNCATE] = "truncate",
        [FAULT_BADSUM] = "badsum",   [FAULT_BADXML] = "badxml",     [FAULT_OVERWRITE] = "overwrite",
        [FAULT_DENY] = "deny",       [FAULT_USER] = "user",
    };
    return names[kind];
}

/* ---- values ---- */

static int parse_real(struct bytes value, double least, double most, double *ret_value) {
    char text[32];
    if (value.n == 0 || value.n >= sizeof(text))
        return -EINVAL;
    for (size_t i = 0; i < value.n; i++) /* plain decimals only: strtod knows more */
        if (!(value.p[i] >= '0' && value.p[i] <= '9') && value.p[i] != '.')
            return -EINVAL;
    memcpy(text, value.p, value.n);
    text[value.n] = '\0';
    char *end;
    double number = strtod(text, &end);
    if (*end || number < least || number > most)
        return -EINVAL;
    *ret_value = number;
    return 0;
}

static int set_ms(struct bytes value, int64_t *ret_us) {
    double ms;
    int r = parse_real(value, 0, 3600e3, &ms);
    if (r == 0)
        *ret_us = (int64_t)(ms * 1000);
    return r;
}

static int set_glob(struct bytes value, struct bytes *ret_glob) {
    *ret_glob = value;
    return text_glob_check(value);
}

static int set_text(struct bytes value, struct bytes *ret_text) {
    *ret_text = value;
    return value.n ? 0 : -EINVAL;
}

static int set_count(struct bytes value, uint64_t least, uint64_t *ret_number) {
    int r = text_parse_u64(value, ret_number);
    return r == 0 && *ret_number < least ? -EINVAL : r;
}

/* ---- parameters: which kinds take them, and how ---- */

#define BIT(kind) (1U << (kind))
#define FAULTS (BIT(FAULT_DENY) - 1)
#define BODIES (BIT(FAULT_RESET) | BIT(FAULT_STALL) | BIT(FAULT_TRUNCATE))

static int set_op(struct fault *fault, struct bytes value) {
    fault->ops = 0;
    while (value.n) {
        const char *comma = memchr(value.p, ',', value.n);
        size_t n = comma ? (size_t)(comma - value.p) : value.n;
        uint32_t set = op_set(bytes_of(value.p, n));
        if (!set)
            return -EINVAL;
        fault->ops |= set;
        n += comma ? 1 : 0;
        value = bytes_of(value.p + n, value.n - n);
    }
    return fault->ops ? 0 : -EINVAL;
}

static int set_bucket(struct fault *fault, struct bytes value) {
    return set_glob(value, &fault->bucket);
}

static int set_key(struct fault *fault, struct bytes value) {
    return set_glob(value, &fault->key);
}

static int set_prefix(struct fault *fault, struct bytes value) {
    return set_text(value, &fault->prefix);
}

static int set_p(struct fault *fault, struct bytes value) {
    return parse_real(value, 0, 1, &fault->p);
}

static int set_every(struct fault *fault, struct bytes value) {
    return set_count(value, 1, &fault->every);
}

static int set_max(struct fault *fault, struct bytes value) {
    return set_count(value, 1, &fault->count);
}

static int set_skip(struct fault *fault, struct bytes value) {
    return set_count(value, 0, &fault->skip);
}

static int set_seed(struct fault *fault, struct bytes value) {
    uint64_t seed;
    int r = text_parse_u64(value, &seed);
    if (r == 0)
        rng_seed(&fault->rng, seed);
    return r;
}

static int set_delay(struct fault *fault, struct bytes value) {
    return set_ms(value, &fault->delay_us);
}

static int set_jitter(struct fault *fault, struct bytes value) {
    return set_ms(value, &fault->jitter_us);
}

static int set_rate(struct fault *fault, struct bytes value) {
    return parse_real(value, 0, 1e9, &fault->rate);
}

static int set_burst(struct fault *fault, struct bytes value) {
    return parse_real(value, 1, 1e9, &fault->burst);
}

static int set_status(struct fault *fault, struct bytes value) {
    uint64_t status;
    if (text_parse_u64(value, &status) < 0 || status < 400 || status > 599)
        return -EINVAL;
    fault->status = (int)status;
    return 0;
}

static int set_code(struct fault *fault, struct bytes value) {
    fault->code = value;
    for (size_t i = 0; i < value.n; i++)
        if (!((value.p[i] | 32) >= 'a' && (value.p[i] | 32) <= 'z'))
            return -EINVAL;
    return value.n && value.n <= 64 ? 0 : -EINVAL;
}

static int set_after(struct fault *fault, struct bytes value) {
    return text_parse_u64(value, &fault->after);
}

static int set_applied(struct fault *fault, struct bytes value) {
    return text_parse_bool(value, &fault->applied);
}

static int set_where(struct fault *fault, struct bytes value) {
    fault->in_header = bytes_equal(value, BYTES("header"));
    return fault->in_header || bytes_equal(value, BYTES("body")) ? 0 : -EINVAL;
}

static int set_how(struct fault *fault, struct bytes value) {
    if (bytes_equal(value, BYTES("cut")))
        fault->badxml = BADXML_CUT;
    else if (bytes_equal(value, BYTES("junk")))
        fault->badxml = BADXML_JUNK;
    else if (bytes_equal(value, BYTES("error")))
        fault->badxml = BADXML_ERROR;
    else
        return -EINVAL;
    return 0;
}

static int set_access(struct fault *fault, struct bytes value) {
    return fault->kind == FAULT_DENY ? set_glob(value, &fault->access) : set_text(value, &fault->access);
}

static int set_secret(struct fault *fault, struct bytes value) {
    return set_text(value, &fault->secret);
}

static int set_token(struct fault *fault, struct bytes value) {
    return set_text(value, &fault->token);
}

static int set_expired(struct fault *fault, struct bytes value) {
    return text_parse_bool(value, &fault->expired);
}

static int set_action(struct fault *fault, struct bytes value) {
    return set_glob(value, &fault->action);
}

static const struct parameter {
    const char *name;
    uint32_t kinds;
    bool required;
    int (*set)(struct fault *fault, struct bytes value);
    const char *wants;
} parameters[] = {
    {"op", FAULTS, false, set_op, "operations such as get,delete, or any, read, write"},
    {"bucket", FAULTS | BIT(FAULT_DENY), false, set_bucket, "a glob"},
    {"key", FAULTS | BIT(FAULT_DENY), false, set_key, "a glob"},
    {"prefix", FAULTS, false, set_prefix, "a text"},
    {"p", FAULTS, false, set_p, "a number from 0 to 1"},
    {"every", FAULTS, false, set_every, "a number from 1"},
    {"count", FAULTS, false, set_max, "a number from 1"},
    {"after-n", FAULTS, false, set_skip, "a number"},
    {"seed", FAULTS, false, set_seed, "a number"},
    {"ms", BIT(FAULT_LATENCY), true, set_delay, "milliseconds"},
    {"jitter", BIT(FAULT_LATENCY), false, set_jitter, "milliseconds"},
    {"rate", BIT(FAULT_SLOWDOWN), true, set_rate, "requests a second"},
    {"burst", BIT(FAULT_SLOWDOWN), false, set_burst, "a number from 1"},
    {"status", BIT(FAULT_ERROR), true, set_status, "an HTTP status from 400 to 599"},
    {"code", BIT(FAULT_ERROR), false, set_code, "an error code of letters"},
    {"applied", BIT(FAULT_ERROR) | BIT(FAULT_RESET), false, set_applied, "yes or no"},
    {"after", BODIES, false, set_after, "a number of bytes"},
    {"where", BIT(FAULT_BADSUM), false, set_where, "body or header"},
    {"how", BIT(FAULT_BADXML), false, set_how, "cut, junk or error"},
    {"access", BIT(FAULT_DENY) | BIT(FAULT_USER), true, set_access, "an access key id"},
    {"secret", BIT(FAULT_USER), true, set_secret, "a secret key"},
    {"token", BIT(FAULT_USER), false, set_token, "a session token"},
    {"expired", BIT(FAULT_USER), false, set_expired, "yes or no"},
    {"action", BIT(FAULT_DENY), true, set_action, "a glob such as s3:DeleteObject"},
};
#define N_PARAMETERS (sizeof(parameters) / sizeof(parameters[0]))

/* ---- reading ---- */

static void fault_free(struct fault *fault) {
    if (!fault)
        return;
    size_t at = 0;
    struct bytes name;
    void *rate;
    while (map_next(&fault->rates, &at, &name, &rate))
        mem_free(rate);
    map_free(&fault->rates);
    mem_free(fault->order);
    if (fault->text)
        explicit_bzero(fault->text, strlen(fault->text));
    mem_free(fault->text);
    mem_free(fault);
}

/* The next word at *at: up to a space outside of quotes. Quotes are removed in place, '\' takes the next byte as it is.
 * 1, 0 at the end, -EINVAL for an open quote. */
static int next_word(char **at, struct bytes *ret_word) {
    char *from = *at;
    while (*from == ' ' || *from == '\t')
        from++;
    if (!*from)
        return 0;
    char *to = from, *word = from;
    bool quoted = false;
    for (; *from && (quoted || (*from != ' ' && *from != '\t')); from++) {
        if (*from == '"')
            quoted = !quoted;
        else if (*from == '\\' && quoted && from[1])
            *to++ = *++from;
        else
            *to++ = *from;
    }
    if (quoted)
        return -EINVAL;
    *at = *from ? from + 1 : from;
    *ret_word = bytes_of(word, (size_t)(to - word));
    return 1;
}

static int set_parameter(struct fault *fault, struct bytes word, uint32_t *seen, struct err *err) {
    const char *equals = word.n ? memchr(word.p, '=', word.n) : NULL;
    struct bytes name = bytes_of(word.p, equals ? (size_t)(equals - word.p) : word.n);
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        const struct parameter *parameter = &parameters[i];
        if (!bytes_equal(bytes_str(parameter->name), name) || !(parameter->kinds & BIT(fault->kind)))
            continue;
        if (*seen & 1U << i)
            return err_set(err, -EINVAL, "\"%s\" is given twice", parameter->name);
        *seen |= 1U << i;
        if (!equals || parameter->set(fault, bytes_of(equals + 1, word.n - name.n - 1)) < 0)
            return err_set(err, -EINVAL, "\"%s\" must be %s", parameter->name, parameter->wants);
        return 0;
    }
    return err_set(err, -EINVAL, "%s does not take \"%.*s\"", fault_name(fault->kind), (int)(name.n < 64 ? name.n : 64),
                   name.p);
}

/* Where a kind can have an effect at all. */
static uint32_t default_ops(enum fault_kind kind) {
    switch (kind) {
    case FAULT_STALL:
    case FAULT_TRUNCATE:
    case FAULT_BADSUM:
    case FAULT_OVERWRITE:
        return 1U << OP_GET;
    case FAULT_BADXML:
        return 1U << OP_LIST | 1U << OP_LIST_BUCKETS | 1U << OP_LIST_VERSIONS | 1U << OP_DELETE_OBJECTS;
    default:
        return op_set(BYTES("any"));
    }
}

static int parse_words(struct fault *fault, struct err *err) {
    char *at = fault->text;
    struct bytes word = BYTES_NONE;
    int r = next_word(&at, &word);
    if (r < 0)
        return err_set(err, r, "a quote is not closed");
    int kind = 0;
    while (kind < FAULT_COUNT && !bytes_equal(bytes_str(fault_name((enum fault_kind)kind)), word))
        kind++;
    if (kind == FAULT_COUNT)
        return err_set(err, -EINVAL,
                       "it must start with latency, slowdown, error, reset, stall, truncate, badsum, badxml, "
                       "overwrite, deny or user");
    fault->kind = (enum fault_kind)kind;
    fault->badxml = kind == FAULT_BADXML ? BADXML_CUT : BADXML_NONE;
    fault->ops = default_ops(fault->kind);
    uint32_t seen = 0;
    while ((r = next_word(&at, &word)) > 0) {
        r = set_parameter(fault, word, &seen, err);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return err_set(err, r, "a quote is not closed");
    for (size_t i = 0; i < N_PARAMETERS; i++)
        if (parameters[i].required && parameters[i].kinds & BIT(fault->kind) && !(seen & 1U << i))
            return err_set(err, -EINVAL, "%s needs \"%s\"", fault_name(fault->kind), parameters[i].name);
    if (fault->kind == FAULT_SLOWDOWN && fault->burst == 0)
        fault->burst = fault->rate > 10 ? fault->rate / 10 : 1;
    return 0;
}

static int order_text(struct fault *fault, struct bytes order) {
    if (fault->kind == FAULT_USER) {
        struct buf shown = {0};
        if (buf_add_str(&shown, "user access=") < 0 || buf_add_bytes(&shown, fault->access) < 0) {
            buf_free(&shown);
            return -ENOMEM;
        }
        fault->order = buf_detach(&shown);
    } else {
        fault->order = mem_memdup(order.p, order.n);
    }
    return fault->order ? 0 : -ENOMEM;
}

static int fault_new(struct bytes order, uint64_t seed, struct fault **ret_fault, struct err *err) {
    if (order.n > FAULT_ORDER_MAX)
        return err_set(err, -E2BIG, "fault order: longer than %d bytes", FAULT_ORDER_MAX);
    if (memchr(order.p, '\0', order.n))
        return err_set(err, -EINVAL, "fault order: holds a NUL");
    struct fault *fault = mem_zalloc(sizeof(*fault));
    if (!fault)
        return err_set(err, -ENOMEM, "fault order: out of memory");
    fault->p = 1;
    rng_seed(&fault->rng, seed);
    fault->text = mem_memdup(order.p, order.n);
    int r = fault->text ? parse_words(fault, err) : err_set(err, -ENOMEM, "out of memory");
    if (r == 0 && order_text(fault, order) < 0)
        r = err_set(err, -ENOMEM, "out of memory");
    if (r < 0) {
        /* A wrong `user` order may hold a secret, so only its first word is quoted. */
        bool secret = bytes_starts(order, BYTES("user"));
        err_prefix(err, "fault order \"%.*s\"", secret ? 4 : (int)(order.n < 200 ? order.n : 200), order.p);
        fault_free(fault);
        return r;
    }
    *ret_fault = fault;
    return 0;
}

static void count_ops(struct faults *faults) {
    faults->ops = 0;
    for (size_t i = 0; i < faults->n; i++)
        if (faults->list[i]->kind < FAULT_DENY)
            faults->ops |= faults->list[i]->ops;
}

/* Up to a newline or ';' outside of quotes; a comment up to the newline. */
static struct bytes next_order(struct bytes *rest) {
    bool quoted = false, comment = bytes_starts(bytes_trim(*rest), BYTES("#"));
    size_t n = 0;
    while (n < rest->n && (rest->p[n] == ' ' || rest->p[n] == '\n'))
        n++;
    for (; n < rest->n; n++) {
        char c = rest->p[n];
        if (c == '\n' || (c == ';' && !quoted && !comment))
            break;
        if (c == '"')
            quoted = !quoted;
        else if (c == '\\' && quoted && n + 1 < rest->n && rest->p[n + 1] != '\n')
            n++;
    }
    struct bytes order = bytes_trim(bytes_of(rest->p, n));
    n += n < rest->n ? 1 : 0;
    *rest = bytes_of(rest->p + n, rest->n - n);
    return order;
}

int faults_add(struct faults *faults, struct bytes text, uint64_t seed, struct err *err) {
    size_t before = faults->n;
    int r = 0;
    while (r == 0 && text.n) {
        struct bytes order = next_order(&text);
        if (order.n == 0 || order.p[0] == '#')
            continue;
        if (faults->n == FAULTS_MAX)
            r = err_set(err, -E2BIG, "more than %d fault orders", FAULTS_MAX);
        else
            r = fault_new(order, seed + faults->n, &faults->list[faults->n], err);
        if (r == 0)
            faults->list[faults->n++]->generation = ++faults->generation;
    }
    while (r < 0 && faults->n > before)
        fault_free(faults->list[--faults->n]);
    count_ops(faults);
    return r;
}

void faults_clear(struct faults *faults) {
    while (faults->n)
        fault_free(faults->list[--faults->n]);
    faults->ops = 0;
}

/* ---- deciding ---- */

static bool selects(const struct fault *fault, struct bytes bucket, struct bytes key) {
    if (fault->bucket.p && !text_glob(fault->bucket, bucket))
        return false;
    if (fault->key.p && !text_glob(fault->key, key))
        return false;
    return bytes_starts(key, fault->prefix);
}

/* Takes one request from the bucket's allowance; true when there was none left. Without memory nobody is slowed down.
 */
static bool over_rate(struct fault *fault, struct bytes bucket, int64_t now_mono_us) {
    struct fault_rate *rate = map_get(&fault->rates, bucket);
    if (!rate) {
        rate = mem_alloc(sizeof(*rate));
        if (!rate)
            return false;
        *rate = (struct fault_rate){fault->burst, now_mono_us};
        if (map_put(&fault->rates, bucket, rate) < 0) {
            mem_free(rate);
            return false;
        }
    }
    rate->tokens += (double)(now_mono_us - rate->filled_mono_us) / (double)US_PER_S * fault->rate;
    rate->filled_mono_us = now_mono_us;
    if (rate->tokens > fault->burst)
        rate->tokens = fault->burst;
    if (rate->tokens < 1)
        return true;
    rate->tokens -= 1;
    return false;
}

static bool fires(struct fault *fault) {
    fault->matched++;
    if (fault->count && fault->fired >= fault->count)
        return false;
    if (fault->matched <= fault->skip)
        return false;
    if (fault->every && (fault->matched - fault->skip) % fault->every)
        return false;
    if (fault->p < 1 && rng_unit(&fault->rng) >= fault->p)
        return false;
    return true;
}

static void apply(struct fault *fault, struct fault_plan *plan) {
    switch (fault->kind) {
    case FAULT_LATENCY:
        plan->delay_us += fault->delay_us;
        if (fault->jitter_us)
            plan->delay_us += (int64_t)rng_below(&fault->rng, (uint64_t)fault->jitter_us + 1);
        break;
    case FAULT_SLOWDOWN:
        plan->verdict = PLAN_ERROR;
        plan->status = 503;
        plan->code = BYTES("SlowDown");
        break;
    case FAULT_ERROR:
        plan->verdict = PLAN_ERROR;
        plan->status = fault->status;
        plan->code = fault->code;
        plan->applied = fault->applied;
        break;
    case FAULT_RESET:
        if (fault->after) {
            plan->reset_after = fault->after;
        } else {
            plan->verdict = PLAN_RESET;
            plan->applied = fault->applied;
        }
        break;
    case FAULT_STALL:
        plan->stall_after = fault->after;
        break;
    case FAULT_TRUNCATE:
        plan->truncate_after = fault->after;
        break;
    case FAULT_BADSUM:
        plan->badsum_header |= fault->in_header;
        plan->badsum_body |= !fault->in_header;
        break;
    case FAULT_BADXML:
        plan->badxml = fault->badxml;
        break;
    case FAULT_OVERWRITE:
        plan->overwrite = true;
        break;
    case FAULT_DENY:
    case FAULT_USER:
    case FAULT_COUNT:
        break;
    }
}

void faults_plan(struct faults *faults, enum op op, struct bytes bucket, struct bytes key, int64_t now_mono_us,
                 struct fault_plan *ret_plan) {
    *ret_plan =
        (struct fault_plan){.reset_after = FAULT_NEVER, .stall_after = FAULT_NEVER, .truncate_after = FAULT_NEVER};
    if (!(faults->ops & 1U << op))
        return;
    for (size_t i = 0; i < faults->n; i++) {
        struct fault *fault = faults->list[i];
        if (fault->kind >= FAULT_DENY || !(fault->ops & 1U << op) || !selects(fault, bucket, key))
            continue;
        if (ret_plan->verdict != PLAN_SERVE && fault->kind != FAULT_LATENCY)
            continue; /* the first verdict stands, and the others do not count as fired */
        if (fault->kind == FAULT_SLOWDOWN && !over_rate(fault, bucket, now_mono_us))
            continue;
        if (!fires(fault))
            continue;
        fault->fired++;
        faults->fired[fault->kind]++;
        ret_plan->any = true;
        apply(fault, ret_plan);
    }
}

const struct fault *faults_user(const struct faults *faults, struct bytes access) {
    for (size_t i = 0; i < faults->n; i++)
        if (faults->list[i]->kind == FAULT_USER && bytes_equal(faults->list[i]->access, access))
            return faults->list[i];
    return NULL;
}

bool faults_denied(struct faults *faults, struct bytes access, struct bytes action, struct bytes bucket,
                   struct bytes key) {
    for (size_t i = 0; i < faults->n; i++) {
        struct fault *fault = faults->list[i];
        if (fault->kind != FAULT_DENY || !text_glob(fault->access, access) || !text_glob(fault->action, action) ||
            !selects(fault, bucket, key))
            continue;
        fault->matched++;
        fault->fired++;
        faults->fired[FAULT_DENY]++;
        return true;
    }
    return false;
}
