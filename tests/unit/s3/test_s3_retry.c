/* test_s3_retry.c - what is tried again, when, how often, and what remains in the end. */
#include "s3_retry.h"
#include "s3_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void throttling_is_waited_out_and_counted(void **state) {
    world_add_error(503, "", "SlowDown", "");
    world_add_error(429, "", "TooManyRequests", "");
    script_add_body(world.server, 200, "", "hello");
    struct seen s = {0};
    world_call(&s, GET);
    assert_int_equal(s.status, S3_OK);
    assert_int_equal(s.attempts, 3);
    assert_int_equal(s.throttled, 2);
    assert_string_equal(s.body.p, "hello");
    struct s3_counters c = world_counters();
    assert_int_equal(c.get, 3);
    assert_int_equal(c.retries, 2);
    assert_int_equal(c.throttled, 2);
    seen_free(&s);
    for (int i = 0; i < 3; i++)
        world_add_error(503, "", "SlowDown", "");
    world_call(&s, DELETE);
    assert_int_equal(s.status, S3_THROTTLED);
    assert_int_equal(s.attempts, 3);
    assert_non_null(strstr(s.text, "SlowDown"));
    assert_non_null(strstr(s.text, "after 3 attempts"));
    seen_free(&s);
}

static void broken_attempts_are_retried(void **state) {
    static const struct script_answer broken[] = {
        {.text = "HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n"},
        {.text = "HTTP/1.1 504 x\r\nContent-Length: 0\r\n\r\n"},
        {.text = NULL, .then = SCRIPT_RESET},
        {.text = NULL, .then = SCRIPT_CLOSE},
        {.text = NULL, .then = SCRIPT_HANG},
        {.text = "garbage\r\n\r\n", .then = SCRIPT_CLOSE},
        {.text = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<ListBucketResult>", .then = SCRIPT_CLOSE},
        {.text = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<ListBucketResult>", .then = SCRIPT_HANG},
        {.text = "HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n<ListBucketResult>"},
        {.text = "HTTP/1.1 200 OK\r\nContent-Length: 53\r\n\r\n<Error><Code>InternalError</Code><Message/></Error>   "},
        {.text = "HTTP/1.1 404 x\r\nContent-Length: 100\r\n\r\n", .then = SCRIPT_CLOSE},
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        script_close_connections(world.server);
        world_run_ms(2);
        script_add(world.server, broken[i]);
        script_add_body(world.server, 200, "", "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>");
        struct seen s = {0};
        world_call(&s, LIST);
        if (s.status != S3_OK || s.attempts != 2)
            print_error("case %zu: %d %s\n", i, (int)s.attempts, s.text);
        assert_int_equal(s.status, S3_OK);
        assert_int_equal(s.attempts, 2);
        seen_free(&s);
    }
}

static void what_remains_after_the_retries(void **state) {
    struct s3_options o = world_options();
    o.max_attempts = 2;
    world_use(o);
    static const struct {
        struct script_answer answer;
        enum s3_status want;
    } cases[] = {
        {{.text = NULL, .then = SCRIPT_CLOSE}, S3_UNREACHABLE},
        {{.text = NULL, .then = SCRIPT_HANG}, S3_TIMEOUT},
        {{.text = "garbage\r\n\r\n", .then = SCRIPT_CLOSE}, S3_CORRUPT},
        {{.text = "HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n<ListBucketResult>"}, S3_CORRUPT},
        {{.text = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<ListBucketResult>", .then = SCRIPT_CLOSE},
         S3_CORRUPT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        script_close_connections(world.server);
        world_run_ms(2);
        script_add(world.server, cases[i].answer);
        script_add(world.server, cases[i].answer);
        struct seen s = {0};
        world_call(&s, LIST);
        assert_int_equal(s.status, cases[i].want);
        assert_int_equal(s.attempts, 2);
        seen_free(&s);
    }
    o.endpoint = "http://127.0.0.1:1";
    world_use(o);
    struct seen s = {0};
    world_call(&s, GET);
    assert_int_equal(s.status, S3_UNREACHABLE);
    assert_int_equal(s.http_status, 0);
    assert_int_equal(s.attempts, 2);
    assert_non_null(strstr(s.text, "127.0.0.1"));
    seen_free(&s);
}

static void a_put_is_sent_whole_again(void **state) {
    world_add_error(500, "", "InternalError", "");
    script_add_body(world.server, 200, "ETag: \"x\"\r\n", "");
    struct seen s = {0};
    world_call(&s, PUT);
    assert_int_equal(s.status, S3_OK);
    assert_int_equal(world.server->n_requests, 2);
    for (size_t i = 0; i < 2; i++)
        assert_non_null(strstr(world.server->requests[i].p, "\r\n\r\nsome body"));
    seen_free(&s);
}

static void the_server_says_when(void **state) {
    world_add_error(503, "x-amz-retry-after: 120\r\n", "SlowDown", "");
    script_add_body(world.server, 200, "", "");
    struct seen s = {0};
    int64_t before = world_now_us();
    world_call(&s, GET);
    assert_int_equal(s.status, S3_OK);
    assert_true(world_now_us() - before >= 119 * US_PER_MS);
    seen_free(&s);
    /* longer than the deadline: there is no use in waiting */
    world_add_error(503, "Retry-After: 15\r\n", "SlowDown", "");
    before = world_now_us();
    world_call(&s, DELETE);
    assert_int_equal(s.status, S3_THROTTLED);
    assert_int_equal(s.attempts, 1);
    assert_true(world_now_us() - before < US_PER_S);
    seen_free(&s);
}

static void waits_are_random_and_bounded(void **state) {
    struct rng rng;
    rng_seed(&rng, 7);
    int64_t most[8] = {0};
    for (int i = 0; i < 2000; i++) {
        for (uint32_t n = 1; n < 8; n++) {
            int64_t wait = s3_wait_us(&rng, US_PER_S, true, n, 0);
            int64_t bound = US_PER_S << (n - 1);
            bound = bound > 20 * US_PER_S ? 20 * US_PER_S : bound;
            assert_in_range(wait, 0, bound - 1);
            most[n] = wait > most[n] ? wait : most[n];
        }
        assert_in_range(s3_wait_us(&rng, US_PER_S, false, 1, 0), 0, US_PER_S / 10);
    }
    for (uint32_t n = 2; n < 5; n++)
        assert_true(most[n] > most[n - 1]);
    assert_int_equal(s3_wait_us(&rng, US_PER_S, false, 1, 3 * US_PER_S), 3 * US_PER_S);
    assert_int_equal(s3_wait_us(&rng, US_PER_S, false, 1, 300 * US_PER_S), 20 * US_PER_S);
    assert_in_range(s3_wait_us(&rng, US_PER_S, true, UINT32_MAX, 0), 0, 20 * US_PER_S);
}

static void a_broken_server_is_not_hammered(void **state) {
    struct s3_options o = world_options();
    o.retry_base_us = 10;
    world_use(o);
    world.server->fallback.text = "HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n";
    struct seen s = {0};
    for (int i = 0; i < 200; i++) {
        world_call(&s, GET);
        assert_int_equal(s.status, S3_SERVER);
        seen_free(&s);
    }
    assert_int_equal(world_counters().retries, S3_QUOTA_MAX / S3_QUOTA_RETRY);
    /* successes fill it again, one token each */
    world.server->fallback.text = EMPTY_OK;
    for (int i = 0; i < S3_QUOTA_RETRY; i++) {
        world_call(&s, GET);
        assert_int_equal(s.status, S3_OK);
        seen_free(&s);
    }
    world.server->fallback.text = "HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n";
    world_call(&s, GET);
    assert_int_equal(s.attempts, 2);
    seen_free(&s);
}

static void the_deadline_covers_all_attempts(void **state) {
    struct s3_options o = world_options();
    o.call_deadline_us = 120 * US_PER_MS;
    o.stall_timeout_us = 50 * US_PER_MS;
    o.max_attempts = 100;
    world_use(o);
    struct seen s = {0};
    int64_t before = world_now_us();
    world_call(&s, DELETE); /* nobody answers */
    int64_t took = world_now_us() - before;
    assert_int_equal(s.status, S3_TIMEOUT);
    assert_in_range(took, 60 * US_PER_MS, 2 * US_PER_S);
    assert_true(s.duration_us >= 60 * US_PER_MS);
    seen_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_TEST(throttling_is_waited_out_and_counted),
        WORLD_TEST(broken_attempts_are_retried),
        WORLD_TEST(what_remains_after_the_retries),
        WORLD_TEST(a_put_is_sent_whole_again),
        WORLD_TEST(the_server_says_when),
        WORLD_TEST(waits_are_random_and_bounded),
        WORLD_TEST(a_broken_server_is_not_hammered),
        WORLD_TEST(the_deadline_covers_all_attempts),
    };
    return cmocka_run_group_tests_name("s3 retry", tests, NULL, NULL);
}
