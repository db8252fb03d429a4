/* script_server.c - see script_server.h. */
#include "script_server.h"

#include "mem.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct connection {
    struct list link;
    struct script_server *server;
    uv_tcp_t tcp;
    uv_timer_t timer;
    struct buf in;
    struct script_answer answer;
    size_t sent;
    bool answering, closing;
    int handles;
};

struct write {
    uv_write_t request;
    struct connection *connection;
};

static void on_closed(uv_handle_t *handle) {
    struct connection *c = handle->data;
    if (--c->handles)
        return;
    c->server->n_open--;
    buf_free(&c->in);
    free(c);
}

static void drop(struct connection *c, bool reset) {
    if (c->closing)
        return;
    c->closing = true;
    list_remove(&c->link);
    if (!reset || uv_tcp_close_reset(&c->tcp, on_closed) != 0)
        uv_close((uv_handle_t *)&c->tcp, on_closed);
    uv_close((uv_handle_t *)&c->timer, on_closed);
}

static void parse(struct connection *c);

static void answered(struct connection *c) {
    switch (c->answer.then) {
    case SCRIPT_KEEP:
        c->answering = false;
        parse(c);
        break;
    case SCRIPT_CLOSE:
        drop(c, false);
        break;
    case SCRIPT_RESET:
        drop(c, true);
        break;
    case SCRIPT_HANG:
        break;
    }
}

static void send_piece(uv_timer_t *timer);

static void on_written(uv_write_t *request, int status) {
    struct write *w = (struct write *)(void *)request;
    struct connection *c = w->connection;
    free(w);
    if (c->closing)
        return;
    if (status < 0) {
        drop(c, false);
        return;
    }
    if (c->sent < c->answer.n)
        uv_timer_start(&c->timer, send_piece, c->answer.piece_ms, 0);
    else
        answered(c);
}

static void send_piece(uv_timer_t *timer) {
    struct connection *c = timer->data;
    size_t n = c->answer.n - c->sent;
    if (n == 0) {
        answered(c);
        return;
    }
    if (c->answer.piece && n > c->answer.piece)
        n = c->answer.piece;
    struct write *w = calloc(1, sizeof *w);
    assert(w);
    w->connection = c;
    uv_buf_t buf = {.base = (char *)(uintptr_t)(c->answer.text + c->sent), .len = n};
    c->sent += n;
    int r = uv_write(&w->request, (uv_stream_t *)&c->tcp, &buf, 1, on_written);
    if (r < 0) {
        free(w);
        drop(c, false);
    }
}

static size_t content_length(const char *head) {
    const char *at = strcasestr(head, "\r\nContent-Length:");
    return at ? strtoul(at + 17, NULL, 10) : 0;
}

static void parse(struct connection *c) {
    struct script_server *server = c->server;
    if (c->answering || c->closing || c->in.n == 0)
        return;
    char *end = memmem(c->in.p, c->in.n, "\r\n\r\n", 4);
    if (!end)
        return;
    size_t whole = (size_t)(end - c->in.p) + 4;
    bool early = server->next_answer < server->n_answers && server->answers[server->next_answer].early;
    size_t with_body = whole + (early ? 0 : content_length(c->in.p));
    if (c->in.n < with_body)
        return;
    assert(server->n_requests < SCRIPT_REQUESTS_MAX);
    buf_add(&server->requests[server->n_requests++], c->in.p, with_body);
    buf_consume(&c->in, with_body);
    c->answer = server->fallback;
    if (server->next_answer < server->n_answers)
        c->answer = server->answers[server->next_answer++];
    else if (!server->fallback.text)
        c->answer.then = SCRIPT_HANG;
    if (c->answer.text && c->answer.n == 0)
        c->answer.n = strlen(c->answer.text);
    c->sent = 0;
    c->answering = true;
    if (c->answer.wait_ms)
        uv_timer_start(&c->timer, send_piece, c->answer.wait_ms, 0);
    else
        send_piece(&c->timer);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf) {
    *buf = uv_buf_init(malloc(65536), 65536);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    struct connection *c = stream->data;
    if (n > 0 && !c->closing) {
        buf_add(&c->in, buf->base, (size_t)n);
        parse(c);
    }
    free(buf->base);
    if (n < 0)
        drop(c, false);
}

