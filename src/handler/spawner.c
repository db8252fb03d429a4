/* spawner.c - froe's side of the spawner: starts it, sends orders, hands out reports.
 *
 * Sends never block. What the socket cannot take now waits in an outbox, in order, with copies of its descriptors. */
#include "spawner_wire.h"

#include "cleanup.h"
#include "clock.h"
#include "list.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define HELLO_TIMEOUT_MS 10000
#define REPORTS_PER_TURN 64
#define SOCKET_BUFFER_BYTES (1024 * 1024) /* the kernel gives less where net.core.wmem_max says so */

struct spawner {
    uv_poll_t poll;
    int fd;
    pid_t pid;
    bool basic; /* CONFINE_BASIC holds for it, and so for all that it starts */
    bool lost;  /* the process is gone */
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
    struct buf message;
    struct list outbox;
    struct spawned **slots; /* by id; NULL: free */
    size_t n_slots;
};

struct spawned {
    struct spawner *spawner;
    uint32_t id;
    pid_t pid; /* 0: not known to be started */
    void (*exited)(void *arg, const struct spawn_exit *exit);
    void *arg;
    /* What is still to be sent, in this order. */
    struct list outbox;
    char *start;
    size_t start_n;
    int start_fds[WIRE_FDS_MAX];
    bool release;
    int signal;
};

/* ---- ids ---- */

static int take_slot(struct spawner *spawner, struct spawned *spawned) {
    size_t id = 0;
    while (id < spawner->n_slots && spawner->slots[id])
        id++;
    if (id == spawner->n_slots) {
        size_t n = id ? id * 2 : 64;
        struct spawned **slots = n <= UINT32_MAX ? mem_reallocarray(spawner->slots, n, sizeof(struct spawned *)) : NULL;
        if (!slots)
            return -ENOMEM;
        for (size_t i = id; i < n; i++)
            slots[i] = NULL;
        spawner->slots = slots;
        spawner->n_slots = n;
    }
    spawner->slots[id] = spawned;
    spawned->id = (uint32_t)id;
    return 0;
}

static void free_spawned(struct spawned *spawned) {
    list_remove(&spawned->outbox);
    for (size_t i = 0; i < WIRE_FDS_MAX; i++)
        cleanup_close_fd(&spawned->start_fds[i]);
    mem_free(spawned->start);
    mem_free(spawned);
}

static void finish(struct spawned *spawned, const struct spawn_exit *end) {
    spawned->spawner->slots[spawned->id] = NULL;
    void (*exited)(void *arg, const struct spawn_exit *exit) = spawned->exited;
    void *arg = spawned->arg;
    free_spawned(spawned);
    exited(arg, end);
}

/* ---- sending ---- */

