/* test_program.c - programs that behave, and programs that do not. */
#include "support.h"

#include "cleanup.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define SECOND_US INT64_C(1000000)

static char *make_body(size_t n) {
    char *body = mem_alloc(n);
    assert_non_null(body);
    for (size_t i = 0; i < n; i++)
        body[i] = (char)((i * 2654435761u) >> 13);
    return body;
}

/* Hands the body over as a download would: in pieces, pausing when told to. */
static void feed(struct world *world, struct attempt *attempt, struct bytes body, size_t piece) {
    while (body.n && !attempt->done) {
        size_t n = body.n < piece ? body.n : piece;
        if (!attempt_write(attempt, bytes_of(body.p, n)))
            run_until(world, &attempt->room);
        body = bytes_of(body.p + n, body.n - n);
    }
}

static void whole(struct world *world, struct attempt *attempt, struct bytes body) {
    attempt_start(world, attempt, &plain_object);
    feed(world, attempt, body, 16384);
    if (!attempt->done)
        attempt_finish(attempt);
}

/* ---- programs that behave ---- */

static void test_success(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    use_script(world, "cat > $D/body; echo \"$FROE_BUCKET/$FROE_KEY $FROE_ETAG $FROE_SIZE $FROE_RUN_ID\" > $D/object",
               0);
    attempt_start(world, &attempt, &plain_object);
    assert_true(attempt_write(&attempt, BYTES("hel")));
    assert_true(attempt_write(&attempt, BYTES("lo")));
    run_for_ms(world, 100);
    assert_false(attempt.done || file_exists(world, "object")); /* no end of input before the finish */
    attempt_finish(&attempt);
    attempt_ends(world, &attempt, HANDLER_OK);
    assert_int_equal(attempt.earlies, 0);
    _cleanup_free_ char *body = file_read(world, "body", NULL), *object = file_read(world, "object", NULL);
    assert_string_equal(body, "hello");
    assert_string_equal(object, "bucket-1/a key abc 5 7:3\n");
    attempt_free(&attempt);
}

static void test_empty_body(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    use_script(world, "cat > $D/body", 0);
    whole(world, &attempt, BYTES_NONE);
    attempt_ends(world, &attempt, HANDLER_OK);
    size_t n = 1;
    _cleanup_free_ char *body = file_read(world, "body", &n);
    assert_non_null(body);
    assert_int_equal(n, 0);
    attempt_free(&attempt);
}

static void test_large_body(void **state) {
    struct world *world = *state;
    static const size_t pieces[] = {1000, 16384, 65536, 1000000};
    size_t n = 8 * 1024 * 1024 + 7;
    _cleanup_free_ char *body = make_body(n);
    use_script(world, "sleep 0.05; cat > $D/body", 0);
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        struct attempt attempt;
        attempt_start(world, &attempt, &plain_object);
        feed(world, &attempt, bytes_of(body, n), pieces[i]);
        attempt_finish(&attempt);
        attempt_ends(world, &attempt, HANDLER_OK);
        assert_true(attempt.rooms > 0);
        size_t got_n = 0;
        _cleanup_free_ char *got = file_read(world, "body", &got_n);
        assert_int_equal(got_n, n);
        assert_memory_equal(got, body, n);
        attempt_free(&attempt);
    }
}

/* A program that reads slower than the body comes: the caller is held back at the stated bound. */
static void test_back_pressure(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    static char piece[16384];
    use_script(world, "while [ ! -e $D/go ]; do sleep 0.01; done; wc -c > $D/count", 0);
    attempt_start(world, &attempt, &plain_object);
    size_t taken = 0;
    bool more;
    do {
        more = attempt_write(&attempt, bytes_of(piece, sizeof piece));
        taken += sizeof piece;
    } while (more && taken < 10 * HANDLER_BUFFER_MAX);
    assert_false(more);
    assert_true(taken <= HANDLER_BUFFER_MAX + sizeof piece);
    run_for_ms(world, 50);
    assert_int_equal(attempt.rooms, 0);
    char path[128];
    file_path(world, "go", path);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    run_until(world, &attempt.room);
    assert_int_equal(attempt.rooms, 1);
    attempt_finish(&attempt);
    attempt_ends(world, &attempt, HANDLER_OK);
    _cleanup_free_ char *count = file_read(world, "count", NULL);
    assert_int_equal(strtoull(count, NULL, 10), taken);
    attempt_free(&attempt);
}

