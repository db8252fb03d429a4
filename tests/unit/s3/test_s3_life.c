/* test_s3_life.c - calls that end early, a client that closes, memory that ends, and many calls at once. */
#include "mem.h"
#include "s3_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void cancelled_in_every_phase(void **state) {
    struct seen s = {0};
    world.server->fallback =
        (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", .then = SCRIPT_HANG};
    world_begin(&s, GET); /* not yet sent */
    world.busy = true;
    s3_cancel(s.call);
    s3_cancel(s.call);
    world.busy = false;
    seen_finish(&s);
    assert_int_equal(s.status, S3_CANCELLED);
    assert_string_equal(s.text, "GET bucket-1/key: cancelled");
    seen_free(&s);

    world_begin(&s, GET); /* in its body */
    seen_run_to_piece(&s);
    world.busy = true;
    s3_cancel(s.call);
    world.busy = false;
    seen_finish(&s);
    assert_int_equal(s.status, S3_CANCELLED);
    seen_free(&s);

    s.cancel_in_info = true;
    world_call(&s, GET);
    assert_int_equal(s.status, S3_CANCELLED);
    assert_int_equal(s.pieces, 0);
    seen_free(&s);

    s.cancel_in_data = true;
    world_call(&s, GET);
    assert_int_equal(s.status, S3_CANCELLED);
    assert_int_equal(s.pieces, 1);
    seen_free(&s);

    s.pause_every = 1; /* paused */
    world_begin(&s, GET);
    seen_run_to_piece(&s);
    s3_cancel(s.call);
    seen_finish(&s);
    assert_int_equal(s.status, S3_CANCELLED);
    seen_free(&s);

    world.server->fallback = (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"};
    s.cancel_in_data = true; /* in its last piece */
    world_call(&s, GET);
    assert_int_equal(s.status, S3_CANCELLED);
    seen_free(&s);

    struct s3_options o = world_options(); /* between attempts */
    o.retry_base_us = 1000 * US_PER_S;
    o.call_deadline_us = 1000 * US_PER_S;
    world_use(o);
    world.server->fallback.text = "HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n";
    world_begin(&s, DELETE);
    while (!world_counters().retries)
        uv_run(&world.loop, UV_RUN_ONCE);
    s3_cancel(s.call);
    seen_finish(&s);
    assert_int_equal(s.status, S3_CANCELLED);
    seen_free(&s);

    world_use(world_options()); /* while asking for the region */
    world_add_error(301, "", "PermanentRedirect", "");
    world.server->fallback = (struct script_answer){.text = NULL, .then = SCRIPT_HANG};
    world_begin(&s, GET);
    while (!world_counters().head)
        uv_run(&world.loop, UV_RUN_ONCE);
    s3_cancel(s.call);
    seen_finish(&s);
    assert_int_equal(s.status, S3_CANCELLED);
    seen_free(&s);

    world.provider.fails = true; /* failed already, but not told yet */
    world_begin(&s, GET);
    s3_cancel(s.call);
    seen_finish(&s);
    assert_int_equal(s.status, S3_CANCELLED);
    seen_free(&s);
}

static void closing_ends_all_calls(void **state) {
    struct s3_options o = world_options();
    o.max_connections = 3;
    o.retry_base_us = 1000 * US_PER_S;
    o.call_deadline_us = 1000 * US_PER_S;
    world_use(o);
    struct seen s[6] = {0};
    script_add_body(world.server, 503, "", "");
    world.server->fallback =
        (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", .then = SCRIPT_HANG};
    world_begin(&s[0], DELETE);
    while (!world_counters().retries)
        uv_run(&world.loop, UV_RUN_ONCE);
    s[1].pause_every = 1;
    for (int i = 1; i < 6; i++)
        world_begin(&s[i], i == 4 ? LIST : GET);
    seen_run_to_piece(&s[1]);
    seen_run_to_piece(&s[2]);
    world_close_client();
    for (int i = 0; i < 6; i++) {
        assert_int_equal(s[i].dones, 1);
        assert_int_equal(s[i].status, S3_CANCELLED);
        seen_free(&s[i]);
    }
}

static void closing_from_inside_a_callback(void **state) {
    world.server->fallback = (struct script_answer){.text = NULL, .then = SCRIPT_HANG};
    script_add_body(world.server, 200, "", "hello");
    struct seen s = {.close_in_done = true}, other = {0};
    world_begin(&s, GET);
    world_begin(&other, DELETE);
    seen_finish(&s);
    assert_int_equal(s.status, S3_OK);
    while (!world.closed)
        uv_run(&world.loop, UV_RUN_ONCE);
    assert_int_equal(other.status, S3_CANCELLED);
    seen_free(&s);
    seen_free(&other);
}

static void out_of_memory_is_an_answer_and_leaks_nothing(void **state) {
    static const enum kind kinds[] = {GET, PUT, HEAD, LIST, LIST_BUCKETS};
    static const char *const texts[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nx-amz-checksum-crc32: y/Q5Jg==\r\nx-amz-meta-a: b\r\n\r\n123456789",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"e\"\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nETag: \"e\"\r\nx-amz-meta-a: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 69\r\n\r\n"
        "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
        "HTTP/1.1 200 OK\r\nContent-Length: 142\r\n\r\n<ListAllMyBucketsResult><Buckets><Bucket><Name>bbb</Name>"
        "<BucketRegion>eu-west-1</BucketRegion></Bucket></Buckets></ListAllMyBucketsResult>     ",
    };
    if (!world.closed)
        world_close_client();
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        for (uint64_t n = 1;; n++) {
            world.server->fallback.text = texts[kind];
            world.server->n_requests = 0;
            for (size_t i = 0; i < 4; i++) { /* the server's memory is not what is tested */
                buf_reset(&world.server->requests[i]);
                buf_reserve(&world.server->requests[i], 4096);
            }
            struct s3_options o = world_options();
            o.retry_base_us = 10;
            o.connect_timeout_us = o.stall_timeout_us = 100 * US_PER_MS;
            struct err err = {0};
            struct seen s = {0};
            buf_reserve(&s.out, 4096);
            buf_reserve(&s.body, 4096);
            mem_fail_at(n, 0);
            int r = s3_client_new(&world.loop, &o, &world.client, &err);
            bool made = r == 0;
            if (made) {
                switch (kinds[kind]) {
                case GET:
                    r = s3_get(world.client, BUCKET, KEY, &seen_get_handler, &s, NULL);
                    break;
                case PUT:
                    r = s3_put(world.client, BUCKET, KEY, BYTES("body"), BYTES("a/b"), NULL, 0, seen_put, &s, NULL);
                    break;
                case HEAD:
                    r = s3_head(world.client, BUCKET, KEY, BYTES_NONE, seen_info, &s, NULL);
                    break;
                case LIST:
                    r = s3_list_objects(world.client, BUCKET, BYTES_NONE, BYTES_NONE, 0, seen_objects, &s, NULL);
                    break;
                default:
                    r = s3_list_buckets(world.client, BYTES("b"), BYTES_NONE, seen_buckets, &s, NULL);
                    break;
                }
                if (r == 0)
                    seen_finish(&s);
            }
            uint64_t used = mem_fail_count();
            mem_fail_at(0, 0);
            assert_true(r == 0 || r == -ENOMEM);
            if (made) {
                world.closed = false;
                world_close_client();
            }
            bool over = r == 0 && s.status == S3_OK && used < n;
            if (r == 0)
                assert_true(s.status == S3_OK || s.status == S3_NO_MEMORY || s.status == S3_UNREACHABLE ||
                            s.status == S3_TIMEOUT);
            seen_free(&s);
            script_close_connections(world.server);
            world_run_ms(1);
            if (over)
                break;
        }
    }
    world.server->n_requests = 4;
    world.closed = true;
}

static void many_calls_share_what_there_is(void **state) {
    world.server->fallback.text =
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nx-amz-checksum-crc32: y/Q5Jg==\r\n\r\n123456789";
    static struct seen s[64];
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 64; i++)
            world_begin(&s[i], GET);
        for (int i = 0; i < 64; i++) {
            seen_finish(&s[i]);
            assert_int_equal(s[i].status, S3_OK);
            assert_string_equal(s[i].body.p, "123456789");
            seen_free(&s[i]);
        }
    }
    assert_true(world.server->n_accepted <= 64);
    assert_int_equal(world_counters().get, 640);
    assert_int_equal(world_counters().bytes_in, 640 * 9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_TEST(cancelled_in_every_phase),       WORLD_TEST(closing_ends_all_calls),
        WORLD_TEST(closing_from_inside_a_callback), WORLD_TEST(out_of_memory_is_an_answer_and_leaks_nothing),
        WORLD_TEST(many_calls_share_what_there_is),
    };
    return cmocka_run_group_tests_name("s3 life", tests, NULL, NULL);
}
