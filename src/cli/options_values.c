/* options_values.c - reading the options' values. */
#include "options_table.h"

#include "clock.h"
#include "config_output.h"
#include "cron.h"
#include "mem.h"
#include "nearest.h"
#include "store_uri.h"
#include "text.h"
#include "uri.h"

#include <froe.h>
#include <time.h>

static int set_number(void *place, const struct option *option, struct bytes text, const char *origin,
                      struct err *err) {
    uint64_t value;
    if (text_parse_u64(text, &value) < 0 || value < option->least || value > option->most)
        return err_set(err, -EINVAL, "%s: '%.*s' is not a number from %llu to %llu", origin, (int)text.n, text.p,
                       (unsigned long long)option->least, (unsigned long long)option->most);
    if (option->kind == KIND_U32)
        *(uint32_t *)place = (uint32_t)value;
    else
        *(uint64_t *)place = value;
    return 0;
}

static int set_duration(void *place, const struct option *option, struct bytes text, const char *origin,
                        struct err *err) {
    int64_t us;
    if (text_parse_duration(text, &us) < 0)
        return err_set(err, -EINVAL, "%s: '%.*s' is not a length of time; write it like 500ms, 60s or 1h30m", origin,
                       (int)text.n, text.p);
    if ((uint64_t)us < option->least || (uint64_t)us > option->most) {
        _cleanup_buf_ struct buf least = {0}, most = {0};
        text_add_duration(&least, (int64_t)option->least);
        text_add_duration(&most, (int64_t)option->most);
        return err_set(err, -EINVAL, "%s: '%.*s' is not from %s to %s", origin, (int)text.n, text.p,
                       least.p ? least.p : "0s", most.p);
    }
    *(int64_t *)place = us;
    return 0;
}

static int set_size(void *place, const struct option *option, struct bytes text, const char *origin, struct err *err) {
    uint64_t bytes;
    if (text_parse_size(text, &bytes) < 0)
        return err_set(err, -EINVAL, "%s: '%.*s' is not a size; write it like 256MiB or 1GiB", origin, (int)text.n,
                       text.p);
    if (bytes < option->least || bytes > option->most) {
        _cleanup_buf_ struct buf least = {0}, most = {0};
        text_add_size(&least, option->least);
        text_add_size(&most, option->most);
        return err_set(err, -EINVAL, "%s: '%.*s' is not from %s to %s", origin, (int)text.n, text.p,
                       least.p ? least.p : "", most.p ? most.p : "");
    }
    *(int64_t *)place = (int64_t)bytes;
    return 0;
}

/* `is`: as in "is neither text nor json". The words end with NULL. */
static int refuse_word(const char *value, const char *is, const char *const *words, const char *origin,
                       struct err *err) {
    const char *meant = nearest_of(bytes_str(value), words);
    return err_set(err, -EINVAL, "%s: '%.100s' %s%s%s%s", origin, value, is, meant ? "; did you mean " : "",
                   meant ? meant : "", meant ? "?" : "");
}

static int refuse_store(const char *uri, const char *origin, struct err *err) {
    _cleanup_buf_ struct buf shown = {0};
    if (store_uri_add_shown(&shown, uri) < 0)
        return err_set(err, -ENOMEM, "out of memory");
    return err_set(err, -EINVAL,
                   "%s: '%.200s' is not a store; write sqlite:PATH, or postgres://USER@HOST/DATABASE for many hosts",
                   origin, shown.p ? shown.p : "");
}

static int set_store(void *place, const char *text, const char *origin, struct err *err) {
    if (store_uri_kind(text) == STORE_KIND_NONE)
        return refuse_store(text, origin, err);
    if (origin[0] == '-' && store_uri_has_password(text))
        return err_set(err, -EINVAL,
                       "%s: a password on the command line can be seen by every user of this machine; leave it out and "
                       "use ~/.pgpass, PGPASSWORD, or the variable FROE_STORE for the whole URI",
                       origin);
    char *copy = mem_strdup(text);
    if (!copy)
        return err_set(err, -ENOMEM, "out of memory");
    mem_free(*(char **)place);
    *(char **)place = copy;
    return 0;
}

