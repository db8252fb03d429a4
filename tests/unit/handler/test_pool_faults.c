/* test_pool_faults.c - workers that do not behave, a machine that does not, and callers that change their mind. */
#include "pool_support.h"

#include "cleanup.h"
#include "pool_protocol.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define SECOND_US INT64_C(1000000)

static const struct handler_pool_options one = {.workers = 1, .kill_grace_us = SECOND_US / 10};

/* ---- workers ---- */

/* Each costs the worker its place and the object an attempt; the next object is well. */
static void test_bad_workers(void **state) {
    struct world *world = *state;
    static const struct {
        const char *key, *text;
    } cases[] = {
        {"crash", "the worker ended without an answer: killed by signal 11 (SIGSEGV): the last words"},
        {"crash-early", "killed by signal 9 (SIGKILL)"},
        {"exit", "the worker ended without an answer: exit status 3"},
        {"garbage", "what the worker wrote to its stdout is no answer: 'hello'"},
        {"binary", "is no answer: '\\x00\\xff'"},
        {"chatter", "is no answer: 'loading...'"},
        {"huge", "a line of more than 64 KiB"},
        {"endless", "a line of more than 64 KiB"},
        {"close-stdout", "the worker ended without an answer: killed by signal 15 (SIGTERM)"},
        {"cut", "exit status 0"},
        {"wrong-id", "not for the object that it was given (\"id\"): '{\"id\":4711,"},
        {"result", "there is nowhere for it to go: say where, with `output` in the rule"},
        {"status", "the answer's \"status\" is none of ok, retry and fail"},
        {"ok-unread", "the worker answered without having read the whole body"},
        {"fail-unread", "not wanted"},
    };
    size_t n = 300000, before = count_fds(getpid());
    _cleanup_free_ char *body = make_body(n);
    /* They are told apart by the signal that ends them, on however slow a machine. */
    use_pool(world, (struct handler_pool_options){.workers = 1, .kill_grace_us = 2 * SECOND_US}, "");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ends(world, "k", BYTES("x"), HANDLER_OK, "");
        int pid = last_played(world).pid;
        ends(world, cases[i].key, BYTES("a small body"), HANDLER_FAILED, cases[i].text);
        assert_true(is_dead(pid));
        ends(world, "k", BYTES("x"), HANDLER_OK, "");
        assert_int_not_equal(last_played(world).pid, pid);
        ends(world, cases[i].key, bytes_of(body, n), HANDLER_FAILED, cases[i].text);
    }
    ends(world, "close-stdin", bytes_of(body, n), HANDLER_FAILED, "killed by signal 15 (SIGTERM)");
    close_pool(world);
    run_for_ms(world, 10);
    assert_int_equal(count_fds(getpid()), before);
}

/* What comes after a good answer does not change it, but costs the worker its place. */
static void test_more_than_an_answer(void **state) {
    struct world *world = *state;
    use_pool(world, one, "");
    ends(world, "k", BYTES("x"), HANDLER_OK, "");
    int pid = last_played(world).pid;
    ends(world, "twice", BYTES("x"), HANDLER_OK, "");
    ends(world, "k", BYTES("x"), HANDLER_OK, "");
    assert_int_not_equal(last_played(world).pid, pid);
    pid = last_played(world).pid;
    ends(world, "then-chatter", BYTES("x"), HANDLER_OK, "");
    assert_true(dies(world, pid)); /* though it has nothing to do */
    ends(world, "k", BYTES("x"), HANDLER_OK, "");
}

static void test_bad_ones_among_many(void **state) {
    struct world *world = *state;
    static const char *const bad[] = {"crash", "garbage", "exit", "chatter", "wrong-id", "fail"};
    enum { N = 120 };
    static struct attempt attempts[N];
    use_pool(world, (struct handler_pool_options){.workers = 3, .kill_grace_us = SECOND_US}, "");
    for (int i = 0; i < N; i++)
        whole(world, &attempts[i], i % 20 == 7 ? bad[i / 20] : "k", BYTES("body"));
    for (int i = 0; i < N; i++) {
        attempt_ends(world, &attempts[i], i % 20 == 7 ? HANDLER_FAILED : HANDLER_OK);
        attempt_free(&attempts[i]);
    }
    assert_int_equal(last_played(world).objects, N);
}

/* ---- aborts ---- */

