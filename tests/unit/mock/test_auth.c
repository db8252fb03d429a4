/* Who is let in: signatures, clocks, tokens, regions, and actions denied by order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clock.h"
#include "mock_client.h"

#include <stdio.h>

static struct client client;

static int open_client(void **state) {
    client_open(&client, NULL);
    assert_int_equal(mock_put(client.mock, BYTES("b-1"), BYTES("k"), BYTES("body"), NULL), 0);
    return 0;
}

static int close_client(void **state) {
    client_close(&client);
    return 0;
}

static int back_to_normal(void **state) {
    struct reply reply = {0};
    client.access = client.secret = "test";
    client.token = NULL;
    client.region = "us-east-1";
    client.skew_us = 0;
    client.tamper = false;
    client_admin(&client, "DELETE", "faults", "", &reply);
    reply_free(&reply);
    return 0;
}

static void expect(const char *method, const char *bucket, const char *key, int status, const char *code) {
    struct reply reply = {0};
    int got = client_do(&client, method, bucket, key, &reply);
    if (got != status || (code && !reply_has(&reply, code)))
        fail_msg("%s %s/%s: %d %.*s", method, bucket, key, got, (int)reply.body.n, reply.body.n ? reply.body.p : "");
    reply_free(&reply);
}

static void keys_and_signatures(void **state) {
    expect("GET", "b-1", "k", 200, NULL);
    client.secret = "Test";
    expect("GET", "b-1", "k", 403, "<Code>SignatureDoesNotMatch</Code>");
    expect("HEAD", "b-1", "k", 403, NULL);
    client.secret = "test";
    client.access = "tes";
    expect("GET", "b-1", "k", 403, "<Code>InvalidAccessKeyId</Code>");
    client.access = "test";
    client.tamper = true;
    expect("GET", "b-1", "k", 403, "<Code>SignatureDoesNotMatch</Code>");
    client.tamper = false;
    client.token = "some-token"; /* these keys have none */
    expect("GET", "b-1", "k", 400, "<Code>InvalidToken</Code>");
}

static void clocks(void **state) {
    client.skew_us = -14 * US_PER_MIN;
    expect("GET", "b-1", "k", 200, NULL);
    client.skew_us = 14 * US_PER_MIN;
    expect("GET", "b-1", "k", 200, NULL);
    client.skew_us = -16 * US_PER_MIN;
    expect("GET", "b-1", "k", 403, "<Code>RequestTimeTooSkewed</Code>");
    client.skew_us = 16 * US_PER_MIN;
    expect("GET", "b-1", "k", 403, "<Code>RequestTimeTooSkewed</Code>");
}

/* Odd keys are signed as they are. */
static void odd_keys(void **state) {
    static const char *const keys[] = {"a b",  "a+b",   "a%b", "a%2Fb", "//x//", "..", "../..", "/lead", "\xc3\xa9",
                                       "q'\"", "a?b#c", "\n",  "\x7f",  "x=y&z", "~",  "*",     "\\"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        assert_int_equal(client_put(&client, "b-1", keys[i], keys[i]), 200);
        struct reply reply = {0};
        assert_int_equal(client_do(&client, "GET", "b-1", keys[i], &reply), 200);
        assert_true(bytes_equal(buf_bytes(&reply.body), bytes_str(keys[i])));
        reply_free(&reply);
        expect("DELETE", "b-1", keys[i], 204, NULL);
        expect("GET", "b-1", keys[i], 404, "<Code>NoSuchKey</Code>");
    }
    expect("PUT", "b-1", "\xff", 400, "<Code>InvalidURI</Code>"); /* S3's keys are UTF-8 */
    assert_int_equal(mock_count(client.mock, BYTES("b-1")), 1);
}

/* Sends a signed GET with one line exchanged for another. */
static int with_line(const char *line, const char *instead, const char *code) {
    struct buf out = {0}, changed = {0};
    struct reply reply = {0};
    struct call call = {.method = "GET", .bucket = BYTES("b-1"), .key = BYTES("k")};
    client_add_request(&client, &call, &out);
    char *at = strstr(out.p, line);
    assert_non_null(at);
    char *end = strstr(at, "\r\n");
    buf_add(&changed, out.p, (size_t)(at - out.p));
    buf_add_str(&changed, instead);
    buf_add_str(&changed, *instead ? end : end + 2);
    client_send(&client, buf_bytes(&changed));
    client_read(&client, false, &reply);
    if (!reply_has(&reply, code))
        fail_msg("%s: %.*s", instead, (int)reply.body.n, reply.body.p);
    buf_free(&out);
    buf_free(&changed);
    reply_free(&reply);
    return reply.status;
}

