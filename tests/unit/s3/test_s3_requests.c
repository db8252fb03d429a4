/* test_s3_requests.c - what goes on the wire, and how it is signed: keys, queries, headers, bodies. */
#include "s3_signed.h"
#include "s3_world.h"
#include "sigv4.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void odd_keys_go_out_as_they_are(void **state) {
    static const struct {
        struct bytes key;
        const char *target;
    } cases[] = {
        {{"plain", 5}, "GET /bucket-1/plain"},
        {{"a b+c%d", 7}, "GET /bucket-1/a%20b%2Bc%25d"},
        {{"%20", 3}, "GET /bucket-1/%2520"},
        {{"'\"<>&", 5}, "GET /bucket-1/%27%22%3C%3E%26"},
        {{"line\nbreak\r", 11}, "GET /bucket-1/line%0Abreak%0D"},
        {{"a//b", 4}, "GET /bucket-1/a//b"},
        {{"a/../b/./c", 10}, "GET /bucket-1/a/../b/./c"},
        {{"..", 2}, "GET /bucket-1/.."},
        {{"/lead", 5}, "GET /bucket-1//lead"},
        {{"//", 2}, "GET /bucket-1///"},
        {{"dir/", 4}, "GET /bucket-1/dir/"},
        {{"?x=1#y", 6}, "GET /bucket-1/%3Fx%3D1%23y"},
        {{"\xc3\xa4\xe2\x82\xac", 5}, "GET /bucket-1/%C3%A4%E2%82%AC"},
        {{"\x00\x01\x7f\xff", 4}, "GET /bucket-1/%00%01%7F%FF"},
        {{"-_.~", 4}, "GET /bucket-1/-_.~"},
        {{"{}[]|\\^`*!()$,;:=@", 18}, "GET /bucket-1/%7B%7D%5B%5D%7C%5C%5E%60%2A%21%28%29%24%2C%3B%3A%3D%40"},
    };
    world.server->fallback.text = EMPTY_OK;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct seen s = {0};
        assert_int_equal(s3_get(world.client, BUCKET, cases[i].key, &seen_get_handler, &s, NULL), 0);
        seen_finish(&s);
        assert_int_equal(s.status, S3_OK);
        assert_string_equal(script_target(world.server, i), cases[i].target);
        signed_check(i, "us-east-1");
        seen_free(&s);
    }
    assert_int_equal(world.server->n_accepted, 1);
}

static void the_longest_key_works_and_longer_ones_are_refused(void **state) {
    char key[S3_KEY_MAX + 1];
    memset(key, ' ', sizeof key);
    world.server->fallback.text = EMPTY_OK;
    struct seen s = {0};
    assert_int_equal(s3_get(world.client, BUCKET, bytes_of(key, S3_KEY_MAX), &seen_get_handler, &s, NULL), 0);
    seen_finish(&s);
    assert_int_equal(s.status, S3_OK);
    signed_check(0, "us-east-1");
    assert_int_equal(s3_get(world.client, BUCKET, bytes_of(key, S3_KEY_MAX + 1), &seen_get_handler, &s, NULL), -EINVAL);
    assert_int_equal(s3_get(world.client, BUCKET, BYTES_NONE, &seen_get_handler, &s, NULL), -EINVAL);
    assert_int_equal(s3_get(world.client, BYTES("no/slash"), KEY, &seen_get_handler, &s, NULL), -EINVAL);
    assert_int_equal(s3_get(world.client, BYTES(".."), KEY, &seen_get_handler, &s, NULL), -EINVAL);
    assert_int_equal(s3_delete(world.client, BUCKET, KEY, BYTES("v"), BYTES("\"e\""), seen_delete, &s, NULL), -EINVAL);
    assert_int_equal(s3_delete(world.client, BUCKET, KEY, BYTES_NONE, BYTES("\"e\r\nx: y\""), seen_delete, &s, NULL),
                     -EINVAL);
    assert_int_equal(s3_list_objects(world.client, BUCKET, BYTES_NONE, BYTES_NONE, 1001, seen_objects, &s, NULL),
                     -EINVAL);
    const struct s3_header bad = {BYTES("Upper"), BYTES("x")};
    assert_int_equal(s3_put(world.client, BUCKET, KEY, BYTES_NONE, BYTES_NONE, &bad, 1, seen_put, &s, NULL), -EINVAL);
    seen_free(&s);
    assert_int_equal(world.server->n_requests, 1);
}

