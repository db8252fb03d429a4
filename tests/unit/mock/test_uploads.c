/* Uploads in parts over HTTP: what they become, what is refused, their checksums, lists and memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mock_client.h"

#include <stdio.h>

#define ID_MAX 256

static struct client client;
static struct reply reply;

static int open_client(void **state) {
    static const struct mock_options options = {.min_part = 4, .max_bytes = 200};
    client_open(&client, &options);
    assert_int_equal(mock_put(client.mock, BYTES("b-1"), BYTES("k"), BYTES("0123456789"), NULL), 0);
    return 0;
}

static int close_client(void **state) {
    reply_free(&reply);
    client_close(&client);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_client, close_client)
#define FIELDS(...)          \
    (const struct field[]) { \
        __VA_ARGS__, {       \
            NULL, NULL       \
        }                    \
    }

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

static const char *between(const char *from, const char *to, char text[ID_MAX]) {
    const char *start = memmem(reply.body.p, reply.body.n, from, strlen(from));
    assert_non_null(start);
    start += strlen(from);
    const char *end = memmem(start, reply.body.n - (size_t)(start - reply.body.p), to, strlen(to));
    assert_true(end && end - start < ID_MAX);
    snprintf(text, ID_MAX, "%.*s", (int)(end - start), start);
    return text;
}

static void begin(const char *key, const struct field *fields, char id[ID_MAX]) {
    assert_int_equal(ask("POST", key, (struct param[]){{"uploads", ""}, {NULL, NULL}}, fields, ""), 200);
    between("<UploadId>", "</UploadId>", id);
}

static int part(const char *key, const char *id, const char *number, const char *body, const struct field *fields) {
    return ask("PUT", key, (struct param[]){{"partNumber", number}, {"uploadId", id}, {NULL, NULL}}, fields, body);
}

static int with_id(const char *method, const char *key, const char *id, const char *body) {
    return ask(method, key, (struct param[]){{"uploadId", id}, {NULL, NULL}}, NULL, body);
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
    assert_non_null(got);
    assert_string_equal(got, value);
}

static void expect_stat(const char *stat) {
    struct reply stats = {0};
    assert_int_equal(client_admin(&client, "GET", "stats", "", &stats), 200);
    if (!reply_has(&stats, stat))
        fail_msg("no %s in %.*s", stat, (int)stats.body.n, stats.body.p);
    reply_free(&stats);
}

/* What the tests' parts are, and a list of some of them. */
#define PART(number, etag) "<Part><PartNumber>" number "</PartNumber><ETag>" etag "</ETag></Part>"
#define LIST(parts) "<CompleteMultipartUpload>" parts "</CompleteMultipartUpload>"
#define ETAG_AAAA "\"74b87337454200d4d33f80c4663dc5e5\""
#define ETAG_BBBB "\"65ba841e01d6db7733e90a5b7f9e6f80\""
#define ETAG_CC "\"e0323a9039add2978bf5b49550572c7c\""

static void parts_of_any_order_become_an_object(void **state) {
    char id[ID_MAX];
    begin("k", FIELDS({"content-type", "a/b"}, {"x-amz-meta-m", "n"}, {"x-amz-storage-class", "STANDARD_IA"}), id);
    assert_int_equal(part("k", id, "10000", "cc", NULL), 200);
    expect_field("ETag", ETAG_CC);
    assert_int_equal(part("k", id, "2", "oops", NULL), 200);
    assert_int_equal(part("k", id, "7", "bbbb", NULL), 200);
    assert_int_equal(part("k", id, "2", "aaaa", NULL), 200); /* in place of the other */
    assert_int_equal(part("k", id, "9", "left out", NULL), 200);
    assert_int_equal(client_do(&client, "GET", "b-1", "k", &reply), 200);
    assert_true(reply_has(&reply, "0123456789")); /* nothing is seen of it yet */
    assert_int_equal(with_id("POST", "k", id, LIST(PART("2", ETAG_AAAA) PART("7", ETAG_BBBB) PART("10000", ETAG_CC))),
                     200);
    assert_true(reply_has(&reply, "<ETag>&quot;cf6c8a60b0e393d7e70f2e7564027788-3&quot;</ETag>"));
    assert_int_equal(client_do(&client, "GET", "b-1", "k", &reply), 200);
    assert_true(bytes_equal(buf_bytes(&reply.body), BYTES("aaaabbbbcc")));
    expect_field("ETag", "\"cf6c8a60b0e393d7e70f2e7564027788-3\"");
    expect_field("Content-Type", "a/b");
    expect_field("x-amz-meta-m", "n");
    expect_field("x-amz-storage-class", "STANDARD_IA");
    expect_stat("\"uploads\":0");
    expect_stat("\"memory_bytes\":10,");
    expect_code(with_id("POST", "k", id, LIST(PART("2", ETAG_AAAA))), 404, "NoSuchUpload");
    expect_code(with_id("DELETE", "k", id, ""), 404, "NoSuchUpload");
}

