/* reload.c - SIGHUP: the configuration file is read again, with the command line and the variables as they were.
 *
 * What decides about objects takes effect with the next one: rules, handlers, include, exclude, min_age, retries,
 * timeout, the log's level. What the parts of froe were made with (slots, store, cron ...) needs a restart, and is
 * named. A file that is wrong changes nothing. */
#include "plan.h"

#include "config_rules.h"
#include "doc.h"
#include "mem.h"
#include "options_table.h"

struct reload {
    uv_signal_t signal;
    const struct options *given; /* of the program's start */
    struct plans *plans;
    struct pipeline *pipeline;
    struct log *log;
};

static bool takes_effect(const struct option *option) {
    static const char *const names[] = {"include",         "exclude",   "min-age",       "retries",
                                        "timeout",         "discard",   "log-level",     "pool",
                                        "pool-workers",    "pool-body", "pool-recycle",  "pool-memory",
                                        "memory",          "confine",   "allow-network", "allow-write",
                                        "limit-memory",    "limit-cpu", "limit-files",   "limit-processes",
                                        "limit-file-size", "nice",      "output",        "then"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(option->name, names[i]) == 0)
            return true;
    return false;
}

static bool same(const struct options *a, const struct options *b, const struct option *option) {
    const void *x = (const char *)a + option->offset, *y = (const char *)b + option->offset;
    switch (option->kind) {
    case KIND_FLAG:
        return *(const bool *)x == *(const bool *)y;
    case KIND_POOL_BODY:
        return a->pool_body == b->pool_body;
    case KIND_U32:
        return *(const uint32_t *)x == *(const uint32_t *)y;
    case KIND_U64:
    case KIND_SIZE:
    case KIND_DURATION:
        return *(const uint64_t *)x == *(const uint64_t *)y;
    case KIND_LOG:
        return a->log_format_set == b->log_format_set && a->log_format == b->log_format;
    case KIND_LEVEL: /* take effect, or are in no file */
    case KIND_GLOB:
    case KIND_CONFINE:
    case KIND_DIRECTORIES:
    case KIND_STATES:
    case KIND_META:
    case KIND_OUTPUT:
    case KIND_THEN:
    case KIND_TIME:
        return true;
    case KIND_PREFIX:
    case KIND_TEXT:
    case KIND_CRON:
    case KIND_STORE:
        break;
    }
    const char *text = *(const char *const *)x, *other = *(const char *const *)y;
    return text == other || (text && other && strcmp(text, other) == 0);
}

/* The next rule with a cap of its own, from there on. */
static bool next_cap(const struct config_rules *rules, size_t *at) {
    while (rules && *at < rules->n && !rules->rules[*at].has_cap)
        ++*at;
    return rules && *at < rules->n;
}

static bool same_buckets(const struct rule_globs *a, const struct rule_globs *b) {
    bool same = a->n == b->n;
    for (size_t i = 0; i < a->n && same; i++)
        same = strcmp(a->globs[i], b->globs[i]) == 0;
    return same;
}

static bool same_caps(const struct config_rules *a, const struct config_rules *b) {
    size_t i = 0, j = 0;
    bool more = next_cap(a, &i), same = next_cap(b, &j) == more;
    while (same && more) {
        same = a->rules[i].cap == b->rules[j].cap && same_buckets(&a->matches[i].buckets, &b->matches[j].buckets);
        i++, j++;
        more = next_cap(a, &i);
        same &= next_cap(b, &j) == more;
    }
    return same;
}

/* Against what the program was started with, as that is still in force. */
static void name_what_waits(const struct reload *reload, const struct options *fresh, struct buf *names) {
    for (size_t o = 0; o < n_options; o++) {
        const struct option *option = &option_table[o];
        char key[OPTION_KEY_MAX];
        if (option_in_file(option) && !takes_effect(option) && !same(reload->given, fresh, option))
            buf_printf(names, "%s%s", names->n ? ", " : "", option_key(option, key));
    }
    if (!same_caps(reload->given->rules, fresh->rules))
        buf_printf(names, "%smax_runs_per_bucket of rules", names->n ? ", " : "");
}

