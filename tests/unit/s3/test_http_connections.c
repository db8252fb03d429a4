/* test_http_connections.c - connections: which are made, which are used again, how many, and names and proxies. */
#include "http_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void nobody_listens(void **state) {
    struct probe p = {0};
    assert_int_equal(probe_send(&p, (struct http_send){.url = "http://127.0.0.1:1/x"}, ""), 0);
    probe_run(&p);
    assert_int_equal(p.end, HTTP_UNREACHABLE);
    assert_true(p.text[0]);
    probe_free(&p);
}

static void tls_to_a_server_without_it_is_unreachable(void **state) {
    world.server->fallback = (struct script_answer){.text = "HTTP/1.1 400 no\r\n\r\n", .then = SCRIPT_CLOSE};
    struct probe p = {0};
    char url[128];
    snprintf(url, sizeof url, "https://127.0.0.1:%d/", world.server->port);
    assert_int_equal(probe_send(&p, (struct http_send){.url = url}, ""), 0);
    probe_run(&p); /* by the connect limit: the server waits for a request that never comes */
    assert_int_equal(p.end, HTTP_UNREACHABLE);
    probe_free(&p);
}

static void other_protocols_are_refused(void **state) {
    struct probe p = {0};
    assert_int_equal(probe_send(&p, (struct http_send){.url = "file:///etc/hostname"}, ""), 0);
    probe_run(&p);
    assert_true(p.end == HTTP_BAD_ANSWER || p.end == HTTP_UNREACHABLE);
    assert_int_equal(p.pieces, 0);
    probe_free(&p);
}

static void the_environments_proxy_is_ignored(void **state) {
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    script_add(world.server, (struct script_answer){.text = OK_EMPTY});
    struct probe p = {0};
    probe_finish(&p, "/k");
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
    assert_int_equal(p.end, HTTP_DONE);
    probe_free(&p);
}

static void bad_ca_files_are_refused(void **state) {
    struct err err = {0};
    struct http *http;
    assert_int_equal(http_new(&world.loop, &(struct http_options){.ca_bundle = "/nonexistent.pem"}, &http, &err),
                     -EINVAL);
    assert_non_null(strstr(err.text, "/nonexistent.pem"));
    assert_int_equal(http_new(&world.loop, &(struct http_options){.ca_bundle = "/etc/passwd"}, &http, &err), -EINVAL);
}

static void names_are_resolved_in_the_background(void **state) {
    world.server->fallback.text = OK_EMPTY;
    char url[64];
    snprintf(url, sizeof url, "http://localhost:%d/k", world.server->port);
    struct probe p[4] = {0};
    for (int i = 0; i < 4; i++)
        assert_int_equal(probe_send(&p[i], (struct http_send){.url = url}, ""), 0);
    http_cancel(p[0].request);
    for (int i = 0; i < 3; i++) {
        probe_run(&p[i]);
        assert_int_equal(p[i].end, i == 0 ? HTTP_CANCELLED : HTTP_DONE);
    }
    struct probe late = {0};
    assert_int_equal(probe_send(&late, (struct http_send){.url = url}, ""), 0);
    world_close_http();
    assert_int_equal(late.dones, 1);
    for (int i = 0; i < 4; i++)
        probe_free(&p[i]);
}

static void connections_are_reused(void **state) {
    world.server->fallback.text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    for (int i = 0; i < 50; i++) {
        struct probe p = {0};
        probe_finish(&p, "/k");
        assert_int_equal(p.end, HTTP_DONE);
        probe_free(&p);
    }
    assert_int_equal(world.server->n_accepted, 1);
    struct probe many[20] = {0};
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 20; i++)
            probe_start(&many[i], "/k");
        for (int i = 0; i < 20; i++) {
            probe_run(&many[i]);
            assert_int_equal(many[i].end, HTTP_DONE);
            probe_free(&many[i]);
        }
    }
    assert_true(world.server->n_accepted <= 20);
}

static void a_connection_closed_while_idle_is_replaced(void **state) {
    world.server->fallback.text = OK_EMPTY;
    for (int i = 0; i < 5; i++) {
        struct probe p = {0};
        probe_finish(&p, "/k");
        assert_int_equal(p.end, HTTP_DONE);
        probe_free(&p);
        script_close_connections(world.server);
        world_run_ms(3);
    }
    assert_int_equal(world.server->n_requests, 5);
}