static void a_wrong_list_changes_nothing(void **state) {
    static const struct {
        const char *list;
        int status;
        const char *code;
    } cases[] = {
        {"", 400, "MalformedXML"},
        {LIST(""), 400, "MalformedXML"},
        {"<Wrong/>", 400, "MalformedXML"},
        {"<CompleteMultipartUpload><Part>", 400, "MalformedXML"},
        {LIST("<Part><PartNumber>1</PartNumber></Part>"), 400, "MalformedXML"},
        {LIST("<Part><ETag>x</ETag></Part>"), 400, "MalformedXML"},
        {LIST(PART("0", ETAG_AAAA)), 400, "MalformedXML"},
        {LIST(PART("10001", ETAG_AAAA)), 400, "MalformedXML"},
        {LIST(PART("x", ETAG_AAAA)), 400, "MalformedXML"},
        {LIST(PART("1", ETAG_BBBB)), 400, "InvalidPart"},
        {LIST(PART("1", "*")), 400, "InvalidPart"},
        {LIST(PART("4", ETAG_AAAA)), 400, "InvalidPart"},
        {LIST(PART("2", ETAG_CC) PART("1", ETAG_AAAA)), 400, "InvalidPartOrder"},
        {LIST(PART("1", ETAG_AAAA) PART("1", ETAG_AAAA)), 400, "InvalidPartOrder"},
        {LIST(PART("2", ETAG_CC) PART("3", ETAG_BBBB)), 400, "EntityTooSmall"},
    };
    char id[ID_MAX];
    begin("u", NULL, id);
    assert_int_equal(part("u", id, "1", "aaaa", NULL), 200);
    assert_int_equal(part("u", id, "2", "cc", NULL), 200);
    assert_int_equal(part("u", id, "3", "bbbb", NULL), 200);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        expect_code(with_id("POST", "u", id, cases[i].list), cases[i].status, cases[i].code);
        assert_int_equal(client_do(&client, "GET", "b-1", "u", &reply), 404);
        expect_stat("\"uploads\":1");
    }
    static const char *const numbers[] = {"0", "10001", "-1", "x", ""};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        expect_code(part("u", id, numbers[i], "", NULL), 400, "InvalidArgument");
    expect_code(part("another", id, "1", "", NULL), 404, "NoSuchUpload"); /* the id is of one key */
    expect_code(part("u", "nonsense", "1", "", NULL), 404, "NoSuchUpload");
    /* without quotes, and with a small last part, it is right */
    assert_int_equal(
        with_id("POST", "u", id,
                LIST(PART("1", "74b87337454200d4d33f80c4663dc5e5") PART("2", "e0323a9039add2978bf5b49550572c7c"))),
        200);
}

static void an_aborted_upload_is_gone_with_its_parts(void **state) {
    char id[ID_MAX], other[ID_MAX];
    begin("u", NULL, id);
    begin("u", NULL, other);
    assert_string_not_equal(id, other);
    assert_int_equal(part("u", id, "1", "aaaa", NULL), 200);
    assert_int_equal(part("u", other, "1", "bbbb", NULL), 200);
    expect_stat("\"memory_bytes\":18,");
    assert_int_equal(with_id("DELETE", "u", id, ""), 204);
    expect_stat("\"memory_bytes\":14,");
    expect_code(part("u", id, "1", "aaaa", NULL), 404, "NoSuchUpload");
    expect_code(with_id("GET", "u", id, ""), 404, "NoSuchUpload");
    assert_int_equal(mock_uploads(client.mock), 1);
    struct reply answer = {0};
    assert_int_equal(client_admin(&client, "POST", "reset?what=objects", "", &answer), 200);
    reply_free(&answer);
    assert_int_equal(mock_uploads(client.mock), 0);
    expect_stat("\"memory_bytes\":0,");
}

static void memory_is_limited(void **state) {
    char id[ID_MAX], body[191] = {0};
    memset(body, 'x', 190);
    begin("u", NULL, id);
    assert_int_equal(part("u", id, "1", body, NULL), 200); /* with the 10 that are there: full */
    assert_int_equal(part("u", id, "2", "1", NULL), 507);
    assert_int_equal(with_id("DELETE", "u", id, ""), 204);
    begin("u", NULL, id);
    assert_int_equal(part("u", id, "1", "1", NULL), 200);
}