/* Which buckets are drained, that it is done, and where the state is stays as it is: what is new has to be right for
 * these. A result must not land in a bucket that is drained because the file now says that another one is. */
static int keep_what_waits(const struct reload *reload, struct options *fresh, struct err *err) {
    const struct options *given = reload->given;
    bool other_prefix = strcmp(fresh->bucket_prefix, given->bucket_prefix) != 0;
    char *store = mem_strdup(given->store);
    if (!store)
        return err_set(err, -ENOMEM, "out of memory");
    mem_free(fresh->store);
    fresh->store = store;
    fresh->bucket_prefix = given->bucket_prefix;
    fresh->dry_run = given->dry_run;
    int r = options_check(fresh, err);
    if (r < 0 && other_prefix)
        err_prefix(err, "with the bucket_prefix that stays in force until a restart");
    return r;
}

/* What the spawner has laid down it cannot take up again. */
static int check_spawner(const struct reload *reload, const struct options *fresh, struct err *err) {
    if (!plan_confines_all(reload->given) || plan_confines_all(fresh))
        return 0;
    return err_set(err, -EINVAL, "confine: no, where froe began with all programs confined, needs a restart");
}

static int read_again(struct reload *reload, struct err *err) {
    struct options *fresh = mem_zalloc(sizeof *fresh);
    if (!fresh)
        return err_set(err, -ENOMEM, "out of memory");
    int r = options_parse(reload->given->argc, reload->given->argv, fresh, err);
    if (r < 0) {
        mem_free(fresh);
        return r;
    }
    /* Nobody has all taken out of a file on purpose: somebody is just writing it. */
    if (reload->given->doc->root && (!fresh->doc->root || doc_is_nothing(fresh->doc->root)))
        r = err_set(err, -EINVAL, "%s: it is empty", fresh->config);
    _cleanup_buf_ struct buf waits = {0};
    name_what_waits(reload, fresh, &waits);
    if (r == 0)
        r = keep_what_waits(reload, fresh, err);
    if (r == 0)
        r = check_spawner(reload, fresh, err);
    if (r == 0)
        r = plans_replace(reload->plans, reload->pipeline, fresh, err);
    if (r < 0) {
        options_free(fresh);
        mem_free(fresh);
        return r;
    }
    reload->log->level = fresh->log_level;
    if (waits.n)
        log_warn(reload->log, "the configuration file has other values that need a restart",
                 LOG_BYTES("keys", buf_bytes(&waits)));
    return 0;
}

static void hung_up(uv_signal_t *signal, int number) {
    struct reload *reload = signal->data;
    struct err err = {0};
    const char *file = reload->given->config;
    if (read_again(reload, &err) < 0)
        log_error(reload->log, "the configuration file was not taken; the old one stays in force",
                  LOG_STR("file", file), LOG_STR("error", err.text));
    else
        log_info(reload->log, "the configuration file was read again", LOG_STR("file", file),
                 LOG_STR("handler", plans_describe(reload->plans)));
}

static void closed(uv_handle_t *handle) {
    mem_free(handle->data);
}

int reload_open(uv_loop_t *loop, const struct options *options, struct plans *plans, struct pipeline *pipeline,
                struct log *log, struct reload **ret_reload, struct err *err) {
    struct reload *reload = mem_zalloc(sizeof *reload);
    if (!reload)
        return err_set(err, -ENOMEM, "out of memory");
    *reload = (struct reload){.given = options, .plans = plans, .pipeline = pipeline, .log = log};
    uv_signal_init(loop, &reload->signal);
    reload->signal.data = reload;
    uv_signal_start(&reload->signal, hung_up, SIGHUP);
    *ret_reload = reload;
    return 0;
}

void reload_close(struct reload *reload) {
    uv_close((uv_handle_t *)&reload->signal, closed);
}
