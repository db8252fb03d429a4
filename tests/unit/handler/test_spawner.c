/* test_spawner.c - starting, killing and reaping through the spawner, and what is left when it dies. */
#include "support.h"

#include "cleanup.h"
#include "clock.h"
#include "program_end.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>

struct end {
    bool done;
    struct spawn_exit exit;
};

static void on_exited(void *arg, const struct spawn_exit *exit) {
    struct end *end = arg;
    assert_false(end->done);
    *end = (struct end){true, *exit};
}

static void on_flag(void *arg) {
    *(bool *)arg = true;
}

static int start(struct world *world, const char *file, const char *const *argv, struct end *end,
                 struct spawned **ret_spawned) {
    static const char *const envp[] = {"PATH=/usr/bin:/bin", NULL};
    _cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct spawn_request request = {.file = file,
                                    .argv = argv,
                                    .envp = envp,
                                    .stdin_fd = null,
                                    .stdout_fd = null,
                                    .stderr_fd = STDERR_FILENO,
                                    .guard_fd = -1};
    *end = (struct end){0};
    return spawner_start(world->spawner, &request, on_exited, end, ret_spawned);
}

static int start_script(struct world *world, const char *script, struct end *end, struct spawned **ret_spawned) {
    char text[1024];
    snprintf(text, sizeof text, "D=%s\n%s", world->directory, script);
    const char *const argv[] = {"sh", "-c", text, NULL};
    return start(world, "/bin/sh", argv, end, ret_spawned);
}

static void test_status(void **state) {
    struct world *world = *state;
    struct end end;
    struct spawned *spawned;
    assert_int_equal(start_script(world, "exit 7", &end, &spawned), 0);
    run_until(world, &end.done);
    assert_int_equal(end.exit.start_error, 0);
    assert_true(WIFEXITED(end.exit.status) && WEXITSTATUS(end.exit.status) == 7);
    assert_int_equal(start_script(world, "kill -SEGV $$", &end, &spawned), 0);
    run_until(world, &end.done);
    assert_true(WIFSIGNALED(end.exit.status) && WTERMSIG(end.exit.status) == SIGSEGV);
}

static void test_not_executable(void **state) {
    struct world *world = *state;
    struct end end;
    struct spawned *spawned;
    const char *const argv[] = {"x", NULL};
    assert_int_equal(start(world, "/nonexistent/x", argv, &end, &spawned), 0);
    spawner_kill(spawned, SIGTERM); /* no effect, no harm */
    run_until(world, &end.done);
    assert_int_equal(end.exit.start_error, ENOENT);
    assert_int_equal(start(world, "/tmp", argv, &end, &spawned), 0);
    run_until(world, &end.done);
    assert_int_equal(end.exit.start_error, EACCES);
}

static void test_group_is_killed(void **state) {
    struct world *world = *state;
    struct end end;
    struct spawned *spawned;
    /* It ignores SIGTERM, and so do its children; one of those has a child of its own. */
    assert_int_equal(start_script(world,
                                  "trap '' TERM; sleep 1000 & echo $! > $D/a\n"
                                  "sh -c 'sleep 1000 & echo $! > '$D'/b; wait' &\n"
                                  "echo $$ > $D/c; while :; do sleep 1000; done",
                                  &end, &spawned),
                     0);
    pid_t a = file_pid(world, "a"), b = file_pid(world, "b"), c = file_pid(world, "c");
    spawner_kill(spawned, SIGTERM);
    run_for_ms(world, 200);
    assert_false(end.done);
    assert_false(is_dead(a) || is_dead(b) || is_dead(c));
    spawner_kill(spawned, SIGKILL);
    spawner_kill(spawned, SIGTERM);
    run_until(world, &end.done);
    assert_true(WIFSIGNALED(end.exit.status) && WTERMSIG(end.exit.status) == SIGKILL);
    assert_true(is_dead(a) && is_dead(b) && is_dead(c));
}

