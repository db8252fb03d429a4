/* http_request.c - one request's easy handle: what is set once, what is set each time, and what curl calls back. */
#include "http_private.h"
#include "mem.h"

#include <errno.h>
#include <stdio.h>

#define BUFFER_BYTES (128L * 1024) /* one a running request; only as much of it is touched as comes at once */
#define TURN_BYTES (128 * 1024)    /* so much of a body comes at a stretch while there are others */

/* ---- what curl calls ---- */

static size_t on_header(char *line, size_t size, size_t n, void *arg) {
    struct http_request *request = arg;
    n *= size;
    if (request->cancelled)
        return 0;
    request->active_ms = http_run_ms(request->http);
    int r = http_head_add(&request->head, bytes_of(line, n));
    if (r < 0) {
        request->refused = true;
        request->end = r == -ENOMEM ? HTTP_NO_MEMORY : HTTP_BAD_ANSWER;
        request->reason = r == -E2BIG     ? "the answer's headers are too long"
                          : r == -EBADMSG ? "the answer's headers are broken"
                                          : "out of memory";
        return 0;
    }
    if (r > 0)
        request->handler.head(request->arg, request->head.status, request->head.fields, request->head.n);
    return n;
}

/* After this piece. curl reads on for as long as there is more of a body to be read: of one that comes fast, many MiB
 * before it looks at the next, while whoever works on that one is far behind and all others have nothing to do. */
static bool has_had_turn(struct http_request *request, size_t n) {
    request->turn_bytes += n;
    return request->turn_bytes >= TURN_BYTES && request->http->n_running > 1 && !request->resting;
}

/* Else curl would read more before it finds out by the next piece, and keep it. Asked to pause only one direction, it
 * would look for the other once more, and read then. */
static void stop_reading(struct http_request *request) {
    curl_easy_pause(request->easy, CURLPAUSE_ALL);
}

static size_t on_data(char *data, size_t size, size_t n, void *arg) {
    struct http_request *request = arg;
    n *= size;
    if (n == 0 || request->cancelled)
        return 0;
    if (request->paused)
        return CURL_WRITEFUNC_PAUSE; /* not consumed: curl keeps this piece and brings it again */
    request->active_ms = http_run_ms(request->http);
    request->in_data = true;
    bool more = request->handler.data(request->arg, bytes_of(data, n));
    request->in_data = false;
    request->paused = !more && !request->resume_early;
    request->resume_early = false;
    if (!request->paused && has_had_turn(request, n)) {
        request->turn_bytes = 0;
        request->resting = true;
        http_rest(request);
    }
    if (request->paused || request->resting)
        stop_reading(request);
    return n;
}

static size_t on_read(char *to, size_t size, size_t n, void *arg) {
    struct http_request *request = arg;
    uint64_t left = request->read_n - request->read_at;
    n *= size;
    if (n > left)
        n = (size_t)left;
    if (request->cancelled)
        return CURL_READFUNC_ABORT;
    if (n == 0)
        return 0;
    if (request->read(request->read_arg, request->read_at, to, n) != (int64_t)n) {
        request->refused = true;
        request->end = HTTP_UNREADABLE;
        request->reason = "the body cannot be read";
        return CURL_READFUNC_ABORT;
    }
    request->read_at += n;
    return n;
}

static int on_seek(void *arg, curl_off_t offset, int origin) {
    struct http_request *request = arg;
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > request->read_n)
        return CURL_SEEKFUNC_CANTSEEK;
    request->read_at = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* ---- set once ---- */

void http_request_free(struct http_request *request) {
    if (!request)
        return;
    list_remove(&request->link);
    if (request->easy)
        curl_easy_cleanup(request->easy);
    http_head_free(&request->head);
    buf_free(&request->base);
    buf_wipe(&request->lines);
    mem_free(request->nodes);
    mem_free(request);
}

static bool set_up(struct http_request *request) {
    struct http *http = request->http;
    CURL *easy = request->easy;
    const char *ca = http->ca_bundle;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(easy, CURLOPT_READDATA, request);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, request);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* a cancelled name look-up must not block the loop */
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, BUFFER_BYTES);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)http_ms_of(http->options.connect_timeout_us));
    curl_easy_setopt(easy, CURLOPT_SHARE, http->share);
    http_loop_use(&http->loop, easy);
    return curl_easy_setopt(easy, CURLOPT_NOPROXY, "*") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           (!ca || curl_easy_setopt(easy, CURLOPT_CAINFO, ca) == CURLE_OK);
}

struct http_request *http_request_new(struct http *http) {
    struct http_request *request = mem_zalloc(sizeof *request);
    if (!request)
        return NULL;
    list_init(&request->link);
    list_init(&request->todo);
    request->http = http;
    request->easy = curl_easy_init();
    if (!request->easy || !set_up(request)) {
        http_request_free(request);
        return NULL;
    }
    return request;
}

/* ---- set each time ---- */