static void on_connection(uv_stream_t *stream, int status) {
    struct script_server *server = stream->data;
    struct connection *c = calloc(1, sizeof *c);
    assert(c && status == 0);
    c->server = server;
    c->handles = 2;
    uv_tcp_init(server->loop, &c->tcp);
    uv_timer_init(server->loop, &c->timer);
    c->tcp.data = c->timer.data = c;
    server->n_accepted++;
    server->n_open++;
    list_push_back(&server->connections, &c->link);
    if (uv_accept(stream, (uv_stream_t *)&c->tcp) != 0) {
        drop(c, false);
        return;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    if (!server->hold_reading)
        uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

struct script_server *script_server_new(uv_loop_t *loop) {
    struct script_server *server = calloc(1, sizeof *server);
    assert(server);
    server->loop = loop;
    list_init(&server->connections);
    uv_tcp_init(loop, &server->tcp);
    server->tcp.data = server;
    struct sockaddr_in address;
    uv_ip4_addr("127.0.0.1", 0, &address);
    int r = uv_tcp_bind(&server->tcp, (struct sockaddr *)&address, 0);
    if (r == 0)
        r = uv_listen((uv_stream_t *)&server->tcp, 128, on_connection);
    assert(r == 0);
    int size = sizeof address;
    uv_tcp_getsockname(&server->tcp, (struct sockaddr *)&address, &size);
    server->port = ntohs(address.sin_port);
    snprintf(server->url, sizeof server->url, "http://127.0.0.1:%d", server->port);
    return server;
}

void script_add(struct script_server *server, struct script_answer answer) {
    server->answers = realloc(server->answers, (server->n_answers + 1) * sizeof answer);
    assert(server->answers);
    server->answers[server->n_answers++] = answer;
}

void script_add_body(struct script_server *server, int status, const char *fields, const char *body) {
    char *text = NULL;
    int n =
        asprintf(&text, "HTTP/1.1 %d Status\r\n%sContent-Length: %zu\r\n\r\n%s", status, fields, strlen(body), body);
    assert(n > 0 && server->n_owned < 256);
    server->owned[server->n_owned++] = text;
    script_add(server, (struct script_answer){.text = text});
}

const char *script_target(struct script_server *server, size_t request) {
    static char text[8192];
    if (request >= server->n_requests)
        return "";
    const char *head = server->requests[request].p;
    const char *first = strchr(head, ' '), *second = strchr(first + 1, ' ');
    snprintf(text, sizeof text, "%.*s", (int)(second - head), head);
    return text;
}

const char *script_header(struct script_server *server, size_t request, const char *name) {
    static char text[8192];
    if (request >= server->n_requests)
        return NULL;
    char line[256];
    snprintf(line, sizeof line, "\r\n%s:", name);
    const char *at = strstr(server->requests[request].p, line);
    if (!at)
        return NULL;
    at += strlen(line);
    while (*at == ' ')
        at++;
    snprintf(text, sizeof text, "%.*s", (int)strcspn(at, "\r"), at);
    return text;
}

void script_close_connections(struct script_server *server) {
    LIST_EACH_SAFE (link, following, &server->connections)
        drop(LIST_ENTRY(link, struct connection, link), false);
}

static void on_server_closed(uv_handle_t *handle) {
    struct script_server *server = handle->data;
    assert(server->n_open == 0);
    for (size_t i = 0; i < server->n_requests; i++)
        buf_free(&server->requests[i]);
    while (server->n_owned)
        free(server->owned[--server->n_owned]);
    free(server->answers);
    free(server);
}

void script_server_close(struct script_server *server) {
    script_close_connections(server);
    while (server->n_open)
        uv_run(server->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&server->tcp, on_server_closed);
}