static int set_glob(struct options *options, const struct option *option, const char *text, const char *origin,
                    struct err *err) {
    bool include = option->offset == OPTION_AT(include);
    const char **globs = include ? options->include : options->exclude;
    size_t *n = include ? &options->n_include : &options->n_exclude;
    if (text[0] == '\0' || text_glob_check(bytes_str(text)) < 0)
        return err_set(err, -EINVAL, "%s: '%.100s' is not a pattern: an empty one, an open '[' or a '\\' at the end",
                       origin, text);
    if (strlen(text) > GLOB_BYTES_MAX)
        return err_set(err, -EINVAL, "%s: a pattern has at most %d bytes", origin, GLOB_BYTES_MAX);
    if (*n == GLOBS_MAX)
        return err_set(err, -EINVAL, "%s: more than %d patterns", origin, GLOBS_MAX);
    globs[(*n)++] = text;
    return 0;
}

static const struct {
    const char *word;
    enum confine_level level;
    bool best_effort;
} confine_words[] = {{"no", CONFINE_NO, false},
                     {"basic", CONFINE_BASIC, false},
                     {"yes", CONFINE_STRICT, false},
                     {"best-effort", CONFINE_STRICT, true}};

const char *option_confine_word(const struct options_confine *confine) {
    size_t i = 0;
    while (confine_words[i].level != confine->level || confine_words[i].best_effort != confine->best_effort)
        i++;
    return confine_words[i].word;
}

static int set_confine(struct options_confine *confine, const char *value, const char *origin, struct err *err) {
    const char *words[sizeof confine_words / sizeof confine_words[0] + 1] = {NULL};
    for (size_t i = 0; i < sizeof confine_words / sizeof confine_words[0]; i++) {
        words[i] = confine_words[i].word;
        if (strcmp(value, confine_words[i].word) == 0) {
            confine->level = confine_words[i].level;
            confine->best_effort = confine_words[i].best_effort;
            return 0;
        }
    }
    return refuse_word(value, "is not no, basic, yes or best-effort", words, origin, err);
}

static int set_pool_body(enum handler_pool_body *place, const char *value, const char *origin, struct err *err) {
    static const char *const words[] = {
        [HANDLER_POOL_INLINE] = "inline", [HANDLER_POOL_PATH] = "path", [HANDLER_POOL_MEMFD] = "memfd", NULL};
    for (size_t i = 0; words[i]; i++)
        if (strcmp(value, words[i]) == 0) {
            *place = (enum handler_pool_body)i;
            return 0;
        }
    return refuse_word(value, "is not inline, path or memfd", words, origin, err);
}

static int add_directory(struct options_confine *confine, const char *value, const char *origin, struct err *err) {
    if (value[0] != '/')
        return err_set(err, -EINVAL, "%s: '%.200s' is no absolute path of a directory", origin, value);
    if (confine->n_write == ALLOW_WRITE_MAX)
        return err_set(err, -EINVAL, "%s: more than %d directories", origin, ALLOW_WRITE_MAX);
    confine->write[confine->n_write++] = value;
    return 0;
}

static int set_states(unsigned *place, struct bytes text, const char *origin, struct err *err) {
    static const struct {
        const char *name;
        unsigned states;
    } known[] = {{"queued", 1u << FROE_QUEUED},
                 {"waiting", 1u << FROE_WAITING},
                 {"running", 1u << FROE_RUNNING},
                 {"parked", 1u << FROE_PARKED},
                 {"succeeded", 1u << FROE_SUCCEEDED},
                 {"failed", 1u << FROE_FAILED},
                 {"cancelled", 1u << FROE_CANCELLED},
                 {"live", 1u << FROE_QUEUED | 1u << FROE_WAITING | 1u << FROE_RUNNING},
                 {"finished", 1u << FROE_SUCCEEDED | 1u << FROE_FAILED | 1u << FROE_CANCELLED}};
    unsigned states = 0;
    for (size_t at = 0; at <= text.n;) {
        const char *comma = memchr(text.p + at, ',', text.n - at);
        struct bytes word = bytes_of(text.p + at, comma ? (size_t)(comma - text.p) - at : text.n - at);
        size_t i = 0, n = sizeof known / sizeof known[0];
        while (i < n && !bytes_equal(word, bytes_str(known[i].name)))
            i++;
        if (i == n)
            return err_set(err, -EINVAL,
                           "%s: '%.*s' is no state; there are queued, waiting, running, parked, succeeded, failed, "
                           "cancelled; live and finished",
                           origin, (int)(word.n < 100 ? word.n : 100), word.p);
        states |= known[i].states;
        at += word.n + 1;
    }
    *place = states;
    return 0;
}

