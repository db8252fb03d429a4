/* Copies and tags over HTTP: what is taken over, which conditions hold, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "checksum.h"
#include "mock_client.h"
#include "text.h"

#include <stdio.h>

static struct client client;
static struct reply reply;

#define FIELDS(...)          \
    (const struct field[]) { \
        __VA_ARGS__, {       \
            NULL, NULL       \
        }                    \
    }
#define ETAG "\"781e5e245d69b566979b86e28d23f2c7\"" /* of 0123456789 */
#define TAGS(tags) "<Tagging><TagSet>" tags "</TagSet></Tagging>"
#define TAG(name, value) "<Tag><Key>" name "</Key><Value>" value "</Value></Tag>"

static int ask(const char *method, const char *key, const struct param *params, const struct field *fields,
               const char *body) {
    struct call call = {.method = method,
                        .bucket = BYTES("b-1"),
                        .key = bytes_str(key),
                        .params = params,
                        .fields = fields,
                        .body = bytes_str(body)};
    client_call(&client, &call, &reply);
    return reply.status;
}

static int tagging(const char *method, const char *key, const char *version, const char *body) {
    struct param params[] = {{"tagging", ""}, {version ? "versionId" : NULL, version}, {NULL, NULL}};
    struct buf sum = {0};
    uint32_t crc = checksum_crc32(0, bytes_str(body));
    unsigned char digest[] = {(unsigned char)(crc >> 24), (unsigned char)(crc >> 16), (unsigned char)(crc >> 8),
                              (unsigned char)crc};
    assert_int_equal(text_add_base64(&sum, digest, sizeof(digest)), 0);
    int status = ask(method, key, params, body[0] ? FIELDS({"x-amz-checksum-crc32", sum.p}) : NULL, body);
    buf_free(&sum);
    return status;
}

static void expect_code(int status, int wanted, const char *code) {
    char element[64];
    snprintf(element, sizeof(element), "<Code>%s</Code>", code);
    if (status != wanted || !reply_has(&reply, element))
        fail_msg("%d %.*s, not %d %s", status, (int)reply.body.n, reply.body.p ? reply.body.p : "", wanted, code);
}

static void expect_field(const char *name, const char *value) {
    char text[256];
    const char *got = reply_field(&reply, name, text);
    if (value && got)
        assert_string_equal(got, value);
    else
        assert_true(!value && !got);
}

static void expect_tags(const char *key, const char *tags) {
    assert_int_equal(tagging("GET", key, NULL, ""), 200);
    if (!reply_has(&reply, tags))
        fail_msg("no %s in %.*s", tags, (int)reply.body.n, reply.body.p);
}

static int open_client(void **state) {
    client_open(&client, NULL);
    assert_int_equal(mock_put(client.mock, BYTES("b-2"), BYTES("x"), BYTES("x"), NULL), 0);
    assert_int_equal(mock_put(client.mock, BYTES("b-1"), BYTES("x"), BYTES("x"), NULL), 0);
    assert_int_equal(ask("PUT", "s /%?", NULL,
                         FIELDS({"content-type", "a/b"}, {"x-amz-meta-m", "n"}, {"cache-control", "no-store"},
                                {"x-amz-tagging", "t=1%202&u="}),
                         "0123456789"),
                     200);
    return 0;
}

static int close_client(void **state) {
    reply_free(&reply);
    client_close(&client);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_client, close_client)
#define SOURCE "b-1/s%20/%25%3F"

static int copy(const char *key, const char *source, const char *name, const char *value) {
    struct field fields[] = {{"x-amz-copy-source", source}, {name, value}, {NULL, NULL}};
    return ask("PUT", key, NULL, fields, "");
}

static void order(const char *text) {
    struct reply answer = {0};
    assert_int_equal(client_admin(&client, "POST", "faults", text, &answer), 200);
    reply_free(&answer);
}

