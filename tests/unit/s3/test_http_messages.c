/* test_http_messages.c - what goes out is what was asked for, and answers are framed as they should be, or refused. */
#include "http_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void sends_what_was_asked_and_nothing_else(void **state) {
    script_add(world.server,
               (struct script_answer){.text = "HTTP/1.1 200 OK\r\nETag: \"x\"\r\nX-Amz-Thing:  two words \r\n"
                                              "Empty:\r\nContent-Length: 5\r\n\r\nhello"});
    struct probe p = {0};
    struct http_field fields[] = {{BYTES("x-one"), BYTES("1")}, {BYTES("x-empty"), BYTES_NONE}};
    assert_int_equal(probe_send(&p, (struct http_send){.fields = fields, .n_fields = 2}, "/a/../b//c%2F%20?x=&y=%2B"),
                     0);
    assert_int_equal(p.dones, 0);
    probe_run(&p);
    assert_int_equal(p.end, HTTP_DONE);
    assert_string_equal(p.text, "");
    assert_int_equal(p.heads, 1);
    assert_int_equal(p.status, 200);
    assert_string_equal(p.fields.p, "etag=\"x\"\nx-amz-thing=two words\nempty=\ncontent-length=5\n");
    assert_string_equal(p.body.p, "hello");
    char want[512];
    snprintf(want, sizeof want,
             "GET /a/../b//c%%2F%%20?x=&y=%%2B HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nx-one: 1\r\nx-empty:\r\n\r\n",
             world.server->port);
    assert_string_equal(world.server->requests[0].p, want);
    probe_free(&p);
}

static void methods_and_bodies(void **state) {
    world.server->fallback.text = OK_EMPTY;
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
        assert_int_equal(probe_send(&p, send, "/k"), 0);
        probe_run(&p);
        assert_int_equal(p.end, HTTP_DONE);
        char host[64];
        snprintf(host, sizeof host, "127.0.0.1:%d", world.server->port);
        struct buf got = {0};
        const char *text = world.server->requests[i].p, *at = strstr(text, host);
        buf_add(&got, text, (size_t)(at - text));
        buf_add_byte(&got, 'H');
        buf_add_str(&got, at + strlen(host));
        assert_string_equal(got.p, cases[i].want);
        buf_free(&got);
        probe_free(&p);
    }
    assert_int_equal(world.server->n_accepted, 1);
}

/* The same handle is used again for all of them: neither path nor query nor host of one stays for the next. */
static void urls_follow_each_other(void **state) {
    world.server->fallback.text = OK_EMPTY;
    static const struct {
        const char *host, *rest, *target;
    } cases[] = {
        {"127.0.0.1", "/first?list-type=2&prefix=a%2Fb", "/first?list-type=2&prefix=a%2Fb"},
        {"127.0.0.1", "/second", "/second"},
        {"127.0.0.1", "", "/"},
        {"127.0.0.1", "?only=query", "/?only=query"},
        {"127.0.0.1", "/cut#off", "/cut"},
        {"localhost", "/third", "/third"},
        {"127.0.0.1", "/", "/"},
        {"127.0.0.1", "/%23%20%0D%0A/./..//~", "/%23%20%0D%0A/./..//~"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct probe p = {0};
        char url[128], want[128], host[64];
        snprintf(url, sizeof url, "http://%s:%d%s", cases[i].host, world.server->port, cases[i].rest);
        snprintf(want, sizeof want, "GET %s HTTP/1.1\r\n", cases[i].target);
        snprintf(host, sizeof host, "%s:%d", cases[i].host, world.server->port);
        assert_int_equal(probe_send(&p, (struct http_send){.url = url}, ""), 0);
        probe_run(&p);
        assert_int_equal(p.end, HTTP_DONE);
        assert_true(bytes_starts(buf_bytes(&world.server->requests[i]), bytes_str(want)));
        assert_string_equal(script_header(world.server, i, "Host"), host);
        probe_free(&p);
    }
}

/* What a URL must not hold is never sent as it stands. */
static void no_line_break_gets_out_of_a_url(void **state) {
    static const char *const bad[] = {"/a\r\nx: y", "/a b", "/a\x7f", "/a\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        script_add(world.server, (struct script_answer){.text = OK_EMPTY});
        struct probe p = {0};
        if (probe_send(&p, (struct http_send){0}, bad[i]) == 0)
            probe_run(&p);
        for (size_t j = 0; j < world.server->n_requests; j++)
            assert_null(strstr(world.server->requests[j].p, bad[i]));
        probe_free(&p);
    }
}

static void a_large_body_is_sent_whole_without_expect(void **state) {
    world.server->fallback.text = OK_EMPTY;
    size_t n = 5 * 1024 * 1024;
    char *body = malloc(n);
    memset(body, 'z', n);
    struct probe p = {0};
    assert_int_equal(probe_send(&p, (struct http_send){.method = "PUT", .body = {body, n}, .has_body = true}, "/k"), 0);
    probe_run(&p);
    assert_int_equal(p.end, HTTP_DONE);
    assert_null(script_header(world.server, 0, "Expect"));
    assert_true(world.server->requests[0].n > n);
    free(body);
    probe_free(&p);
}

static void line_breaks_in_fields_are_refused(void **state) {
    static const struct http_field bad[] = {
        {{"a", 1}, {"b\r\nc: d", 7}}, {{"a\nb", 3}, {"c", 1}}, {{"a", 1}, {"\0", 1}}};
    for (size_t i = 0; i < 3; i++) {
        struct probe p = {0};
        assert_int_equal(probe_send(&p, (struct http_send){.fields = &bad[i], .n_fields = 1}, "/k"), -EINVAL);
        probe_free(&p);
    }
    assert_int_equal(world.server->n_requests, 0);
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
        script_add(world.server, (struct script_answer){.text = cases[i].text, .then = cases[i].then});
        struct probe p = {0};
        assert_int_equal(probe_send(&p, (struct http_send){.method = cases[i].method}, "/k"), 0);
        probe_run(&p);
        if (p.end != cases[i].end)
            print_error("case %zu: end %d, text '%s'\n", i, (int)p.end, p.text);
        assert_int_equal(p.end, cases[i].end);
        assert_int_equal(p.heads, cases[i].body != NULL);
        if (cases[i].body)
            assert_string_equal(p.body.p ? p.body.p : "", cases[i].body);
        assert_int_equal(p.end == HTTP_DONE, p.text[0] == '\0');
        probe_free(&p);
        script_close_connections(world.server); /* the next case starts on a fresh one */
        world_run_ms(5);
    }
}