static int set_meta(struct options *options, const char *value, const char *origin, struct err *err) {
    const char *equals = strchr(value, '=');
    if (!equals || equals == value || !text_is_utf8(bytes_str(value)))
        return err_set(err, -EINVAL, "%s: '%.200s' is not NAME=VALUE", origin, value);
    char *name = mem_memdup(value, (size_t)(equals - value));
    if (!name)
        return err_set(err, -ENOMEM, "out of memory");
    mem_free(options->meta_name);
    options->meta_name = name;
    options->meta_value = equals + 1;
    return 0;
}

/* "2026-03-29T08:00[:00[.123]]" or with a space, then nothing (the process's zone), Z, or +05:45. */
static int parse_time(const char *value, int64_t *ret_utc_us) {
    _cleanup_buf_ struct buf text = {0};
    struct bytes given = bytes_str(value);
    if (given.n < 10 || given.n > 40)
        return -EINVAL;
    struct bytes date = bytes_of(given.p, 10), time = bytes_of(given.p + 10, given.n - 10);
    if (time.n > 0 && time.p[0] != 'T' && time.p[0] != ' ')
        return -EINVAL;
    time = time.n > 0 ? bytes_of(time.p + 1, time.n - 1) : BYTES("00:00");
    bool local = false;
    int64_t offset_us = 0;
    if (bytes_ends(time, BYTES("Z"))) {
        time.n--;
    } else if (time.n > 6 && (time.p[time.n - 6] == '+' || time.p[time.n - 6] == '-') && time.p[time.n - 3] == ':') {
        const char *zone = time.p + time.n - 6;
        uint64_t hours, minutes;
        if (text_parse_u64(bytes_of(zone + 1, 2), &hours) < 0 || text_parse_u64(bytes_of(zone + 4, 2), &minutes) < 0 ||
            hours > 23 || minutes > 59)
            return -EINVAL;
        offset_us = (int64_t)(hours * 60 + minutes) * US_PER_MIN * (zone[0] == '-' ? -1 : 1);
        time.n -= 6;
    } else {
        local = true;
    }
    int64_t us;
    if (buf_printf(&text, "%.*sT%.*s%sZ", (int)date.n, date.p, (int)time.n, time.p, time.n == 5 ? ":00" : "") < 0)
        return -ENOMEM;
    if (text_parse_iso8601(buf_bytes(&text), &us) < 0)
        return -EINVAL;
    if (local) {
        struct clock_date d;
        clock_date_utc(us, &d);
        struct tm tm = {.tm_year = d.year - 1900,
                        .tm_mon = d.month - 1,
                        .tm_mday = d.day,
                        .tm_hour = d.hour,
                        .tm_min = d.minute,
                        .tm_sec = d.second,
                        .tm_isdst = -1};
        us = (int64_t)mktime(&tm) * US_PER_S + d.us;
    }
    *ret_utc_us = us - offset_us;
    return 0;
}

static int set_time(int64_t *place, const char *value, const char *origin, struct err *err) {
    int64_t age_us, utc_us, now_utc_us = clock_utc_us(&clock_system);
    int r = text_parse_duration(bytes_str(value), &age_us);
    if (r == -ERANGE || (r == 0 && age_us >= now_utc_us))
        return err_set(err, -EINVAL, "%s: '%.100s' ago is before 1970; leave it out, and there is no such limit",
                       origin, value);
    if (r == 0)
        utc_us = now_utc_us - age_us;
    else if (parse_time(value, &utc_us) < 0 || utc_us <= 0)
        return err_set(err, -EINVAL,
                       "%s: '%.100s' is no time; write 2026-03-29T08:00:00Z, 2026-03-29T08:00 (local), or an age like "
                       "10m",
                       origin, value);
    *place = utc_us;
    return 0;
}