static void test_abort_of_a_hang(void **state) {
    struct world *world = *state;
    struct attempt attempts[2];
    use_pool(world, one, "");
    whole(world, &attempts[0], "hang", BYTES("x"));
    whole(world, &attempts[1], "k", BYTES("x")); /* waits behind it */
    while (!file_exists(world, "hangs"))
        run_for_ms(world, 10);
    int pid = last_played(world).pid;
    attempt_abort(&attempts[0], "timed out");
    attempt_abort(&attempts[0], "again");
    attempt_ends(world, &attempts[0], HANDLER_ABORTED);
    assert_string_equal(attempts[0].text, "timed out");
    assert_true(is_dead(pid));
    attempt_ends(world, &attempts[1], HANDLER_OK);
    attempt_free(&attempts[0]);
    attempt_free(&attempts[1]);
}

static void test_abort_insists(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    use_pool(world, (struct handler_pool_options){.workers = 1, .kill_grace_us = 200000}, "stubborn");
    whole(world, &attempt, "hang", BYTES("x"));
    while (!file_exists(world, "hangs"))
        run_for_ms(world, 10);
    uint64_t before = uv_hrtime();
    attempt_abort(&attempt, "timed out");
    attempt_ends(world, &attempt, HANDLER_ABORTED);
    assert_true(uv_hrtime() - before >= 190000000);
    attempt_free(&attempt);
}

/* Of the objects with this key that workers have had whole. */
static size_t count_played(const struct world *world, const char *key) {
    _cleanup_free_ char *log = file_read(world, "log", NULL);
    char word[64];
    size_t n = 0;
    snprintf(word, sizeof word, " %s ", key);
    for (const char *at = log; at && (at = strstr(at, word)); at++)
        n++;
    return n;
}

static void test_abort_at_any_time(void **state) {
    struct world *world = *state;
    size_t n = 300000;
    _cleanup_free_ char *body = make_body(n);
    for (int path = 0; path < 2; path++) {
        struct attempt attempts[6];
        struct handler_object small = object_of("k", 4), large = object_of("slow", n), late = object_of("late", 4);
        use_pool(world,
                 (struct handler_pool_options){.workers = 1, .body = path ? HANDLER_POOL_PATH : HANDLER_POOL_INLINE},
                 "");
        attempt_start(world, &attempts[0], &small);
        attempt_abort(&attempts[0], "before anything");
        attempt_start(world, &attempts[1], &small);
        attempt_write(&attempts[1], BYTES("ha"));
        attempt_abort(&attempts[1], "in the middle");
        attempt_start(world, &attempts[2], &large);
        while (attempt_write(&attempts[2], bytes_of(body, 16384)))
            ;
        run_for_ms(world, 20);
        attempt_abort(&attempts[2], "while a worker has some of it");
        attempt_start(world, &attempts[3], &late);
        attempt_write(&attempts[3], BYTES("half"));
        attempt_finish(&attempts[3]); /* a worker may have it now, and be quicker than what kills it */
        attempt_abort(&attempts[3], "right after the finish");
        attempt_start(world, &attempts[4], &large);
        feed(world, &attempts[4], bytes_of(body, 16384), 16384);
        attempt_start(world, &attempts[5], &late); /* likewise, where the large one is not with a worker yet */
        attempt_finish(&attempts[5]);
        attempt_abort(&attempts[5], "while it waits");
        attempt_abort(&attempts[4], "and this");
        for (int i = 0; i < 6; i++) {
            attempt_ends(world, &attempts[i], HANDLER_ABORTED);
            assert_int_equal(attempts[i].earlies, 0);
            attempt_free(&attempts[i]);
        }
        ends(world, "k", BYTES("x"), HANDLER_OK, "");
        assert_int_equal(count_played(world, "k"), path + 1);
        assert_int_equal(count_played(world, "slow"), 0);
        assert_in_range(count_played(world, "late"), 0, 2 * (path + 1)); /* each once at the most */
        close_pool(world);
    }
}

/* ---- lengths ---- */

static void test_wrong_lengths(void **state) {
    struct world *world = *state;
    size_t n = 300000;
    _cleanup_free_ char *body = make_body(n);
    struct attempt attempt;
    static const struct {
        uint64_t said;
        size_t n;
        enum handler_end end;
    } cases[] = {
        {0, 5, HANDLER_OK}, /* not known, and small */
        {0, 300000, HANDLER_FAILED},
        {100000, 300000, HANDLER_FAILED},
        {300000, 299999, HANDLER_FAILED},
        {300001, 300000, HANDLER_FAILED},
        {70000, 5, HANDLER_OK}, /* the true length is told */
    };
    use_pool(world, one, "");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct handler_object object = object_of("lengths", cases[i].said);
        attempt_start(world, &attempt, &object);
        feed(world, &attempt, bytes_of(body, cases[i].n), 16384);
        if (!attempt.done)
            attempt_finish(&attempt);
        attempt_ends(world, &attempt, cases[i].end);
        if (cases[i].end == HANDLER_OK)
            played_is(world, "lengths", bytes_of(body, cases[i].n));
        else
            assert_non_null(strstr(attempt.text, "not as long as was said"));
        attempt_free(&attempt);
        ends(world, "k", BYTES("x"), HANDLER_OK, "");
    }
}