/* handler_finish with much still waiting: the end of the input comes after all of it. */
static void test_finish_with_a_queue(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    size_t n = 3 * 1024 * 1024;
    _cleanup_free_ char *body = make_body(n);
    use_script(world, "sleep 0.1; cat > $D/body", 0);
    attempt_start(world, &attempt, &plain_object);
    assert_false(attempt_write(&attempt, bytes_of(body, n))); /* one piece, taken whole */
    attempt_finish(&attempt);
    attempt_ends(world, &attempt, HANDLER_OK);
    assert_int_equal(attempt.rooms, 0);
    size_t got_n = 0;
    _cleanup_free_ char *got = file_read(world, "body", &got_n);
    assert_int_equal(got_n, n);
    assert_memory_equal(got, body, n);
    attempt_free(&attempt);
}

/* ---- ends ---- */

static void ends_with(struct world *world, const char *script, enum handler_end end, const char *text) {
    struct attempt attempt;
    use_script(world, script, 0);
    whole(world, &attempt, BYTES("body"));
    attempt_ends(world, &attempt, end);
    if (strcmp(attempt.text, text) != 0)
        fail_msg("'%s' instead of '%s'", attempt.text, text);
    attempt_free(&attempt);
}

static void on_flag(void *arg) {
    *(bool *)arg = true;
}

static void close_handler(struct world *world) {
    world->flag = false;
    handler_close(TAKE_PTR(world->handler), on_flag, &world->flag);
    run_until(world, &world->flag);
}

static void test_exit_codes(void **state) {
    struct world *world = *state;
    ends_with(world, "cat > /dev/null; exit 75", HANDLER_AGAIN, "exit status 75");
    close_handler(world);
    ends_with(world, "cat > /dev/null; echo trying >&2; echo >&2; echo 'no luck' >&2; exit 3", HANDLER_FAILED,
              "exit status 3: trying\n\nno luck");
    close_handler(world);
    ends_with(world, "cat > /dev/null; echo bye >&2; kill -KILL $$", HANDLER_FAILED,
              "killed by signal 9 (SIGKILL): bye");
    close_handler(world);
    ends_with(world, "cat > /dev/null; echo 'well done' >&2", HANDLER_OK, "");
    close_handler(world);
    ends_with(world, "cat > /dev/null; nosuchcommand 2> /dev/null", HANDLER_FAILED, "exit status 127");
}

/* A failure ends the job at once: nothing that the download brings can change it. */
static void test_failure_does_not_wait(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    use_script(world, "echo no >&2; exit 4", 0);
    attempt_start(world, &attempt, &plain_object);
    attempt_ends(world, &attempt, HANDLER_FAILED);
    assert_string_equal(attempt.text, "exit status 4: no");
    assert_int_equal(attempt.earlies, 0);
    attempt_free(&attempt);
}

/* A success is held back until the body is known to be whole, or not. */
static void test_success_waits(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    use_script(world, "exit 0", 0);
    for (int finish = 0; finish < 2; finish++) {
        attempt_start(world, &attempt, &plain_object);
        run_until(world, &attempt.early);
        assert_true(attempt.early_ended);
        for (int i = 0; i < 100; i++)
            assert_true(attempt_write(&attempt, BYTES("dropped")));
        run_for_ms(world, 50);
        assert_false(attempt.done);
        if (finish) {
            attempt_finish(&attempt);
            attempt_ends(world, &attempt, HANDLER_OK);
        } else {
            attempt_abort(&attempt, "the body was cut short");
            attempt_ends(world, &attempt, HANDLER_ABORTED);
            assert_string_equal(attempt.text, "the body was cut short");
        }
        assert_int_equal(attempt.earlies, 1);
        attempt_free(&attempt);
    }
    attempt_start(world, &attempt, &plain_object);
    run_until(world, &attempt.early);
    attempt_finish(&attempt);
    attempt_abort(&attempt, "a last moment's change"); /* `done` had not come yet */
    attempt_ends(world, &attempt, HANDLER_ABORTED);
    attempt_free(&attempt);
}

/* ---- programs that do not behave ---- */

