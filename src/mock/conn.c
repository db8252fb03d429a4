/* conn.c - the state machine of a connection. */
#include "conn.h"

#include "admin.h"
#include "auth.h"
#include "execute.h"
#include "mem.h"

#include <openssl/err.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define DISCARD_MAX (1024 * 1024) /* of the body of a request that is refused: a longer one ends the connection */

enum state {
    HANDSHAKE,
    HEAD,    /* reading the head of a request */
    BODY,    /* reading its body */
    DELAYED, /* all is there; waiting as a fault told */
    SENDING,
    STALLED, /* says nothing more until the client gives up */
    LINGER,  /* answered; waiting for the client to stop sending, so that it can read the answer */
};

struct conn {
    struct list link, timer;
    int64_t due_mono_us;
    struct mock *mock;
    int fd;
    uint32_t watched; /* what epoll was told */
    SSL *ssl;
    enum state state;
    bool blocked; /* the socket takes no more for now */
    bool peer_closed;
    bool gone; /* the client has vanished, but its request is still carried out */
    struct bucket_stats *getting;
    struct request request;
    struct answer answer;
    size_t out_at; /* of answer.out, sent */
    struct limit limit;
    size_t in_n, scanned, body_at; /* bytes in `in`; looked at for the end of a head; where unread body starts */
    char in[CONN_IN_MAX];
};

/* ---- life ---- */

static int watch(struct conn *conn, uint32_t events) {
    if (conn->gone || conn->watched == events)
        return 0;
    struct epoll_event event = {.events = events, .data.ptr = conn};
    if (epoll_ctl(conn->mock->epoll, EPOLL_CTL_MOD, conn->fd, &event) < 0)
        return -errno;
    conn->watched = events;
    return 0;
}