static void a_copy_takes_all_over(void **state) {
    static const char *const sources[] = {SOURCE, "/b-1/s%20/%25%3F", "b-1/s%20%2F%25%3F"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(copy("c", sources[i], NULL, NULL), 200);
        assert_true(reply_has(&reply, "<ETag>&quot;781e5e245d69b566979b86e28d23f2c7&quot;</ETag>"));
        assert_int_equal(client_do(&client, "GET", "b-1", "c", &reply), 200);
        assert_true(bytes_equal(buf_bytes(&reply.body), BYTES("0123456789")));
        expect_field("ETag", ETAG);
        expect_field("Content-Type", "a/b");
        expect_field("x-amz-meta-m", "n");
        expect_field("Cache-Control", "no-store");
        expect_field("x-amz-tagging-count", "2");
        expect_tags("c", TAG("t", "1 2") TAG("u", ""));
        assert_int_equal(client_do(&client, "DELETE", "b-1", "c", &reply), 204);
    }
    assert_int_equal(client_do(&client, "GET", "b-1", "s /%?", &reply), 200);
}

static void metadata_and_tags_are_replaced_each_on_its_own(void **state) {
    assert_int_equal(ask("PUT", "c", NULL,
                         FIELDS({"x-amz-copy-source", SOURCE}, {"x-amz-metadata-directive", "REPLACE"},
                                {"x-amz-meta-o", "p"}, {"x-amz-tagging", "not=taken"}),
                         ""),
                     200);
    assert_int_equal(client_do(&client, "HEAD", "b-1", "c", &reply), 200);
    expect_field("x-amz-meta-m", NULL);
    expect_field("x-amz-meta-o", "p");
    expect_field("Cache-Control", NULL);
    expect_field("Content-Type", "binary/octet-stream");
    expect_tags("c", TAG("t", "1 2"));
    assert_int_equal(
        ask("PUT", "c", NULL,
            FIELDS({"x-amz-copy-source", SOURCE}, {"x-amz-tagging-directive", "REPLACE"}, {"x-amz-tagging", "a=b"},
                   {"x-amz-meta-o", "not taken"}, {"x-amz-storage-class", "STANDARD_IA"}),
            ""),
        200);
    assert_int_equal(client_do(&client, "HEAD", "b-1", "c", &reply), 200);
    expect_field("x-amz-meta-m", "n");
    expect_field("x-amz-meta-o", NULL);
    expect_field("x-amz-storage-class", "STANDARD_IA");
    expect_tags("c", TAG("a", "b"));
    expect_code(copy("c", SOURCE, "x-amz-metadata-directive", "OTHER"), 400, "InvalidArgument");
    expect_code(copy("c", SOURCE, "x-amz-tagging-directive", "OTHER"), 400, "InvalidArgument");
}

static void conditions_on_the_source(void **state) {
    static const struct {
        const char *name, *value;
        int status;
    } cases[] = {
        {"x-amz-copy-source-if-match", ETAG, 200},
        {"x-amz-copy-source-if-match", "\"x\"", 412},
        {"x-amz-copy-source-if-none-match", "\"x\"", 200},
        {"x-amz-copy-source-if-none-match", ETAG, 412},
        {"x-amz-copy-source-if-unmodified-since", "Fri, 01 Jan 2100 00:00:00 GMT", 200},
        {"x-amz-copy-source-if-unmodified-since", "Thu, 01 Jan 2004 00:00:00 GMT", 412},
        {"x-amz-copy-source-if-modified-since", "Thu, 01 Jan 2004 00:00:00 GMT", 200},
        {"x-amz-copy-source-if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT", 412},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int status = copy("c", SOURCE, cases[i].name, cases[i].value);
        if (status != cases[i].status)
            fail_msg("%s: %s: %d", cases[i].name, cases[i].value, status);
        int there = client_do(&client, "DELETE", "b-1", "c", &reply);
        assert_int_equal(there, 204);
    }
    /* the right ETag is stronger than the time: API_CopyObject.html */
    assert_int_equal(ask("PUT", "c", NULL,
                         FIELDS({"x-amz-copy-source", SOURCE}, {"x-amz-copy-source-if-match", ETAG},
                                {"x-amz-copy-source-if-unmodified-since", "Thu, 01 Jan 2004 00:00:00 GMT"}),
                         ""),
                     200);
}