static void broken_headers(void **state) {
#define SCOPE "/20260102/us-east-1/s3/aws4_request"
#define SIGNATURE "0123456789012345678901234567890123456789012345678901234567890123"
    assert_int_equal(with_line("Authorization", "", "<Code>AccessDenied</Code>"), 403);
    assert_int_equal(with_line("Authorization", "Authorization: AWS test:abc", "<Code>InvalidRequest</Code>"), 400);
    static const char *const malformed[] = {
        "Authorization: AWS4-HMAC-SHA256 Credential=test" SCOPE ", SignedHeaders=host",
        "Authorization: AWS4-HMAC-SHA256 Credential=test" SCOPE ", Signature=" SIGNATURE,
        "Authorization: AWS4-HMAC-SHA256 SignedHeaders=host, Signature=" SIGNATURE,
        "Authorization: AWS4-HMAC-SHA256 Credential=test, SignedHeaders=host, Signature=" SIGNATURE,
        "Authorization: AWS4-HMAC-SHA256 Credential=test" SCOPE ", SignedHeaders=host, Signature=" SIGNATURE ", More=1",
        "Authorization: AWS4-HMAC-SHA256 Credential=test/20260102/us-east-1/ec2/aws4_request, SignedHeaders=host, "
        "Signature=" SIGNATURE,
        "Authorization: AWS4-HMAC-SHA256 Credential=test/20260102//s3/aws4_request, SignedHeaders=host, "
        "Signature=" SIGNATURE,
        "Authorization: AWS4-HMAC-SHA256 Credential=test/20260102/us-east-1/s3/aws4, SignedHeaders=host, "
        "Signature=" SIGNATURE,
        "Authorization: AWS4-HMAC-SHA256 Credential=test" SCOPE ", SignedHeaders=host, Signature=" SIGNATURE,
        "Authorization: AWS4-HMAC-SHA256",
    };
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++)
        assert_int_equal(with_line("Authorization", malformed[i], "<Code>AuthorizationHeaderMalformed</Code>"), 400);
    assert_int_equal(with_line("x-amz-date", "", "valid Date or x-amz-date"), 403);
    assert_int_equal(with_line("x-amz-date", "x-amz-date: 20261301T000000Z", "valid Date or x-amz-date"), 403);
    assert_int_equal(with_line("x-amz-content-sha256", "", "Missing required header"), 400);
    assert_int_equal(with_line("x-amz-content-sha256", "x-amz-content-sha256: abc", "<Code>InvalidArgument</Code>"),
                     400);
    assert_int_equal(with_line("x-amz-content-sha256", "x-amz-content-sha256: UNSIGNED-PAYLOAD\r\nx-amz-meta-x: y",
                               "headers present in the request which were not signed"),
                     403);
    assert_int_equal(with_line("host", "host: other", "<Code>SignatureDoesNotMatch</Code>"), 403);
    /* What was not signed may come along. */
    assert_int_equal(
        with_line("x-amz-content-sha256", "x-amz-content-sha256: UNSIGNED-PAYLOAD\r\nuser-agent: y", "body"), 200);
}

static void payloads(void **state) {
    struct reply reply = {0};
    struct call call = {.method = "PUT",
                        .bucket = BYTES("b-1"),
                        .key = BYTES("hashed"),
                        .body = BYTES("hello"),
                        .payload = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"};
    client_call(&client, &call, &reply);
    assert_int_equal(reply.status, 200);
    call.body = BYTES("hellO");
    client_call(&client, &call, &reply);
    assert_int_equal(reply.status, 400);
    assert_true(reply_has(&reply, "<Code>XAmzContentSHA256Mismatch</Code>"));
    call.body = BYTES("");
    call.payload = SIGV4_EMPTY_SHA256;
    client_call(&client, &call, &reply);
    assert_int_equal(reply.status, 200);
    reply_free(&reply);
}

static void regions(void **state) {
    struct reply reply = {0};
    char text[256];
    struct call create = {.method = "PUT",
                          .bucket = BYTES("far-away"),
                          .body = BYTES("<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint>"
                                        "</CreateBucketConfiguration>")};
    client_call(&client, &create, &reply);
    assert_int_equal(reply.status, 200);
    assert_int_equal(client_do(&client, "GET", "far-away", "", &reply), 301);
    assert_true(reply_has(&reply, "<Code>PermanentRedirect</Code>"));
    assert_string_equal(reply_field(&reply, "x-amz-bucket-region", text), "eu-west-1");
    assert_int_equal(client_do(&client, "HEAD", "far-away", "", &reply), 301);
    assert_string_equal(reply_field(&reply, "x-amz-bucket-region", text), "eu-west-1");
    client.region = "eu-west-1";
    expect("GET", "far-away", "", 200, NULL);
    expect("GET", "b-1", "", 400, "<Region>us-east-1</Region>");
    expect("GET", "", "", 400, "<Code>AuthorizationHeaderMalformed</Code>");
    client.region = "us-west-2";
    expect("GET", "far-away", "", 400, "<Region>eu-west-1</Region>");
    create.bucket = BYTES("far-too");
    client_call(&client, &create, &reply);
    assert_int_equal(reply.status, 400);
    assert_true(reply_has(&reply, "IllegalLocationConstraint"));
    reply_free(&reply);
}

static void host_style(void **state) {
    static const struct {
        const char *host;
        int status;
    } hosts[] = {
        {"b-1.s3.localhost:99", 200}, {"b-1.s3.eu-west-1.localhost", 200},
        {"b-1.s3-eu.localhost", 200}, {"b-1.localhost:1", 200},
        {"b-1.127.0.0.1:5", 200},     {"b-2.localhost", 404},
    };
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        struct reply reply = {0};
        struct call call = {.method = "GET", .bucket = BYTES("b-1"), .key = BYTES("k"), .host = hosts[i].host};
        client_call(&client, &call, &reply);
        if (reply.status != hosts[i].status)
            fail_msg("%s: %d", hosts[i].host, reply.status);
        reply_free(&reply);
    }
    static const char *const path_style[] = {"localhost", "s3.localhost", "s3.eu-west-1.localhost:80", "example.org"};
    for (size_t i = 0; i < sizeof(path_style) / sizeof(path_style[0]); i++) {
        struct reply reply = {0};
        struct call call = {.method = "GET", .key = BYTES("b-1/k"), .host = path_style[i]};
        client_call(&client, &call, &reply);
        if (reply.status != 200)
            fail_msg("%s: %d", path_style[i], reply.status);
        reply_free(&reply);
    }
}

