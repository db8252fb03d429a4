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
    OP_DELETE,
    OP_DELETE_OBJECTS,
    OP_CREATE_UPLOAD,
    OP_UPLOAD_PART,
    OP_COMPLETE_UPLOAD,
    OP_ABORT_UPLOAD,
    OP_UNKNOWN, /* anything else that reached S3's routing */
    OP_COUNT,
};

const char *op_name(enum op op);   /* "list-buckets" */
const char *op_action(enum op op); /* "s3:ListAllMyBuckets"; "" for OP_UNKNOWN */
/* A name, or "any", "read" (get, head), "write" (put, delete, delete-objects): a set of bits 1 << op; 0: no such name.
 */
uint32_t op_set(struct bytes name);
