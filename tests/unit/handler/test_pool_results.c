/* test_pool_results.c - workers that give something back, as announced or not. */
#include "pool_support.h"

#include "cleanup.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#define SECOND_US INT64_C(1000000)
#define MIB (UINT64_C(1) << 20)

static const struct handler_pool_options one = {.workers = 1, .kill_grace_us = 20 * SECOND_US};

static void closes_clean(struct world *world) {
    close_pool(world);
    assert_int_equal(world->budget.used_bytes, 0);
}

/* The object fails, with `text` in its words, and so its worker is another one next. */
static void fails(struct world *world, const char *key, enum handler_end end, const char *text) {
    ends(world, "k", BYTES("x"), HANDLER_OK, "");
    int pid = last_played(world).pid;
    ends(world, key, BYTES("x"), end, text);
    assert_true(is_dead(pid));
    assert_int_equal(world->budget.used_bytes, 0);
    ends(world, "k", BYTES("x"), HANDLER_OK, "");
    assert_int_not_equal(last_played(world).pid, pid);
}

/* ---- results ---- */

static void test_one_result(void **state) {
    struct world *world = *state;
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, MIB, MIB + 1, 5 * MIB};
    _cleanup_free_ char *expected = make_body(5 * MIB);
    keep_results(world, 8 * MIB, 5 * MIB);
    use_pool(world, one, "");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct attempt attempt;
        char key[64];
        snprintf(key, sizeof key, "give:%zu", sizes[i]);
        whole(world, &attempt, key, BYTES("x"));
        attempt_ends(world, &attempt, HANDLER_OK);
        assert_int_equal(attempt.n_parts, 1);
        part_is(&attempt, 0, "", bytes_of(expected, sizes[i]));
        assert_string_equal(attempt.parts[0].content_type, "a/b");
        assert_string_equal(attempt.parts[0].extension, "c");
        assert_int_equal(attempt.parts[0].body.in_file, sizes[i] > MIB);
        attempt_free(&attempt);
        assert_int_equal(world->budget.used_bytes, 0);
    }
    assert_int_equal(count_lines(world, "starts"), 1);
    /* None is no failure: what becomes of it is for others to say. */
    struct attempt attempt;
    whole(world, &attempt, "k", BYTES("x"));
    attempt_ends(world, &attempt, HANDLER_OK);
    assert_int_equal(attempt.n_parts, 0);
    attempt_free(&attempt);
    closes_clean(world);
}

static void test_several_results(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    _cleanup_free_ char *expected = make_body(2 * MIB);
    keep_results(world, 8 * MIB, 0);
    use_pool(world, one, "");
    whole(world, &attempt, "parts:0,3,1500000,0,70000", BYTES("x"));
    attempt_ends(world, &attempt, HANDLER_OK);
    static const size_t sizes[] = {0, 3, 1500000, 0, 70000};
    assert_int_equal(attempt.n_parts, 5);
    for (size_t i = 0, at = 0; i < 5; at += sizes[i++]) {
        char text[8];
        snprintf(text, sizeof text, "p%zu", i);
        part_is(&attempt, i, text, bytes_of(expected + at, sizes[i]));
        snprintf(text, sizeof text, "x/%zu", i);
        assert_string_equal(attempt.parts[i].content_type, i ? text : "");
        snprintf(text, sizeof text, "e%zu", i);
        assert_string_equal(attempt.parts[i].extension, i ? text : "");
    }
    attempt_free(&attempt);
    whole(world, &attempt, "parts:1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", BYTES("x"));
    attempt_ends(world, &attempt, HANDLER_OK);
    assert_int_equal(attempt.n_parts, HANDLER_PARTS_MAX);
    attempt_free(&attempt);
    assert_int_equal(count_lines(world, "starts"), 1);
    closes_clean(world);
}

