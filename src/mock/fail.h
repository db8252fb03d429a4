/* fail.h - a refusal as S3 words it: status, code, message.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html */
#pragma once

#include "bytes.h"

struct fail {
    int status;                 /* 0: nothing failed */
    const char *code, *message; /* static */
    struct bytes region;        /* where the bucket is; empty: not told */
};

#define FAIL(status_, code_, message_) ((struct fail){(status_), (code_), (message_), BYTES_NONE})

#define FAIL_NONE ((struct fail){0})
#define FAIL_MEMORY FAIL(500, "InternalError", "The server is out of memory.")
#define FAIL_FULL FAIL(507, "InsufficientStorage", "The server's limit of bytes for bodies is reached.")
#define FAIL_DENIED FAIL(403, "AccessDenied", "Access Denied")
#define FAIL_NO_BUCKET FAIL(404, "NoSuchBucket", "The specified bucket does not exist")
#define FAIL_NO_KEY FAIL(404, "NoSuchKey", "The specified key does not exist.")
#define FAIL_NO_VERSION FAIL(404, "NoSuchVersion", "The specified version does not exist.")
#define FAIL_PRECONDITION \
    FAIL(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
#define FAIL_METHOD FAIL(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
#define FAIL_NOT_IMPLEMENTED \
    FAIL(501, "NotImplemented", "A header or parameter you provided implies functionality that is not implemented")
#define FAIL_XML              \
    FAIL(400, "MalformedXML", \
         "The XML you provided was not well-formed or did not validate against our published schema")
#define FAIL_ARGUMENT(message_) FAIL(400, "InvalidArgument", (message_))
#define FAIL_REQUEST(message_) FAIL(400, "InvalidRequest", (message_))
#define FAIL_DIGEST(message_) FAIL(400, "BadDigest", (message_))
