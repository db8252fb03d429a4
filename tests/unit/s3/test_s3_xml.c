/* S3's XML answers: what servers send, what they leave out, what must be refused. */
#include "clock.h"
#include "mem.h"
#include "s3_xml.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define XMLNS " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""
#define HEAD "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"

static void assert_bytes(struct bytes got, const char *want) {
    if (!bytes_equal(got, bytes_str(want)))
        fail_msg("got \"%.*s\", want \"%s\"", (int)got.n, got.p ? got.p : "", want);
}

static bool is_zero(const struct s3_xml *xml) {
    const unsigned char *p = (const unsigned char *)xml;
    for (size_t i = 0; i < sizeof *xml; i++)
        if (p[i])
            return false;
    return true;
}

typedef int parser(struct bytes body, struct s3_xml *ret_xml);

static void refuse(parser *parse, const char *body, int code) {
    struct s3_xml xml;
    memset(&xml, 0x55, sizeof xml);
    int r = parse(bytes_str(body), &xml);
    if (r != code)
        fail_msg("%d instead of %d for %s", r, code, body);
    assert_true(is_zero(&xml));
    s3_xml_free(&xml);
}

/* ---- errors ---- */

static void test_error(void **state) {
    struct s3_xml xml;
    assert_int_equal(
        s3_xml_error(BYTES(HEAD "<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region 'us-east-1' "
                                "is wrong; expecting &apos;eu-west-1&apos;</Message><Region>eu-west-1</Region>"
                                "<BucketName>b</BucketName><Key> a\n&#13;&lt;</Key>"
                                "<RequestId>1F</RequestId><HostId>x</HostId></Error>"),
                     &xml),
        0);
    assert_bytes(xml.error.code, "AuthorizationHeaderMalformed");
    assert_bytes(xml.error.message, "the region 'us-east-1' is wrong; expecting 'eu-west-1'");
    assert_bytes(xml.error.region, "eu-west-1");
    assert_bytes(xml.error.bucket, "b");
    assert_bytes(xml.error.key, " a\n\r<");
    assert_bytes(xml.error.request_id, "1F");
    s3_xml_free(&xml);
    s3_xml_free(&xml);
    s3_xml_free(NULL);

    assert_int_equal(s3_xml_error(BYTES("<Error><Code> NoSuchKey\n</Code><Resource>/b/k</Resource></Error>"), &xml), 0);
    assert_bytes(xml.error.code, "NoSuchKey");
    assert_int_equal(xml.error.message.n, 0);
    s3_xml_free(&xml);
    refuse(s3_xml_error, "<Error><Message>no code</Message></Error>", -EBADMSG);
    refuse(s3_xml_error, "<Error><Code></Code></Error>", -EBADMSG);
    refuse(s3_xml_error, "<Error><Code>A</Code><Code>B</Code></Error>", -EBADMSG);
    refuse(s3_xml_error, "<ListBucketResult><Code>A</Code></ListBucketResult>", -EBADMSG);
    refuse(s3_xml_error, "<html><body>502 Bad Gateway</body></html>", -EBADMSG);
}

static void test_error_in_body(void **state) {
    parser *parsers[] = {s3_xml_buckets, s3_xml_objects, s3_xml_versioning};
    for (size_t i = 0; i < 3; i++) {
        struct s3_xml xml;
        assert_int_equal(parsers[i](BYTES("<Error" XMLNS "><Code>InternalError</Code></Error>"), &xml),
                         S3XML_ERROR_IN_BODY);
        assert_bytes(xml.error.code, "InternalError");
        s3_xml_free(&xml);
        assert_int_equal(parsers[i](BYTES("<Error/>"), &xml), S3XML_ERROR_IN_BODY);
        assert_int_equal(xml.error.code.n, 0);
        s3_xml_free(&xml);
    }
}

/* ---- buckets ---- */

