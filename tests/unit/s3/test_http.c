/* test_http.c - what http.h promises, against canned answers on a loopback socket. */
#include "clock.h"
#include "http.h"
#include "http_head.h"
#include "mem.h"
#include "script_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

static struct world {
    uv_loop_t loop;
    struct script_server *server;
    struct http *http;
    bool closed;
} w;

struct probe {
    int heads, pieces, dones, status;
    struct buf fields, body; /* "name=value\n" */
    enum http_end end;
    char text[512];
    struct http_request *request;
    int pause_every; /* pause after each n-th piece */
    bool paused;
    bool resume_at_once; /* inside data */
    bool cancel_in_head, cancel_in_data;
};

static bool busy; /* inside a function of http.h */

static void on_head(void *arg, int status, const struct http_field *fields, size_t n) {
    struct probe *p = arg;
    assert_false(busy);
    p->heads++;
    p->status = status;
    for (size_t i = 0; i < n; i++)
        buf_printf(&p->fields, "%.*s=%.*s\n", (int)fields[i].name.n, fields[i].name.p, (int)fields[i].value.n,
                   fields[i].value.p);
    if (p->cancel_in_head)
        http_cancel(p->request);
}

static bool on_data(void *arg, struct bytes piece) {
    struct probe *p = arg;
    assert_false(busy);
    assert_true(piece.n > 0);
    assert_false(p->paused);
    p->pieces++;
    buf_add_bytes(&p->body, piece);
    if (p->cancel_in_data)
        http_cancel(p->request);
    bool pause = p->pause_every && p->pieces % p->pause_every == 0;
    if (pause && p->resume_at_once)
        http_resume(p->request);
    p->paused = pause && !p->resume_at_once;
    return !pause;
}

static void on_done(void *arg, enum http_end end, const char *text) {
    struct probe *p = arg;
    assert_false(busy);
    p->dones++;
    p->end = end;
    p->request = NULL;
    snprintf(p->text, sizeof p->text, "%s", text);
}

static const struct http_handler handler = {on_head, on_data, on_done};

static int setup_with(struct http_options options) {
    memset(&w, 0, sizeof w);
    uv_loop_init(&w.loop);
    w.server = script_server_new(&w.loop);
    struct err err = {0};
    assert_int_equal(http_new(&w.loop, &options, &w.http, &err), 0);
    return 0;
}

static int setup(void **state) {
    return setup_with((struct http_options){.stall_timeout_us = 150 * US_PER_MS, .connect_timeout_us = US_PER_S});
}

static void on_http_closed(void *arg) {
    w.closed = true;
}

static void close_http(void) {
    busy = true;
    http_close(w.http, on_http_closed, NULL);
    busy = false;
    while (!w.closed)
        uv_run(&w.loop, UV_RUN_ONCE);
}

static int teardown(void **state) {
    if (!w.closed)
        close_http();
    script_server_close(w.server);
    uv_run(&w.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w.loop), 0);
    return 0;
}

static void probe_free(struct probe *p) {
    buf_free(&p->fields);
    buf_free(&p->body);
    *p = (struct probe){0};
}

static int start_send(struct probe *p, struct http_send send, const char *path) {
    char url[2048];
    snprintf(url, sizeof url, "%s%s", w.server->url, path);
    if (!send.url)
        send.url = url;
    if (!send.method)
        send.method = "GET";
    busy = true;
    int r = http_start(w.http, &send, &handler, p, &p->request);
    busy = false;
    return r;
}

static void start(struct probe *p, const char *path) {
    assert_int_equal(start_send(p, (struct http_send){0}, path), 0);
}

static void run_until_done(struct probe *p) {
    while (!p->dones)
        assert_true(uv_run(&w.loop, UV_RUN_ONCE) || p->dones);
}

static void finish(struct probe *p, const char *path) {
    start(p, path);
    run_until_done(p);
}

static void resume(struct probe *p) {
    p->paused = false;
    busy = true;
    http_resume(p->request);
    busy = false;
}

static void run_ms(uint64_t ms) {
    uint64_t end = uv_hrtime() + ms * 1000000;
    while (uv_hrtime() < end) {
        uv_run(&w.loop, UV_RUN_NOWAIT);
        uv_sleep(1);
    }
}

