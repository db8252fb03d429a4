/* options.c - one table for the command line, the environment and the help texts. */
#include "options.h"

#include "cron.h"
#include "mem.h"
#include "text.h"

#include <stddef.h>
#include <stdlib.h>

enum {
    FOR_RUN = 1 << COMMAND_RUN,
    FOR_STATUS = 1 << COMMAND_STATUS,
    FOR_PARKED = 1 << COMMAND_PARKED,
    FOR_CHECK = 1 << COMMAND_CHECK,
    FOR_DEMO = 1 << COMMAND_DEMO,
    FOR_CRON = 1 << COMMAND_CRON,
};

enum kind {
    KIND_PREFIX,
    KIND_TEXT,
    KIND_U32,
    KIND_U64,
    KIND_DURATION,
    KIND_CRON,
    KIND_STORE,
    KIND_GLOB,
    KIND_LOG,
    KIND_LEVEL,
    KIND_FLAG
};

struct option {
    const char *name;     /* without the dashes */
    const char *variable; /* NULL: none */
    const char *argument; /* in the help */
    enum kind kind;
    unsigned commands;
    size_t offset;  /* in struct options */
    uint64_t least; /* of a number or a duration in microseconds */
    uint64_t most;
    const char *initial; /* in the form in which it is given; NULL: none */
    const char *help;
};

#define AT(member) offsetof(struct options, member)
#define DAY_US ((uint64_t)(24 * US_PER_HOUR))

static const struct option table[] = {
    {"bucket-prefix", "S3_WORKER_BUCKET_PREFIX", "PREFIX", KIND_PREFIX, FOR_RUN | FOR_CHECK, AT(bucket_prefix), 0, 0,
     "bucket-", "drain the buckets whose names start with PREFIX"},
    {"max-pollers", "S3_WORKER_MAX_CONCURRENT_BUCKET_POLLERS", "N", KIND_U32, FOR_RUN, AT(max_pollers), 1, 10000, "10",
     "buckets listed at once"},
    {"max-runs-per-bucket", "S3_WORKER_MAX_RUNS_PER_BUCKET", "N", KIND_U32, FOR_RUN, AT(max_runs_per_bucket), 0, 100000,
     "20", "objects of one bucket processed at once; 0: no cap, buckets just take turns"},
    {"slots", "S3_WORKER_SLOTS", "N", KIND_U32, FOR_RUN, AT(slots), 1, 10000, "40", "things done at once in all"},
    {"cron", "S3_WORKER_CRON", "EXPR", KIND_CRON, FOR_RUN, AT(cron), 0, 0, "* * * * *",
     "when to look for buckets and objects: 5 fields, or 6 with leading seconds; UTC"},
    {"store", "FROE_STORE", "sqlite:PATH", KIND_STORE, FOR_RUN | FOR_STATUS | FOR_PARKED, AT(store), 0, 0, NULL,
     "where the state is kept (default: sqlite:$XDG_STATE_HOME/froe/froe.db, else under ~/.local/state)"},
    {"retries", "FROE_RETRIES", "N", KIND_U32, FOR_RUN, AT(retries), 0, 1000, "3",
     "attempts after the first before an object is parked"},
    {"timeout", "FROE_TIMEOUT", "TIME", KIND_DURATION, FOR_RUN, AT(timeout_us), US_PER_MS, 7 * DAY_US, "60s",
     "of one attempt, download and delete included"},
    {"backoff", "FROE_BACKOFF", "TIME", KIND_DURATION, FOR_RUN, AT(backoff_us), US_PER_MS, DAY_US, "1s",
     "before the first retry; doubles each time, with jitter, up to 5m"},
    {"min-age", "FROE_MIN_AGE", "TIME", KIND_DURATION, FOR_RUN, AT(min_age_us), 0, 3650 * DAY_US, "0s",
     "leave objects alone that were written more recently"},
    {"include", "FROE_INCLUDE", "GLOB", KIND_GLOB, FOR_RUN, AT(include), 0, 0, NULL,
     "only keys that match (may be given several times; * also matches /)"},
    {"exclude", "FROE_EXCLUDE", "GLOB", KIND_GLOB, FOR_RUN, AT(exclude), 0, 0, NULL,
     "no keys that match (may be given several times)"},
    {"look-ahead", "FROE_LOOK_AHEAD", "N", KIND_U64, FOR_RUN, AT(look_ahead), 1, 10000000, "10000",
     "keys of a bucket listed but not yet processed"},
    {"once", NULL, NULL, KIND_FLAG, FOR_RUN, AT(once), 0, 0, NULL, "list everything once, process until drained, exit"},
    {"dry-run", NULL, NULL, KIND_FLAG, FOR_RUN, AT(dry_run), 0, 0, NULL, "list, say what would be done, touch nothing"},
    {"discard", NULL, NULL, KIND_FLAG, FOR_RUN, AT(discard), 0, 0, NULL,
     "instead of a program: read, verify and delete without processing"},
    {"bucket", NULL, "BUCKET", KIND_TEXT, FOR_PARKED, AT(bucket), 0, 0, NULL, "only parked objects of this bucket"},
    {"key", NULL, "KEY", KIND_TEXT, FOR_PARKED, AT(key), 0, 0, NULL, "only the object with this key (needs --bucket)"},
    {"all", NULL, NULL, KIND_FLAG, FOR_PARKED, AT(all), 0, 0, NULL, "all parked objects"},
    {"tz", NULL, "ZONE", KIND_TEXT, FOR_CRON, AT(tz), 0, 0, NULL, "the time zone, like Europe/Berlin (default: UTC)"},
    {"count", NULL, "N", KIND_U32, FOR_CRON, AT(count), 1, 10000, "5", "how many firings"},
    {"from", NULL, "TIME", KIND_TEXT, FOR_CRON, AT(from), 0, 0, NULL,
     "not before 2026-03-29, \"2026-03-29 01:30\" (in the zone) or 2026-03-29T00:30:00Z (default: now)"},
    {"json", NULL, NULL, KIND_FLAG, FOR_STATUS | FOR_PARKED | FOR_CHECK | FOR_CRON, AT(json), 0, 0, NULL,
     "machine-readable output"},
    {"log", "FROE_LOG", "text|json", KIND_LOG, FOR_RUN | FOR_DEMO, AT(log_format), 0, 0, NULL,
     "form of the log on stderr (default: text on a terminal, json otherwise)"},
    {"log-level", "FROE_LOG_LEVEL", "LEVEL", KIND_LEVEL, FOR_RUN | FOR_DEMO, AT(log_level), 0, 0, "info",
     "debug, info, warn or error"},
    {"help", NULL, NULL, KIND_FLAG, ~0u, AT(help), 0, 0, NULL, "show this text"},
};
#define N_OPTIONS (sizeof table / sizeof table[0])

