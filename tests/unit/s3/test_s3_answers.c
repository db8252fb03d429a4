/* test_s3_answers.c - what answers mean: statuses, codes and the text of an error. */
#include "s3_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void statuses_and_codes(void **state) {
    struct s3_options o = world_options();
    o.max_attempts = 1;
    world_use(o);
    static const struct {
        enum kind kind;
        int status;
        const char *code; /* NULL: no body; "-": a body that is not S3's */
        enum s3_status want;
    } cases[] = {
        {GET, 404, "NoSuchKey", S3_NO_KEY},
        {GET, 404, NULL, S3_NO_KEY},
        {GET, 404, "-", S3_BAD_REQUEST},
        {GET, 404, "NoSuchBucket", S3_NO_BUCKET},
        {HEAD, 404, NULL, S3_NO_KEY},
        {DELETE, 404, "NoSuchKey", S3_NO_KEY},
        {DELETE, 404, "NoSuchVersion", S3_NO_KEY},
        {DELETE, 412, "PreconditionFailed", S3_PRECONDITION},
        {DELETE, 412, NULL, S3_PRECONDITION},
        {DELETE, 409, "ConditionalRequestConflict", S3_CONFLICT},
        {DELETE, 501, "NotImplemented", S3_NOT_SUPPORTED},
        {DELETE, 405, "MethodNotAllowed", S3_NOT_SUPPORTED},
        {LIST, 404, "NoSuchBucket", S3_NO_BUCKET},
        {LIST, 404, NULL, S3_NO_BUCKET},
        {GET, 403, "AccessDenied", S3_DENIED},
        {HEAD, 403, NULL, S3_DENIED},
        {GET, 403, "InvalidObjectState", S3_ARCHIVED},
        {GET, 403, "InvalidAccessKeyId", S3_CREDENTIALS},
        {GET, 403, "SignatureDoesNotMatch", S3_CREDENTIALS},
        {GET, 400, "InvalidToken", S3_CREDENTIALS},
        {GET, 400, "InvalidArgument", S3_BAD_REQUEST},
        {GET, 416, "InvalidRange", S3_BAD_REQUEST},
        {GET, 500, "InternalError", S3_SERVER},
        {GET, 502, "-", S3_SERVER},
        {GET, 503, "SlowDown", S3_THROTTLED},
        {HEAD, 503, NULL, S3_THROTTLED},
        {GET, 503, "ServiceUnavailable", S3_THROTTLED},
        {GET, 503, "SomethingElse", S3_SERVER},
        {GET, 429, NULL, S3_THROTTLED},
        {PUT, 400, "ThrottlingException", S3_THROTTLED},
        {PUT, 400, "RequestTimeout", S3_TIMEOUT},
        {PUT, 400, "BadDigest", S3_CORRUPT},
        {GET, 206, "-", S3_CORRUPT},
        {GET, 304, NULL, S3_BAD_REQUEST},
        {LIST, 200, "InternalError", S3_SERVER},
        {LIST, 200, "SlowDown", S3_THROTTLED},
        {LIST, 200, "AccessDenied", S3_DENIED},
        {LIST, 200, "WhoKnows", S3_SERVER},
        {LIST, 200, "-", S3_CORRUPT},
        {LIST, 200, NULL, S3_CORRUPT},
        {LIST_BUCKETS, 200, "-", S3_CORRUPT},
        {VERSIONING, 200, "-", S3_CORRUPT},
        {VERSIONING, 403, "AccessDenied", S3_DENIED},
        {DELETE, 200, "InternalError", S3_SERVER},
        {DELETE, 200, NULL, S3_OK},
        {DELETE, 200, "-", S3_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *code = cases[i].code;
        if (cases[i].kind == HEAD || cases[i].status == 304 || cases[i].status == 204) {
            static char text[64];
            snprintf(text, sizeof text, "HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n", cases[i].status,
                     cases[i].status == 304 ? 0 : 100);
            script_add(world.server, (struct script_answer){.text = text});
        } else if (!code || code[0] == '-') {
            script_add_body(world.server, cases[i].status, "", code ? "<html>no</html>" : "");
        } else {
            world_add_error(cases[i].status, "", code, "");
        }
        struct seen s = {0};
        world_call(&s, cases[i].kind);
        if (s.status != cases[i].want)
            print_error("case %zu: %s\n", i, s.text);
        assert_int_equal(s.status, cases[i].want);
        assert_int_equal(s.http_status, cases[i].status);
        assert_int_equal(s.attempts, 1);
        assert_string_equal(s.code, code && code[0] != '-' && cases[i].kind != HEAD ? code : "");
        assert_int_equal(s.throttled, s.status == S3_THROTTLED);
        seen_free(&s);
    }
}

static void the_text_says_what_happened(void **state) {
    struct seen s = {0};
    world_add_error(403, "", "AccessDenied", "");
    assert_int_equal(s3_get(world.client, BUCKET, BYTES("a\nb\x1b[2J"), &seen_get_handler, &s, NULL), 0);
    seen_finish(&s);
    assert_string_equal(s.text,
                        "GET bucket-1/a\\x0ab\\x1b[2J: 403 AccessDenied: Words about AccessDenied (request id RID1)");
    seen_free(&s);
    script_add(world.server, (struct script_answer){.text = "HTTP/1.1 403 no\r\nx-amz-request-id: RID2\r\n\r\n"});
    world_call(&s, HEAD);
    assert_string_equal(s.text, "HEAD bucket-1/key: 403 denied (request id RID2)");
    seen_free(&s);
    script_add_body(world.server, 400, "",
                    "<Error><Code>Bad\x07"
                    "Code</Code><Message>x</Message></Error>"); /* not even XML 1.0 */
    world_call(&s, GET);
    assert_int_equal(s.status, S3_BAD_REQUEST);
    assert_string_equal(s.code, "");
    seen_free(&s);
    /* a message without end is cut */
    struct buf body = {0};
    buf_add_str(&body, "<Error><Code>Long</Code><Message>");
    for (int i = 0; i < 5000; i++)
        buf_add_byte(&body, 'm');
    buf_add_str(&body, "</Message></Error>");
    script_add_body(world.server, 400, "", body.p);
    world_call(&s, GET);
    assert_string_equal(s.code, "Long");
    assert_true(strlen(s.text) < 600);
    seen_free(&s);
    /* an error body past its bound is not read to its end */
    buf_reset(&body);
    for (int i = 0; i < 200000; i++)
        buf_add_byte(&body, 'x');
    script_add_body(world.server, 403, "", body.p);
    world_call(&s, GET);
    assert_int_equal(s.status, S3_DENIED);
    seen_free(&s);
    buf_free(&body);
}

static void a_chunked_error_body_is_read(void **state) {
    script_add(world.server, (struct script_answer){.text = "HTTP/1.1 404 x\r\nTransfer-Encoding: chunked\r\n\r\n"
                                                            "1b\r\n<Error><Code>NoSuchKey</Cod\r\n"
                                                            "b\r\ne></Error>\n\r\n0\r\n\r\n"});
    struct seen s = {0};
    world_call(&s, GET);
    assert_int_equal(s.status, S3_NO_KEY);
    assert_string_equal(s.code, "NoSuchKey");
    seen_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_TEST(statuses_and_codes),
        WORLD_TEST(the_text_says_what_happened),
        WORLD_TEST(a_chunked_error_body_is_read),
    };
    return cmocka_run_group_tests_name("s3 answers", tests, NULL, NULL);
}
