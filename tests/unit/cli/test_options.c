/* test_options.c - the command line and the environment: every option and variable, right and wrong, who wins, and what
 * is said about mistakes. */
#include "options.h"

#include "mem.h"
#include "options_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define ARGS(...) ((const char *const[]){"froe", __VA_ARGS__, NULL})
#define COUNT(args) ((int)(sizeof(args) / sizeof *(args)) - 1)
#define PARSE(...) parse(COUNT(ARGS(__VA_ARGS__)), ARGS(__VA_ARGS__))
#define REFUSES(text, ...) refuses(COUNT(ARGS(__VA_ARGS__)), ARGS(__VA_ARGS__), text)

static const char *const variables[] = {
    "S3_WORKER_BUCKET_PREFIX",
    "S3_WORKER_MAX_CONCURRENT_BUCKET_POLLERS",
    "S3_WORKER_MAX_RUNS_PER_BUCKET",
    "S3_WORKER_SLOTS",
    "S3_WORKER_CRON",
    "FROE_STORE",
    "FROE_RETRIES",
    "FROE_TIMEOUT",
    "FROE_BACKOFF",
    "FROE_MIN_AGE",
    "FROE_INCLUDE",
    "FROE_EXCLUDE",
    "FROE_CONFINE",
    "FROE_ALLOW_WRITE",
    "FROE_LIMIT_MEMORY",
    "FROE_LIMIT_CPU",
    "FROE_LIMIT_FILES",
    "FROE_LIMIT_PROCESSES",
    "FROE_LIMIT_FILE_SIZE",
    "FROE_NICE",
    "FROE_LOOK_AHEAD",
    "FROE_LOG",
    "FROE_LOG_LEVEL",
    "FROE_WORKER",
    "FROE_LEASE",
    "FROE_HISTORY",
    "FROE_HISTORY_SIZE",
    "FROE_CONFIG",
    "FROE_POOL_WORKERS",
    "FROE_POOL_BODY",
    "FROE_POOL_RECYCLE",
    "FROE_POOL_MEMORY",
    "FROE_MEMORY",
};
#define N_VARIABLES (sizeof variables / sizeof variables[0])

static int clean(void **state) {
    for (size_t i = 0; i < N_VARIABLES; i++)
        unsetenv(variables[i]);
    setenv("HOME", "/home/somebody", 1);
    unsetenv("XDG_STATE_HOME");
    return 0;
}

/* main's argv: the options point into it. */
static char **make_argv(int argc, const char *const *args) {
    static char *argv[256];
    assert_true(argc < 256);
    memcpy(argv, args, ((size_t)argc + 1) * sizeof *argv);
    return argv;
}

static struct options parse(int argc, const char *const *args) {
    struct options options;
    struct err err = {0};
    if (options_parse(argc, make_argv(argc, args), &options, &err) < 0)
        fail_msg("%s", err.text);
    return options;
}

/* The error holds all the words in `text`, which are separated by '|'. */
static void refuses(int argc, const char *const *args, const char *text) {
    struct options options;
    struct err err = {0};
    assert_int_equal(options_parse(argc, make_argv(argc, args), &options, &err), -EINVAL);
    char words[256];
    snprintf(words, sizeof words, "%s", text);
    for (char *word = strtok(words, "|"); word; word = strtok(NULL, "|"))
        if (!strstr(err.text, word))
            fail_msg("\"%s\" is not in: %s", word, err.text);
}

static void test_defaults(void **state) {
    struct options options = PARSE("run", "--discard");
    assert_int_equal(options.command, COMMAND_RUN);
    assert_string_equal(options.bucket_prefix, "bucket-");
    assert_int_equal(options.max_pollers, 10);
    assert_int_equal(options.max_runs_per_bucket, 20);
    assert_int_equal(options.slots, 40);
    assert_string_equal(options.cron, "* * * * *");
    assert_string_equal(options.store, "sqlite:/home/somebody/.local/state/froe/froe.db");
    assert_string_equal(options_store_path(&options), "/home/somebody/.local/state/froe/froe.db");
    assert_int_equal(options.retries, 3);
    assert_int_equal(options.timeout_us, 60000000);
    assert_int_equal(options.backoff_us, 1000000);
    assert_int_equal(options.min_age_us, 0);
    assert_int_equal(options.look_ahead, 10000);
    assert_int_equal(options.n_include + options.n_exclude, 0);
    assert_false(options.once || options.dry_run || options.all || options.json || options.log_format_set);
    assert_int_equal(options.log_level, LOG_INFO);
    assert_null(options.program);
    options_free(&options);
}