static const struct {
    const char *name, *usage, *summary, *text;
} commands[] = {
    [COMMAND_RUN] =
        {"run", "froe run [OPTION...] -- PROGRAM [ARG...]\n       froe run [OPTION...] --discard",
         "drain buckets until told to stop, or once",
         "Lists the buckets with the prefix, runs PROGRAM once per object with the object's body on its standard\n"
         "input, and deletes each object that it processed (exit code 0), exactly as it was read. Exit code 75\n"
         "asks for another try; any other code is a failed attempt. The program finds FROE_BUCKET, FROE_KEY,\n"
         "FROE_SIZE, FROE_ETAG, FROE_VERSION_ID, FROE_ATTEMPT, FROE_RUN_ID, FROE_CONTENT_TYPE, FROE_KEY_URL and\n"
         "FROE_META_* (user metadata) in its environment. Credentials, region and endpoint come from the AWS\n"
         "variables and ~/.aws.\n"
         "\n"
         "The first SIGTERM or SIGINT finishes what runs and starts nothing new; a second stops now. Nothing is\n"
         "lost either way.\n"
         "\n"
         "Exit codes: 0 drained, or stopped as asked; 1 internal error; 2 usage; 3 no valid credentials;\n"
         "4 S3 unreachable; 5 store unusable; 6 drained but for parked objects (--once); 7 interrupted;\n"
         "8 permission denied."},
    [COMMAND_STATUS] = {"status", "froe status [OPTION...]", "show each bucket's backlog, progress and guard",
                        "Works while `froe run` runs on the same store, and when nothing runs."},
    [COMMAND_PARKED] =
        {"parked", "froe parked list|retry|drop [OPTION...]", "list, retry or forget objects that kept failing",
         "An object whose attempts are used up is parked with its last error and stays in its bucket. `retry`\n"
         "queues it again with no attempts counted; `drop` forgets the failure (the object itself is not\n"
         "touched, and the next listing finds it again). retry and drop need --bucket, --key or --all."},
    [COMMAND_CHECK] =
        {"check", "froe check [OPTION...]", "say what would go wrong, before it does",
         "Looks at credentials, endpoint, permissions per matching bucket, versioning, and whether deletes can be\n"
         "guarded. Deletes nothing: permissions are tried on a key that does not exist."},
    [COMMAND_DEMO] = {"demo", "froe demo [OPTION...]", "drain some generated buckets from a built-in S3 server",
                      "Starts a small S3 server in this process, fills buckets of very different sizes with generated "
                      "images, drains\n"
                      "them through a small program, prints what happened and leaves nothing behind."},
    [COMMAND_CRON] =
        {"cron", "froe cron EXPRESSION [OPTION...]", "show when a cron expression fires next",
         "EXPRESSION, in quotes, has 5 fields (minute hour day-of-month month day-of-week), or 6 with leading\n"
         "seconds, or is one of @hourly @daily @midnight @weekly @monthly @yearly @annually. It may begin with\n"
         "CRON_TZ=ZONE instead of --tz. Each line shows a firing in the zone's time and in UTC.\n"
         "\n"
         "Where clocks jump by less than three hours, an expression neither minute nor hour of which begins with\n"
         "* fires once: a skipped time right after the jump, a repeated one the first time. Others follow the clock."},
    [COMMAND_VERSION] = {"version", "froe version", "show the version", ""},
    [COMMAND_HELP] = {"help", "froe help [COMMAND]", "show help", ""},
};
#define N_COMMANDS (sizeof commands / sizeof commands[0])

