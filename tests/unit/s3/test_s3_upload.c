/* test_s3_upload.c - multipart uploads against the fake server: what comes out whole, and what is left
 * behind when any of the requests fails. */
#include "mem.h"
#include "mock_world.h"
#include "s3_signed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define REQUESTS 6 /* that one upload takes: its beginning, four parts, its end */

static void parts_become_one_object(void **state) {
    static const struct {
        uint64_t size;
        const char *parts;
    } cases[] = {{1000, ""}, {1001, "-2\""}, {2000, "-2\""}, {3500, "-4\""}, {100000, "-100\""}};
    mock_world_start(NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct source source = {.size = cases[i].size};
        source_put(&source, NULL);
        assert_string_equal(source.seen.text, "");
        assert_int_equal(source.seen.status, S3_OK);
        assert_non_null(strstr(source.seen.out.p, cases[i].parts));
        assert_int_equal(mock_uploads(mock), 0);
        mock_world_check(cases[i].size);
        seen_free(&source.seen);
    }
    assert_int_equal(world_counters().put, 1);
}

/* No more than 10000 of them: they grow. */
static void parts_grow_with_a_large_body(void **state) {
    static const struct {
        uint64_t size, part;
        const char *length;
    } cases[] = {
        {PART * UINT64_C(10000), PART, "1000"},
        {PART * UINT64_C(10000) + 1, PART, "1001"},
        {PART * UINT64_C(20000), PART, "2000"},
        {PART * UINT64_C(20000) + 1, PART, "2001"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        world_use(world_options());
        size_t first = world.server->n_requests;
        script_add_body(world.server, 200, "",
                        "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>");
        world_add_error(403, "", "AccessDenied", "");
        script_add_body(world.server, 200, "", ""); /* the abort's */
        struct source source = {.size = cases[i].size};
        source_put(&source, NULL);
        assert_int_equal(source.seen.status, S3_DENIED);
        assert_string_equal(script_target(world.server, first + 1), "PUT /bucket-1/key?partNumber=1&uploadId=u");
        assert_string_equal(script_header(world.server, first + 1, "Content-Length"), cases[i].length);
        assert_string_equal(script_target(world.server, first + 2), "DELETE /bucket-1/key?uploadId=u");
        seen_free(&source.seen);
    }
    struct source source = {.size = 10000 * S3_PUT_MAX + 1};
    assert_int_equal(source_begin(&source, NULL), -EINVAL);
}

static void a_bucket_elsewhere_is_found_before_any_part(void **state) {
    world_add_error(301, "x-amz-bucket-region: eu-west-1\r\n", "PermanentRedirect", "");
    script_add_body(world.server, 200, "",
                    "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>");
    script_add_body(world.server, 200, "ETag: \"1\"\r\n", "");
    script_add_body(world.server, 200, "ETag: \"2\"\r\n", "");
    script_add_body(world.server, 200, "",
                    "<CompleteMultipartUploadResult><ETag>\"e-2\"</ETag></CompleteMultipartUploadResult>");
    struct source source = {.size = 2 * PART};
    source_put(&source, NULL);
    assert_int_equal(source.seen.status, S3_OK);
    assert_string_equal(source.seen.out.p, "\"e-2\" ");
    signed_check(0, "us-east-1");
    for (size_t i = 1; i < 5; i++)
        signed_check(i, "eu-west-1");
    assert_int_equal(world_counters().redirects, 1);
    assert_non_null(strstr(world.server->requests[4].p,
                           "<Part><PartNumber>1</PartNumber><ETag>&quot;1&quot;</ETag><ChecksumCRC32>"));
    seen_free(&source.seen);
}

/* Keys that expire in the middle are renewed, and the upload goes on; those that cannot be renewed end it. */
static void keys_may_expire_at_any_request(void **state) {
    char order[200];
    for (int n = 0; n < REQUESTS; n++) {
        for (int renews = 0; renews < 2; renews++) {
            snprintf(
                order, sizeof order,
                "user access=AKIDNEW secret=test; error op=upload status=400 code=ExpiredToken after-n=%d count=%d", n,
                renews ? 1 : 2);
            mock_world_start(order);
            world.provider.renews = renews;
            struct source source = {.size = SIZE};
            source_put(&source, NULL);
            assert_int_equal(source.seen.status, renews ? S3_OK : S3_CREDENTIALS);
            assert_int_equal(world.provider.refused > 0, true);
            assert_int_equal(mock_uploads(mock), 0);
            assert_int_equal(mock_world_exists(), renews);
            seen_free(&source.seen);
        }
    }
}

static void tags_are_put_again_where_they_may_be_ignored(void **state) {
    struct s3_put_options options = {.tagging = BYTES("t=1%202&u=&%C3%A9=a+b")};
    struct source source = {.size = SIZE};
    mock_world_start(NULL);
    source_put(&source, &options);
    assert_int_equal(source.seen.status, S3_OK);
    assert_non_null(strstr(source.seen.out.p, "-4"));
    assert_int_equal(world_counters().tagging, 1);
    mock_world_check_tags("t=1 2;u=;\xc3\xa9=a b;");
    seen_free(&source.seen);
    mock_world_start("error op=put-tagging status=403 code=AccessDenied");
    source_put(&source, &options);
    assert_int_equal(source.seen.status, S3_DENIED);
    assert_non_null(strstr(source.seen.text, "PUT tags of bucket-1/key: 403 AccessDenied"));
    assert_int_equal(mock_uploads(mock), 0);
    seen_free(&source.seen);
    mock_world_start(NULL); /* one request tells all by itself */
    source.size = PART;
    source_put(&source, &options);
    assert_int_equal(source.seen.status, S3_OK);
    assert_int_equal(world_counters().tagging, 0);
    mock_world_check_tags("t=1 2;u=;\xc3\xa9=a b;");
    seen_free(&source.seen);
}

static void it_is_stored_as_the_options_say(void **state) {
    const struct s3_header metadata = {BYTES("m"), BYTES("n")};
    const struct s3_put_options options = {.content_type = BYTES("a/b"),
                                           .storage_class = BYTES("STANDARD_IA"),
                                           .tagging = BYTES("t=1%202&u="),
                                           .metadata = &metadata,
                                           .n_metadata = 1};
    static const uint64_t sizes[] = {10, SIZE};
    for (size_t i = 0; i < 2; i++) {
        mock_world_start(NULL);
        struct source source = {.size = sizes[i]};
        source_put(&source, &options);
        assert_int_equal(source.seen.status, S3_OK);
        seen_free(&source.seen);
        struct seen s = {0};
        world_call(&s, HEAD);
        assert_non_null(strstr(s.out.p, " a/b "));
        assert_non_null(strstr(s.out.p, " m=n"));
        seen_free(&s);
        assert_int_equal(s3_get_tags(world.client, BUCKET, KEY, BYTES_NONE, seen_tags, &s, NULL), 0);
        seen_finish(&s);
        assert_string_equal(s.out.p, "t=1 2;u=;");
        seen_free(&s);
    }
}

/* The n-th request of the upload fails, for every n: once, so that it is mended, and for good. */
static void any_request_may_fail(void **state) {
    static const char *const faults[] = {"error status=500", "error status=503 code=SlowDown", "reset"};
    char order[200];
    for (size_t kind = 0; kind < sizeof faults / sizeof *faults; kind++) {
        for (int n = 0; n < REQUESTS; n++) {
            for (int times = 1; times <= 3; times += 2) {
                snprintf(order, sizeof order, "%s op=create-upload,upload-part,complete-upload count=%d after-n=%d",
                         faults[kind], times == 1 ? 1 : 1000, n);
                mock_world_start(order);
                struct source source = {.size = SIZE};
                source_put(&source, NULL);
                assert_int_equal(source.seen.status == S3_OK, times == 1);
                assert_int_equal(source.seen.throttled, kind == 1 ? times : 0);
                assert_null(strstr(source.seen.text, "left behind"));
                assert_int_equal(mock_uploads(mock), 0);
                assert_int_equal(mock_world_exists(), times == 1);
                if (times == 1)
                    mock_world_check(SIZE);
                else
                    assert_non_null(strstr(source.seen.text, " of bucket-1/key"));
                seen_free(&source.seen);
            }
        }
    }
}

static void a_lost_answer_to_a_part_or_the_end_changes_nothing(void **state) {
    char order[200];
    for (int n = 1; n < REQUESTS; n++) {
        snprintf(order, sizeof order, "reset op=upload applied=yes count=1 after-n=%d", n);
        mock_world_start(order);
        struct source source = {.size = SIZE};
        source_put(&source, NULL);
        assert_string_equal(source.seen.text, "");
        assert_int_equal(source.seen.status, S3_OK);
        assert_non_null(strstr(source.seen.out.p, "-4\""));
        assert_int_equal(mock_uploads(mock), 0);
        mock_world_check(SIZE);
        seen_free(&source.seen);
    }
}

/* COMPLETE worked and its answer was lost, so the next one finds no upload; and then the look that would tell fails. */
static void a_look_that_fails_is_told(void **state) {
    static const struct {
        const char *head;
        enum s3_status status;
        int http_status;
        const char *text;
    } looks[] = {
        {"error op=head status=403", S3_DENIED, 403,
         "its upload has ended, and whether it was stored cannot be seen: HEAD bucket-1/key: 403"},
        {"error op=head status=500", S3_SERVER, 500,
         "its upload has ended, and whether it was stored cannot be seen: HEAD bucket-1/key: 500"},
        {"error op=head status=404", S3_CONFLICT, 0, "somebody else ended its upload"},
    };
    char order[200];
    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++) {
        snprintf(order, sizeof order, "reset op=complete-upload applied=yes count=1; %s", looks[i].head);
        mock_world_start(order);
        struct source source = {.size = SIZE};
        source_put(&source, NULL);
        assert_int_equal(source.seen.status, looks[i].status);
        assert_int_equal(source.seen.http_status, looks[i].http_status);
        if (!strstr(source.seen.text, looks[i].text))
            fail_msg("%s", source.seen.text);
        assert_null(strstr(source.seen.text, "left behind"));
        assert_int_equal(mock_uploads(mock), 0);
        seen_free(&source.seen);
    }
}

