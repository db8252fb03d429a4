/* http_loop.c - curl_multi_socket_action on uv_poll_t and uv_timer_t. */
#include "http_loop.h"

#include "mem.h"

#include <errno.h>
#include <limits.h>
#include <sys/socket.h>
#include <unistd.h>

struct http_socket {
    struct http_loop *loop;
    uv_poll_t poll;
    curl_socket_t fd;
    bool ours;    /* opened by open_socket, so close_socket will tell of its end */
    bool polling; /* `poll` is initialised */
    bool idle;    /* no request has it */
    int want;     /* UV_READABLE | UV_WRITABLE that curl wants to hear of */
    int armed;    /* those that libuv watches; may be more than wanted */
};

static void run_curl(struct http_loop *loop, curl_socket_t fd, int events) {
    int running;
    loop->runs++;
    loop->in_curl = true;
    curl_multi_socket_action(loop->multi, fd, events, &running);
    loop->in_curl = false;
}

/* ---- sockets ---- */

static struct http_socket *socket_find(const struct http_loop *loop, curl_socket_t fd) {
    return fd >= 0 && (size_t)fd < loop->n_sockets ? loop->sockets[fd] : NULL;
}

static struct http_socket *socket_add(struct http_loop *loop, curl_socket_t fd) {
    if ((size_t)fd >= loop->n_sockets) {
        size_t n = (size_t)fd + 64;
        struct http_socket **sockets = mem_reallocarray(loop->sockets, n, sizeof *sockets);
        if (!sockets)
            return NULL;
        for (size_t i = loop->n_sockets; i < n; i++)
            sockets[i] = NULL;
        loop->sockets = sockets;
        loop->n_sockets = n;
    }
    struct http_socket *s = mem_zalloc(sizeof *s);
    if (!s)
        return NULL;
    s->loop = loop;
    s->fd = fd;
    loop->sockets[fd] = s;
    return s;
}

static void handle_gone(struct http_loop *loop) {
    loop->open_handles--;
    if (loop->open_handles == 0 && loop->closed)
        loop->closed(loop->closed_arg);
}

static void on_poll_closed(uv_handle_t *handle) {
    struct http_socket *s = handle->data;
    struct http_loop *loop = s->loop;
    mem_free(s);
    handle_gone(loop);
}

/* The descriptor may be closed right afterwards: uv_close takes it out of epoll at once. */
static void socket_drop(struct http_socket *s) {
    s->loop->sockets[s->fd] = NULL;
    if (s->polling)
        uv_close((uv_handle_t *)&s->poll, on_poll_closed);
    else
        mem_free(s);
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void socket_arm(struct http_socket *s, int events) {
    if (events == s->armed)
        return;
    if (!s->polling) {
        if (uv_poll_init(s->loop->loop, &s->poll, s->fd) < 0)
            return; /* unheard, the transfer ends by its connect or stall limit */
        s->poll.data = s;
        uv_unref((uv_handle_t *)&s->poll);
        s->polling = true;
        s->loop->open_handles++;
    }
    if (events)
        uv_poll_start(&s->poll, events, on_poll);
    else
        uv_poll_stop(&s->poll);
    s->armed = events;
}

/* Nothing is there to be read, not even an end. */
static bool is_quiet(curl_socket_t fd) {
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct http_socket *s = poll->data;
    struct http_loop *loop = s->loop;
    if (status < 0)
        s->armed = 0; /* libuv has stopped it */
    if (s->want == 0) {
        /* On an idle connection the server hung up, or sent what nobody asked for and the next request must not take
         * for its answer. curl looks whether a connection is dead before it uses it again. When a request took it up
         * and was paused before curl came to ask for the socket, nobody has said that it is not idle any more. */
        if (s->idle && loop->is_used(loop->arg, s->fd))
            s->idle = false;
        if (s->idle && is_quiet(s->fd))
            return; /* what was to be read when the loop looked was read in between, when curl was run for another */
        if (s->idle)
            shutdown(s->fd, SHUT_RDWR);
        socket_arm(s, 0);
        return;
    }
    /* An error is told as readiness: told as an error, curl would not read, so it would neither find what came before a
     * reset nor send a request again whose reused connection was dead. */
    if (status < 0)
        events = s->want;
    int mask = 0;
    if (events & UV_READABLE)
        mask |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        mask |= CURL_CSELECT_OUT;
    curl_socket_t fd = s->fd;
    run_curl(loop, fd, mask);
    if (socket_find(loop, fd) == s && s->want && s->armed == 0)
        socket_arm(s, s->want);
    loop->after(loop->arg);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg) {
    struct http_loop *loop = arg;
    struct http_socket *s = socket_find(loop, fd);
    if (what == CURL_POLL_REMOVE || what == CURL_POLL_NONE) {
        if (!s)
            return 0;
        s->want = 0;
        s->idle = s->ours && !loop->is_paused(easy); /* curl has no interest in a paused one either */
        if (!s->ours)
            socket_drop(s); /* one of the resolver's, which curl closes without a word */
        else if (s->armed & UV_WRITABLE)
            socket_arm(s, 0);
        return 0;
    }
    if (!s)
        s = socket_add(loop, fd);
    if (!s)
        return 0; /* out of memory: the transfer ends by its connect limit; an error here would end all transfers */
    s->idle = false;
    s->want = ((what & CURL_POLL_IN) ? UV_READABLE : 0) | ((what & CURL_POLL_OUT) ? UV_WRITABLE : 0);
    socket_arm(s, s->want);
    return 0;
}

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address) {
    struct http_loop *loop = arg;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    struct http_socket *stale = socket_find(loop, fd);
    if (stale)
        socket_drop(stale);
    struct http_socket *s = socket_add(loop, fd);
    if (!s) {
        close(fd);
        return CURL_SOCKET_BAD;
    }
    s->ours = true;
    return fd;
}