static void every_operation_asks_as_documented(void **state) {
    struct seen s = {0};
    world.provider.keys.session_token = BYTES(TOKEN);

    script_add_body(world.server, 200, "",
                    "<ListAllMyBucketsResult><Buckets><Bucket><Name>pre-1</Name><BucketRegion>eu-west-1"
                    "</BucketRegion></Bucket><Bucket><Name>other</Name></Bucket></Buckets>"
                    "<ContinuationToken>t2</ContinuationToken></ListAllMyBucketsResult>");
    assert_int_equal(s3_list_buckets(world.client, BYTES("pre-"), BYTES("t 1"), seen_buckets, &s, NULL), 0);
    seen_finish(&s);
    assert_string_equal(s.out.p, "pre-1@eu-west-1 next=t2");
    assert_string_equal(script_target(world.server, 0), "GET /?continuation-token=t%201&max-buckets=1000&prefix=pre-");
    assert_string_equal(script_header(world.server, 0, "x-amz-security-token"), TOKEN);
    assert_true(signed_covers(0, "x-amz-security-token"));
    signed_check(0, "us-east-1");
    seen_free(&s);

    script_add_body(world.server, 200, "",
                    "<ListBucketResult><IsTruncated>true</IsTruncated><EncodingType>url</EncodingType>"
                    "<Contents><Key>a%20b</Key><Size>7</Size><ETag>\"e1\"</ETag></Contents>"
                    "<Contents><Key>c%2Bd</Key><Size>0</Size></Contents></ListBucketResult>");
    assert_int_equal(s3_list_objects(world.client, BUCKET, BYTES("a b/"), BYTES("a\n"), 2, seen_objects, &s, NULL), 0);
    seen_finish(&s);
    assert_string_equal(s.out.p, "a b:7:\"e1\" c+d:0: more=1 last=c+d");
    assert_string_equal(script_target(world.server, 1),
                        "GET /bucket-1?encoding-type=url&list-type=2&max-keys=2&prefix=a%20b%2F&start-after=a%0A");
    assert_string_equal(script_header(world.server, 1, "x-amz-optional-object-attributes"), "RestoreStatus");
    signed_check(1, "us-east-1");
    seen_free(&s);

    const char *head = "HTTP/1.1 200 OK\r\nETag: \"e2\"\r\nContent-Length: 77\r\nx-amz-version-id: v1\r\n"
                       "Content-Type: image/png\r\nLast-Modified: Thu, 01 Jan 1970 00:00:01 GMT\r\n"
                       "x-amz-meta-One: first\r\nX-Amz-Meta-two: second thing\r\n\r\n";
    script_add(world.server, (struct script_answer){.text = head});
    assert_int_equal(s3_head(world.client, BUCKET, KEY, BYTES("v/1"), seen_info, &s, NULL), 0);
    seen_finish(&s);
    assert_string_equal(s.out.p, "77 \"e2\" v1 image/png 1000000 one=first two=second thing");
    assert_string_equal(script_target(world.server, 2), "HEAD /bucket-1/key?versionId=v%2F1");
    signed_check(2, "us-east-1");
    seen_free(&s);

    script_add_body(world.server, 200, "ETag: \"e3\"\r\nx-amz-meta-m: n\r\n", "hello");
    world_call(&s, GET);
    assert_string_equal(s.out.p, "5 \"e3\"   0 m=n");
    assert_string_equal(s.body.p, "hello");
    assert_string_equal(script_header(world.server, 3, "x-amz-checksum-mode"), "ENABLED");
    assert_true(signed_covers(3, "x-amz-checksum-mode"));
    assert_string_equal(script_header(world.server, 3, "x-amz-content-sha256"), SIGV4_EMPTY_SHA256);
    assert_non_null(script_header(world.server, 3, "user-agent"));
    assert_null(script_header(world.server, 3, "Accept"));
    signed_check(3, "us-east-1");
    seen_free(&s);

    script_add_body(world.server, 200, "ETag: \"e4\"\r\nx-amz-version-id: v9\r\n", "");
    const struct s3_header metadata[] = {{BYTES("a"), BYTES("1 2")}, {BYTES("b"), BYTES("x")}};
    assert_int_equal(
        s3_put(world.client, BUCKET, KEY, BYTES("123456789"), BYTES("text/x"), metadata, 2, seen_put, &s, NULL), 0);
    seen_finish(&s);
    assert_string_equal(s.out.p, "\"e4\" v9");
    assert_string_equal(script_target(world.server, 4), "PUT /bucket-1/key");
    assert_string_equal(script_header(world.server, 4, "x-amz-checksum-crc32"), "y/Q5Jg==");
    assert_string_equal(script_header(world.server, 4, "x-amz-content-sha256"),
                        "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225");
    assert_string_equal(script_header(world.server, 4, "content-type"), "text/x");
    assert_string_equal(script_header(world.server, 4, "x-amz-meta-a"), "1 2");
    assert_string_equal(script_header(world.server, 4, "Content-Length"), "9");
    assert_null(script_header(world.server, 4, "Expect"));
    signed_check(4, "us-east-1");
    seen_free(&s);

    script_add(world.server, (struct script_answer){.text = "HTTP/1.1 204 No Content\r\n\r\n"});
    assert_int_equal(s3_delete(world.client, BUCKET, KEY, BYTES_NONE, BYTES("\"e4\""), seen_delete, &s, NULL), 0);
    seen_finish(&s);
    assert_int_equal(s.status, S3_OK);
    assert_string_equal(script_target(world.server, 5), "DELETE /bucket-1/key");
    assert_string_equal(script_header(world.server, 5, "if-match"), "\"e4\"");
    assert_true(signed_covers(5, "if-match"));
    signed_check(5, "us-east-1");
    seen_free(&s);

    script_add(world.server, (struct script_answer){.text = "HTTP/1.1 204 No Content\r\n\r\n"});
    assert_int_equal(s3_delete(world.client, BUCKET, KEY, BYTES("v+1"), BYTES_NONE, seen_delete, &s, NULL), 0);
    seen_finish(&s);
    assert_string_equal(script_target(world.server, 6), "DELETE /bucket-1/key?versionId=v%2B1");
    assert_null(script_header(world.server, 6, "if-match"));
    signed_check(6, "us-east-1");
    seen_free(&s);

    script_add_body(world.server, 200, "",
                    "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>");
    world_call(&s, VERSIONING);
    assert_int_equal(s.versioning, S3_VERSIONING_ENABLED);
    assert_string_equal(script_target(world.server, 7), "GET /bucket-1?versioning=");
    signed_check(7, "us-east-1");
    seen_free(&s);

    world_add_error(404, "", "NoSuchKey", "");
    assert_int_equal(s3_probe_conditional_delete(world.client, BUCKET, seen_delete, &s, NULL), 0);
    seen_finish(&s);
    assert_int_equal(s.status, S3_NO_KEY);
    assert_non_null(strstr(script_target(world.server, 8), "DELETE /bucket-1/.froe-probe-"));
    assert_non_null(script_header(world.server, 8, "if-match"));
    seen_free(&s);

    struct s3_counters c = world_counters();
    assert_int_equal(c.list_buckets, 1);
    assert_int_equal(c.list_objects, 1);
    assert_int_equal(c.head, 1);
    assert_int_equal(c.get, 1);
    assert_int_equal(c.put, 1);
    assert_int_equal(c.delete, 3);
    assert_int_equal(c.other, 1);
    assert_int_equal(c.retries, 0);
    assert_int_equal(c.bytes_out, 9);
    assert_int_equal(world.server->n_accepted, 1);
}

static void listing_pages_of_servers_that_ignore_paging(void **state) {
    struct seen s = {0};
    script_add_body(world.server, 200, "",
                    "<ListAllMyBucketsResult><Buckets><Bucket><Name>zz</Name></Bucket></Buckets>"
                    "</ListAllMyBucketsResult>");
    assert_int_equal(s3_list_buckets(world.client, BYTES("pre"), BYTES_NONE, seen_buckets, &s, NULL), 0);
    seen_finish(&s);
    assert_string_equal(s.out.p, "next=");
    seen_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_TEST(odd_keys_go_out_as_they_are),
        WORLD_TEST(the_longest_key_works_and_longer_ones_are_refused),
        WORLD_TEST(every_operation_asks_as_documented),
        WORLD_TEST(listing_pages_of_servers_that_ignore_paging),
    };
    return cmocka_run_group_tests_name("s3 requests", tests, NULL, NULL);
}