/* Large bodies that are streamed in, and large results that come out, with few workers and many objects. */
static void test_many_at_once(void **state) {
    struct world *world = *state;
    enum { N = 60 };
    static struct attempt attempts[N];
    size_t n = 200000, before = count_fds(getpid());
    _cleanup_free_ char *body = make_body(n), *expected = make_body(2000000);
    char key[64];
    keep_results(world, 4 * MIB, 0);
    use_pool(world, (struct handler_pool_options){.workers = 3, .kill_grace_us = SECOND_US}, "");
    for (size_t i = 0; i < N; i++) { /* of 200 KB, some of 2 MB */
        snprintf(key, sizeof key, "give:%zu", i % 10 ? i * 3000 : 1800000 + i);
        whole(world, &attempts[i], key, bytes_of(body, i % 2 ? 40000 : 100));
    }
    for (size_t i = 0; i < N; i++) {
        attempt_ends(world, &attempts[i], HANDLER_OK);
        assert_true(world->budget.used_bytes <= 4 * MIB);
        part_is(&attempts[i], 0, "", bytes_of(expected, i % 10 ? i * 3000 : 1800000 + i));
        if (i % 2)
            attempt_free(&attempts[i]);
    }
    for (size_t i = 0; i < N; i += 2)
        attempt_free(&attempts[i]);
    closes_clean(world);
    run_for_ms(world, 10);
    assert_int_equal(count_fds(getpid()), before);
}

/* The example that users begin with. */
static void test_example(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    struct err err = {0};
    char unpack[300];
    size_t n = 300000, at = 0;
    _cleanup_free_ char *body = make_body(n), *got = mem_alloc(n + 1);
    const char *const argv[] = {EXAMPLES "/pool/gzip_worker.py", NULL};
    keep_results(world, 8 * MIB, 0);
    struct handler_pool_options options = {
        .argv = argv, .spawner = world->spawner, .workers = 1, .kill_grace_us = SECOND_US, .results = &world->results};
    assert_int_equal(handler_pool_new(&world->loop, &options, &world->handler, &err), 0);
    for (int i = 0; i < 3; i++, at = 0) {
        size_t size = i == 1 ? n : (size_t)i; /* one of none, one that is streamed */
        whole(world, &attempt, "k", bytes_of(body, size));
        attempt_ends(world, &attempt, HANDLER_OK);
        assert_int_equal(attempt.n_parts, 1);
        assert_string_equal(attempt.parts[0].content_type, "application/gzip");
        assert_string_equal(attempt.parts[0].extension, "gz");
        snprintf(unpack, sizeof unpack, "gzip -dc < /proc/%d/fd/%d", (int)getpid(), attempt.parts[0].body.fd);
        FILE *unpacked = popen(unpack, "re");
        for (size_t more; (more = fread(got + at, 1, n + 1 - at, unpacked)) > 0;)
            at += more;
        assert_int_equal(pclose(unpacked), 0);
        assert_true(bytes_equal(bytes_of(got, at), bytes_of(body, size)));
        attempt_free(&attempt);
    }
    closes_clean(world);
}

/* ---- results that are not as announced ---- */

static void test_bad_results(void **state) {
    struct world *world = *state;
    size_t before = count_fds(getpid());
    keep_results(world, 8 * MIB, 3 * MIB);
    use_pool(world, one, "");
    fails(world, "few:100:40", HANDLER_FAILED,
          "the worker ended after 40 of the 100 bytes of its results: exit status 4: oh no");
    fails(world, "few:100:0", HANDLER_FAILED, "after 0 of the 100 bytes");
    fails(world, "few:3000000:2000000", HANDLER_FAILED, "after 2000000 of the 3000000 bytes");
    fails(world, "many:100:101", HANDLER_FAILED, "more than the results that it had announced");
    fails(world, "many:65000:65001", HANDLER_FAILED, "more than the results that it had announced");
    fails(world, "many:100:1000000", HANDLER_FAILED, "more than the results that it had announced");
    fails(world, "many:3145729:10", HANDLER_FAILED, "the worker has results of 3.0 MiB, and 3.0 MiB is their limit");
    fails(world, "many:9000000000000000000:10", HANDLER_FAILED, "is their limit");
    fails(world, "many:9223372036854775808:10", HANDLER_FAILED, "is no answer");
    ends(world, "give:3145728", BYTES("x"), HANDLER_OK, "");
    closes_clean(world);
    run_for_ms(world, 10);
    assert_int_equal(count_fds(getpid()), before);
}