static void test_group_dies_with_its_leader(void **state) {
    struct world *world = *state;
    struct end end;
    struct spawned *spawned;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(start_script(world,
                                      "sleep 1000 & sh -c 'trap \"\" TERM HUP; sleep 1000 & sleep 1000' &\n"
                                      "sleep 1000 & echo $! > $D/a; exit 0",
                                      &end, &spawned),
                         0);
        run_until(world, &end.done);
        assert_true(WIFEXITED(end.exit.status) && WEXITSTATUS(end.exit.status) == 0);
        pid_t a = file_pid(world, "a");
        assert_int_equal(kill(a, 0), -1); /* dead and reaped before `exited` */
        assert_int_equal(errno, ESRCH);
    }
}

/* A program begins as from a shell, whatever froe does with signals, descriptors and limits. (glibc leaves the two
 * signals that it uses itself, 32 and 33, ignored.) */
static void test_clean_start(void **state) {
    struct world *world = *state;
    struct end end;
    struct spawned *spawned;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max; /* as froe does after it started its spawner */
    setrlimit(RLIMIT_NOFILE, &limit);
    sigset_t blocked, old;
    sigfillset(&blocked);
    sigprocmask(SIG_BLOCK, &blocked, &old);
    assert_int_equal(
        start_script(world,
                     "grep -E 'Sig(Blk|Ign)' /proc/$$/status | sed -E 's/0[01]80000000/0000000000/' > $D/signals\n"
                     "ulimit -n > $D/limit\n"
                     "ls -l /proc/$$/fd > $D/fds\n"
                     "cut -d' ' -f5,7 /proc/$$/stat > $D/group; echo $$ > $D/pid",
                     &end, &spawned),
        0);
    run_until(world, &end.done);
    sigprocmask(SIG_SETMASK, &old, NULL);
    limit.rlim_cur = before;
    setrlimit(RLIMIT_NOFILE, &limit);
    assert_int_equal(end.exit.status, 0);
    _cleanup_free_ char *signals = file_read(world, "signals", NULL);
    assert_string_equal(signals, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    _cleanup_free_ char *text = file_read(world, "limit", NULL);
    if (before != RLIM_INFINITY)
        assert_int_equal(strtoull(text, NULL, 10), before);
    _cleanup_free_ char *fds = file_read(world, "fds", NULL);
    assert_non_null(strstr(fds, "/dev/null"));
    assert_null(strstr(fds, "/etc/passwd"));
    _cleanup_free_ char *group = file_read(world, "group", NULL);
    char expected[32];
    snprintf(expected, sizeof expected, "%d 0\n", (int)file_pid(world, "pid"));
    assert_string_equal(group, expected); /* its own group, no terminal */
}

static void test_spawner_has_nothing_of_ours(void **state) {
    struct world *world = *state;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)spawner_pid(world->spawner));
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    if (!file)
        skip(); /* it is not dumpable, so only root may look */
    char environment[4096];
    size_t n = fread(environment, 1, sizeof environment, file);
    assert_null(memmem(environment, n, "AWS", 3));
    if (!getenv("LD_LIBRARY_PATH"))
        assert_int_equal(n, 0);
}

static void test_signals_do_not_end_the_spawner(void **state) {
    struct world *world = *state;
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGTSTP};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        assert_int_equal(kill(spawner_pid(world->spawner), signals[i]), 0);
    struct end end;
    struct spawned *spawned;
    assert_int_equal(start_script(world, "exit 0", &end, &spawned), 0);
    run_until(world, &end.done);
    assert_int_equal(end.exit.start_error, 0);
    assert_int_equal(getpgid(spawner_pid(world->spawner)), spawner_pid(world->spawner)); /* no Ctrl-C reaches it */
}

static void test_arguments(void **state) {
    struct world *world = *state;
    struct end end;
    struct spawned *spawned;
    static char large[SPAWNER_STRINGS_MAX];
    memset(large, 'x', sizeof large - 1);
    const char *argv[] = {"sh", "-c", "test ${#1} = $2 && test -z \"$3\" && test $# = 3", "sh", large, "0", "", NULL};
    assert_int_equal(start(world, "/bin/sh", argv, &end, &spawned), -E2BIG);
    large[100000] = '\0';
    argv[5] = "100000";
    assert_int_equal(start(world, "/bin/sh", argv, &end, &spawned), 0);
    run_until(world, &end.done);
    assert_int_equal(end.exit.status, 0);
}