static void test_buckets(void **state) {
    struct s3_xml xml;
    assert_int_equal(
        s3_xml_buckets(BYTES(HEAD "<ListAllMyBucketsResult" XMLNS
                                  "><Owner><ID>1</ID><DisplayName>x</DisplayName></Owner>"
                                  "<Buckets><Bucket><Name>bucket-1</Name><CreationDate>2026-01-01T00:00:00.000Z"
                                  "</CreationDate><BucketRegion>eu-west-1</BucketRegion></Bucket>"
                                  "<Bucket><CreationDate>x</CreationDate><Name>b.2</Name></Bucket></Buckets>"
                                  "<Prefix>b</Prefix><ContinuationToken>ab+/=</ContinuationToken>"
                                  "</ListAllMyBucketsResult>"),
                       &xml),
        0);
    assert_int_equal(xml.buckets.n, 2);
    assert_bytes(xml.buckets.buckets[0].name, "bucket-1");
    assert_bytes(xml.buckets.buckets[0].region, "eu-west-1");
    assert_bytes(xml.buckets.buckets[1].name, "b.2");
    assert_int_equal(xml.buckets.buckets[1].region.n, 0);
    assert_bytes(xml.buckets.next_token, "ab+/=");
    s3_xml_free(&xml);

    /* No namespace, a prefix, nothing at all in it. */
    assert_int_equal(
        s3_xml_buckets(BYTES("<s3:ListAllMyBucketsResult xmlns:s3='x'><s3:Buckets><s3:Bucket><s3:Name>n</s3:Name>"
                             "</s3:Bucket></s3:Buckets></s3:ListAllMyBucketsResult>"),
                       &xml),
        0);
    assert_int_equal(xml.buckets.n, 1);
    s3_xml_free(&xml);
    assert_int_equal(s3_xml_buckets(BYTES("<ListAllMyBucketsResult/>"), &xml), 0);
    assert_int_equal(xml.buckets.n, 0);
    assert_int_equal(xml.buckets.next_token.n, 0);
    s3_xml_free(&xml);

    refuse(s3_xml_buckets, "<ListAllMyBucketsResult><Buckets><Bucket/></Buckets></ListAllMyBucketsResult>", -EBADMSG);
    refuse(s3_xml_buckets,
           "<ListAllMyBucketsResult><Buckets><Bucket><Name>a</Name><Name>b</Name></Bucket></Buckets></"
           "ListAllMyBucketsResult>",
           -EBADMSG);
    refuse(s3_xml_buckets, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>", -EBADMSG);
}

static void test_many_buckets(void **state) {
    struct buf body = {0};
    assert_int_equal(buf_add_str(&body, "<ListAllMyBucketsResult><Buckets>"), 0);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(buf_printf(&body, "<Bucket><Name>bucket-%d</Name></Bucket>", i), 0);
    assert_int_equal(buf_add_str(&body, "</Buckets></ListAllMyBucketsResult>"), 0);
    struct s3_xml xml;
    assert_int_equal(s3_xml_buckets(buf_bytes(&body), &xml), 0);
    assert_int_equal(xml.buckets.n, 10000);
    assert_bytes(xml.buckets.buckets[0].name, "bucket-0");
    assert_bytes(xml.buckets.buckets[9999].name, "bucket-9999");
    s3_xml_free(&xml);
    buf_free(&body);
}

/* ---- objects ---- */

#define OBJECTS(inside) "<ListBucketResult" XMLNS ">" inside "</ListBucketResult>"
#define LAST "<IsTruncated>false</IsTruncated>"
#define MORE "<IsTruncated>true</IsTruncated>"

static void test_objects(void **state) {
    struct s3_xml xml;
    assert_int_equal(
        s3_xml_objects(
            BYTES(HEAD OBJECTS(
                "<Name>b</Name><Prefix></Prefix><StartAfter>%2B</StartAfter><KeyCount>3</KeyCount><MaxKeys>1000</"
                "MaxKeys>"
                "<EncodingType>url</EncodingType>" MORE "<Contents><Key>a+b%2Bc%25%01%E2%82%AC/../%0A</"
                "Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
                "<ETag>&quot;9b2cf535f27731c974343645a3985328&quot;</ETag><ChecksumAlgorithm>CRC32</ChecksumAlgorithm>"
                "<Size>18446744073709551615</Size><Owner><ID>k</ID></Owner><StorageClass>STANDARD</StorageClass></"
                "Contents>"
                "<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>"
                "<Contents><Size>0</Size><Key>plain</Key></Contents>"
                "<Contents><Key>dir/</Key><ETag></ETag><Size>0</Size><StorageClass>GLACIER</StorageClass></Contents>")),
            &xml),
        0);
    const struct s3_object *objects = xml.objects.objects;
    assert_int_equal(xml.objects.n, 3);
    assert_true(xml.objects.truncated);
    assert_bytes(objects[0].key, "a b+c%\x01\xe2\x82\xac/../\n");
    assert_bytes(objects[0].etag, "\"9b2cf535f27731c974343645a3985328\"");
    assert_bytes(objects[0].storage_class, "STANDARD");
    assert_true(objects[0].size == UINT64_MAX);
    assert_int_equal(objects[0].modified_utc_us,
                     clock_from_date_utc(&(struct clock_date){
                         .year = 2026, .month = 1, .day = 2, .hour = 3, .minute = 4, .second = 5}));
    assert_bytes(objects[1].key, "plain");
    assert_int_equal(objects[1].etag.n, 0);
    assert_int_equal(objects[1].storage_class.n, 0);
    assert_int_equal(objects[1].modified_utc_us, 0);
    assert_bytes(objects[2].key, "dir/");
    assert_bytes(objects[2].storage_class, "GLACIER");
    assert_false(objects[2].restored);
    assert_bytes(xml.objects.last_key, "dir/");
    s3_xml_free(&xml);

    assert_int_equal(s3_xml_objects(BYTES(OBJECTS(LAST "<KeyCount>0</KeyCount>")), &xml), 0);
    assert_int_equal(xml.objects.n, 0);
    assert_false(xml.objects.truncated);
    assert_int_equal(xml.objects.last_key.n, 0);
    s3_xml_free(&xml);
}

/* Keys that hold any byte, and the encoding told after them or not at all. */
static void test_key_encoding(void **state) {
    struct s3_xml xml;
    assert_int_equal(s3_xml_objects(BYTES(OBJECTS("<Contents><Key>%00+%7f</Key><Size>1</Size></Contents>" LAST
                                                  "<EncodingType>url</EncodingType>")),
                                    &xml),
                     0);
    assert_true(bytes_equal(xml.objects.objects[0].key, bytes_of("\0 \x7f", 3)));
    s3_xml_free(&xml);
    assert_int_equal(
        s3_xml_objects(
            BYTES(OBJECTS("<Contents><Key> a+b%20&amp;<![CDATA[<c>]]>&#x20AC;\t</Key><Size>1</Size></Contents>" LAST)),
            &xml),
        0);
    assert_bytes(xml.objects.objects[0].key, " a+b%20&<c>\xe2\x82\xac\t");
    s3_xml_free(&xml);
    refuse(s3_xml_objects,
           OBJECTS("<EncodingType>url</EncodingType><Contents><Key>a%2</Key><Size>1</Size></Contents>" LAST), -EBADMSG);
    refuse(s3_xml_objects,
           OBJECTS("<EncodingType>url</EncodingType><Contents><Key>a%zz</Key><Size>1</Size></Contents>" LAST),
           -EBADMSG);
    refuse(s3_xml_objects, OBJECTS("<EncodingType>gzip</EncodingType>" LAST), -EBADMSG);
    refuse(s3_xml_objects, OBJECTS("<Contents><Key>a&#1;</Key><Size>1</Size></Contents>" LAST), -EBADMSG);
    refuse(s3_xml_objects, OBJECTS("<Contents><Key>\xff</Key><Size>1</Size></Contents>" LAST), -EBADMSG);
}

static int parse_long(size_t key_size, bool encoded, size_t etag_size) {
    struct buf body = {0};
    assert_int_equal(buf_add_str(&body, "<ListBucketResult>" LAST "<EncodingType>url</EncodingType><Contents><Key>"),
                     0);
    for (size_t i = 0; i < key_size; i++)
        assert_int_equal(buf_add_str(&body, encoded ? "%C3" : "k"), 0);
    assert_int_equal(buf_add_str(&body, "</Key><Size>1</Size><ETag>"), 0);
    for (size_t i = 0; i < etag_size; i++)
        assert_int_equal(buf_add_byte(&body, 'e'), 0);
    assert_int_equal(buf_add_str(&body, "</ETag></Contents></ListBucketResult>"), 0);
    struct s3_xml xml;
    int r = s3_xml_objects(buf_bytes(&body), &xml);
    if (r == 0) {
        assert_int_equal(xml.objects.objects[0].key.n, key_size);
        assert_int_equal(xml.objects.objects[0].etag.n, etag_size);
    }
    s3_xml_free(&xml);
    buf_free(&body);
    return r;
}

static void test_lengths(void **state) {
    assert_int_equal(parse_long(S3_KEY_MAX, false, S3_ETAG_MAX), 0);
    assert_int_equal(parse_long(S3_KEY_MAX, true, 1), 0);
    assert_int_equal(parse_long(S3_KEY_MAX + 1, false, 1), -EBADMSG);
    assert_int_equal(parse_long(S3_KEY_MAX + 1, true, 1), -EBADMSG);
    assert_int_equal(parse_long(1, false, S3_ETAG_MAX + 1), -EBADMSG);
    assert_int_equal(parse_long(0, false, 1), -EBADMSG);
}

static bool restored(const char *status) {
    struct buf body = {0};
    assert_int_equal(buf_printf(&body, OBJECTS(LAST "<Contents><Key>k</Key>%s<Size>1</Size></Contents>"), status), 0);
    struct s3_xml xml;
    assert_int_equal(s3_xml_objects(buf_bytes(&body), &xml), 0);
    bool is_restored = xml.objects.objects[0].restored;
    s3_xml_free(&xml);
    buf_free(&body);
    return is_restored;
}

static void test_restored(void **state) {
    assert_false(restored(""));
    assert_false(restored("<RestoreStatus/>"));
    assert_false(restored("<RestoreStatus><IsRestoreInProgress>true</IsRestoreInProgress></RestoreStatus>"));
    assert_false(restored("<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress></RestoreStatus>"));
    assert_false(restored("<RestoreStatus><IsRestoreInProgress>true</IsRestoreInProgress>"
                          "<RestoreExpiryDate>2026-01-02T00:00:00Z</RestoreExpiryDate></RestoreStatus>"));
    assert_true(restored("<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress>"
                         "<RestoreExpiryDate>2026-01-02T00:00:00Z</RestoreExpiryDate></RestoreStatus>"));
    assert_true(restored("<RestoreStatus><RestoreExpiryDate>2026-01-02T00:00:00Z</RestoreExpiryDate></RestoreStatus>"));
    /* And it does not leak from one object to the next. */
    struct s3_xml xml;
    assert_int_equal(
        s3_xml_objects(BYTES(OBJECTS(LAST "<Contents><Key>a</Key><Size>1</Size><ETag>x</ETag><RestoreStatus>"
                                          "<RestoreExpiryDate>x</RestoreExpiryDate></RestoreStatus></Contents>"
                                          "<Contents><Key>b</Key><Size>2</Size></Contents>")),
                       &xml),
        0);
    assert_true(xml.objects.objects[0].restored);
    assert_false(xml.objects.objects[1].restored);
    assert_int_equal(xml.objects.objects[1].etag.n, 0);
    s3_xml_free(&xml);
}

static void test_bad_objects(void **state) {
    static const char *const bad[] = {
        "",
        " ",
        "<ListBucketResult>",
        OBJECTS(LAST) "<x/>",
        OBJECTS(""),   /* IsTruncated is required: without it the end cannot be told */
        OBJECTS(MORE), /* a next page that could never be asked for */
        OBJECTS(LAST LAST),
        OBJECTS("<IsTruncated>maybe</IsTruncated>"),
        OBJECTS("<IsTruncated/>"),
        OBJECTS(LAST "<Contents><Size>1</Size></Contents>"),
        OBJECTS(LAST "<Contents><Key>k</Key></Contents>"),
        OBJECTS(LAST "<Contents><Key></Key><Size>1</Size></Contents>"),
        OBJECTS(LAST "<Contents><Key>k</Key><Key>l</Key><Size>1</Size></Contents>"),
        OBJECTS(LAST "<Contents><Key>k<b/></Key><Size>1</Size></Contents>"),
        OBJECTS(LAST "<Contents><Key>k</Key><Size>-1</Size></Contents>"),
        OBJECTS(LAST "<Contents><Key>k</Key><Size>18446744073709551616</Size></Contents>"),
        OBJECTS(LAST "<Contents><Key>k</Key><Size>1</Size><LastModified>yesterday</LastModified></Contents>"),
        OBJECTS(LAST "<Contents><Key>k</Key><Size>1</Size></Contents><Contents><Key>l</Key></Contents>"),
        OBJECTS(LAST "<Contents><Key>&nbsp;</Key><Size>1</Size></Contents>"),
        "<ListAllMyBucketsResult/>",
        "<!DOCTYPE x [<!ENTITY a \"aaaa\">]>" OBJECTS(LAST),
        "<!DOCTYPE x SYSTEM \"file:///etc/passwd\">" OBJECTS(LAST),
        "<ListBucketResult></Contents>",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuse(s3_xml_objects, bad[i], -EBADMSG);
    /* Contents that are not the root's children are none. */
    struct s3_xml xml;
    assert_int_equal(
        s3_xml_objects(
            BYTES(OBJECTS(LAST "<Other><Contents><Key>k</Key></Contents><IsTruncated>x</IsTruncated></Other>")), &xml),
        0);
    assert_int_equal(xml.objects.n, 0);
    s3_xml_free(&xml);
}

/* Every cut of a good answer is refused: a body that was cut short is never a shorter listing. */
static void test_truncated(void **state) {
    const struct bytes body = BYTES(HEAD OBJECTS(LAST "<Contents><Key>k</Key><Size>1</Size></Contents>"));
    for (size_t n = 0; n < body.n; n++) {
        struct s3_xml xml;
        assert_int_equal(s3_xml_objects(bytes_of(body.p, n), &xml), -EBADMSG);
    }
}

static void test_depth_and_size(void **state) {
    struct buf body = {0};
    for (int depth = S3_XML_DEPTH_MAX; depth <= S3_XML_DEPTH_MAX + 1; depth++) {
        buf_reset(&body);
        assert_int_equal(buf_add_str(&body, "<ListBucketResult>" LAST), 0);
        for (int i = 1; i < depth; i++)
            assert_int_equal(buf_add_str(&body, "<x>"), 0);
        for (int i = 1; i < depth; i++)
            assert_int_equal(buf_add_str(&body, "</x>"), 0);
        assert_int_equal(buf_add_str(&body, "</ListBucketResult>"), 0);
        struct s3_xml xml;
        assert_int_equal(s3_xml_objects(buf_bytes(&body), &xml), depth == S3_XML_DEPTH_MAX ? 0 : -E2BIG);
        s3_xml_free(&xml);
    }
    for (size_t more = 0; more < 2; more++) {
        buf_reset(&body);
        struct bytes end = BYTES("<ListBucketResult>" LAST "</ListBucketResult>");
        assert_int_equal(buf_reserve(&body, S3_XML_MAX + 1), 0);
        memset(body.p, '\n', S3_XML_MAX + 1);
        body.n = S3_XML_MAX + more - end.n;
        assert_int_equal(buf_add_bytes(&body, end), 0);
        struct s3_xml xml;
        assert_int_equal(s3_xml_objects(buf_bytes(&body), &xml), more ? -E2BIG : 0);
        s3_xml_free(&xml);
    }
    buf_free(&body);
}

static void test_versioning(void **state) {
    static const struct {
        const char *body;
        enum s3_versioning versioning;
    } good[] = {
        {"<VersioningConfiguration" XMLNS "/>", S3_VERSIONING_OFF},
        {"<VersioningConfiguration><Status/></VersioningConfiguration>", S3_VERSIONING_OFF},
        {"<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Disabled</MfaDelete></VersioningConfiguration>",
         S3_VERSIONING_ENABLED},
        {"<VersioningConfiguration>\n <Status> Suspended </Status>\n</VersioningConfiguration>",
         S3_VERSIONING_SUSPENDED},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct s3_xml xml;
        assert_int_equal(s3_xml_versioning(bytes_str(good[i].body), &xml), 0);
        assert_int_equal(xml.versioning, good[i].versioning);
        s3_xml_free(&xml);
    }
    refuse(s3_xml_versioning, "<VersioningConfiguration><Status>On</Status></VersioningConfiguration>", -EBADMSG);
    refuse(s3_xml_versioning, "<Versioning/>", -EBADMSG);
}

static void test_no_memory(void **state) {
    struct buf body = {0};
    assert_int_equal(buf_add_str(&body, "<ListBucketResult>" LAST "<EncodingType>url</EncodingType>"), 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(buf_printf(&body, "<Contents><Key>%%20%0500d</Key><Size>1</Size><ETag>e</ETag></Contents>", i),
                         0);
    assert_int_equal(buf_add_str(&body, "</ListBucketResult>"), 0);
    int failures = 0;
    for (uint64_t n = 1;; n++) {
        struct s3_xml xml;
        mem_fail_at(n, 0);
        int r = s3_xml_objects(buf_bytes(&body), &xml);
        uint64_t calls = mem_fail_count();
        mem_fail_at(0, 0);
        if (r < 0) {
            failures++;
            assert_int_equal(r, -ENOMEM);
            assert_true(is_zero(&xml));
        } else {
            assert_int_equal(xml.objects.n, 100);
        }
        s3_xml_free(&xml);
        if (calls < n)
            break;
    }
    assert_true(failures > 10);
    buf_free(&body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error),        cmocka_unit_test(test_error_in_body),  cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_many_buckets), cmocka_unit_test(test_objects),        cmocka_unit_test(test_key_encoding),
        cmocka_unit_test(test_lengths),      cmocka_unit_test(test_restored),       cmocka_unit_test(test_bad_objects),
        cmocka_unit_test(test_truncated),    cmocka_unit_test(test_depth_and_size), cmocka_unit_test(test_versioning),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests_name("s3/xml", tests, NULL, NULL);
}