static void sends_what_was_asked_and_nothing_else(void **state) {
    script_add(w.server, (struct script_answer){.text = "HTTP/1.1 200 OK\r\nETag: \"x\"\r\nX-Amz-Thing:  two words \r\n"
                                                        "Empty:\r\nContent-Length: 5\r\n\r\nhello"});
    struct probe p = {0};
    struct http_field fields[] = {{BYTES("x-one"), BYTES("1")}, {BYTES("x-empty"), BYTES_NONE}};
    assert_int_equal(start_send(&p, (struct http_send){.fields = fields, .n_fields = 2}, "/a/../b//c%2F%20?x=&y=%2B"),
                     0);
    assert_int_equal(p.dones, 0);
    run_until_done(&p);
    assert_int_equal(p.end, HTTP_DONE);
    assert_string_equal(p.text, "");
    assert_int_equal(p.heads, 1);
    assert_int_equal(p.status, 200);
    assert_string_equal(p.fields.p, "etag=\"x\"\nx-amz-thing=two words\nempty=\ncontent-length=5\n");
    assert_string_equal(p.body.p, "hello");
    char want[512];
    snprintf(want, sizeof want,
             "GET /a/../b//c%%2F%%20?x=&y=%%2B HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nx-one: 1\r\nx-empty:\r\n\r\n",
             w.server->port);
    assert_string_equal(w.server->requests[0].p, want);
    probe_free(&p);
}

