/* http_world.c - see http_world.h. */
#include "http_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

struct world world;

void probe_head(void *arg, int status, const struct http_field *fields, size_t n) {
    struct probe *p = arg;
    assert_false(world.busy);
    p->heads++;
    p->status = status;
    for (size_t i = 0; i < n; i++)
        buf_printf(&p->fields, "%.*s=%.*s\n", (int)fields[i].name.n, fields[i].name.p, (int)fields[i].value.n,
                   fields[i].value.p);
    if (p->cancel_in_head)
        http_cancel(p->request);
}

bool probe_data(void *arg, struct bytes piece) {
    struct probe *p = arg;
    assert_false(world.busy);
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

void probe_done(void *arg, enum http_end end, const char *text) {
    struct probe *p = arg;
    assert_false(world.busy);
    p->dones++;
    p->end = end;
    p->request = NULL;
    snprintf(p->text, sizeof p->text, "%s", text);
}

static const struct http_handler probe_handler = {probe_head, probe_data, probe_done};

#define STALL_US (150 * US_PER_MS)
#define PATIENT_US US_PER_MIN
#define CONNECT_US US_PER_MIN

static int world_setup_with(struct http_options options) {
    memset(&world, 0, sizeof world);
    uv_loop_init(&world.loop);
    paced_clock_init(&world.pace, &world.loop);
    world.server = script_server_new(&world.loop);
    options.clock = &world.pace.clock;
    struct err err = {0};
    assert_int_equal(http_new(&world.loop, &options, &world.http, &err), 0);
    return 0;
}

int world_setup(void **state) {
    return world_setup_with((struct http_options){.stall_timeout_us = STALL_US, .connect_timeout_us = CONNECT_US});
}

void world_http_closed(void *arg) {
    world.closed = true;
}

int world_setup_quick_connect(void **state) {
    return world_setup_with(
        (struct http_options){.stall_timeout_us = PATIENT_US, .connect_timeout_us = 100 * US_PER_MS});
}

int world_setup_patient(void **state) {
    return world_setup_with((struct http_options){.stall_timeout_us = PATIENT_US, .connect_timeout_us = CONNECT_US});
}

int world_setup_two(void **state) {
    return world_setup_with(
        (struct http_options){.max_connections = 2, .stall_timeout_us = STALL_US, .connect_timeout_us = CONNECT_US});
}

int world_setup_patient_two(void **state) {
    return world_setup_with(
        (struct http_options){.max_connections = 2, .stall_timeout_us = PATIENT_US, .connect_timeout_us = CONNECT_US});
}

void world_close_http(void) {
    world.busy = true;
    http_close(world.http, world_http_closed, NULL);
    world.busy = false;
    while (!world.closed)
        uv_run(&world.loop, UV_RUN_ONCE);
}

int world_teardown(void **state) {
    if (!world.closed)
        world_close_http();
    script_server_close(world.server);
    paced_clock_close(&world.pace);
    uv_run(&world.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&world.loop), 0);
    return 0;
}

void probe_free(struct probe *p) {
    buf_free(&p->fields);
    buf_free(&p->body);
    *p = (struct probe){0};
}

int probe_send(struct probe *p, struct http_send send, const char *path) {
    char url[2048];
    snprintf(url, sizeof url, "%s%s", world.server->url, path);
    if (!send.url)
        send.url = url;
    if (!send.method)
        send.method = "GET";
    world.busy = true;
    int r = http_start(world.http, &send, &probe_handler, p, &p->request);
    world.busy = false;
    return r;
}

void probe_start(struct probe *p, const char *path) {
    assert_int_equal(probe_send(p, (struct http_send){0}, path), 0);
}

void probe_run(struct probe *p) {
    while (!p->dones)
        assert_true(uv_run(&world.loop, UV_RUN_ONCE) || p->dones);
}

void probe_run_to_piece(struct probe *p) {
    while (!p->pieces) {
        assert_int_equal(p->dones, 0);
        uv_run(&world.loop, UV_RUN_ONCE);
    }
}

void probe_finish(struct probe *p, const char *path) {
    probe_start(p, path);
    probe_run(p);
}

void probe_resume(struct probe *p) {
    p->paused = false;
    world.busy = true;
    http_resume(p->request);
    world.busy = false;
}

int64_t world_now_us(void) {
    return paced_clock_us(&world.pace);
}

void world_run_ms(int64_t ms) {
    paced_clock_run(&world.pace, ms * US_PER_MS);
}
