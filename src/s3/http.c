/* http.c - the life of requests: which waits, which connection one gets, pausing, cancelling, stall and deadline
 * limits.
 *
 * A request lives in exactly one of the lists of struct http until `done` was called; an idle connection in one of its
 * own. Requests and connections are used again: setting them up costs more than the request. */
#include "http.h"

#include "http_exchange.h"
#include "mem.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>

#define DEFAULT_CONNECTIONS 256
#define DEFAULT_CONNECT_US (5 * US_PER_S)
#define DEFAULT_STALL_US (30 * US_PER_S)
#define IDLE_MS (110 * 1000) /* an idle connection that is older may be dead without a word */
#define LATE_MS 100          /* a scan that is late by more says that the loop was busy, not that a server was slow */

static void after(void *arg);

/* ---- limits ---- */

static uint64_t due_ms(const struct http_request *request) {
    uint64_t due = UINT64_MAX;
    if (request->place == HTTP_PLACE_RUNNING && !request->paused)
        due = request->active_ms + http_ms_of(request->http->options.stall_timeout_us);
    if (request->deadline_ms && request->deadline_ms < due)
        due = request->deadline_ms;
    return due;
}

static void on_scan(uv_timer_t *timer);

static void scan_at(struct http *http, uint64_t at_ms) {
    if (at_ms == UINT64_MAX || (http->scan_at_ms && http->scan_at_ms <= at_ms))
        return;
    http->scan_at_ms = at_ms;
    uv_timer_start(&http->scan, on_scan, at_ms > http->now_ms ? at_ms - http->now_ms : 0, 0);
}

static void end_request(struct http_request *request, enum http_end end, bool may_hold);

static void scan_list(struct http *http, struct list *list, uint64_t now, uint64_t *next) {
    LIST_EACH_SAFE (link, following, list) {
        struct http_request *request = LIST_ENTRY(link, struct http_request, link);
        uint64_t due = due_ms(request);
        bool by_deadline = request->deadline_ms && request->deadline_ms <= now;
        if (due > now) {
            if (due < *next)
                *next = due;
            continue;
        }
        if (by_deadline)
            request->reason = "the deadline passed";
        else
            request->reason = "no byte moved for too long";
        end_request(request, HTTP_STALLED, false);
    }
}

static void on_scan(uv_timer_t *timer) {
    struct http *http = timer->data;
    uint64_t now = http_tick(http), planned = http->scan_at_ms, next = UINT64_MAX;
    http->scan_at_ms = 0;
    if (now > planned + LATE_MS && !http->scan_was_late) {
        http->scan_was_late = true; /* bytes may wait in the sockets: look at those first */
        scan_at(http, now + 1);
        return;
    }
    http->scan_was_late = false;
    scan_list(http, &http->running, now, &next);
    scan_list(http, &http->waiting, now, &next);
    scan_list(http, &http->held, now, &next);
    scan_at(http, next);
    after(http);
}

/* ---- connections ---- */

/* An idle one of the same server, or a new one; NULL: out of memory. */
static struct http_conn *find_conn(struct http_request *request) {
    struct http *http = request->http;
    struct bytes base = buf_bytes(&request->base);
    LIST_EACH_SAFE (link, following, &http->idle) {
        struct http_conn *conn = LIST_ENTRY(link, struct http_conn, link);
        if (http->now_ms > conn->idle_ms + IDLE_MS)
            http_conn_close(conn);
        else if (!request->fresh && bytes_equal(buf_bytes(&conn->base), base))
            return conn;
    }
    if (http->conns.n >= http->options.max_connections && !list_empty(&http->idle))
        http_conn_close(LIST_ENTRY(http->idle.prev, struct http_conn, link));
    return http_conn_open(&http->conns, base, request->tls);
}

/* The request is through with it. */
static void leave_conn(struct http_request *request, bool reusable) {
    struct http *http = request->http;
    struct http_conn *conn = request->conn;
    request->conn = NULL;
    conn->user = NULL;
    if (!reusable || http->closing || http_conn_watch(conn, UV_READABLE) < 0) {
        http_conn_close(conn);
        return;
    }
    conn->idle_ms = http->now_ms;
    list_push_front(&http->idle, &conn->link);
}