/* The descriptors that there are; NULL: none. */
static int send_message(int socket_fd, const void *data, size_t n, const int fds[WIRE_FDS_MAX]) {
    int there[WIRE_FDS_MAX];
    size_t n_fds = 0;
    for (size_t i = 0; fds && i < WIRE_FDS_MAX; i++)
        if (fds[i] >= 0)
            there[n_fds++] = fds[i];
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(WIRE_FDS_MAX * sizeof(int))];
    } control = {0};
    struct iovec piece = {.iov_len = n};
    memcpy(&piece.iov_base, &data, sizeof data); /* only read from, but the type cannot say so */
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (n_fds) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(rights), there, n_fds * sizeof(int));
    }
    ssize_t sent;
    do
        sent = sendmsg(socket_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

/* The code for a start that could not be sent. */
static int start_code(int r) {
    switch (r) {
    case -EMSGSIZE:
        return -E2BIG;
    case -ECONNRESET:
        return -EPIPE;
    case -ETOOMANYREFS:
    case -ENOBUFS:
    case -EMFILE:
        return -EAGAIN;
    default:
        return r;
    }
}

/* Sends what is waiting; -EAGAIN: not all of it. Other errors are about the start alone: an order that cannot be sent
 * for another reason has nobody left to receive it. */
static int send_waiting(struct spawned *spawned) {
    const struct spawner *spawner = spawned->spawner;
    int r = 0;
    if (spawned->start) {
        r = send_message(spawner->fd, spawned->start, spawned->start_n, spawned->start_fds);
        if (r < 0)
            return r;
        mem_free(TAKE_PTR(spawned->start));
        for (size_t i = 0; i < WIRE_FDS_MAX; i++) {
            cleanup_close_fd(&spawned->start_fds[i]);
            spawned->start_fds[i] = -1;
        }
    }
    if (spawned->release) {
        struct wire_order order = {.kind = WIRE_RELEASE, .id = spawned->id};
        r = send_message(spawner->fd, &order, sizeof order, NULL);
        if (r == -EAGAIN)
            return r;
        spawned->release = false;
    }
    if (spawned->signal) {
        struct wire_order order = {.kind = WIRE_SIGNAL, .id = spawned->id, .signal = spawned->signal};
        r = send_message(spawner->fd, &order, sizeof order, NULL);
        if (r == -EAGAIN)
            return r;
        spawned->signal = 0;
    }
    return 0;
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct spawner *spawner, bool for_room) {
    uv_poll_start(&spawner->poll, UV_READABLE | (for_room ? UV_WRITABLE : 0), on_poll);
}

static void wait_for_room(struct spawned *spawned) {
    struct spawner *spawner = spawned->spawner;
    bool first = list_empty(&spawner->outbox);
    list_push_back(&spawner->outbox, &spawned->outbox);
    if (first)
        watch(spawner, true);
}

static void send_order(struct spawned *spawned) {
    if (spawned->spawner->lost || !list_empty(&spawned->outbox))
        return;
    if (!list_empty(&spawned->spawner->outbox) || send_waiting(spawned) == -EAGAIN)
        wait_for_room(spawned);
}

static void flush(struct spawner *spawner) {
    while (!list_empty(&spawner->outbox)) {
        struct spawned *spawned = LIST_ENTRY(spawner->outbox.next, struct spawned, outbox);
        int r = send_waiting(spawned);
        if (r == -EAGAIN)
            return;
        if (r == -EPIPE || r == -ECONNRESET)
            break; /* nobody is there to send to; what waits learns it when reading says so too */
        list_remove(&spawned->outbox);
        if (r < 0)
            finish(spawned, &(struct spawn_exit){.start_error = -start_code(r)});
    }
    watch(spawner, false);
}

void spawner_kill(struct spawned *spawned, int signal) {
    if (spawned->signal != SIGKILL)
        spawned->signal = signal;
    send_order(spawned);
}

void spawner_release(struct spawned *spawned) {
    spawned->release = true;
    send_order(spawned);
}

static int add_strings(struct buf *message, const char *const *strings, uint32_t *ret_n) {
    uint32_t n = 0;
    for (; strings[n]; n++) {
        int r = buf_add(message, strings[n], strlen(strings[n]) + 1);
        if (r < 0)
            return r;
    }
    *ret_n = n;
    return 0;
}

static void place_fds(const struct spawn_request *request, int ret_fds[WIRE_FDS_MAX]) {
    ret_fds[WIRE_STDIN] = request->stdin_fd;
    ret_fds[WIRE_STDOUT] = request->stdout_fd;
    ret_fds[WIRE_STDERR] = request->stderr_fd;
    ret_fds[WIRE_GUARD] = request->guard_fd;
    ret_fds[WIRE_CHANNEL] = request->channel_fd > 0 ? request->channel_fd : -1;
    ret_fds[WIRE_RULESET] = request->confined ? request->confined->ruleset_fd : -1;
}

/* Is all that the kernel is to be told of this policy, but for limits, in force already? */
static bool is_inherited(const struct confined *confined, bool basic) {
    return basic && confined->level == CONFINE_BASIC;
}

static int add_filter(struct buf *message, const struct confined *confined, struct wire_start *head) {
    head->no_new_privs = confined->no_new_privs;
    head->n_filter = confined->n_filter;
    return buf_add(message, confined->filter, confined->n_filter * sizeof confined->filter[0]);
}

static int add_confined(struct buf *message, const struct confined *confined, bool basic, struct wire_start *head) {
    if (!confined) {
        for (int i = 0; i < CONFINED_LIMITS; i++)
            head->limits[i] = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
        return 0;
    }
    head->nice = confined->nice;
    head->no_capabilities = confined->no_capabilities;
    memcpy(head->limits, confined->limits, sizeof head->limits);
    return is_inherited(confined, basic) ? 0 : add_filter(message, confined, head);
}

/* `fds` have places, see place_fds. */
static int encode(struct buf *message, uint32_t id, const struct spawn_request *request, bool basic,
                  const int fds[WIRE_FDS_MAX]) {
    struct wire_start head = {.kind = WIRE_START, .id = id};
    for (unsigned place = 0; place < WIRE_FDS_MAX; place++)
        head.fds |= fds[place] >= 0 ? 1u << place : 0;
    buf_reset(message);
    message->max = WIRE_START_MAX;
    int r = buf_add(message, &head, sizeof head);
    if (r == 0)
        r = add_confined(message, request->confined, basic, &head);
    message->max = message->n + SPAWNER_STRINGS_MAX;
    if (r == 0)
        r = buf_add(message, request->file, strlen(request->file) + 1);
    if (r == 0)
        r = add_strings(message, request->argv, &head.n_argv);
    if (r == 0)
        r = add_strings(message, request->envp, &head.n_envp);
    if (r == 0)
        memcpy(message->p, &head, sizeof head);
    return r;
}

/* Keeps a start until the socket has room. */
static int keep_start(struct spawned *spawned, const int fds[WIRE_FDS_MAX]) {
    const struct buf *message = &spawned->spawner->message;
    for (size_t i = 0; i < WIRE_FDS_MAX; i++)
        if (fds[i] >= 0 && (spawned->start_fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3)) < 0)
            return -EAGAIN;
    spawned->start = mem_memdup(message->p, message->n);
    if (!spawned->start)
        return -ENOMEM;
    spawned->start_n = message->n;
    wait_for_room(spawned);
    return 0;
}