static int set(struct options *options, const struct option *option, const char *value, const char *origin,
               struct err *err) {
    void *place = (char *)options + option->offset;
    struct bytes text = bytes_str(value);
    switch (option->kind) {
    case KIND_PREFIX:
        if (text.n == 0)
            return err_set(err, -EINVAL, "%s: an empty prefix would drain every bucket of the account; name one",
                           origin);
        if (text.n > 63)
            return err_set(err, -EINVAL, "%s: longer than a bucket's name can be (63 characters)", origin);
        *(const char **)place = value;
        return 0;
    case KIND_TEXT:
        /* An unset variable of a script must not become "all of them". */
        if (text.n == 0)
            return err_set(err, -EINVAL, "%s: it is empty", origin);
        if (option->offset == OPTION_AT(bucket) && !text_is_utf8(text)) /* could not even be asked for */
            return err_set(err, -EINVAL, "%s: that is no bucket's name", origin);
        if (option->offset == OPTION_AT(workflow) && !text_is_utf8(text))
            return err_set(err, -EINVAL, "%s: that is no workflow's name", origin);
        if (option->offset == OPTION_AT(worker) && (text.n > OPTION_WORKER_MAX || !text_is_utf8(text)))
            return err_set(err, -EINVAL, "%s: a worker's name is UTF-8 and has at most %d bytes", origin,
                           OPTION_WORKER_MAX);
        *(const char **)place = value;
        return 0;
    case KIND_U32:
    case KIND_U64:
        return set_number(place, option, text, origin, err);
    case KIND_SIZE:
        return set_size(place, option, text, origin, err);
    case KIND_DURATION:
        return set_duration(place, option, text, origin, err);
    case KIND_STATES:
        return set_states(place, text, origin, err);
    case KIND_META:
        return set_meta(options, value, origin, err);
    case KIND_TIME:
        return set_time(place, value, origin, err);
    case KIND_OUTPUT:
        return config_output_add(&options->outputs, value, origin, err);
    case KIND_THEN:
        return config_then_set(&options->then, value, origin, err);
    case KIND_CRON: {
        struct cron cron;
        struct err why = {0};
        struct zone *zone = NULL;
        int r = cron_parse(text, &cron, &why);
        if (r == 0 && cron.zone_name[0])
            r = zone_load(bytes_str(cron.zone_name), &zone, &why);
        zone_free(zone);
        if (r < 0)
            return err_set(err, -EINVAL, "%s: '%.200s': %.200s", origin, value, why.text);
        *(const char **)place = value;
        return 0;
    }
    case KIND_STORE:
        return set_store(place, value, origin, err);
    case KIND_GLOB:
        return set_glob(options, option, value, origin, err);
    case KIND_LOG:
        if (strcmp(value, "text") != 0 && strcmp(value, "json") != 0)
            return refuse_word(value, "is neither text nor json", (const char *[]){"text", "json", NULL}, origin, err);
        options->log_format = value[0] == 'j' ? LOG_JSON : LOG_TEXT;
        options->log_format_set = true;
        return 0;
    case KIND_LEVEL: {
        static const char *const names[] = {"debug", "info", "warn", "error", NULL};
        for (size_t i = 0; names[i]; i++)
            if (strcmp(value, names[i]) == 0) {
                options->log_level = (enum log_level)i;
                return 0;
            }
        return refuse_word(value, "is not debug, info, warn or error", names, origin, err);
    }
    case KIND_POOL_BODY:
        return set_pool_body(place, value, origin, err);
    case KIND_CONFINE:
        return set_confine(&options->confine, value, origin, err);
    case KIND_DIRECTORIES:
        return add_directory(&options->confine, value, origin, err);
    case KIND_FLAG:
        *(bool *)place = true;
        return 0;
    }
    return -EINVAL;
}

int option_set(struct options *options, const struct option *option, const char *value, const char *origin,
               struct err *err) {
    int r = set(options, option, value, origin, err);
    /* The store's own errors hide just the password. Others may cut a text where it cannot be told any more. */
    if (r == -EINVAL && option->kind != KIND_STORE && uri_has_password(value))
        return err_set(err, r,
                       "%s: this is wrong here; it is not shown, as it looks like a URI with a password, which only "
                       "'store' takes",
                       origin);
    return r;
}
