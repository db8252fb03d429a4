/* test_s3_region.c - buckets of another region: redirects that are followed, remembered, asked for or refused. */
#include "s3_signed.h"
#include "s3_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void another_region_is_followed_once_and_remembered(void **state) {
    static const struct {
        int status;
        const char *fields, *code, *more;
    } cases[] = {
        {301, "x-amz-bucket-region: eu-west-1\r\n", "PermanentRedirect", ""},
        {307, "x-amz-bucket-region: eu-west-1\r\n", "TemporaryRedirect", ""},
        {400, "", "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"},
        {400, "x-amz-bucket-region: eu-west-1\r\n", "IllegalLocationConstraintException", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        world_use(world_options());
        size_t first = world.server->n_requests;
        world_add_error(cases[i].status, cases[i].fields, cases[i].code, cases[i].more);
        script_add_body(world.server, 200, "", "hello");
        script_add_body(world.server, 200, "", "again");
        struct seen s = {0};
        world_call(&s, GET);
        assert_int_equal(s.status, S3_OK);
        assert_int_equal(s.attempts, 1);
        assert_string_equal(s.body.p, "hello");
        signed_check(first, "us-east-1");
        signed_check(first + 1, "eu-west-1");
        seen_free(&s);
        world_call(&s, GET);
        assert_int_equal(s.status, S3_OK);
        signed_check(first + 2, "eu-west-1");
        seen_free(&s);
        struct s3_counters c = world_counters();
        assert_int_equal(c.redirects, 1);
        assert_int_equal(c.get, 3);
        assert_int_equal(c.retries, 0);
    }
}

static void a_second_redirect_is_not_followed(void **state) {
    world_add_error(301, "x-amz-bucket-region: eu-west-1\r\n", "PermanentRedirect", "");
    world_add_error(301, "x-amz-bucket-region: eu-west-2\r\n", "PermanentRedirect", "");
    struct seen s = {0};
    world_call(&s, GET);
    assert_int_equal(s.status, S3_BAD_REQUEST);
    assert_int_equal(world.server->n_requests, 2);
    seen_free(&s);
    /* nor one to where we are, or to nowhere that a host name could hold */
    world_add_error(301, "x-amz-bucket-region: eu-west-1\r\n", "PermanentRedirect", "");
    world_call(&s, GET);
    assert_int_equal(s.status, S3_BAD_REQUEST);
    assert_int_equal(world.server->n_requests, 3);
    seen_free(&s);
}

static void a_region_that_is_not_told_is_asked_for(void **state) {
    world_add_error(301, "", "PermanentRedirect", "");
    script_add(world.server,
               (struct script_answer){.text = "HTTP/1.1 403 x\r\nx-amz-bucket-region: ap-south-1\r\n\r\n"});
    script_add_body(world.server, 200, "ETag: \"e\"\r\n", "");
    struct seen s = {0};
    const struct s3_header metadata = {BYTES("m"), BYTES("n")};
    assert_int_equal(s3_put(world.client, BUCKET, KEY, BYTES("b"), BYTES("text/x"), &metadata, 1, seen_put, &s, NULL),
                     0);
    seen_finish(&s);
    assert_int_equal(s.status, S3_OK);
    assert_int_equal(s.attempts, 1);
    assert_string_equal(script_target(world.server, 1), "HEAD /bucket-1");
    signed_check(1, "us-east-1");
    assert_null(script_header(world.server, 1, "x-amz-meta-m"));
    signed_check(2, "ap-south-1");
    assert_string_equal(script_header(world.server, 2, "x-amz-meta-m"), "n");
    assert_non_null(strstr(world.server->requests[2].p, "\r\n\r\nb"));
    assert_int_equal(world_counters().head, 1);
    seen_free(&s);
    /* it does not tell: the first answer is the result */
    world_use(world_options());
    world_add_error(301, "", "PermanentRedirect", "");
    script_add(world.server, (struct script_answer){.text = "HTTP/1.1 403 x\r\n\r\n"});
    world_call(&s, GET);
    assert_int_equal(s.status, S3_BAD_REQUEST);
    assert_int_equal(s.http_status, 301);
    assert_string_equal(s.code, "PermanentRedirect");
    seen_free(&s);
}

static void a_head_is_redirected_without_words(void **state) {
    script_add(world.server,
               (struct script_answer){.text = "HTTP/1.1 400 x\r\nx-amz-bucket-region: eu-west-1\r\n\r\n"});
    script_add(world.server, (struct script_answer){.text = "HTTP/1.1 200 x\r\nContent-Length: 3\r\n\r\n"});
    struct seen s = {0};
    world_call(&s, HEAD);
    assert_int_equal(s.status, S3_OK);
    signed_check(1, "eu-west-1");
    seen_free(&s);
}

static void a_server_of_another_region_is_understood_without_a_bucket(void **state) {
    for (int i = 0; i < 2; i++) {
        if (i == 0)
            world_add_error(400, "", "AuthorizationHeaderMalformed", "<Region>garage</Region>");
        script_add_body(world.server, 200, "", "<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>");
        struct seen s = {0};
        world_call(&s, LIST_BUCKETS);
        assert_int_equal(s.status, S3_OK);
        signed_check((size_t)i + 1, "garage");
        seen_free(&s);
    }
    assert_int_equal(world_counters().redirects, 1);
}

static void regions_in_the_bucket_list_are_used(void **state) {
    script_add_body(world.server, 200, "",
                    "<ListAllMyBucketsResult><Buckets><Bucket><Name>bucket-1</Name><BucketRegion>sa-east-1"
                    "</BucketRegion></Bucket></Buckets></ListAllMyBucketsResult>");
    script_add_body(world.server, 200, "", "");
    struct seen s = {0};
    world_call(&s, LIST_BUCKETS);
    seen_free(&s);
    world_call(&s, GET);
    assert_int_equal(s.status, S3_OK);
    signed_check(1, "sa-east-1");
    seen_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_TEST(another_region_is_followed_once_and_remembered),
        WORLD_TEST(a_second_redirect_is_not_followed),
        WORLD_TEST(a_region_that_is_not_told_is_asked_for),
        WORLD_TEST(a_head_is_redirected_without_words),
        WORLD_TEST(a_server_of_another_region_is_understood_without_a_bucket),
        WORLD_TEST(regions_in_the_bucket_list_are_used),
    };
    return cmocka_run_group_tests_name("s3 region", tests, NULL, NULL);
}