int conn_new(struct mock *mock, int fd) {
    struct conn *conn = mem_zalloc(sizeof(*conn));
    if (!conn)
        return -ENOMEM;
    conn->mock = mock;
    conn->fd = fd;
    conn->watched = EPOLLIN;
    conn->state = HEAD;
    list_init(&conn->timer);
    request_init(&conn->request);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
    if (mock->tls) {
        conn->state = HANDSHAKE;
        conn->ssl = SSL_new(mock->tls);
        if (!conn->ssl || SSL_set_fd(conn->ssl, fd) != 1) {
            SSL_free(conn->ssl);
            mem_free(conn);
            return -ENOMEM;
        }
        SSL_set_accept_state(conn->ssl);
    }
    if (epoll_ctl(mock->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        int r = -errno;
        SSL_free(conn->ssl);
        mem_free(conn);
        return r;
    }
    list_push_back(&mock->conns, &conn->link);
    mock->stats.connections++;
    mock->stats.connections_now++;
    return 0;
}

static void stop_getting(struct conn *conn) {
    if (conn->getting)
        conn->getting->gets_now--;
    conn->getting = NULL;
}

void conn_free(struct conn *conn) {
    list_remove(&conn->link);
    list_remove(&conn->timer);
    stop_getting(conn);
    SSL_free(conn->ssl);
    close(conn->fd);
    request_free(&conn->request);
    answer_free(&conn->mock->objects, &conn->answer);
    conn->mock->stats.connections_now--;
    mem_free(conn);
}

void conn_free_all(struct mock *mock) {
    LIST_EACH_SAFE (link, next, &mock->conns)
        conn_free(LIST_ENTRY(link, struct conn, link));
}

static void reset_connection(struct conn *conn) {
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    conn_free(conn);
}

static void wait_until(struct conn *conn, int64_t due_mono_us) {
    struct list *at = &conn->mock->timed;
    list_remove(&conn->timer);
    conn->due_mono_us = due_mono_us;
    while (at->prev != &conn->mock->timed && LIST_ENTRY(at->prev, struct conn, timer)->due_mono_us > due_mono_us)
        at = at->prev;
    list_insert_before(at, &conn->timer);
}

int conn_wait_ms(const struct mock *mock, int64_t now_mono_us) {
    if (list_empty(&mock->timed))
        return -1;
    int64_t left = LIST_ENTRY(mock->timed.next, struct conn, timer)->due_mono_us - now_mono_us;
    return left <= 0 ? 0 : left > US_PER_MIN ? 60000 : (int)((left + US_PER_MS - 1) / US_PER_MS);
}

/* ---- bytes ---- */

enum io { IO_DONE, IO_AGAIN, IO_END, IO_BROKEN };

static enum io tls_result(struct conn *conn, int r) {
    int error = SSL_get_error(conn->ssl, r);
    ERR_clear_error();
    if (error == SSL_ERROR_WANT_READ)
        return IO_AGAIN;
    if (error == SSL_ERROR_WANT_WRITE) {
        conn->blocked = true;
        return IO_AGAIN;
    }
    return error == SSL_ERROR_ZERO_RETURN ? IO_END : IO_BROKEN;
}

static enum io receive(struct conn *conn, void *to, size_t room, size_t *ret_n) {
    if (conn->ssl) {
        int r = SSL_read_ex(conn->ssl, to, room, ret_n);
        return r == 1 ? IO_DONE : tls_result(conn, r);
    }
    ssize_t n = recv(conn->fd, to, room, 0);
    if (n > 0) {
        *ret_n = (size_t)n;
        return IO_DONE;
    }
    if (n == 0)
        return IO_END;
    return errno == EAGAIN || errno == EINTR ? IO_AGAIN : IO_BROKEN;
}

/* Reads once (all that TLS has decoded already). */
static enum io fill(struct conn *conn) {
    enum io io = IO_AGAIN;
    while (conn->in_n < CONN_IN_MAX) {
        size_t n = 0;
        io = receive(conn, conn->in + conn->in_n, CONN_IN_MAX - conn->in_n, &n);
        if (io != IO_DONE)
            break;
        conn->in_n += n;
        if (!conn->ssl || !SSL_has_pending(conn->ssl))
            break;
    }
    return io;
}

static enum io send_slices(struct conn *conn, struct iovec *slices, size_t count, size_t *ret_n) {
    if (conn->ssl) {
        int r = SSL_write_ex(conn->ssl, slices[0].iov_base, slices[0].iov_len, ret_n);
        return r == 1 ? IO_DONE : tls_result(conn, r);
    }
    struct msghdr message = {.msg_iov = slices, .msg_iovlen = count};
    ssize_t n = count == 1 ? send(conn->fd, slices[0].iov_base, slices[0].iov_len, MSG_NOSIGNAL)
                           : sendmsg(conn->fd, &message, MSG_NOSIGNAL);
    if (n >= 0) {
        *ret_n = (size_t)n;
        return IO_DONE;
    }
    if (errno != EAGAIN && errno != EINTR)
        return IO_BROKEN;
    conn->blocked = true;
    return IO_AGAIN;
}

/* Sends what may be sent: IO_DONE when nothing is left, or the limit that a fault set is reached. */
static enum io flush(struct conn *conn) {
    struct answer *answer = &conn->answer;
    for (;;) {
        struct iovec slices[2];
        size_t count = 0, n = 0;
        uint64_t room = conn->limit.bytes;
        size_t rest = answer->out.n - conn->out_at;
        if (rest > room)
            rest = (size_t)room;
        if (rest)
            slices[count++] = (struct iovec){answer->out.p + conn->out_at, rest};
        room -= rest;
        uint64_t left = answer->blob_end - answer->blob_at;
        if (left > room)
            left = room;
        if (left)
            slices[count++] = (struct iovec){answer->blob->data + answer->blob_at, (size_t)left};
        if (!count)
            return IO_DONE;
        enum io io = send_slices(conn, slices, count, &n);
        if (io != IO_DONE)
            return io;
        if (conn->limit.bytes != FAULT_NEVER)
            conn->limit.bytes -= n;
        size_t from_out = n < answer->out.n - conn->out_at ? n : answer->out.n - conn->out_at;
        conn->out_at += from_out;
        answer->blob_at += n - from_out;
    }
}

/* ---- requests ---- */

static void count_answer(struct conn *conn) {
    struct mock *mock = conn->mock;
    const struct request *request = &conn->request;
    int status = conn->answer.status;
    if (status >= 0 && status < 600)
        mock->stats.statuses[status]++;
    mock->stats.bytes_in += request->body.n;
    mock->stats.bytes_out += conn->answer.out.n - conn->answer.body_at + conn->answer.blob_end - conn->answer.blob_at;
    struct log_entry entry = {.mono_us = mock->now_mono_us,
                              .took_us = mock->now_mono_us - request->start_mono_us,
                              .op = request->op,
                              .status = status,
                              .fault = request->plan.any};
    if (!request->admin)
        stats_log(&mock->stats, &entry, request->bucket, request->key);
}

/* What could not be read as a request; the connection ends after the answer. */
static void refuse(struct conn *conn, int status, const char *why) {
    conn->mock->stats.refused++;
    conn->request.path = BYTES("/");
    conn->answer.close = true;
    answer_fail(conn->mock, &conn->request, &conn->answer, FAIL(status, "BadRequest", why), BYTES_NONE);
    conn->limit = LIMIT_NONE;
    conn->out_at = 0;
    conn->state = SENDING;
}

static bool say_continue(struct conn *conn) {
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct iovec slice = {(void *)(uintptr_t)text, sizeof(text) - 1};
    size_t n = 0;
    return send_slices(conn, &slice, 1, &n) == IO_DONE && n == sizeof(text) - 1;
}

static uint64_t body_max(const struct mock *mock, const struct request *request) {
    if (request->admin)
        return ADMIN_BODY_MAX;
    if (request->op == OP_PUT || request->op == OP_UPLOAD_PART)
        return mock->objects.max_bytes - mock->objects.bytes;
    return 2 * 1024 * 1024; /* documents */
}

/* The head is in: who, what, and may they? false: the connection is gone. */
static bool begin(struct conn *conn) {
    struct mock *mock = conn->mock;
    struct request *request = &conn->request;
    mock->requests++;
    request->start_mono_us = mock->now_mono_us;
    request->plan.any = false;
    request_route(request, bytes_str(mock->host));
    conn->answer.close = request->head.close;
    conn->answer.head_only = request->head.method == HTTP_HEAD;
    if (request->admin) {
        mock->stats.admin++;
    } else {
        mock->stats.requests[request->op]++;
        auth_check(mock, request);
    }
    request_body_begin(request, body_max(mock, request));
    if (request->op == OP_GET && !request->fail.status) {
        const struct bucket *bucket = bucket_find(&mock->objects, request->bucket);
        conn->getting = bucket ? bucket->stats : NULL;
        if (conn->getting && ++conn->getting->gets_now > conn->getting->gets_peak)
            conn->getting->gets_peak = conn->getting->gets_now;
    }
    conn->body_at = request->head.size;
    conn->state = BODY;
    bool body = request->framing != BODY_NONE;
    if (request->fail.status && body &&
        (request->head.expect_continue || request->framing == BODY_CHUNKED || request->left > DISCARD_MAX)) {
        request->framing = BODY_NONE;
        conn->answer.close = true;
        return true;
    }
    if (body && request->head.expect_continue && conn->in_n == conn->body_at && !say_continue(conn)) {
        conn_free(conn);
        return false;
    }
    return true;
}

/* 1: the body is complete, 0: more is needed, -1: refused. */
static int read_body(struct conn *conn) {
    size_t used = 0;
    int r = request_body_feed(&conn->request, bytes_of(conn->in + conn->body_at, conn->in_n - conn->body_at), &used);
    if (r < 0) {
        if (r == -E2BIG)
            refuse(conn, 413, "The body is larger than the server accepts");
        else
            refuse(conn, r == -ENOMEM ? 500 : 400, r == -ENOMEM ? "out of memory" : "The body's chunks are broken");
        return -1;
    }
    conn->body_at += used;
    if (r == 0) { /* all was taken: make room */
        conn->in_n = conn->body_at = conn->request.head.size;
    }
    return r;
}

/* false: the connection is gone. */
static bool execute(struct conn *conn) {
    conn->limit = LIMIT_NONE;
    conn->out_at = 0;
    if (conn->request.admin) {
        admin_run(conn->mock, &conn->request, &conn->answer);
    } else if (!execute_request(conn->mock, &conn->request, &conn->answer, &conn->limit)) {
        conn->answer.status = 0;
        count_answer(conn);
        reset_connection(conn);
        return false;
    }
    if (conn->answer.broken) {
        conn_free(conn);
        return false;
    }
    count_answer(conn);
    conn->state = SENDING;
    return true;
}

static bool linger(struct conn *conn) {
    if (conn->ssl)
        SSL_shutdown(conn->ssl);
    ERR_clear_error();
    if (conn->peer_closed || conn->gone || shutdown(conn->fd, SHUT_WR) < 0) {
        conn_free(conn);
        return false;
    }
    conn->state = LINGER;
    conn->in_n = 0;
    wait_until(conn, conn->mock->now_mono_us + CONN_LINGER_US);
    return true;
}

/* The answer is out, as far as it may go. false: the connection is gone. */
static bool finish(struct conn *conn) {
    stop_getting(conn);
    switch (conn->limit.bytes == 0 ? conn->limit.then : THEN_GO_ON) {
    case THEN_RESET:
        reset_connection(conn);
        return false;
    case THEN_CLOSE:
        conn_free(conn);
        return false;
    case THEN_STALL:
        if (conn->peer_closed) { /* nobody is left to give up */
            conn_free(conn);
            return false;
        }
        conn->state = STALLED;
        return true;
    case THEN_GO_ON:
        break;
    }
    if (conn->answer.close)
        return linger(conn);
    size_t left = conn->in_n - conn->body_at;
    memmove(conn->in, conn->in + conn->body_at, left);
    conn->in_n = left;
    conn->scanned = 0;
    conn->state = HEAD;
    answer_reset(&conn->mock->objects, &conn->answer);
    request_reset(&conn->request);
    return true;
}

/* One step. 1: go on, 0: wait, -1: the connection is gone. */
static int step(struct conn *conn) {
    const char *why = NULL;
    int r;
    switch (conn->state) {
    case HANDSHAKE:
        r = SSL_do_handshake(conn->ssl);
        if (r != 1) {
            if (tls_result(conn, r) == IO_AGAIN)
                return 0;
            conn_free(conn);
            return -1;
        }
        conn->state = HEAD;
        return 1;
    case HEAD:
        r = conn->in_n ? head_parse(conn->in, conn->in_n, &conn->scanned, &conn->request.head, &why) : 0;
        if (r > 0)
            return begin(conn) ? 1 : -1;
        if (r < 0) {
            refuse(conn, -r, why);
            return 1;
        }
        break;
    case BODY:
        r = read_body(conn);
        if (r != 0) {
            if (r > 0 && !conn->request.admin)
                execute_plan(conn->mock, &conn->request);
            if (r > 0 && conn->request.plan.any && conn->request.plan.delay_us) {
                conn->state = DELAYED;
                wait_until(conn, conn->mock->now_mono_us + conn->request.plan.delay_us);
                return 0;
            }
            return r < 0 || execute(conn) ? 1 : -1;
        }
        break;
    case SENDING:
        switch (flush(conn)) {
        case IO_DONE:
            return finish(conn) ? 1 : -1;
        case IO_AGAIN:
            return 0;
        default:
            conn_free(conn);
            return -1;
        }
    case DELAYED:
    case STALLED:
    case LINGER:
        return 0;
    }
    if (conn->peer_closed) { /* in the middle of a request, or between two */
        conn_free(conn);
        return -1;
    }
    return 0;
}

/* What TLS has decoded already is nothing that epoll would tell of. */
static bool has_more(struct conn *conn) {
    return conn->ssl && (conn->state == HEAD || conn->state == BODY) && conn->in_n < CONN_IN_MAX &&
           SSL_has_pending(conn->ssl) && fill(conn) == IO_DONE;
}

static void run(struct conn *conn) {
    do {
        int r;
        do
            r = step(conn);
        while (r > 0);
        if (r < 0)
            return;
    } while (has_more(conn));
    if (conn->gone) {
        conn_free(conn);
        return;
    }
    bool full = conn->in_n == CONN_IN_MAX;
    uint32_t events = (conn->peer_closed || full ? 0U : EPOLLIN) | (conn->blocked ? EPOLLOUT : 0U);
    if (watch(conn, events) < 0)
        conn_free(conn);
}

/* The client is gone for good. A request that has come whole is still carried out when its time comes, as a real server
 * would. */
static void vanish(struct conn *conn) {
    if (conn->state != DELAYED) {
        conn_free(conn);
        return;
    }
    epoll_ctl(conn->mock->epoll, EPOLL_CTL_DEL, conn->fd, NULL);
    conn->gone = true;
}

void conn_event(struct conn *conn, uint32_t events) {
    if (events & (EPOLLERR | EPOLLHUP)) {
        vanish(conn);
        return;
    }
    if (events & EPOLLOUT)
        conn->blocked = false;
    if (events & EPOLLIN && conn->state != HANDSHAKE) {
        enum io io = fill(conn);
        if (conn->state == LINGER)
            conn->in_n = 0;
        if (io == IO_BROKEN) {
            vanish(conn);
            return;
        }
        if (io == IO_END) {
            conn->peer_closed = true;
            if (conn->state == STALLED || conn->state == LINGER) {
                conn_free(conn);
                return;
            }
        }
    }
    run(conn);
}

void conn_run_timed(struct mock *mock) {
    while (!list_empty(&mock->timed)) {
        struct conn *conn = LIST_ENTRY(mock->timed.next, struct conn, timer);
        if (conn->due_mono_us > mock->now_mono_us)
            return;
        list_remove(&conn->timer);
        if (conn->state == LINGER)
            conn_free(conn);
        else if (execute(conn))
            run(conn);
    }
}
