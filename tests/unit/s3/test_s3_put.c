/* test_s3_put.c - bodies that are read: what goes over the wire, again for each attempt, and what the answer must say.
 */
#include "checksum.h"
#include "mem.h"
#include "s3_signed.h"
#include "s3_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define GOOD "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"e\"\r\n\r\n"

/* A body whose bytes follow from their places, and what came of storing it. */
struct source {
    struct seen seen; /* the first: the callbacks' one argument is both */
    uint64_t size, asked;
    uint64_t fails_after; /* bytes that were asked for, over all readings */
    bool ends;            /* it is shorter than was said, rather than broken */
    bool cancels;
};

static char byte_at(uint64_t at) {
    return (char)('a' + at * 7 % 23 + at / 4099 % 3);
}

static int64_t read_source(void *arg, uint64_t offset, void *to, size_t n) {
    struct source *source = arg;
    assert_true(offset + n <= source->size);
    if (source->cancels) {
        s3_cancel(source->seen.call);
        source->cancels = false;
    }
    if (source->fails_after && source->asked + n > source->fails_after)
        return source->ends ? (int64_t)n - 1 : -EIO;
    source->asked += n;
    for (size_t i = 0; i < n; i++)
        ((char *)to)[i] = byte_at(offset + i);
    return (int64_t)n;
}

static void begin(struct source *source, const struct s3_put_options *options) {
    world.busy = true;
    assert_int_equal(s3_put_stream(world.client, BUCKET, KEY, source->size, read_source, options, S3_PART_BYTES,
                                   seen_put, source, &source->seen.call),
                     0);
    world.busy = false;
}

static void put(struct source *source) {
    begin(source, NULL);
    seen_finish(&source->seen);
}

static void check_sent(size_t request, uint64_t size) {
    const struct buf *sent = &world.server->requests[request];
    const char *body = strstr(sent->p, "\r\n\r\n");
    assert_non_null(body);
    body += 4;
    char length[32];
    snprintf(length, sizeof length, "%llu", (unsigned long long)size);
    assert_string_equal(script_header(world.server, request, "Content-Length"), length);
    assert_int_equal(sent->n - (size_t)(body - sent->p), size);
    uint32_t crc = 0;
    for (uint64_t i = 0; i < size; i++) {
        assert_int_equal(body[i], byte_at(i));
        crc = checksum_crc32(crc, bytes_of(body + i, 1));
    }
    unsigned char digest[4] = {(unsigned char)(crc >> 24), (unsigned char)(crc >> 16), (unsigned char)(crc >> 8),
                               (unsigned char)crc};
    bool comparable;
    assert_true(checksum_header_matches(bytes_str(script_header(world.server, request, "x-amz-checksum-crc32")), digest,
                                        4, &comparable));
    signed_check(request, "us-east-1"); /* and so the body's hash */
}

static void bodies_of_any_size_arrive_whole(void **state) {
    static const uint64_t sizes[] = {0, 1, 32768, 32769, 65536, 65537, 300000, 3000001};
    world.server->fallback.text = GOOD;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct source source = {.size = sizes[i]};
        put(&source);
        assert_int_equal(source.seen.status, S3_OK);
        assert_string_equal(source.seen.out.p, "\"e\" ");
        assert_int_equal(source.seen.attempts, 1);
        check_sent(i, sizes[i]);
        assert_int_equal(source.asked, sizes[i] <= 65536 ? sizes[i] : 2 * sizes[i]);
        seen_free(&source.seen);
    }
    assert_int_equal(world_counters().put, sizeof sizes / sizeof *sizes);
}

static void it_is_stored_as_the_options_say(void **state) {
    const struct s3_header metadata[] = {{BYTES("a"), BYTES("1 2")}};
    const struct s3_put_options options = {
        .content_type = BYTES("image/webp"),
        .storage_class = BYTES("STANDARD_IA"),
        .tagging = BYTES("a=1&b=%20"),
        .metadata = metadata,
        .n_metadata = 1,
    };
    struct source source = {.size = 10};
    script_add(world.server, (struct script_answer){.text = GOOD});
    begin(&source, &options);
    seen_finish(&source.seen);
    assert_int_equal(source.seen.status, S3_OK);
    assert_string_equal(script_header(world.server, 0, "content-type"), "image/webp");
    assert_string_equal(script_header(world.server, 0, "x-amz-storage-class"), "STANDARD_IA");
    assert_string_equal(script_header(world.server, 0, "x-amz-tagging"), "a=1&b=%20");
    assert_string_equal(script_header(world.server, 0, "x-amz-meta-a"), "1 2");
    assert_true(signed_covers(0, "x-amz-tagging"));
    check_sent(0, 10);
    seen_free(&source.seen);
    struct s3_put_options bad = {.tagging = BYTES("a=1\r\nx: y")};
    assert_int_equal(
        s3_put_stream(world.client, BUCKET, KEY, 1, read_source, &bad, S3_PART_BYTES, seen_put, &source, NULL),
        -EINVAL);
    bad = (struct s3_put_options){.storage_class = BYTES("A\nB")};
    assert_int_equal(
        s3_put_stream(world.client, BUCKET, KEY, 1, read_source, &bad, S3_PART_BYTES, seen_put, &source, NULL),
        -EINVAL);
    assert_int_equal(s3_put_stream(world.client, BUCKET, KEY, 1, read_source, NULL, 0, seen_put, &source, NULL),
                     -EINVAL);
    assert_int_equal(world.server->n_requests, 1);
}

