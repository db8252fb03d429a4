/* spawner_exec.c - vfork, the few calls that a program's process begins with, exec.
 *
 * Not posix_spawn, because that cannot set PR_SET_PDEATHSIG: without it a program would outlive froe when froe and the
 * spawner are killed together (`pkill -9 froe`), as nobody is left then to kill it. */
#include "spawner_exec.h"

#include "cleanup.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the child, which borrows the parent's memory until it has executed the file: nothing is changed there. */
static _Noreturn void become(const struct spawner_exec *exec, pid_t parent, int error_fd) {
    sigset_t none;
    sigemptyset(&none);
    bool ready = setpgid(0, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent;
    for (int i = 0; ready && i < 3; i++)
        ready = dup2(exec->fds[i], i) == i;
    if (ready) {
        /* Everything of the spawner's is close-on-exec by itself: this is for what is not its own. */
        close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
        setrlimit(RLIMIT_NOFILE, &exec->files);
        exec->begins(exec, getpid());
        sigprocmask(SIG_SETMASK, &none, NULL);
        execve(exec->file, exec->argv, exec->envp);
    }
    int error = errno;
    ssize_t n = write(error_fd, &error, sizeof error);
    _exit(n == (ssize_t)sizeof error ? 127 : 126);
}

/* By itself, so that no variable is in a register when the child has changed that. */
static __attribute__((noinline)) pid_t start(const struct spawner_exec *exec, pid_t parent, int error_fd) {
    pid_t pid = vfork();
    if (pid == 0)
        become(exec, parent, error_fd);
    return pid;
}

int spawner_exec(const struct spawner_exec *exec, pid_t *ret_pid) {
    /* The error comes through a pipe that a successful exec closes, not through the borrowed memory: some tools turn
     * vfork into fork. */
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return errno;
    _cleanup_close_ int result = fds[0];
    pid_t pid = start(exec, getpid(), fds[1]);
    int error = pid < 0 ? errno : 0;
    close(fds[1]);
    if (pid < 0)
        return error;
    ssize_t n;
    do
        n = read(result, &error, sizeof error);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof error) {
        waitpid(pid, NULL, 0);
        return error ? error : EIO;
    }
    *ret_pid = pid;
    return 0;
}