int spawner_start(struct spawner *spawner, const struct spawn_request *request,
                  void (*exited)(void *arg, const struct spawn_exit *exit), void *arg, struct spawned **ret_spawned) {
    if (spawner->lost || spawner->closing)
        return -EPIPE;
    if (spawner->basic && (!request->confined || request->confined->level == CONFINE_NO))
        return -EPERM;
    struct spawned *spawned = mem_alloc(sizeof *spawned);
    if (!spawned)
        return -ENOMEM;
    *spawned = (struct spawned){.spawner = spawner, .exited = exited, .arg = arg};
    for (size_t i = 0; i < WIRE_FDS_MAX; i++)
        spawned->start_fds[i] = -1;
    list_init(&spawned->outbox);
    int r = take_slot(spawner, spawned);
    if (r < 0) {
        free_spawned(spawned);
        return r;
    }
    int fds[WIRE_FDS_MAX];
    place_fds(request, fds);
    r = encode(&spawner->message, spawned->id, request, spawner->basic, fds);
    if (r == 0) {
        r = list_empty(&spawner->outbox) ? send_message(spawner->fd, spawner->message.p, spawner->message.n, fds)
                                         : -EAGAIN;
        r = r == -EAGAIN ? keep_start(spawned, fds) : start_code(r);
    }
    if (r < 0) {
        spawner->slots[spawned->id] = NULL;
        free_spawned(spawned);
        return r;
    }
    *ret_spawned = spawned;
    return 0;
}

/* ---- receiving ---- */

static void on_handle_closed(uv_handle_t *handle) {
    struct spawner *spawner = handle->data;
    void (*closed)(void *arg) = spawner->closed;
    void *arg = spawner->closed_arg;
    close(spawner->fd);
    buf_free(&spawner->message);
    mem_free(spawner->slots);
    mem_free(spawner);
    closed(arg);
}

