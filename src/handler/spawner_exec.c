/* spawner_exec.c - vfork, the few calls that a program's process begins with, exec.
 *
 * Not posix_spawn, because that cannot set PR_SET_PDEATHSIG: without it a program would outlive froe when froe and the
 * spawner are killed together (`pkill -9 froe`), as nobody is left then to kill it. */
#include "spawner_exec.h"

#include "cleanup.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHANNEL_FD 3

struct failure {
    int error;
    bool confining;
};

/* Not above what froe itself may have: asking for more is asking for all. */
static bool set_limit(int resource, struct rlimit limit) {
    struct rlimit own;
    if (limit.rlim_cur == RLIM_INFINITY && limit.rlim_max == RLIM_INFINITY)
        return true;
    if (getrlimit((__rlimit_resource_t)resource, &own) < 0)
        return false;
    if (limit.rlim_max > own.rlim_max)
        limit.rlim_max = own.rlim_max;
    if (limit.rlim_cur > limit.rlim_max)
        limit.rlim_cur = limit.rlim_max;
    return setrlimit((__rlimit_resource_t)resource, &limit) == 0;
}

/* Also what root would get back at its exec: that is the bounding set. Who may not change it has no capabilities, or is
 * not root and gets none. */
static bool drop_capabilities(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && geteuid() == 0)
            return false;
    return syscall(SYS_capset, &header, none) == 0; /* with the permitted ones the ambient ones go */
}

/* The filter is last, so that it need not allow what comes before it. */
static bool confine(const struct spawner_exec *exec) {
    for (int i = 0; exec->limits && i < CONFINED_LIMITS; i++)
        if (!set_limit(confined_resources[i], exec->limits[i]))
            return false;
    errno = 0;
    if (exec->nice && nice((int)exec->nice) == -1 && errno != 0)
        return false;
    if (exec->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return false;
    if (exec->no_capabilities && !drop_capabilities())
        return false;
    if (exec->ruleset_fd >= 0 && syscall(SYS_landlock_restrict_self, exec->ruleset_fd, 0) < 0)
        return false;
    const struct sock_fprog program = {.len = (unsigned short)exec->n_filter, .filter = exec->filter};
    return !exec->n_filter || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

/* In the child, which borrows the parent's memory until it has executed the file: nothing is changed there. */
static _Noreturn void become(const struct spawner_exec *exec, pid_t parent, int error_fd) {
    sigset_t none;
    sigemptyset(&none);
    bool ready = setpgid(0, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent;
    bool confining = false;
    for (int i = 0; ready && i < 3; i++)
        ready = dup2(exec->fds[i], i) == i;
    if (ready) {
        /* Everything of the spawner's is close-on-exec by itself: this is for what is not its own. */
        close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
        setrlimit(RLIMIT_NOFILE, &exec->files);
        exec->begins(exec, getpid());
        /* Only now, as this number is that of the socket over which it tells. */
        ready = exec->channel_fd < 0 || dup2(exec->channel_fd, CHANNEL_FD) == CHANNEL_FD;
    }
    if (ready) {
        ready = confine(exec);
        confining = !ready;
    }
    if (ready) {
        sigprocmask(SIG_SETMASK, &none, NULL);
        execve(exec->file, exec->argv, exec->envp);
    }
    const struct failure failure = {errno, confining};
    ssize_t n = write(error_fd, &failure, sizeof failure);
    _exit(n == (ssize_t)sizeof failure ? 127 : 126);
}

/* By itself, so that no variable is in a register when the child has changed that. */
static __attribute__((noinline)) pid_t start(const struct spawner_exec *exec, pid_t parent, int error_fd) {
    pid_t pid = vfork();
    if (pid == 0)
        become(exec, parent, error_fd);
    return pid;
}

int spawner_exec(const struct spawner_exec *exec, pid_t *ret_pid, bool *ret_confining) {
    /* The error comes through a pipe that a successful exec closes, not through the borrowed memory: some tools turn
     * vfork into fork. */
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return errno;
    _cleanup_close_ int result = fds[0];
    pid_t pid = start(exec, getpid(), fds[1]);
    struct failure failure = {.error = pid < 0 ? errno : 0};
    *ret_confining = false;
    close(fds[1]);
    if (pid < 0)
        return failure.error;
    ssize_t n;
    do
        n = read(result, &failure, sizeof failure);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof failure) {
        waitpid(pid, NULL, 0);
        *ret_confining = failure.confining;
        return failure.error ? failure.error : EIO;
    }
    *ret_pid = pid;
    return 0;
}