/* On an idle connection the server hung up, or sent what nobody asked for and the next request must not take for its
 * answer; or TLS has something for itself. */
static void look_at_idle(struct http_conn *conn) {
    char byte;
    if (http_conn_recv(conn, &byte, 1) != -EAGAIN || http_conn_watch(conn, UV_READABLE) < 0)
        http_conn_close(conn);
}

/* ---- the life of a request ---- */

static void todo_add(struct http_request *request) {
    list_move_back(&request->http->todo, &request->todo);
    http_loop_wake(&request->http->conns.loop);
}

/* From wherever it is to `ended`, or to `held`. */
static void end_request(struct http_request *request, enum http_end end, bool may_hold) {
    struct http *http = request->http;
    if (request->place == HTTP_PLACE_RUNNING) {
        http->n_running--;
        if (request->conn)
            leave_conn(request, end == HTTP_DONE && request->reusable);
    }
    list_remove(&request->todo);
    request->end = request->cancelled ? HTTP_CANCELLED : end;
    bool hold = may_hold && request->paused && !request->cancelled;
    request->place = hold ? HTTP_PLACE_HELD : HTTP_PLACE_ENDED;
    list_move_back(hold ? &http->held : &http->ended, &request->link);
}

/* Its exchange is over, or not yet. */
static void went_on(struct http_request *request, bool over) {
    struct http *http = request->http;
    if (!over) {
        if (request->again)
            todo_add(request);
        return;
    }
    if (request->end == HTTP_NO_ANSWER && !request->answered && request->conn->used && !request->fresh &&
        !request->cancelled) {
        leave_conn(request, false);
        http->n_running--;
        request->fresh = true;
        request->place = HTTP_PLACE_WAITING;
        list_remove(&request->link);
        list_push_front(&http->waiting, &request->link);
    } else {
        end_request(request, request->end, true);
    }
}

static void on_made(void *arg, struct http_conn *conn, bool connected) {
    struct http_request *request = conn->user;
    http_tick(request->http);
    if (request->cancelled)
        return; /* it is in `todo` */
    if (connected) {
        went_on(request, http_exchange_begin(request));
        return;
    }
    snprintf(request->error, sizeof request->error, "%s", conn->error);
    end_request(request, HTTP_UNREACHABLE, true);
}

static void on_ready(void *arg, struct http_conn *conn, bool readable, bool writable) {
    struct http_request *request = conn->user;
    http_tick(arg);
    if (!request)
        look_at_idle(conn);
    else if (request->cancelled)
        http_conn_watch(conn, 0);
    else
        went_on(request, http_exchange_ready(request, readable, writable));
}

static void resume(struct http_request *request) {
    list_remove(&request->todo);
    if (request->paused && !request->resumed)
        return;
    bool was_paused = request->paused;
    request->paused = request->resumed = false;
    if (request->place == HTTP_PLACE_HELD)
        end_request(request, request->end, false);
    if (request->place != HTTP_PLACE_RUNNING)
        return;
    if (was_paused) {
        request->active_ms = request->http->now_ms;
        scan_at(request->http, due_ms(request));
    }
    went_on(request, http_exchange_resume(request));
}

static void do_todo(struct http *http) {
    if (list_empty(&http->todo))
        return;
    http_tick(http);
    struct list batch;
    list_init(&batch);
    list_splice_back(&batch, &http->todo);
    struct list *link;
    while ((link = list_pop_front(&batch))) {
        struct http_request *request = LIST_ENTRY(link, struct http_request, todo);
        if (request->cancelled)
            end_request(request, HTTP_CANCELLED, false);
        else
            resume(request);
    }
}

static void pump(struct http *http) {
    while (http->n_running < http->options.max_connections && !list_empty(&http->waiting)) {
        struct http_request *request = LIST_ENTRY(http->waiting.next, struct http_request, link);
        struct http_conn *conn = find_conn(request);
        if (!conn) {
            request->reason = "out of memory";
            end_request(request, HTTP_NO_MEMORY, false);
            continue;
        }
        request->place = HTTP_PLACE_RUNNING;
        list_move_back(&http->running, &request->link);
        http->n_running++;
        request->conn = conn;
        conn->user = request;
        request->active_ms = http->now_ms;
        scan_at(http, due_ms(request));
        bool idle = !list_empty(&conn->link);
        list_remove(&conn->link);
        conn->used = idle;
        if (idle)
            went_on(request, http_exchange_begin(request));
    }
}