/* ---- help ---- */

static void help_option(FILE *out, const struct option *option) {
    char left[64];
    snprintf(left, sizeof left, "--%s%s%s", option->name, option->argument ? " " : "",
             option->argument ? option->argument : "");
    fprintf(out, "  %-26s %s", left, option->help);
    if (option->initial)
        fprintf(out, " (%s)", option->initial);
    fputc('\n', out);
    if (option->variable)
        fprintf(out, "  %-26s   variable: %s\n", "", option->variable);
}

void options_help(FILE *out, enum command_id command) {
    if (command == COMMAND_HELP) {
        fputs("froe drains S3 buckets: it lists them, runs each object through your program, and deletes exactly what "
              "was\n"
              "processed.\n\nusage: froe COMMAND [OPTION...]\n\n",
              out);
        for (size_t i = 0; i < N_COMMANDS; i++)
            fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
        fputs("\nfroe help COMMAND tells more.\n", out);
        return;
    }
    fprintf(out, "usage: %s\n\n", commands[command].usage);
    if (commands[command].text[0])
        fprintf(out, "%s\n\n", commands[command].text);
    fputs("options:\n", out);
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (table[i].commands & (1u << command))
            help_option(out, &table[i]);
}

int options_command(const char *name, enum command_id *ret_command, struct err *err) {
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0) {
            *ret_command = (enum command_id)i;
            return 0;
        }
    return err_set(err, -EINVAL, "unknown command '%s'; see froe help", name);
}

/* ---- values ---- */

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

static int set_store(void *place, const char *text, const char *origin, struct err *err) {
    static const char kind[] = "sqlite:";
    if (strncmp(text, kind, sizeof kind - 1) != 0 || text[sizeof kind - 1] == '\0')
        return err_set(err, -EINVAL, "%s: '%s' is not a store; write sqlite:PATH", origin, text);
    char *copy = mem_strdup(text);
    if (!copy)
        return err_set(err, -ENOMEM, "out of memory");
    mem_free(*(char **)place);
    *(char **)place = copy;
    return 0;
}

static int set_glob(struct options *options, const struct option *option, const char *text, const char *origin,
                    struct err *err) {
    bool include = option->offset == AT(include);
    const char **globs = include ? options->include : options->exclude;
    size_t *n = include ? &options->n_include : &options->n_exclude;
    if (text[0] == '\0' || text_glob_check(bytes_str(text)) < 0)
        return err_set(err, -EINVAL, "%s: '%s' is not a pattern: an empty one, an open '[' or a '\\' at the end",
                       origin, text);
    if (*n == GLOBS_MAX)
        return err_set(err, -EINVAL, "%s: more than %d patterns", origin, GLOBS_MAX);
    globs[(*n)++] = text;
    return 0;
}

