/* Objects over HTTP: conditions, ranges, versions, checksums, metadata, archived classes, batches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mock_client.h"
#include "text.h"

#include <openssl/evp.h>
#include <stdio.h>

static struct client client;
static struct reply reply;

static int open_client(void **state) {
    client_open(&client, NULL);
    assert_int_equal(mock_put(client.mock, BYTES("b-1"), BYTES("k"), BYTES("0123456789"), NULL), 0);
    return 0;
}

static int close_client(void **state) {
    reply_free(&reply);
    client_close(&client);
    return 0;
}

/* One field more, one parameter more. */
static int call(const char *method, const char *bucket, const char *key, const char *name, const char *value,
                const char *param, const char *param_value) {
    struct field fields[] = {{name, value}, {NULL, NULL}};
    struct param params[] = {{param, param_value}, {NULL, NULL}};
    struct call request = {
        .method = method, .bucket = bytes_str(bucket), .key = bytes_str(key), .fields = fields, .params = params};
    client_call(&client, &request, &reply);
    return reply.status;
}

static int with_field(const char *method, const char *key, const char *name, const char *value) {
    return call(method, "b-1", key, name, value, NULL, NULL);
}

static int post(const char *method, const char *bucket, const char *param, const char *body,
                const struct field *fields) {
    struct param params[] = {{param, ""}, {NULL, NULL}};
    struct call request = {
        .method = method, .bucket = bytes_str(bucket), .params = params, .body = bytes_str(body), .fields = fields};
    client_call(&client, &request, &reply);
    return reply.status;
}

static void expect_field(const char *name, const char *value) {
    char text[256];
    const char *got = reply_field(&reply, name, text);
    if (value && got)
        assert_string_equal(got, value);
    else
        assert_true(!value && !got);
}

static void keep_field(const char *name, char text[256]) {
    assert_non_null(reply_field(&reply, name, text));
}

/* https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html; statuses as AWS was seen to answer.
 */
static void conditional_deletes(void **state) {
    char etag[256], bare[256];
    for (int versioned = 0; versioned < 2; versioned++) {
        if (versioned)
            assert_int_equal(post("PUT", "b-1", "versioning",
                                  "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>", NULL),
                             200);
        assert_int_equal(with_field("DELETE", "never", "if-match", "*"), 404);
        assert_true(reply_has(&reply, "<Code>NoSuchKey</Code>"));
        assert_int_equal(with_field("DELETE", "never", "if-match", "\"abc\""), 404);
        assert_int_equal(client_put(&client, "b-1", "c", "one"), 200);
        client_do(&client, "HEAD", "b-1", "c", &reply);
        keep_field("etag", etag);
        assert_int_equal(with_field("DELETE", "c", "if-match", "\"abc\""), 412);
        assert_true(reply_has(&reply, "<Code>PreconditionFailed</Code>"));
        assert_int_equal(client_put(&client, "b-1", "c", "two"), 200);
        assert_int_equal(with_field("DELETE", "c", "if-match", etag), 412); /* overwritten */
        client_do(&client, "HEAD", "b-1", "c", &reply);
        keep_field("etag", etag);
        assert_int_equal(with_field("DELETE", "c", "if-match", etag), 204);
        assert_int_equal(with_field("DELETE", "c", "if-match", etag), 404); /* gone, or a marker over the old version */
        assert_int_equal(client_put(&client, "b-1", "c", "two"), 200);
        snprintf(bare, sizeof(bare), "%.*s", (int)strlen(etag) - 2, etag + 1);
        assert_int_equal(with_field("DELETE", "c", "if-match", bare), 204);
        assert_int_equal(client_put(&client, "b-1", "c", "two"), 200);
        assert_int_equal(with_field("DELETE", "c", "if-match", "*"), 204);
        assert_int_equal(client_do(&client, "DELETE", "b-1", "never", &reply), 204);
    }
    assert_int_equal(call("DELETE", "b-1", "c", "if-match", "*", "versionId", "null"), 400);
    assert_int_equal(with_field("DELETE", "c", "x-amz-if-match-size", "3"), 501);
}

