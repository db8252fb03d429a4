/* http_private.h - what http.c (the life of requests) and http_exchange.c (one request on its connection) share. */
#pragma once

#include "clock.h"
#include "http.h"
#include "http_body.h"
#include "http_conn.h"
#include "list.h"

#define HTTP_PIECE_BYTES ((size_t)32 * 1024) /* of a body, at most */
#define HTTP_TURN_BYTES ((size_t)128 * 1024) /* so much of a body comes at a stretch while others may want to go on */

enum http_place { HTTP_PLACE_SPARE, HTTP_PLACE_WAITING, HTTP_PLACE_RUNNING, HTTP_PLACE_HELD, HTTP_PLACE_ENDED };

struct http {
    struct http_conns conns;
    struct http_options options; /* with the defaults filled in */
    char *ca_bundle;
    CURLSH *share;       /* TLS sessions, for all connections */
    char *scratch;       /* HTTP_PIECE_BYTES, into which answers are read */
    struct list idle;    /* connections, the one used last first */
    struct list spare;   /* requests, to be used again */
    struct list waiting; /* for their turn */
    struct list running; /* on a connection that is made, or being made */
    struct list held;    /* ended while paused */
    struct list ended;   /* `done` is to be called */
    struct list todo;    /* to be cancelled, resumed or looked at again */
    size_t n_spare, n_running, n_live;
    uint64_t now_ms; /* of the last http_tick */
    uv_timer_t scan;
    uint64_t scan_at_ms; /* 0: not set */
    bool scan_was_late, closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

struct http_request {
    struct list link, todo;
    struct http *http;
    struct http_conn *conn; /* while it runs */
    enum http_place place;
    struct http_handler handler;
    void *arg;
    uint64_t active_ms, deadline_ms; /* deadline 0: none */
    bool cancelled, paused, in_data, resume_early;
    bool resumed; /* still paused, but not for long */
    bool again;   /* more may have come than was read, and nothing will tell */
    bool fresh;   /* only a connection that nobody has used will do */

    /* what goes out */
    struct buf base; /* of the URL */
    bool tls, bodiless;
    struct buf head_text; /* with a small body */
    struct bytes body;    /* one that is not in there */
    http_read_fn *read;   /* of one that is not in memory; NULL: `body` it is */
    void *read_arg;
    uint64_t body_at, body_n; /* handed over into `next`, of all that is not in head_text */
    struct bytes next;        /* to be sent now */
    char *piece;              /* of a body that is read */
    bool sent, send_failed;

    /* what comes back */
    bool answered; /* a byte of it came */
    struct http_head head;
    struct http_body framing;
    struct buf kept; /* a part of a line; or what came after the piece at which it was paused, from kept_at on */
    size_t kept_at;

    enum http_end end;
    bool reusable;      /* its connection */
    const char *reason; /* static; NULL: the connection's words below */
    char error[CURL_ERROR_SIZE];
};

static inline uint64_t http_ms_of(int64_t us) {
    return (uint64_t)(us + 999) / 1000;
}

/* Looks at the clock: once for whatever comes from outside, as a look costs more than a line of an answer. Not the
 * loop's cached time: that may lie far back when a request is started, and would end it too early. */
static inline uint64_t http_tick(struct http *http) {
    return http->now_ms = (uint64_t)clock_mono_us(http->options.clock) / 1000;
}
