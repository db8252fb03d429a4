/* test_program_results.c - programs whose stdout is their result. */
#include "support.h"

#include "cleanup.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#define SECOND_US INT64_C(1000000)
#define MIB (UINT64_C(1) << 20)

static char *make_body(size_t n) {
    char *body = mem_alloc(n);
    assert_non_null(body);
    for (size_t i = 0; i < n; i++)
        body[i] = (char)((i * 2654435761u) >> 13);
    return body;
}

static void whole(struct world *world, struct attempt *attempt, struct bytes body) {
    attempt_start(world, attempt, &plain_object);
    while (body.n && !attempt->done) {
        size_t n = body.n < 16384 ? body.n : 16384;
        if (!attempt_write(attempt, bytes_of(body.p, n)))
            while (!attempt->room && !attempt->done)
                uv_run(&world->loop, UV_RUN_ONCE);
        body = bytes_of(body.p + n, body.n - n);
    }
    if (!attempt->done)
        attempt_finish(attempt);
}

static void on_flag(void *arg) {
    *(bool *)arg = true;
}

static void close_handler(struct world *world) {
    world->flag = false;
    handler_close(TAKE_PTR(world->handler), on_flag, &world->flag);
    run_until(world, &world->flag);
    assert_int_equal(world->budget.used_bytes, 0);
}

/* Its end is this, with `text` in its words, and nothing of a result is left anywhere. */
static void fails(struct world *world, const char *script, struct bytes body, enum handler_end end, const char *text) {
    struct attempt attempt;
    size_t before = count_fds(getpid());
    use_script(world, script, 0);
    whole(world, &attempt, body);
    attempt_ends(world, &attempt, end);
    if (!strstr(attempt.text, text))
        fail_msg("'%s' is not in '%s'", text, attempt.text);
    assert_int_equal(attempt.n_parts, 0);
    attempt_free(&attempt);
    close_handler(world);
    run_for_ms(world, 10);
    assert_int_equal(count_fds(getpid()), before);
}

static void gives(struct world *world, const char *script, struct bytes body, struct bytes result) {
    struct attempt attempt;
    use_script(world, script, 0);
    whole(world, &attempt, body);
    attempt_ends(world, &attempt, HANDLER_OK);
    assert_int_equal(attempt.n_parts, 1);
    part_is(&attempt, 0, "", result);
    assert_true(!attempt.parts[0].content_type[0] && !attempt.parts[0].extension[0]);
    attempt_free(&attempt);
    close_handler(world);
}

/* ---- results ---- */

static void test_results(void **state) {
    struct world *world = *state;
    size_t n = 5 * MIB + 7;
    _cleanup_free_ char *body = make_body(n);
    keep_results(world, 64 * MIB, 0);
    gives(world, "cat", BYTES("hello"), BYTES("hello"));
    gives(world, "cat; echo of course >&2", BYTES_NONE, BYTES_NONE); /* a part, though an empty one */
    gives(world, "tr a-z A-Z; printf '!'", BYTES("hello"), BYTES("HELLO!"));
    static const size_t sizes[] = {1, 65536, 65537, MIB, MIB + 1, 5 * MIB + 7};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        gives(world, "cat", bytes_of(body, sizes[i]), bytes_of(body, sizes[i]));
    gives(world, "cat > $D/body; sleep 0.05; cat $D/body", bytes_of(body, n), bytes_of(body, n));
    keep_results(world, 0, n); /* exactly as much as it may be, all of it in files */
    gives(world, "cat", bytes_of(body, n), bytes_of(body, n));
}

/* What does not want its input, or closes its output, has a result all the same. */
static void test_ends_of_streams(void **state) {
    struct world *world = *state;
    size_t n = 2 * MIB;
    _cleanup_free_ char *body = make_body(n);
    keep_results(world, 16 * MIB, 0);
    gives(world, "head -c 10", bytes_of(body, n), bytes_of(body, 10));
    gives(world, "echo first; exec >&-; cat > /dev/null; sleep 0.05", bytes_of(body, n), BYTES("first\n"));
    gives(world, "exec < /dev/null; echo unread", bytes_of(body, n), BYTES("unread\n"));
    gives(world, "exec >&-", BYTES("x"), BYTES_NONE);
}