static void methods_and_bodies(void **state) {
    w.server->fallback.text = OK_EMPTY;
    static char body[] = "some bytes";
    static const struct {
        const char *method, *body, *want;
    } cases[] = {
        {"PUT", body, "PUT /k HTTP/1.1\r\nHost: H\r\nContent-Length: 10\r\n\r\nsome bytes"},
        {"GET", NULL, "GET /k HTTP/1.1\r\nHost: H\r\n\r\n"},
        {"PUT", "", "PUT /k HTTP/1.1\r\nHost: H\r\nContent-Length: 0\r\n\r\n"},
        {"DELETE", NULL, "DELETE /k HTTP/1.1\r\nHost: H\r\n\r\n"},
        {"HEAD", NULL, "HEAD /k HTTP/1.1\r\nHost: H\r\n\r\n"},
        {"POST", body, "POST /k HTTP/1.1\r\nHost: H\r\nContent-Length: 10\r\n\r\nsome bytes"},
        {"DELETE", NULL, "DELETE /k HTTP/1.1\r\nHost: H\r\n\r\n"},
        {"GET", NULL, "GET /k HTTP/1.1\r\nHost: H\r\n\r\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct probe p = {0};
        struct http_send send = {
            .method = cases[i].method, .body = bytes_str(cases[i].body), .has_body = cases[i].body != NULL};
        assert_int_equal(start_send(&p, send, "/k"), 0);
        run_until_done(&p);
        assert_int_equal(p.end, HTTP_DONE);
        char host[64];
        snprintf(host, sizeof host, "127.0.0.1:%d", w.server->port);
        struct buf got = {0};
        const char *text = w.server->requests[i].p, *at = strstr(text, host);
        buf_add(&got, text, (size_t)(at - text));
        buf_add_byte(&got, 'H');
        buf_add_str(&got, at + strlen(host));
        assert_string_equal(got.p, cases[i].want);
        buf_free(&got);
        probe_free(&p);
    }
    assert_int_equal(w.server->n_accepted, 1);
}

static void a_large_body_is_sent_whole_without_expect(void **state) {
    w.server->fallback.text = OK_EMPTY;
    size_t n = 5 * 1024 * 1024;
    char *body = malloc(n);
    memset(body, 'z', n);
    struct probe p = {0};
    assert_int_equal(start_send(&p, (struct http_send){.method = "PUT", .body = {body, n}, .has_body = true}, "/k"), 0);
    run_until_done(&p);
    assert_int_equal(p.end, HTTP_DONE);
    assert_null(script_header(w.server, 0, "Expect"));
    assert_true(w.server->requests[0].n > n);
    free(body);
    probe_free(&p);
}

static void answers_are_framed(void **state) {
    static const struct {
        const char *method, *text, *body;
        enum script_then then;
        enum http_end end;
    } cases[] = {
        {"GET",
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: 1\r\n\r\n",
         "hello world", SCRIPT_KEEP, HTTP_DONE},
        {"GET",
         "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n"
         "Content-Length: 2\r\n\r\nok",
         "ok", SCRIPT_KEEP, HTTP_DONE},
        {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", "", SCRIPT_KEEP, HTTP_DONE},
        {"DELETE", "HTTP/1.1 204 No Content\r\n\r\n", "", SCRIPT_KEEP, HTTP_DONE},
        {"GET", "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc", "abc", SCRIPT_KEEP, HTTP_DONE},
        {"GET", "HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 1\r\n\r\nx", "x", SCRIPT_KEEP,
         HTTP_DONE},
        {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", "hello", SCRIPT_CLOSE,
         HTTP_DONE},
        {"GET", "HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", "x", SCRIPT_KEEP, HTTP_DONE},
        {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "hello", SCRIPT_CLOSE, HTTP_TRUNCATED},
        {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "hello", SCRIPT_HANG, HTTP_STALLED},
        {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "hello", SCRIPT_CLOSE,
         HTTP_TRUNCATED},
        {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "hel", SCRIPT_CLOSE, HTTP_TRUNCATED},
        {"GET", NULL, NULL, SCRIPT_CLOSE, HTTP_NO_ANSWER},
        {"GET", NULL, NULL, SCRIPT_RESET, HTTP_NO_ANSWER},
        {"GET", NULL, NULL, SCRIPT_HANG, HTTP_STALLED},
        {"GET", "HTTP/1.1 200 OK\r\nContent-Le", NULL, SCRIPT_CLOSE, HTTP_NO_ANSWER},
        {"GET", "HTTP/1.1 100 Continue\r\n\r\n", NULL, SCRIPT_CLOSE, HTTP_NO_ANSWER},
        {"GET", "hello, I am not HTTP\r\n\r\n", NULL, SCRIPT_CLOSE, HTTP_BAD_ANSWER},
        {"GET", "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n", NULL, SCRIPT_CLOSE, HTTP_BAD_ANSWER},
        {"GET", "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nContent-Length: 0\r\n\r\n", NULL, SCRIPT_KEEP, HTTP_BAD_ANSWER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        script_add(w.server, (struct script_answer){.text = cases[i].text, .then = cases[i].then});
        struct probe p = {0};
        assert_int_equal(start_send(&p, (struct http_send){.method = cases[i].method}, "/k"), 0);
        run_until_done(&p);
        if (p.end != cases[i].end)
            print_error("case %zu: end %d, text '%s'\n", i, (int)p.end, p.text);
        assert_int_equal(p.end, cases[i].end);
        assert_int_equal(p.heads, cases[i].body != NULL);
        if (cases[i].body)
            assert_string_equal(p.body.p ? p.body.p : "", cases[i].body);
        assert_int_equal(p.end == HTTP_DONE, p.text[0] == '\0');
        probe_free(&p);
        script_close_connections(w.server); /* the next case starts on a fresh one */
        run_ms(5);
    }
}

static void a_reset_inside_the_body_is_a_truncation(void **state) {
    script_add(w.server, (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
                                                .then = SCRIPT_HANG});
    struct probe p = {0};
    start(&p, "/k");
    while (!p.pieces)
        uv_run(&w.loop, UV_RUN_ONCE);
    script_close_connections(w.server);
    run_until_done(&p);
    assert_int_equal(p.end, HTTP_TRUNCATED);
    probe_free(&p);
}

static void too_many_header_bytes_are_refused(void **state) {
    struct buf text = {0};
    buf_add_str(&text, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 700; i++)
        buf_printf(&text, "x-filler-%04d: %085d\r\n", i, i);
    buf_add_str(&text, "Content-Length: 0\r\n\r\n");
    script_add(w.server, (struct script_answer){.text = text.p, .n = text.n});
    struct probe p = {0};
    finish(&p, "/k");
    assert_int_equal(p.end, HTTP_BAD_ANSWER);
    assert_non_null(strstr(p.text, "too long"));
    probe_free(&p);
    /* one endless line */
    buf_reset(&text);
    buf_add_str(&text, "HTTP/1.1 200 OK\r\nx: ");
    for (int i = 0; i < 70000; i++)
        buf_add_byte(&text, 'y');
    script_add(w.server, (struct script_answer){.text = text.p, .n = text.n, .then = SCRIPT_HANG});
    finish(&p, "/k");
    assert_true(p.end == HTTP_BAD_ANSWER || p.end == HTTP_STALLED);
    probe_free(&p);
    /* interim answers count as well */
    buf_reset(&text);
    for (int i = 0; i < 4000; i++)
        buf_add_str(&text, "HTTP/1.1 103 Early Hints\r\na: b\r\n\r\n");
    script_add(w.server, (struct script_answer){.text = text.p, .n = text.n, .then = SCRIPT_HANG});
    finish(&p, "/k");
    assert_int_equal(p.end, HTTP_BAD_ANSWER);
    probe_free(&p);
    buf_free(&text);
}

static void nobody_listens(void **state) {
    struct probe p = {0};
    assert_int_equal(start_send(&p, (struct http_send){.url = "http://127.0.0.1:1/x"}, ""), 0);
    run_until_done(&p);
    assert_int_equal(p.end, HTTP_UNREACHABLE);
    assert_true(p.text[0]);
    probe_free(&p);
}

static void tls_to_a_server_without_it_is_unreachable(void **state) {
    w.server->fallback = (struct script_answer){.text = "HTTP/1.1 400 no\r\n\r\n", .then = SCRIPT_CLOSE};
    struct probe p = {0};
    char url[128];
    snprintf(url, sizeof url, "https://127.0.0.1:%d/", w.server->port);
    assert_int_equal(start_send(&p, (struct http_send){.url = url}, ""), 0);
    run_until_done(&p); /* by the connect limit: the server waits for a request that never comes */
    assert_int_equal(p.end, HTTP_UNREACHABLE);
    probe_free(&p);
}

static int setup_quick_connect(void **state) {
    return setup_with((struct http_options){.connect_timeout_us = 100 * US_PER_MS});
}

static void other_protocols_are_refused(void **state) {
    struct probe p = {0};
    assert_int_equal(start_send(&p, (struct http_send){.url = "file:///etc/hostname"}, ""), 0);
    run_until_done(&p);
    assert_true(p.end == HTTP_BAD_ANSWER || p.end == HTTP_UNREACHABLE);
    assert_int_equal(p.pieces, 0);
    probe_free(&p);
}

static void the_environments_proxy_is_ignored(void **state) {
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    script_add(w.server, (struct script_answer){.text = OK_EMPTY});
    struct probe p = {0};
    finish(&p, "/k");
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
    assert_int_equal(p.end, HTTP_DONE);
    probe_free(&p);
}

static void line_breaks_in_fields_are_refused(void **state) {
    static const struct http_field bad[] = {
        {{"a", 1}, {"b\r\nc: d", 7}}, {{"a\nb", 3}, {"c", 1}}, {{"a", 1}, {"\0", 1}}};
    for (size_t i = 0; i < 3; i++) {
        struct probe p = {0};
        assert_int_equal(start_send(&p, (struct http_send){.fields = &bad[i], .n_fields = 1}, "/k"), -EINVAL);
        probe_free(&p);
    }
    assert_int_equal(w.server->n_requests, 0);
}

static void connections_are_reused(void **state) {
    w.server->fallback.text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    for (int i = 0; i < 50; i++) {
        struct probe p = {0};
        finish(&p, "/k");
        assert_int_equal(p.end, HTTP_DONE);
        probe_free(&p);
    }
    assert_int_equal(w.server->n_accepted, 1);
    struct probe many[20] = {0};
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 20; i++)
            start(&many[i], "/k");
        for (int i = 0; i < 20; i++) {
            run_until_done(&many[i]);
            assert_int_equal(many[i].end, HTTP_DONE);
            probe_free(&many[i]);
        }
    }
    assert_true(w.server->n_accepted <= 20);
}

static void a_connection_closed_while_idle_is_replaced(void **state) {
    w.server->fallback.text = OK_EMPTY;
    for (int i = 0; i < 5; i++) {
        struct probe p = {0};
        finish(&p, "/k");
        assert_int_equal(p.end, HTTP_DONE);
        probe_free(&p);
        script_close_connections(w.server);
        run_ms(3);
    }
    assert_int_equal(w.server->n_requests, 5);
}

static void a_reused_connection_that_dies_is_tried_again_at_once(void **state) {
    script_add(w.server, (struct script_answer){.text = OK_EMPTY});
    script_add(w.server, (struct script_answer){.then = SCRIPT_CLOSE});
    script_add(w.server, (struct script_answer){.text = OK_EMPTY});
    script_add(w.server, (struct script_answer){.then = SCRIPT_RESET});
    script_add(w.server, (struct script_answer){.text = OK_EMPTY});
    for (int i = 0; i < 3; i++) {
        struct probe p = {0};
        struct http_send send = {.method = "PUT", .body = BYTES("again"), .has_body = true};
        assert_int_equal(start_send(&p, send, "/k"), 0);
        run_until_done(&p);
        assert_int_equal(p.end, HTTP_DONE);
        probe_free(&p);
    }
    assert_int_equal(w.server->n_requests, 5);
    for (size_t i = 0; i < 5; i++)
        assert_non_null(strstr(w.server->requests[i].p, "\r\n\r\nagain"));
}

static void what_nobody_asked_for_is_no_answer(void **state) {
    script_add(w.server, (struct script_answer){.text = OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray",
                                                .piece = sizeof OK_EMPTY - 1,
                                                .piece_ms = 20});
    script_add(w.server, (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright"});
    struct probe p = {0};
    finish(&p, "/k");
    assert_int_equal(p.end, HTTP_DONE);
    probe_free(&p);
    run_ms(40);
    finish(&p, "/k");
    assert_int_equal(p.end, HTTP_DONE);
    assert_string_equal(p.body.p, "right");
    probe_free(&p);
}

/* Answers on the connection of a request as fast as another processor can: curl then reads the beginning of the answer
 * before it has asked for the socket. */
struct quick_server {
    int listener, port;
    size_t body_n;
    pthread_t thread;
};

static void *quick_serve(void *arg) {
    struct quick_server *server = arg;
    int fd = accept(server->listener, NULL, NULL);
    char request[4096], head[128];
    char *body = calloc(1, server->body_n);
    ssize_t n = body && fd >= 0 ? 1 : 0;
    while (n != 0) {
        n = recv(fd, request, sizeof request, MSG_DONTWAIT); /* asleep it would be too late */
        if (n <= 0)
            continue;
        int head_n = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", server->body_n);
        n = send(fd, head, (size_t)head_n, MSG_NOSIGNAL | MSG_MORE);
        for (size_t at = 0; at < server->body_n && n > 0; at += n > 0 ? (size_t)n : 0)
            n = send(fd, body + at, server->body_n - at, MSG_NOSIGNAL);
    }
    free(body);
    if (fd >= 0)
        close(fd);
    return NULL;
}

static void a_reused_connection_may_be_paused_at_once(void **state) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof address;
    struct quick_server server = {.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .body_n = 300000};
    assert_int_equal(bind(server.listener, (struct sockaddr *)&address, n), 0);
    assert_int_equal(listen(server.listener, 4), 0);
    assert_int_equal(getsockname(server.listener, (struct sockaddr *)&address, &n), 0);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/k", ntohs(address.sin_port));
    assert_int_equal(pthread_create(&server.thread, NULL, quick_serve, &server), 0);
    for (int i = 0; i < 200; i++) {
        struct probe p = {.pause_every = 1};
        assert_int_equal(start_send(&p, (struct http_send){.url = url}, ""), 0);
        while (!p.pieces)
            uv_run(&w.loop, UV_RUN_ONCE);
        run_ms(2); /* more has come meanwhile */
        p.pause_every = 0;
        resume(&p);
        run_until_done(&p);
        assert_int_equal(p.end, HTTP_DONE);
        assert_int_equal(p.body.n, server.body_n);
        probe_free(&p);
    }
    close_http();
    pthread_join(server.thread, NULL);
    close(server.listener);
}

static void hosts_take_turns_on_few_connections(void **state) {
    w.server->fallback.text = OK_EMPTY;
    char url[64];
    snprintf(url, sizeof url, "http://localhost:%d/k", w.server->port);
    struct probe many[30] = {0};
    for (int i = 0; i < 30; i++)
        assert_int_equal(start_send(&many[i], (struct http_send){.url = i % 3 ? NULL : url}, "/k"), 0);
    for (int i = 0; i < 30; i++) {
        run_until_done(&many[i]);
        assert_int_equal(many[i].end, HTTP_DONE);
        probe_free(&many[i]);
    }
}

static void no_more_connections_than_allowed(void **state) {
    w.server->fallback = (struct script_answer){.text = OK_EMPTY, .wait_ms = 5};
    struct probe many[12] = {0};
    size_t most = 0;
    for (int i = 0; i < 12; i++)
        start(&many[i], "/k");
    for (int i = 0; i < 12; i++)
        while (!many[i].dones) {
            uv_run(&w.loop, UV_RUN_ONCE);
            most = w.server->n_open > most ? w.server->n_open : most;
        }
    for (int i = 0; i < 12; i++) {
        assert_int_equal(many[i].end, HTTP_DONE);
        probe_free(&many[i]);
    }
    assert_true(most <= 2);
    assert_true(w.server->n_accepted <= 2);
}

static int setup_two(void **state) {
    return setup_with((struct http_options){.max_connections = 2, .stall_timeout_us = 150 * US_PER_MS});
}

static void the_deadline_counts_waiting_too(void **state) {
    struct probe p[3] = {0};
    for (int i = 0; i < 3; i++)
        assert_int_equal(start_send(&p[i], (struct http_send){.deadline_us = i == 2 ? 30 * US_PER_MS : 0}, "/k"), 0);
    run_until_done(&p[2]);
    assert_int_equal(p[0].dones, 0);
    assert_int_equal(p[2].end, HTTP_STALLED);
    assert_non_null(strstr(p[2].text, "deadline"));
    for (int i = 0; i < 3; i++) {
        run_until_done(&p[i]);
        probe_free(&p[i]);
    }
}

static void slow_is_not_stalled(void **state) {
    script_add(w.server, (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
                                                .piece = 8,
                                                .piece_ms = 40});
    struct probe p = {0};
    finish(&p, "/k");
    assert_int_equal(p.end, HTTP_DONE);
    assert_string_equal(p.body.p, "0123456789");
    probe_free(&p);
}

static void the_deadline_ends_a_moving_answer(void **state) {
    script_add(w.server, (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
                                                .piece = 1,
                                                .piece_ms = 20});
    struct probe p = {0};
    assert_int_equal(start_send(&p, (struct http_send){.deadline_us = 60 * US_PER_MS}, "/k"), 0);
    run_until_done(&p);
    assert_int_equal(p.end, HTTP_STALLED);
    probe_free(&p);
}

/* A body with a pattern that shows any byte lost, doubled or moved. */
static char *pattern(size_t n) {
    char *text = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        text[i] = (char)('a' + (i * 7 + i / 251) % 26);
    text[n] = '\0';
    return text;
}

static void check_pausing(const char *head, const char *body, size_t n, bool chunked, int every, size_t piece) {
    struct buf text = {0};
    buf_add_str(&text, head);
    if (chunked) {
        for (size_t at = 0; at < n;) {
            size_t some = 1 + at % 5000;
            some = some > n - at ? n - at : some;
            buf_printf(&text, "%zx\r\n", some);
            buf_add(&text, body + at, some);
            buf_add_str(&text, "\r\n");
            at += some;
        }
        buf_add_str(&text, "0\r\n\r\n");
    } else {
        buf_add(&text, body, n);
    }
    script_add(w.server, (struct script_answer){.text = text.p, .n = text.n, .piece = piece});
    struct probe p = {.pause_every = every};
    start(&p, "/k");
    while (!p.dones) {
        uv_run(&w.loop, UV_RUN_NOWAIT);
        if (!p.paused)
            continue;
        for (int turn = 0; turn < 3; turn++)
            uv_run(&w.loop, UV_RUN_NOWAIT);
        assert_int_equal(p.dones, 0);
        resume(&p);
    }
    assert_int_equal(p.end, HTTP_DONE);
    assert_int_equal(p.body.n, n);
    assert_memory_equal(p.body.p, body, n);
    probe_free(&p);
    buf_free(&text);
}

static void pausing_loses_and_doubles_nothing(void **state) {
    size_t n = 300000;
    char *body = pattern(n);
    char head[128];
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);
    for (int every = 1; every <= 3; every++) {
        check_pausing(head, body, n, false, every, 0);
        check_pausing(head, body, n, false, every, 9000);
        check_pausing("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", body, n, true, every, 0);
        check_pausing("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", body, n, true, every, 7001);
    }
    free(body);
}

static void done_waits_for_the_resume_and_pauses_do_not_stall(void **state) {
    script_add(w.server, (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"});
    struct probe p = {.pause_every = 1};
    start(&p, "/k");
    while (!p.pieces)
        uv_run(&w.loop, UV_RUN_ONCE);
    run_ms(250); /* the stall limit is 150 */
    assert_int_equal(p.dones, 0);
    resume(&p);
    run_until_done(&p);
    assert_int_equal(p.end, HTTP_DONE);
    probe_free(&p);
    /* the same in the middle of a body */
    size_t n = 200000;
    char *body = pattern(n), *text = NULL;
    int size = asprintf(&text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", n, body);
    script_add(w.server, (struct script_answer){.text = text, .n = (size_t)size});
    p.pause_every = 1;
    start(&p, "/k");
    while (!p.pieces)
        uv_run(&w.loop, UV_RUN_ONCE);
    run_ms(250);
    assert_int_equal(p.dones, 0);
    assert_int_equal(p.pieces, 1);
    p.pause_every = 0;
    resume(&p);
    run_until_done(&p);
    assert_int_equal(p.end, HTTP_DONE);
    assert_int_equal(p.body.n, n);
    probe_free(&p);
    free(body);
    free(text);
}

static void a_body_that_stalls_after_a_resume_still_stalls(void **state) {
    script_add(w.server, (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
                                                .then = SCRIPT_HANG});
    struct probe p = {.pause_every = 1};
    start(&p, "/k");
    while (!p.pieces)
        uv_run(&w.loop, UV_RUN_ONCE);
    run_ms(200);
    assert_int_equal(p.dones, 0);
    resume(&p);
    uint64_t before = uv_hrtime();
    run_until_done(&p);
    assert_int_equal(p.end, HTTP_STALLED);
    assert_true(uv_hrtime() - before >= 140 * 1000000);
    probe_free(&p);
}

static void a_resume_inside_data_undoes_the_pause(void **state) {
    script_add(w.server,
               (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", .piece = 1});
    struct probe p = {.pause_every = 1, .resume_at_once = true};
    finish(&p, "/k");
    assert_int_equal(p.end, HTTP_DONE);
    assert_string_equal(p.body.p, "hello");
    probe_free(&p);
}

static void cancelling(void **state) {
    const char *text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    w.server->fallback = (struct script_answer){.text = text, .then = SCRIPT_HANG};
    struct probe p = {0};
    start(&p, "/k"); /* before anything was sent */
    busy = true;
    http_cancel(p.request);
    http_cancel(p.request);
    busy = false;
    run_until_done(&p);
    assert_int_equal(p.end, HTTP_CANCELLED);
    assert_int_equal(p.heads, 0);
    probe_free(&p);

    start(&p, "/k"); /* in the body */
    while (!p.pieces)
        uv_run(&w.loop, UV_RUN_ONCE);
    http_cancel(p.request);
    run_until_done(&p);
    assert_int_equal(p.end, HTTP_CANCELLED);
    probe_free(&p);

    p.cancel_in_head = true;
    finish(&p, "/k");
    assert_int_equal(p.end, HTTP_CANCELLED);
    assert_int_equal(p.pieces, 0);
    probe_free(&p);

    p.cancel_in_data = true;
    finish(&p, "/k");
    assert_int_equal(p.end, HTTP_CANCELLED);
    assert_int_equal(p.pieces, 1);
    probe_free(&p);

    p.pause_every = 1; /* while paused */
    start(&p, "/k");
    while (!p.pieces)
        uv_run(&w.loop, UV_RUN_ONCE);
    http_cancel(p.request);
    resume(&p);
    run_until_done(&p);
    assert_int_equal(p.end, HTTP_CANCELLED);
    assert_int_equal(p.pieces, 1);
    probe_free(&p);

    w.server->fallback.text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    p.pause_every = 1; /* ended, but held back by the pause */
    start(&p, "/k");
    run_ms(20);
    assert_int_equal(p.dones, 0);
    http_cancel(p.request);
    run_until_done(&p);
    assert_int_equal(p.end, HTTP_CANCELLED);
    probe_free(&p);
}

static void closing_ends_everything(void **state) {
    w.server->fallback =
        (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", .then = SCRIPT_HANG};
    struct probe p[6] = {0};
    p[1].pause_every = 1;
    for (int i = 0; i < 3; i++) /* two run, the third waits */
        start(&p[i], "/k");
    while (!p[0].pieces || !p[1].pieces)
        uv_run(&w.loop, UV_RUN_ONCE);
    start(&p[3], "/k");
    busy = true;
    http_close(w.http, on_http_closed, NULL);
    busy = false;
    assert_int_equal(start_send(&p[4], (struct http_send){0}, "/k"), -ECANCELED);
    while (!w.closed)
        uv_run(&w.loop, UV_RUN_ONCE);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(p[i].dones, 1);
        assert_int_equal(p[i].end, HTTP_CANCELLED);
        probe_free(&p[i]);
    }
}

static void idle_connections_do_not_keep_the_loop(void **state) {
    w.server->fallback.text = OK_EMPTY;
    struct probe p = {0};
    finish(&p, "/k");
    probe_free(&p);
    uv_unref((uv_handle_t *)&w.server->tcp);
    script_close_connections(w.server);
    uint64_t before = uv_hrtime();
    uv_run(&w.loop, UV_RUN_DEFAULT);
    assert_true(uv_hrtime() - before < UINT64_C(5) * 1000000000);
    uv_ref((uv_handle_t *)&w.server->tcp);
}

static void bad_ca_files_are_refused(void **state) {
    struct err err = {0};
    struct http *http;
    assert_int_equal(http_new(&w.loop, &(struct http_options){.ca_bundle = "/nonexistent.pem"}, &http, &err), -EINVAL);
    assert_non_null(strstr(err.text, "/nonexistent.pem"));
    assert_int_equal(http_new(&w.loop, &(struct http_options){.ca_bundle = "/etc/passwd"}, &http, &err), -EINVAL);
}

static void names_are_resolved_in_the_background(void **state) {
    w.server->fallback.text = OK_EMPTY;
    char url[64];
    snprintf(url, sizeof url, "http://localhost:%d/k", w.server->port);
    struct probe p[4] = {0};
    for (int i = 0; i < 4; i++)
        assert_int_equal(start_send(&p[i], (struct http_send){.url = url}, ""), 0);
    http_cancel(p[0].request);
    for (int i = 0; i < 3; i++) {
        run_until_done(&p[i]);
        assert_int_equal(p[i].end, i == 0 ? HTTP_CANCELLED : HTTP_DONE);
    }
    struct probe late = {0};
    assert_int_equal(start_send(&late, (struct http_send){.url = url}, ""), 0);
    close_http();
    assert_int_equal(late.dones, 1);
    for (int i = 0; i < 4; i++)
        probe_free(&p[i]);
}

/* An upload that moves is not stalled, one that does not is. */
static void uploads_stall_as_well(void **state) {
    size_t n = 40 * 1024 * 1024; /* more than the socket buffers hold */
    char *body = malloc(n);
    memset(body, 'u', n);
    w.server->hold_reading = true;
    struct probe p = {0};
    assert_int_equal(start_send(&p, (struct http_send){.method = "PUT", .body = {body, n}, .has_body = true}, "/k"), 0);
    uint64_t before = uv_hrtime();
    run_until_done(&p);
    assert_int_equal(p.end, HTTP_STALLED);
    assert_in_range((uv_hrtime() - before) / 1000000, 140, 2000);
    free(body);
    probe_free(&p);
}

/* ---- starting more from inside a callback ---- */

static int chain_left;
static struct probe chained[64];

static void chain_done(void *arg, enum http_end end, const char *text) {
    on_done(arg, end, text);
    if (chain_left-- > 0) {
        struct http_handler next = {on_head, on_data, chain_done};
        char url[128];
        snprintf(url, sizeof url, "%s/next", w.server->url);
        struct probe *p = &chained[chain_left];
        assert_int_equal(http_start(w.http, &(struct http_send){.method = "GET", .url = url}, &next, p, &p->request),
                         0);
    }
}

static void start_in_head(void *arg, int status, const struct http_field *fields, size_t n) {
    on_head(arg, status, fields, n);
    struct http_handler next = {on_head, on_data, chain_done};
    char url[128];
    snprintf(url, sizeof url, "%s/next", w.server->url);
    assert_int_equal(
        http_start(w.http, &(struct http_send){.method = "GET", .url = url}, &next, &chained[63], &chained[63].request),
        0);
}

static void requests_start_from_callbacks(void **state) {
    w.server->fallback.text = OK_EMPTY;
    memset(chained, 0, sizeof chained);
    chain_left = 40;
    struct probe p = {0};
    struct http_handler first = {start_in_head, on_data, on_done};
    char url[128];
    snprintf(url, sizeof url, "%s/first", w.server->url);
    assert_int_equal(http_start(w.http, &(struct http_send){.method = "GET", .url = url}, &first, &p, &p.request), 0);
    run_until_done(&chained[0]);
    assert_int_equal(w.server->n_requests, 42);
    probe_free(&p);
    for (int i = 0; i < 64; i++)
        probe_free(&chained[i]);
}

static void out_of_memory_is_an_answer_and_leaks_nothing(void **state) {
    for (uint64_t n = 1;; n++) {
        w.server->fallback.text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        struct http_options options = {.stall_timeout_us = 100 * US_PER_MS, .connect_timeout_us = 100 * US_PER_MS};
        struct err err = {0};
        struct probe p = {0};
        buf_reserve(&p.fields, 4096); /* not the test's own */
        buf_reserve(&p.body, 4096);
        buf_reserve(&w.server->requests[w.server->n_requests], 4096);
        struct http *before = w.http;
        mem_fail_at(n, 0);
        int r = http_new(&w.loop, &options, &w.http, &err);
        if (r == 0) {
            r = start_send(&p, (struct http_send){0}, "/k");
            if (r == 0)
                run_until_done(&p);
            else
                assert_int_equal(r, -ENOMEM);
            uint64_t used = mem_fail_count();
            mem_fail_at(0, 0);
            w.closed = false;
            close_http();
            w.closed = false;
            w.http = before;
            if (r == 0 && p.end == HTTP_DONE && used < n) {
                probe_free(&p);
                break;
            }
        }
        mem_fail_at(0, 0);
        assert_true(r == 0 || r == -ENOMEM);
        w.http = before;
        buf_free(&w.server->requests[w.server->n_requests]);
        probe_free(&p);
        script_close_connections(w.server);
        run_ms(2);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(sends_what_was_asked_and_nothing_else),
        TEST(methods_and_bodies),
        TEST(a_large_body_is_sent_whole_without_expect),
        TEST(answers_are_framed),
        TEST(a_reset_inside_the_body_is_a_truncation),
        TEST(too_many_header_bytes_are_refused),
        TEST(nobody_listens),
        cmocka_unit_test_setup_teardown(tls_to_a_server_without_it_is_unreachable, setup_quick_connect, teardown),
        TEST(other_protocols_are_refused),
        TEST(the_environments_proxy_is_ignored),
        TEST(line_breaks_in_fields_are_refused),
        TEST(connections_are_reused),
        TEST(a_connection_closed_while_idle_is_replaced),
        TEST(a_reused_connection_that_dies_is_tried_again_at_once),
        TEST(what_nobody_asked_for_is_no_answer),
        TEST(a_reused_connection_may_be_paused_at_once),
        cmocka_unit_test_setup_teardown(hosts_take_turns_on_few_connections, setup_two, teardown),
        cmocka_unit_test_setup_teardown(no_more_connections_than_allowed, setup_two, teardown),
        cmocka_unit_test_setup_teardown(the_deadline_counts_waiting_too, setup_two, teardown),
        TEST(slow_is_not_stalled),
        TEST(the_deadline_ends_a_moving_answer),
        TEST(pausing_loses_and_doubles_nothing),
        TEST(done_waits_for_the_resume_and_pauses_do_not_stall),
        TEST(a_body_that_stalls_after_a_resume_still_stalls),
        TEST(a_resume_inside_data_undoes_the_pause),
        TEST(cancelling),
        cmocka_unit_test_setup_teardown(closing_ends_everything, setup_two, teardown),
        cmocka_unit_test_setup_teardown(idle_connections_do_not_keep_the_loop, setup_quick_connect, teardown),
        TEST(bad_ca_files_are_refused),
        TEST(names_are_resolved_in_the_background),
        TEST(uploads_stall_as_well),
        TEST(requests_start_from_callbacks),
        TEST(out_of_memory_is_an_answer_and_leaks_nothing),
    };
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