static bool set_method(struct http_request *request, const struct http_send *send) {
    CURL *easy = request->easy;
    enum http_kind kind = send->has_body                      ? HTTP_KIND_BODY
                          : strcmp(send->method, "HEAD") == 0 ? HTTP_KIND_HEAD
                                                              : HTTP_KIND_GET;
    if (kind != request->kind || kind == HTTP_KIND_BODY) {
        request->kind = kind;
        if (kind == HTTP_KIND_GET)
            curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
        else if (kind == HTTP_KIND_HEAD)
            curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        else
            curl_easy_setopt(easy, CURLOPT_POST, 1L);
    }
    if (kind == HTTP_KIND_BODY) {
        curl_off_t n = send->read ? (curl_off_t)send->read_n : (curl_off_t)send->body.n;
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, n);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, send->read ? NULL : send->body.n ? send->body.p : "");
    }
    const char *own =
        kind == HTTP_KIND_HEAD || (kind == HTTP_KIND_GET && strcmp(send->method, "GET") == 0) ? "" : send->method;
    if (strcmp(own, request->method) == 0)
        return true;
    request->method[0] = '\0';
    if (curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, own[0] ? own : NULL) != CURLE_OK)
        return false;
    snprintf(request->method, sizeof request->method, "%s", own);
    return true;
}

static bool is_line(struct bytes text) {
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] == '\0' || text.p[i] == '\r' || text.p[i] == '\n')
            return false;
    return true;
}

/* curl's spelling: "Name: value", "Name;" for an empty value, "Name:" to leave out one of its own. */
static void add_line(struct http_request *request, size_t *at, struct bytes name, const char *separator,
                     struct bytes value) {
    struct buf *lines = &request->lines; /* reserved: no append can fail or move it */
    struct curl_slist *node = &request->nodes[*at];
    node->data = lines->p + lines->n;
    buf_add_bytes(lines, name);
    buf_add_str(lines, separator);
    buf_add_bytes(lines, value);
    buf_add_byte(lines, '\0');
    if (*at)
        request->nodes[*at - 1].next = node;
    node->next = NULL;
    (*at)++;
}

static int set_fields(struct http_request *request, const struct http_send *send) {
    static const struct bytes accept = {"Accept", 6}, expect = {"Expect", 6}, type = {"Content-Type", 12};
    size_t total = 3 * 16, count = send->n_fields + 3;
    bool typed = false;
    for (size_t i = 0; i < send->n_fields; i++) {
        const struct http_field *field = &send->fields[i];
        if (!is_line(field->name) || !is_line(field->value))
            return -EINVAL;
        total += field->name.n + field->value.n + 3;
        typed = typed || bytes_equal_nocase(field->name, type);
    }
    if (count > request->nodes_cap) {
        struct curl_slist *nodes = mem_reallocarray(request->nodes, count, sizeof *nodes);
        if (!nodes)
            return -ENOMEM;
        request->nodes = nodes;
        request->nodes_cap = count;
    }
    buf_reset(&request->lines);
    int r = buf_reserve(&request->lines, total);
    if (r < 0)
        return r;
    size_t at = 0;
    for (size_t i = 0; i < send->n_fields; i++)
        add_line(request, &at, send->fields[i].name, send->fields[i].value.n ? ": " : ";", send->fields[i].value);
    add_line(request, &at, accept, ":", BYTES_NONE);
    if (send->has_body) {
        add_line(request, &at, expect, ":", BYTES_NONE);
        if (!typed)
            add_line(request, &at, type, ":", BYTES_NONE);
    }
    return curl_easy_setopt(request->easy, CURLOPT_HTTPHEADER, request->nodes) == CURLE_OK ? 0 : -ENOMEM;
}

/* The length of "https://host:port", when a path follows that can be sent as it stands; else that of the whole. */
static size_t base_length(const char *url) {
    const char *authority = strstr(url, "://");
    const char *path = authority ? authority + 3 + strcspn(authority + 3, "/?#") : url;
    bool plain = *path == '/';
    for (const char *c = path; *c; c++)
        plain = plain && *c > ' ' && *c < 0x7f && *c != '#';
    return plain ? (size_t)(path - url) : strlen(url);
}

/* curl takes a URL apart and puts it together again for each request, at a cost for each byte. So it is told the server
 * alone, and that only when it is another than before; the rest is the request's target. */
static bool set_url(struct http_request *request, const char *url) {
    struct bytes base = bytes_of(url, base_length(url));
    const char *target = url[base.n] ? url + base.n : NULL;
    if (curl_easy_setopt(request->easy, CURLOPT_REQUEST_TARGET, target) != CURLE_OK)
        return false;
    if (bytes_equal(base, buf_bytes(&request->base)))
        return true;
    buf_reset(&request->base);
    return buf_add_bytes(&request->base, base) == 0 &&
           curl_easy_setopt(request->easy, CURLOPT_URL, request->base.p) == CURLE_OK;
}

int http_request_prepare(struct http_request *request, const struct http_send *send) {
    if (strlen(send->method) > HTTP_METHOD_MAX || (send->read && send->read_n > INT64_MAX))
        return -EINVAL;
    request->read = send->read;
    request->read_arg = send->read_arg;
    request->read_n = send->read_n;
    request->read_at = 0;
    if (!set_url(request, send->url) || !set_method(request, send))
        return -ENOMEM;
    return set_fields(request, send);
}