static void it_is_read_again_for_each_attempt(void **state) {
    struct source source = {.size = 200000};
    script_add_body(world.server, 503, "", "");
    world_add_error(301, "x-amz-bucket-region: eu-west-1\r\n", "PermanentRedirect", "");
    script_add(world.server, (struct script_answer){.text = GOOD});
    put(&source);
    assert_int_equal(source.seen.status, S3_OK);
    assert_int_equal(source.seen.attempts, 2);
    assert_int_equal(source.seen.throttled, 1);
    check_sent(0, source.size);
    check_sent(1, source.size);
    signed_check(2, "eu-west-1");
    assert_int_equal(world.server->requests[2].n, world.server->requests[1].n);
    assert_int_equal(source.asked, 4 * source.size);
    seen_free(&source.seen);
}

static void a_connection_that_died_while_idle_costs_nothing(void **state) {
    struct source source = {.size = 200000};
    script_add(world.server, (struct script_answer){.text = GOOD});
    script_add(world.server, (struct script_answer){.text = GOOD});
    put(&source);
    seen_free(&source.seen);
    script_close_connections(world.server);
    put(&source);
    assert_int_equal(source.seen.status, S3_OK);
    assert_int_equal(source.seen.attempts, 1);
    check_sent(world.server->n_requests - 1, source.size);
    seen_free(&source.seen);
}

static void a_body_that_cannot_be_read_ends_the_call(void **state) {
    for (int ends = 0; ends < 2; ends++) {
        for (uint64_t after = 1; after < 2 * 300000; after += 41234) {
            struct source source = {.size = 300000, .fails_after = after, .ends = ends};
            size_t before = world.server->n_requests;
            put(&source);
            assert_int_equal(source.seen.status, S3_BAD_REQUEST);
            assert_non_null(strstr(source.seen.text, "cannot be read"));
            assert_int_equal(source.seen.attempts, after >= source.size);
            assert_int_equal(world.server->n_requests, before); /* none whole */
            seen_free(&source.seen);
        }
    }
    struct source small = {.size = 10, .fails_after = 1};
    put(&small);
    assert_int_equal(small.seen.status, S3_BAD_REQUEST);
    seen_free(&small.seen);
}

static void what_the_server_got_must_be_what_was_sent(void **state) {
    static const struct {
        uint64_t size;
        const char *fields;
        enum s3_status status;
    } cases[] = {
        {10, "", S3_CORRUPT},
        {10, "ETag: \"00000000000000000000000000000000\"\r\n", S3_CORRUPT},
        {10, "ETag: \"8c4cbe7ed281671d9e187a7eb3d7e0e0\"\r\n", S3_CORRUPT},
        {10, "ETag: \"00000000000000000000000000000000\"\r\nx-amz-server-side-encryption: aws:kms\r\n", S3_OK},
        {10, "ETag: \"00000000000000000000000000000000-1\"\r\n", S3_OK},
        {10, "ETag: \"e\"\r\nx-amz-checksum-crc32: AAAAAA==\r\n", S3_CORRUPT},
        {100000, "ETag: \"00000000000000000000000000000000\"\r\n", S3_OK},
        {100000, "ETag: \"e\"\r\nx-amz-checksum-crc32: AAAAAA==\r\n", S3_CORRUPT},
    };
    struct s3_options o = world_options();
    o.max_attempts = 1;
    world_use(o);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        script_add_body(world.server, 200, cases[i].fields, "");
        struct source source = {.size = cases[i].size};
        put(&source);
        assert_int_equal(source.seen.status, cases[i].status);
        seen_free(&source.seen);
    }
    /* the right ones */
    script_add_body(world.server, 200, "ETag: \"25f9e794323b453885f5181f1b624d0b\"\r\n", "");
    struct seen s = {0};
    assert_int_equal(s3_put(world.client, BUCKET, KEY, BYTES("123456789"), BYTES_NONE, NULL, 0, seen_put, &s, NULL), 0);
    seen_finish(&s);
    assert_int_equal(s.status, S3_OK);
    seen_free(&s);
    script_add_body(world.server, 200,
                    "ETag: \"00000000000000000000000000000000\"\r\nx-amz-checksum-crc32: y/Q5Jg==\r\n", "");
    assert_int_equal(s3_put(world.client, BUCKET, KEY, BYTES("123456789"), BYTES_NONE, NULL, 0, seen_put, &s, NULL), 0);
    seen_finish(&s);
    assert_int_equal(s.status, S3_OK);
    seen_free(&s);
}

