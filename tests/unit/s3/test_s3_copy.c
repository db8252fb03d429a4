/* test_s3_copy.c - copies and tags: what is asked, and what is made of the answers. */
#include "s3_signed.h"
#include "s3_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define COPIED                                                                                            \
    "<CopyObjectResult><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;e&quot;</ETag></" \
    "CopyObjectResult>"

static void copy(struct seen *s, const struct s3_copy_source *source, const struct s3_put_options *options) {
    world.busy = true;
    assert_int_equal(s3_copy(world.client, source, BUCKET, KEY, options, seen_put, s, &s->call), 0);
    world.busy = false;
    seen_finish(s);
}

static void a_copy_asks_as_documented(void **state) {
    struct seen s = {0};
    struct s3_copy_source source = {.bucket = BYTES("src"), .key = BYTES("a b/\xc3\xa9+%?.txt")};
    script_add_body(world.server, 200, "x-amz-version-id: v2\r\n", COPIED);
    copy(&s, &source, NULL);
    assert_int_equal(s.status, S3_OK);
    assert_string_equal(s.out.p, "\"e\" v2");
    assert_string_equal(script_target(world.server, 0), "PUT /bucket-1/key");
    assert_string_equal(script_header(world.server, 0, "x-amz-copy-source"), "src/a%20b/%C3%A9%2B%25%3F.txt");
    assert_string_equal(script_header(world.server, 0, "Content-Length"), "0");
    assert_null(script_header(world.server, 0, "x-amz-copy-source-if-match"));
    assert_null(script_header(world.server, 0, "x-amz-metadata-directive"));
    assert_null(script_header(world.server, 0, "x-amz-tagging-directive"));
    assert_true(signed_covers(0, "x-amz-copy-source"));
    signed_check(0, "us-east-1");
    seen_free(&s);

    source.version_id = BYTES("v/1");
    source.etag = BYTES("\"abc\"");
    script_add_body(world.server, 200, "", "<CopyObjectResult><ETag>bare</ETag></CopyObjectResult>");
    struct s3_put_options options = {.storage_class = BYTES("GLACIER_IR")};
    copy(&s, &source, &options);
    assert_string_equal(s.out.p, "\"bare\" ");
    assert_string_equal(script_header(world.server, 1, "x-amz-copy-source"),
                        "src/a%20b/%C3%A9%2B%25%3F.txt?versionId=v%2F1");
    assert_string_equal(script_header(world.server, 1, "x-amz-copy-source-if-match"), "\"abc\"");
    assert_string_equal(script_header(world.server, 1, "x-amz-storage-class"), "GLACIER_IR");
    assert_null(script_header(world.server, 1, "x-amz-metadata-directive"));
    signed_check(1, "us-east-1");
    seen_free(&s);

    const struct s3_header metadata = {BYTES("m"), BYTES("n")};
    options = (struct s3_put_options){
        .content_type = BYTES("a/b"), .tagging = BYTES("t=1"), .metadata = &metadata, .n_metadata = 1};
    script_add_body(world.server, 200, "", COPIED);
    copy(&s, &source, &options);
    assert_string_equal(script_header(world.server, 2, "x-amz-metadata-directive"), "REPLACE");
    assert_string_equal(script_header(world.server, 2, "x-amz-tagging-directive"), "REPLACE");
    assert_string_equal(script_header(world.server, 2, "x-amz-tagging"), "t=1");
    assert_string_equal(script_header(world.server, 2, "x-amz-meta-m"), "n");
    seen_free(&s);
    assert_int_equal(world_counters().copy, 3);

    source.key = BYTES_NONE;
    assert_int_equal(s3_copy(world.client, &source, BUCKET, KEY, NULL, seen_put, &s, NULL), -EINVAL);
    source.key = KEY;
    source.etag = BYTES("\"e\r\nx: y\"");
    assert_int_equal(s3_copy(world.client, &source, BUCKET, KEY, NULL, seen_put, &s, NULL), -EINVAL);
    assert_int_equal(world.server->n_requests, 3);
}

