/* http.h - an HTTP/1.1 client on one libuv loop. Connections are made by libcurl: names, addresses, TLS. What goes over
 * them is ours, because a request's cost is most of what an object costs.
 *
 * Nothing above this header knows libcurl. Thread: the loop's; callbacks never run inside a function of this header,
 * but for an http_read_fn inside http_start. No redirects are followed, no cookies, netrc or proxies from the
 * environment are used, and only http and https are spoken. Header lines that come back are limited to HTTP_HEADERS_MAX
 * in all. Bodies that come at the same time take turns, so that none waits for another's end. A request whose reused
 * connection turns out to be dead before a byte of the answer came is sent again at once.
 *
 * The uv loop is kept alive by running requests only, not by idle connections. Writing to a connection that the server
 * closed can raise SIGPIPE under TLS: a program ignores it. */
#pragma once

#include "bytes.h"
#include "clock.h"
#include "err.h"

#include <uv.h>

#define HTTP_HEADERS_MAX (64 * 1024)

struct http;
struct http_request;

struct http_options {
    const char *ca_bundle;      /* NULL: the system's */
    uint32_t max_connections;   /* open at once, and requests under way; further ones wait their turn; 0: 256 */
    int64_t connect_timeout_us; /* name, connect and TLS, by libcurl's own clock; 0: 5 s */
    int64_t stall_timeout_us;   /* no byte moved either way for so long; pauses do not count; 0: 30 s */
    const struct clock *clock;  /* that this and deadlines go by; NULL: clock_system */
};
/* -EINVAL for a CA file that cannot be read or holds no certificate; -ENOMEM. */
int http_new(uv_loop_t *loop, const struct http_options *options, struct http **ret_http, struct err *err);
/* Requests under way end with HTTP_CANCELLED; then `closed`, from the loop. */
void http_close(struct http *http, void (*closed)(void *arg), void *arg);

enum http_end {
    HTTP_DONE, /* an answer came, whole by its own framing (Content-Length or chunks; one with neither ends with its
                  connection, so it may be cut) */
    HTTP_TRUNCATED,   /* the connection ended inside the body */
    HTTP_NO_ANSWER,   /* sent, maybe, but the connection ended before the head of an answer was in */
    HTTP_UNREACHABLE, /* name, connect or TLS failure: nothing was sent */
    HTTP_STALLED,     /* stall_timeout_us or deadline_us passed */
    HTTP_BAD_ANSWER,  /* not HTTP, or over a limit */
    HTTP_CANCELLED,
    HTTP_NO_MEMORY,
    HTTP_UNREADABLE, /* the body that was to be sent could not be read */
};

struct http_field {
    struct bytes name, value; /* incoming names in lower case, values trimmed */
};

struct http_handler {
    /* Status line and headers are in (not for 1xx). Borrowed. */
    void (*head)(void *arg, int status, const struct http_field *fields, size_t n);
    /* A piece of the body. false: pause after this piece (it counts as consumed) until http_resume; `done` waits as
     * well then, unless the request is cancelled or its deadline passes. */
    bool (*data)(void *arg, struct bytes piece);
    /* The end; the request is gone afterwards. `text` says what went wrong in words, "" when HTTP_DONE. */
    void (*done)(void *arg, enum http_end end, const char *text);
};

/* Reads exactly n bytes of a request's body at `offset` and returns n; anything else ends the request. */
typedef int64_t http_read_fn(void *arg, uint64_t offset, void *to, size_t n);

struct http_send {
    const char *method;
    const char *url;                 /* absolute, encoded, without a user; sent as it is: dots are not squashed */
    const struct http_field *fields; /* in this order; Host comes from the URL; no Expect: 100-continue */
    size_t n_fields;
    struct bytes body; /* borrowed until `done`; Content-Length is set when has_body */
    bool has_body;
    /* A body that is not in memory: read_n bytes, asked for in order while they are sent, from inside the HTTP client;
     * again from the start should a reused connection turn out to be dead. NULL: `body` it is. */
    http_read_fn *read;
    void *read_arg;
    uint64_t read_n;
    int64_t deadline_us; /* the whole request, from now; 0: none */
};
/* Copies all but the body. -EINVAL (a field with a line break or NUL in it, a URL that is none), -ENOMEM, -ECANCELED
 * once http_close was called. */
int http_start(struct http *http, const struct http_send *send, const struct http_handler *handler, void *arg,
               struct http_request **ret_request);
void http_resume(
    struct http_request *request); /* nothing when it is not paused; from inside `data` it undoes a pause */
void http_cancel(struct http_request *request); /* done(HTTP_CANCELLED) comes later, from the loop */