/* A result that is there waits for the word on the body, and is dropped with it. */
static void test_waits_for_the_finish(void **state) {
    struct world *world = *state;
    keep_results(world, MIB, 0);
    use_script(world, "echo early", 0);
    for (int finish = 0; finish < 2; finish++) {
        struct attempt attempt;
        attempt_start(world, &attempt, &plain_object);
        run_until(world, &attempt.early);
        run_for_ms(world, 20);
        assert_false(attempt.done);
        assert_int_equal(world->budget.used_bytes, 4096);
        if (finish)
            attempt_finish(&attempt);
        else
            attempt_abort(&attempt, "the body was cut short");
        attempt_ends(world, &attempt, finish ? HANDLER_OK : HANDLER_ABORTED);
        if (finish)
            part_is(&attempt, 0, "", BYTES("early\n"));
        attempt_free(&attempt);
        assert_int_equal(world->budget.used_bytes, 0);
    }
}

/* Neither stream waits for the other: a program that writes much before it reads, and one that reads all first. */
static void test_streams_do_not_wait(void **state) {
    struct world *world = *state;
    size_t n = MIB;
    _cleanup_free_ char *body = make_body(n);
    keep_results(world, 16 * MIB, 0);
    static const char *const scripts[] = {"head -c 3000000 /dev/zero; cat > /dev/null",
                                          "cat > /dev/null; head -c 3000000 /dev/zero"};
    for (int i = 0; i < 2; i++) {
        struct attempt attempt;
        use_script(world, scripts[i], 0);
        whole(world, &attempt, bytes_of(body, n));
        attempt_ends(world, &attempt, HANDLER_OK);
        assert_int_equal(attempt.parts[0].body.n, 3000000);
        assert_true(attempt.parts[0].body.in_file);
        attempt_free(&attempt);
        close_handler(world);
    }
}

/* ---- failures ---- */

static void test_failures(void **state) {
    struct world *world = *state;
    size_t n = 2 * MIB;
    _cleanup_free_ char *body = make_body(n);
    keep_results(world, 16 * MIB, MIB);
    fails(world, "cat; echo and then >&2; exit 3", BYTES("x"), HANDLER_FAILED, "exit status 3: and then");
    fails(world, "cat; exit 75", BYTES("x"), HANDLER_AGAIN, "exit status 75");
    fails(world, "cat; kill -SEGV $$", BYTES("x"), HANDLER_FAILED, "SIGSEGV");
    fails(world, "echo words >&2; cat", bytes_of(body, n), HANDLER_FAILED,
          "it wrote more than 1.0 MiB to its stdout, which is the limit of a result: words");
    fails(world, "yes", BYTES("x"), HANDLER_FAILED, "more than 1.0 MiB");
    fails(world, "cat > /dev/null; head -c 1048577 /dev/zero; sleep 100", BYTES("x"), HANDLER_FAILED, "1.0 MiB");
}

/* Children in its group end with it, and what they had written is part of the result. One that left the group may write
 * on: then nobody can tell whether the result is whole. */
static void test_children(void **state) {
    struct world *world = *state;
    keep_results(world, MIB, 0);
    gives(world, "cat; (echo child; touch $D/said; sleep 1000) & while [ ! -e $D/said ]; do sleep 0.01; done",
          BYTES("x"), BYTES("xchild\n"));
    const char *const script = "cat; setsid sh -c 'echo $$ > '$D'/daemon; exec sleep 1000' &\n"
                               "while [ ! -s $D/daemon ]; do sleep 0.01; done";
    fails(world, script, BYTES("x"), HANDLER_FAILED, "somebody who left its process group still holds its stdout");
    kill(file_pid(world, "daemon"), SIGKILL);
    /* One that writes without end holds nothing up. */
    const char *const noisy = "rm $D/daemon; setsid sh -c 'echo $$ > '$D'/daemon; while :; do echo noise; done' &\n"
                              "while [ ! -s $D/daemon ]; do sleep 0.01; done";
    fails(world, noisy, BYTES_NONE, HANDLER_FAILED, "still holds its stdout");
    pid_t daemon = file_pid(world, "daemon");
    assert_true(dies(world, daemon)); /* of SIGPIPE: nobody reads it any more */
    gives(world,
          "rm $D/daemon; cat; setsid sh -c 'echo $$ > '$D'/daemon; exec sleep 1000' > /dev/null &\n"
          "while [ ! -s $D/daemon ]; do sleep 0.01; done; wait %2 2>/dev/null; true",
          BYTES("x"), BYTES("x"));
    kill(file_pid(world, "daemon"), SIGKILL);
}

