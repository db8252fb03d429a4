/* test_s3_get.c - bodies of objects: checksums, early ends, pauses. */
#include "s3_world.h"

#include "checksum.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void bodies_are_verified(void **state) {
    static const struct {
        const char *fields, *body;
        enum s3_status want;
    } cases[] = {
        {"x-amz-checksum-crc32: y/Q5Jg==\r\n", "123456789", S3_OK},
        {"x-amz-checksum-crc32: y/Q5Jh==\r\n", "123456789", S3_CORRUPT},
        {"x-amz-checksum-crc32: y/Q5Jg==\r\n", "123456780", S3_CORRUPT},
        {"x-amz-checksum-crc32c: 4waSgw==\r\n", "123456789", S3_OK},
        {"x-amz-checksum-crc32c: 4waSgw==\r\n", "123456788", S3_CORRUPT},
        {"x-amz-checksum-crc64nvme: rosUhgp5mIg=\r\n", "123456789", S3_OK},
        {"x-amz-checksum-crc64nvme: rosUhgp5mIk=\r\n", "123456789", S3_CORRUPT},
        {"x-amz-checksum-sha1: 98O8HYCOBHMqcliYpQNzSsN+Brk=\r\n", "123456789", S3_CORRUPT},
        {"x-amz-checksum-sha256: FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=\r\n", "123456789", S3_OK},
        {"x-amz-checksum-sha256: FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiV=\r\n", "123456789", S3_CORRUPT},
        {"x-amz-checksum-crc32: y/Q5Jg==-3\r\n", "something else", S3_OK}, /* a checksum of checksums */
        {"x-amz-checksum-xxhash64: AAAA\r\n", "something else", S3_OK},    /* not one that we know */
        {"ETag: \"25f9e794323b453885f5181f1b624d0b\"\r\n", "123456789", S3_OK},
        {"ETag: \"25f9e794323b453885f5181f1b624d0b\"\r\n", "12345678x", S3_CORRUPT},
        {"ETag: \"d41d8cd98f00b204e9800998ecf8427e\"\r\n", "", S3_OK},
        {"ETag: \"d41d8cd98f00b204e9800998ecf8427f\"\r\n", "", S3_CORRUPT},
        {"ETag: \"25f9e794323b453885f5181f1b624d0b-2\"\r\n", "anything", S3_OK},
        {"ETag: \"25f9e794323b453885f5181f1b624d0b\"\r\nx-amz-server-side-encryption: aws:kms\r\n", "anything", S3_OK},
        {"ETag: \"25f9e794323b453885f5181f1b624d0b\"\r\nx-amz-server-side-encryption: AES256\r\n", "anything",
         S3_CORRUPT},
        {"ETag: \"25f9e794323b453885f5181f1b624d0b\"\r\nx-amz-server-side-encryption-customer-algorithm: AES256\r\n",
         "anything", S3_OK},
        /* the checksum counts, not an ETag that is no MD5 by this server's rules */
        {"ETag: \"00000000000000000000000000000000\"\r\nx-amz-checksum-crc32: y/Q5Jg==\r\n", "123456789", S3_OK},
        {"x-amz-checksum-crc32: y/Q5Jg==-3\r\nETag: \"25f9e794323b453885f5181f1b624d0b\"\r\n", "wrong", S3_CORRUPT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        script_add_body(world.server, 200, cases[i].fields, cases[i].body);
        struct seen s = {0};
        world_call(&s, GET);
        if (s.status != cases[i].want)
            print_error("case %zu: %s %s\n", i, s3_status_name(s.status), s.text);
        assert_int_equal(s.status, cases[i].want);
        assert_int_equal(s.infos, 1);
        assert_int_equal(s.attempts, 1); /* bytes were handed out */
        assert_string_equal(s.body.p ? s.body.p : "", cases[i].body);
        seen_free(&s);
    }
}