/* More than the socket takes while the spawner does not read. */
static void test_outbox(void **state) {
    struct world *world = *state;
    enum { N = 30 };
    static struct end ends[N];
    struct spawned *spawned[N];
    static char large[100001];
    memset(large, 'x', sizeof large - 1);
    const char *const argv[] = {"sh", "-c", "exec sleep 1000", large, NULL};
    size_t before = count_fds(getpid());
    assert_int_equal(kill(spawner_pid(world->spawner), SIGSTOP), 0);
    for (int i = 0; i < N; i++)
        assert_int_equal(start(world, "/bin/sh", argv, &ends[i], &spawned[i]), 0);
    assert_true(count_fds(getpid()) > before);
    for (int i = 0; i < N; i++)
        spawner_kill(spawned[i], i % 2 ? SIGKILL : SIGTERM);
    run_for_ms(world, 50);
    assert_int_equal(kill(spawner_pid(world->spawner), SIGCONT), 0);
    for (int i = 0; i < N; i++) {
        run_until(world, &ends[i].done);
        assert_int_equal(ends[i].exit.start_error, 0);
        assert_int_equal(WTERMSIG(ends[i].exit.status), i % 2 ? SIGKILL : SIGTERM);
    }
    assert_int_equal(count_fds(getpid()), before);
}

static void test_no_descriptors(void **state) {
    struct world *world = *state;
    enum { N = 30 };
    static struct end ends[N];
    struct spawned *spawned;
    static char large[100001];
    memset(large, 'x', sizeof large - 1);
    const char *const argv[] = {"sh", "-c", ":", large, NULL};
    struct rlimit limit, small;
    getrlimit(RLIMIT_NOFILE, &limit);
    small = limit;
    assert_int_equal(kill(spawner_pid(world->spawner), SIGSTOP), 0);
    for (int i = 0; i < N - 1; i++) /* the last ones are in the outbox */
        assert_int_equal(start(world, "/bin/sh", argv, &ends[i], &spawned), 0);
    _cleanup_close_ int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
    small.rlim_cur = (rlim_t)lowest + 2; /* room for the /dev/null of start(), and for one copy */
    setrlimit(RLIMIT_NOFILE, &small);
    int r = start(world, "/bin/sh", argv, &ends[N - 1], &spawned);
    setrlimit(RLIMIT_NOFILE, &limit);
    assert_int_equal(r, -EAGAIN);
    assert_int_equal(kill(spawner_pid(world->spawner), SIGCONT), 0);
    for (int i = 0; i < N - 1; i++) {
        run_until(world, &ends[i].done);
        assert_int_equal(ends[i].exit.status, 0);
    }
}

static void test_close_kills(void **state) {
    struct world *world = *state;
    struct end ends[5];
    struct spawned *spawned;
    for (int i = 1; i < 5; i++)
        assert_int_equal(start_script(world, "trap '' TERM; sleep 1000 & sleep 1000", &ends[i], &spawned), 0);
    assert_int_equal(start_script(world, "echo $$ > $D/pid; sleep 1000", &ends[0], &spawned), 0);
    pid_t program = file_pid(world, "pid"), process = spawner_pid(world->spawner);
    world_down(state);
    for (int i = 0; i < 5; i++)
        assert_true(ends[i].done);
    assert_true(is_dead(program));
    assert_int_equal(waitpid(process, NULL, WNOHANG), -1); /* reaped */
}