static void order(const char *text) {
    struct reply reply = {0};
    assert_int_equal(client_admin(&client, "POST", "faults", text, &reply), 200);
    reply_free(&reply);
}

static void other_users(void **state) {
    order("user access=ann secret=one token=tok; user access=old secret=two token=tok expired=yes; user access=bob "
          "secret=three");
    client.access = "ann";
    client.secret = "one";
    expect("GET", "b-1", "k", 400, "<Code>InvalidToken</Code>");
    client.token = "tok";
    expect("GET", "b-1", "k", 200, NULL);
    client.access = "old";
    client.secret = "two";
    expect("GET", "b-1", "k", 400, "<Code>ExpiredToken</Code>");
    client.token = NULL;
    client.access = "bob";
    client.secret = "one";
    expect("GET", "b-1", "k", 403, "<Code>SignatureDoesNotMatch</Code>");
    client.secret = "three";
    expect("GET", "b-1", "k", 200, NULL);
    struct reply reply = {0};
    client_admin(&client, "DELETE", "faults", "", &reply);
    expect("GET", "b-1", "k", 403, "<Code>InvalidAccessKeyId</Code>");
    order("user access=bob secret=four"); /* the old secret's key must not be remembered */
    expect("GET", "b-1", "k", 403, "<Code>SignatureDoesNotMatch</Code>");
    reply_free(&reply);
}

static void denied_actions(void **state) {
    static const struct {
        const char *action, *method, *bucket, *key;
        int status; /* while denied */
    } cases[] = {
        {"s3:ListAllMyBuckets", "GET", "", "", 403},
        {"s3:ListBucket", "GET", "b-1", "", 403},
        {"s3:ListBucket", "HEAD", "b-1", "", 403},
        {"s3:ListBucket", "GET", "b-1", "k", 200},
        {"s3:ListBucket", "GET", "b-1", "none", 403}, /* what is missing is not told */
        {"s3:GetObject", "GET", "b-1", "k", 403},
        {"s3:GetObject", "HEAD", "b-1", "k", 403},
        {"s3:GetObject", "GET", "b-1", "", 200},
        {"s3:DeleteObject", "DELETE", "b-1", "k", 403},
        {"s3:Put*", "PUT", "b-1", "k", 403},
        {"s3:DeleteBucket", "DELETE", "b-1", "", 403},
        {"s3:*", "GET", "b-1", "k", 403},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char line[128];
        snprintf(line, sizeof(line), "deny access=test action=%s", cases[i].action);
        order(line);
        expect(cases[i].method, cases[i].bucket, cases[i].key, cases[i].status, NULL);
        back_to_normal(state);
    }
    order("deny access=test action=s3:* bucket=b-2");
    expect("GET", "b-1", "k", 200, NULL);
    expect("GET", "b-2", "k", 403, "<Code>AccessDenied</Code>");
    back_to_normal(state);
    /* A condition on a delete reads the object. */
    order("deny access=test action=s3:GetObject");
    struct reply reply = {0};
    struct field match[] = {{"if-match", "*"}, {NULL, NULL}};
    struct call call = {.method = "DELETE", .bucket = BYTES("b-1"), .key = BYTES("k"), .fields = match};
    client_call(&client, &call, &reply);
    assert_int_equal(reply.status, 403);
    assert_int_equal(mock_count(client.mock, BYTES("b-1")), 2);
    reply_free(&reply);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(keys_and_signatures, back_to_normal),
        cmocka_unit_test_teardown(clocks, back_to_normal),
        cmocka_unit_test_teardown(odd_keys, back_to_normal),
        cmocka_unit_test_teardown(broken_headers, back_to_normal),
        cmocka_unit_test_teardown(payloads, back_to_normal),
        cmocka_unit_test_teardown(regions, back_to_normal),
        cmocka_unit_test_teardown(host_style, back_to_normal),
        cmocka_unit_test_teardown(other_users, back_to_normal),
        cmocka_unit_test_teardown(denied_actions, back_to_normal),
    };
    return cmocka_run_group_tests(tests, open_client, close_client);
}
