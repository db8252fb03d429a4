/* test_options_looking.c - the command line of the commands that look and act: runs, workflows, workers; stores that
 * are servers; the history's options. */
#include "options.h"

#include "clock.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>
#include <froe.h>

#define ARGS(...) ((const char *const[]){"froe", __VA_ARGS__, NULL})
#define COUNT(args) ((int)(sizeof(args) / sizeof *(args)) - 1)
#define PARSE(...) parse(COUNT(ARGS(__VA_ARGS__)), ARGS(__VA_ARGS__))
#define REFUSES(text, ...) refuses(COUNT(ARGS(__VA_ARGS__)), ARGS(__VA_ARGS__), text)

static int clean(void **state) {
    static const char *const variables[] = {"FROE_STORE",        "FROE_WORKER", "FROE_HISTORY",
                                            "FROE_HISTORY_SIZE", "FROE_LEASE",  "XDG_STATE_HOME"};
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++)
        unsetenv(variables[i]);
    setenv("HOME", "/home/somebody", 1);
    setenv("TZ", "Asia/Kathmandu", 1); /* UTC+05:45 */
    tzset();
    return 0;
}

static char **make_argv(int argc, const char *const *args) {
    static char *argv[64];
    assert_true(argc < 64);
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

/* The error holds all the words in `text`, which are separated by '|'; and no password ever. */
static void refuses(int argc, const char *const *args, const char *text) {
    struct options options;
    struct err err = {0};
    assert_int_equal(options_parse(argc, make_argv(argc, args), &options, &err), -EINVAL);
    char words[256];
    snprintf(words, sizeof words, "%s", text);
    for (char *word = strtok(words, "|"); word; word = strtok(NULL, "|"))
        if (!strstr(err.text, word))
            fail_msg("\"%s\" is not in: %s", word, err.text);
    assert_null(strstr(err.text, "secret"));
}

static void test_actions(void **state) {
    static const char *const verbs[] = {"list", "show", "watch", "logs", "cancel", "retry", "replay"};
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (i == 0) {
            REFUSES("takes no ids|runs show 4:7", "runs", verbs[i], "4:7");
            continue;
        }
        struct options options = PARSE("runs", verbs[i], "4:7", "--json");
        assert_string_equal(options.action, verbs[i]);
        assert_int_equal(options.n_names, 1);
        assert_string_equal(options.names[0], "4:7");
        options_free(&options);
    }
    REFUSES("froe runs list, show", "runs");
    REFUSES("'stop'|cancel", "runs", "stop", "4:7");
    REFUSES("'4711'|4711:12|runs list", "runs", "show", "4711");
    REFUSES("'4:x'", "runs", "cancel", "4:7", "4:x");
    REFUSES("needs one", "runs", "show");
    REFUSES("needs one", "runs", "show", "4:7", "4:8");
    REFUSES("takes one run", "runs", "watch", "4:7", "4:8");
    REFUSES("workflows list, pause or resume", "workflows");
    REFUSES("'stop'", "workflows", "stop", "w");
    REFUSES("needs the workflow's name|workflows list", "workflows", "pause");
    REFUSES("--groups is for list", "workflows", "pause", "w", "--groups");
    REFUSES("'kill'", "workers", "kill");
    struct options options = PARSE("workers");
    options_free(&options);
    options = PARSE("workers", "list");
    options_free(&options);
    options = PARSE("workflows", "pause", "a", "b");
    assert_int_equal(options.n_names, 2);
    options_free(&options);
    options = PARSE("workflows", "list", "--groups");
    assert_true(options.groups);
    options_free(&options);
}

