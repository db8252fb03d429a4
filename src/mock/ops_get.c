/* ops_get.c - GetObject and HeadObject.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html */
#include "ops.h"

#include "auth.h"
#include "text.h"

#include <stdio.h>

struct fail ops_find_version(struct mock *mock, const struct request *request, const struct bucket *bucket,
                             struct answer *answer, struct version **ret_version, bool *ret_answered) {
    const struct bytes *wanted = request_param(request, "versionId");
    const struct object *object = object_find(bucket, request->key);
    uint64_t id = 0;
    if (wanted && !version_id_parse(&mock->objects, *wanted, &id))
        return FAIL_ARGUMENT("Invalid version id specified");
    struct version *version = !object ? NULL : wanted ? object_version(object, id) : object->newest;
    if (!version && wanted)
        return FAIL_NO_VERSION;
    if (version && version->blob) {
        *ret_version = version;
        return FAIL_NONE;
    }
    /* Who may not list is not told what is missing. */
    if (!wanted && auth_denied(mock, request, "s3:ListBucket"))
        return FAIL_DENIED;
    if (!version)
        return FAIL_NO_KEY;
    /* A delete marker. */
    char id_text[VERSION_ID_MAX];
    struct buf lines = {0};
    size_t n = version_id_text(&mock->objects, version, id_text);
    int r = buf_printf(&lines, "x-amz-delete-marker: true\r\nx-amz-version-id: %.*s\r\n%s", (int)n, id_text,
                       wanted ? "Allow: DELETE\r\n" : "");
    if (r == 0)
        answer_fail(mock, request, answer, wanted ? FAIL_METHOD : FAIL_NO_KEY, buf_bytes(&lines));
    buf_free(&lines);
    *ret_answered = r == 0;
    return r < 0 ? FAIL_MEMORY : FAIL_NONE;
}

/* RFC 9110 13.2.2, with dates in whole seconds. 0: go on, else 304 or 412. */
static int check_conditions(const struct request *request, const struct version *version, struct bytes etag) {
    const struct head *head = &request->head;
    struct bytes if_match = head_get(head, "if-match"), if_none_match = head_get(head, "if-none-match");
    int64_t modified = version->modified_utc_us / US_PER_S, since;
    if (if_match.p) {
        if (!ops_etag_matches(if_match, etag))
            return 412;
    } else if (text_parse_http_date(head_get(head, "if-unmodified-since"), &since) == 0 &&
               modified > since / US_PER_S) {
        return 412;
    }
    if (if_none_match.p)
        return ops_etag_matches(if_none_match, etag) ? 304 : 0;
    if (text_parse_http_date(head_get(head, "if-modified-since"), &since) == 0 && modified <= since / US_PER_S)
        return 304;
    return 0;
}

/* "bytes=a-b", "bytes=a-" or "bytes=-n"; anything else, several ranges too, is as if it had not been sent. 0: the
 * whole, 206, or 416. */
static int read_range(struct bytes range, uint64_t size, uint64_t *ret_from, uint64_t *ret_size) {
    uint64_t from = 0, to = UINT64_MAX;
    *ret_from = 0;
    *ret_size = size;
    if (!bytes_starts(range, BYTES("bytes=")))
        return 0;
    range = bytes_of(range.p + 6, range.n - 6);
    const char *dash = range.n ? memchr(range.p, '-', range.n) : NULL;
    if (!dash)
        return 0;
    struct bytes first = bytes_of(range.p, (size_t)(dash - range.p));
    struct bytes last = bytes_of(dash + 1, range.n - first.n - 1);
    if (!first.n) {
        if (text_parse_u64(last, &to) < 0)
            return 0;
        if (to == 0 || size == 0)
            return 416;
        *ret_from = to < size ? size - to : 0;
        *ret_size = size - *ret_from;
        return 206;
    }
    if (text_parse_u64(first, &from) < 0 || (last.n && text_parse_u64(last, &to) < 0) || to < from)
        return 0;
    if (from >= size)
        return 416;
    *ret_from = from;
    *ret_size = (to < size - 1 ? to : size - 1) - from + 1;
    return 206;
}

static void add_fields(struct mock *mock, const struct request *request, const struct bucket *bucket,
                       const struct version *version, struct bytes etag, bool whole, struct answer *answer) {
    const struct meta *meta = version->meta;
    answer_date(mock, answer, "Last-Modified", version->modified_utc_us);
    answer_field(answer, "ETag", etag);
    answer_raw(answer, BYTES("Accept-Ranges: bytes\r\n"));
    ops_version_field(mock, bucket, version, answer);
    if (version->storage != STORAGE_STANDARD)
        answer_field(answer, "x-amz-storage-class", storage_name((enum storage_class)version->storage));
    if (version->restored)
        answer_raw(answer, BYTES("x-amz-restore: ongoing-request=\"false\", "
                                 "expiry-date=\"Fri, 31 Dec 2100 00:00:00 GMT\"\r\n"));
    if (meta)
        answer_raw(answer, bytes_of(meta->headers, meta->headers_n));
    else
        answer_raw(answer, BYTES("Content-Type: binary/octet-stream\r\n"));
    if (meta && meta->tags && !auth_denied(mock, request, "s3:GetObjectTagging"))
        answer_number(answer, "x-amz-tagging-count", meta->tags->n);
    if (request->plan.badsum_header) {
        answer_raw(answer, BYTES("x-amz-checksum-crc32: AAAAAQ==\r\n"));
    } else if (meta && meta->checksum_header && whole &&
               bytes_equal_nocase(head_get(&request->head, "x-amz-checksum-mode"), BYTES("ENABLED"))) {
        ops_checksum_fields(meta, answer);
    }
}

static void answer_unmodified(struct mock *mock, const struct version *version, struct bytes etag,
                              struct answer *answer) {
    answer_begin(mock, answer, 304);
    answer_field(answer, "ETag", etag);
    answer_date(mock, answer, "Last-Modified", version->modified_utc_us);
    answer_end_empty(answer);
}

struct fail op_get(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer) {
    struct version *version = NULL;
    bool answered = false;
    struct fail fail = ops_find_version(mock, request, bucket, answer, &version, &answered);
    if (fail.status || answered)
        return fail;
    char etag_text[ETAG_MAX];
    struct bytes etag = bytes_of(etag_text, blob_etag(version->blob, etag_text));
    int refused = check_conditions(request, version, etag);
    if (refused == 412)
        return FAIL_PRECONDITION;
    if (refused == 304) {
        answer_unmodified(mock, version, etag, answer);
        return FAIL_NONE;
    }
    if (request->op == OP_GET && version_archived(version))
        return FAIL(403, "InvalidObjectState", "The operation is not valid for the object's storage class");
    uint64_t from, size;
    int range = read_range(head_get(&request->head, "range"), version->blob->size, &from, &size);
    if (range == 416)
        return FAIL(416, "InvalidRange", "The requested range is not satisfiable");
    answer_begin(mock, answer, range ? range : 200);
    add_fields(mock, request, bucket, version, etag, !range, answer);
    if (range) {
        char text[80];
        int n = snprintf(text, sizeof(text), "bytes %llu-%llu/%llu", (unsigned long long)from,
                         (unsigned long long)(from + size - 1), (unsigned long long)version->blob->size);
        answer_field(answer, "Content-Range", bytes_of(text, (size_t)n));
    }
    answer_end_blob(answer, version->blob, from, size, request->plan.badsum_body);
    if (request->op == OP_GET && bucket->stats)
        bucket->stats->gets++;
    return FAIL_NONE;
}