struct number {
    const char *name, *variable;
    size_t offset;
    bool wide;
    const char *least, *most, *below, *above;
};
static const struct number numbers[] = {
    {"--max-pollers", "S3_WORKER_MAX_CONCURRENT_BUCKET_POLLERS", offsetof(struct options, max_pollers), false, "1",
     "10000", "0", "10001"},
    {"--max-runs-per-bucket", "S3_WORKER_MAX_RUNS_PER_BUCKET", offsetof(struct options, max_runs_per_bucket), false,
     "0", "100000", "-1", "100001"},
    {"--slots", "S3_WORKER_SLOTS", offsetof(struct options, slots), false, "1", "10000", "0", "4294967297"},
    {"--retries", "FROE_RETRIES", offsetof(struct options, retries), false, "0", "1000", "-1", "1001"},
    {"--look-ahead", "FROE_LOOK_AHEAD", offsetof(struct options, look_ahead), true, "1", "10000000", "0",
     "18446744073709551616"},
    {"--pool-workers", "FROE_POOL_WORKERS", offsetof(struct options, pool_workers), false, "0", "1000", "-1", "1001"},
    {"--pool-recycle", "FROE_POOL_RECYCLE", offsetof(struct options, pool_recycle), false, "0", "1000000000", "-1",
     "1000000001"},
};

static uint64_t number_in(const struct options *options, const struct number *number) {
    const char *place = (const char *)options + number->offset;
    uint64_t wide;
    uint32_t narrow;
    memcpy(&wide, place, sizeof wide);
    memcpy(&narrow, place, sizeof narrow);
    return number->wide ? wide : narrow;
}

static void test_numbers(void **state) {
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        const struct number *n = &numbers[i];
        const char *good[] = {n->least, n->most}, *bad[] = {n->below, n->above, "", " 1", "1 ", "0x10", "1e3", "many"};
        for (size_t k = 0; k < 2; k++) {
            char joined[128];
            snprintf(joined, sizeof joined, "%s=%s", n->name, good[k]);
            struct options apart = PARSE("run", "--discard", n->name, good[k]);
            struct options together = PARSE("run", joined, "--discard");
            setenv(n->variable, good[k], 1);
            struct options variable = PARSE("run", "--discard");
            unsetenv(n->variable);
            uint64_t value = strtoull(good[k], NULL, 10);
            assert_int_equal(number_in(&apart, n), value);
            assert_int_equal(number_in(&together, n), value);
            assert_int_equal(number_in(&variable, n), value);
            options_free(&apart);
            options_free(&together);
            options_free(&variable);
        }
        for (size_t k = 0; k < 8; k++) {
            char text[128];
            snprintf(text, sizeof text, "%s|'%s'|from %s to %s", n->name, bad[k], n->least, n->most);
            REFUSES(text, "run", "--discard", n->name, bad[k]);
            snprintf(text, sizeof text, "%s: |'%s'", n->variable, bad[k]);
            setenv(n->variable, bad[k], 1);
            REFUSES(text, "run", "--discard");
            unsetenv(n->variable);
        }
    }
}