/* A pool that has nowhere to put them. */
static void test_results_that_nobody_wants(void **state) {
    struct world *world = *state;
    use_pool(world, one, "");
    fails(world, "give:3", HANDLER_FAILED, "nowhere for it to go: say where, with `output` in the rule");
    fails(world, "parts:0,1", HANDLER_FAILED, "nowhere for it to go");
    int pid = last_played(world).pid;
    ends(world, "give:0", BYTES("x"), HANDLER_OK, ""); /* nothing is lost */
    ends(world, "parts:0,0", BYTES("x"), HANDLER_OK, "");
    assert_int_equal(last_played(world).pid, pid);
}

static void test_abort_in_the_midst(void **state) {
    struct world *world = *state;
    struct attempt attempts[2];
    keep_results(world, 8 * MIB, 0);
    use_pool(world, one, "");
    whole(world, &attempts[0], "stuck:300000:200000", BYTES("x"));
    whole(world, &attempts[1], "give:10", BYTES("x"));
    for (int i = 0; i < 3000 && world->budget.used_bytes < 200000; i++)
        run_for_ms(world, 10);
    attempt_abort(&attempts[0], "timed out");
    attempt_ends(world, &attempts[0], HANDLER_ABORTED);
    assert_string_equal(attempts[0].text, "timed out");
    attempt_ends(world, &attempts[1], HANDLER_OK);
    attempt_free(&attempts[0]);
    attempt_free(&attempts[1]);
    closes_clean(world);
}

/* A worker that is replaced after its result, one that ends by itself with it, and one that is killed by somebody. */
static void test_replaced(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    keep_results(world, 8 * MIB, 0);
    use_pool(world, (struct handler_pool_options){.workers = 1, .recycle_objects = 2, .kill_grace_us = SECOND_US}, "");
    for (int i = 0; i < 10; i++)
        ends(world, "give:70000", BYTES("x"), HANDLER_OK, "");
    assert_int_equal(count_lines(world, "starts"), 5);
    closes_clean(world);
    use_pool(world, one, "");
    ends(world, "few:60000:60000", BYTES("x"), HANDLER_OK, ""); /* all of it is there, whatever becomes of the worker */
    ends(world, "k", BYTES("x"), HANDLER_OK, "");
    whole(world, &attempt, "stuck:300000:200000", BYTES("x"));
    for (int i = 0; i < 3000 && world->budget.used_bytes < 200000; i++)
        run_for_ms(world, 10);
    kill(last_played(world).pid, SIGKILL);
    attempt_ends(world, &attempt, HANDLER_FAILED);
    assert_non_null(strstr(attempt.text, "after 200000 of the 300000 bytes of its results: killed by signal 9"));
    attempt_free(&attempt);
    closes_clean(world);
}

/* ---- the machine ---- */

static bool spool_fails_at(struct world *world, uint64_t at, int error, enum handler_end end, bool *ret_well) {
    struct attempt attempt;
    spool_fail_at(at, error);
    whole(world, &attempt, "parts:5,1200000,70000", BYTES("x"));
    run_until(world, &attempt.done);
    bool reached = spool_fail_count() >= at;
    spool_fail_at(0, 0);
    *ret_well = attempt.end == HANDLER_OK;
    if (*ret_well) {
        assert_int_equal(attempt.parts[1].body.n, 1200000);
    } else {
        assert_int_equal(attempt.end, end);
        assert_non_null(strstr(attempt.text, "the worker's result cannot be kept: cannot write to a file in '/tmp/"));
        assert_non_null(strstr(attempt.text, strerror(error)));
    }
    attempt_free(&attempt);
    assert_int_equal(world->budget.used_bytes, 0);
    return reached;
}

