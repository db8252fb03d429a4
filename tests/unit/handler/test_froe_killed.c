/* test_froe_killed.c - kill -9 of the process that started everything.
 *
 * A second copy of this program plays froe: it locks a file, starts a spawner that holds the lock, and feeds programs.
 */
#include "support.h"

#include "cleanup.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/wait.h>

#define PLAY_FROE "play-froe"
#define PROGRAMS 3

static int open_lock(const char *directory) {
    char path[128];
    snprintf(path, sizeof path, "%s/lock", directory);
    return open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
}

static void play_froe(const char *directory) {
    struct world world = {0};
    struct err err = {0};
    signal(SIGPIPE, SIG_IGN);
    snprintf(world.directory, sizeof world.directory, "%s", directory);
    int lock = open_lock(directory);
    if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) < 0 || uv_loop_init(&world.loop) < 0 ||
        spawner_new(&world.loop, lock, NULL, &world.spawner, &err) < 0)
        _exit(1);
    use_script(&world,
               "trap '' TERM HUP; sleep 1000 & echo $! > $D/child$FROE_ATTEMPT; echo $$ > $D/leader$FROE_ATTEMPT\n"
               "cat > /dev/null; echo end > $D/end",
               0);
    static struct attempt attempts[PROGRAMS];
    for (uint32_t i = 0; i < PROGRAMS; i++) {
        struct handler_object object = plain_object;
        object.attempt = i;
        attempt_start(&world, &attempts[i], &object);
        attempt_write(&attempts[i], BYTES("half of a body"));
    }
    uv_run(&world.loop, UV_RUN_DEFAULT);
    _exit(1);
}

static pid_t start_froe(const char *name, char *directory) {
    char self[] = PLAY_FROE;
    char *argv[] = {self, self, directory, NULL};
    pid_t pid = -1;
    assert_int_equal(posix_spawn(&pid, name, NULL, NULL, argv, environ), 0);
    return pid;
}

static void test_killed(void **state) {
    struct world *world = *state;
    for (int round = 0; round < 15; round++) {
        pid_t froe = start_froe("/proc/self/exe", world->directory), pids[2 * PROGRAMS];
        for (int i = 0; i < PROGRAMS; i++) {
            char name[16];
            snprintf(name, sizeof name, "child%d", i);
            pids[2 * i] = file_pid(world, name);
            snprintf(name, sizeof name, "leader%d", i);
            pids[2 * i + 1] = file_pid(world, name);
        }
        _cleanup_close_ int lock = open_lock(world->directory);
        assert_int_equal(flock(lock, LOCK_EX | LOCK_NB), -1);
        for (int i = 0; i < 2 * PROGRAMS; i++)
            assert_false(is_dead(pids[i]));
        assert_int_equal(kill(froe, SIGKILL), 0);
        assert_int_equal(waitpid(froe, NULL, 0), froe);
        assert_int_equal(flock(lock, LOCK_EX), 0); /* and only now, when */
        for (int i = 0; i < 2 * PROGRAMS; i++)
            assert_true(is_dead(pids[i]));
        assert_false(file_exists(world, "end")); /* half a body never looked like a whole one */
        char command[128];
        snprintf(command, sizeof command, "rm '%s'/*", world->directory);
        assert_int_equal(system(command), 0);
    }
}

int main(int argc, char **argv) {
    spawner_main_if_asked(argc, argv);
    if (argc == 3 && strcmp(argv[1], PLAY_FROE) == 0)
        play_froe(argv[2]);
    alarm(150); /* for the lock that is never free */
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_killed, world_up, world_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
