/* http_conn.h - one connection to a server. libcurl makes it, with all that belongs to it: names, several addresses,
 * TLS, sessions that are taken up again. From then on bytes are read and written here.
 *
 * Private to the HTTP client; the loop's thread. Over plain TCP the socket is used as it is; over TLS curl's functions
 * for connections of one's own (curl_easy_send, curl_easy_recv). */
#pragma once

#include "bytes.h"
#include "http_loop.h"
#include "list.h"

struct http_conn;

/* Fills in what the handles of all connections have in common. False: out of memory. */
typedef bool http_conn_set_up_fn(void *arg, CURL *easy);

struct http_conns {
    struct http_loop loop;
    http_conn_set_up_fn *set_up;
    void (*made)(void *arg, struct http_conn *conn, bool connected);                /* not: conn->error says why */
    void (*ready)(void *arg, struct http_conn *conn, bool readable, bool writable); /* an error is both */
    void (*after)(void *arg); /* from the loop, when something was told or http_conns_wake was called */
    void *arg;
    size_t n; /* open ones */
};

struct http_conn {
    struct list link; /* the owner's, as the next three are */
    void *user;
    uint64_t idle_ms;
    bool used; /* a request has been sent on it before */
    bool tls;
    struct buf base; /* "https://host:port" */
    struct http_conns *conns;
    CURL *easy;
    uv_poll_t poll;
    curl_socket_t fd;
    int armed; /* UV_READABLE | UV_WRITABLE that libuv watches */
    bool polling;
    char error[CURL_ERROR_SIZE];
};

/* http_loop_init with the callbacks above in place. */
int http_conns_init(struct http_conns *conns, uv_loop_t *loop);
/* All connections are to be closed before. Then `closed` from the loop. */
void http_conns_close(struct http_conns *conns, void (*closed)(void *arg), void *arg);

/* `made` comes later, from the loop. NULL: out of memory. */
struct http_conn *http_conn_open(struct http_conns *conns, struct bytes base, bool tls);
void http_conn_close(struct http_conn *conn); /* at any time, also before it is made; it is gone then */

/* Once it is made. What was written: at least a byte; -EAGAIN: nothing now, ask for writable; else it is broken.
 * `more`: what follows comes at once. After -EAGAIN the same bytes have to be offered again. */
int64_t http_conn_send(struct http_conn *conn, struct bytes data, bool more);
/* 0: the server has ended it; -EAGAIN: nothing now; else it is broken. More may be there already, which no readiness
 * tells of when it came by TLS: there -EAGAIN has to be waited for. */
int64_t http_conn_recv(struct http_conn *conn, void *to, size_t n);
/* What `ready` is to tell of: UV_READABLE, UV_WRITABLE. -ENOMEM or libuv's code. */
int http_conn_watch(struct http_conn *conn, int events);