static void test_does_not_read(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    size_t n = 2 * 1024 * 1024;
    _cleanup_free_ char *body = make_body(n);
    use_script(world, "exec < /dev/null; echo closed > $D/closed; while [ ! -e $D/go ]; do sleep 0.01; done; exit 0",
               0);
    attempt_start(world, &attempt, &plain_object);
    feed(world, &attempt, bytes_of(body, n), 16384); /* goes on: a pause ends with `room` */
    run_until(world, &attempt.early);
    assert_false(attempt.early_ended);
    attempt_finish(&attempt);
    run_for_ms(world, 50);
    assert_false(attempt.done);
    char path[128];
    file_path(world, "go", path);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    attempt_ends(world, &attempt, HANDLER_OK);
    assert_int_equal(attempt.earlies, 1);
    attempt_free(&attempt);
}

static void test_reads_a_part(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    size_t n = 2 * 1024 * 1024;
    _cleanup_free_ char *body = make_body(n);
    use_script(world, "head -c 10 > $D/head", 0);
    attempt_start(world, &attempt, &plain_object);
    feed(world, &attempt, bytes_of(body, n), 16384);
    run_until(world, &attempt.early);
    attempt_finish(&attempt);
    attempt_ends(world, &attempt, HANDLER_OK);
    size_t head_n = 0;
    _cleanup_free_ char *head = file_read(world, "head", &head_n);
    assert_int_equal(head_n, 10);
    assert_memory_equal(head, body, 10);
    attempt_free(&attempt);
}

/* It leaves children behind: in its group, holding its stderr. They are dead before `done`. */
static void test_leaves_children(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    use_script(world, "cat > /dev/null; (trap '' TERM HUP; sleep 1000) & echo $! > $D/child; exit 3", 0);
    whole(world, &attempt, BYTES("x"));
    attempt_ends(world, &attempt, HANDLER_FAILED);
    assert_true(is_dead(file_pid(world, "child")));
    attempt_free(&attempt);
}

/* One that left the group and holds stderr open is out of reach, but holds nothing up. */
static void test_leaves_a_daemon(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    use_script(world,
               "cat > /dev/null; setsid sh -c 'echo $$ > '$D'/daemon; while :; do echo noise >&2; done' &\n"
               "while [ ! -s $D/daemon ]; do sleep 0.01; done; exit 3",
               0);
    whole(world, &attempt, BYTES("x"));
    attempt_ends(world, &attempt, HANDLER_FAILED);
    pid_t daemon = file_pid(world, "daemon");
    kill(daemon, SIGKILL);
    assert_true(dies(world, daemon));
    assert_true(strlen(attempt.text) <= HANDLER_TEXT_MAX);
    attempt_free(&attempt);
}

static void test_endless_output(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    int saved = dup(STDOUT_FILENO), null = open("/dev/null", O_WRONLY);
    fflush(stdout);
    dup2(null, STDOUT_FILENO);
    /* `begun` is there once more than a pipe holds was read from it. */
    use_script(world, "yes out & yes 'an error' | { head -n 20000 >&2; echo > $D/begun; exec cat >&2; }", 50000);
    attempt_start(world, &attempt, &plain_object);
    for (int i = 0; i < 6000 && !attempt.done && !file_exists(world, "begun"); i++)
        run_for_ms(world, 10);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(null);
    assert_false(attempt.done);
    attempt_abort(&attempt, "timeout");
    attempt_ends(world, &attempt, HANDLER_ABORTED);
    assert_true(bytes_starts(bytes_str(attempt.text), BYTES("timeout: an error\nan error\n")));
    assert_true(strlen(attempt.text) <= HANDLER_STDERR_MAX + 16);
    attempt_free(&attempt);
}

static void test_closes_its_stderr(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    use_script(world, "echo before >&2; exec 2>&-; cat > /dev/null; exit 1", 0);
    attempt_start(world, &attempt, &plain_object);
    run_for_ms(world, 100);
    attempt_finish(&attempt);
    attempt_ends(world, &attempt, HANDLER_FAILED);
    assert_string_equal(attempt.text, "exit status 1: before");
    attempt_free(&attempt);
}

/* ---- abort ---- */

