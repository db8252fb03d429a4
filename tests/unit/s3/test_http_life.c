/* test_http_life.c - requests that are cancelled or begun inside callbacks, closing, and memory that ends. */
#include "http_world.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void cancelling(void **state) {
    const char *text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    world.server->fallback = (struct script_answer){.text = text, .then = SCRIPT_HANG};
    struct probe p = {0};
    probe_start(&p, "/k"); /* before anything was sent */
    world.busy = true;
    http_cancel(p.request);
    http_cancel(p.request);
    world.busy = false;
    probe_run(&p);
    assert_int_equal(p.end, HTTP_CANCELLED);
    assert_int_equal(p.heads, 0);
    probe_free(&p);

    probe_start(&p, "/k"); /* in the body */
    probe_run_to_piece(&p);
    http_cancel(p.request);
    probe_run(&p);
    assert_int_equal(p.end, HTTP_CANCELLED);
    probe_free(&p);

    p.cancel_in_head = true;
    probe_finish(&p, "/k");
    assert_int_equal(p.end, HTTP_CANCELLED);
    assert_int_equal(p.pieces, 0);
    probe_free(&p);

    p.cancel_in_data = true;
    probe_finish(&p, "/k");
    assert_int_equal(p.end, HTTP_CANCELLED);
    assert_int_equal(p.pieces, 1);
    probe_free(&p);

    p.pause_every = 1; /* while paused */
    probe_start(&p, "/k");
    probe_run_to_piece(&p);
    http_cancel(p.request);
    probe_resume(&p);
    probe_run(&p);
    assert_int_equal(p.end, HTTP_CANCELLED);
    assert_int_equal(p.pieces, 1);
    probe_free(&p);

    world.server->fallback.text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    p.pause_every = 1; /* ended, but held back by the pause */
    probe_start(&p, "/k");
    world_run_ms(20);
    assert_int_equal(p.dones, 0);
    http_cancel(p.request);
    probe_run(&p);
    assert_int_equal(p.end, HTTP_CANCELLED);
    probe_free(&p);
}

static void closing_ends_everything(void **state) {
    world.server->fallback =
        (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", .then = SCRIPT_HANG};
    struct probe p[6] = {0};
    p[1].pause_every = 1;
    for (int i = 0; i < 3; i++) /* two run, the third waits */
        probe_start(&p[i], "/k");
    probe_run_to_piece(&p[0]);
    probe_run_to_piece(&p[1]);
    probe_start(&p[3], "/k");
    world.busy = true;
    http_close(world.http, world_http_closed, NULL);
    world.busy = false;
    assert_int_equal(probe_send(&p[4], (struct http_send){0}, "/k"), -ECANCELED);
    while (!world.closed)
        uv_run(&world.loop, UV_RUN_ONCE);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(p[i].dones, 1);
        assert_int_equal(p[i].end, HTTP_CANCELLED);
        probe_free(&p[i]);
    }
}

static int chain_left;
static struct probe chained[64];

static void chain_done(void *arg, enum http_end end, const char *text) {
    probe_done(arg, end, text);
    if (chain_left-- > 0) {
        struct http_handler next = {probe_head, probe_data, chain_done};
        char url[128];
        snprintf(url, sizeof url, "%s/next", world.server->url);
        struct probe *p = &chained[chain_left];
        assert_int_equal(
            http_start(world.http, &(struct http_send){.method = "GET", .url = url}, &next, p, &p->request), 0);
    }
}

static void start_in_head(void *arg, int status, const struct http_field *fields, size_t n) {
    probe_head(arg, status, fields, n);
    struct http_handler next = {probe_head, probe_data, chain_done};
    char url[128];
    snprintf(url, sizeof url, "%s/next", world.server->url);
    assert_int_equal(http_start(world.http, &(struct http_send){.method = "GET", .url = url}, &next, &chained[63],
                                &chained[63].request),
                     0);
}

static void requests_start_from_callbacks(void **state) {
    world.server->fallback.text = OK_EMPTY;
    memset(chained, 0, sizeof chained);
    chain_left = 40;
    struct probe p = {0};
    struct http_handler first = {start_in_head, probe_data, probe_done};
    char url[128];
    snprintf(url, sizeof url, "%s/first", world.server->url);
    assert_int_equal(http_start(world.http, &(struct http_send){.method = "GET", .url = url}, &first, &p, &p.request),
                     0);
    probe_run(&chained[0]);
    assert_int_equal(world.server->n_requests, 42);
    probe_free(&p);
    for (int i = 0; i < 64; i++)
        probe_free(&chained[i]);
}

static void out_of_memory_is_an_answer_and_leaks_nothing(void **state) {
    for (uint64_t n = 1;; n++) {
        world.server->fallback.text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        struct http_options options = {
            .stall_timeout_us = 100 * US_PER_MS, .connect_timeout_us = 100 * US_PER_MS, .clock = &world.pace.clock};
        struct err err = {0};
        struct probe p = {0};
        buf_reserve(&p.fields, 4096); /* not the test's own */
        buf_reserve(&p.body, 4096);
        buf_reserve(&world.server->requests[world.server->n_requests], 4096);
        struct http *before = world.http;
        mem_fail_at(n, 0);
        int r = http_new(&world.loop, &options, &world.http, &err);
        if (r == 0) {
            r = probe_send(&p, (struct http_send){0}, "/k");
            if (r == 0)
                probe_run(&p);
            else
                assert_int_equal(r, -ENOMEM);
            uint64_t used = mem_fail_count();
            mem_fail_at(0, 0);
            world.closed = false;
            world_close_http();
            world.closed = false;
            world.http = before;
            if (r == 0 && p.end == HTTP_DONE && used < n) {
                probe_free(&p);
                break;
            }
        }
        mem_fail_at(0, 0);
        assert_true(r == 0 || r == -ENOMEM);
        world.http = before;
        buf_free(&world.server->requests[world.server->n_requests]);
        probe_free(&p);
        script_close_connections(world.server);
        world_run_ms(2);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_TEST(cancelling),
        WORLD_TEST_IN(world_setup_two, closing_ends_everything),
        WORLD_TEST(requests_start_from_callbacks),
        WORLD_TEST(out_of_memory_is_an_answer_and_leaks_nothing),
    };
    return cmocka_run_group_tests_name("http life", tests, NULL, NULL);
}