static void request_free(struct http_request *request) {
    list_remove(&request->link);
    http_exchange_free(request);
    mem_free(request);
}

/* A used one, or a new one; NULL: out of memory. */
static struct http_request *request_take(struct http *http) {
    struct list *link = list_pop_front(&http->spare);
    if (link) {
        http->n_spare--;
        return LIST_ENTRY(link, struct http_request, link);
    }
    struct http_request *request = mem_zalloc(sizeof *request);
    if (request) {
        request->http = http;
        list_init(&request->link);
        list_init(&request->todo);
    }
    return request;
}

static void recycle(struct http_request *request) {
    struct http *http = request->http;
    http->n_live--;
    if (http->n_live == 0)
        uv_unref((uv_handle_t *)&http->scan);
    if (http->closing || http->n_spare >= http->options.max_connections) {
        request_free(request);
        return;
    }
    http_exchange_reset(request);
    request->place = HTTP_PLACE_SPARE;
    list_remove(&request->link);
    list_push_front(&http->spare, &request->link); /* warm ones first */
    http->n_spare++;
}

static void tell(struct http_request *request) {
    struct http_handler handler = request->handler;
    void *arg = request->arg;
    enum http_end end = request->end;
    char text[CURL_ERROR_SIZE] = "";
    if (end == HTTP_CANCELLED)
        snprintf(text, sizeof text, "cancelled");
    else if (end != HTTP_DONE)
        snprintf(text, sizeof text, "%s",
                 request->reason     ? request->reason
                 : request->error[0] ? request->error
                                     : "the connection ended");
    recycle(request);
    handler.done(arg, end, text);
}

static void finish_close(struct http *http);

/* Runs from the loop. One round only: what the callbacks add is for the next, so that nobody starves. */
static void after(void *arg) {
    struct http *http = arg;
    do_todo(http);
    pump(http);
    struct list batch;
    list_init(&batch);
    list_splice_back(&batch, &http->ended);
    while (!list_empty(&batch))
        tell(LIST_ENTRY(batch.next, struct http_request, link));
    if (!list_empty(&http->ended) || !list_empty(&http->todo))
        http_loop_wake(&http->conns.loop);
    if (http->closing && http->n_live == 0)
        finish_close(http);
}

/* ---- starting ---- */

int http_start(struct http *http, const struct http_send *send, const struct http_handler *handler, void *arg,
               struct http_request **ret_request) {
    if (http->closing)
        return -ECANCELED;
    struct http_request *request = request_take(http);
    if (!request)
        return -ENOMEM;
    http_tick(http);
    int r = http_exchange_prepare(request, send);
    if (r < 0) {
        request_free(request);
        return r;
    }
    request->handler = *handler;
    request->arg = arg;
    request->reason = NULL;
    request->error[0] = '\0';
    request->cancelled = request->paused = request->in_data = request->resume_early = request->resumed = false;
    request->again = request->fresh = false;
    request->deadline_ms = send->deadline_us > 0 ? http->now_ms + http_ms_of(send->deadline_us) : 0;
    request->place = HTTP_PLACE_WAITING;
    list_push_back(&http->waiting, &request->link);
    http->n_live++;
    if (http->n_live == 1)
        uv_ref((uv_handle_t *)&http->scan);
    scan_at(http, due_ms(request));
    pump(http);
    if (!list_empty(&http->ended))
        http_loop_wake(&http->conns.loop);
    if (ret_request)
        *ret_request = request;
    return 0;
}

void http_resume(struct http_request *request) {
    if (request->in_data)
        request->resume_early = true;
    else if (request->paused && !request->cancelled) {
        request->resumed = true;
        todo_add(request);
    }
}

void http_cancel(struct http_request *request) {
    if (request->cancelled)
        return;
    request->cancelled = true;
    if (request->place == HTTP_PLACE_ENDED)
        request->end = HTTP_CANCELLED;
    else
        todo_add(request);
}

/* ---- the client ---- */