static void test_abort_asks_first(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    use_script(world,
               "trap 'echo tidied > $D/tidied; exit 0' TERM; echo $$ > $D/pid\n"
               "while :; do sleep 0.01; done",
               30 * SECOND_US);
    attempt_start(world, &attempt, &plain_object);
    file_pid(world, "pid");
    attempt_abort(&attempt, "timeout after 60s");
    attempt_abort(&attempt, "not said twice");
    attempt_ends(world, &attempt, HANDLER_ABORTED); /* though it exited with 0 */
    assert_true(bytes_starts(bytes_str(attempt.text), BYTES("timeout after 60s")));
    assert_true(file_exists(world, "tidied"));
    attempt_free(&attempt);
}

static void test_abort_insists(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    use_script(world, "trap '' TERM; (sleep 1000) & echo $! > $D/child; cat > $D/body; echo end > $D/end; sleep 1000",
               SECOND_US / 5);
    attempt_start(world, &attempt, &plain_object);
    attempt_write(&attempt, BYTES("half of "));
    pid_t child = file_pid(world, "child");
    uint64_t before = uv_hrtime();
    attempt_abort(&attempt, "the body was cut short");
    attempt_ends(world, &attempt, HANDLER_ABORTED);
    assert_true(uv_hrtime() - before >= 190000000);
    assert_true(is_dead(child));
    assert_false(file_exists(world, "end")); /* it never saw an end of its input */
    attempt_free(&attempt);
}

static void test_abort_at_once(void **state) {
    struct world *world = *state;
    struct attempt attempts[3];
    use_script(world, "sleep 1000", 0);
    attempt_start(world, &attempts[0], &plain_object);
    attempt_abort(&attempts[0], "before it even began");
    attempt_start(world, &attempts[1], &plain_object);
    attempt_finish(&attempts[1]);
    run_for_ms(world, 50);
    attempt_abort(&attempts[1], "after the finish");
    attempt_start(world, &attempts[2], &plain_object);
    static char piece[300000];
    assert_false(attempt_write(&attempts[2], bytes_of(piece, sizeof piece)));
    attempt_abort(&attempts[2], "with a full queue");
    for (int i = 0; i < 3; i++) {
        attempt_ends(world, &attempts[i], HANDLER_ABORTED);
        assert_int_equal(attempts[i].rooms + attempts[i].earlies, 0);
        attempt_free(&attempts[i]);
    }
}

/* ---- programs that cannot be run ---- */

static int make(struct world *world, const char *file) {
    const char *const argv[] = {file, "- \n", NULL};
    struct err err = {0};
    int r =
        handler_program_new(&world->loop, &(struct handler_program_options){.argv = argv, .spawner = world->spawner},
                            &world->handler, &err);
    if (r < 0)
        assert_true(err.text[0]);
    return r;
}

static void test_cannot_run(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    char path[128], text[256];
    const char *const none[] = {NULL};
    assert_int_equal(make(world, "/nonexistent/program"), -ENOENT);
    assert_int_equal(make(world, "/etc/passwd"), -EACCES);
    assert_int_equal(
        handler_program_new(&world->loop, &(struct handler_program_options){.argv = none}, &world->handler, NULL),
        -ENOENT);
    /* What looked well at first. */
    file_path(world, "program", path);
    FILE *file = fopen(path, "we");
    fputs("no first line that says how to run it\n", file);
    fclose(file);
    assert_int_equal(chmod(path, 0755), 0);
    assert_int_equal(make(world, path), 0);
    snprintf(text, sizeof text, "program %s - \\x0a", path);
    assert_string_equal(handler_describe(world->handler), text);
    whole(world, &attempt, BYTES("x"));
    attempt_ends(world, &attempt, HANDLER_FAILED);
    assert_non_null(strstr(attempt.text, "#!"));
    attempt_free(&attempt);
    assert_int_equal(unlink(path), 0); /* gone since */
    whole(world, &attempt, BYTES("x"));
    attempt_ends(world, &attempt, HANDLER_FAILED);
    assert_non_null(strstr(attempt.text, path));
    attempt_free(&attempt);
}