static void bodies_that_end_early(void **state) {
    static const struct {
        struct script_answer answer;
        enum s3_status want;
    } cases[] = {
        {{.text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", .then = SCRIPT_CLOSE}, S3_CORRUPT},
        {{.text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", .then = SCRIPT_RESET}, S3_CORRUPT},
        {{.text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", .then = SCRIPT_HANG}, S3_TIMEOUT},
        {{.text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", .then = SCRIPT_CLOSE},
         S3_CORRUPT},
        {{.text = "HTTP/1.1 200 OK\r\n\r\nhello", .then = SCRIPT_CLOSE}, S3_CORRUPT}, /* no length at all */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        script_close_connections(world.server);
        world_run_ms(2);
        size_t before = world.server->n_requests;
        script_add(world.server, cases[i].answer);
        struct seen s = {0};
        world_call(&s, GET);
        assert_int_equal(s.status, cases[i].want);
        assert_int_equal(s.infos, 1);
        assert_int_equal(world.server->n_requests, before + 1);
        seen_free(&s);
    }
    script_add(world.server,
               (struct script_answer){.text = "HTTP/1.1 200 OK\r\nx-amz-checksum-crc32: y/Q5Jg==\r\n\r\n123456789",
                                      .then = SCRIPT_CLOSE});
    struct seen s = {0};
    world_call(&s, GET); /* the checksum says that it is whole */
    assert_int_equal(s.status, S3_OK);
    seen_free(&s);
    script_add(world.server, (struct script_answer){.text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                                            "5\r\nhello\r\n0\r\n\r\n"});
    world_call(&s, GET);
    assert_int_equal(s.status, S3_OK);
    assert_non_null(strstr(s.out.p, "-1 ")); /* S3_SIZE_UNKNOWN */
    seen_free(&s);
}

static void too_long_an_etag_is_a_broken_answer(void **state) {
    char fields[512];
    snprintf(fields, sizeof fields, "ETag: \"%0300d\"\r\n", 1);
    for (int i = 0; i < 3; i++)
        script_add_body(world.server, 200, fields, "hello");
    struct seen s = {0};
    world_call(&s, GET);
    assert_int_equal(s.status, S3_CORRUPT);
    assert_int_equal(s.infos, 0);
    assert_int_equal(s.attempts, 3);
    seen_free(&s);
}

static void a_get_pauses_and_goes_on(void **state) {
    size_t n = 400000;
    char *body = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        body[i] = (char)('a' + (i * 11 + i / 1000) % 26);
    body[n] = '\0';
    struct buf text = {0};
    buf_printf(&text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);
    buf_add(&text, body, n);
    script_add(world.server, (struct script_answer){.text = text.p, .n = text.n});
    struct seen s = {.pause_every = 1};
    world_begin(&s, GET);
    while (!s.dones) {
        uv_run(&world.loop, UV_RUN_NOWAIT);
        if (!s.paused)
            continue;
        for (int i = 0; i < 3; i++)
            uv_run(&world.loop, UV_RUN_NOWAIT);
        assert_int_equal(s.dones, 0);
        s.paused = false;
        world.busy = true;
        s3_get_resume(s.call);
        world.busy = false;
    }
    assert_int_equal(s.status, S3_OK);
    assert_true(s.pieces > 5);
    assert_int_equal(s.body.n, n);
    assert_memory_equal(s.body.p, body, n);
    seen_free(&s);
    script_add(world.server, (struct script_answer){.text = text.p, .n = text.n});
    s = (struct seen){.pause_every = 2, .resume_in_data = true};
    world_call(&s, GET);
    assert_int_equal(s.status, S3_OK);
    assert_int_equal(s.body.n, n);
    seen_free(&s);
    buf_free(&text);
    free(body);
}

/* With threads that compute the checksums of large bodies: the same verdicts, also when a body is given up half-way. */
static void large_bodies_are_verified_beside_the_loop(void **state) {
    struct s3_options o = world_options();
    o.hash_threads = 2;
    world_use(o);
    size_t n = 3000000;
    char *body = malloc(n + 1);
    assert_non_null(body);
    memset(body, 'a', n);
    body[n] = '\0';
    struct checksum *sum;
    unsigned char digest[CHECKSUM_SIZE_MAX];
    size_t digest_n;
    assert_int_equal(checksum_new(&sum), 0);
    assert_int_equal(checksum_begin(sum, CHECKSUM_MD5), 0);
    assert_int_equal(checksum_update(sum, bytes_of(body, n)), 0);
    assert_int_equal(checksum_end(sum, digest, &digest_n), 0);
    checksum_free(sum);
    for (int wrong = 0; wrong < 2; wrong++) {
        struct buf text = {0};
        buf_printf(&text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nETag: \"", n);
        for (size_t i = 0; i < digest_n; i++)
            buf_printf(&text, "%02x", digest[i]);
        buf_add_str(&text, "\"\r\n\r\n");
        body[n - 1] = wrong ? 'b' : 'a';
        buf_add(&text, body, n);
        script_add(world.server, (struct script_answer){.text = text.p, .n = text.n});
        struct seen s = {0};
        world_call(&s, GET);
        assert_int_equal(s.status, wrong ? S3_CORRUPT : S3_OK);
        assert_int_equal(s.body.n, n);
        seen_free(&s);
        script_add(world.server, (struct script_answer){.text = text.p, .n = text.n / 2, .then = SCRIPT_CLOSE});
        world_call(&s, GET);
        assert_int_equal(s.status, S3_CORRUPT);
        seen_free(&s);
        buf_free(&text);
    }
    free(body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_TEST(bodies_are_verified),
        WORLD_TEST(bodies_that_end_early),
        WORLD_TEST(too_long_an_etag_is_a_broken_answer),
        WORLD_TEST(a_get_pauses_and_goes_on),
        WORLD_TEST(large_bodies_are_verified_beside_the_loop),
    };
    return cmocka_run_group_tests_name("s3 get", tests, NULL, NULL);
}
