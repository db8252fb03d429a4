/* spawner_process.c - the spawner's own process: a loop that starts, reaps and kills.
 *
 * Single-threaded. It is a child subreaper, so what a program leaves behind in its process group becomes a child of
 * this process, and "the whole group is dead" is something it can wait for. All signals are blocked; SIGCHLD comes by a
 * signalfd. A leader is reaped only after its group was sent SIGKILL: until then its number cannot belong to
 * anything else. */
#include "spawner_wire.h"

#include "clock.h"
#include "mem.h"
#include "spawner_exec.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Sent by the kernel when froe is gone: the second way to notice, for the case that something else still holds froe's
 * end of the socket open. */
#define PARENT_DIED SIGUSR1

struct child {
    pid_t pid; /* of the leader, and so the number of the group */
    uint32_t id;
    int guard_fd;
    bool ended;   /* the leader was reaped; the group was sent SIGKILL and is waited for */
    bool stalled; /* was sent SIGKILL because froe stands still */
    int status;
};

struct process {
    pid_t parent;
    int signal_fd;
    bool stop;
    int64_t alive_until_mono_us; /* INT64_MAX: froe does not say */
    struct child *children;
    size_t n, cap;
    char *message; /* WIRE_START_MAX bytes */
    struct rlimit program_files;
};

static void report(struct process *process, const struct wire_report *message) {
    if (send(WIRE_SOCKET_FD, message, sizeof *message, MSG_NOSIGNAL) < 0)
        process->stop = true; /* nobody listens any more */
}

static struct child *child_of_pid(struct process *process, pid_t pid) {
    for (size_t i = 0; i < process->n; i++)
        if (process->children[i].pid == pid)
            return &process->children[i];
    return NULL;
}

static struct child *child_of_id(struct process *process, uint32_t id) {
    for (size_t i = 0; i < process->n; i++)
        if (process->children[i].id == id)
            return &process->children[i];
    return NULL;
}