static int check_ca(const char *file, struct err *err) {
    X509_STORE *store = X509_STORE_new();
    if (!store)
        return err_set(err, -ENOMEM, "out of memory");
    int loaded = X509_STORE_load_file(store, file);
    X509_STORE_free(store);
    ERR_clear_error();
    if (loaded != 1)
        return err_set(err, -EINVAL, "CA bundle '%s' cannot be read or holds no certificate in PEM form", file);
    return 0;
}

static void http_free(struct http *http) {
    if (http->share)
        curl_share_cleanup(http->share);
    mem_free(http->scratch);
    mem_free(http->ca_bundle);
    mem_free(http);
    curl_global_cleanup();
}

static bool set_up_conn(void *arg, CURL *easy) {
    struct http *http = arg;
    const char *ca = http->ca_bundle;
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* a cancelled name look-up must not block the loop */
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1); /* what TLS is asked for */
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)http_ms_of(http->options.connect_timeout_us));
    curl_easy_setopt(easy, CURLOPT_SHARE, http->share);
    return curl_easy_setopt(easy, CURLOPT_NOPROXY, "*") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           (!ca || curl_easy_setopt(easy, CURLOPT_CAINFO, ca) == CURLE_OK);
}

int http_new(uv_loop_t *loop, const struct http_options *options, struct http **ret_http, struct err *err) {
    if (options->ca_bundle) {
        int r = check_ca(options->ca_bundle, err);
        if (r < 0)
            return r;
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_set(err, -ENOMEM, "libcurl cannot be initialised");
    struct http *http = mem_zalloc(sizeof *http);
    if (!http) {
        curl_global_cleanup();
        return err_set(err, -ENOMEM, "out of memory");
    }
    struct list *lists[] = {&http->idle, &http->spare, &http->waiting, &http->running,
                            &http->held, &http->ended, &http->todo};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        list_init(lists[i]);
    http->options = *options;
    if (http->options.max_connections == 0)
        http->options.max_connections = DEFAULT_CONNECTIONS;
    if (http->options.connect_timeout_us <= 0)
        http->options.connect_timeout_us = DEFAULT_CONNECT_US;
    if (http->options.stall_timeout_us <= 0)
        http->options.stall_timeout_us = DEFAULT_STALL_US;
    if (!http->options.clock)
        http->options.clock = &clock_system;
    http->ca_bundle = options->ca_bundle ? mem_strdup(options->ca_bundle) : NULL;
    http->options.ca_bundle = http->ca_bundle;
    http->share = curl_share_init();
    http->scratch = mem_alloc(HTTP_PIECE_BYTES);
    http->conns =
        (struct http_conns){.set_up = set_up_conn, .made = on_made, .ready = on_ready, .after = after, .arg = http};
    if (!http->share || !http->scratch || (options->ca_bundle && !http->ca_bundle) ||
        http_conns_init(&http->conns, loop) < 0) {
        http_free(http);
        return err_set(err, -ENOMEM, "out of memory");
    }
    curl_share_setopt(http->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    uv_timer_init(loop, &http->scan);
    uv_unref((uv_handle_t *)&http->scan);
    http->scan.data = http;
    *ret_http = http;
    return 0;
}

static void on_loop_closed(void *arg) {
    struct http *http = arg;
    void (*closed)(void *arg) = http->closed;
    void *closed_arg = http->closed_arg;
    http_free(http);
    closed(closed_arg);
}

static void on_scan_closed(uv_handle_t *handle) {
    struct http *http = handle->data;
    while (!list_empty(&http->spare))
        request_free(LIST_ENTRY(http->spare.next, struct http_request, link));
    while (!list_empty(&http->idle))
        http_conn_close(LIST_ENTRY(http->idle.next, struct http_conn, link));
    http_conns_close(&http->conns, on_loop_closed, http);
}

static void finish_close(struct http *http) {
    if (!uv_is_closing((uv_handle_t *)&http->scan))
        uv_close((uv_handle_t *)&http->scan, on_scan_closed);
}

static void cancel_all(struct list *list) {
    LIST_EACH (link, list)
        http_cancel(LIST_ENTRY(link, struct http_request, link));
}

void http_close(struct http *http, void (*closed)(void *arg), void *arg) {
    http->closing = true;
    http->closed = closed;
    http->closed_arg = arg;
    cancel_all(&http->waiting);
    cancel_all(&http->running);
    cancel_all(&http->held);
    cancel_all(&http->ended);
    http_loop_wake(&http->conns.loop);
}