static void a_reset_inside_the_body_is_a_truncation(void **state) {
    script_add(world.server, (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
                                                    .then = SCRIPT_HANG});
    struct probe p = {0};
    probe_start(&p, "/k");
    probe_run_to_piece(&p);
    script_close_connections(world.server);
    probe_run(&p);
    assert_int_equal(p.end, HTTP_TRUNCATED);
    probe_free(&p);
}

static void too_many_header_bytes_are_refused(void **state) {
    struct buf text = {0};
    buf_add_str(&text, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 700; i++)
        buf_printf(&text, "x-filler-%04d: %085d\r\n", i, i);
    buf_add_str(&text, "Content-Length: 0\r\n\r\n");
    script_add(world.server, (struct script_answer){.text = text.p, .n = text.n});
    struct probe p = {0};
    probe_finish(&p, "/k");
    assert_int_equal(p.end, HTTP_BAD_ANSWER);
    assert_non_null(strstr(p.text, "too long"));
    probe_free(&p);
    /* one endless line */
    buf_reset(&text);
    buf_add_str(&text, "HTTP/1.1 200 OK\r\nx: ");
    for (int i = 0; i < 70000; i++)
        buf_add_byte(&text, 'y');
    script_add(world.server, (struct script_answer){.text = text.p, .n = text.n, .then = SCRIPT_HANG});
    probe_finish(&p, "/k");
    assert_true(p.end == HTTP_BAD_ANSWER || p.end == HTTP_STALLED);
    probe_free(&p);
    /* interim answers count as well */
    buf_reset(&text);
    for (int i = 0; i < 4000; i++)
        buf_add_str(&text, "HTTP/1.1 103 Early Hints\r\na: b\r\n\r\n");
    script_add(world.server, (struct script_answer){.text = text.p, .n = text.n, .then = SCRIPT_HANG});
    probe_finish(&p, "/k");
    assert_int_equal(p.end, HTTP_BAD_ANSWER);
    probe_free(&p);
    buf_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_TEST(sends_what_was_asked_and_nothing_else),
        WORLD_TEST(methods_and_bodies),
        WORLD_TEST(urls_follow_each_other),
        WORLD_TEST(no_line_break_gets_out_of_a_url),
        WORLD_TEST(a_large_body_is_sent_whole_without_expect),
        WORLD_TEST(line_breaks_in_fields_are_refused),
        WORLD_TEST(answers_are_framed),
        WORLD_TEST(a_reset_inside_the_body_is_a_truncation),
        WORLD_TEST(too_many_header_bytes_are_refused),
    };
    return cmocka_run_group_tests_name("http messages", tests, NULL, NULL);
}
