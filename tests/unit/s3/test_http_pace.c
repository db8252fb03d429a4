/* test_http_pace.c - how fast bodies go: limits on standing still, deadlines, pauses. */
#include "http_world.h"

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

static void the_deadline_counts_waiting_too(void **state) {
    struct probe p[3] = {0};
    for (int i = 0; i < 3; i++)
        assert_int_equal(probe_send(&p[i], (struct http_send){.deadline_us = i == 2 ? 30 * US_PER_MS : 0}, "/k"), 0);
    probe_run(&p[2]);
    assert_int_equal(p[0].dones, 0);
    assert_int_equal(p[2].end, HTTP_STALLED);
    assert_non_null(strstr(p[2].text, "deadline"));
    for (int i = 0; i < 3; i++) {
        probe_run(&p[i]);
        probe_free(&p[i]);
    }
}

static void slow_is_not_stalled(void **state) {
    script_add(world.server, (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
                                                    .piece = 8,
                                                    .piece_ms = 40});
    struct probe p = {0};
    probe_finish(&p, "/k");
    assert_int_equal(p.end, HTTP_DONE);
    assert_string_equal(p.body.p, "0123456789");
    probe_free(&p);
}

static void the_deadline_ends_a_moving_answer(void **state) {
    script_add(world.server, (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
                                                    .piece = 1,
                                                    .piece_ms = 20});
    struct probe p = {0};
    assert_int_equal(probe_send(&p, (struct http_send){.deadline_us = 60 * US_PER_MS}, "/k"), 0);
    probe_run(&p);
    assert_int_equal(p.end, HTTP_STALLED);
    probe_free(&p);
}

