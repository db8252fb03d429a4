/* ops_bucket.c - ListBuckets, and making, dropping and describing a bucket. */
#include "ops.h"

#include "text.h"
#include "xml.h"

#include <errno.h>

#define LIST_BUCKETS_MAX 10000

/* ---- ListBuckets: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html ---- */

static int add_bucket(const struct bucket *bucket, bool region, struct buf *xml) {
    int r = buf_add_str(xml, "<Bucket>");
    if (r == 0)
        r = xml_add_element(xml, "Name", index_key(&bucket->entry));
    if (r == 0)
        r = buf_add_str(xml, "<CreationDate>");
    if (r == 0)
        r = ops_add_time(xml, bucket->created_utc_us);
    if (r == 0)
        r = buf_add_str(xml, "</CreationDate>");
    if (r == 0 && region)
        r = xml_add_element(xml, "BucketRegion", bytes_str(bucket->region));
    return r < 0 ? r : buf_add_str(xml, "</Bucket>");
}

static int add_bucket_page(struct mock *mock, const struct request *request, struct bytes after, uint64_t most) {
    const struct bytes *prefix = request_param(request, "prefix");
    const struct bytes *region = request_param(request, "bucket-region");
    /* A request that asks for pages is told the regions. */
    bool paged =
        prefix || region || request_param(request, "max-buckets") || request_param(request, "continuation-token");
    struct buf *xml = &mock->xml;
    int r = buf_add_str(xml, XML_HEAD "<ListAllMyBucketsResult" XML_NAMESPACE "><Owner><ID>" OWNER_ID
                                      "</ID></Owner><Buckets>");
    struct index_cursor cursor;
    index_seek(&mock->objects.buckets, after, true, &cursor);
    struct bytes last = BYTES_NONE;
    bool truncated = false;
    uint64_t n = 0;
    for (struct index_entry *entry; r == 0 && (entry = index_next(&cursor));) {
        const struct bucket *bucket = (const struct bucket *)(const void *)entry;
        if (prefix && !bytes_starts(index_key(entry), *prefix))
            continue;
        if (region && !bytes_equal(bytes_str(bucket->region), *region))
            continue;
        if (n++ == most) {
            truncated = true;
            break;
        }
        r = add_bucket(bucket, paged, xml);
        last = index_key(entry);
    }
    if (r == 0)
        r = buf_add_str(xml, "</Buckets>");
    if (r == 0 && prefix)
        r = xml_add_element(xml, "Prefix", *prefix);
    if (r == 0 && truncated) {
        r = buf_add_str(xml, "<ContinuationToken>");
        if (r == 0)
            r = text_add_base64(xml, last.p, last.n);
        if (r == 0)
            r = buf_add_str(xml, "</ContinuationToken>");
    }
    return r < 0 ? r : buf_add_str(xml, "</ListAllMyBucketsResult>");
}

struct fail op_list_buckets(struct mock *mock, struct request *request, struct answer *answer) {
    uint64_t most;
    if (!ops_count_param(request, "max-buckets", LIST_BUCKETS_MAX, INT32_MAX, &most) || most == 0 ||
        most > LIST_BUCKETS_MAX)
        return FAIL_ARGUMENT("Argument max-buckets must be an integer between 1 and 10000");
    struct buf after = {0};
    const struct bytes *token = request_param(request, "continuation-token");
    int r = token ? text_add_unbase64(&after, *token) : 0;
    if (r < 0 || (token && token->n == 0)) {
        buf_free(&after);
        return r == -ENOMEM ? FAIL_MEMORY : FAIL_ARGUMENT("The continuation token provided is incorrect");
    }
    buf_reset(&mock->xml);
    r = add_bucket_page(mock, request, buf_bytes(&after), most);
    buf_free(&after);
    if (r < 0)
        return FAIL_MEMORY;
    answer_xml(mock, answer, &mock->xml);
    return FAIL_NONE;
}

/* ---- one bucket ---- */

struct location {
    char region[REGION_MAX + 1];
    bool bad;
};