static void servers_that_ignore_conditions(void **state) {
    struct mock_options options = {.ignore_if_match = true};
    struct client other;
    struct field match[] = {{"if-match", "\"abc\""}, {NULL, NULL}};
    client_open(&other, &options);
    assert_int_equal(mock_put(other.mock, BYTES("b-1"), BYTES("k"), BYTES("x"), NULL), 0);
    struct call request = {.method = "DELETE", .bucket = BYTES("b-1"), .key = BYTES("k"), .fields = match};
    client_call(&other, &request, &reply);
    assert_int_equal(reply.status, 204);
    client_call(&other, &request, &reply);
    assert_int_equal(reply.status, 204);
    assert_int_equal(mock_count(other.mock, BYTES("b-1")), 0);
    client_close(&other);
}

static void conditional_gets_and_puts(void **state) {
    char etag[256], modified[256];
    assert_int_equal(client_do(&client, "GET", "b-1", "k", &reply), 200);
    keep_field("etag", etag);
    keep_field("last-modified", modified);
    for (int head = 0; head < 2; head++) {
        const char *method = head ? "HEAD" : "GET";
        assert_int_equal(with_field(method, "k", "if-match", etag), 200);
        assert_int_equal(with_field(method, "k", "if-match", "\"a\", *"), 200);
        assert_int_equal(with_field(method, "k", "if-match", "\"a\""), 412);
        assert_int_equal(with_field(method, "k", "if-none-match", etag), 304);
        assert_int_equal(with_field(method, "k", "if-none-match", "\"a\""), 200);
        assert_int_equal(with_field(method, "k", "if-modified-since", modified), 304);
        assert_int_equal(with_field(method, "k", "if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"), 200);
        assert_int_equal(with_field(method, "k", "if-unmodified-since", modified), 200);
        assert_int_equal(with_field(method, "k", "if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT"), 412);
        assert_int_equal(with_field(method, "k", "if-modified-since", "nonsense"), 200);
    }
    assert_int_equal(with_field("PUT", "k", "if-none-match", "*"), 412);
    assert_int_equal(with_field("PUT", "k", "if-none-match", etag), 501);
    assert_int_equal(with_field("PUT", "k", "if-match", "\"a\""), 412);
    assert_int_equal(with_field("PUT", "nothing", "if-match", etag), 404);
    assert_int_equal(with_field("PUT", "fresh", "if-none-match", "*"), 200);
    assert_int_equal(with_field("PUT", "fresh", "if-none-match", "*"), 412);
    assert_int_equal(with_field("PUT", "fresh", "if-match", "\"d41d8cd98f00b204e9800998ecf8427e\""), 200);
    assert_int_equal(client_do(&client, "GET", "b-1", "k", &reply), 200);
    expect_field("etag", etag);
}

