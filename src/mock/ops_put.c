/* ops_put.c - PutObject, what all that stores an object has in common, and the digests that a body may come with.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html */
#include "ops.h"

#include "auth.h"
#include "mem.h"
#include "text.h"

#include <errno.h>

#define USER_METADATA_MAX (2 * 1024)

struct fail ops_digest(struct mock *mock, enum checksum_kind kind, struct bytes body, struct buf *base64) {
    unsigned char digest[CHECKSUM_SIZE_MAX];
    size_t size;
    if (checksum_begin(mock->checksum, kind) < 0 || checksum_update(mock->checksum, body) < 0 ||
        checksum_end(mock->checksum, digest, &size) < 0 || text_add_base64(base64, digest, size) < 0)
        return FAIL_MEMORY;
    return FAIL_NONE;
}

static struct fail check_md5(struct mock *mock, const struct request *request, struct bytes sent) {
    struct buf wanted = {0}, have = {0};
    struct fail fail = FAIL_NONE;
    int r = text_add_unbase64(&wanted, sent);
    if (r == -ENOMEM) {
        fail = FAIL_MEMORY;
    } else if (r < 0 || wanted.n != 16) {
        fail = FAIL(400, "InvalidDigest", "The Content-MD5 you specified was invalid.");
    } else {
        fail = ops_digest(mock, CHECKSUM_MD5, buf_bytes(&request->body), &have);
        if (!fail.status && !bytes_equal(buf_bytes(&have), sent))
            fail = FAIL_DIGEST("The Content-MD5 you specified did not match what we received.");
    }
    buf_free(&wanted);
    buf_free(&have);
    return fail;
}

struct fail ops_check_digests(struct mock *mock, struct request *request, const char **ret_header,
                              struct bytes *ret_value, bool *ret_any) {
    struct bytes md5 = head_get(&request->head, "content-md5");
    struct fail fail = md5.p ? check_md5(mock, request, md5) : FAIL_NONE;
    *ret_any = md5.p != NULL;
    *ret_header = NULL;
    if (fail.status)
        return fail;
    enum checksum_kind kind = request_checksum(request, ret_value, ret_header);
    if (request->fail.status)
        return request->fail;
    if (kind == CHECKSUM_NONE)
        return request->aws_chunked && head_get(&request->head, "x-amz-trailer").n
                   ? FAIL(400, "MalformedTrailerError", "The trailer that was announced did not come.")
                   : FAIL_NONE;
    struct buf have = {0};
    fail = ops_digest(mock, kind, buf_bytes(&request->body), &have);
    if (!fail.status && !bytes_equal(buf_bytes(&have), *ret_value))
        fail = FAIL_DIGEST("The checksum you specified did not match the calculated checksum.");
    buf_free(&have);
    *ret_any = true;
    return fail;
}

static struct fail check_conditions(const struct request *request, const struct bucket *bucket) {
    struct bytes if_match = head_get(&request->head, "if-match");
    struct bytes if_none_match = head_get(&request->head, "if-none-match");
    if (!if_match.p && !if_none_match.p)
        return FAIL_NONE;
    if ((if_match.p && if_none_match.p) || (if_none_match.p && !bytes_equal(if_none_match, BYTES("*"))))
        return FAIL_NOT_IMPLEMENTED;
    const struct object *object = object_find(bucket, request->key);
    const struct blob *blob = object ? object->newest->blob : NULL;
    if (if_none_match.p)
        return blob ? FAIL_PRECONDITION : FAIL_NONE;
    if (!blob)
        return FAIL_NO_KEY;
    char etag[ETAG_MAX];
    size_t n = blob_etag(blob, etag);
    return ops_etag_matches(if_match, bytes_of(etag, n)) ? FAIL_NONE : FAIL_PRECONDITION;
}