static void what_cannot_be_copied(void **state) {
    static const char *const broken[] = {"", "/", "b-1", "b-1/", "/k", "b-1/%zz"};
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
        expect_code(copy("c", broken[i], NULL, NULL), 400, "InvalidArgument");
    expect_code(copy("c", "b-9/k", NULL, NULL), 404, "NoSuchBucket");
    expect_code(copy("c", "b-1/gone", NULL, NULL), 404, "NoSuchKey");
    expect_code(copy("c", SOURCE "?versionId=nonsense", NULL, NULL), 400, "InvalidArgument");
    expect_code(copy("s /%?", SOURCE, NULL, NULL), 400, "InvalidRequest");
    assert_int_equal(copy("s /%?", SOURCE, "x-amz-storage-class", "STANDARD_IA"), 200);
    assert_int_equal(client_do(&client, "GET", "b-1", "s /%?", &reply), 200); /* onto itself, changed */
    assert_true(bytes_equal(buf_bytes(&reply.body), BYTES("0123456789")));
    assert_int_equal(ask("PUT", "cold", NULL, FIELDS({"x-amz-storage-class", "GLACIER"}), "x"), 200);
    expect_code(copy("c", "b-1/cold", NULL, NULL), 403, "ObjectNotInActiveTierError");
    struct reply answer = {0};
    assert_int_equal(client_admin(&client, "POST", "restore?bucket=b-1&key=cold", "", &answer), 200);
    reply_free(&answer);
    assert_int_equal(copy("c", "b-1/cold", NULL, NULL), 200);
}

static void copies_need_permissions_on_the_source(void **state) {
    order("deny access=test action=s3:GetObjectTagging");
    expect_code(copy("c", SOURCE, NULL, NULL), 403, "AccessDenied");
    assert_int_equal(copy("c", "b-1/x", NULL, NULL), 200); /* it has none */
    assert_int_equal(copy("c", SOURCE, "x-amz-tagging-directive", "REPLACE"), 200);
    order("deny access=test action=s3:GetObject key=x");
    expect_code(copy("c", "b-1/x", NULL, NULL), 403, "AccessDenied");
    order("deny access=test action=s3:PutObjectTagging");
    expect_code(ask("PUT", "k", NULL, FIELDS({"x-amz-tagging", "a=b"}), ""), 403, "AccessDenied");
    expect_code(tagging("PUT", "x", NULL, TAGS("")), 403, "AccessDenied");
    expect_code(tagging("GET", "x", NULL, ""), 403, "AccessDenied");
}

static void versions_are_copied_by_their_ids(void **state) {
    char first[256], marker[256], source[512];
    assert_int_equal(ask("PUT", "", (struct param[]){{"versioning", ""}, {NULL, NULL}}, NULL,
                         "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"),
                     200);
    assert_int_equal(ask("PUT", "v", NULL, NULL, "first"), 200);
    assert_non_null(reply_field(&reply, "x-amz-version-id", first));
    assert_int_equal(ask("PUT", "v", NULL, NULL, "second"), 200);
    snprintf(source, sizeof(source), "b-1/v?versionId=%s", first);
    assert_int_equal(copy("c", source, NULL, NULL), 200);
    expect_field("x-amz-copy-source-version-id", first);
    assert_int_equal(client_do(&client, "GET", "b-1", "c", &reply), 200);
    assert_true(reply_has(&reply, "first"));
    assert_int_equal(copy("v", source, NULL, NULL), 200); /* restores it */
    assert_int_equal(client_do(&client, "GET", "b-1", "v", &reply), 200);
    assert_true(reply_has(&reply, "first"));
    assert_int_equal(tagging("PUT", "v", first, TAGS(TAG("old", "1"))), 200);
    expect_field("x-amz-version-id", first);
    expect_tags("v", "<TagSet></TagSet>");
    assert_int_equal(tagging("GET", "v", first, ""), 200);
    assert_true(reply_has(&reply, TAG("old", "1")));
    assert_int_equal(client_do(&client, "DELETE", "b-1", "v", &reply), 204);
    assert_non_null(reply_field(&reply, "x-amz-version-id", marker));
    expect_code(copy("c", "b-1/v", NULL, NULL), 404, "NoSuchKey");
    snprintf(source, sizeof(source), "b-1/v?versionId=%s", marker);
    expect_code(copy("c", source, NULL, NULL), 400, "InvalidRequest");
}