static void ranges(void **state) {
    static const struct {
        const char *range;
        int status;
        const char *body, *told;
    } cases[] = {
        {"bytes=0-0", 206, "0", "bytes 0-0/10"},
        {"bytes=2-4", 206, "234", "bytes 2-4/10"},
        {"bytes=7-", 206, "789", "bytes 7-9/10"},
        {"bytes=7-99", 206, "789", "bytes 7-9/10"},
        {"bytes=-3", 206, "789", "bytes 7-9/10"},
        {"bytes=-99", 206, "0123456789", "bytes 0-9/10"},
        {"bytes=10-", 416, NULL, NULL},
        {"bytes=-0", 416, NULL, NULL},
        {"bytes=4-2", 200, "0123456789", NULL},
        {"bytes=1-2,4-5", 200, "0123456789", NULL},
        {"bytes=", 200, "0123456789", NULL},
        {"bytes=a-b", 200, "0123456789", NULL},
        {"lines=1-2", 200, "0123456789", NULL},
        {"bytes=18446744073709551615-", 416, NULL, NULL},
        {"bytes=0-18446744073709551615", 206, "0123456789", "bytes 0-9/10"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (with_field("GET", "k", "range", cases[i].range) != cases[i].status)
            fail_msg("%s: %d", cases[i].range, reply.status);
        if (cases[i].body)
            assert_true(bytes_equal(buf_bytes(&reply.body), bytes_str(cases[i].body)));
        expect_field("content-range", cases[i].told);
    }
    assert_int_equal(client_put(&client, "b-1", "empty", ""), 200);
    assert_int_equal(with_field("GET", "empty", "range", "bytes=0-"), 416);
    assert_int_equal(with_field("HEAD", "k", "range", "bytes=1-2"), 206);
    expect_field("content-length", "2");
}

static int put_with(const char *key, const struct field *fields, const char *body) {
    struct call request = {
        .method = "PUT", .bucket = BYTES("b-1"), .key = bytes_str(key), .body = bytes_str(body), .fields = fields};
    client_call(&client, &request, &reply);
    return reply.status;
}

static void metadata(void **state) {
    struct field fields[] = {{"content-type", "image/png"},     {"x-amz-meta-one", "1"},  {"x-amz-meta-two", "a  b"},
                             {"content-disposition", "inline"}, {"x-amz-acl", "private"}, {NULL, NULL}};
    assert_int_equal(put_with("m", fields, "x"), 200);
    for (int head = 0; head < 2; head++) {
        assert_int_equal(client_do(&client, head ? "HEAD" : "GET", "b-1", "m", &reply), 200);
        expect_field("content-type", "image/png");
        expect_field("x-amz-meta-one", "1");
        expect_field("x-amz-meta-two", "a  b");
        expect_field("content-disposition", "inline");
        expect_field("x-amz-acl", NULL);
    }
    assert_int_equal(client_put(&client, "b-1", "m", "y"), 200); /* an overwrite forgets all that */
    assert_int_equal(client_do(&client, "GET", "b-1", "m", &reply), 200);
    expect_field("content-type", "binary/octet-stream");
    expect_field("x-amz-meta-one", NULL);
    char large[2100];
    memset(large, 'v', sizeof(large));
    large[2048 - 3] = '\0';
    struct field most[] = {{"x-amz-meta-abc", large}, {NULL, NULL}};
    assert_int_equal(put_with("m", most, "x"), 200);
    struct field over[] = {{"x-amz-meta-abcd", large}, {NULL, NULL}};
    assert_int_equal(put_with("m", over, "x"), 400);
    static const char *const missing[] = {"x-amz-server-side-encryption", "x-amz-website-redirect-location",
                                          "x-amz-object-lock-mode"};
    for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++)
        assert_int_equal(with_field("PUT", "m", missing[i], "x"), 501);
    assert_int_equal(with_field("PUT", "m", "x-amz-acl", "public-read"), 501);
}

static void checksums(void **state) {
    static const struct {
        const char *name, *right;
    } kinds[] = {
        {"x-amz-checksum-crc32", "NhCmhg=="},
        {"x-amz-checksum-crc32c", "mnG7TA=="},
        {"x-amz-checksum-sha1", "qvTGHdzF6KLavt4PO0gs2a6pQ00="},
        {"x-amz-checksum-sha256", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="},
    };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct field right[] = {{kinds[i].name, kinds[i].right}, {NULL, NULL}};
        assert_int_equal(put_with("s", right, "hello"), 200);
        expect_field(kinds[i].name, kinds[i].right);
        assert_int_equal(put_with("s", right, "hallo"), 400);
        assert_true(reply_has(&reply, "<Code>BadDigest</Code>"));
        assert_int_equal(client_do(&client, "GET", "b-1", "s", &reply), 200);
        expect_field(kinds[i].name, NULL); /* only when asked for */
        assert_int_equal(with_field("GET", "s", "x-amz-checksum-mode", "ENABLED"), 200);
        expect_field(kinds[i].name, kinds[i].right);
        assert_int_equal(with_field("HEAD", "s", "x-amz-checksum-mode", "ENABLED"), 200);
        expect_field(kinds[i].name, kinds[i].right);
    }
    struct field two[] = {{"x-amz-checksum-crc32", "NhCmhg=="}, {"x-amz-checksum-crc32c", "mnG7TA=="}, {NULL, NULL}};
    assert_int_equal(put_with("s", two, "hello"), 400);
    struct field md5[] = {{"content-md5", "XUFAKrxLKna5cZ2REBfFkg=="}, {NULL, NULL}};
    assert_int_equal(put_with("s", md5, "hello"), 200);
    assert_int_equal(put_with("s", md5, "hallo"), 400);
    struct field short_md5[] = {{"content-md5", "XUFAKrxL"}, {NULL, NULL}};
    assert_int_equal(put_with("s", short_md5, "hello"), 400);
    assert_true(reply_has(&reply, "<Code>InvalidDigest</Code>"));
    assert_int_equal(with_field("GET", "s", "x-amz-checksum-mode", "ENABLED"), 200);
    expect_field("x-amz-checksum-crc64nvme", NULL);
    struct mock_options options = {.default_checksum = true};
    struct client other;
    client_open(&other, &options);
    struct reply kept = reply;
    reply = (struct reply){0};
    struct call create = {.method = "PUT", .bucket = BYTES("b-1")};
    struct call put = {.method = "PUT", .bucket = BYTES("b-1"), .key = BYTES("s"), .body = BYTES("123456789")};
    client_call(&other, &create, &reply);
    client_call(&other, &put, &reply);
    expect_field("x-amz-checksum-crc64nvme", "rosUhgp5mIg="); /* of the check string: ae8b14860a799888 */
    reply_free(&reply);
    reply = kept;
    client_close(&other);
}

