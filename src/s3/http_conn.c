/* http_conn.c - connections of curl's CONNECT_ONLY kind, each with the easy handle that made it. */
#include "http_conn.h"

#include "mem.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define UNSENT_BYTES (128 * 1024)

/* ---- made ---- */

/* By itself the kernel takes megabytes of a body at once, and nobody sees any more whether they move. */
static void limit_unsent(curl_socket_t fd) {
    int bytes = UNSENT_BYTES;
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes);
}

static void on_ended(void *arg, CURL *easy, CURLcode code) {
    struct http_conns *conns = arg;
    char *found = NULL, byte;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &found);
    struct http_conn *conn = (struct http_conn *)(void *)found;
    if (code == CURLE_OK)
        code = curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &conn->fd);
    if (code == CURLE_OK && conn->fd == CURL_SOCKET_BAD)
        code = CURLE_COULDNT_CONNECT;
    if (code == CURLE_OK) {
        /* With its first use the connection becomes this handle's for good. Until then curl holds it for an idle one,
         * which it may close. */
        size_t n;
        CURLcode first = curl_easy_recv(easy, &byte, 1, &n);
        if (first != CURLE_AGAIN)
            code = first == CURLE_OK ? CURLE_RECV_ERROR : first; /* nobody has asked for anything yet */
    }
    if (code != CURLE_OK && conn->error[0] == '\0')
        snprintf(conn->error, sizeof conn->error, "%s", curl_easy_strerror(code));
    if (code == CURLE_OK) {
        http_loop_forget(&conns->loop, conn->fd);
        limit_unsent(conn->fd);
    }
    conns->made(conns->arg, conn, code == CURLE_OK);
}

static void on_after(void *arg) {
    struct http_conns *conns = arg;
    conns->after(conns->arg);
}

int http_conns_init(struct http_conns *conns, uv_loop_t *loop) {
    return http_loop_init(&conns->loop, loop, on_ended, on_after, conns);
}

void http_conns_close(struct http_conns *conns, void (*closed)(void *arg), void *arg) {
    http_loop_close(&conns->loop, closed, arg);
}

static void conn_free(struct http_conn *conn) {
    buf_free(&conn->base);
    mem_free(conn);
}

static int close_socket(void *arg, curl_socket_t fd) {
    struct http_conns *conns = arg;
    http_loop_forget(&conns->loop, fd);
    return close(fd);
}

static bool set_up(struct http_conn *conn) {
    CURL *easy = conn->easy;
    curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, conn);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, conn->error);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, conn->conns);
    return curl_easy_setopt(easy, CURLOPT_URL, conn->base.p) == CURLE_OK && conn->conns->set_up(conn->conns->arg, easy);
}

struct http_conn *http_conn_open(struct http_conns *conns, struct bytes base, bool tls) {
    struct http_conn *conn = mem_zalloc(sizeof *conn);
    if (!conn)
        return NULL;
    list_init(&conn->link);
    conn->conns = conns;
    conn->tls = tls;
    conn->fd = CURL_SOCKET_BAD;
    if (buf_add_bytes(&conn->base, base) == 0 && (conn->easy = curl_easy_init())) {
        if (set_up(conn) && curl_multi_add_handle(conns->loop.multi, conn->easy) == CURLM_OK) {
            conns->n++;
            return conn;
        }
        curl_easy_cleanup(conn->easy);
    }
    conn_free(conn);
    return NULL;
}

static void on_poll_closed(uv_handle_t *handle) {
    struct http_conn *conn = handle->data;
    struct http_loop *loop = &conn->conns->loop;
    conn_free(conn);
    http_loop_handle_gone(loop);
}

void http_conn_close(struct http_conn *conn) {
    list_remove(&conn->link);
    conn->conns->n--;
    if (conn->polling) /* before the descriptor is closed */
        uv_close((uv_handle_t *)&conn->poll, on_poll_closed);
    curl_multi_remove_handle(conn->conns->loop.multi, conn->easy); /* which ends the connection */
    curl_easy_cleanup(conn->easy);
    if (!conn->polling)
        conn_free(conn);
}

/* ---- used ---- */

/* What curl's functions say of a connection over TLS. Its own words are in conn->error, if it has any. */
static int64_t result_of(struct http_conn *conn, CURLcode code, size_t n) {
    if (code == CURLE_OK)
        return (int64_t)n;
    if (code == CURLE_AGAIN)
        return -EAGAIN;
    if (conn->error[0] == '\0')
        snprintf(conn->error, sizeof conn->error, "%s", curl_easy_strerror(code));
    return code == CURLE_OUT_OF_MEMORY ? -ENOMEM : -EIO;
}

static int64_t socket_result(struct http_conn *conn, ssize_t n) {
    if (n >= 0)
        return n;
    if (errno == EAGAIN || errno == EINTR)
        return -EAGAIN;
    int r = -errno;
    snprintf(conn->error, sizeof conn->error, "%s", strerrordesc_np(-r));
    return r;
}

int64_t http_conn_send(struct http_conn *conn, struct bytes data, bool more) {
    if (!conn->tls)
        return socket_result(conn, send(conn->fd, data.p, data.n, MSG_NOSIGNAL | (more ? MSG_MORE : 0)));
    size_t n = 0;
    conn->error[0] = '\0';
    CURLcode code = curl_easy_send(conn->easy, data.p, data.n, &n);
    return result_of(conn, code, n);
}

int64_t http_conn_recv(struct http_conn *conn, void *to, size_t n) {
    if (!conn->tls)
        return socket_result(conn, recv(conn->fd, to, n, 0));
    size_t got = 0;
    conn->error[0] = '\0';
    CURLcode code = curl_easy_recv(conn->easy, to, n, &got);
    return result_of(conn, code, got);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct http_conn *conn = poll->data;
    struct http_conns *conns = conn->conns;
    if (status < 0)
        conn->armed = 0; /* libuv has stopped it */
    conns->ready(conns->arg, conn, status < 0 || (events & UV_READABLE), status < 0 || (events & UV_WRITABLE));
    conns->after(conns->arg);
}

int http_conn_watch(struct http_conn *conn, int events) {
    if (events == conn->armed)
        return 0;
    struct http_loop *loop = &conn->conns->loop;
    if (!conn->polling) {
        int r = uv_poll_init(loop->loop, &conn->poll, conn->fd);
        if (r < 0)
            return r;
        conn->poll.data = conn;
        uv_unref((uv_handle_t *)&conn->poll);
        conn->polling = true;
        http_loop_handle_opened(loop);
    }
    int r = events ? uv_poll_start(&conn->poll, events, on_poll) : uv_poll_stop(&conn->poll);
    if (r >= 0)
        conn->armed = events;
    return r;
}