static void a_copy_that_fails_says_why(void **state) {
    static const struct {
        int status;
        const char *body;
        enum s3_status result;
        uint32_t attempts;
    } cases[] = {
        {412, "<Error><Code>PreconditionFailed</Code></Error>", S3_PRECONDITION, 1},
        {404, "<Error><Code>NoSuchKey</Code></Error>", S3_NO_KEY, 1},
        {404, "<Error><Code>NoSuchBucket</Code></Error>", S3_NO_BUCKET, 1},
        {403, "<Error><Code>AccessDenied</Code></Error>", S3_DENIED, 1},
        {403, "<Error><Code>InvalidObjectState</Code></Error>", S3_ARCHIVED, 1},
        {403, "<Error><Code>ObjectNotInActiveTierError</Code></Error>", S3_ARCHIVED, 1},
        {400, "<Error><Code>InvalidRequest</Code></Error>", S3_BAD_REQUEST, 1},
        {200, "<Error><Code>InternalError</Code></Error>", S3_SERVER, 3},
        {200, "  \n<Error><Code>SlowDown</Code></Error>", S3_THROTTLED, 3},
        {200, "<Error><Code>AccessDenied</Code></Error>", S3_DENIED, 1},
        {200, "", S3_CORRUPT, 3},
        {200, "<CopyObjectResult></CopyObjectResult>", S3_CORRUPT, 3},
        {200, "<CopyObjectResult><ETag>\"e\"", S3_CORRUPT, 3},
        {204, "", S3_CORRUPT, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct seen s = {0};
        struct s3_copy_source source = {
            .bucket = BYTES("src"), .key = BYTES("k"), .version_id = BYTES("v"), .etag = BYTES("\"e\"")};
        for (uint32_t n = 0; n < cases[i].attempts; n++)
            script_add_body(world.server, cases[i].status, "", cases[i].body);
        copy(&s, &source, NULL);
        assert_int_equal(s.status, cases[i].result);
        assert_int_equal(s.attempts, cases[i].attempts);
        assert_int_equal(s.throttled, s.status == S3_THROTTLED ? 3 : 0);
        assert_non_null(strstr(s.text, "COPY to bucket-1/key:"));
        assert_string_equal(s.out.p, " ");
        seen_free(&s);
    }
}

static void a_long_copy_is_kept_alive(void **state) {
    struct s3_options o = world_options();
    o.call_deadline_us = 200 * US_PER_MS;
    world_use(o);
    script_add(world.server, (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 126\r\n\r\n"
                                                            "          " COPIED,
                                                    .piece = 8,
                                                    .piece_ms = 40});
    struct seen s = {0};
    struct s3_copy_source source = {.bucket = BYTES("src"), .key = BYTES("k")};
    copy(&s, &source, NULL);
    assert_int_equal(s.status, S3_OK);
    assert_int_equal(s.attempts, 1);
    assert_true(s.duration_us > 400 * US_PER_MS);
    seen_free(&s);
}

static void tags_are_got_and_put(void **state) {
    struct seen s = {0};
    script_add_body(world.server, 200, "",
                    "<Tagging><TagSet><Tag><Key>a &amp; b</Key><Value> x </Value></Tag>"
                    "<Tag><Value/><Key>c</Key></Tag></TagSet></Tagging>");
    assert_int_equal(s3_get_tags(world.client, BUCKET, KEY, BYTES("v 1"), seen_tags, &s, NULL), 0);
    seen_finish(&s);
    assert_int_equal(s.status, S3_OK);
    assert_string_equal(s.out.p, "a & b= x ;c=;");
    assert_string_equal(script_target(world.server, 0), "GET /bucket-1/key?tagging=&versionId=v%201");
    signed_check(0, "us-east-1");
    seen_free(&s);

    static const char *const none[] = {"<Tagging><TagSet/></Tagging>", "<Tagging/>"};
    for (size_t i = 0; i < 3; i++) {
        if (i < 2)
            script_add_body(world.server, 200, "", none[i]);
        else
            world_add_error(404, "", "NoSuchTagSet", "");
        assert_int_equal(s3_get_tags(world.client, BUCKET, KEY, BYTES_NONE, seen_tags, &s, NULL), 0);
        seen_finish(&s);
        assert_int_equal(s.status, S3_OK);
        assert_null(s.out.p);
        seen_free(&s);
    }

    const struct s3_tag tags[] = {{BYTES("a<b>"), BYTES("\"x\" & y")}, {BYTES("\xc3\xa9"), BYTES_NONE}};
    script_add_body(world.server, 200, "", "");
    assert_int_equal(s3_put_tags(world.client, BUCKET, KEY, BYTES_NONE, tags, 2, seen_tags, &s, NULL), 0);
    seen_finish(&s);
    assert_int_equal(s.status, S3_OK);
    assert_string_equal(script_target(world.server, 4), "PUT /bucket-1/key?tagging=");
    assert_non_null(script_header(world.server, 4, "x-amz-checksum-crc32"));
    assert_non_null(strstr(world.server->requests[4].p,
                           "<TagSet><Tag><Key>a&lt;b&gt;</Key><Value>&quot;x&quot; &amp; y</Value></Tag>"
                           "<Tag><Key>\xc3\xa9</Key><Value></Value></Tag></TagSet>"));
    signed_check(4, "us-east-1");
    seen_free(&s);

    struct s3_tag bad[S3_TAGS_MAX + 1] = {{BYTES("a\x01"), BYTES("b")}};
    assert_int_equal(s3_put_tags(world.client, BUCKET, KEY, BYTES_NONE, bad, 1, seen_tags, &s, NULL), -EINVAL);
    bad[0].name = BYTES("\xff");
    assert_int_equal(s3_put_tags(world.client, BUCKET, KEY, BYTES_NONE, bad, 1, seen_tags, &s, NULL), -EINVAL);
    bad[0].name = BYTES_NONE;
    assert_int_equal(s3_put_tags(world.client, BUCKET, KEY, BYTES_NONE, bad, 1, seen_tags, &s, NULL), -EINVAL);
    for (size_t i = 0; i <= S3_TAGS_MAX; i++)
        bad[i].name = BYTES("n");
    assert_int_equal(s3_put_tags(world.client, BUCKET, KEY, BYTES_NONE, bad, S3_TAGS_MAX + 1, seen_tags, &s, NULL),
                     -EINVAL);
    assert_int_equal(world_counters().tagging, 5);

    world_add_error(403, "", "AccessDenied", "");
    assert_int_equal(s3_get_tags(world.client, BUCKET, KEY, BYTES_NONE, seen_tags, &s, NULL), 0);
    seen_finish(&s);
    assert_int_equal(s.status, S3_DENIED);
    seen_free(&s);
    for (int i = 0; i < 3; i++)
        script_add_body(world.server, 200, "", "<Tagging><TagSet><Tag><Value>x</Value></Tag></TagSet></Tagging>");
    assert_int_equal(s3_get_tags(world.client, BUCKET, KEY, BYTES_NONE, seen_tags, &s, NULL), 0);
    seen_finish(&s);
    assert_int_equal(s.status, S3_CORRUPT);
    seen_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_TEST(a_copy_asks_as_documented),
        WORLD_TEST(a_copy_that_fails_says_why),
        WORLD_TEST(a_long_copy_is_kept_alive),
        WORLD_TEST(tags_are_got_and_put),
    };
    return cmocka_run_group_tests_name("s3 copy", tests, NULL, NULL);
}