static void test_too_much_metadata(void **state) {
    struct world *world = *state;
    static char large[POOL_REQUEST_MAX];
    memset(large, 'x', sizeof large);
    struct handler_meta meta = {BYTES("large"), bytes_of(large, sizeof large)};
    struct handler_object object = object_of("k", 0);
    object.metadata = &meta;
    object.n_metadata = 1;
    struct err err = {0};
    struct handler_job *job = NULL;
    use_pool(world, one, "");
    assert_int_equal(handler_start(world->handler, &object, &(struct handler_events){0}, NULL, &job, &err), -E2BIG);
    assert_non_null(strstr(err.text, "128 KiB"));
    meta.value.n = 100000;
    struct attempt attempt;
    attempt_start(world, &attempt, &object);
    attempt_finish(&attempt);
    attempt_ends(world, &attempt, HANDLER_OK);
    attempt_free(&attempt);
}

/* ---- workers that never come up ---- */

static void test_dies_at_once(void **state) {
    struct world *world = *state;
    use_pool(world, one, "dies");
    uint64_t before = uv_hrtime();
    for (int i = 0; i < 5; i++)
        ends(world, "k", BYTES("x"), HANDLER_FAILED, "exit status 1: no such module");
    /* 50, 100, 200, 400 ms between them, and no worker more than there were objects. */
    assert_true((uv_hrtime() - before) / 1000000 >= 750);
    assert_int_equal(count_lines(world, "starts"), 5);
}

static void test_speaks_first(void **state) {
    struct world *world = *state;
    use_pool(world, one, "greets");
    ends(world, "k", BYTES("x"), HANDLER_FAILED, "is no answer: 'worker ready'");
}

static void test_cannot_run(void **state) {
    struct world *world = *state;
    char path[128];
    struct err err = {0};
    const char *argv[] = {"/nonexistent/program", NULL};
    struct handler_pool_options options = {.argv = argv, .spawner = world->spawner, .workers = 1};
    assert_int_equal(handler_pool_new(&world->loop, &options, &world->handler, &err), -ENOENT);
    assert_true(err.text[0]);
    file_path(world, "program", path);
    FILE *file = fopen(path, "we");
    fputs("no first line that says how to run it\n", file);
    fclose(file);
    assert_int_equal(chmod(path, 0755), 0);
    argv[0] = path;
    assert_int_equal(handler_pool_new(&world->loop, &options, &world->handler, &err), 0);
    ends(world, "k", BYTES("x"), HANDLER_FAILED, "#!");
    assert_int_equal(unlink(path), 0); /* gone since */
    ends(world, "k", BYTES("x"), HANDLER_FAILED, path);
}

/* ---- the machine ---- */

static void test_no_descriptors(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    struct rlimit limit, small;
    use_pool(world, one, "");
    getrlimit(RLIMIT_NOFILE, &limit);
    size_t before = count_fds(getpid());
    for (rlim_t more = 0; more < 6; more++) {
        int lowest = dup(0);
        close(lowest);
        small = limit;
        small.rlim_cur = (rlim_t)lowest + more;
        setrlimit(RLIMIT_NOFILE, &small);
        whole(world, &attempt, "k", BYTES("x"));
        setrlimit(RLIMIT_NOFILE, &limit);
        attempt_ends(world, &attempt, HANDLER_NOT_RUN);
        assert_non_null(strstr(attempt.text, "cannot start a worker"));
        attempt_free(&attempt);
    }
    run_for_ms(world, 10);
    assert_int_equal(count_fds(getpid()), before);
    ends(world, "k", BYTES("x"), HANDLER_OK, "");
}

