/* http_private.h - what http.c (the life of requests) and http_request.c (their easy handles) share. */
#pragma once

#include "clock.h"
#include "http.h"
#include "http_head.h"
#include "http_loop.h"
#include "list.h"

#include <curl/curl.h>

#define HTTP_METHOD_MAX 15

enum http_place { HTTP_PLACE_IDLE, HTTP_PLACE_WAITING, HTTP_PLACE_RUNNING, HTTP_PLACE_HELD, HTTP_PLACE_ENDED };
enum http_kind { HTTP_KIND_UNSET, HTTP_KIND_GET, HTTP_KIND_HEAD, HTTP_KIND_BODY };

struct http {
    struct http_loop loop;
    struct http_options options; /* with the defaults filled in */
    char *ca_bundle;
    CURLSH *share;       /* TLS sessions, for all handles */
    struct list idle;    /* pooled */
    struct list waiting; /* for their turn */
    struct list running; /* in the multi handle */
    struct list held;    /* ended while paused */
    struct list ended;   /* `done` is to be called */
    struct list todo;    /* to be cancelled or resumed */
    size_t n_idle, n_running, n_live;
    uv_timer_t scan;
    uint64_t scan_at_ms;  /* 0: not set */
    uint64_t run, run_ms; /* of loop.runs, and when it was */
    bool scan_was_late, closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

struct http_request {
    struct list link, todo;
    struct http *http;
    CURL *easy;
    enum http_place place;
    struct http_handler handler;
    void *arg;
    struct http_head head;
    uint64_t active_ms, deadline_ms; /* deadline 0: none */
    curl_off_t uploaded;             /* at the last look */
    enum http_end end;
    bool cancelled, paused, in_data, resume_early, refused;
    bool resumed;      /* still paused, but not for long */
    bool resting;      /* until the others had their turn */
    size_t turn_bytes; /* of its body since it rested */
    enum http_kind kind;
    http_read_fn *read; /* of the body that is sent; NULL: it is in memory */
    void *read_arg;
    uint64_t read_at, read_n;
    char method[HTTP_METHOD_MAX + 1]; /* as set on the handle, "" for curl's own */
    struct buf base;                  /* of the URL, as set on the handle */
    struct buf lines;
    struct curl_slist *nodes; /* one a header line, pointing into `lines` */
    size_t nodes_cap;
    const char *reason; /* static; NULL: curl's own words below */
    char error[CURL_ERROR_SIZE];
};

static inline uint64_t http_ms_of(int64_t us) {
    return (uint64_t)(us + 999) / 1000;
}

/* Not the loop's cached time: that may lie far back when a request is started, and would end it too early. */
static inline uint64_t http_now_ms(const struct http *http) {
    return (uint64_t)clock_mono_us(http->options.clock) / 1000;
}

/* For what comes while curl runs: a look at the clock for each header line would cost more than the line. */
static inline uint64_t http_run_ms(struct http *http) {
    if (http->run != http->loop.runs) {
        http->run = http->loop.runs;
        http->run_ms = http_now_ms(http);
    }
    return http->run_ms;
}

struct http_request *http_request_new(struct http *http); /* NULL: out of memory */
void http_request_free(struct http_request *request);     /* not while it is in the multi handle */
void http_rest(struct http_request *request);             /* wakes it when the others had their turn */
/* Sets all that differs from request to request. -EINVAL, -ENOMEM. */
int http_request_prepare(struct http_request *request, const struct http_send *send);
