/* ops.h - the operations: each reads a request whose signature, permissions and body were checked, and writes the
 * answer. */
#pragma once

#include "answer.h"

#define XML_HEAD "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define XML_NAMESPACE " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""
#define OWNER_ID "75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a"

/* Finds the bucket (checking that the request was signed for its region), runs the operation, writes the answer. */
void ops_run(struct mock *mock, struct request *request, struct answer *answer);

/* Of a bucket and the service: ops_bucket.c */
struct fail op_list_buckets(struct mock *mock, struct request *request, struct answer *answer);
struct fail op_create_bucket(struct mock *mock, struct request *request, struct answer *answer);
struct fail op_delete_bucket(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer);
struct fail op_head_bucket(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer);
struct fail op_get_location(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer);
struct fail op_get_versioning(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer);
struct fail op_put_versioning(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer);
/* ops_list.c */
struct fail op_list(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer);
struct fail op_list_versions(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer);
/* ops_get.c: GET and HEAD */
struct fail op_get(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer);
/* ops_put.c */
struct fail op_put(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer);
/* Checks Content-MD5 and x-amz-checksum-* against the body. `*ret_header` NULL when there was no checksum. */
struct fail ops_check_digests(struct mock *mock, struct request *request, const char **ret_header,
                              struct bytes *ret_value, bool *ret_any);
/* ops_delete.c */
struct fail op_delete(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer);
struct fail op_delete_objects(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer);

/* Does a list of ETags (If-Match, If-None-Match), or "*", name this one? Quotes may be missing. */
bool ops_etag_matches(struct bytes list, struct bytes etag);
/* Parses a count parameter (max-keys): the value, `fallback` when absent or empty, false for nonsense; cut to `most`.
 */
bool ops_count_param(const struct request *request, const char *name, uint64_t fallback, uint64_t most,
                     uint64_t *ret_count);
/* "2026-01-02T03:04:05.000Z" */
int ops_add_time(struct buf *xml, int64_t utc_us);
/* Writes a new version id field when the bucket keeps versions. */
void ops_version_field(const struct mock *mock, const struct bucket *bucket, const struct version *version,
                       struct answer *answer);
