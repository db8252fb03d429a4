/* test_pool_memfd.c - bodies that come to workers as descriptors: what is in them, where they lie, what becomes of them
 * when something goes wrong. That they cannot be changed, and that nothing else is open in a worker, the workers look
 * at themselves (pool_play.c). */
#include "pool_support.h"

#include "cleanup.h"

#include <stdlib.h>
#include <sys/resource.h>

#define MIB (UINT64_C(1) << 20)
#define SECOND_US INT64_C(1000000)

static void use_memfd(struct world *world, uint32_t workers, uint64_t budget_bytes) {
    world->budget = (struct budget){.max_bytes = budget_bytes};
    use_pool(
        world,
        (struct handler_pool_options){
            .workers = workers, .body = HANDLER_POOL_MEMFD, .budget = &world->budget, .kill_grace_us = 20 * SECOND_US},
        "");
}

/* Of the last body that a worker had. */
static bool was_in_memory(const struct world *world) {
    _cleanup_free_ char *text = file_read(world, "descriptors", NULL);
    assert_non_null(text);
    size_t n = strlen(text);
    return n >= 7 && strcmp(text + n - 7, "memory\n") == 0;
}

/* Closing goes on in the background for a while. */
static void none_left(struct world *world, size_t before) {
    close_pool(world);
    for (int i = 0; i < 500 && count_fds(getpid()) != before; i++)
        run_for_ms(world, 10);
    assert_int_equal(count_fds(getpid()), before);
    assert_int_equal(world->budget.used_bytes, 0);
}

static void test_sizes(void **state) {
    struct world *world = *state;
    static const size_t sizes[] = {0,
                                   1,
                                   4096,
                                   70000,
                                   SPOOL_MEMORY_MAX,
                                   SPOOL_MEMORY_MAX + 1,
                                   3 * MIB + 1,
                                   SPOOL_RESERVED_MAX,
                                   SPOOL_RESERVED_MAX + 1,
                                   0 /* again */};
    static const uint64_t budgets[] = {64 * MIB, 0};
    _cleanup_free_ char *body = make_body(SPOOL_RESERVED_MAX + 1);
    size_t before = count_fds(getpid());
    for (size_t k = 0; k < sizeof budgets / sizeof budgets[0]; k++) {
        use_memfd(world, 1, budgets[k]);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            ends(world, "k", bytes_of(body, sizes[i]), HANDLER_OK, "");
            played_is(world, "k", bytes_of(body, sizes[i]));
            /* Nothing at all needs no room. */
            assert_int_equal(was_in_memory(world), sizes[i] == 0 || (budgets[k] && sizes[i] <= SPOOL_RESERVED_MAX));
            assert_int_equal(world->budget.used_bytes, 0);
        }
        none_left(world, before);
    }
    assert_int_equal(count_lines(world, "starts"), 2);
}

/* What was said beforehand is but a guess. */
static void test_unknown_lengths(void **state) {
    struct world *world = *state;
    static const size_t sizes[] = {0, 5, SPOOL_MEMORY_MAX, 3 * MIB};
    static const uint64_t said[] = {0, 5, 4 * MIB, SPOOL_RESERVED_MAX + 1};
    _cleanup_free_ char *body = make_body(4 * MIB);
    size_t before = count_fds(getpid());
    use_memfd(world, 1, 64 * MIB);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t k = 0; k < sizeof said / sizeof said[0]; k++) {
            struct attempt attempt;
            struct handler_object object = object_of("lengths", said[k]);
            attempt_start(world, &attempt, &object);
            feed(world, &attempt, bytes_of(body, sizes[i]), 65536);
            attempt_finish(&attempt);
            attempt_ends(world, &attempt, HANDLER_OK);
            played_is(world, "lengths", bytes_of(body, sizes[i]));
            assert_int_equal(was_in_memory(world),
                             (sizes[i] <= SPOOL_MEMORY_MAX || sizes[i] <= said[k]) && said[k] <= SPOOL_RESERVED_MAX);
            attempt_free(&attempt);
        }
    none_left(world, before);
}

/* Many wait for one worker, and there is room in memory for two of them. */
static void test_budget(void **state) {
    enum { N = 8, SIZE = 700000 };
    struct world *world = *state;
    struct attempt attempts[N];
    _cleanup_free_ char *body = make_body(SIZE);
    size_t before = count_fds(getpid());
    use_memfd(world, 1, 2 * MIB);
    for (int i = 0; i < N; i++) {
        whole(world, &attempts[i], i == 0 ? "slow" : "k", bytes_of(body, SIZE));
        assert_true(world->budget.used_bytes <= 2 * MIB);
    }
    assert_true(world->budget.used_bytes > SIZE);
    touch(world, "go");
    for (int i = 0; i < N; i++) {
        attempt_ends(world, &attempts[i], HANDLER_OK);
        attempt_free(&attempts[i]);
    }
    played_is(world, "k", bytes_of(body, SIZE));
    assert_int_equal(last_played(world).objects, N);
    _cleanup_free_ char *where = file_read(world, "descriptors", NULL);
    assert_true(strstr(where, "memory\n") && strstr(where, "file\n"));
    none_left(world, before);
}