static void archived(void **state) {
    assert_int_equal(with_field("PUT", "cold", "x-amz-storage-class", "DEEP_ARCHIVE"), 200);
    assert_int_equal(with_field("PUT", "warm", "x-amz-storage-class", "STANDARD_IA"), 200);
    assert_int_equal(with_field("PUT", "cold", "x-amz-storage-class", "FREEZER"), 400);
    assert_int_equal(client_do(&client, "GET", "b-1", "cold", &reply), 403);
    assert_true(reply_has(&reply, "<Code>InvalidObjectState</Code>"));
    assert_int_equal(client_do(&client, "HEAD", "b-1", "cold", &reply), 200);
    expect_field("x-amz-storage-class", "DEEP_ARCHIVE");
    expect_field("x-amz-restore", NULL);
    assert_int_equal(client_do(&client, "GET", "b-1", "warm", &reply), 200);
    assert_int_equal(client_do(&client, "GET", "b-1", "", &reply), 200);
    assert_true(reply_has(&reply, "<StorageClass>DEEP_ARCHIVE</StorageClass>"));
    assert_int_equal(client_admin(&client, "POST", "restore?bucket=b-1&key=nothing", "", &reply), 404);
    assert_int_equal(client_admin(&client, "POST", "restore?bucket=b-1&key=cold", "", &reply), 200);
    assert_int_equal(client_do(&client, "GET", "b-1", "cold", &reply), 200);
    assert_int_equal(call("GET", "b-1", "", "x-amz-optional-object-attributes", "RestoreStatus", "list-type", "2"),
                     200);
    assert_true(reply_has(&reply, "<IsRestoreInProgress>false</IsRestoreInProgress>"));
    assert_int_equal(client_do(&client, "DELETE", "b-1", "cold", &reply), 204);
}

static int with_id(const char *method, const char *key, const char *id) {
    return call(method, "vers", key, NULL, NULL, "versionId", id);
}

static void versions(void **state) {
    char one[256], two[256], marker[256];
    assert_int_equal(client_do(&client, "PUT", "vers", "", &reply), 200);
    assert_int_equal(call("GET", "vers", "", NULL, NULL, "versioning", ""), 200);
    assert_false(reply_has(&reply, "<Status>"));
    assert_int_equal(client_put(&client, "vers", "v", "null body"), 200);
    assert_int_equal(post("PUT", "vers", "versioning",
                          "<VersioningConfiguration><Status>On</Status></VersioningConfiguration>", NULL),
                     400);
    assert_int_equal(post("PUT", "vers", "versioning", "<VersioningConfiguration/>", NULL), 400);
    assert_int_equal(post("PUT", "vers", "versioning",
                          "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>", NULL),
                     200);
    assert_int_equal(call("PUT", "vers", "v", NULL, NULL, NULL, NULL), 200);
    keep_field("x-amz-version-id", one);
    assert_int_equal(call("PUT", "vers", "v", NULL, NULL, NULL, NULL), 200);
    keep_field("x-amz-version-id", two);
    assert_string_not_equal(one, two);
    assert_int_equal(client_do(&client, "GET", "vers", "v", &reply), 200);
    expect_field("x-amz-version-id", two);
    assert_int_equal(with_id("GET", "v", one), 200);
    expect_field("x-amz-version-id", one);
    assert_int_equal(with_id("GET", "v", "null"), 200);
    assert_true(bytes_equal(buf_bytes(&reply.body), BYTES("null body")));
    assert_int_equal(with_id("GET", "v", "not-an-id"), 400);
    assert_int_equal(with_id("GET", "other", one), 404);
    assert_true(reply_has(&reply, "<Code>NoSuchVersion</Code>"));
    assert_int_equal(client_do(&client, "DELETE", "vers", "v", &reply), 204);
    expect_field("x-amz-delete-marker", "true");
    keep_field("x-amz-version-id", marker);
    assert_int_equal(client_do(&client, "GET", "vers", "v", &reply), 404);
    expect_field("x-amz-delete-marker", "true");
    expect_field("x-amz-version-id", marker);
    assert_int_equal(with_id("GET", "v", marker), 405);
    expect_field("allow", "DELETE");
    assert_int_equal(with_id("HEAD", "v", marker), 405);
    assert_int_equal(with_id("DELETE", "v", marker), 204);
    expect_field("x-amz-delete-marker", "true");
    assert_int_equal(client_do(&client, "GET", "vers", "v", &reply), 200);
    assert_int_equal(with_id("DELETE", "v", two), 204);
    expect_field("x-amz-version-id", two);
    expect_field("x-amz-delete-marker", NULL);
    assert_int_equal(with_id("DELETE", "v", two), 204); /* again: fine */
    assert_int_equal(client_do(&client, "GET", "vers", "v", &reply), 200);
    expect_field("x-amz-version-id", one);
    assert_int_equal(post("PUT", "vers", "versioning",
                          "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>", NULL),
                     200);
    assert_int_equal(client_do(&client, "DELETE", "vers", "v", &reply), 204); /* replaces the null version */
    expect_field("x-amz-version-id", "null");
    assert_int_equal(with_id("GET", "v", "null"), 405);
    assert_int_equal(client_do(&client, "DELETE", "vers", "", &reply), 409);
    assert_int_equal(with_id("DELETE", "v", "null"), 204);
    assert_int_equal(with_id("DELETE", "v", one), 204);
    assert_int_equal(client_do(&client, "DELETE", "vers", "", &reply), 204);
}

