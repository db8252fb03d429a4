/* http_loop.c - curl_multi_socket_action on uv_poll_t and uv_timer_t. */
#include "http_loop.h"

#include "mem.h"

#include <errno.h>

struct http_socket {
    struct http_loop *loop;
    uv_poll_t poll;
    curl_socket_t fd;
    bool polling; /* `poll` is initialised */
};

static void run_curl(struct http_loop *loop, curl_socket_t fd, int events) {
    int running, left;
    curl_multi_socket_action(loop->multi, fd, events, &running);
    CURLMsg *message;
    while ((message = curl_multi_info_read(loop->multi, &left))) {
        CURL *easy = message->easy_handle;
        if (message->msg == CURLMSG_DONE)
            loop->ended(loop->arg, easy, message->data.result);
    }
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

void http_loop_handle_opened(struct http_loop *loop) {
    loop->open_handles++;
}

void http_loop_handle_gone(struct http_loop *loop) {
    loop->open_handles--;
    if (loop->open_handles == 0 && loop->closed)
        loop->closed(loop->closed_arg);
}

static void on_poll_closed(uv_handle_t *handle) {
    struct http_socket *s = handle->data;
    struct http_loop *loop = s->loop;
    mem_free(s);
    http_loop_handle_gone(loop);
}

/* The descriptor may be closed or watched by another right afterwards: uv_close takes it out of epoll at once. */
void http_loop_forget(struct http_loop *loop, curl_socket_t fd) {
    struct http_socket *s = socket_find(loop, fd);
    if (!s)
        return;
    loop->sockets[fd] = NULL;
    if (s->polling)
        uv_close((uv_handle_t *)&s->poll, on_poll_closed);
    else
        mem_free(s);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct http_socket *s = poll->data;
    struct http_loop *loop = s->loop;
    int mask = 0;
    if (events & UV_READABLE)
        mask |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        mask |= CURL_CSELECT_OUT;
    run_curl(loop, s->fd, status < 0 ? CURL_CSELECT_ERR : mask);
    loop->after(loop->arg);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg) {
    struct http_loop *loop = arg;
    struct http_socket *s = socket_find(loop, fd);
    if (what == CURL_POLL_REMOVE || what == CURL_POLL_NONE) {
        http_loop_forget(loop, fd);
        return 0;
    }
    if (!s)
        s = socket_add(loop, fd);
    if (!s)
        return 0; /* out of memory: the connection ends by its limit; an error here would end all of them */
    if (!s->polling) {
        if (uv_poll_init(loop->loop, &s->poll, fd) < 0)
            return 0;
        s->poll.data = s;
        uv_unref((uv_handle_t *)&s->poll);
        s->polling = true;
        http_loop_handle_opened(loop);
    }
    uv_poll_start(&s->poll, ((what & CURL_POLL_IN) ? UV_READABLE : 0) | ((what & CURL_POLL_OUT) ? UV_WRITABLE : 0),
                  on_poll);
    return 0;
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

int http_loop_init(struct http_loop *loop, uv_loop_t *uv, void (*ended)(void *arg, CURL *easy, CURLcode code),
                   void (*after)(void *arg), void *arg) {
    *loop = (struct http_loop){.loop = uv, .ended = ended, .after = after, .arg = arg};
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
    http_loop_handle_gone(handle->data);
}

void http_loop_close(struct http_loop *loop, void (*closed)(void *arg), void *arg) {
    curl_multi_cleanup(loop->multi);
    loop->multi = NULL;
    loop->closed = closed;
    loop->closed_arg = arg;
    for (size_t i = 0; i < loop->n_sockets; i++)
        http_loop_forget(loop, (curl_socket_t)i);
    mem_free(loop->sockets);
    loop->sockets = NULL;
    loop->n_sockets = 0;
    uv_close((uv_handle_t *)&loop->timer, on_handle_closed);
    uv_close((uv_handle_t *)&loop->soon, on_handle_closed);
}