static void an_error_in_a_200_is_an_error(void **state) {
    static const char *const how[] = {"error", "cut", "junk"};
    char order[200];
    for (size_t i = 0; i < 3; i++) {
        for (int times = 1; times <= 3; times += 2) {
            snprintf(order, sizeof order, "badxml op=complete-upload how=%s count=%d", how[i], times);
            mock_world_start(order);
            struct source source = {.size = SIZE};
            source_put(&source, NULL);
            /* cut and junk: it was completed, which only a look tells */
            assert_int_equal(source.seen.status, i > 0 || times == 1 ? S3_OK : S3_SERVER);
            assert_int_equal(mock_world_exists(), source.seen.status == S3_OK);
            assert_int_equal(mock_uploads(mock), 0);
            seen_free(&source.seen);
        }
    }
}

static void an_abort_that_fails_is_told(void **state) {
    mock_world_start("error op=upload-part status=403 code=AccessDenied after-n=1; error op=abort-upload status=500");
    struct source source = {.size = SIZE};
    source_put(&source, NULL);
    assert_int_equal(source.seen.status, S3_DENIED);
    assert_int_equal(source.seen.http_status, 403);
    assert_string_equal(source.seen.code, "AccessDenied");
    assert_non_null(strstr(source.seen.text, "PUT part of bucket-1/key (part 2): 403"));
    assert_non_null(strstr(source.seen.text, "its upload is left behind: ABORT upload of bucket-1/key: 500"));
    assert_int_equal(mock_uploads(mock), 1);
    assert_false(mock_world_exists());
    seen_free(&source.seen);
}

