/* test_pool.c - workers that behave: bodies of all sizes, in both forms; turns, replacement, closing. */
#include "pool_support.h"

#include "cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define SECOND_US INT64_C(1000000)

static const struct handler_pool_options one = {.workers = 1, .kill_grace_us = SECOND_US};
static const struct handler_pool_options one_path = {
    .workers = 1, .kill_grace_us = SECOND_US, .body = HANDLER_POOL_PATH};

static void test_small_bodies(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    struct handler_object object = object_of("a/key", 5);
    use_pool(world, one, "");
    attempt_start(world, &attempt, &object);
    assert_true(attempt_write(&attempt, BYTES("hel")));
    assert_true(attempt_write(&attempt, BYTES("lo")));
    run_for_ms(world, 100);
    assert_false(attempt.done || file_exists(world, "log")); /* not before the finish */
    attempt_finish(&attempt);
    attempt_ends(world, &attempt, HANDLER_OK);
    attempt_free(&attempt);
    _cleanup_free_ char *log = file_read(world, "lines", NULL);
    assert_string_equal(log, "{\"id\":1,\"body_bytes\":5,\"size\":5,\"bucket\":\"bucket-1\",\"key\":\"a/key\","
                             "\"key_url\":\"a%2Fkey\",\"etag\":\"abc\",\"version_id\":\"\",\"content_type\":\"\","
                             "\"attempt\":1,\"run_id\":\"7:3\",\"metadata\":{}}\n");
    ends(world, "empty", BYTES_NONE, HANDLER_OK, "");
    played_is(world, "empty", BYTES_NONE);
    int pid = last_played(world).pid;
    for (size_t n = 1; n < 70000; n = n * 3 + 1) {
        _cleanup_free_ char *body = make_body(n);
        ends(world, "sizes", bytes_of(body, n), HANDLER_OK, "");
        played_is(world, "sizes", bytes_of(body, n));
    }
    assert_int_equal(last_played(world).pid, pid);
    assert_int_equal(count_lines(world, "starts"), 1);
}

/* Around the size from which bodies are streamed, and far beyond it. */
static void test_large_bodies(void **state) {
    struct world *world = *state;
    static const size_t sizes[] = {65535, 65536, 65537, 70000, 131072, 131073, 8 * 1024 * 1024 + 7};
    static const size_t pieces[] = {1000, 16384, 65536, 1000000};
    _cleanup_free_ char *body = make_body(sizes[6]);
    for (int path = 0; path < 2; path++) {
        use_pool(world, path ? one_path : one, "");
        for (size_t i = 0; i < 7; i++)
            for (size_t k = i == 6 ? 1 : 0; k < 4; k++) {
                struct attempt attempt;
                struct handler_object object = object_of("large", sizes[i]);
                attempt_start(world, &attempt, &object);
                feed(world, &attempt, bytes_of(body, sizes[i]), pieces[k]);
                attempt_finish(&attempt);
                attempt_ends(world, &attempt, HANDLER_OK);
                attempt_free(&attempt);
                played_is(world, "large", bytes_of(body, sizes[i]));
            }
        close_pool(world);
    }
    assert_int_equal(count_lines(world, "starts"), 2);
}

/* All of the body was handed over, but not that it is whole: the worker does not have it. */
static void test_last_byte_is_held_back(void **state) {
    struct world *world = *state;
    size_t n = 300000;
    _cleanup_free_ char *body = make_body(n);
    for (int path = 0; path < 2; path++) {
        struct attempt attempt;
        struct handler_object object = object_of("held", n);
        use_pool(world, path ? one_path : one, "");
        attempt_start(world, &attempt, &object);
        feed(world, &attempt, bytes_of(body, n), 16384);
        run_for_ms(world, 200);
        assert_false(attempt.done || file_exists(world, "log"));
        attempt_abort(&attempt, "a wrong checksum");
        attempt_ends(world, &attempt, HANDLER_ABORTED);
        assert_string_equal(attempt.text, "a wrong checksum");
        attempt_free(&attempt);
        run_for_ms(world, 50);
        assert_false(file_exists(world, "log"));
        close_pool(world);
    }
}

