/* spawner.c - froe's side of the spawner: starts it, sends orders, hands out reports.
 *
 * Sends never block. What the socket cannot take now waits in an outbox, in order, with copies of its descriptors. */
#include "spawner_launch.h"
#include "spawner_message.h"

#include "cleanup.h"
#include "clock.h"
#include "list.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define REPORTS_PER_TURN 64

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
        r = spawner_message_send(spawner->fd, spawned->start, spawned->start_n, spawned->start_fds);
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
        r = spawner_message_send(spawner->fd, &order, sizeof order, NULL);
        if (r == -EAGAIN)
            return r;
        spawned->release = false;
    }
    if (spawned->signal) {
        struct wire_order order = {.kind = WIRE_SIGNAL, .id = spawned->id, .signal = spawned->signal};
        r = spawner_message_send(spawner->fd, &order, sizeof order, NULL);
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
    spawner_message_fds(request, fds);
    r = spawner_message_start(&spawner->message, spawned->id, request, spawner->basic, fds);
    if (r == 0) {
        r = list_empty(&spawner->outbox)
                ? spawner_message_send(spawner->fd, spawner->message.p, spawner->message.n, fds)
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

int spawner_new(uv_loop_t *loop, int hold_fd, const struct confined *basic, struct spawner **ret_spawner,
                struct err *err) {
    _cleanup_free_ struct spawner *spawner = mem_zalloc(sizeof *spawner);
    if (!spawner)
        return err_set(err, -ENOMEM, "cannot start the spawner: out of memory");
    int r = spawner_launch(hold_fd, basic, &spawner->pid, &spawner->fd, err);
    if (r < 0)
        return r;
    r = uv_poll_init(loop, &spawner->poll, spawner->fd);
    if (r < 0) {
        spawner_end(spawner->pid);
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
        spawner_message_send(spawner->fd, &order, sizeof order, NULL);
}

pid_t spawner_pid(const struct spawner *spawner) {
    return spawner->pid;
}

pid_t spawner_pid_of(const struct spawned *spawned) {
    return spawned->pid;
}
