/* op.h - the operations of S3 that the server knows, by the names used in fault orders and counters. */
#pragma once

#include "bytes.h"

enum op {
    OP_LIST_BUCKETS,
    OP_CREATE_BUCKET,
    OP_DELETE_BUCKET,
    OP_HEAD_BUCKET,
    OP_GET_LOCATION,
    OP_GET_VERSIONING,
    OP_PUT_VERSIONING,
    OP_LIST, /* both versions of ListObjects */
    OP_LIST_VERSIONS,
    OP_GET,
    OP_HEAD,
    OP_PUT,
    OP_COPY,
    OP_DELETE,
    OP_DELETE_OBJECTS,
    OP_GET_TAGGING,
    OP_PUT_TAGGING,
    OP_DELETE_TAGGING,
    OP_CREATE_UPLOAD, /* from here to OP_LIST_PARTS: multipart uploads */
    OP_UPLOAD_PART,
    OP_UPLOAD_PART_COPY,
    OP_COMPLETE_UPLOAD,
    OP_ABORT_UPLOAD,
    OP_LIST_UPLOADS,
    OP_LIST_PARTS,
    OP_UNKNOWN, /* anything else that reached S3's routing */
    OP_COUNT,
};

const char *op_name(enum op op);   /* "list-buckets" */
const char *op_action(enum op op); /* "s3:ListAllMyBuckets"; "" for OP_UNKNOWN */
/* A name, or "any", "read" (get, head), "write" (put, copy, delete, delete-objects), "upload" (all of a multipart
 * upload but the listings), "tagging": a set of bits 1 << op; 0: no such name. */
uint32_t op_set(struct bytes name);
