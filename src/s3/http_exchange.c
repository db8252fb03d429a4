/* http_exchange.c - sends a request, and reads its answer as far as its handler wants it. */
#include "http_exchange.h"

#include "http_text.h"
#include "mem.h"

#include <errno.h>
#include <stdio.h>

#define SMALL_BODY (16u * 1024)    /* goes out together with the head */
#define PIECE_BYTES (64u * 1024)   /* of a body that is read */
#define SEND_TURN (256u * 1024)    /* so much goes out at a stretch */
#define KEEP_TEXT (SMALL_BODY / 2) /* bytes that a request to be used again keeps */

static bool over(struct http_request *request, enum http_end end, const char *reason) {
    request->end = end;
    request->reason = reason;
    return true;
}

static bool out_of_memory(struct http_request *request) {
    return over(request, HTTP_NO_MEMORY, "out of memory");
}

/* In the connection's own words. */
static bool broken(struct http_request *request, enum http_end end) {
    snprintf(request->error, sizeof request->error, "%s", request->conn->error);
    return over(request, end, NULL);
}

static bool is_whole(const struct http_request *request) {
    return request->head.whole && request->framing.whole;
}

static bool watch(struct http_request *request) {
    int events = (request->paused || is_whole(request) ? 0 : UV_READABLE) | (request->sent ? 0 : UV_WRITABLE);
    return http_conn_watch(request->conn, events) < 0 && out_of_memory(request);
}

/* ---- out ---- */

/* 1: `next` has something; 0: all is sent. -EIO: it cannot be read; -ENOMEM. */
static int fill(struct http_request *request) {
    if (request->next.n)
        return 1;
    uint64_t left = request->body_n - request->body_at;
    if (left == 0)
        return 0;
    size_t n = (size_t)left;
    if (!request->read) {
        request->next = request->body;
    } else {
        n = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
        if (!request->piece && !(request->piece = mem_alloc(PIECE_BYTES)))
            return -ENOMEM;
        if (request->read(request->read_arg, request->body_at, request->piece, n) != (int64_t)n)
            return -EIO;
        request->next = bytes_of(request->piece, n);
    }
    request->body_at += n;
    return 1;
}

static bool send_some(struct http_request *request) {
    for (size_t turn = 0; turn < SEND_TURN && !request->sent;) {
        int r = fill(request);
        if (r < 0)
            return r == -ENOMEM ? out_of_memory(request) : over(request, HTTP_UNREADABLE, "the body cannot be read");
        request->sent = r == 0;
        if (r == 0)
            break;
        int64_t n = http_conn_send(request->conn, request->next, request->body_at < request->body_n);
        if (n == -EAGAIN)
            break;
        if (n < 0) { /* an answer may be there all the same */
            request->sent = request->send_failed = request->again = true;
            break;
        }
        request->next = bytes_of(request->next.p + n, request->next.n - (size_t)n);
        request->active_ms = request->http->now_ms;
        turn += (size_t)n;
    }
    if (request->sent && is_whole(request)) /* it was answered before it was through */
        return over(request, HTTP_DONE, NULL);
    return false;
}

/* ---- in ---- */

static bool complete(struct http_request *request, struct bytes rest) {
    request->reusable = request->framing.keeps && request->sent && !request->send_failed && rest.n == 0;
    if (!request->sent && request->head.status < 300)
        return false; /* it wants the rest of the body */
    return over(request, HTTP_DONE, NULL);
}

static bool refused(struct http_request *request, int r, bool in_head) {
    return r == -ENOMEM  ? out_of_memory(request)
           : r == -E2BIG ? over(request, HTTP_BAD_ANSWER, "the answer's headers are too long")
           : in_head     ? over(request, HTTP_BAD_ANSWER, "the answer's headers are broken")
                         : over(request, HTTP_BAD_ANSWER, "the answer's chunks are broken");
}

/* What http_head_add says of the next line, 0 as long as it is not whole. */
static int take_line(struct http_request *request, struct bytes *rest) {
    const char *newline = memchr(rest->p, '\n', rest->n);
    size_t n = newline ? (size_t)(newline - rest->p) + 1 : rest->n;
    struct bytes line = bytes_of(rest->p, n);
    *rest = bytes_of(rest->p + n, rest->n - n);
    if (!newline || request->kept.n) {
        int r = buf_add_bytes(&request->kept, line);
        if (r < 0)
            return r;
        if (!newline)
            return request->kept.n > HTTP_HEADERS_MAX ? -E2BIG : 0;
        line = buf_bytes(&request->kept);
    }
    int r = http_head_add(&request->head, line);
    buf_reset(&request->kept);
    return r;
}

static void give(struct http_request *request, struct bytes piece) {
    request->in_data = true;
    bool more = request->handler.data(request->arg, piece);
    request->in_data = false;
    request->paused = !more && !request->resume_early;
    request->resume_early = false;
}

static int keep(struct http_request *request, struct bytes rest) {
    struct buf *kept = &request->kept;
    if (kept->n) {
        request->kept_at = kept->n - rest.n; /* it was taken from there */
        return 0;
    }
    request->kept_at = 0;
    return buf_add_bytes(kept, rest);
}

