/* ops.h - the operations: each reads a request whose signature, permissions and body were checked, and writes the
 * answer. */
#pragma once

#include "answer.h"
#include "uploads.h"

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
/* The version that versionId, or its absence, means; a refusal that has fields of its own is answered there, with
 * *ret_answered. */
struct fail ops_find_version(struct mock *mock, const struct request *request, const struct bucket *bucket,
                             struct answer *answer, struct version **ret_version, bool *ret_answered);
/* ops_tags.c: GET, PUT and DELETE of ?tagging */
struct fail op_tagging(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer);
/* ops_copy.c */
struct fail op_copy(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer);
/* What x-amz-copy-source names, if it is there, the key may read it and its conditions hold. */
struct fail ops_copy_source(struct mock *mock, const struct request *request, struct bucket **ret_bucket,
                            struct object **ret_object, struct version **ret_version);
void ops_copy_source_field(const struct mock *mock, const struct bucket *bucket, const struct version *version,
                           struct answer *answer);
/* ops_upload.c */
struct fail op_create_upload(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer);
struct fail op_upload_part(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer);
struct fail op_upload_part_copy(struct mock *mock, struct request *request, struct bucket *bucket,
                                struct answer *answer);
struct fail op_abort_upload(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer);
struct fail op_list_uploads(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer);
struct fail op_list_parts(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer);
#define FAIL_NO_UPLOAD                                                                                             \
    FAIL(404, "NoSuchUpload",                                                                                      \
         "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted " \
         "or completed.")
/* The upload that key and uploadId name. */
struct fail ops_find_upload(const struct mock *mock, const struct request *request, const struct bucket *bucket,
                            struct upload **ret_upload);
/* <ETag>, and <ChecksumX> when there is one. */
int ops_add_stored(struct buf *xml, struct bytes etag, const char *checksum_header, const char *checksum);
/* ops_complete.c */
struct fail op_complete_upload(struct mock *mock, struct request *request, struct bucket *bucket,
                               struct answer *answer);
/* ops_put.c */
struct fail op_put(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer);
/* What the fields of a request say of the object that it stores. *ret_meta is not NULL; its checksum is not set. */
struct fail ops_read_meta(struct mock *mock, const struct request *request, struct meta **ret_meta);
struct fail ops_read_tagging(struct mock *mock, const struct request *request, struct tags **ret_tags);
struct fail ops_read_storage(const struct request *request, enum storage_class *ret_storage);
void ops_checksum_fields(const struct meta *meta, struct answer *answer); /* NULL is fine */
/* Appends the body's checksum in base64. */
struct fail ops_digest(struct mock *mock, enum checksum_kind kind, struct bytes body, struct buf *base64);
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