/* ---- checksums ---- */

#define CRC_AAAA "rZjlRQ=="
#define CRC_BBBB "D0/2iw=="
#define CRC_PART(number, etag, crc) \
    "<Part><PartNumber>" number "</PartNumber><ETag>" etag "</ETag><ChecksumCRC32>" crc "</ChecksumCRC32></Part>"

static void each_part_has_the_checksum_that_was_agreed_on(void **state) {
    char id[ID_MAX];
    begin("u", FIELDS({"x-amz-checksum-algorithm", "CRC32"}), id);
    expect_code(part("u", id, "1", "aaaa", NULL), 400, "InvalidRequest");
    expect_code(part("u", id, "1", "aaaa", FIELDS({"x-amz-checksum-crc32c", "AAAAAA=="})), 400, "BadDigest");
    expect_code(part("u", id, "1", "aaaa", FIELDS({"x-amz-checksum-crc32", "AAAAAA=="})), 400, "BadDigest");
    assert_int_equal(part("u", id, "1", "aaaa", FIELDS({"x-amz-checksum-crc32", CRC_AAAA})), 200);
    expect_field("x-amz-checksum-crc32", CRC_AAAA);
    assert_int_equal(part("u", id, "2", "bbbb", FIELDS({"x-amz-checksum-crc32", CRC_BBBB})), 200);
    expect_code(with_id("POST", "u", id, LIST(PART("1", ETAG_AAAA) PART("2", ETAG_BBBB))), 400, "InvalidRequest");
    expect_code(with_id("POST", "u", id, LIST(CRC_PART("1", ETAG_AAAA, CRC_BBBB) CRC_PART("2", ETAG_BBBB, CRC_BBBB))),
                400, "InvalidPart");
    assert_int_equal(
        with_id("POST", "u", id, LIST(CRC_PART("1", ETAG_AAAA, CRC_AAAA) CRC_PART("2", ETAG_BBBB, CRC_BBBB))), 200);
    assert_true(reply_has(&reply, "<ChecksumCRC32>Rf6OXw==-2</ChecksumCRC32><ChecksumType>COMPOSITE</ChecksumType>"));

    begin("u", FIELDS({"x-amz-checksum-algorithm", "CRC32"}, {"x-amz-checksum-type", "FULL_OBJECT"}), id);
    assert_int_equal(part("u", id, "1", "aaaa", NULL), 200);
    assert_int_equal(part("u", id, "2", "bbbb", NULL), 200);
    assert_int_equal(with_id("POST", "u", id, LIST(PART("1", ETAG_AAAA) PART("2", ETAG_BBBB))), 200);
    assert_true(reply_has(&reply, "<ChecksumCRC32>HVOTiA==</ChecksumCRC32><ChecksumType>FULL_OBJECT</ChecksumType>"));

    static const struct {
        const char *algorithm, *type;
    } refused[] = {{"CRC33", NULL}, {"SHA256", "FULL_OBJECT"}, {"CRC64NVME", "COMPOSITE"}, {"CRC32", "OTHER"}};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        const struct field fields[] = {{"x-amz-checksum-algorithm", refused[i].algorithm},
                                       {refused[i].type ? "x-amz-checksum-type" : NULL, refused[i].type},
                                       {NULL, NULL}};
        expect_code(ask("POST", "u", (struct param[]){{"uploads", ""}, {NULL, NULL}}, fields, ""), 400,
                    "InvalidRequest");
    }
}

/* ---- parts that are copied ---- */

