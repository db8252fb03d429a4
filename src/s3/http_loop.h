/* http_loop.h - drives one curl multi handle from a libuv loop: sockets, curl's timer, and "call me soon".
 *
 * Private to http.c. A socket that curl opened through http_loop_use keeps its place in epoll while its connection is
 * idle in curl's pool: curl drops and takes up its interest with every request, and following that would cost three
 * system calls each. */
#pragma once

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

struct http_socket;

struct http_loop {
    uv_loop_t *loop;
    CURLM *multi;
    uv_timer_t timer; /* curl's */
    uv_idle_t soon;
    struct http_socket **sockets; /* by descriptor */
    size_t n_sockets;
    uint64_t runs; /* how often curl ran */
    bool due;      /* curl wants to be called at once */
    bool in_curl;  /* inside a call to curl: most of its functions are off limits */
    bool (*is_paused)(CURL *easy);
    bool (*is_used)(void *arg, curl_socket_t fd);
    void (*after)(void *arg);
    void *arg;
    size_t open_handles; /* libuv handles whose close callbacks are still to come */
    void (*closed)(void *arg);
    void *closed_arg;
};

/* `is_paused` tells whether the request of this handle waits for its reader, `is_used` whether any such request has
 * this socket. `after` is called from the loop, outside curl, whenever curl has run or http_loop_wake was called.
 * Nothing keeps the uv loop alive but requests that run. -ENOMEM or libuv's code; nothing is left behind then. */
int http_loop_init(struct http_loop *loop, uv_loop_t *uv, bool (*is_paused)(CURL *easy),
                   bool (*is_used)(void *arg, curl_socket_t fd), void (*after)(void *arg), void *arg);
void http_loop_wake(struct http_loop *loop);
/* Lets this easy handle's connections open and close their sockets through the loop. */
void http_loop_use(struct http_loop *loop, CURL *easy);
/* Frees the multi handle (which must be empty) with its connections, then calls `closed` from the loop. */
void http_loop_close(struct http_loop *loop, void (*closed)(void *arg), void *arg);