/* Fields that ask for a feature the server does not have must not be ignored. */
static bool is_missing_feature(struct bytes name, struct bytes value) {
    static const char *const known[] = {
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-decoded-content-length",
        "x-amz-security-token",
        "x-amz-storage-class",
        "x-amz-trailer",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-user-agent",
        "x-amz-checksum-algorithm",
        "x-amz-request-payer",
        "x-amz-expected-bucket-owner",
        "x-amz-checksum-type",
        "x-amz-tagging",
        "x-amz-tagging-directive",
        "x-amz-metadata-directive",
    };
    if (!bytes_starts(name, BYTES("x-amz-")) || bytes_starts(name, BYTES("x-amz-meta-")))
        return false;
    if (checksum_of_header(name) != CHECKSUM_NONE || bytes_starts(name, BYTES("x-amz-copy-source")))
        return false;
    if (bytes_equal(name, BYTES("x-amz-acl")))
        return !bytes_equal(value, BYTES("private"));
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (bytes_equal(name, bytes_str(known[i])))
            return false;
    return true;
}

static bool is_kept(struct bytes name) {
    static const char *const kept[] = {"cache-control", "content-disposition", "content-language", "expires"};
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        if (bytes_equal(name, bytes_str(kept[i])))
            return true;
    return bytes_starts(name, BYTES("x-amz-meta-"));
}

static int add_line(struct buf *lines, struct bytes name, struct bytes value) {
    int r = buf_add_bytes(lines, name);
    if (r == 0)
        r = buf_add_str(lines, ": ");
    if (r == 0)
        r = buf_add_bytes(lines, value);
    return r < 0 ? r : buf_add_str(lines, "\r\n");
}

/* Content-Encoding without the coding that was only for the way. */
static struct bytes stored_encoding(struct bytes value) {
    struct bytes coding = BYTES("aws-chunked");
    if (!bytes_starts(value, coding))
        return value;
    value = bytes_trim(bytes_of(value.p + coding.n, value.n - coding.n));
    return value.n && value.p[0] == ',' ? bytes_trim(bytes_of(value.p + 1, value.n - 1)) : value;
}

/* The fields that a GET will send again. */
static struct fail collect_lines(const struct request *request, struct buf *lines) {
    const struct head *head = &request->head;
    struct bytes type = head_get(head, "content-type"), encoding = stored_encoding(head_get(head, "content-encoding"));
    size_t metadata = 0;
    int r = add_line(lines, BYTES("Content-Type"), type.n ? type : BYTES("binary/octet-stream"));
    if (r == 0 && encoding.n)
        r = add_line(lines, BYTES("Content-Encoding"), encoding);
    for (size_t i = 0; r == 0 && i < head->n_fields; i++) {
        struct bytes name = head->fields[i].name, value = head->fields[i].value;
        if (is_missing_feature(name, value))
            return FAIL_NOT_IMPLEMENTED;
        if (!is_kept(name))
            continue;
        if (bytes_starts(name, BYTES("x-amz-meta-")))
            metadata += name.n - strlen("x-amz-meta-") + value.n;
        r = add_line(lines, name, value);
    }
    if (metadata > USER_METADATA_MAX)
        return FAIL(400, "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size.");
    return r < 0 ? FAIL_MEMORY : FAIL_NONE;
}

struct fail ops_read_tagging(struct mock *mock, const struct request *request, struct tags **ret_tags) {
    struct bytes query = head_get(&request->head, "x-amz-tagging");
    *ret_tags = NULL;
    if (!query.n)
        return FAIL_NONE;
    return auth_denied(mock, request, "s3:PutObjectTagging") ? FAIL_DENIED : tags_of_query(query, ret_tags);
}

struct fail ops_read_storage(const struct request *request, enum storage_class *ret_storage) {
    struct bytes class = head_get(&request->head, "x-amz-storage-class");
    *ret_storage = STORAGE_STANDARD;
    if (class.n && !storage_parse(class, ret_storage))
        return FAIL(400, "InvalidStorageClass", "The storage class you specified is not valid");
    return FAIL_NONE;
}