static void test_abort(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    keep_results(world, 64 * MIB, 0);
    use_script(world, "trap '' TERM; head -c 300000 /dev/zero; touch $D/written; while :; do sleep 0.01; done",
               SECOND_US / 10);
    attempt_start(world, &attempt, &plain_object);
    for (int i = 0; i < 3000 && !file_exists(world, "written"); i++)
        run_for_ms(world, 10);
    assert_true(world->budget.used_bytes > 0);
    attempt_abort(&attempt, "timed out");
    attempt_ends(world, &attempt, HANDLER_ABORTED);
    assert_string_equal(attempt.text, "timed out");
    attempt_free(&attempt);
    close_handler(world);
}

/* ---- the machine ---- */

/* The n-th system call of the spool fails: 1 if that was reached. What goes wrong in memory goes on in a file; what
 * goes wrong with the file is told. */
static bool spool_fails_at(struct world *world, uint64_t at, int error, enum handler_end end, bool *ret_well) {
    struct attempt attempt;
    use_script(world, "cat > /dev/null; head -c 1200000 /dev/zero", 0);
    spool_fail_at(at, error);
    whole(world, &attempt, BYTES("x"));
    run_until(world, &attempt.done);
    bool reached = spool_fail_count() >= at;
    spool_fail_at(0, 0);
    *ret_well = attempt.end == HANDLER_OK;
    if (*ret_well) {
        assert_int_equal(attempt.parts[0].body.n, 1200000);
    } else {
        assert_int_equal(attempt.end, end);
        assert_non_null(strstr(attempt.text, "its result cannot be kept: cannot write to a file in '/tmp/"));
        assert_non_null(strstr(attempt.text, strerror(error)));
    }
    attempt_free(&attempt);
    close_handler(world);
    return reached;
}

/* How many calls there are depends on how much comes at a time. */
static void spool_fails(struct world *world, int error, enum handler_end end) {
    bool well = true;
    keep_results(world, 64 * MIB, 0);
    for (uint64_t at = 1; spool_fails_at(world, at, error, end, &well); at++)
        assert_true(well || at > 2);
    keep_results(world, 0, 0);
    for (uint64_t at = 1; at <= 5; at++) {
        assert_true(spool_fails_at(world, at, error, end, &well));
        assert_false(well);
    }
}

static void test_no_space(void **state) {
    spool_fails(*state, ENOSPC, HANDLER_FAILED);
    spool_fails(*state, EMFILE, HANDLER_NOT_RUN);
}

static void test_no_descriptors(void **state) {
    struct world *world = *state;
    struct err err = {0};
    struct handler_job *job = NULL;
    struct rlimit limit, small;
    keep_results(world, MIB, 0);
    use_script(world, "cat", 0);
    getrlimit(RLIMIT_NOFILE, &limit);
    size_t before = count_fds(getpid());
    for (rlim_t more = 0; more < 6; more++) {
        int lowest = dup(0);
        close(lowest);
        small = limit;
        small.rlim_cur = (rlim_t)lowest + more;
        setrlimit(RLIMIT_NOFILE, &small);
        int r = handler_start(world->handler, &plain_object, &(struct handler_events){0}, NULL, &job, &err);
        setrlimit(RLIMIT_NOFILE, &limit);
        assert_int_equal(r, -EAGAIN);
        assert_null(job);
    }
    run_for_ms(world, 10);
    assert_int_equal(count_fds(getpid()), before);
    /* None is left when the first byte comes: not the object's fault. */
    struct attempt attempt;
    attempt_start(world, &attempt, &plain_object);
    int lowest = dup(0);
    close(lowest);
    small.rlim_cur = (rlim_t)lowest;
    setrlimit(RLIMIT_NOFILE, &small);
    attempt_write(&attempt, BYTES("x"));
    attempt_ends(world, &attempt, HANDLER_NOT_RUN);
    setrlimit(RLIMIT_NOFILE, &limit);
    assert_non_null(strstr(attempt.text, "Too many open files"));
    attempt_free(&attempt);
}