/* `origin` names where the value came from: "--slots" or "S3_WORKER_SLOTS". */
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
        if (option->offset == AT(bucket) && !text_is_utf8(text)) /* could not even be asked for */
            return err_set(err, -EINVAL, "%s: that is no bucket's name", origin);
        *(const char **)place = value;
        return 0;
    case KIND_U32:
    case KIND_U64:
        return set_number(place, option, text, origin, err);
    case KIND_DURATION:
        return set_duration(place, option, text, origin, err);
    case KIND_CRON: {
        struct cron cron;
        struct err why = {0};
        if (cron_parse(text, &cron, &why) < 0)
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
            return err_set(err, -EINVAL, "%s: '%s' is neither text nor json", origin, value);
        options->log_format = value[0] == 'j' ? LOG_JSON : LOG_TEXT;
        options->log_format_set = true;
        return 0;
    case KIND_LEVEL: {
        static const char *const names[] = {"debug", "info", "warn", "error"};
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
            if (strcmp(value, names[i]) == 0) {
                options->log_level = (enum log_level)i;
                return 0;
            }
        return err_set(err, -EINVAL, "%s: '%s' is not debug, info, warn or error", origin, value);
    }
    case KIND_FLAG:
        *(bool *)place = true;
        return 0;
    }
    return -EINVAL;
}

/* ---- the command line ---- */