struct fail ops_read_meta(struct mock *mock, const struct request *request, struct meta **ret_meta) {
    struct buf lines = {0};
    struct tags *tags = NULL;
    struct fail fail = collect_lines(request, &lines);
    if (!fail.status)
        fail = ops_read_tagging(mock, request, &tags);
    if (!fail.status && !(*ret_meta = meta_new(buf_bytes(&lines), NULL, BYTES_NONE)))
        fail = FAIL_MEMORY;
    if (fail.status)
        mem_free(tags);
    else
        (*ret_meta)->tags = tags;
    buf_free(&lines);
    return fail;
}

static struct fail make_meta(struct mock *mock, const struct request *request, const char *checksum_header,
                             struct bytes checksum, struct meta **ret_meta) {
    struct buf computed = {0};
    struct meta *meta = NULL;
    struct fail fail = ops_read_meta(mock, request, &meta);
    if (!fail.status && !checksum_header && mock->default_checksum) {
        fail = ops_digest(mock, CHECKSUM_CRC64NVME, buf_bytes(&request->body), &computed);
        checksum_header = "x-amz-checksum-crc64nvme";
        checksum = buf_bytes(&computed);
    }
    if (!fail.status)
        meta_set_checksum(meta, checksum_header, checksum);
    /* Most objects of a drain say nothing worth keeping. */
    if (fail.status ||
        (bytes_equal(bytes_of(meta->headers, meta->headers_n), META_PLAIN) && !checksum_header && !meta->tags)) {
        meta_free(meta);
        meta = NULL;
    }
    *ret_meta = meta;
    buf_free(&computed);
    return fail;
}

void ops_checksum_fields(const struct meta *meta, struct answer *answer) {
    if (!meta || !meta->checksum_header)
        return;
    answer_field(answer, meta->checksum_header, bytes_str(meta->checksum));
    answer_raw(answer, meta_is_composite(meta) ? BYTES("x-amz-checksum-type: COMPOSITE\r\n")
                                               : BYTES("x-amz-checksum-type: FULL_OBJECT\r\n"));
}

static struct fail store(struct mock *mock, struct request *request, struct bucket *bucket, struct meta *meta,
                         enum storage_class storage, struct version **ret_version) {
    struct blob *blob;
    int r = blob_new(&mock->objects, buf_bytes(&request->body), &blob);
    if (r < 0)
        return r == -ENOSPC ? FAIL_FULL : FAIL_MEMORY;
    r = object_put(&mock->objects, bucket, request->key, blob, meta, storage, mock->now_utc_us, ret_version);
    if (r < 0)
        blob_unref(&mock->objects, blob);
    return r < 0 ? FAIL_MEMORY : FAIL_NONE;
}

struct fail op_put(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer) {
    const char *checksum_header;
    struct bytes checksum = BYTES_NONE;
    enum storage_class storage = STORAGE_STANDARD;
    bool any;
    struct fail fail = check_conditions(request, bucket);
    if (!fail.status)
        fail = ops_read_storage(request, &storage);
    if (!fail.status)
        fail = ops_check_digests(mock, request, &checksum_header, &checksum, &any);
    if (fail.status)
        return fail;
    struct meta *meta = NULL;
    struct version *version = NULL;
    fail = make_meta(mock, request, checksum_header, checksum, &meta);
    if (!fail.status)
        fail = store(mock, request, bucket, meta, storage, &version);
    if (fail.status) {
        meta_free(meta);
        return fail;
    }
    char etag[ETAG_MAX];
    answer_begin(mock, answer, 200);
    answer_field(answer, "ETag", bytes_of(etag, blob_etag(version->blob, etag)));
    ops_version_field(mock, bucket, version, answer);
    ops_checksum_fields(meta, answer);
    answer_end(answer, NULL, BYTES_NONE);
    if (bucket->stats)
        bucket->stats->puts++;
    return FAIL_NONE;
}