static void test_filters(void **state) {
    struct options options =
        PARSE("runs", "list", "--workflow=w", "--bucket", "b", "--key", "k/1", "--state", "parked,failed", "--meta",
              "tenant=a=b", "--since", "2026-01-02T03:04:05Z", "--until=2026-01-02T03:04:06.5Z", "--limit", "7");
    assert_string_equal(options.workflow, "w");
    assert_string_equal(options.bucket, "b");
    assert_string_equal(options.key, "k/1");
    assert_int_equal(options.states, 1u << FROE_PARKED | 1u << FROE_FAILED);
    assert_string_equal(options.meta_name, "tenant");
    assert_string_equal(options.meta_value, "a=b");
    assert_int_equal(options.since_utc_us, INT64_C(1767323045000000));
    assert_int_equal(options.until_utc_us, INT64_C(1767323046500000));
    assert_int_equal(options.limit, 7);
    options_free(&options);
    options = PARSE("runs", "list", "--state", "live,finished", "--meta=a=", "--meta", "b=c");
    assert_int_equal(options.states, (2u << FROE_CANCELLED) - (1u << FROE_QUEUED) - (1u << FROE_PARKED));
    assert_string_equal(options.meta_name, "b");
    options_free(&options);
    REFUSES("--state: |'done'|succeeded", "runs", "list", "--state", "done");
    REFUSES("--state: |''", "runs", "list", "--state", "parked,");
    REFUSES("--state: |''", "runs", "list", "--state", "");
    REFUSES("NAME=VALUE", "runs", "list", "--meta", "tenant");
    REFUSES("NAME=VALUE", "runs", "list", "--meta", "=v");
    REFUSES("NAME=VALUE", "runs", "list", "--meta", "n=\xff");
    REFUSES("it is empty", "runs", "list", "--bucket", "");
    REFUSES("it is empty", "runs", "list", "--workflow=");
    REFUSES("--key needs --bucket", "runs", "list", "--key", "k");
    REFUSES("from 1 to", "runs", "list", "--limit", "0");
    REFUSES("not before", "runs", "list", "--since", "2026-01-02T03:04:05Z", "--until", "2026-01-02T03:04:05Z");
}

static int64_t since(const char *text) {
    struct options options = PARSE("runs", "list", "--since", text);
    int64_t utc_us = options.since_utc_us;
    options_free(&options);
    return utc_us;
}

