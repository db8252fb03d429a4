/* op.c - names and IAM actions of the operations. */
#include "op.h"

static const struct {
    const char *name, *action;
} ops[OP_COUNT] = {
    [OP_LIST_BUCKETS] = {"list-buckets", "s3:ListAllMyBuckets"},
    [OP_CREATE_BUCKET] = {"create-bucket", "s3:CreateBucket"},
    [OP_DELETE_BUCKET] = {"delete-bucket", "s3:DeleteBucket"},
    [OP_HEAD_BUCKET] = {"head-bucket", "s3:ListBucket"},
    [OP_GET_LOCATION] = {"get-location", "s3:GetBucketLocation"},
    [OP_GET_VERSIONING] = {"get-versioning", "s3:GetBucketVersioning"},
    [OP_PUT_VERSIONING] = {"put-versioning", "s3:PutBucketVersioning"},
    [OP_LIST] = {"list", "s3:ListBucket"},
    [OP_LIST_VERSIONS] = {"list-versions", "s3:ListBucketVersions"},
    [OP_GET] = {"get", "s3:GetObject"},
    [OP_HEAD] = {"head", "s3:GetObject"},
    [OP_PUT] = {"put", "s3:PutObject"},
    [OP_COPY] = {"copy", "s3:PutObject"},
    [OP_DELETE] = {"delete", "s3:DeleteObject"},
    [OP_DELETE_OBJECTS] = {"delete-objects", "s3:DeleteObject"},
    [OP_GET_TAGGING] = {"get-tagging", "s3:GetObjectTagging"},
    [OP_PUT_TAGGING] = {"put-tagging", "s3:PutObjectTagging"},
    [OP_DELETE_TAGGING] = {"delete-tagging", "s3:DeleteObjectTagging"},
    [OP_CREATE_UPLOAD] = {"create-upload", "s3:PutObject"},
    [OP_UPLOAD_PART] = {"upload-part", "s3:PutObject"},
    [OP_UPLOAD_PART_COPY] = {"upload-part-copy", "s3:PutObject"},
    [OP_COMPLETE_UPLOAD] = {"complete-upload", "s3:PutObject"},
    [OP_ABORT_UPLOAD] = {"abort-upload", "s3:AbortMultipartUpload"},
    [OP_LIST_UPLOADS] = {"list-uploads", "s3:ListBucketMultipartUploads"},
    [OP_LIST_PARTS] = {"list-parts", "s3:ListMultipartUploadParts"},
    [OP_UNKNOWN] = {"unknown", ""},
};

const char *op_name(enum op op) {
    return ops[op].name;
}

const char *op_action(enum op op) {
    return ops[op].action;
}

uint32_t op_set(struct bytes name) {
    if (bytes_equal(name, BYTES("any")))
        return (1U << OP_COUNT) - 1;
    if (bytes_equal(name, BYTES("read")))
        return 1U << OP_GET | 1U << OP_HEAD;
    if (bytes_equal(name, BYTES("write")))
        return 1U << OP_PUT | 1U << OP_COPY | 1U << OP_DELETE | 1U << OP_DELETE_OBJECTS;
    if (bytes_equal(name, BYTES("upload")))
        return 1U << OP_CREATE_UPLOAD | 1U << OP_UPLOAD_PART | 1U << OP_UPLOAD_PART_COPY | 1U << OP_COMPLETE_UPLOAD |
               1U << OP_ABORT_UPLOAD;
    if (bytes_equal(name, BYTES("tagging")))
        return 1U << OP_GET_TAGGING | 1U << OP_PUT_TAGGING | 1U << OP_DELETE_TAGGING;
    for (int i = 0; i < OP_COUNT; i++)
        if (bytes_equal(name, bytes_str(ops[i].name)))
            return 1U << i;
    return 0;
}