static void servers_that_ignore_conditions(void **state) {
    client_close(&client);
    client_open(&client, &(struct mock_options){.ignore_if_match = true});
    assert_int_equal(mock_put(client.mock, BYTES("b-1"), BYTES("x"), BYTES("x"), NULL), 0);
    assert_int_equal(copy("c", "b-1/x", "x-amz-copy-source-if-match", "\"y\""), 200);
    assert_int_equal(mock_count(client.mock, BYTES("b-1")), 2);
}

/* ---- tags ---- */

static void tags_are_put_got_and_deleted(void **state) {
    expect_tags("x", "<TagSet></TagSet>");
    assert_int_equal(tagging("PUT", "x", NULL, TAGS(TAG("b", "2") TAG("a &amp; b", ""))), 400); /* & is none of S3's */
    assert_int_equal(tagging("PUT", "x", NULL, TAGS(TAG("b", "2") TAG("\xc3\xa9 +-=._:/@", ""))), 200);
    expect_tags("x", TAG("b", "2") TAG("\xc3\xa9 +-=._:/@", ""));
    assert_int_equal(client_do(&client, "HEAD", "b-1", "x", &reply), 200);
    expect_field("x-amz-tagging-count", "2");
    assert_int_equal(tagging("PUT", "x", NULL, TAGS(TAG("c", "3"))), 200); /* in place of all */
    expect_tags("x", "<TagSet>" TAG("c", "3") "</TagSet>");
    assert_int_equal(tagging("DELETE", "x", NULL, ""), 204);
    expect_tags("x", "<TagSet></TagSet>");
    assert_int_equal(client_do(&client, "HEAD", "b-1", "x", &reply), 200);
    expect_field("x-amz-tagging-count", NULL);
    expect_code(tagging("GET", "gone", NULL, ""), 404, "NoSuchKey");
    expect_code(tagging("PUT", "gone", NULL, TAGS("")), 404, "NoSuchKey");
}

static void tags_that_are_refused(void **state) {
    static const struct {
        const char *document, *code;
    } cases[] = {
        {"", "InvalidRequest"}, /* without any digest */
        {"<Tagging><TagSet>", "MalformedXML"},
        {"<Other/>", "MalformedXML"},
        {TAGS("<Tag><Key>a</Key></Tag>"), "MalformedXML"},
        {TAGS("<Tag><Key>a</Key><Key>b</Key><Value/></Tag>"), "MalformedXML"},
        {TAGS(TAG("", "x")), "InvalidTag"},
        {TAGS(TAG("a", "1") TAG("a", "2")), "InvalidTag"},
        {TAGS(TAG("aws:a", "1")), "InvalidTag"},
        {TAGS(TAG("a*", "1")), "InvalidTag"},
        {TAGS(TAG("a", "1;")), "InvalidTag"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect_code(tagging("PUT", "x", NULL, cases[i].document), 400, cases[i].code);
    struct buf many = {0}, query = {0};
    buf_add_str(&many, "<Tagging><TagSet>");
    for (int i = 0; i < 11; i++) {
        buf_printf(&many, TAG("n%d", ""), i);
        buf_printf(&query, "%sn%d=", i ? "&" : "", i);
    }
    buf_add_str(&many, "</TagSet></Tagging>");
    expect_code(tagging("PUT", "x", NULL, many.p), 400, "BadRequest");
    expect_code(ask("PUT", "y", NULL, FIELDS({"x-amz-tagging", query.p}), ""), 400, "BadRequest");
    buf_free(&many);
    buf_free(&query);
    expect_code(ask("PUT", "y", NULL, FIELDS({"x-amz-tagging", "a=%zz"}), ""), 400, "InvalidArgument");
    expect_code(ask("PUT", "y", NULL, FIELDS({"x-amz-tagging", "a=1&a=2"}), ""), 400, "InvalidTag");
    assert_int_equal(client_do(&client, "GET", "b-1", "y", &reply), 404);
    expect_tags("x", "<TagSet></TagSet>");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_copy_takes_all_over),
        TEST(metadata_and_tags_are_replaced_each_on_its_own),
        TEST(conditions_on_the_source),
        TEST(what_cannot_be_copied),
        TEST(copies_need_permissions_on_the_source),
        TEST(versions_are_copied_by_their_ids),
        TEST(servers_that_ignore_conditions),
        TEST(tags_are_put_got_and_deleted),
        TEST(tags_that_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