/* An upload that moves is not stalled, one that does not is. */
static void uploads_stall_as_well(void **state) {
    size_t n = 40 * 1024 * 1024; /* more than the socket buffers hold */
    char *body = malloc(n);
    memset(body, 'u', n);
    world.server->hold_reading = true;
    struct probe p = {0};
    assert_int_equal(probe_send(&p, (struct http_send){.method = "PUT", .body = {body, n}, .has_body = true}, "/k"), 0);
    int64_t before = world_now_us();
    probe_run(&p);
    assert_int_equal(p.end, HTTP_STALLED);
    assert_in_range(world_now_us() - before, 150 * US_PER_MS, 2 * US_PER_S);
    free(body);
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
    script_add(world.server, (struct script_answer){.text = text.p, .n = text.n, .piece = piece});
    struct probe p = {.pause_every = every};
    probe_start(&p, "/k");
    while (!p.dones) {
        uv_run(&world.loop, UV_RUN_NOWAIT);
        if (!p.paused)
            continue;
        for (int turn = 0; turn < 3; turn++)
            uv_run(&world.loop, UV_RUN_NOWAIT);
        assert_int_equal(p.dones, 0);
        probe_resume(&p);
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

/* Of two bodies that are all there neither is read to its end while the other waits. */
static void bodies_take_turns(void **state) {
    size_t n = 6 * 1024 * 1024, most = 512 * 1024;
    char *body = pattern(n);
    struct buf text = {0};
    buf_printf(&text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);
    buf_add(&text, body, n);
    struct probe p[2] = {0};
    for (int i = 0; i < 2; i++) {
        script_add(world.server, (struct script_answer){.text = text.p, .n = text.n});
        probe_start(&p[i], "/k");
    }
    while (!p[0].dones || !p[1].dones) {
        size_t before[] = {p[0].body.n, p[1].body.n};
        bool both = !p[0].dones && !p[1].dones;
        uv_run(&world.loop, UV_RUN_NOWAIT);
        for (int i = 0; both && i < 2; i++)
            assert_in_range(p[i].body.n - before[i], 0, most);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(p[i].end, HTTP_DONE);
        assert_int_equal(p[i].body.n, n);
        assert_memory_equal(p[i].body.p, body, n);
        probe_free(&p[i]);
    }
    free(body);
    buf_free(&text);
}

static void done_waits_for_the_resume_and_pauses_do_not_stall(void **state) {
    script_add(world.server, (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"});
    struct probe p = {.pause_every = 1};
    probe_start(&p, "/k");
    probe_run_to_piece(&p);
    world_run_ms(250); /* the stall limit is 150 */
    assert_int_equal(p.dones, 0);
    probe_resume(&p);
    probe_run(&p);
    assert_int_equal(p.end, HTTP_DONE);
    probe_free(&p);
    /* the same in the middle of a body */
    size_t n = 200000;
    char *body = pattern(n), *text = NULL;
    int size = asprintf(&text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", n, body);
    script_add(world.server, (struct script_answer){.text = text, .n = (size_t)size});
    p.pause_every = 1;
    probe_start(&p, "/k");
    probe_run_to_piece(&p);
    world_run_ms(250);
    assert_int_equal(p.dones, 0);
    assert_int_equal(p.pieces, 1);
    p.pause_every = 0;
    probe_resume(&p);
    probe_run(&p);
    assert_int_equal(p.end, HTTP_DONE);
    assert_int_equal(p.body.n, n);
    probe_free(&p);
    free(body);
    free(text);
}

/* Nobody resumes it. */
static void the_deadline_ends_what_waits_for_a_resume(void **state) {
    script_add(world.server, (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"});
    struct probe p = {.pause_every = 1};
    assert_int_equal(probe_send(&p, (struct http_send){.deadline_us = 60 * US_PER_MS}, "/k"), 0);
    probe_run(&p);
    assert_int_equal(p.pieces, 1);
    assert_int_equal(p.end, HTTP_STALLED);
    assert_non_null(strstr(p.text, "deadline"));
    probe_free(&p);
}

static void a_body_that_stalls_after_a_resume_still_stalls(void **state) {
    script_add(world.server, (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
                                                    .then = SCRIPT_HANG});
    struct probe p = {.pause_every = 1};
    probe_start(&p, "/k");
    probe_run_to_piece(&p);
    world_run_ms(200);
    assert_int_equal(p.dones, 0);
    probe_resume(&p);
    int64_t before = world_now_us();
    probe_run(&p);
    assert_int_equal(p.end, HTTP_STALLED);
    assert_true(world_now_us() - before >= 140 * US_PER_MS);
    probe_free(&p);
}

static void a_resume_inside_data_undoes_the_pause(void **state) {
    script_add(world.server,
               (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", .piece = 1});
    struct probe p = {.pause_every = 1, .resume_at_once = true};
    probe_finish(&p, "/k");
    assert_int_equal(p.end, HTTP_DONE);
    assert_string_equal(p.body.p, "hello");
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
        assert_int_equal(probe_send(&p, (struct http_send){.url = url}, ""), 0);
        probe_run_to_piece(&p);
        world_run_ms(2); /* more has come meanwhile */
        p.pause_every = 0;
        probe_resume(&p);
        probe_run(&p);
        assert_int_equal(p.end, HTTP_DONE);
        assert_int_equal(p.body.n, server.body_n);
        probe_free(&p);
    }
    world_close_http();
    pthread_join(server.thread, NULL);
    close(server.listener);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_TEST_IN(world_setup_two, the_deadline_counts_waiting_too),
        WORLD_TEST(slow_is_not_stalled),
        WORLD_TEST(the_deadline_ends_a_moving_answer),
        WORLD_TEST(uploads_stall_as_well),
        WORLD_TEST(pausing_loses_and_doubles_nothing),
        WORLD_TEST(bodies_take_turns),
        WORLD_TEST(done_waits_for_the_resume_and_pauses_do_not_stall),
        WORLD_TEST(the_deadline_ends_what_waits_for_a_resume),
        WORLD_TEST(a_body_that_stalls_after_a_resume_still_stalls),
        WORLD_TEST(a_resume_inside_data_undoes_the_pause),
        WORLD_TEST_IN(world_setup_patient, a_reused_connection_may_be_paused_at_once),
    };
    return cmocka_run_group_tests_name("http pace", tests, NULL, NULL);
}