/* Edit distance, for the nearest known name; names are short. */
static size_t distance(const char *a, const char *b) {
    size_t n = strlen(b), row[64];
    if (n >= 64)
        return 64;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 1; j <= n; j++) {
            size_t best = diagonal + (a[i] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[n];
}

static int unknown_option(const char *name, enum command_id command, struct err *err) {
    const char *nearest = NULL;
    size_t best = 4; /* farther is no help */
    for (size_t i = 0; i < N_OPTIONS; i++) {
        size_t d = table[i].commands & (1u << command) ? distance(name, table[i].name) : best;
        if (d < best) {
            best = d;
            nearest = table[i].name;
        }
    }
    if (nearest)
        return err_set(err, -EINVAL, "unknown option '--%.100s'; did you mean --%s?", name, nearest);
    return err_set(err, -EINVAL, "unknown option '--%.100s'; see froe help %s", name, commands[command].name);
}

/* One argument that starts with "--"; may take the next one too. */
static int parse_option(struct options *options, int argc, char **argv, int *i, uint64_t *given, struct err *err) {
    const char *name = argv[*i] + 2, *equals = strchr(name, '=');
    size_t n = equals ? (size_t)(equals - name) : strlen(name);
    for (size_t o = 0; o < N_OPTIONS; o++) {
        const struct option *option = &table[o];
        if (!(option->commands & (1u << options->command)) || strlen(option->name) != n ||
            memcmp(option->name, name, n) != 0)
            continue;
        char origin[64];
        snprintf(origin, sizeof origin, "--%s", option->name);
        const char *value = equals ? equals + 1 : NULL;
        if (option->kind == KIND_FLAG) {
            if (value)
                return err_set(err, -EINVAL, "%s takes no value", origin);
        } else if (!value) {
            if (*i + 1 >= argc || strcmp(argv[*i + 1], "--") == 0)
                return err_set(err, -EINVAL, "%s needs a value: %s %s", origin, origin, option->argument);
            value = argv[++*i];
        }
        *given |= UINT64_C(1) << o;
        return set(options, option, value, origin, err);
    }
    char cut[101];
    snprintf(cut, sizeof cut, "%.*s", (int)(n < 100 ? n : 100), name);
    return unknown_option(cut, options->command, err);
}

static int default_store(struct options *options, struct err *err) {
    const char *state = secure_getenv("XDG_STATE_HOME"), *home = secure_getenv("HOME");
    struct buf path = {0};
    int r;
    if (state && state[0] == '/') /* relative ones are to be ignored, says the XDG base directory specification */
        r = buf_printf(&path, "sqlite:%s/froe/froe.db", state);
    else if (home && home[0])
        r = buf_printf(&path, "sqlite:%s/.local/state/froe/froe.db", home);
    else
        return err_set(err, -EINVAL,
                       "no place for the store: neither HOME nor XDG_STATE_HOME is set; give --store sqlite:PATH");
    if (r < 0)
        return err_set(err, r, "out of memory");
    options->store = buf_detach(&path);
    return 0;
}

/* What the command line left open comes from the environment, then from the table. */
static int fill_in(struct options *options, uint64_t given, struct err *err) {
    for (size_t o = 0; o < N_OPTIONS; o++) {
        const struct option *option = &table[o];
        if ((given >> o & 1) || !(option->commands & (1u << options->command)))
            continue;
        const char *value = option->variable ? secure_getenv(option->variable) : NULL;
        const char *origin = option->variable;
        if (!value) {
            value = option->initial;
            origin = option->name;
        }
        int r = value ? set(options, option, value, origin, err) : 0;
        if (r < 0)
            return r;
    }
    if (!options->store && ((FOR_RUN | FOR_STATUS | FOR_PARKED) & (1u << options->command)))
        return default_store(options, err);
    return 0;
}

static int check_combination(const struct options *options, struct err *err) {
    if (options->command == COMMAND_RUN && !options->dry_run) {
        if (options->program && options->discard)
            return err_set(err, -EINVAL, "a program and --discard exclude each other");
        if (!options->program && !options->discard)
            return err_set(
                err, -EINVAL,
                "nothing to do with the objects: give a program (froe run ... -- PROGRAM [ARG...]), or --discard to "
                "read, verify and delete them without processing");
    }
    if (options->command == COMMAND_CRON && !options->action)
        return err_set(err, -EINVAL, "give the expression in quotes: froe cron \"*/5 * * * *\"");
    if (options->command == COMMAND_PARKED) {
        const char *action = options->action;
        if (action && strcmp(action, "list") != 0 && strcmp(action, "retry") != 0 && strcmp(action, "drop") != 0)
            return err_set(err, -EINVAL,
                           "'%.100s' is not what can be done with parked objects: see froe parked list, retry and drop",
                           action);
        if (!action)
            return err_set(err, -EINVAL, "say what to do: froe parked list, froe parked retry or froe parked drop");
        if (options->key && !options->bucket)
            return err_set(err, -EINVAL, "--key needs --bucket: keys are only unique within one");
        if (options->all && options->bucket)
            return err_set(err, -EINVAL, "--all and --bucket exclude each other");
        if (action[0] != 'l' && !options->bucket && !options->all)
            return err_set(err, -EINVAL, "froe parked %s needs --bucket BUCKET [--key KEY], or --all", action);
    }
    return 0;
}

int options_parse(int argc, char **argv, struct options *ret_options, struct err *err) {
    struct options options = {.command = COMMAND_HELP};
    if (argc < 2)
        return err_set(err, -EINVAL, "no command; see froe help");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        *ret_options = options;
        return 0;
    }
    int r = strcmp(argv[1], "--version") == 0 ? (options.command = COMMAND_VERSION, 0)
                                              : options_command(argv[1], &options.command, err);
    uint64_t given = 0;
    for (int i = 2; r == 0 && i < argc; i++) {
        if (strcmp(argv[i], "--") == 0 && options.command == COMMAND_RUN) {
            if (i + 1 == argc)
                r = err_set(err, -EINVAL, "no program after --");
            else
                options.program = argv + i + 1;
            break;
        }
        if (strcmp(argv[i], "-h") == 0)
            options.help = true;
        else if (strncmp(argv[i], "--", 2) == 0)
            r = parse_option(&options, argc, argv, &i, &given, err);
        else if ((options.command == COMMAND_PARKED || options.command == COMMAND_HELP ||
                  options.command == COMMAND_CRON) &&
                 !options.action)
            options.action = argv[i];
        else if (options.command == COMMAND_CRON)
            r = err_set(err, -EINVAL, "unexpected '%.100s'; put the expression in quotes: froe cron \"*/5 * * * *\"",
                        argv[i]);
        else if (options.command == COMMAND_RUN)
            r = err_set(err, -EINVAL, "unexpected '%.100s'; a program goes after --: froe run ... -- %.100s", argv[i],
                        argv[i]);
        else
            r = err_set(err, -EINVAL, "unexpected '%.100s'; see froe help %s", argv[i], commands[options.command].name);
    }
    if (r == 0 && !options.help && options.command != COMMAND_HELP) {
        r = fill_in(&options, given, err);
        if (r == 0)
            r = check_combination(&options, err);
    }
    if (r < 0) {
        options_free(&options);
        return r;
    }
    *ret_options = options;
    return 0;
}

void options_free(struct options *options) {
    mem_free(options->store);
    options->store = NULL;
}

const char *options_store_path(const struct options *options) {
    return options->store + strlen("sqlite:");
}