static void a_body_that_cannot_be_read_leaves_nothing(void **state) {
    mock_world_start(NULL);
    for (uint64_t at = 1; at < SIZE; at += 700) {
        struct source source = {.size = SIZE, .fails_at = at};
        source_put(&source, NULL);
        assert_int_equal(source.seen.status, S3_BAD_REQUEST);
        assert_non_null(strstr(source.seen.text, "the body cannot be read: Input/output error"));
        assert_int_equal(mock_uploads(mock), 0);
        assert_false(mock_world_exists());
        seen_free(&source.seen);
    }
}

static void cancelled_after_any_request(void **state) {
    mock_world_start(NULL);
    for (uint64_t n = 0; n < REQUESTS; n++) {
        for (int later = 0; later < 3; later++) {
            struct source source = {.size = SIZE};
            uint64_t before = world_counters().upload;
            assert_int_equal(source_begin(&source, NULL), 0);
            while (world_counters().upload - before < n + 1 && !source.seen.dones)
                uv_run(&world.loop, UV_RUN_ONCE);
            for (int i = 0; i < later && !source.seen.dones; i++)
                uv_run(&world.loop, UV_RUN_ONCE);
            if (!source.seen.dones)
                s3_cancel(source.seen.call);
            seen_finish(&source.seen);
            assert_true(source.seen.status == S3_CANCELLED || source.seen.status == S3_OK);
            assert_null(strstr(source.seen.text, "left behind"));
            assert_int_equal(mock_uploads(mock), 0);
            seen_free(&source.seen);
            struct seen s = {0};
            world_call(&s, DELETE);
            seen_free(&s);
        }
    }
}

static void closing_clears_up(void **state) {
    for (uint64_t n = 1; n < REQUESTS - 1; n++) { /* while it begins, nobody knows what to clear up */
        mock_world_start(NULL);
        struct source source = {.size = SIZE};
        assert_int_equal(source_begin(&source, NULL), 0);
        while (world_counters().upload < n + 1)
            uv_run(&world.loop, UV_RUN_ONCE);
        world_close_client();
        world.client = NULL;
        assert_int_equal(source.seen.status, S3_CANCELLED);
        assert_int_equal(mock_uploads(mock), 0);
        seen_free(&source.seen);
    }
}