static void test_spawner_dies(void **state) {
    struct world *world = *state;
    struct end ends[3], late;
    struct spawned *spawned;
    assert_int_equal(start_script(world, "trap '' TERM; sleep 1000 & echo $! > $D/a; echo $$ > $D/b; sleep 1000",
                                  &ends[0], &spawned),
                     0);
    assert_int_equal(start_script(world, "exit 0", &ends[1], &spawned), 0);
    pid_t a = file_pid(world, "a"), b = file_pid(world, "b");
    run_until(world, &ends[1].done);
    assert_int_equal(kill(spawner_pid(world->spawner), SIGKILL), 0);
    int r = start_script(world, "exit 0", &ends[2], &spawned); /* may still get through to the socket, or not */
    run_until(world, &ends[0].done);
    assert_int_equal(ends[0].exit.start_error, EPIPE);
    if (r == 0) {
        run_until(world, &ends[2].done);
        assert_int_equal(ends[2].exit.start_error, EPIPE);
    } else {
        assert_int_equal(r, -EPIPE);
    }
    assert_true(dies(world, a) && dies(world, b));
    assert_int_equal(start_script(world, "exit 0", &late, &spawned), -EPIPE);
}

/* As file_pid, but the loop does not run. */
static pid_t file_pid_asleep(const struct world *world, const char *name) {
    for (int i = 0; i < 6000; i++) {
        _cleanup_free_ char *text = file_read(world, name, NULL);
        if (text && strchr(text, '\n'))
            return (pid_t)strtol(text, NULL, 10);
        usleep(10000);
    }
    fail_msg("no pid in %s", name);
    return -1;
}

/* Until the program was reaped and the spawner, which reports that, sleeps again. The loop does not run. */
static void wait_until_reported(const struct world *world, pid_t pid) {
    for (int i = 0; i < 6000 && !(kill(pid, 0) < 0 && process_state(spawner_pid(world->spawner)) == 'S'); i++)
        usleep(10000);
    assert_int_equal(kill(pid, 0), -1);
}

/* What it reported before its death counts, though the kernel first says ECONNRESET for the orders it left unread. */
static void test_dies_with_orders_unread(void **state) {
    struct world *world = *state;
    struct end ends[2];
    struct spawned *running, *ended;
    assert_int_equal(start_script(world, "sleep 1000 & echo $! > $D/a; sleep 1000", &ends[0], &running), 0);
    assert_int_equal(start_script(world, "echo $$ > $D/b; exit 5", &ends[1], &ended), 0);
    pid_t a = file_pid_asleep(world, "a");
    wait_until_reported(world, file_pid_asleep(world, "b")); /* the reports are there, unread */
    assert_int_equal(kill(spawner_pid(world->spawner), SIGSTOP), 0);
    spawner_kill(running, SIGCONT);
    assert_int_equal(kill(spawner_pid(world->spawner), SIGKILL), 0);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)spawner_pid(world->spawner), &info, WEXITED | WNOWAIT), 0);
    run_until(world, &ends[0].done);
    assert_int_equal(ends[0].exit.start_error, EPIPE);
    assert_true(ends[1].done);
    assert_int_equal(ends[1].exit.start_error, 0);
    assert_int_equal(ends[1].exit.status, 5 << 8);
    assert_true(dies(world, a));
}

/* The holder closes from within the news that it is dead. */
static void close_in_callback(void *arg, const struct spawn_exit *exit) {
    struct world *world = arg;
    assert_int_equal(exit->start_error, EPIPE);
    spawner_close(TAKE_PTR(world->spawner), on_flag, &world->flag);
}

/* Killed at any moment of a start, also before it could tell the pid: no program is left running. */
static void test_dies_while_starting(void **state) {
    struct world *world = *state;
    char script[256], path[128];
    snprintf(script, sizeof script, "echo $$ > %s/pid; exec sleep 1000", world->directory);
    const char *const argv[] = {"sh", "-c", script, NULL}, *const envp[] = {"PATH=/usr/bin:/bin", NULL};
    struct spawn_request request = {
        .file = "/bin/sh", .argv = argv, .envp = envp, .stdin_fd = 0, .stdout_fd = 1, .stderr_fd = 2, .guard_fd = -1};
    for (unsigned delay_us = 0; delay_us < 1500; delay_us += 50) {
        struct spawned *spawned;
        if (!world->spawner)
            assert_int_equal(spawner_new(&world->loop, -1, NULL, &world->spawner, NULL), 0);
        assert_int_equal(spawner_start(world->spawner, &request, close_in_callback, world, &spawned), 0);
        usleep(delay_us);
        assert_int_equal(kill(spawner_pid(world->spawner), SIGKILL), 0);
        world->flag = false;
        run_until(world, &world->flag);
        run_for_ms(world, 20);
        file_path(world, "pid", path);
        _cleanup_free_ char *text = file_read(world, "pid", NULL);
        unlink(path);
        if (!text || !strchr(text, '\n'))
            continue; /* killed before it got that far */
        pid_t pid = (pid_t)strtol(text, NULL, 10);
        assert_true(dies(world, pid));
    }
}

