/* http.c - requests on curl's multi interface: a pool of easy handles, pausing, cancelling, stall and deadline limits.
 *
 * What is the same for all requests is set once on each easy handle, and the handles are used again: setting one up
 * costs more than the request. A request lives in exactly one of the lists below until `done` was called. */
#include "http.h"

#include "http_private.h"
#include "mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <sys/socket.h>

#define DEFAULT_CONNECTIONS 256
#define DEFAULT_CONNECT_US (5 * US_PER_S)
#define DEFAULT_STALL_US (30 * US_PER_S)
#define KEEP_LINES 8192 /* bytes of header lines that an idle handle keeps */
#define LATE_MS 100     /* a scan that is late by more says that the loop was busy, not that a server was slow */

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
    uint64_t now = http_now_ms(http);
    http->scan_at_ms = at_ms;
    uv_timer_start(&http->scan, on_scan, at_ms > now ? at_ms - now : 0, 0);
}

static void end_request(struct http_request *request, enum http_end end, bool may_hold);

static void scan_list(struct http *http, struct list *list, uint64_t now, uint64_t *next) {
    LIST_EACH_SAFE (link, following, list) {
        struct http_request *request = LIST_ENTRY(link, struct http_request, link);
        uint64_t due = due_ms(request);
        bool by_deadline = request->deadline_ms && request->deadline_ms <= now;
        if (due <= now && !by_deadline) {
            curl_off_t uploaded = 0;
            curl_easy_getinfo(request->easy, CURLINFO_SIZE_UPLOAD_T, &uploaded);
            if (uploaded != request->uploaded) {
                request->uploaded = uploaded;
                request->active_ms = now;
                due = due_ms(request);
            }
        }
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
    uint64_t now = http_now_ms(http), planned = http->scan_at_ms, next = UINT64_MAX;
    http->scan_at_ms = 0;
    if (now > planned + LATE_MS && !http->scan_was_late) {
        http->scan_was_late = true; /* bytes may wait in the sockets: look at those first */
        scan_at(http, now + 1);
        return;
    }
    http->scan_was_late = false;
    scan_list(http, &http->running, now, &next);
    scan_list(http, &http->waiting, now, &next);
    scan_at(http, next);
    after(http);
}

static enum http_end end_of(const struct http_request *request, CURLcode code) {
    bool answered = request->head.whole;
    switch (code) {
    case CURLE_OK:
        return answered ? HTTP_DONE : HTTP_NO_ANSWER;
    case CURLE_OUT_OF_MEMORY:
        return HTTP_NO_MEMORY;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9 */
    case CURLE_BAD_CONTENT_ENCODING:
        return HTTP_BAD_ANSWER;
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
        return answered ? HTTP_TRUNCATED : HTTP_NO_ANSWER;
    default:
        return answered ? HTTP_TRUNCATED : HTTP_UNREACHABLE;
    }
}

/* ---- the life of a request ---- */

static void todo_add(struct http_request *request) {
    list_move_back(&request->http->todo, &request->todo);
    http_loop_wake(&request->http->loop);
}

/* From wherever it is to `ended`, or to `held`. */
static void end_request(struct http_request *request, enum http_end end, bool may_hold) {
    struct http *http = request->http;
    if (request->place == HTTP_PLACE_RUNNING) {
        curl_multi_remove_handle(http->loop.multi, request->easy);
        http->n_running--;
    }
    list_remove(&request->todo);
    request->end = request->cancelled ? HTTP_CANCELLED : end;
    bool hold = may_hold && request->paused && !request->cancelled;
    request->place = hold ? HTTP_PLACE_HELD : HTTP_PLACE_ENDED;
    list_move_back(hold ? &http->held : &http->ended, &request->link);
}

static struct http_request *request_of(CURL *easy) {
    char *request = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &request);
    return (struct http_request *)(void *)request;
}

static void take_messages(struct http *http) {
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(http->loop.multi, &left))) {
        struct http_request *request = request_of(message->easy_handle);
        CURLcode code = message->data.result;
        if (message->msg != CURLMSG_DONE || !request)
            continue;
        if (code != CURLE_OK && request->error[0] == '\0')
            snprintf(request->error, sizeof request->error, "%s", curl_easy_strerror(code));
        end_request(request, request->refused ? request->end : end_of(request, code), true);
    }
}

static void resume(struct http_request *request) {
    struct http *http = request->http;
    list_remove(&request->todo);
    request->resting = false;
    if (request->paused && !request->resumed)
        return;
    request->paused = request->resumed = false;
    if (request->place == HTTP_PLACE_HELD)
        end_request(request, request->end, false);
    if (request->place != HTTP_PLACE_RUNNING)
        return;
    request->active_ms = http_now_ms(http);
    scan_at(http, due_ms(request));
    http->loop.runs++;
    http->loop.in_curl = true; /* it hands out what it kept */
    CURLcode code = curl_easy_pause(request->easy, CURLPAUSE_CONT);
    http->loop.in_curl = false;
    if (code != CURLE_OK)
        end_request(request, request->refused ? request->end : end_of(request, code), true);
}