static void test_spawner_dies(void **state) {
    struct world *world = *state;
    struct attempt attempts[4];
    use_pool(world, (struct handler_pool_options){.workers = 2, .kill_grace_us = SECOND_US}, "");
    for (int i = 0; i < 4; i++)
        whole(world, &attempts[i], "hang", BYTES("x"));
    while (count_lines(world, "hangs") < 2)
        run_for_ms(world, 10);
    attempt_abort(&attempts[1], "it was to end anyway");
    kill(spawner_pid(world->spawner), SIGKILL);
    for (int i = 0; i < 4; i++) {
        attempt_ends(world, &attempts[i], i == 1 ? HANDLER_ABORTED : HANDLER_NOT_RUN);
        if (i != 1)
            assert_non_null(strstr(attempts[i].text, "died"));
        attempt_free(&attempts[i]);
    }
    struct err err = {0};
    struct handler_job *job = NULL;
    assert_int_equal(handler_start(world->handler, &plain_object, &(struct handler_events){0}, NULL, &job, &err),
                     -EPIPE);
    assert_true(err.text[0]);
}

/* Every allocation fails once: each job ends in some way that is right; nothing hangs, leaks, or is lost on the way. */
static void without_memory(struct world *world, enum handler_pool_body body_kind, size_t n) {
    size_t before = count_fds(getpid());
    _cleanup_free_ char *body = make_body(n);
    unsigned refused = 0, not_run = 0;
    bool reached = true;
    for (uint64_t at = 1; reached; at++) {
        const char *const argv[] = {"/proc/self/exe", PLAY_WORKER, world->directory, "", NULL};
        struct handler_pool_options options = {
            .argv = argv, .spawner = world->spawner, .workers = 1, .body = body_kind, .kill_grace_us = SECOND_US};
        static const char *const keys[] = {"k", "fail-said"};
        struct err err = {0};
        bool well = false;
        mem_fail_at(at, 0);
        int r = handler_pool_new(&world->loop, &options, &world->handler, &err);
        for (int i = 0; r == 0 && i < 2; i++) {
            struct attempt attempt = {0};
            struct handler_object object = object_of(keys[i], n);
            r = attempt_try(world, &attempt, &object, &err);
            if (r < 0)
                break;
            feed(world, &attempt, bytes_of(body, n), 16384);
            if (!attempt.done)
                attempt_finish(&attempt);
            run_until(world, &attempt.done);
            well |= attempt.end == HANDLER_OK;
            assert_true(attempt.end == (i ? HANDLER_FAILED : HANDLER_OK) || attempt.end == HANDLER_NOT_RUN);
            not_run += attempt.end == HANDLER_NOT_RUN;
            attempt_free(&attempt);
        }
        reached = mem_fail_count() >= at;
        mem_fail_at(0, 0);
        if (well) /* of either object: their bodies are the same */
            assert_int_equal(last_played(world).hash, play_hash(body, n));
        if (r < 0) {
            assert_int_equal(r, -ENOMEM);
            assert_true(err.text[0]);
            refused++;
        }
        if (world->handler)
            close_pool(world);
    }
    assert_true(refused > 5 && not_run > 0);
    run_for_ms(world, 10);
    assert_int_equal(count_fds(getpid()), before);
}

/* Its workers are killed meanwhile, as its work may be given to others. */
static void test_froe_stands_still(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    use_pool(world, one, "");
    whole(world, &attempt, "hang", BYTES("x"));
    while (!file_exists(world, "hangs"))
        run_for_ms(world, 10);
    int pid = last_played(world).pid;
    spawner_alive(world->spawner, SECOND_US / 10);
    while (!is_dead(pid)) /* the loop does not run */
        usleep(10000);
    attempt_ends(world, &attempt, HANDLER_NOT_RUN);
    assert_non_null(strstr(attempt.text, "froe itself stood still"));
    attempt_free(&attempt);
    ends(world, "k", BYTES("x"), HANDLER_OK, "");
}

static void test_without_memory(void **state) {
    without_memory(*state, HANDLER_POOL_INLINE, 100);
    without_memory(*state, HANDLER_POOL_INLINE, 200000);
    without_memory(*state, HANDLER_POOL_PATH, 200000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)

int main(int argc, char **argv) {
    spawner_main_if_asked(argc, argv);
    play_worker_if_asked(argc, argv);
    const struct CMUnitTest tests[] = {
        TEST(test_bad_workers),     TEST(test_more_than_an_answer), TEST(test_bad_ones_among_many),
        TEST(test_abort_of_a_hang), TEST(test_abort_insists),       TEST(test_abort_at_any_time),
        TEST(test_wrong_lengths),   TEST(test_too_much_metadata),   TEST(test_dies_at_once),
        TEST(test_speaks_first),    TEST(test_cannot_run),          TEST(test_no_descriptors),
        TEST(test_spawner_dies),    TEST(test_froe_stands_still),   TEST(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