static int delete_batch(const char *document) {
    unsigned char digest[16];
    struct buf md5 = {0};
    EVP_Digest(document, strlen(document), digest, NULL, EVP_md5(), NULL);
    assert_int_equal(text_add_base64(&md5, digest, sizeof(digest)), 0);
    struct field fields[] = {{"content-md5", md5.p}, {NULL, NULL}};
    int status = post("POST", "b-1", "delete", document, fields);
    buf_free(&md5);
    return status;
}

static void batches(void **state) {
    assert_int_equal(client_put(&client, "b-1", "d1", "1"), 200);
    assert_int_equal(client_put(&client, "b-1", "d<&>2", "2"), 200);
    assert_int_equal(client_put(&client, "b-1", "d3", "3"), 200);
    assert_int_equal(
        delete_batch("<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Object><Key>d1</Key></Object>"
                     "<Object><Key>d&lt;&amp;&gt;2</Key><ETag>*</ETag></Object>"
                     "<Object><Key>d3</Key><ETag>\"wrong\"</ETag></Object>"
                     "<Object><Key>never</Key></Object><Object><Key>gone</Key><ETag>x</ETag></Object></Delete>"),
        200);
    assert_true(reply_has(&reply, "<Deleted><Key>d1</Key>"));
    assert_true(reply_has(&reply, "<Deleted><Key>d&lt;&amp;&gt;2</Key>"));
    assert_true(reply_has(&reply, "<Error><Key>d3</Key><Code>PreconditionFailed</Code>"));
    assert_true(reply_has(&reply, "<Deleted><Key>never</Key>"));
    assert_true(reply_has(&reply, "<Error><Key>gone</Key><Code>NoSuchKey</Code>"));
    assert_int_equal(delete_batch("<Delete><Quiet>true</Quiet><Object><Key>d3</Key></Object></Delete>"), 200);
    assert_false(reply_has(&reply, "d3"));
    assert_int_equal(client_do(&client, "HEAD", "b-1", "d3", &reply), 404);
    static const char *const malformed[] = {
        "",
        "<Delete>",
        "<Delete></Delete>",
        "<Delete><Object></Object></Delete>",
        "<Delete><Object><Key></Key></Object></Delete>",
        "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
        "<Delete><Object><ETag/><Key>k</Key></Object></Delete>",
        "<!DOCTYPE x [<!ENTITY a \"k\">]><Delete><Object><Key>&a;</Key></Object></Delete>",
        "<Delete><Object><Key>k</Key></Object></Delete>junk",
        "{}",
    };
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++)
        if (delete_batch(malformed[i]) != 400 || !reply_has(&reply, "<Code>MalformedXML</Code>"))
            fail_msg("%s: %d", malformed[i], reply.status);
    assert_int_equal(post("POST", "b-1", "delete", "<Delete><Object><Key>k</Key></Object></Delete>", NULL), 400);
    assert_true(reply_has(&reply, "Content-MD5"));
    assert_int_equal(client_do(&client, "HEAD", "b-1", "k", &reply), 200);
    for (int n = 1000; n <= 1001; n++) {
        struct buf document = {0};
        buf_add_str(&document, "<Delete>");
        for (int i = 0; i < n; i++)
            buf_printf(&document, "<Object><Key>many-%d</Key></Object>", i);
        buf_add_str(&document, "</Delete>");
        assert_int_equal(delete_batch(document.p), n == 1000 ? 200 : 400);
        buf_free(&document);
    }
}