static void close_fd(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* ---- ending ---- */

static void signal_group(const struct child *child, int signal) {
    if (child->ended)
        return;
    kill(-child->pid, signal);
    if (getpgid(child->pid) != child->pid) /* it went over to another group: not out of reach */
        kill(child->pid, signal);
}

/* Asked only as long as the leader is unreaped or the group has members that are children of this process; either keeps
 * the number from being used again. */
static bool group_lives(pid_t group) {
    siginfo_t info;
    return waitid(P_PGID, (id_t)group, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void reap_one(struct process *process, pid_t pid) {
    struct child *child = child_of_pid(process, pid);
    pid_t group = child ? pid : getpgid(pid);
    if (child)
        signal_group(child, SIGKILL);
    int status = 0;
    waitpid(pid, &status, 0);
    if (child) {
        child->ended = true;
        child->status = status;
    } else if (!(child = child_of_pid(process, group)) || !child->ended) {
        return;
    }
    if (group_lives(group)) {
        kill(-group, SIGKILL); /* again, for one that joined the group late */
        return;
    }
    struct wire_report message = {.kind = WIRE_EXITED, .id = child->id, .pid = child->pid, .status = child->status};
    message.stalled = child->stalled && WIFSIGNALED(child->status) && WTERMSIG(child->status) == SIGKILL;
    close_fd(&child->guard_fd);
    *child = process->children[--process->n];
    report(process, &message);
}

/* Takes the next dead child, if there is one or, with `wait`, when there is one. */
static bool reap_next(struct process *process, bool wait) {
    siginfo_t info = {.si_pid = 0};
    if (waitid(P_ALL, 0, &info, WEXITED | WNOWAIT | (wait ? 0 : WNOHANG)) < 0 || info.si_pid == 0)
        return false;
    reap_one(process, info.si_pid);
    return true;
}

/* ---- starting ---- */

/* The next string of a message, NULL when it is not there whole. */
static char *take_string(char **at, const char *end) {
    char *text = *at;
    char *nul = memchr(text, '\0', (size_t)(end - text));
    if (!nul)
        return NULL;
    *at = nul + 1;
    return text;
}

static bool take_strings(char **at, const char *end, size_t n, char **strings) {
    for (size_t i = 0; i < n; i++)
        if (!(strings[i] = take_string(at, end)))
            return false;
    strings[n] = NULL;
    return true;
}

static bool has_all(const struct wire_start *head, const int fds[WIRE_FDS_MAX]) {
    for (unsigned place = 0; place < WIRE_FDS_MAX; place++)
        if ((place <= WIRE_STDERR || (head->fds >> place & 1)) && fds[place] < 0)
            return false;
    return true;
}

/* froe has to know the group before the program can have left anything in it: should the spawner be killed, froe ends
 * it. That nobody listens any more shows at the next report. */
static void report_begins(const struct spawner_exec *exec, pid_t pid) {
    const struct wire_report message = {.kind = WIRE_STARTED, .id = exec->id, .pid = pid};
    (void)!send(WIRE_SOCKET_FD, &message, sizeof message, MSG_NOSIGNAL);
}

/* Returns an errno. Takes the guard over, on success. */
static int start(struct process *process, const struct wire_start *head, size_t n, int fds[WIRE_FDS_MAX],
                 bool *ret_confining) {
    size_t filter_n = head->n_filter * sizeof(struct sock_filter);
    if (head->n_filter > CONFINED_FILTER_MAX || filter_n > n - sizeof *head)
        return EBADMSG;
    size_t strings_n = n - sizeof *head - filter_n;
    if (head->n_argv > strings_n || head->n_envp > strings_n)
        return EBADMSG;
    if (!has_all(head, fds))
        return EMFILE; /* there was no room for them here */
    if (process->n == process->cap) {
        size_t cap = process->cap ? process->cap * 2 : 64;
        struct child *children = mem_reallocarray(process->children, cap, sizeof *children);
        if (!children)
            return ENOMEM;
        process->children = children;
        process->cap = cap;
    }
    char **strings = mem_calloc((size_t)head->n_argv + head->n_envp + 2, sizeof *strings);
    if (!strings)
        return ENOMEM;
    char **argv = strings, **envp = strings + head->n_argv + 1;
    /* The message is aligned as memory is, and its head a multiple of what an instruction needs. */
    void *filter = process->message + sizeof *head;
    char *at = process->message + sizeof *head + filter_n;
    const char *end = process->message + n, *file = take_string(&at, end);
    struct child child = {.id = head->id, .guard_fd = -1};
    int r = EBADMSG;
    if (file && take_strings(&at, end, head->n_argv, argv) && take_strings(&at, end, head->n_envp, envp))
        r = spawner_exec(&(struct spawner_exec){.file = file,
                                                .argv = argv,
                                                .envp = envp,
                                                .fds = {fds[WIRE_STDIN], fds[WIRE_STDOUT], fds[WIRE_STDERR]},
                                                .channel_fd = fds[WIRE_CHANNEL],
                                                .files = process->program_files,
                                                .limits = head->limits,
                                                .nice = head->nice,
                                                .no_new_privs = head->no_new_privs,
                                                .no_capabilities = head->no_capabilities,
                                                .ruleset_fd = fds[WIRE_RULESET],
                                                .filter = filter,
                                                .n_filter = head->n_filter,
                                                .begins = report_begins,
                                                .id = head->id},
                         &child.pid, ret_confining);
    mem_free(strings);
    if (r)
        return r;
    child.guard_fd = fds[WIRE_GUARD];
    fds[WIRE_GUARD] = -1;
    process->children[process->n++] = child;
    return 0;
}

/* ---- beginning ---- */

/* What holds for all programs holds for this process, and is inherited. It does nothing that is refused. Returns an
 * errno. */
static int begin(const struct process *process, const struct wire_start *head, size_t n) {
    if (head->n_filter > CONFINED_FILTER_MAX || n != sizeof *head + head->n_filter * sizeof(struct sock_filter))
        return EBADMSG;
    if (head->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return errno;
    void *filter = process->message + sizeof *head;
    const struct sock_fprog program = {.len = (unsigned short)head->n_filter, .filter = filter};
    return head->n_filter && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 ? errno : 0;
}

/* ---- messages ---- */

static void take_fds(struct msghdr *message, int fds[WIRE_FDS_MAX]) {
    for (size_t i = 0; i < WIRE_FDS_MAX; i++)
        fds[i] = -1;
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    if (!control || control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
        return;
    size_t n = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(fds, CMSG_DATA(control), (n < WIRE_FDS_MAX ? n : WIRE_FDS_MAX) * sizeof(int));
    /* A cut-off list could lack the last ones alone: all or nothing. */
    if (message->msg_flags & MSG_CTRUNC)
        for (size_t i = 0; i < WIRE_FDS_MAX; i++)
            close_fd(&fds[i]);
}

/* From the order in which they came to their places. */
static void place_fds(uint32_t places, int fds[WIRE_FDS_MAX]) {
    int came[WIRE_FDS_MAX];
    size_t at = 0;
    memcpy(came, fds, sizeof came);
    for (unsigned place = 0; place < WIRE_FDS_MAX; place++)
        fds[place] = places >> place & 1 ? came[at++] : -1;
    for (; at < WIRE_FDS_MAX; at++)
        close_fd(&came[at]);
}

static void receive(struct process *process) {
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(WIRE_FDS_MAX * sizeof(int))];
    } control;
    struct iovec piece = {process->message, WIRE_START_MAX};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(WIRE_SOCKET_FD, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        process->stop = true;
        return;
    }
    size_t n = (size_t)got;
    int fds[WIRE_FDS_MAX];
    take_fds(&message, fds);
    union {
        uint32_t kind;
        struct wire_start start;
        struct wire_order order;
    } head = {0};
    memcpy(&head, process->message, n < sizeof head ? n : sizeof head);
    if (head.kind == WIRE_BEGIN && n >= sizeof head.start) {
        report(process, &(struct wire_report){.kind = WIRE_HELLO, .start_error = begin(process, &head.start, n)});
    } else if (head.kind == WIRE_START && n >= sizeof head.start) {
        bool confining = false;
        place_fds(head.start.fds, fds);
        int r = start(process, &head.start, n, fds, &confining);
        if (r)
            report(process, &(struct wire_report){
                                .kind = WIRE_EXITED, .id = head.start.id, .start_error = r, .confining = confining});
    } else if (head.kind == WIRE_SIGNAL && n == sizeof head.order) {
        const struct child *child = child_of_id(process, head.order.id);
        if (child)
            signal_group(child, head.order.signal);
    } else if (head.kind == WIRE_ALIVE && n == sizeof head.order) {
        process->alive_until_mono_us = clock_mono_us(&clock_system) + head.order.signal * US_PER_MS;
    } else if (head.kind == WIRE_RELEASE && n == sizeof head.order) {
        struct child *child = child_of_id(process, head.order.id);
        if (child)
            close_fd(&child->guard_fd);
    }
    for (size_t i = 0; i < WIRE_FDS_MAX; i++)
        close_fd(&fds[i]);
}

static void take_signals(struct process *process) {
    struct signalfd_siginfo info;
    while (read(process->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        /* The kernel also sends it when only the thread ended that started this process. */
        if (info.ssi_signo == PARENT_DIED && getppid() != process->parent)
            process->stop = true;
    while (reap_next(process, false))
        ;
}

/* ---- the process ---- */

static int set_up(struct process *process) {
    *process = (struct process){.parent = getppid(), .alive_until_mono_us = INT64_MAX};
    prctl(PR_SET_NAME, "froe-spawner");
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    sigset_t all, wanted;
    sigfillset(&all);
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGCHLD);
    sigaddset(&wanted, PARENT_DIED);
    sigprocmask(SIG_SETMASK, &all, NULL);
    prctl(PR_SET_PDEATHSIG, PARENT_DIED);
    fcntl(WIRE_SOCKET_FD, F_SETFD, FD_CLOEXEC);
    fcntl(WIRE_HOLD_FD, F_SETFD, FD_CLOEXEC); /* fails when there is none */
    if (fcntl(STDERR_FILENO, F_GETFD) < 0)
        open("/dev/null", O_WRONLY); /* so that no other descriptor gets this number */
    getrlimit(RLIMIT_NOFILE, &process->program_files);
    struct rlimit own_files = process->program_files;
    own_files.rlim_cur = own_files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &own_files);
    process->signal_fd = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    process->message = mem_alloc(WIRE_START_MAX);
    return process->signal_fd < 0 || !process->message ? -1 : 0;
}

static int patience_ms(const struct process *process) {
    if (process->alive_until_mono_us == INT64_MAX)
        return -1;
    int64_t us = process->alive_until_mono_us - clock_mono_us(&clock_system);
    return us <= 0 ? 0 : us / US_PER_MS >= INT_MAX ? INT_MAX : (int)(us / US_PER_MS) + 1;
}

/* froe stands still: what it was given to do may be given to others soon. Its orders that come later find nothing. */
static void kill_of_stalled(struct process *process) {
    if (clock_mono_us(&clock_system) < process->alive_until_mono_us)
        return;
    for (size_t i = 0; i < process->n; i++) {
        process->children[i].stalled = true;
        signal_group(&process->children[i], SIGKILL);
    }
    process->alive_until_mono_us = INT64_MAX;
}

static void serve(struct process *process) {
    struct pollfd polled[2] = {{.fd = WIRE_SOCKET_FD, .events = POLLIN}, {.fd = process->signal_fd, .events = POLLIN}};
    while (!process->stop) {
        if (poll(polled, 2, patience_ms(process)) < 0)
            continue;
        if (!polled[0].revents) /* what it has said must be heard first */
            kill_of_stalled(process);
        if (polled[1].revents)
            take_signals(process);
        if (polled[0].revents)
            receive(process);
    }
}

static bool is_socket(int fd) {
    int type = 0;
    socklen_t n = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_SEQPACKET;
}

void spawner_main_if_asked(int argc, char **argv) {
    if (argc != 2 || strcmp(argv[1], SPAWNER_ARG) != 0)
        return;
    struct process process;
    if (!is_socket(WIRE_SOCKET_FD) || set_up(&process)) /* the former: somebody typed it */
        _exit(2);
    serve(&process);
    for (size_t i = 0; i < process.n; i++)
        signal_group(&process.children[i], SIGKILL);
    while (process.n && reap_next(&process, true))
        ;
    _exit(0); /* only now are the guards and the held descriptor closed */
}