/* True: over. Else all of `rest` is used up, or kept because the request is paused, or no longer wanted. */
static bool feed(struct http_request *request, struct bytes rest) {
    while (!is_whole(request)) {
        int r;
        if (!request->head.whole) {
            if (rest.n == 0)
                return false;
            r = take_line(request, &rest);
            if (r > 0)
                r = http_body_begin(&request->framing, &request->head, request->bodiless);
            if (r < 0)
                return refused(request, r, true);
            if (request->head.whole)
                request->handler.head(request->arg, request->head.status, request->head.fields, request->head.n);
        } else {
            struct bytes piece;
            r = http_body_take(&request->framing, &rest, &piece);
            if (r < 0)
                return refused(request, r, false);
            if (r > 0)
                give(request, piece);
            else if (!request->framing.whole)
                return false;
        }
        if (request->cancelled)
            return false;
        if (request->paused && !request->framing.whole)
            return keep(request, rest) < 0 && out_of_memory(request);
    }
    return complete(request, rest);
}

/* The connection has ended, in order or (error < 0) not. */
static bool cut(struct http_request *request, int64_t error) {
    if (error == -ENOMEM)
        return out_of_memory(request);
    if (!request->head.whole)
        return error ? broken(request, HTTP_NO_ANSWER)
                     : over(request, HTTP_NO_ANSWER, "the server closed the connection without an answer");
    if (request->framing.framing == HTTP_FRAMING_CLOSE && !error)
        return over(request, HTTP_DONE, NULL);
    return error ? broken(request, HTTP_TRUNCATED)
                 : over(request, HTTP_TRUNCATED, "the server closed the connection inside the answer");
}

static bool receive(struct http_request *request) {
    struct http *http = request->http;
    int64_t n;
    request->again = false;
    for (size_t turn = 0; turn < HTTP_TURN_BYTES; turn += (size_t)n) {
        n = http_conn_recv(request->conn, http->scratch, HTTP_PIECE_BYTES);
        if (n == -EAGAIN)
            return request->send_failed && !request->answered && broken(request, HTTP_NO_ANSWER);
        if (n <= 0)
            return cut(request, n);
        request->answered = true;
        request->active_ms = http->now_ms;
        if (feed(request, bytes_of(http->scratch, (size_t)n)))
            return true;
        bool more = request->conn->tls || n == (int64_t)HTTP_PIECE_BYTES;
        if (request->cancelled || request->paused || !more)
            return false;
    }
    request->again = request->conn->tls;
    return false;
}

/* ---- together ---- */

bool http_exchange_begin(struct http_request *request) {
    request->next = buf_bytes(&request->head_text);
    request->body_at = 0;
    request->sent = request->send_failed = request->answered = request->reusable = request->again = false;
    request->active_ms = request->http->now_ms;
    return send_some(request) || watch(request);
}

bool http_exchange_ready(struct http_request *request, bool readable, bool writable) {
    if (writable && !request->sent && send_some(request))
        return true;
    if ((readable || request->send_failed) && !request->paused && !is_whole(request) && receive(request))
        return true;
    return watch(request);
}

bool http_exchange_resume(struct http_request *request) {
    if (request->kept.n) {
        if (feed(request, bytes_of(request->kept.p + request->kept_at, request->kept.n - request->kept_at)))
            return true;
        if (request->cancelled)
            return false;
        if (!request->paused)
            buf_reset(&request->kept);
    }
    if (!request->paused && !is_whole(request) && (request->again || request->conn->tls) && receive(request))
        return true;
    return watch(request);
}

int http_exchange_prepare(struct http_request *request, const struct http_send *send) {
    struct http_url url;
    int r = http_url_cut(send->url, &url);
    if (r < 0)
        return r;
    bool small = send->has_body && !send->read && send->body.n <= SMALL_BODY;
    buf_reset(&request->base);
    buf_reset(&request->head_text);
    r = buf_add_bytes(&request->base, url.base);
    if (r >= 0)
        r = http_text_head(&request->head_text, &url, send, small ? send->body.n : 0);
    if (r >= 0 && small)
        r = buf_add_bytes(&request->head_text, send->body);
    request->tls = url.tls;
    request->bodiless = strcmp(send->method, "HEAD") == 0;
    request->body = send->body;
    request->read = send->read;
    request->read_arg = send->read_arg;
    request->body_n = !send->has_body || small ? 0 : send->read ? send->read_n : send->body.n;
    return r;
}

void http_exchange_reset(struct http_request *request) {
    http_head_reset(&request->head);
    if (request->head_text.cap > KEEP_TEXT)
        buf_wipe(&request->head_text);
    buf_free(&request->kept);
    mem_free(request->piece);
    request->piece = NULL;
}

void http_exchange_free(struct http_request *request) {
    http_exchange_reset(request);
    http_head_free(&request->head);
    buf_free(&request->base);
    buf_wipe(&request->head_text);
}