static void not_implemented(void **state) {
    static const char *const params[] = {"acl", "policy", "lifecycle", "restore", "select", "torrent"};
    for (size_t i = 0; i < sizeof(params) / sizeof(params[0]); i++) {
        assert_int_equal(call("GET", "b-1", "k", NULL, NULL, params[i], ""), 501);
        assert_int_equal(call("PUT", "b-1", "k", NULL, NULL, params[i], ""), 501);
        assert_int_equal(call("DELETE", "b-1", "k", NULL, NULL, params[i], ""), 501);
        assert_int_equal(call("DELETE", "b-1", "", NULL, NULL, params[i], ""), 501);
        assert_int_equal(call("POST", "b-1", "k", NULL, NULL, params[i], ""), 501);
        assert_true(reply_has(&reply, "<Code>NotImplemented</Code>"));
    }
    assert_int_equal(call("GET", "b-1", "k", NULL, NULL, "x-id", "GetObject"), 200);
    assert_int_equal(client_do(&client, "PATCH", "b-1", "k", &reply), 405);
    assert_int_equal(client_do(&client, "DELETE", "", "", &reply), 405);
    assert_int_equal(mock_count(client.mock, BYTES("b-1")) > 0, 1);
}

static void buckets(void **state) {
    assert_int_equal(client_do(&client, "PUT", "b-1", "", &reply), 409);
    assert_int_equal(client_do(&client, "PUT", "No", "", &reply), 400);
    assert_true(reply_has(&reply, "<Code>InvalidBucketName</Code>"));
    assert_int_equal(client_do(&client, "GET", "nope", "", &reply), 404);
    assert_true(reply_has(&reply, "<Code>NoSuchBucket</Code>"));
    assert_int_equal(client_do(&client, "DELETE", "b-1", "", &reply), 409);
    assert_int_equal(client_do(&client, "HEAD", "b-1", "", &reply), 200);
    expect_field("x-amz-bucket-region", "us-east-1");
    assert_int_equal(post("PUT", "b-2", "x-id", "<CreateBucketConfiguration><Loc", NULL), 400);
    assert_int_equal(call("GET", "b-1", "", NULL, NULL, "location", ""), 200);
    char key[1026];
    memset(key, 'k', sizeof(key));
    key[1025] = '\0';
    assert_int_equal(client_put(&client, "b-1", key, ""), 400);
    key[1024] = '\0';
    assert_int_equal(client_put(&client, "b-1", key, ""), 200);
    struct mock_options options = {.max_bytes = 100};
    struct client other;
    client_open(&other, &options);
    assert_int_equal(mock_put(other.mock, BYTES("b-1"), BYTES("k"), BYTES("0123456789"), NULL), 0);
    struct buf body = {0};
    for (int i = 0; i < 91; i++)
        buf_add_byte(&body, 'x');
    assert_int_equal(client_put(&other, "b-1", "over", body.p), 507);
    body.p[90] = '\0';
    assert_int_equal(client_put(&other, "b-1", "fits", body.p), 200);
    assert_int_equal(mock_put(other.mock, BYTES("b-1"), BYTES("k2"), BYTES("x"), NULL), -ENOSPC);
    buf_free(&body);
    client_close(&other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conditional_gets_and_puts),
        cmocka_unit_test(ranges),
        cmocka_unit_test(metadata),
        cmocka_unit_test(checksums),
        cmocka_unit_test(archived),
        cmocka_unit_test(batches),
        cmocka_unit_test(not_implemented),
        cmocka_unit_test(buckets),
        cmocka_unit_test(versions),
        cmocka_unit_test(servers_that_ignore_conditions),
        cmocka_unit_test(conditional_deletes),
    };
    return cmocka_run_group_tests(tests, open_client, close_client);
}