static void test_times(void **state) {
    const int64_t expected = INT64_C(1767323040000000); /* 2026-01-02T03:04:00Z */
    assert_int_equal(since("2026-01-02T03:04:00Z"), expected);
    assert_int_equal(since("2026-01-02 03:04Z"), expected);
    assert_int_equal(since("2026-01-02T05:04:00+02:00"), expected);
    assert_int_equal(since("2026-01-01T22:04-05:00"), expected);
    assert_int_equal(since("2026-01-02T08:49"), expected); /* local */
    assert_int_equal(since("2026-01-02 08:49:00"), expected);
    assert_int_equal(since("2026-01-02T08:49:00.250"), expected + 250000);
    assert_int_equal(since("2026-01-02"), expected - (3 * 60 + 4) * US_PER_MIN - (5 * 60 + 45) * US_PER_MIN);
    int64_t then = since("1h30m"), age = clock_utc_us(&clock_system) - then;
    assert_true(age > 89 * US_PER_MIN && age < 91 * US_PER_MIN); /* the wall clock may be put right in between */
    static const char *const bad[] = {"",
                                      "yesterday",
                                      "10",
                                      "2026-13-01",
                                      "2026-01-02T",
                                      "2026-01-02T25:00Z",
                                      "2026-01-02T03:04+24:00",
                                      "2026-01-02x03:04",
                                      "03:04",
                                      "1960-01-01"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        REFUSES("--until: |is no time|10m", "runs", "list", "--until", bad[i]);
    REFUSES("--until: |'400000d'|before 1970", "runs", "list", "--until", "400000d");
}

static void test_what_changes_runs_must_be_told_which(void **state) {
    static const char *const verbs[] = {"cancel", "retry", "replay"};
    for (size_t i = 0; i < 3; i++) {
        REFUSES("ids|--bucket|--all", "runs", verbs[i]);
        REFUSES("ids|--all", "runs", verbs[i], "--json");
        REFUSES("ids or a filter", "runs", verbs[i], "4:7", "--bucket", "b");
        REFUSES("exclude each other", "runs", verbs[i], "4:7", "--all");
        REFUSES("exclude each other", "runs", verbs[i], "--all", "--workflow", "w");
        struct options options = PARSE("runs", verbs[i], "--all");
        assert_true(options.all);
        options_free(&options);
        options = PARSE("runs", verbs[i], "--since", "1h");
        options_free(&options);
        options = PARSE("runs", verbs[i], "1:2", "3:4", "5:6");
        assert_int_equal(options.n_names, 3);
        options_free(&options);
    }
    REFUSES("--all is for cancel", "runs", "list", "--all");
    REFUSES("--follow is for logs", "runs", "list", "--follow");
    REFUSES("not a filter", "runs", "logs", "--bucket", "b");
    REFUSES("for list", "runs", "watch", "--since", "1h");
    REFUSES("for list", "runs", "watch", "--limit", "3");
    struct options options = PARSE("runs", "logs", "--follow");
    assert_true(options.follow);
    options_free(&options);
}

static void test_servers(void **state) {
    struct options options = PARSE("run", "--discard", "--store", "postgres://me@db.example/froe?sslmode=require");
    assert_string_equal(options.store, "postgres://me@db.example/froe?sslmode=require");
    assert_string_equal(options.store_shown, options.store);
    assert_null(options_store_path(&options));
    options_free(&options);
    REFUSES("--store: |~/.pgpass|PGPASSWORD|FROE_STORE", "status", "--store", "postgres://me:secret@db/froe");
    REFUSES("--store: |PGPASSWORD", "status", "--store", "postgres://db/froe?password=secret");
    REFUSES("--store: |not a store", "status", "--store", "mysql://me:secret@db/froe");
    setenv("FROE_STORE", "postgres://me:secret@db/froe", 1);
    options = PARSE("status");
    assert_string_equal(options.store, "postgres://me:secret@db/froe");
    assert_string_equal(options.store_shown, "postgres://me:***@db/froe");
    options_free(&options);
    setenv("FROE_STORE", "pg://me:secret@db/froe", 1);
    REFUSES("FROE_STORE: |***", "status");
}

static void test_lease(void **state) {
    struct options options = PARSE("run", "--discard");
    assert_int_equal(options.lease_us, 30 * US_PER_S);
    options_free(&options);
    options = PARSE("run", "--discard", "--lease", "1s");
    assert_int_equal(options.lease_us, US_PER_S);
    options_free(&options);
    setenv("FROE_LEASE", "2m", 1);
    options = PARSE("run", "--discard");
    assert_int_equal(options.lease_us, 2 * US_PER_MIN);
    options_free(&options);
    REFUSES("--lease: ", "run", "--discard", "--lease", "999ms");
    REFUSES("--lease: ", "run", "--discard", "--lease", "25h");
}

static void test_history(void **state) {
    struct options options = PARSE("run", "--discard");
    assert_int_equal(options.history_us, 24 * US_PER_HOUR);
    assert_int_equal(options.history_bytes, 256 * 1024 * 1024);
    assert_null(options.worker);
    options_free(&options);
    options = PARSE("run", "--discard", "--history", "0", "--history-size=2GiB", "--worker", "left");
    assert_int_equal(options.history_us, 0);
    assert_int_equal(options.history_bytes, INT64_C(2) << 30);
    assert_string_equal(options.worker, "left");
    options_free(&options);
    setenv("FROE_HISTORY", "7d", 1);
    setenv("FROE_HISTORY_SIZE", "5mb", 1);
    setenv("FROE_WORKER", "right", 1);
    options = PARSE("run", "--discard");
    assert_int_equal(options.history_us, 7 * 24 * US_PER_HOUR);
    assert_int_equal(options.history_bytes, 5000000);
    assert_string_equal(options.worker, "right");
    options_free(&options);
    static const char *const bad[] = {"", "1", "1023KiB", "-1GiB", "GiB", "1 GiB", "1GiBs", "99999999999TiB", "1.5GiB"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        REFUSES("--history-size: ", "run", "--discard", "--history-size", bad[i]);
    REFUSES("--history: ", "run", "--discard", "--history", "1y");
    char name[140];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    REFUSES("--worker: |128", "run", "--discard", "--worker", name);
    REFUSES("--worker: ", "run", "--discard", "--worker", "\xff");
}

static void test_any_allocation_may_fail(void **state) {
    for (uint64_t n = 1;; n++) {
        struct options options;
        struct err err = {0};
        char **argv = make_argv(8, ARGS("runs", "cancel", "--meta", "a=b", "--meta", "c=d", "--bucket=b"));
        mem_fail_at(n, 0);
        int r = options_parse(8, argv, &options, &err);
        bool done = mem_fail_count() < n;
        mem_fail_at(0, 0);
        if (r == 0)
            options_free(&options);
        if (done) {
            assert_int_equal(r, 0);
            break;
        }
        assert_true(r == -ENOMEM);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_actions, clean),
        cmocka_unit_test_setup(test_filters, clean),
        cmocka_unit_test_setup(test_times, clean),
        cmocka_unit_test_setup(test_what_changes_runs_must_be_told_which, clean),
        cmocka_unit_test_setup(test_servers, clean),
        cmocka_unit_test_setup(test_lease, clean),
        cmocka_unit_test_setup(test_history, clean),
        cmocka_unit_test_setup(test_any_allocation_may_fail, clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