static void test_back_pressure(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    static char piece[16384];
    struct handler_object object = object_of("slow", 1 << 20);
    use_pool(world, one, "");
    attempt_start(world, &attempt, &object);
    size_t taken = 0, before;
    do { /* until it is full for good: what the pipe takes makes room once more */
        before = taken;
        while (attempt_write(&attempt, bytes_of(piece, sizeof piece)))
            taken += sizeof piece;
        taken += sizeof piece;
        run_for_ms(world, 100);
    } while (attempt.room && taken > before);
    assert_true(taken <= 65536 + HANDLER_BUFFER_MAX + 2 * sizeof piece);
    touch(world, "go");
    run_until(world, &attempt.room);
    for (; taken < object.size; taken += sizeof piece)
        if (!attempt_write(&attempt, bytes_of(piece, sizeof piece)))
            run_until(world, &attempt.room);
    attempt_finish(&attempt);
    attempt_ends(world, &attempt, HANDLER_OK);
    attempt_free(&attempt);
    assert_int_equal(last_played(world).n, object.size);
}

/* Jobs that wait for the only worker hold what they were given, and no more than that. */
static void test_waiting_for_a_worker(void **state) {
    struct world *world = *state;
    enum { N = 8 };
    struct attempt first, others[N];
    size_t n = 200000;
    _cleanup_free_ char *body = make_body(n);
    use_pool(world, one, "");
    whole(world, &first, "slow", BYTES("x"));
    for (int i = 0; i < N; i++) {
        size_t taken = 0;
        struct handler_object object = object_of("waits", n);
        attempt_start(world, &others[i], &object);
        do
            taken += 16384;
        while (attempt_write(&others[i], bytes_of(body + taken - 16384, 16384)));
        assert_true(taken <= HANDLER_BUFFER_MAX);
        assert_int_equal(taken, 65536);
    }
    run_for_ms(world, 50);
    for (int i = 0; i < N; i++)
        assert_false(others[i].room || others[i].done);
    touch(world, "go");
    attempt_ends(world, &first, HANDLER_OK);
    attempt_free(&first);
    for (int i = 0; i < N; i++) { /* in turn */
        run_until(world, &others[i].room);
        feed(world, &others[i], bytes_of(body + 65536, n - 65536), 16384);
        attempt_finish(&others[i]);
        attempt_ends(world, &others[i], HANDLER_OK);
        attempt_free(&others[i]);
        played_is(world, "waits", bytes_of(body, n));
    }
    assert_int_equal(count_lines(world, "starts"), 1);
}

static void test_many_at_once(void **state) {
    struct world *world = *state;
    enum { N = 100 };
    static struct attempt attempts[N];
    use_pool(world, (struct handler_pool_options){.workers = 3, .kill_grace_us = SECOND_US}, "");
    size_t before = count_fds(getpid());
    for (int i = 0; i < N; i++)
        whole(world, &attempts[i], "many", BYTES("body"));
    for (int i = 0; i < N; i++) {
        attempt_ends(world, &attempts[i], HANDLER_OK);
        attempt_free(&attempts[i]);
    }
    assert_int_equal(last_played(world).objects, N);
    assert_int_equal(count_lines(world, "starts"), 3);
    assert_int_equal(count_fds(getpid()), before + 9);
    assert_non_null(strstr(handler_describe(world->handler), "pool of 3: /proc/self/exe"));
}

static void test_as_many_as_cores(void **state) {
    struct world *world = *state;
    char text[64];
    use_pool(world, (struct handler_pool_options){0}, "");
    snprintf(text, sizeof text, "pool of %u: ", uv_available_parallelism());
    assert_true(bytes_starts(bytes_str(handler_describe(world->handler)), bytes_str(text)));
    ends(world, "k", BYTES("x"), HANDLER_OK, ""); /* without any grace at the end */
}

/* ---- answers ---- */

static void test_answers(void **state) {
    struct world *world = *state;
    use_pool(world, one, "");
    ends(world, "retry", BYTES("x"), HANDLER_AGAIN, "the database is away");
    ends(world, "retry-silent", BYTES("x"), HANDLER_AGAIN, "the worker asks for another try");
    ends(world, "fail", BYTES("x"), HANDLER_FAILED, "no\\x07t a picture\nat all");
    ends(world, "noisy", BYTES("x"), HANDLER_OK, "");
    ends(world, "fail-said", BYTES("x"), HANDLER_FAILED, "the worker says that it failed: so it goes");
    ends(world, "blank-lines", BYTES("x"), HANDLER_OK, "");
    ends(world, "in-pieces", BYTES("x"), HANDLER_OK, "");
    assert_int_equal(count_lines(world, "starts"), 1); /* all of that is well */
}

/* ---- files ---- */

static size_t count_entries(const char *path) {
    DIR *directory = opendir(path);
    size_t n = 0;
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        n += entry->d_name[0] != '.';
    if (directory)
        closedir(directory);
    return n;
}