/* What goes wrong in memory goes on in a file; what goes wrong with the file is told. How many calls there are depends
 * on how much comes at a time. */
static void spool_fails(struct world *world, int error, enum handler_end end) {
    bool well = true;
    keep_results(world, 64 * MIB, 0);
    use_pool(world, one, "");
    for (uint64_t at = 1; spool_fails_at(world, at, error, end, &well); at++)
        assert_true(well || at > 2);
    world->budget.max_bytes = 0;
    for (uint64_t at = 1; at <= 5; at++) {
        assert_true(spool_fails_at(world, at, error, end, &well));
        assert_false(well);
    }
    closes_clean(world);
}

static void test_no_space(void **state) {
    spool_fails(*state, ENOSPC, HANDLER_FAILED);
    spool_fails(*state, ENFILE, HANDLER_NOT_RUN);
}

static void test_no_descriptors(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    struct rlimit limit, small;
    keep_results(world, MIB, 0);
    use_pool(world, one, "");
    ends(world, "k", BYTES("x"), HANDLER_OK, "");
    getrlimit(RLIMIT_NOFILE, &limit);
    int lowest = dup(0);
    close(lowest);
    small = (struct rlimit){(rlim_t)lowest, limit.rlim_max};
    setrlimit(RLIMIT_NOFILE, &small);
    whole(world, &attempt, "give:10", BYTES("x"));
    attempt_ends(world, &attempt, HANDLER_NOT_RUN);
    setrlimit(RLIMIT_NOFILE, &limit);
    assert_non_null(strstr(attempt.text, "Too many open files"));
    attempt_free(&attempt);
    ends(world, "give:10", BYTES("x"), HANDLER_OK, "");
}

static void test_without_memory(void **state) {
    struct world *world = *state;
    size_t before = count_fds(getpid());
    unsigned not_run = 0, well = 0;
    bool reached = true;
    _cleanup_free_ char *expected = make_body(300000);
    keep_results(world, MIB, 0);
    use_pool(world, one, "");
    for (uint64_t at = 1; reached; at++) {
        struct attempt attempt = {0};
        struct err err = {0};
        struct handler_object object = object_of("parts:100000,200000", 1);
        mem_fail_at(at, 0);
        int r = attempt_try(world, &attempt, &object, &err);
        if (r == 0) {
            feed(world, &attempt, BYTES("x"), 1);
            if (!attempt.done)
                attempt_finish(&attempt);
            run_until(world, &attempt.done);
            assert_true(attempt.end == HANDLER_OK || attempt.end == HANDLER_NOT_RUN);
            well += attempt.end == HANDLER_OK;
            not_run += attempt.end == HANDLER_NOT_RUN;
        }
        reached = mem_fail_count() >= at;
        mem_fail_at(0, 0);
        if (r < 0)
            assert_int_equal(r, -ENOMEM);
        if (r == 0 && attempt.end == HANDLER_OK) {
            assert_int_equal(attempt.n_parts, 2);
            part_is(&attempt, 1, "p1", bytes_of(expected + 100000, 200000));
        }
        attempt_free(&attempt);
    }
    assert_true(not_run > 1 && well > 0);
    closes_clean(world);
    run_for_ms(world, 10);
    assert_int_equal(count_fds(getpid()), before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)

int main(int argc, char **argv) {
    spawner_main_if_asked(argc, argv);
    play_worker_if_asked(argc, argv);
    const struct CMUnitTest tests[] = {
        TEST(test_one_result),         TEST(test_several_results),
        TEST(test_many_at_once),       TEST(test_example),
        TEST(test_bad_results),        TEST(test_results_that_nobody_wants),
        TEST(test_abort_in_the_midst), TEST(test_replaced),
        TEST(test_no_space),           TEST(test_no_descriptors),
        TEST(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