static void test_without_memory(void **state) {
    struct world *world = *state;
    for (uint64_t n = 1; n; n++) {
        struct spawner *spawner = NULL;
        struct err err = {0};
        mem_fail_at(n, 0);
        int r = spawner_new(&world->loop, -1, NULL, &spawner, &err);
        bool reached = mem_fail_count() >= n;
        mem_fail_at(0, 0);
        assert_int_equal(r, reached ? -ENOMEM : 0);
        if (reached) {
            assert_true(err.text[0]);
            continue;
        }
        world->flag = false;
        spawner_close(spawner, on_flag, &world->flag);
        run_until(world, &world->flag);
        break;
    }
    for (uint64_t n = 1; n; n++) {
        struct end end;
        struct spawned *spawned;
        mem_fail_at(n, 0);
        int r = start_script(world, "exit 0", &end, &spawned);
        bool reached = mem_fail_count() >= n;
        mem_fail_at(0, 0);
        assert_int_equal(r, reached ? -ENOMEM : 0);
        if (r == 0) {
            run_until(world, &end.done);
            break;
        }
    }
}

static unsigned filters_of_ours(void) {
    char line[128];
    unsigned n = 0;
    FILE *status = fopen("/proc/self/status", "re");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "Seccomp_filters: %u", &n) == 1)
            break;
    if (status)
        fclose(status);
    return n;
}

/* How many filters a program has; 100 more when it may gain privileges. */
static unsigned filters_of(struct world *world, const struct confined *confined) {
    static const char *const argv[] = {"sh", "-c",
                                       "f=0 p=100\n"
                                       "while read name value; do case $name in Seccomp_filters:) f=$value ;; "
                                       "NoNewPrivs:) [ $value = 0 ] || p=0 ;; esac\n"
                                       "done < /proc/self/status; exit $((f + p))",
                                       NULL};
    static const char *const envp[] = {"PATH=/usr/bin:/bin", NULL};
    const struct spawn_request request = {.file = "/bin/sh",
                                          .argv = argv,
                                          .envp = envp,
                                          .stdin_fd = 0,
                                          .stdout_fd = 1,
                                          .stderr_fd = 2,
                                          .guard_fd = -1,
                                          .confined = confined};
    struct end end = {0};
    struct spawned *spawned;
    assert_int_equal(spawner_start(world->spawner, &request, on_exited, &end, &spawned), 0);
    run_until(world, &end.done);
    assert_true(end.exit.start_error == 0 && WIFEXITED(end.exit.status));
    return (unsigned)WEXITSTATUS(end.exit.status);
}

static struct confined *confined_to(enum confine_level level) {
    const struct confine confine = {.level = level, .best_effort = true};
    struct confined *confined;
    assert_int_equal(confined_new(&confine, &confined, NULL), 0);
    return confined;
}

/* What a spawner is held to itself is not laid on its programs once more. */
static void test_confined_itself(void **state) {
    struct world *world = *state;
    struct spawner *plain = world->spawner;
    struct confined *no = confined_to(CONFINE_NO), *basic = confined_to(CONFINE_BASIC),
                    *strict = confined_to(CONFINE_STRICT);
    unsigned ours = filters_of_ours(), one = basic->n_filter > 0;
    assert_int_equal(filters_of(world, no), 100 + ours);
    assert_int_equal(filters_of(world, basic), ours + one);
    assert_int_equal(spawner_new(&world->loop, -1, basic, &world->spawner, NULL), 0);
    assert_int_equal(filters_of(world, basic), ours + one);
    assert_int_equal(filters_of(world, strict), ours + 2 * one);
    struct end end;
    struct spawned *spawned;
    assert_int_equal(start_script(world, "exit 0", &end, &spawned), -EPERM);
    const struct spawn_request request = {.confined = no};
    assert_int_equal(spawner_start(world->spawner, &request, on_exited, &end, &spawned), -EPERM);
    world->flag = false;
    spawner_close(world->spawner, on_flag, &world->flag);
    run_until(world, &world->flag);
    world->spawner = plain;
    confined_free(no);
    confined_free(basic);
    confined_free(strict);
}

