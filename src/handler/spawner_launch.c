/* spawner_launch.c - starts the spawner's process, for a loop or for a single program. */
#include "spawner_launch.h"

#include "cleanup.h"
#include "clock.h"
#include "spawner_message.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define HELLO_TIMEOUT_MS 10000
#define SOCKET_BUFFER_BYTES (1024 * 1024) /* the kernel gives less where net.core.wmem_max says so */

/* The process gets nothing of froe's: descriptors, signal state, environment, terminal. */
static int launch(int socket_fd, int hold_fd, pid_t *ret_pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int r = posix_spawn_file_actions_init(&actions);
    if (r)
        return -r;
    r = posix_spawnattr_init(&attributes);
    if (r) {
        posix_spawn_file_actions_destroy(&actions);
        return -r;
    }
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setsigmask(&attributes, &none);
    r = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, socket_fd, WIRE_SOCKET_FD);
    if (r == 0 && hold_fd >= 0)
        r = posix_spawn_file_actions_adddup2(&actions, hold_fd, WIRE_HOLD_FD);
    if (r == 0)
        r = posix_spawn_file_actions_addclosefrom_np(&actions, hold_fd >= 0 ? WIRE_HOLD_FD + 1 : WIRE_HOLD_FD);
    if (r == 0)
        r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (r == 0)
        r = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (r == 0) {
        char name[] = "froe", arg[] = SPAWNER_ARG;
        char *argv[] = {name, arg, NULL};
        /* Where this program's own libraries are found may depend on it; programs do not get it. */
        char library_path[4096];
        const char *path = getenv("LD_LIBRARY_PATH");
        int n = path ? snprintf(library_path, sizeof library_path, "LD_LIBRARY_PATH=%s", path) : -1;
        char *envp[] = {n > 0 && (size_t)n < sizeof library_path ? library_path : NULL, NULL};
        r = posix_spawn(ret_pid, "/proc/self/exe", &actions, &attributes, argv, envp);
    }
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

/* A process that is not a spawner (its main does not ask) or cannot run must not be found out at the first program. */
static int await_hello(int fd) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    int n;
    do
        n = poll(&polled, 1, HELLO_TIMEOUT_MS);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n < 0 ? -errno : -ETIMEDOUT;
    struct wire_report report = {0};
    ssize_t got = recv(fd, &report, sizeof report, MSG_DONTWAIT);
    return got == (ssize_t)sizeof report && report.kind == WIRE_HELLO ? -report.start_error : -EPIPE;
}

void spawner_end(pid_t pid) {
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

int spawner_launch(int hold_fd, const struct confined *basic, pid_t *ret_pid, int *ret_fd, struct err *err) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return err_set(err, -errno, "cannot start the spawner: no socket pair: %s", err_errno_text(-errno));
    _cleanup_close_ int ours = fds[0];
    _cleanup_close_ int theirs = fds[1];
    int size = SOCKET_BUFFER_BYTES;
    setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    /* Away from the numbers they are to have in the process. */
    _cleanup_close_ int far_socket = fcntl(theirs, F_DUPFD_CLOEXEC, WIRE_HOLD_FD + 1);
    _cleanup_close_ int far_hold = hold_fd >= 0 ? fcntl(hold_fd, F_DUPFD_CLOEXEC, WIRE_HOLD_FD + 1) : -1;
    if (far_socket < 0 || (hold_fd >= 0 && far_hold < 0))
        return err_set(err, -errno, "cannot start the spawner: %s", err_errno_text(-errno));
    pid_t pid;
    int r = launch(far_socket, far_hold, &pid);
    if (r < 0)
        return err_set(err, r, "cannot start the spawner (/proc/self/exe): %s", err_errno_text(r));
    close(TAKE_FD(theirs));
    close(TAKE_FD(far_socket));
    _cleanup_buf_ struct buf begin = {0};
    r = spawner_message_begin(&begin, basic);
    if (r == 0)
        r = spawner_message_send(ours, begin.p, begin.n, NULL);
    if (r == 0)
        r = await_hello(ours);
    if (r < 0) {
        spawner_end(pid);
        return err_set(err, r, "cannot start the spawner: the process did not come up: %s", err_errno_text(r));
    }
    *ret_pid = pid;
    *ret_fd = TAKE_FD(ours);
    return 0;
}

/* ---- a single program ---- */

/* The next report within that time. */
static int await_report(int fd, int64_t until_mono_us, struct wire_report *ret_report) {
    for (;;) {
        int64_t us = until_mono_us - clock_mono_us(&clock_system);
        struct pollfd polled = {.fd = fd, .events = POLLIN};
        int n = poll(&polled, 1, us <= 0 ? 0 : (int)(us / US_PER_MS) + 1);
        if (n == 0)
            return -ETIMEDOUT;
        ssize_t got = n < 0 ? -1 : recv(fd, ret_report, sizeof *ret_report, MSG_DONTWAIT);
        if (got == (ssize_t)sizeof *ret_report)
            return 0;
        if (got >= 0 || (errno != EINTR && errno != EAGAIN))
            return got < 0 ? -errno : -EPIPE;
    }
}

int spawner_try(const struct spawn_request *request, int64_t timeout_us, struct spawn_exit *ret_exit, struct err *err) {
    _cleanup_close_ int fd = -1;
    pid_t pid;
    int r = spawner_launch(-1, NULL, &pid, &fd, err);
    if (r < 0)
        return r;
    int64_t until_mono_us = clock_mono_us(&clock_system) + timeout_us;
    _cleanup_buf_ struct buf message = {0};
    int fds[WIRE_FDS_MAX];
    spawner_message_fds(request, fds);
    r = spawner_message_start(&message, 0, request, false, fds);
    if (r == 0)
        r = spawner_message_send(fd, message.p, message.n, fds);
    struct wire_report report = {0};
    while (r == 0 && report.kind != WIRE_EXITED)
        r = await_report(fd, until_mono_us, &report);
    /* The program is dead or, when time is up, dies with the spawner that sees the end of its input. */
    shutdown(fd, SHUT_WR);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (r < 0)
        return err_set(err, r, "cannot run it: %s", err_errno_text(r));
    *ret_exit =
        (struct spawn_exit){.start_error = report.start_error, .confining = report.confining, .status = report.status};
    return 0;
}