static void test_too_much_metadata(void **state) {
    struct world *world = *state;
    static char large[SPAWNER_STRINGS_MAX];
    memset(large, 'x', sizeof large);
    struct handler_meta meta = {BYTES("large"), bytes_of(large, sizeof large - 2000)};
    struct handler_object object = plain_object;
    object.metadata = &meta;
    object.n_metadata = 1;
    struct err err = {0};
    struct handler_job *job = NULL;
    use_script(world, "cat > /dev/null; test ${#FROE_META_LARGE} = 100000", 0);
    meta.value.n = sizeof large;
    assert_int_equal(handler_start(world->handler, &object, &(struct handler_events){0}, NULL, &job, &err), -E2BIG);
    assert_non_null(strstr(err.text, "128 KiB"));
    meta.value.n = sizeof large - 200; /* fits in the environment, but not with the arguments */
    assert_int_equal(handler_start(world->handler, &object, &(struct handler_events){0}, NULL, &job, &err), -E2BIG);
    assert_null(job);
    meta.value.n = 100000;
    struct attempt attempt;
    attempt_start(world, &attempt, &object);
    attempt_finish(&attempt);
    attempt_ends(world, &attempt, HANDLER_OK);
    attempt_free(&attempt);
}

static void test_no_descriptors(void **state) {
    struct world *world = *state;
    struct err err = {0};
    struct handler_job *job = NULL;
    struct rlimit limit, small;
    use_script(world, "cat > /dev/null", 0);
    getrlimit(RLIMIT_NOFILE, &limit);
    size_t before = count_fds(getpid());
    for (rlim_t more = 0; more < 4; more++) {
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
    struct attempt attempt;
    whole(world, &attempt, BYTES("x"));
    attempt_ends(world, &attempt, HANDLER_OK);
    attempt_free(&attempt);
}

/* ---- all of it ---- */

static void test_clean_environment(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    use_script(world, "cat > /dev/null; env > $D/env", 0);
    whole(world, &attempt, BYTES("x"));
    attempt_ends(world, &attempt, HANDLER_OK);
    _cleanup_free_ char *env = file_read(world, "env", NULL);
    assert_non_null(getenv("AWS_SECRET_ACCESS_KEY"));
    assert_null(strstr(env, "AWS"));
    assert_null(strstr(env, "not-for-programs"));
    assert_non_null(strstr(env, "FROE_CONTENT_TYPE=\n"));
    attempt_free(&attempt);
}

static void test_nothing_leaks(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    use_script(world, "cat > /dev/null", 0);
    size_t before = count_fds(getpid()), spawner_before = count_fds(spawner_pid(world->spawner));
    for (int i = 0; i < 500; i++) {
        whole(world, &attempt, BYTES("body"));
        attempt_ends(world, &attempt, HANDLER_OK);
        attempt_free(&attempt);
    }
    run_for_ms(world, 10);
    assert_int_equal(count_fds(getpid()), before);
    assert_int_equal(count_fds(spawner_pid(world->spawner)), spawner_before);
}

static void test_many_at_once(void **state) {
    struct world *world = *state;
    enum { N = 40 };
    static struct attempt attempts[N];
    size_t n = 200000;
    _cleanup_free_ char *body = make_body(n);
    char expected[32];
    use_script(world, "wc -c > $D/$FROE_ATTEMPT; exit $((FROE_ATTEMPT % 3))", 0);
    size_t before = count_fds(getpid()), spawner_before = count_fds(spawner_pid(world->spawner));
    for (uint32_t i = 0; i < N; i++) {
        struct handler_object object = plain_object;
        object.attempt = i;
        attempt_start(world, &attempts[i], &object);
        attempt_write(&attempts[i], bytes_of(body, n - i));
    }
    for (uint32_t i = 0; i < N; i++)
        attempt_finish(&attempts[i]);
    for (uint32_t i = 0; i < N; i++) {
        attempt_ends(world, &attempts[i], i % 3 ? HANDLER_FAILED : HANDLER_OK);
        char name[16];
        snprintf(name, sizeof name, "%u", i);
        snprintf(expected, sizeof expected, "%zu\n", n - i);
        _cleanup_free_ char *count = file_read(world, name, NULL);
        assert_string_equal(count, expected);
        attempt_free(&attempts[i]);
    }
    run_for_ms(world, 10);
    assert_int_equal(count_fds(getpid()), before);
    assert_int_equal(count_fds(spawner_pid(world->spawner)), spawner_before);
}

static void test_spawner_dies(void **state) {
    struct world *world = *state;
    struct attempt attempts[3];
    use_script(world, "(sleep 1000) & echo $! > $D/$FROE_ATTEMPT; cat > /dev/null; echo end > $D/end", 0);
    for (uint32_t i = 0; i < 3; i++) {
        struct handler_object object = plain_object;
        object.attempt = i;
        attempt_start(world, &attempts[i], &object);
        attempt_write(&attempts[i], BYTES("half of a body"));
    }
    pid_t children[] = {file_pid(world, "0"), file_pid(world, "1"), file_pid(world, "2")};
    attempt_abort(&attempts[2], "it was to end anyway");
    kill(spawner_pid(world->spawner), SIGKILL);
    attempt_ends(world, &attempts[0], HANDLER_NOT_RUN);
    attempt_ends(world, &attempts[1], HANDLER_NOT_RUN);
    attempt_ends(world, &attempts[2], HANDLER_ABORTED);
    assert_non_null(strstr(attempts[0].text, "died"));
    for (int i = 0; i < 3; i++) {
        assert_true(dies(world, children[i]));
        attempt_free(&attempts[i]);
    }
    assert_false(file_exists(world, "end"));
    struct err err = {0};
    struct handler_job *job = NULL;
    assert_int_equal(handler_start(world->handler, &plain_object, &(struct handler_events){0}, NULL, &job, &err),
                     -EPIPE);
    assert_true(err.text[0]);
}

/* Every allocation fails once: the start does, or the job ends in some way that is right; nothing hangs or leaks. */
static void test_without_memory(void **state) {
    struct world *world = *state;
    size_t n = 300000, before = count_fds(getpid());
    _cleanup_free_ char *body = make_body(n);
    unsigned refused = 0, again = 0, failed = 0;
    bool reached = true;
    for (uint64_t at = 1; reached; at++) {
        const char *const argv[] = {"sh", "-c", "sleep 0.02; cat > /dev/null; echo why >&2; exit 3", NULL};
        struct handler_program_options options = {.argv = argv, .spawner = world->spawner};
        struct attempt attempt = {0};
        struct err err = {0};
        mem_fail_at(at, 0);
        int r = handler_program_new(&world->loop, &options, &world->handler, &err);
        if (r == 0)
            r = attempt_try(world, &attempt, &plain_object, &err);
        if (r == 0) {
            feed(world, &attempt, bytes_of(body, n), 16384);
            if (!attempt.done)
                attempt_finish(&attempt);
            run_until(world, &attempt.done);
            assert_true(attempt.end == HANDLER_NOT_RUN || attempt.end == HANDLER_FAILED);
            again += attempt.end == HANDLER_NOT_RUN;
            failed += attempt.end == HANDLER_FAILED;
        } else {
            assert_int_equal(r, -ENOMEM);
            assert_true(err.text[0]);
            refused++;
        }
        reached = mem_fail_count() >= at;
        mem_fail_at(0, 0);
        if (!reached)
            assert_string_equal(attempt.text, "exit status 3: why");
        attempt_free(&attempt);
        close_handler(world);
    }
    assert_true(refused > 5 && again > 0 && failed > 1);
    assert_int_equal(count_fds(getpid()), before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)

int main(int argc, char **argv) {
    spawner_main_if_asked(argc, argv);
    const struct CMUnitTest tests[] = {
        TEST(test_success),
        TEST(test_empty_body),
        TEST(test_large_body),
        TEST(test_back_pressure),
        TEST(test_finish_with_a_queue),
        TEST(test_exit_codes),
        TEST(test_failure_does_not_wait),
        TEST(test_success_waits),
        TEST(test_does_not_read),
        TEST(test_reads_a_part),
        TEST(test_leaves_children),
        TEST(test_leaves_a_daemon),
        TEST(test_endless_output),
        TEST(test_closes_its_stderr),
        TEST(test_abort_asks_first),
        TEST(test_abort_insists),
        TEST(test_abort_at_once),
        TEST(test_cannot_run),
        TEST(test_too_much_metadata),
        TEST(test_no_descriptors),
        TEST(test_clean_environment),
        TEST(test_nothing_leaks),
        TEST(test_many_at_once),
        TEST(test_spawner_dies),
        TEST(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