static void do_todo(struct http *http) {
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
        request->active_ms = http_now_ms(http);
        if (curl_multi_add_handle(http->loop.multi, request->easy) != CURLM_OK) {
            request->reason = "out of memory";
            end_request(request, HTTP_NO_MEMORY, false);
            http_loop_wake(&http->loop);
            continue;
        }
        request->place = HTTP_PLACE_RUNNING;
        list_move_back(&http->running, &request->link);
        http->n_running++;
        scan_at(http, due_ms(request));
    }
}

static void recycle(struct http_request *request) {
    struct http *http = request->http;
    http->n_live--;
    if (http->n_live == 0)
        uv_unref((uv_handle_t *)&http->scan);
    if (http->closing || http->n_idle >= http->options.max_connections) {
        http_request_free(request);
        return;
    }
    http_head_reset(&request->head);
    if (request->lines.cap > KEEP_LINES)
        buf_wipe(&request->lines);
    request->place = HTTP_PLACE_IDLE;
    list_remove(&request->link);
    list_push_front(&http->idle, &request->link); /* warm ones first */
    http->n_idle++;
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

/* Runs outside curl, from the loop. One round only: what the callbacks add is for the next, so that nobody starves. */
static void after(void *arg) {
    struct http *http = arg;
    take_messages(http);
    do_todo(http);
    pump(http);
    struct list batch;
    list_init(&batch);
    list_splice_back(&batch, &http->ended);
    while (!list_empty(&batch))
        tell(LIST_ENTRY(batch.next, struct http_request, link));
    if (!list_empty(&http->ended) || !list_empty(&http->todo))
        http_loop_wake(&http->loop);
    if (http->closing && http->n_live == 0)
        finish_close(http);
}

/* ---- starting ---- */

int http_start(struct http *http, const struct http_send *send, const struct http_handler *handler, void *arg,
               struct http_request **ret_request) {
    if (http->closing)
        return -ECANCELED;
    struct http_request *request;
    struct list *link = list_pop_front(&http->idle);
    if (link) {
        http->n_idle--;
        request = LIST_ENTRY(link, struct http_request, link);
    } else {
        request = http_request_new(http);
        if (!request)
            return -ENOMEM;
    }
    int r = http_request_prepare(request, send);
    if (r < 0) {
        http_request_free(request);
        return r;
    }
    request->handler = *handler;
    request->arg = arg;
    request->uploaded = 0;
    request->reason = NULL;
    request->error[0] = '\0';
    request->cancelled = request->paused = request->in_data = request->resume_early = request->refused = false;
    request->resumed = request->resting = false;
    request->turn_bytes = 0;
    request->deadline_ms = send->deadline_us > 0 ? http_now_ms(http) + http_ms_of(send->deadline_us) : 0;
    request->place = HTTP_PLACE_WAITING;
    list_push_back(&http->waiting, &request->link);
    http->n_live++;
    if (http->n_live == 1)
        uv_ref((uv_handle_t *)&http->scan);
    scan_at(http, due_ms(request));
    if (http->loop.in_curl)
        http_loop_wake(&http->loop);
    else
        pump(http);
    if (ret_request)
        *ret_request = request;
    return 0;
}

void http_rest(struct http_request *request) {
    todo_add(request);
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
    mem_free(http->ca_bundle);
    mem_free(http);
    curl_global_cleanup();
}

static bool is_paused(CURL *easy) {
    struct http_request *request = request_of(easy);
    return request && (request->paused || request->resting);
}

static long local_port(curl_socket_t fd) {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {0};
    socklen_t n = sizeof address;
    if (getsockname(fd, &address.any, &n) < 0)
        return 0;
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
}

/* curl does not tell the socket of a request that runs, but the port, which is enough: to take a socket for used that
 * is not does no harm as long as that request is paused. */
static bool is_used(void *arg, curl_socket_t fd) {
    struct http *http = arg;
    long port = local_port(fd);
    LIST_EACH (link, &http->running) {
        struct http_request *request = LIST_ENTRY(link, struct http_request, link);
        long used = -1;
        if ((request->paused || request->resting) &&
            curl_easy_getinfo(request->easy, CURLINFO_LOCAL_PORT, &used) == CURLE_OK && used == port)
            return true;
    }
    return false;
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
    struct list *lists[] = {&http->idle, &http->waiting, &http->running, &http->held, &http->ended, &http->todo};
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
    if (!http->share || (options->ca_bundle && !http->ca_bundle) ||
        http_loop_init(&http->loop, loop, is_paused, is_used, after, http) < 0) {
        http_free(http);
        return err_set(err, -ENOMEM, "out of memory");
    }
    curl_share_setopt(http->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    /* As many connections as requests: a warm one is never thrown out for another request of the same server. */
    long connections = (long)http->options.max_connections;
    curl_multi_setopt(http->loop.multi, CURLMOPT_MAXCONNECTS, connections);
    curl_multi_setopt(http->loop.multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, connections);
    curl_multi_setopt(http->loop.multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
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
    while (!list_empty(&http->idle))
        http_request_free(LIST_ENTRY(http->idle.next, struct http_request, link));
    http_loop_close(&http->loop, on_loop_closed, http);
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
    http_loop_wake(&http->loop);
}