static void test_null(void **state) {
    bool flag = false;
    spawner_close(NULL, on_flag, &flag);
    assert_true(flag);
}

#define SILENCE_US (400 * US_PER_MS)

/* Speaks for longer than that, and is never silent for so long. false: the machine had no time for us to speak. */
static bool speaks(struct world *world, const struct end *end, pid_t program) {
    int64_t spoke_mono_us = clock_mono_us(&clock_system);
    spawner_alive(world->spawner, SILENCE_US);
    for (int i = 0; i < 8; i++) {
        run_for_ms(world, 100);
        bool lives = !end->done && !is_dead(program);
        if (clock_mono_us(&clock_system) - spoke_mono_us > SILENCE_US / 2)
            return false;
        assert_true(lives);
        spoke_mono_us = clock_mono_us(&clock_system);
        spawner_alive(world->spawner, SILENCE_US);
    }
    return true;
}

/* Who stands still says nothing; its programs die in time, and the spawner goes on when it moves again. */
static void test_who_stands_still_loses_its_programs(void **state) {
    struct world *world = *state;
    struct end end;
    struct spawned *spawned;
    char path[128];
    pid_t a;
    file_path(world, "a", path);
    for (int tries = 0;; tries++) {
        assert_true(tries < 1000);
        unlink(path);
        spawner_alive(world->spawner, US_PER_HOUR);
        assert_int_equal(start_script(world, "echo $$ > $D/a; sleep 1000", &end, &spawned), 0);
        a = file_pid(world, "a");
        if (speaks(world, &end, a))
            break;
        if (!end.done)
            spawner_kill(spawned, SIGKILL);
        run_until(world, &end.done);
    }
    for (int i = 0; i < 6000 && !is_dead(a); i++) /* the loop does not run */
        usleep(10000);
    assert_true(is_dead(a));
    run_until(world, &end.done);
    assert_true(WIFSIGNALED(end.exit.status) && WTERMSIG(end.exit.status) == SIGKILL && end.exit.stalled);
    assert_int_equal(program_end(&end.exit), HANDLER_NOT_RUN);
    assert_int_equal(start_script(world, "exit 3", &end, &spawned), 0);
    run_until(world, &end.done);
    assert_true(WIFEXITED(end.exit.status) && WEXITSTATUS(end.exit.status) == 3 && !end.exit.stalled);
    spawner_alive(world->spawner, US_PER_HOUR); /* what is killed by others afterwards is */
    assert_int_equal(start_script(world, "kill -9 $$", &end, &spawned), 0);
    run_until(world, &end.done);
    assert_false(end.exit.stalled);
    assert_int_equal(program_end(&end.exit), HANDLER_FAILED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)

int main(int argc, char **argv) {
    spawner_main_if_asked(argc, argv);
    (void)!open("/etc/passwd", O_RDONLY); /* on purpose without O_CLOEXEC: see test_clean_start */
    const struct CMUnitTest tests[] = {
        TEST(test_status),
        TEST(test_not_executable),
        TEST(test_group_is_killed),
        TEST(test_group_dies_with_its_leader),
        TEST(test_clean_start),
        TEST(test_spawner_has_nothing_of_ours),
        TEST(test_signals_do_not_end_the_spawner),
        TEST(test_arguments),
        TEST(test_outbox),
        TEST(test_no_descriptors),
        TEST(test_who_stands_still_loses_its_programs),
        cmocka_unit_test_setup(test_close_kills, world_up),
        TEST(test_spawner_dies),
        TEST(test_dies_with_orders_unread),
        TEST(test_dies_while_starting),
        TEST(test_without_memory),
        TEST(test_confined_itself),
        cmocka_unit_test(test_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