static int read_location(void *arg, const char *path, struct bytes text) {
    struct location *location = arg;
    if (strcmp(path, "CreateBucketConfiguration/LocationConstraint") != 0)
        return 0;
    location->bad |= text.n == 0 || text.n > REGION_MAX;
    for (size_t i = 0; !location->bad && i < text.n; i++) {
        char c = text.p[i];
        location->bad = !((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-');
        location->region[i] = c;
    }
    return 0;
}

struct fail op_create_bucket(struct mock *mock, struct request *request, struct answer *answer) {
    struct location location = {.bad = false};
    struct bytes region = bytes_str(mock->region);
    if (!bucket_name_ok(request->bucket))
        return FAIL(400, "InvalidBucketName", "The specified bucket is not valid.");
    int r = request->body.n ? xml_read(buf_bytes(&request->body), read_location, &location) : 0;
    if (r < 0)
        return r == -ENOMEM ? FAIL_MEMORY : FAIL_XML;
    if (location.bad)
        return FAIL(400, "InvalidLocationConstraint", "The specified location-constraint is not valid");
    if (location.region[0])
        region = bytes_str(location.region);
    if (!bytes_equal(request->region, region) && !bytes_equal(request->region, bytes_str(mock->region)))
        return FAIL(
            400, "IllegalLocationConstraintException",
            "The location constraint is incompatible for the region specific endpoint this request was sent to.");
    struct bucket *bucket;
    r = bucket_make(&mock->objects, request->bucket, region, mock->now_utc_us, &bucket);
    if (r == -EEXIST)
        return FAIL(409, "BucketAlreadyOwnedByYou",
                    "Your previous request to create the named bucket succeeded and you already own it.");
    if (r == -ENOSPC)
        return FAIL(400, "TooManyBuckets", "You have attempted to create more buckets than allowed");
    if (r < 0)
        return FAIL_MEMORY;
    bucket->stats = stats_bucket(&mock->stats, request->bucket);
    answer_begin(mock, answer, 200);
    answer_raw(answer, BYTES("Location: /"));
    answer_raw(answer, request->bucket);
    answer_raw(answer, BYTES("\r\n"));
    answer_end(answer, NULL, BYTES_NONE);
    return FAIL_NONE;
}

struct fail op_delete_bucket(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer) {
    if (bucket_drop(&mock->objects, bucket) < 0)
        return FAIL(409, "BucketNotEmpty", "The bucket you tried to delete is not empty");
    answer_begin(mock, answer, 204);
    answer_end_empty(answer);
    return FAIL_NONE;
}

struct fail op_head_bucket(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer) {
    answer_begin(mock, answer, 200);
    answer_field(answer, "x-amz-bucket-region", bytes_str(bucket->region));
    answer_end(answer, "application/xml", BYTES_NONE);
    return FAIL_NONE;
}

struct fail op_get_location(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer) {
    struct buf *xml = &mock->xml;
    buf_reset(xml);
    /* The first region has no constraint. */
    int r =
        strcmp(bucket->region, "us-east-1") == 0
            ? buf_add_str(xml, XML_HEAD "<LocationConstraint" XML_NAMESPACE "/>")
            : buf_printf(xml, XML_HEAD "<LocationConstraint" XML_NAMESPACE ">%s</LocationConstraint>", bucket->region);
    if (r < 0)
        return FAIL_MEMORY;
    answer_xml(mock, answer, xml);
    return FAIL_NONE;
}

struct fail op_get_versioning(struct mock *mock, struct request *request, struct bucket *bucket,
                              struct answer *answer) {
    static const char *const status[] = {
        [VERSIONING_OFF] = "",
        [VERSIONING_ENABLED] = "<Status>Enabled</Status>",
        [VERSIONING_SUSPENDED] = "<Status>Suspended</Status>",
    };
    struct buf *xml = &mock->xml;
    buf_reset(xml);
    if (buf_printf(xml, XML_HEAD "<VersioningConfiguration" XML_NAMESPACE ">%s</VersioningConfiguration>",
                   status[bucket->versioning]) < 0)
        return FAIL_MEMORY;
    answer_xml(mock, answer, xml);
    return FAIL_NONE;
}

static int read_versioning(void *arg, const char *path, struct bytes text) {
    enum versioning *versioning = arg;
    if (strcmp(path, "VersioningConfiguration/Status") != 0)
        return 0;
    if (bytes_equal(text, BYTES("Enabled")))
        *versioning = VERSIONING_ENABLED;
    else if (bytes_equal(text, BYTES("Suspended")))
        *versioning = VERSIONING_SUSPENDED;
    else
        return -EINVAL;
    return 0;
}

struct fail op_put_versioning(struct mock *mock, struct request *request, struct bucket *bucket,
                              struct answer *answer) {
    enum versioning versioning = VERSIONING_OFF;
    int r = xml_read(buf_bytes(&request->body), read_versioning, &versioning);
    if (r < 0)
        return r == -ENOMEM ? FAIL_MEMORY : FAIL_XML;
    if (versioning == VERSIONING_OFF)
        return FAIL(400, "IllegalVersioningConfigurationException", "The Versioning element must be specified");
    bucket->versioning = versioning;
    answer_begin(mock, answer, 200);
    answer_end(answer, NULL, BYTES_NONE);
    return FAIL_NONE;
}