/* Whatever becomes of the worker and of what it was sent: the next object is well, and nothing stays open. */
static void test_bad_workers(void **state) {
    struct world *world = *state;
    static const struct {
        const char *key, *text;
    } cases[] = {
        {"ok-unread", "the worker answered without having received the body's descriptor"},
        {"fail-unread", "not wanted"},
        {"crash-early", "killed by signal 9 (SIGKILL)"}, /* with the message unread */
        {"crash", "killed by signal 11 (SIGSEGV)"},
        {"exit", "exit status 3"},
        {"garbage", "is no answer: 'hello'"},
    };
    static const size_t sizes[] = {0, 5000, 2 * MIB};
    _cleanup_free_ char *body = make_body(2 * MIB);
    size_t before = count_fds(getpid());
    use_memfd(world, 1, 16 * MIB);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
            ends(world, cases[i].key, bytes_of(body, sizes[k]), HANDLER_FAILED, cases[i].text);
            ends(world, "k", bytes_of(body, sizes[k]), HANDLER_OK, "");
            played_is(world, "k", bytes_of(body, sizes[k]));
        }
    none_left(world, before);
}

/* A worker that is gone, or does not listen any more, when the next object comes: another gets it, from its beginning.
 */
static void test_goes_to_another(void **state) {
    struct world *world = *state;
    static const char *const keys[] = {"then-exit", "then-exit-later", "then-deaf"};
    _cleanup_free_ char *body = make_body(2 * MIB);
    size_t before = count_fds(getpid());
    use_memfd(world, 1, 16 * MIB);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        ends(world, keys[i], BYTES("x"), HANDLER_OK, "");
        int pid = last_played(world).pid;
        ends(world, "k", bytes_of(body, i ? 2 * MIB : 100), HANDLER_OK, "");
        played_is(world, "k", bytes_of(body, i ? 2 * MIB : 100));
        assert_int_not_equal(last_played(world).pid, pid);
    }
    none_left(world, before);
}

static void test_many_workers(void **state) {
    enum { N = 60 };
    struct world *world = *state;
    struct attempt attempts[N];
    _cleanup_free_ char *body = make_body(N * 1000);
    size_t before = count_fds(getpid());
    world->budget = (struct budget){.max_bytes = MIB};
    use_pool(world,
             (struct handler_pool_options){
                 .workers = 4, .body = HANDLER_POOL_MEMFD, .budget = &world->budget, .recycle_objects = 7},
             "");
    for (int i = 0; i < N; i++)
        whole(world, &attempts[i], "k", bytes_of(body, (size_t)i * 1000));
    for (int i = 0; i < N; i++) {
        attempt_ends(world, &attempts[i], HANDLER_OK);
        attempt_free(&attempts[i]);
    }
    assert_int_equal(last_played(world).objects, N);
    assert_true(count_lines(world, "starts") >= N / 7);
    none_left(world, before);
}

static void test_abort_at_any_time(void **state) {
    struct world *world = *state;
    static const size_t sizes[] = {0, 5000, 3 * MIB};
    _cleanup_free_ char *body = make_body(3 * MIB);
    size_t before = count_fds(getpid());
    use_memfd(world, 1, 16 * MIB);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int when = 0; when < 6; when++) {
            struct attempt attempt, other;
            struct handler_object object = object_of(when == 4 ? "slow" : when == 5 ? "hang" : "k", sizes[i]);
            attempt_start(world, &attempt, &object);
            if (when == 3) /* so that it waits for its turn */
                whole(world, &other, "slow", BYTES("x"));
            if (when > 0)
                feed(world, &attempt, bytes_of(body, when == 1 ? sizes[i] / 2 : sizes[i]), 16384);
            if (when > 1)
                attempt_finish(&attempt);
            if (when > 2)
                run_for_ms(world, 20);
            while (when == 5 && !file_exists(world, "hangs")) /* it has the body */
                run_for_ms(world, 10);
            attempt_abort(&attempt, "not wanted any more");
            attempt_ends(world, &attempt, HANDLER_ABORTED);
            attempt_free(&attempt);
            if (when == 3) {
                attempt_abort(&other, "nor that");
                attempt_ends(world, &other, HANDLER_ABORTED);
                attempt_free(&other);
            }
            ends(world, "k", bytes_of(body, sizes[i]), HANDLER_OK, "");
            played_is(world, "k", bytes_of(body, sizes[i]));
        }
    none_left(world, before);
}

/* ---- the machine ---- */