static void cancelled_while_it_is_read(void **state) {
    world.server->fallback.text = GOOD;
    struct source source = {.size = 3000000};
    begin(&source, NULL);
    s3_cancel(source.seen.call);
    seen_finish(&source.seen);
    assert_int_equal(source.seen.status, S3_CANCELLED);
    seen_free(&source.seen);

    begin(&source, NULL); /* by who reads */
    source.cancels = true;
    seen_finish(&source.seen);
    assert_int_equal(source.seen.status, S3_CANCELLED);
    seen_free(&source.seen);

    begin(&source, NULL); /* while it is sent */
    while (!world_counters().put)
        uv_run(&world.loop, UV_RUN_ONCE);
    source.cancels = true;
    seen_finish(&source.seen);
    assert_int_equal(source.seen.status, S3_CANCELLED);
    seen_free(&source.seen);

    begin(&source, NULL);
    world_close_client();
    assert_int_equal(source.seen.status, S3_CANCELLED);
    assert_int_equal(world.server->n_requests, 0);
    seen_free(&source.seen);
}

static void a_server_that_does_not_read_is_a_timeout(void **state) {
    struct s3_options o = world_options();
    o.max_attempts = 1;
    world_use(o);
    world.server->hold_reading = true;
    struct source source = {.size = 16000000};
    put(&source);
    assert_int_equal(source.seen.status, S3_TIMEOUT);
    seen_free(&source.seen);
}

static void a_long_body_has_no_deadline(void **state) {
    struct s3_options o = world_options();
    o.call_deadline_us = 100 * US_PER_MS;
    o.stall_timeout_us = 5 * US_PER_S;
    world_use(o);
    script_add(world.server, (struct script_answer){.text = GOOD, .wait_ms = 400});
    struct source source = {.size = 100};
    put(&source);
    assert_int_equal(source.seen.status, S3_OK);
    seen_free(&source.seen);
}

static void without_memory_it_fails_whole(void **state) {
    world.server->fallback.text = GOOD;
    world_close_client();
    for (uint64_t n = 1;; n++) {
        world.server->n_requests = 0;
        for (size_t i = 0; i < 4; i++) {
            buf_reset(&world.server->requests[i]);
            buf_reserve(&world.server->requests[i], 200000);
        }
        struct s3_options o = world_options();
        o.retry_base_us = 10;
        o.stall_timeout_us = 100 * US_PER_MS;
        struct err err = {0};
        struct source source = {.size = 100000};
        buf_reserve(&source.seen.out, 4096);
        mem_fail_at(n, 0);
        int r = s3_client_new(&world.loop, &o, &world.client, &err);
        bool made = r == 0;
        if (made)
            r = s3_put_stream(world.client, BUCKET, KEY, source.size, read_source, NULL, S3_PART_BYTES, seen_put,
                              &source, &source.seen.call);
        if (r == 0)
            seen_finish(&source.seen);
        uint64_t used = mem_fail_count();
        mem_fail_at(0, 0);
        if (made) {
            world.closed = false;
            world_close_client();
        }
        if (r == 0)
            assert_true(source.seen.status == S3_OK || source.seen.status == S3_NO_MEMORY ||
                        source.seen.status == S3_UNREACHABLE || source.seen.status == S3_TIMEOUT);
        else
            assert_int_equal(r, -ENOMEM);
        bool over = r == 0 && used < n;
        if (over)
            assert_int_equal(source.seen.status, S3_OK);
        seen_free(&source.seen);
        script_close_connections(world.server);
        world_run_ms(1);
        if (over)
            break;
    }
    world.server->n_requests = 4;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_TEST(bodies_of_any_size_arrive_whole),
        WORLD_TEST(it_is_stored_as_the_options_say),
        WORLD_TEST(it_is_read_again_for_each_attempt),
        WORLD_TEST(a_connection_that_died_while_idle_costs_nothing),
        WORLD_TEST(a_body_that_cannot_be_read_ends_the_call),
        WORLD_TEST(what_the_server_got_must_be_what_was_sent),
        WORLD_TEST(cancelled_while_it_is_read),
        WORLD_TEST(a_server_that_does_not_read_is_a_timeout),
        WORLD_TEST(a_long_body_has_no_deadline),
        WORLD_TEST(without_memory_it_fails_whole),
    };
    return cmocka_run_group_tests_name("s3 put", tests, NULL, NULL);
}
