/* http_loop.h - drives one curl multi handle from a libuv loop while it makes connections: sockets, curl's timer, what
 * it has to tell, and "call me soon".
 *
 * Private to the HTTP client. */
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
    struct http_socket **sockets; /* that curl waits for, by descriptor */
    size_t n_sockets;
    bool due; /* curl wants to be called at once */
    void (*ended)(void *arg, CURL *easy, CURLcode code);
    void (*after)(void *arg);
    void *arg;
    size_t open_handles; /* libuv handles whose close callbacks are still to come */
    void (*closed)(void *arg);
    void *closed_arg;
};

/* `ended` tells that curl is through with a handle, in order; it may remove it. `after` is called from the loop
 * whenever curl has run or http_loop_wake was called. Nothing keeps the uv loop alive. -ENOMEM or libuv's code; nothing
 * is left behind then. */
int http_loop_init(struct http_loop *loop, uv_loop_t *uv, void (*ended)(void *arg, CURL *easy, CURLcode code),
                   void (*after)(void *arg), void *arg);
void http_loop_wake(struct http_loop *loop);
/* From now on nothing is watched for curl at this descriptor: what it was for is made, or it will be closed. */
void http_loop_forget(struct http_loop *loop, curl_socket_t fd);
/* Each libuv handle of another on this loop that is closed when the loop is: `closed` waits for them all. */
void http_loop_handle_opened(struct http_loop *loop);
void http_loop_handle_gone(struct http_loop *loop);
/* Frees the multi handle (which must be empty), then calls `closed` from the loop. */
void http_loop_close(struct http_loop *loop, void (*closed)(void *arg), void *arg);