/* Two objects while something fails. Every one ends in a way that is right. True: one of them well. */
static bool try_two(struct world *world, struct bytes body, unsigned *failed) {
    bool well = false;
    for (int i = 0; i < 2; i++) {
        struct attempt attempt = {0};
        struct handler_object object = object_of("k", body.n);
        struct err err = {0};
        if (attempt_try(world, &attempt, &object, &err) < 0) {
            assert_true(err.text[0]);
            ++*failed;
            continue;
        }
        feed(world, &attempt, body, 16384);
        if (!attempt.done)
            attempt_finish(&attempt);
        run_until(world, &attempt.done);
        well |= attempt.end == HANDLER_OK;
        if (attempt.end != HANDLER_OK)
            assert_true((attempt.end == HANDLER_FAILED || attempt.end == HANDLER_NOT_RUN) && attempt.text[0]);
        *failed += attempt.end != HANDLER_OK;
        attempt_free(&attempt);
    }
    return well;
}

static void test_system_calls_fail(void **state) {
    struct world *world = *state;
    static const int errors[] = {EMFILE, ENOSPC, EPERM};
    static const size_t sizes[] = {0, 100000, SPOOL_MEMORY_MAX + 5};
    _cleanup_free_ char *body = make_body(SPOOL_MEMORY_MAX + 5);
    size_t before = count_fds(getpid());
    use_memfd(world, 1, MIB); /* the largest is too large for it */
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
            unsigned failed = 0;
            bool reached = true;
            for (uint64_t at = 1; reached; at++) {
                spool_fail_at(at, errors[i]);
                bool well = try_two(world, bytes_of(body, sizes[k]), &failed);
                reached = spool_fail_count() >= at;
                spool_fail_at(0, 0);
                if (well)
                    played_is(world, "k", bytes_of(body, sizes[k]));
            }
            assert_true(failed > 0);
        }
    ends(world, "k", BYTES("x"), HANDLER_OK, "");
    none_left(world, before);
}

static void test_without_memory(void **state) {
    struct world *world = *state;
    static const size_t sizes[] = {0, 100, SPOOL_MEMORY_MAX + 5};
    _cleanup_free_ char *body = make_body(SPOOL_MEMORY_MAX + 5);
    size_t before = count_fds(getpid());
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        unsigned failed = 0;
        bool reached = true;
        for (uint64_t at = 1; reached; at++) {
            const char *const argv[] = {"/proc/self/exe", PLAY_WORKER, world->directory, "", NULL};
            world->budget = (struct budget){.max_bytes = MIB};
            struct handler_pool_options options = {.argv = argv,
                                                   .spawner = world->spawner,
                                                   .workers = 1,
                                                   .body = HANDLER_POOL_MEMFD,
                                                   .budget = &world->budget,
                                                   .kill_grace_us = SECOND_US};
            struct err err = {0};
            mem_fail_at(at, 0);
            int r = handler_pool_new(&world->loop, &options, &world->handler, &err);
            bool well = r == 0 && try_two(world, bytes_of(body, sizes[k]), &failed);
            reached = mem_fail_count() >= at;
            mem_fail_at(0, 0);
            if (well)
                played_is(world, "k", bytes_of(body, sizes[k]));
            assert_true(r == 0 || (r == -ENOMEM && err.text[0]));
            if (world->handler)
                none_left(world, before);
        }
        assert_true(failed > 2);
    }
}

/* Too few of them at each point in turn: it is nobody's fault, and it passes. */
static void test_no_descriptors(void **state) {
    struct world *world = *state;
    struct rlimit limit, small;
    unsigned failed = 0;
    size_t before = count_fds(getpid());
    getrlimit(RLIMIT_NOFILE, &limit);
    use_memfd(world, 1, 16 * MIB);
    for (rlim_t more = 0; more < 12; more++) {
        int lowest = dup(0);
        close(lowest);
        small = limit;
        small.rlim_cur = (rlim_t)lowest + more;
        struct attempt attempt = {0};
        struct handler_object object = object_of("k", 5000);
        struct err err = {0};
        static const char body[5000];
        setrlimit(RLIMIT_NOFILE, &small);
        int r = attempt_try(world, &attempt, &object, &err);
        if (r == 0) {
            attempt_write(&attempt, bytes_of(body, sizeof body));
            if (!attempt.done)
                attempt_finish(&attempt);
        }
        setrlimit(RLIMIT_NOFILE, &limit);
        assert_true(r == 0 || r == -EAGAIN);
        if (r == 0)
            run_until(world, &attempt.done);
        assert_true(r < 0 || attempt.end == HANDLER_OK || attempt.end == HANDLER_NOT_RUN);
        failed += r < 0 || attempt.end != HANDLER_OK;
        attempt_free(&attempt);
    }
    assert_true(failed >= 6); /* a memory file, six for the worker, ... */
    ends(world, "k", BYTES("x"), HANDLER_OK, "");
    none_left(world, before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)

int main(int argc, char **argv) {
    spawner_main_if_asked(argc, argv);
    play_worker_if_asked(argc, argv);
    const struct CMUnitTest tests[] = {
        TEST(test_sizes),
        TEST(test_unknown_lengths),
        TEST(test_budget),
        TEST(test_bad_workers),
        TEST(test_goes_to_another),
        TEST(test_many_workers),
        TEST(test_abort_at_any_time),
        TEST(test_system_calls_fail),
        TEST(test_without_memory),
        TEST(test_no_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