static void test_durations(void **state) {
    static const struct {
        const char *name, *variable;
        size_t offset;
        const char *good[4];
        int64_t us[4];
        const char *bad[6];
    } cases[] = {
        {"--timeout",
         "FROE_TIMEOUT",
         offsetof(struct options, timeout_us),
         {"1ms", "7d", "1h30m", "90s"},
         {1000, INT64_C(604800000000), INT64_C(5400000000), 90000000},
         {"0", "8d", "60", "-1s", "", "soon"}},
        {"--backoff",
         "FROE_BACKOFF",
         offsetof(struct options, backoff_us),
         {"1ms", "1d", "250ms", "1.5s"},
         {1000, INT64_C(86400000000), 250000, 1500000},
         {"0s", "25h", "1", "1w", "1 s", "s"}},
        {"--min-age",
         "FROE_MIN_AGE",
         offsetof(struct options, min_age_us),
         {"0", "0s", "3650d", "1h"},
         {0, 0, INT64_C(315360000000000), INT64_C(3600000000)},
         {"3651d", "5", "-1h", "", "1h1", "99999999999999d"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t k = 0; k < 4; k++) {
            struct options options = PARSE("run", "--discard", cases[i].name, cases[i].good[k]);
            assert_memory_equal((char *)&options + cases[i].offset, &cases[i].us[k], sizeof(int64_t));
            options_free(&options);
            setenv(cases[i].variable, cases[i].good[k], 1);
            options = PARSE("run", "--discard");
            assert_memory_equal((char *)&options + cases[i].offset, &cases[i].us[k], sizeof(int64_t));
            options_free(&options);
            unsetenv(cases[i].variable);
        }
        for (size_t k = 0; k < 6; k++) {
            char text[128];
            snprintf(text, sizeof text, "%s: |'%s'", cases[i].name, cases[i].bad[k]);
            REFUSES(text, "run", "--discard", cases[i].name, cases[i].bad[k]);
            snprintf(text, sizeof text, "%s: |'%s'", cases[i].variable, cases[i].bad[k]);
            setenv(cases[i].variable, cases[i].bad[k], 1);
            REFUSES(text, "run", "--discard");
            unsetenv(cases[i].variable);
        }
    }
}

static void test_texts(void **state) {
    struct options options =
        PARSE("run", "--discard", "--bucket-prefix=x-", "--cron", "*/5 * * * * *", "--store", "sqlite:rel/a b.db",
              "--log=json", "--log-level", "debug", "--once", "--include", "a*", "--include", "b*", "--exclude=[!a]");
    assert_string_equal(options.bucket_prefix, "x-");
    assert_string_equal(options.cron, "*/5 * * * * *");
    assert_string_equal(options_store_path(&options), "rel/a b.db");
    assert_true(options.log_format_set && options.once && options.discard);
    assert_int_equal(options.log_format, LOG_JSON);
    assert_int_equal(options.log_level, LOG_DEBUG);
    assert_int_equal(options.n_include, 2);
    assert_string_equal(options.include[1], "b*");
    assert_int_equal(options.n_exclude, 1);
    options_free(&options);
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    for (int i = 0; i < 4; i++) {
        setenv("FROE_LOG_LEVEL", levels[i], 1);
        setenv("FROE_LOG", i % 2 ? "text" : "json", 1);
        options = PARSE("run", "--discard");
        assert_int_equal(options.log_level, i);
        assert_int_equal(options.log_format, i % 2 ? LOG_TEXT : LOG_JSON);
        options_free(&options);
    }
}

static void test_bad_texts(void **state) {
    static const struct {
        const char *name, *variable, *value, *says;
    } cases[] = {
        {"--bucket-prefix", "S3_WORKER_BUCKET_PREFIX", "", "every bucket"},
        {"--bucket-prefix", "S3_WORKER_BUCKET_PREFIX",
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "63"},
        {"--cron", "S3_WORKER_CRON", "* * * *", "'* * * *'"},
        {"--cron", "S3_WORKER_CRON", "61 * * * *", "'61 * * * *'"},
        {"--store", "FROE_STORE", "sqlite:", "sqlite:PATH"},
        {"--store", "FROE_STORE", "/tmp/x.db", "sqlite:PATH"},
        {"--store", "FROE_STORE", "mysql://x", "sqlite:PATH"},
        {"--include", "FROE_INCLUDE", "", "pattern"},
        {"--include", "FROE_INCLUDE", "[a", "pattern"},
        {"--exclude", "FROE_EXCLUDE", "a\\", "pattern"},
        {"--log", "FROE_LOG", "xml", "neither text nor json"},
        {"--log-level", "FROE_LOG_LEVEL", "loud", "debug, info, warn or error"},
        {"--pool-body", "FROE_POOL_BODY", "file", "is not inline, path or memfd"},
        {"--pool-memory", "FROE_POOL_MEMORY", "much", "is not a size"},
        {"--memory", "FROE_MEMORY", "512M", "is not a size"},
        {"--memory", "FROE_MEMORY", "2000TiB", "is not from"},
        {"--confine", "FROE_CONFINE", "true", "is not no, basic, yes or best-effort"},
        {"--allow-write", "FROE_ALLOW_WRITE", "here", "no absolute path"},
        {"--limit-memory", "FROE_LIMIT_MEMORY", "much", "is not a size"},
        {"--limit-cpu", "FROE_LIMIT_CPU", "5", "is not a length of time"},
        {"--limit-files", "FROE_LIMIT_FILES", "-1", "is not a number"},
        {"--limit-processes", "FROE_LIMIT_PROCESSES", "few", "is not a number"},
        {"--limit-file-size", "FROE_LIMIT_FILE_SIZE", "1 MB", "is not a size"},
        {"--nice", "FROE_NICE", "20", "is not a number from 0 to 19"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[128];
        snprintf(text, sizeof text, "%s: |%s", cases[i].name, cases[i].says);
        REFUSES(text, "run", "--discard", cases[i].name, cases[i].value);
        snprintf(text, sizeof text, "%s: |%s", cases[i].variable, cases[i].says);
        setenv(cases[i].variable, cases[i].value, 1);
        REFUSES(text, "run", "--discard");
        unsetenv(cases[i].variable);
    }
}

static void test_command_line_wins_over_variable(void **state) {
    setenv("S3_WORKER_SLOTS", "7", 1);
    setenv("FROE_STORE", "sqlite:/v.db", 1);
    setenv("FROE_INCLUDE", "variable*", 1);
    setenv("FROE_TIMEOUT", "nonsense", 1); /* not even looked at when the command line has a value */
    struct options options =
        PARSE("run", "--discard", "--slots", "9", "--store", "sqlite:/c.db", "--include", "line*", "--timeout", "5s");
    assert_int_equal(options.slots, 9);
    assert_string_equal(options.store, "sqlite:/c.db");
    assert_int_equal(options.n_include, 1);
    assert_string_equal(options.include[0], "line*");
    assert_int_equal(options.timeout_us, 5000000);
    options_free(&options);
    unsetenv("FROE_TIMEOUT");
    options = PARSE("run", "--discard");
    assert_int_equal(options.slots, 7);
    assert_string_equal(options.store, "sqlite:/v.db");
    assert_string_equal(options.include[0], "variable*");
    options_free(&options);
    options = PARSE("run", "--discard", "--slots", "1", "--slots", "2", "--store", "sqlite:/1", "--store", "sqlite:/2");
    assert_int_equal(options.slots, 2); /* the last one */
    assert_string_equal(options.store, "sqlite:/2");
    options_free(&options);
}

/* A variable of an option that a command does not have is none of its business. */
static void test_variables_concern_only_their_commands(void **state) {
    setenv("S3_WORKER_SLOTS", "nonsense", 1);
    struct options options = PARSE("status");
    options_free(&options);
    options = PARSE("parked", "list");
    options_free(&options);
    setenv("FROE_STORE", "nonsense", 1);
    options = PARSE("demo");
    assert_null(options.store);
    options_free(&options);
    REFUSES("FROE_STORE", "status");
}

static void test_place_of_the_store(void **state) {
    setenv("XDG_STATE_HOME", "/state", 1);
    struct options options = PARSE("status");
    assert_string_equal(options.store, "sqlite:/state/froe/froe.db");
    options_free(&options);
    setenv("XDG_STATE_HOME", "relative", 1);
    options = PARSE("status");
    assert_string_equal(options.store, "sqlite:/home/somebody/.local/state/froe/froe.db");
    options_free(&options);
    setenv("XDG_STATE_HOME", "", 1);
    unsetenv("HOME");
    REFUSES("--store sqlite:PATH|HOME", "status");
    options = PARSE("status", "--store=sqlite:x");
    options_free(&options);
    options = PARSE("check"); /* needs none */
    assert_null(options.store);
    options_free(&options);
}

static void test_program(void **state) {
    struct options options = PARSE("run", "--once", "--", "convert", "-", "--slots", "--", "out.png");
    assert_true(options.once);
    assert_int_equal(options.slots, 40); /* what follows is the program's */
    assert_string_equal(options.program[0], "convert");
    assert_string_equal(options.program[2], "--slots");
    assert_string_equal(options.program[3], "--");
    assert_string_equal(options.program[4], "out.png");
    assert_null(options.program[5]);
    options_free(&options);
    REFUSES("no program after --", "run", "--");
    REFUSES("'convert'|-- convert", "run", "convert");
    REFUSES("-- PROGRAM|--discard", "run", "--once");
    REFUSES("exclude each other", "run", "--discard", "--", "cat");
    options = PARSE("run", "--dry-run"); /* needs neither */
    options_free(&options);
    options = PARSE("run", "--dry-run", "--", "cat");
    options_free(&options);
}

static void test_pool(void **state) {
    struct options options = PARSE("run", "--", "cat");
    assert_false(options.pool);
    assert_int_equal(options.pool_body, HANDLER_POOL_INLINE);
    assert_true(options.pool_workers == 0 && options.pool_recycle == 0 && options.pool_memory_bytes == 0);
    assert_int_equal(options.memory_bytes, 512 << 20);
    options_free(&options);
    options = PARSE("run", "--pool", "--pool-workers", "3", "--pool-body", "path", "--pool-recycle", "100",
                    "--pool-memory", "1GiB", "--memory", "0", "--", "cat");
    assert_true(options.pool && options.pool_body == HANDLER_POOL_PATH);
    assert_true(options.pool_workers == 3 && options.pool_recycle == 100 && options.pool_memory_bytes == 1 << 30);
    assert_int_equal(options.memory_bytes, 0);
    options_free(&options);
    options = PARSE("run", "--pool", "--pool-body", "memfd", "--", "cat");
    assert_int_equal(options.pool_body, HANDLER_POOL_MEMFD);
    options_free(&options);
    REFUSES("--pool needs|-- PROGRAM", "run", "--pool");
    REFUSES("--pool needs|-- PROGRAM", "run", "--pool", "--discard");
}

static void test_confine(void **state) {
    static const struct {
        const char *word;
        enum confine_level level;
        bool best_effort;
    } words[] = {{"no", CONFINE_NO, false},
                 {"basic", CONFINE_BASIC, false},
                 {"yes", CONFINE_STRICT, false},
                 {"best-effort", CONFINE_STRICT, true}};
    struct options options = PARSE("run", "--", "cat");
    assert_int_equal(options.confine.level, CONFINE_BASIC);
    assert_true(!options.confine.network && options.confine.n_write == 0 && options.confine.memory_bytes == 0);
    options_free(&options);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        options = PARSE("run", "--confine", words[i].word, "--", "cat");
        assert_int_equal(options.confine.level, words[i].level);
        assert_int_equal(options.confine.best_effort, words[i].best_effort);
        assert_string_equal(option_confine_word(&options.confine), words[i].word);
        options_free(&options);
    }
    options = PARSE("run", "--allow-network", "--allow-write", "/a", "--allow-write=/b", "--limit-memory", "1GiB",
                    "--limit-cpu", "90s", "--limit-files", "32", "--limit-processes", "100", "--limit-file-size", "5MB",
                    "--nice", "10", "--", "cat");
    const struct options_confine *confine = &options.confine;
    assert_true(confine->network && confine->n_write == 2);
    assert_string_equal(confine->write[1], "/b");
    assert_true(confine->memory_bytes == 1 << 30 && confine->file_bytes == 5000000);
    assert_int_equal(confine->cpu_us, 90000000);
    assert_true(confine->files == 32 && confine->processes == 100 && confine->nice == 10);
    options_free(&options);
}

static void test_plugin(void **state) {
    struct options options = PARSE("run", "--plugin", "./x.so", "--", "a", "b");
    assert_string_equal(options.plugin[0], "./x.so");
    assert_string_equal(options.plugin[2], "b");
    assert_null(options.plugin[3]);
    assert_null(options.program);
    options_free(&options);
    options = PARSE("run", "--plugin", "./x.so");
    assert_string_equal(options.plugin[0], "./x.so");
    assert_null(options.plugin[1]);
    options_free(&options);
    REFUSES("exclude each other", "run", "--plugin", "./x.so", "--discard");
    REFUSES("--plugin: it is empty", "run", "--plugin", "");
}

static void test_parked(void **state) {
    struct options options = PARSE("parked", "list");
    assert_string_equal(options.action, "list");
    options_free(&options);
    options = PARSE("parked", "retry", "--bucket", "b", "--key=k=1", "--json");
    assert_string_equal(options.bucket, "b");
    assert_string_equal(options.key, "k=1");
    assert_true(options.json);
    options_free(&options);
    options = PARSE("parked", "drop", "--all");
    assert_true(options.all);
    options_free(&options);
    REFUSES("froe parked list, retry or drop", "parked");
    REFUSES("list|retry|drop", "parked", "forget");
    REFUSES("--bucket|--all", "parked", "retry");
    REFUSES("--bucket|--all", "parked", "drop", "--json");
    REFUSES("--key needs --bucket", "parked", "list", "--key", "k");
    REFUSES("exclude each other", "parked", "retry", "--all", "--bucket", "b");
    REFUSES("'more'", "parked", "retry", "more", "--all");
}

static void test_mistakes(void **state) {
    refuses(1, ARGS(NULL), "no command|froe help");
    REFUSES("'drain'|froe help", "drain");
    REFUSES("'--slot'|did you mean --slots?", "run", "--slot", "4");
    REFUSES("did you mean --max-pollers?", "run", "--max-poller=4");
    REFUSES("did you mean --dry-run?", "run", "--dryrun");
    REFUSES("'--frobnicate'|froe help run", "run", "--frobnicate");
    REFUSES("'--max-pollers'|froe help status", "status", "--max-pollers", "4"); /* another command's */
    REFUSES("--once takes no value", "run", "--once=yes");
    REFUSES("--slots needs a value|--slots N", "run", "--slots");
    REFUSES("--store needs a value", "run", "--store", "--", "cat");
    REFUSES("'extra'", "status", "extra");
    REFUSES("'-x'", "run", "-x", "--discard");
    char name[400] = "--";
    memset(name + 2, 'x', sizeof name - 3);
    name[sizeof name - 1] = '\0';
    REFUSES("unknown option|froe help run", "run", name);
    REFUSES("unknown command", name);
}

static void test_too_many_patterns(void **state) {
    const char *argv[2 * GLOBS_MAX + 8] = {"froe", "run", "--discard"};
    int argc = 3;
    for (int i = 0; i <= GLOBS_MAX; i++) {
        argv[argc++] = "--exclude";
        argv[argc++] = "x";
    }
    refuses(argc, argv, "--exclude|64");
    struct options options = parse(argc - 2, argv);
    assert_int_equal(options.n_exclude, GLOBS_MAX);
    options_free(&options);
}

/* ---- help ---- */

static char *help_of(enum command_id command) {
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    assert_non_null(out);
    options_help(out, command);
    fclose(out);
    return text;
}

static void test_help_names_every_option_and_variable(void **state) {
    static const char *const options[] = {
        "--bucket-prefix",
        "--max-pollers",
        "--max-runs-per-bucket",
        "--slots",
        "--cron",
        "--store",
        "--retries",
        "--timeout",
        "--backoff",
        "--min-age",
        "--include",
        "--exclude",
        "--look-ahead",
        "--once",
        "--dry-run",
        "--log",
        "--log-level",
        "--discard",
        "--history",
        "--history-size",
        "--worker",
        "--lease",
        "--config",
        "--pool",
        "--pool-workers",
        "--pool-body",
        "--pool-recycle",
        "--pool-memory",
        "--memory",
        "--plugin",
        "--confine",
        "--allow-network",
        "--allow-write",
        "--limit-memory",
        "--limit-cpu",
        "--limit-files",
        "--limit-processes",
        "--limit-file-size",
        "--nice",
    };
    char *help = help_of(COMMAND_RUN);
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        if (!strstr(help, options[i]))
            fail_msg("help does not know %s", options[i]);
    for (size_t i = 0; i < N_VARIABLES; i++)
        if (!strstr(help, variables[i]))
            fail_msg("help does not know %s", variables[i]);
    static const char *const texts[] = {"(bucket-)", "(40)", "(* * * * *)", "(60s)", "FROE_BUCKET", "75", "Exit codes"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (!strstr(help, texts[i]))
            fail_msg("help does not say %s", texts[i]);
    free(help);
}

static void test_help_of_every_command(void **state) {
    static const char *const names[] = {"run",   "status", "parked", "runs",   "workflows", "workers",
                                        "check", "demo",   "cron",   "config", "version",   "help"};
    char *overview = help_of(COMMAND_HELP);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        enum command_id command;
        struct err err = {0};
        assert_int_equal(options_command(names[i], &command, &err), 0);
        assert_int_equal(command, i);
        assert_non_null(strstr(overview, names[i]));
        char *help = help_of(command);
        assert_non_null(strstr(help, names[i]));
        if (command != COMMAND_HELP)
            assert_non_null(strstr(help, "usage: froe"));
        free(help);
        struct options options = PARSE(names[i], "--help");
        assert_true(options.help);
        assert_int_equal(options.command, command);
        options_free(&options);
        options = PARSE(names[i], "-h");
        assert_true(options.help);
        options_free(&options);
        options = PARSE("help", names[i]);
        assert_int_equal(options.command, COMMAND_HELP);
        assert_string_equal(options.action, names[i]);
        options_free(&options);
    }
    free(overview);
    static const char *const asks[] = {"help", "--help", "-h"};
    for (size_t i = 0; i < 3; i++) {
        struct options options = PARSE(asks[i]);
        assert_int_equal(options.command, COMMAND_HELP);
        options_free(&options);
    }
    struct options options = PARSE("--version");
    assert_int_equal(options.command, COMMAND_VERSION);
    options_free(&options);
}

/* Help is given whatever else is wrong on the line or in the environment. */
static void test_help_comes_first(void **state) {
    setenv("S3_WORKER_SLOTS", "nonsense", 1);
    struct options options = PARSE("run", "--help");
    assert_true(options.help);
    options_free(&options);
}

static void test_any_allocation_may_fail(void **state) {
    char **argv = make_argv(7, ARGS("run", "--discard", "--store", "sqlite:a", "--store", "sqlite:b"));
    for (uint64_t n = 1;; n++) {
        struct options options;
        struct err err = {0};
        mem_fail_at(n, 0);
        int r = options_parse(7, argv, &options, &err);
        mem_fail_at(0, 0);
        if (r == 0) {
            assert_string_equal(options.store, "sqlite:b");
            options_free(&options);
            assert_true(n > 2);
            break;
        }
        assert_int_equal(r, -ENOMEM);
    }
    struct options options;
    struct err err = {0};
    mem_fail_at(1, 1);
    int r = options_parse(2, make_argv(2, ARGS("status")), &options, &err);
    mem_fail_at(0, 0);
    assert_int_equal(r, -ENOMEM);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, clean, clean)
    const struct CMUnitTest tests[] = {
        TEST(test_defaults),
        TEST(test_numbers),
        TEST(test_durations),
        TEST(test_texts),
        TEST(test_bad_texts),
        TEST(test_command_line_wins_over_variable),
        TEST(test_variables_concern_only_their_commands),
        TEST(test_place_of_the_store),
        TEST(test_program),
        TEST(test_pool),
        TEST(test_confine),
        TEST(test_plugin),
        TEST(test_parked),
        TEST(test_mistakes),
        TEST(test_too_many_patterns),
        TEST(test_help_names_every_option_and_variable),
        TEST(test_help_of_every_command),
        TEST(test_help_comes_first),
        TEST(test_any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