static void test_without_memory(void **state) {
    struct world *world = *state;
    size_t n = 300000, before = count_fds(getpid());
    _cleanup_free_ char *body = make_body(n);
    unsigned refused = 0, again = 0, well = 0;
    bool reached = true;
    keep_results(world, 0, 250000);
    for (uint64_t at = 1; reached; at++) {
        const char *const argv[] = {"sh", "-c", at % 2 ? "sleep 0.01; head -c 200000" : "sleep 0.01; cat", NULL};
        struct handler_program_options options = {.argv = argv, .spawner = world->spawner, .results = &world->results};
        struct attempt attempt = {0};
        struct err err = {0};
        mem_fail_at(at, 0);
        int r = handler_program_new(&world->loop, &options, &world->handler, &err);
        if (r == 0)
            r = attempt_try(world, &attempt, &plain_object, &err);
        if (r == 0) {
            for (size_t taken = 0; taken < n && !attempt.done; taken += 10000)
                if (!attempt_write(&attempt, bytes_of(body + taken, 10000)))
                    while (!attempt.room && !attempt.done)
                        uv_run(&world->loop, UV_RUN_ONCE);
            if (!attempt.done)
                attempt_finish(&attempt);
            run_until(world, &attempt.done);
            well += attempt.end == HANDLER_OK;
            again += attempt.end == HANDLER_NOT_RUN;
            assert_true(attempt.end == (at % 2 ? HANDLER_OK : HANDLER_FAILED) || attempt.end == HANDLER_NOT_RUN);
        } else {
            assert_int_equal(r, -ENOMEM);
            assert_true(err.text[0]);
            refused++;
        }
        reached = mem_fail_count() >= at;
        mem_fail_at(0, 0);
        if (attempt.done && attempt.end == HANDLER_OK)
            part_is(&attempt, 0, "", bytes_of(body, 200000));
        attempt_free(&attempt);
        close_handler(world);
    }
    assert_true(refused > 5 && again > 0 && well > 0);
    run_for_ms(world, 10);
    assert_int_equal(count_fds(getpid()), before);
}

/* Forty at once, each with more than fits: what is held in memory stays inside the budget. */
static void test_many_at_once(void **state) {
    struct world *world = *state;
    enum { N = 40, SIZE = 3000000 };
    static struct attempt attempts[N];
    _cleanup_free_ char *body = make_body(SIZE);
    uint64_t most = 0;
    size_t before = count_fds(getpid());
    keep_results(world, 4 * MIB, 0);
    use_script(world, "cat", 0);
    for (int i = 0; i < N; i++)
        attempt_start(world, &attempts[i], &plain_object);
    for (size_t at = 0; at < SIZE; at += SIZE / 60)
        for (int i = 0; i < N; i++) {
            if (!attempt_write(&attempts[i], bytes_of(body + at, SIZE / 60)))
                run_until(world, &attempts[i].room);
            most = world->budget.used_bytes > most ? world->budget.used_bytes : most;
            assert_true(world->budget.used_bytes <= 4 * MIB);
        }
    for (int i = 0; i < N; i++)
        attempt_finish(&attempts[i]);
    for (int i = 0; i < N; i++) {
        attempt_ends(world, &attempts[i], HANDLER_OK);
        part_is(&attempts[i], 0, "", bytes_of(body, SIZE));
        attempt_free(&attempts[i]);
    }
    assert_true(most > 2 * MIB); /* and it was used */
    close_handler(world);
    run_for_ms(world, 10);
    assert_int_equal(count_fds(getpid()), before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)

int main(int argc, char **argv) {
    spawner_main_if_asked(argc, argv);
    const struct CMUnitTest tests[] = {
        TEST(test_results),
        TEST(test_ends_of_streams),
        TEST(test_waits_for_the_finish),
        TEST(test_streams_do_not_wait),
        TEST(test_failures),
        TEST(test_children),
        TEST(test_abort),
        TEST(test_no_space),
        TEST(test_no_descriptors),
        TEST(test_without_memory),
        TEST(test_many_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