/* The process closed its end, so it is on its way out. */
static void lose(struct spawner *spawner) {
    bool close_now = spawner->closing; /* when asked for in a callback below, spawner_close does it itself */
    spawner->lost = true;
    uv_poll_stop(&spawner->poll);
    kill(spawner->pid, SIGKILL);
    while (waitpid(spawner->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    /* When it did not end by itself its programs still run. The numbers of their groups are theirs as long as a member
     * lives, and one that is gone already was gone just now. */
    for (size_t i = 0; i < spawner->n_slots; i++)
        if (spawner->slots[i] && spawner->slots[i]->pid > 0)
            kill(-spawner->slots[i]->pid, SIGKILL);
    for (size_t i = 0; i < spawner->n_slots; i++)
        if (spawner->slots[i])
            finish(spawner->slots[i], &(struct spawn_exit){.start_error = EPIPE});
    if (close_now)
        uv_close((uv_handle_t *)&spawner->poll, on_handle_closed);
}

static void take_report(struct spawner *spawner, const struct wire_report *report) {
    struct spawned *spawned = report->id < spawner->n_slots ? spawner->slots[report->id] : NULL;
    if (!spawned)
        return;
    if (report->kind == WIRE_STARTED)
        spawned->pid = report->pid;
    else if (report->kind == WIRE_EXITED)
        finish(spawned, &(struct spawn_exit){.start_error = report->start_error,
                                             .confining = report->confining,
                                             .status = report->status,
                                             .stalled = report->stalled});
}

/* Takes some of the reports that are there. False: there are no more and will be none. */
static bool take_reports(struct spawner *spawner) {
    for (int i = 0; i < REPORTS_PER_TURN; i++) {
        struct wire_report report;
        ssize_t n = recv(spawner->fd, &report, sizeof report, MSG_DONTWAIT);
        /* A process that ends with orders unread gives ECONNRESET, once, before what it reported until then. */
        if (n < 0 && (errno == EINTR || errno == ECONNRESET))
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n <= 0)
            return false;
        if ((size_t)n == sizeof report)
            take_report(spawner, &report);
    }
    return true;
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct spawner *spawner = poll->data;
    if (status < 0) { /* the same ECONNRESET, and libuv has stopped polling */
        watch(spawner, !list_empty(&spawner->outbox));
        events = UV_READABLE;
    }
    if (!take_reports(spawner))
        lose(spawner);
    else if (events & UV_WRITABLE)
        flush(spawner);
}

/* ---- starting and closing ---- */

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

static int send_begin(int fd, const struct confined *basic) {
    struct wire_start head = {.kind = WIRE_BEGIN};
    _cleanup_buf_ struct buf message = {0};
    int r = buf_add(&message, &head, sizeof head);
    if (r == 0 && basic)
        r = add_filter(&message, basic, &head);
    if (r < 0)
        return r;
    memcpy(message.p, &head, sizeof head);
    return send_message(fd, message.p, message.n, NULL);
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

static void end_process(pid_t pid) {
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

/* A process that has said hello, and the socket to it. */
static int open_process(int hold_fd, const struct confined *basic, pid_t *ret_pid, int *ret_fd, struct err *err) {
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
    r = send_begin(ours, basic);
    if (r == 0)
        r = await_hello(ours);
    if (r < 0) {
        end_process(pid);
        return err_set(err, r, "cannot start the spawner: the process did not come up: %s", err_errno_text(r));
    }
    *ret_pid = pid;
    *ret_fd = TAKE_FD(ours);
    return 0;
}

int spawner_new(uv_loop_t *loop, int hold_fd, const struct confined *basic, struct spawner **ret_spawner,
                struct err *err) {
    _cleanup_free_ struct spawner *spawner = mem_zalloc(sizeof *spawner);
    if (!spawner)
        return err_set(err, -ENOMEM, "cannot start the spawner: out of memory");
    int r = open_process(hold_fd, basic, &spawner->pid, &spawner->fd, err);
    if (r < 0)
        return r;
    r = uv_poll_init(loop, &spawner->poll, spawner->fd);
    if (r < 0) {
        end_process(spawner->pid);
        close(spawner->fd);
        return err_set(err, r, "cannot start the spawner: %s", err_errno_text(r));
    }
    spawner->poll.data = spawner;
    spawner->basic = basic != NULL;
    buf_init(&spawner->message, WIRE_START_MAX);
    list_init(&spawner->outbox);
    watch(spawner, false);
    *ret_spawner = TAKE_PTR(spawner);
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
    int r = open_process(-1, NULL, &pid, &fd, err);
    if (r < 0)
        return r;
    int64_t until_mono_us = clock_mono_us(&clock_system) + timeout_us;
    _cleanup_buf_ struct buf message = {0};
    int fds[WIRE_FDS_MAX];
    place_fds(request, fds);
    r = encode(&message, 0, request, false, fds);
    if (r == 0)
        r = send_message(fd, message.p, message.n, fds);
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

void spawner_close(struct spawner *spawner, void (*closed)(void *arg), void *arg) {
    if (!spawner) {
        closed(arg);
        return;
    }
    spawner->closing = true;
    spawner->closed = closed;
    spawner->closed_arg = arg;
    if (spawner->lost)
        uv_close((uv_handle_t *)&spawner->poll, on_handle_closed);
    else
        shutdown(spawner->fd, SHUT_WR); /* the end of the input, for it; its reports still come */
}

void spawner_alive(struct spawner *spawner, int64_t for_us) {
    const struct wire_order order = {.kind = WIRE_ALIVE, .signal = (int32_t)(for_us / US_PER_MS)};
    /* When the socket is full it is full of what this process said, so the next time will do. */
    if (!spawner->lost)
        send_message(spawner->fd, &order, sizeof order, NULL);
}

pid_t spawner_pid(const struct spawner *spawner) {
    return spawner->pid;
}

pid_t spawner_pid_of(const struct spawned *spawned) {
    return spawned->pid;
}