static void without_memory_it_fails_whole(void **state) {
    static const char created[] = "HTTP/1.1 200 OK\r\nContent-Length: 87\r\n\r\n<InitiateMultipartUploadResult>"
                                  "<UploadId>u</UploadId></InitiateMultipartUploadResult>  ";
    static const char part[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"e\"\r\n\r\n";
    static const char completed[] = "HTTP/1.1 200 OK\r\nContent-Length: 91\r\n\r\n<CompleteMultipartUploadResult>"
                                    "<ETag>\"e-2\"</ETag></CompleteMultipartUploadResult>          ";
    world_close_client();
    for (uint64_t n = 1;; n++) {
        script_server_close(world.server);
        world_run_ms(1);
        world.server = script_server_new(&world.loop);
        for (size_t i = 0; i < 8; i++)
            buf_reserve(&world.server->requests[i], 8192);
        const char *const answers[] = {created, part, part, completed};
        for (size_t i = 0; i < 4; i++)
            script_add(world.server, (struct script_answer){.text = answers[i]});
        world.server->fallback.text = "HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n";
        struct s3_options o = world_options();
        o.max_attempts = 1;
        o.stall_timeout_us = 100 * US_PER_MS;
        struct err err = {0};
        struct source source = {.size = 2 * PART};
        buf_reserve(&source.seen.out, 4096);
        mem_fail_at(n, 0);
        int r = s3_client_new(&world.loop, &o, &world.client, &err);
        bool made = r == 0;
        if (made)
            r = s3_put_stream(world.client, BUCKET, KEY, source.size, source_read, NULL, PART, seen_put, &source,
                              &source.seen.call);
        if (r == 0)
            seen_finish(&source.seen);
        uint64_t used = mem_fail_count();
        mem_fail_at(0, 0);
        if (made) {
            world.closed = false;
            world_close_client();
        }
        assert_true(r == 0 || r == -ENOMEM);
        bool over = r == 0 && used < n;
        if (over)
            assert_int_equal(source.seen.status, S3_OK);
        seen_free(&source.seen);
        world.server->n_requests = 8; /* all that was reserved is freed */
        if (over)
            break;
    }
}

/* ---- only begun ---- */

static void probe(struct seen *s, const struct s3_put_options *options) {
    world.busy = true;
    assert_int_equal(s3_probe_put(world.client, BUCKET, KEY, options, seen_put, s, &s->call), 0);
    world.busy = false;
    seen_finish(s);
}

static void a_probe_tells_and_leaves_nothing(void **state) {
    const struct s3_put_options tagged = {.tagging = BYTES("a=b"), .storage_class = BYTES("STANDARD_IA")};
    static const struct {
        const char *faults;
        enum s3_status status;
        const char *text;
        size_t left;
    } cases[] = {
        {NULL, S3_OK, "", 0},
        {"error op=create-upload status=500 count=1", S3_OK, "", 0},
        {"error op=create-upload status=403 code=AccessDenied", S3_DENIED, "upload of bucket-1/key: 403", 0},
        {"error op=abort-upload status=403 code=AccessDenied", S3_DENIED, "its upload is left behind", 1},
        {"error op=abort-upload status=500", S3_SERVER, "its upload is left behind", 1},
        {"reset op=abort-upload applied=yes count=1", S3_OK, "", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct seen s = {0};
        mock_world_start(cases[i].faults);
        probe(&s, i % 2 ? &tagged : NULL);
        assert_non_null(strstr(s.text, cases[i].text));
        assert_int_equal(s.status, cases[i].status);
        assert_int_equal(mock_uploads(mock), cases[i].left);
        assert_false(mock_world_exists());
        seen_free(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        MOCK_TEST(parts_become_one_object),
        WORLD_TEST(parts_grow_with_a_large_body),
        WORLD_TEST(a_bucket_elsewhere_is_found_before_any_part),
        MOCK_TEST(keys_may_expire_at_any_request),
        MOCK_TEST(tags_are_put_again_where_they_may_be_ignored),
        MOCK_TEST(it_is_stored_as_the_options_say),
        MOCK_TEST(any_request_may_fail),
        MOCK_TEST(a_lost_answer_to_a_part_or_the_end_changes_nothing),
        MOCK_TEST(a_look_that_fails_is_told),
        MOCK_TEST(an_error_in_a_200_is_an_error),
        MOCK_TEST(an_abort_that_fails_is_told),
        MOCK_TEST(a_body_that_cannot_be_read_leaves_nothing),
        MOCK_TEST(cancelled_after_any_request),
        MOCK_TEST(a_probe_tells_and_leaves_nothing),
        MOCK_TEST(closing_clears_up),
        WORLD_TEST(without_memory_it_fails_whole),
    };
    return cmocka_run_group_tests_name("s3 upload", tests, NULL, NULL);
}
