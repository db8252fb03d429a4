/* test_http_uploads.c - bodies that are read while they are sent, and answers that come before they are through. */
#include "http_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MANY ((size_t)24 << 20) /* more than the socket buffers hold */

/* What is asked for, in which order. */
struct source {
    uint64_t next, most; /* the next offset that is in order; the farthest */
    int begun;           /* how often from the start */
    uint64_t fails_at;   /* offset; 0: never */
};

static char byte_at(uint64_t offset) {
    return (char)('a' + (offset * 7 + offset / 251) % 26);
}

static int64_t read_source(void *arg, uint64_t offset, void *to, size_t n) {
    struct source *source = arg;
    if (offset == 0)
        source->begun++;
    else
        assert_int_equal(offset, source->next);
    if (source->fails_at && offset + n > source->fails_at)
        return -1;
    for (size_t i = 0; i < n; i++)
        ((char *)to)[i] = byte_at(offset + i);
    source->next = offset + n;
    source->most = source->next > source->most ? source->next : source->most;
    return (int64_t)n;
}

static void put(struct probe *p, struct source *source, uint64_t n) {
    struct http_send send = {.method = "PUT", .has_body = true, .read = read_source, .read_arg = source, .read_n = n};
    assert_int_equal(probe_send(p, send, "/k"), 0);
    probe_run(p);
}

static void check_received(size_t request, uint64_t n) {
    const struct buf *got = &world.server->requests[request];
    const char *body = strstr(got->p, "\r\n\r\n") + 4;
    assert_int_equal((uint64_t)(got->p + got->n - body), n);
    for (uint64_t i = 0; i < n; i++)
        if (body[i] != byte_at(i))
            fail_msg("byte %zu is another", (size_t)i);
}

static void bodies_are_read_in_order_and_arrive_whole(void **state) {
    static const uint64_t sizes[] = {0, 1, 65535, 65536, 65537, 5000000};
    world.server->fallback.text = OK_EMPTY;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct source source = {0};
        struct probe p = {0};
        put(&p, &source, sizes[i]);
        assert_int_equal(p.end, HTTP_DONE);
        assert_int_equal(source.begun, sizes[i] > 0);
        check_received(i, sizes[i]);
        probe_free(&p);
    }
    assert_int_equal(world.server->n_accepted, 1);
}

static void what_cannot_be_read_ends_the_request_alone(void **state) {
    world.server->fallback.text = OK_EMPTY;
    static const uint64_t places[] = {1, 300000};
    for (size_t i = 0; i < 2; i++) {
        struct source source = {.fails_at = places[i]};
        struct probe p = {0};
        put(&p, &source, 1000000);
        assert_int_equal(p.end, HTTP_UNREADABLE);
        assert_non_null(strstr(p.text, "cannot be read"));
        probe_free(&p);
        probe_finish(&p, "/k"); /* on a connection that has no half of a request before it */
        assert_int_equal(p.end, HTTP_DONE);
        probe_free(&p);
    }
    assert_int_equal(world.server->n_requests, 2);
}

static void a_body_begins_again_when_its_connection_was_dead(void **state) {
    script_add(world.server, (struct script_answer){.text = OK_EMPTY});
    script_add(world.server, (struct script_answer){.then = SCRIPT_CLOSE});
    script_add(world.server, (struct script_answer){.text = OK_EMPTY});
    struct probe p = {0};
    probe_finish(&p, "/k");
    probe_free(&p);
    struct source source = {0};
    put(&p, &source, 200000);
    assert_int_equal(p.end, HTTP_DONE);
    assert_int_equal(source.begun, 2);
    check_received(2, 200000);
    probe_free(&p);
}

static void a_refusal_before_the_body_is_through_is_the_answer(void **state) {
    script_add(world.server, (struct script_answer){.text = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
                                                    .then = SCRIPT_HANG,
                                                    .early = true});
    world.server->fallback.text = OK_EMPTY;
    struct source source = {0};
    struct probe p = {0};
    put(&p, &source, (uint64_t)1 << 40);
    assert_int_equal(p.end, HTTP_DONE);
    assert_int_equal(p.status, 403);
    assert_string_equal(p.body.p, "no");
    probe_free(&p);
    probe_finish(&p, "/k");
    assert_int_equal(p.end, HTTP_DONE);
    assert_int_equal(world.server->n_accepted, 2); /* the first is in the middle of a body for ever */
    probe_free(&p);
}

static void a_welcome_before_the_body_is_through_waits_for_the_rest(void **state) {
    script_add(world.server, (struct script_answer){.text = OK_EMPTY, .then = SCRIPT_KEEP, .early = true});
    struct source source = {0};
    struct probe p = {0};
    put(&p, &source, MANY);
    assert_int_equal(p.end, HTTP_DONE);
    assert_int_equal(p.status, 200);
    assert_int_equal(source.most, MANY);
    probe_free(&p);
}

static void a_server_that_hangs_up_on_a_body_has_not_answered(void **state) {
    script_add(world.server, (struct script_answer){.then = SCRIPT_RESET, .early = true});
    struct source source = {0};
    struct probe p = {0};
    put(&p, &source, (uint64_t)1 << 40);
    assert_int_equal(p.end, HTTP_NO_ANSWER);
    assert_true(p.text[0]);
    probe_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_TEST(bodies_are_read_in_order_and_arrive_whole),
        WORLD_TEST(what_cannot_be_read_ends_the_request_alone),
        WORLD_TEST(a_body_begins_again_when_its_connection_was_dead),
        WORLD_TEST(a_refusal_before_the_body_is_through_is_the_answer),
        WORLD_TEST(a_welcome_before_the_body_is_through_waits_for_the_rest),
        WORLD_TEST(a_server_that_hangs_up_on_a_body_has_not_answered),
    };
    return cmocka_run_group_tests_name("http uploads", tests, NULL, NULL);
}