static void a_part_is_a_range_of_an_object(void **state) {
    static const struct {
        const char *range;
        int status;
    } cases[] = {{"bytes=0-9", 200}, {"bytes=2-5", 200},   {"bytes=9-9", 200}, {"bytes=0-10", 400},
                 {"bytes=5-4", 400}, {"bytes=10-11", 400}, {"bytes=-5", 400},  {"bytes=5-", 400},
                 {"0-9", 400},       {"bytes=", 400},      {"", 400}};
    char id[ID_MAX], etag[ID_MAX], text[512];
    begin("u", NULL, id);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct field fields[] = {
            {"x-amz-copy-source", "/b-1/k"}, {"x-amz-copy-source-range", cases[i].range}, {NULL, NULL}};
        int status = part("u", id, "1", "", fields);
        if (status != cases[i].status)
            fail_msg("%s: %d", cases[i].range, status);
    }
    assert_int_equal(
        part("u", id, "1", "", FIELDS({"x-amz-copy-source", "b-1/k"}, {"x-amz-copy-source-range", "bytes=3-6"})), 200);
    between("<ETag>&quot;", "&quot;</ETag>", etag);
    expect_code(part("u", id, "2", "", FIELDS({"x-amz-copy-source", "b-1/k"}, {"x-amz-copy-source-if-match", "\"x\""})),
                412, "PreconditionFailed");
    expect_code(part("u", id, "2", "", FIELDS({"x-amz-copy-source", "b-1/gone"})), 404, "NoSuchKey");
    assert_int_equal(part("u", id, "2", "", FIELDS({"x-amz-copy-source", "b-1/k"})), 200);
    snprintf(text, sizeof(text), LIST(PART("1", "\"%s\"") PART("2", "\"781e5e245d69b566979b86e28d23f2c7\"")), etag);
    assert_int_equal(with_id("POST", "u", id, text), 200);
    assert_int_equal(client_do(&client, "GET", "b-1", "u", &reply), 200);
    assert_true(bytes_equal(buf_bytes(&reply.body), BYTES("34560123456789")));
}

/* ---- lists ---- */

static void lists_come_in_pages(void **state) {
    char id[ID_MAX], text[ID_MAX], marker[ID_MAX];
    begin("b/1", NULL, id);
    begin("a<1>", NULL, id);
    begin("b/1", NULL, id);
    for (int i = 1; i <= 5; i++) {
        snprintf(text, sizeof(text), "%d", 2 * i);
        assert_int_equal(part("b/1", id, text, "aaaa", NULL), 200);
    }
    struct param parts[] = {{"max-parts", "2"}, {"part-number-marker", "4"}, {"uploadId", id}, {NULL, NULL}};
    assert_int_equal(ask("GET", "b/1", parts, NULL, ""), 200);
    assert_true(reply_has(&reply, "<PartNumber>6</PartNumber>") && reply_has(&reply, "<PartNumber>8</PartNumber>"));
    assert_false(reply_has(&reply, "<PartNumber>4</PartNumber>") || reply_has(&reply, "<PartNumber>10</PartNumber>"));
    assert_true(reply_has(&reply, "<NextPartNumberMarker>8</NextPartNumberMarker>"));
    assert_true(reply_has(&reply, "<IsTruncated>true</IsTruncated>"));
    parts[1].value = "8";
    assert_int_equal(ask("GET", "b/1", parts, NULL, ""), 200);
    assert_true(reply_has(&reply, "<PartNumber>10</PartNumber>"));
    assert_true(reply_has(&reply, "<IsTruncated>false</IsTruncated>"));
    parts[0].value = "x";
    assert_int_equal(ask("GET", "b/1", parts, NULL, ""), 400);

    struct param uploads[] = {{"max-uploads", "2"}, {"uploads", ""}, {NULL, NULL}, {NULL, NULL}, {NULL, NULL}};
    assert_int_equal(ask("GET", "", uploads, NULL, ""), 200);
    assert_true(reply_has(&reply, "<Key>a&lt;1&gt;</Key>"));
    assert_true(reply_has(&reply, "<NextKeyMarker>b/1</NextKeyMarker>"));
    between("<NextUploadIdMarker>", "</NextUploadIdMarker>", marker);
    uploads[2] = (struct param){"key-marker", "b/1"};
    uploads[3] = (struct param){"upload-id-marker", marker};
    assert_int_equal(ask("GET", "", uploads, NULL, ""), 200);
    assert_true(reply_has(&reply, id));
    assert_false(reply_has(&reply, marker));
    assert_true(reply_has(&reply, "<IsTruncated>false</IsTruncated>"));
    uploads[2] = (struct param){"prefix", "a"};
    uploads[3].name = NULL;
    assert_int_equal(ask("GET", "", uploads, NULL, ""), 200);
    assert_false(reply_has(&reply, "<Key>b/1</Key>"));
    uploads[3] = (struct param){"delimiter", "/"};
    assert_int_equal(ask("GET", "", uploads, NULL, ""), 501);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(parts_of_any_order_become_an_object),
        TEST(a_wrong_list_changes_nothing),
        TEST(an_aborted_upload_is_gone_with_its_parts),
        TEST(memory_is_limited),
        TEST(each_part_has_the_checksum_that_was_agreed_on),
        TEST(a_part_is_a_range_of_an_object),
        TEST(lists_come_in_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