static void a_reused_connection_that_dies_is_tried_again_at_once(void **state) {
    script_add(world.server, (struct script_answer){.text = OK_EMPTY});
    script_add(world.server, (struct script_answer){.then = SCRIPT_CLOSE});
    script_add(world.server, (struct script_answer){.text = OK_EMPTY});
    script_add(world.server, (struct script_answer){.then = SCRIPT_RESET});
    script_add(world.server, (struct script_answer){.text = OK_EMPTY});
    for (int i = 0; i < 3; i++) {
        struct probe p = {0};
        struct http_send send = {.method = "PUT", .body = BYTES("again"), .has_body = true};
        assert_int_equal(probe_send(&p, send, "/k"), 0);
        probe_run(&p);
        assert_int_equal(p.end, HTTP_DONE);
        probe_free(&p);
    }
    assert_int_equal(world.server->n_requests, 5);
    for (size_t i = 0; i < 5; i++)
        assert_non_null(strstr(world.server->requests[i].p, "\r\n\r\nagain"));
}

static void what_nobody_asked_for_is_no_answer(void **state) {
    script_add(world.server,
               (struct script_answer){.text = OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray",
                                      .piece = sizeof OK_EMPTY - 1,
                                      .piece_ms = 20});
    script_add(world.server, (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright"});
    struct probe p = {0};
    probe_finish(&p, "/k");
    assert_int_equal(p.end, HTTP_DONE);
    probe_free(&p);
    world_run_ms(40);
    probe_finish(&p, "/k");
    assert_int_equal(p.end, HTTP_DONE);
    assert_string_equal(p.body.p, "right");
    probe_free(&p);
}

static void hosts_take_turns_on_few_connections(void **state) {
    world.server->fallback.text = OK_EMPTY;
    char url[64];
    snprintf(url, sizeof url, "http://localhost:%d/k", world.server->port);
    struct probe many[30] = {0};
    for (int i = 0; i < 30; i++)
        assert_int_equal(probe_send(&many[i], (struct http_send){.url = i % 3 ? NULL : url}, "/k"), 0);
    for (int i = 0; i < 30; i++) {
        probe_run(&many[i]);
        assert_int_equal(many[i].end, HTTP_DONE);
        probe_free(&many[i]);
    }
}

static void no_more_connections_than_allowed(void **state) {
    world.server->fallback = (struct script_answer){.text = OK_EMPTY, .wait_ms = 5};
    struct probe many[12] = {0};
    size_t most = 0;
    for (int i = 0; i < 12; i++)
        probe_start(&many[i], "/k");
    for (int i = 0; i < 12; i++)
        while (!many[i].dones) {
            uv_run(&world.loop, UV_RUN_ONCE);
            most = world.server->n_open > most ? world.server->n_open : most;
        }
    for (int i = 0; i < 12; i++) {
        assert_int_equal(many[i].end, HTTP_DONE);
        probe_free(&many[i]);
    }
    assert_true(most <= 2);
    assert_true(world.server->n_accepted <= 2);
}

static void idle_connections_do_not_keep_the_loop(void **state) {
    world.server->fallback.text = OK_EMPTY;
    struct probe p = {0};
    probe_finish(&p, "/k");
    probe_free(&p);
    uv_unref((uv_handle_t *)&world.server->tcp);
    script_close_connections(world.server);
    int64_t before = world_now_us();
    uv_run(&world.loop, UV_RUN_DEFAULT);
    assert_true(world_now_us() - before < 5 * US_PER_S);
    uv_ref((uv_handle_t *)&world.server->tcp);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_TEST(nobody_listens),
        WORLD_TEST_IN(world_setup_quick_connect, tls_to_a_server_without_it_is_unreachable),
        WORLD_TEST(other_protocols_are_refused),
        WORLD_TEST(the_environments_proxy_is_ignored),
        WORLD_TEST(bad_ca_files_are_refused),
        WORLD_TEST_IN(world_setup_patient, names_are_resolved_in_the_background),
        WORLD_TEST(connections_are_reused),
        WORLD_TEST(a_connection_closed_while_idle_is_replaced),
        WORLD_TEST(a_reused_connection_that_dies_is_tried_again_at_once),
        WORLD_TEST(what_nobody_asked_for_is_no_answer),
        WORLD_TEST_IN(world_setup_patient_two, hosts_take_turns_on_few_connections),
        WORLD_TEST_IN(world_setup_two, no_more_connections_than_allowed),
        WORLD_TEST_IN(world_setup_patient, idle_connections_do_not_keep_the_loop),
    };
    return cmocka_run_group_tests_name("http connections", tests, NULL, NULL);
}
