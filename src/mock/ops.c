/* ops.c - finds the bucket and runs the operation; what the operations share. */
#include "ops.h"

#include "text.h"

bool ops_etag_matches(struct bytes list, struct bytes etag) {
    struct bytes bare = bytes_of(etag.p + 1, etag.n - 2);
    while (list.n) {
        const char *comma = memchr(list.p, ',', list.n);
        size_t n = comma ? (size_t)(comma - list.p) : list.n;
        struct bytes one = bytes_trim(bytes_of(list.p, n));
        if (bytes_equal(one, BYTES("*")) || bytes_equal(one, etag) || bytes_equal(one, bare))
            return true;
        n += comma ? 1 : 0;
        list = bytes_of(list.p + n, list.n - n);
    }
    return false;
}

bool ops_count_param(const struct request *request, const char *name, uint64_t fallback, uint64_t most,
                     uint64_t *ret_count) {
    const struct bytes *value = request_param(request, name);
    uint64_t count = fallback;
    if (value && value->n && (text_parse_u64(*value, &count) < 0 || count > INT32_MAX))
        return false;
    *ret_count = count < most ? count : most;
    return true;
}

int ops_add_time(struct buf *xml, int64_t utc_us) {
    /* S3 keeps whole seconds and writes the milliseconds all the same. */
    return text_add_iso8601(xml, utc_us - utc_us % US_PER_S, true);
}

void ops_version_field(const struct mock *mock, const struct bucket *bucket, const struct version *version,
                       struct answer *answer) {
    char id[VERSION_ID_MAX];
    if (bucket->versioning == VERSIONING_OFF)
        return;
    size_t n = version_id_text(&mock->objects, version, id);
    answer_field(answer, "x-amz-version-id", bytes_of(id, n));
}

/* One endpoint stands for all regions. A request signed for the server's own region is told where the bucket is by a
 * redirect; one signed for a third region, that its signature names the wrong one. */
static struct fail check_region(const struct mock *mock, const struct request *request, struct bytes region) {
    if (bytes_equal(request->region, region))
        return FAIL_NONE;
    struct fail fail =
        bytes_equal(request->region, bytes_str(mock->region))
            ? FAIL(
                  301, "PermanentRedirect",
                  "The bucket you are attempting to access must be addressed using the specified endpoint. Please send "
                  "all future requests to this endpoint.")
            : FAIL(400, "AuthorizationHeaderMalformed",
                   "The authorization header is malformed; the region in the credential is wrong");
    fail.region = region;
    return fail;
}

static struct fail run_on_bucket(struct mock *mock, struct request *request, struct answer *answer) {
    struct bucket *bucket = bucket_find(&mock->objects, request->bucket);
    if (!bucket)
        return FAIL_NO_BUCKET;
    struct fail fail = check_region(mock, request, bytes_str(bucket->region));
    if (fail.status)
        return fail;
    switch (request->op) {
    case OP_GET:
    case OP_HEAD:
        return op_get(mock, request, bucket, answer);
    case OP_DELETE:
        return op_delete(mock, request, bucket, answer);
    case OP_PUT:
        return op_put(mock, request, bucket, answer);
    case OP_COPY:
        return op_copy(mock, request, bucket, answer);
    case OP_GET_TAGGING:
    case OP_PUT_TAGGING:
    case OP_DELETE_TAGGING:
        return op_tagging(mock, request, bucket, answer);
    case OP_CREATE_UPLOAD:
        return op_create_upload(mock, request, bucket, answer);
    case OP_UPLOAD_PART:
        return op_upload_part(mock, request, bucket, answer);
    case OP_UPLOAD_PART_COPY:
        return op_upload_part_copy(mock, request, bucket, answer);
    case OP_COMPLETE_UPLOAD:
        return op_complete_upload(mock, request, bucket, answer);
    case OP_ABORT_UPLOAD:
        return op_abort_upload(mock, request, bucket, answer);
    case OP_LIST_UPLOADS:
        return op_list_uploads(mock, request, bucket, answer);
    case OP_LIST_PARTS:
        return op_list_parts(mock, request, bucket, answer);
    case OP_LIST:
        return op_list(mock, request, bucket, answer);
    case OP_LIST_VERSIONS:
        return op_list_versions(mock, request, bucket, answer);
    case OP_DELETE_OBJECTS:
        return op_delete_objects(mock, request, bucket, answer);
    case OP_HEAD_BUCKET:
        return op_head_bucket(mock, request, bucket, answer);
    case OP_DELETE_BUCKET:
        return op_delete_bucket(mock, request, bucket, answer);
    case OP_GET_LOCATION:
        return op_get_location(mock, request, bucket, answer);
    case OP_GET_VERSIONING:
        return op_get_versioning(mock, request, bucket, answer);
    case OP_PUT_VERSIONING:
        return op_put_versioning(mock, request, bucket, answer);
    default:
        return FAIL_NOT_IMPLEMENTED;
    }
}

void ops_run(struct mock *mock, struct request *request, struct answer *answer) {
    struct fail fail;
    if (request->op == OP_CREATE_BUCKET) {
        fail = op_create_bucket(mock, request, answer);
    } else if (request->op == OP_LIST_BUCKETS) {
        fail = check_region(mock, request, bytes_str(mock->region));
        if (!fail.status)
            fail = op_list_buckets(mock, request, answer);
    } else {
        fail = run_on_bucket(mock, request, answer);
    }
    if (fail.status)
        answer_fail(mock, request, answer, fail, BYTES_NONE);
}