static void test_files(void **state) {
    struct world *world = *state;
    char temporary[160], stale[200], text[256];
    snprintf(temporary, sizeof temporary, "%s.tmp", world->directory);
    assert_int_equal(mkdir(temporary, 0700), 0);
    setenv("TMPDIR", temporary, 1);
    snprintf(stale, sizeof stale, "%s/froe-pool-stale0", temporary); /* of one that was killed */
    assert_int_equal(mkdir(stale, 0700), 0);
    snprintf(text, sizeof text, "%s/17", stale);
    close(open(text, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    use_pool(world, one_path, "");
    assert_int_equal(access(stale, F_OK), -1);
    size_t n = 500000;
    _cleanup_free_ char *body = make_body(n);
    ends(world, "file", bytes_of(body, n), HANDLER_OK, "");
    played_is(world, "file", bytes_of(body, n));
    ends(world, "file", BYTES_NONE, HANDLER_OK, "");
    played_is(world, "file", BYTES_NONE);
    ends(world, "crash", BYTES("x"), HANDLER_FAILED, "SIGSEGV");
    _cleanup_free_ char *lines = file_read(world, "lines", NULL);
    assert_non_null(strstr(lines, "{\"id\":1,\"body_bytes\":0,\"size\":500000,\"path\":\""));
    assert_non_null(strstr(lines, temporary));
    assert_int_equal(count_entries(temporary), 1);
    /* A length that nobody knows beforehand does not matter. */
    struct attempt attempt;
    struct handler_object object = object_of("unknown", 0);
    attempt_start(world, &attempt, &object);
    feed(world, &attempt, bytes_of(body, n), 16384);
    attempt_finish(&attempt);
    attempt_ends(world, &attempt, HANDLER_OK);
    attempt_free(&attempt);
    played_is(world, "unknown", bytes_of(body, n));
    /* Aborted while it is written. */
    attempt_start(world, &attempt, &object);
    attempt_write(&attempt, bytes_of(body, n));
    attempt_abort(&attempt, "enough");
    attempt_ends(world, &attempt, HANDLER_ABORTED);
    attempt_free(&attempt);
    close_pool(world);
    unsetenv("TMPDIR");
    assert_int_equal(rmdir(temporary), 0); /* nothing was left in it */
}

static void test_no_place_for_files(void **state) {
    struct world *world = *state;
    const char *const argv[] = {"true", NULL};
    struct handler_pool_options options = {.argv = argv, .spawner = world->spawner, .body = HANDLER_POOL_PATH};
    struct err err = {0};
    setenv("TMPDIR", "/nonexistent/directory", 1);
    assert_int_equal(handler_pool_new(&world->loop, &options, &world->handler, &err), -ENOENT);
    unsetenv("TMPDIR");
    assert_non_null(strstr(err.text, "/nonexistent/directory"));
}

static void test_file_cannot_be_written(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    struct handler_object object = object_of("full", 1 << 20);
    static char piece[65536];
    struct rlimit limit, small;
    use_pool(world, one_path, "");
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    small = limit;
    small.rlim_cur = 100000;
    setrlimit(RLIMIT_FSIZE, &small);
    attempt_start(world, &attempt, &object);
    for (int i = 0; i < 16 && !attempt.done; i++)
        if (!attempt_write(&attempt, bytes_of(piece, sizeof piece)))
            while (!attempt.room && !attempt.done)
                uv_run(&world->loop, UV_RUN_ONCE);
    attempt_ends(world, &attempt, HANDLER_FAILED);
    setrlimit(RLIMIT_FSIZE, &limit);
    assert_non_null(strstr(attempt.text, "File too large"));
    attempt_free(&attempt);
}

/* ---- replacement ---- */

static void test_recycled_after_objects(void **state) {
    struct world *world = *state;
    use_pool(world, (struct handler_pool_options){.workers = 1, .recycle_objects = 5, .kill_grace_us = SECOND_US}, "");
    for (int i = 0; i < 23; i++)
        ends(world, "k", BYTES("x"), HANDLER_OK, "");
    assert_int_equal(count_lines(world, "starts"), 5);
    assert_int_equal(last_played(world).objects, 23);
}

static void test_recycled_by_memory(void **state) {
    struct world *world = *state;
    use_pool(world, (struct handler_pool_options){.workers = 1, .recycle_bytes = 32 << 20, .kill_grace_us = SECOND_US},
             "");
    for (int i = 0; i < 3; i++)
        ends(world, "k", BYTES("x"), HANDLER_OK, "");
    assert_int_equal(count_lines(world, "starts"), 1);
    ends(world, "grow", BYTES("x"), HANDLER_OK, "");
    ends(world, "k", BYTES("x"), HANDLER_OK, "");
    assert_int_equal(count_lines(world, "starts"), 2);
}

/* It ends by itself after an object, or while it has nothing to do: no object fails by that. */
static void test_ends_between_objects(void **state) {
    struct world *world = *state;
    use_pool(world, one, "");
    for (int i = 0; i < 20; i++)
        ends(world, i % 3 ? "then-exit" : "then-exit-later", BYTES("x"), HANDLER_OK, "");
    assert_int_equal(last_played(world).objects, 20);
    for (int i = 0; i < 3; i++) {
        ends(world, "k", BYTES("x"), HANDLER_OK, "");
        kill(last_played(world).pid, SIGKILL);
        run_for_ms(world, 50);
    }
    struct attempt attempts[2];
    ends(world, "k", BYTES("x"), HANDLER_OK, ""); /* killed when it was given the next one, and has not looked at it */
    int pid = last_played(world).pid;
    kill(pid, SIGSTOP);
    while (process_state(pid) != 'T')
        run_for_ms(world, 1);
    whole(world, &attempts[0], "k", BYTES("stopped"));
    kill(pid, SIGKILL);
    attempt_ends(world, &attempts[0], HANDLER_OK);
    attempt_free(&attempts[0]);
    played_is(world, "k", BYTES("stopped"));
    /* The second one waits for it. */
    whole(world, &attempts[0], "then-exit-later", BYTES("x"));
    whole(world, &attempts[1], "k", BYTES("y"));
    for (int i = 0; i < 2; i++) {
        attempt_ends(world, &attempts[i], HANDLER_OK);
        attempt_free(&attempts[i]);
    }
    played_is(world, "k", BYTES("y"));
}

/* ---- the end ---- */

static void test_close_ends_all(void **state) {
    struct world *world = *state;
    static const char *const modes[] = {"", "stubborn"};
    for (int i = 0; i < 2; i++) {
        use_pool(world, (struct handler_pool_options){.workers = 1, .kill_grace_us = 100000}, modes[i]);
        ends(world, "k", BYTES("x"), HANDLER_OK, "");
        int pid = last_played(world).pid;
        assert_false(is_dead(pid));
        uint64_t before = uv_hrtime();
        close_pool(world);
        assert_true(is_dead(pid));
        uint64_t took_ms = (uv_hrtime() - before) / 1000000;
        if (i == 1)
            assert_true(took_ms >= 200); /* both graces */
    }
    use_pool(world, one, ""); /* that never had anything to do */
    close_pool(world);
}

static void test_nothing_leaks(void **state) {
    struct world *world = *state;
    size_t before = count_fds(getpid()), spawner_before = count_fds(spawner_pid(world->spawner));
    for (int path = 0; path < 2; path++) {
        use_pool(world, path ? one_path : one, "");
        for (int i = 0; i < 300; i++)
            ends(world, i % 50 == 49 ? "exit" : "k", BYTES("body"), i % 50 == 49 ? HANDLER_FAILED : HANDLER_OK, "");
        close_pool(world);
        run_for_ms(world, 10);
        assert_int_equal(count_fds(getpid()), before);
        assert_int_equal(count_fds(spawner_pid(world->spawner)), spawner_before);
    }
}

static void test_clean_environment(void **state) {
    struct world *world = *state;
    use_pool(world, one, "env");
    ends(world, "k", BYTES("x"), HANDLER_OK, "");
    _cleanup_free_ char *env = file_read(world, "env", NULL);
    assert_non_null(getenv("AWS_SECRET_ACCESS_KEY"));
    assert_non_null(strstr(env, "PATH="));
    assert_null(strstr(env, "AWS"));
    assert_null(strstr(env, "FROE"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)

int main(int argc, char **argv) {
    spawner_main_if_asked(argc, argv);
    play_worker_if_asked(argc, argv);
    const struct CMUnitTest tests[] = {
        TEST(test_small_bodies),
        TEST(test_large_bodies),
        TEST(test_last_byte_is_held_back),
        TEST(test_back_pressure),
        TEST(test_waiting_for_a_worker),
        TEST(test_many_at_once),
        TEST(test_as_many_as_cores),
        TEST(test_answers),
        TEST(test_files),
        TEST(test_no_place_for_files),
        TEST(test_file_cannot_be_written),
        TEST(test_recycled_after_objects),
        TEST(test_recycled_by_memory),
        TEST(test_ends_between_objects),
        TEST(test_close_ends_all),
        TEST(test_nothing_leaks),
        TEST(test_clean_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