static int close_socket(void *arg, curl_socket_t fd) {
    struct http_socket *s = socket_find(arg, fd);
    if (s)
        socket_drop(s);
    return close(fd);
}

void http_loop_use(struct http_loop *loop, CURL *easy) {
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, loop);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, loop);
}

/* ---- time ---- */

static void on_soon(uv_idle_t *idle) {
    struct http_loop *loop = idle->data;
    uv_idle_stop(idle);
    if (loop->due) {
        loop->due = false;
        run_curl(loop, CURL_SOCKET_TIMEOUT, 0);
    }
    loop->after(loop->arg);
}

void http_loop_wake(struct http_loop *loop) {
    uv_idle_start(&loop->soon, on_soon);
}

static void on_timer(uv_timer_t *timer) {
    struct http_loop *loop = timer->data;
    run_curl(loop, CURL_SOCKET_TIMEOUT, 0);
    loop->after(loop->arg);
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *arg) {
    struct http_loop *loop = arg;
    loop->due = timeout_ms == 0;
    if (timeout_ms > 0) {
        /* libuv counts from its cached time. A timer that fires early would be lost: curl sees nothing due and does not
         * ask again. */
        uint64_t now = uv_hrtime() / 1000000, cached = uv_now(loop->loop);
        uint64_t behind = now > cached ? now - cached : 0;
        uv_timer_start(&loop->timer, on_timer, (uint64_t)timeout_ms + behind + 1, 0);
        return 0;
    }
    uv_timer_stop(&loop->timer);
    if (loop->due)
        http_loop_wake(loop);
    return 0;
}

/* ---- begin and end ---- */

int http_loop_init(struct http_loop *loop, uv_loop_t *uv, bool (*is_paused)(CURL *easy),
                   bool (*is_used)(void *arg, curl_socket_t fd), void (*after)(void *arg), void *arg) {
    *loop = (struct http_loop){.loop = uv, .is_paused = is_paused, .is_used = is_used, .after = after, .arg = arg};
    loop->multi = curl_multi_init();
    if (!loop->multi)
        return -ENOMEM;
    uv_timer_init(uv, &loop->timer); /* these two cannot fail */
    uv_idle_init(uv, &loop->soon);
    loop->timer.data = loop->soon.data = loop;
    loop->open_handles = 2;
    uv_unref((uv_handle_t *)&loop->timer);
    curl_multi_setopt(loop->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(loop->multi, CURLMOPT_SOCKETDATA, loop);
    curl_multi_setopt(loop->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(loop->multi, CURLMOPT_TIMERDATA, loop);
    return 0;
}

static void on_handle_closed(uv_handle_t *handle) {
    handle_gone(handle->data);
}

void http_loop_close(struct http_loop *loop, void (*closed)(void *arg), void *arg) {
    loop->in_curl = true;
    curl_multi_cleanup(loop->multi);
    loop->in_curl = false;
    loop->multi = NULL;
    loop->closed = closed;
    loop->closed_arg = arg;
    for (size_t i = 0; i < loop->n_sockets; i++)
        if (loop->sockets[i])
            socket_drop(loop->sockets[i]);
    mem_free(loop->sockets);
    loop->sockets = NULL;
    loop->n_sockets = 0;
    uv_close((uv_handle_t *)&loop->timer, on_handle_closed);
    uv_close((uv_handle_t *)&loop->soon, on_handle_closed);
}
