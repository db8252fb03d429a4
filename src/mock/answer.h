/* answer.h - an answer while it is put together: status line, fields, and a body that is copied (small), or shared with
 * an object (large).
 *
 * Appending cannot fail visibly: when memory runs out `broken` is set and the connection is ended without an answer. */
#pragma once

#include "server.h"

#define ANSWER_COPY_MAX (16 * 1024) /* bodies up to this are copied beside the head: one write */

struct answer {
    struct buf out;    /* head and copied body */
    size_t body_at;    /* where the body starts in `out` */
    struct blob *blob; /* one reference; its bytes [blob_at, blob_end) follow `out` */
    uint64_t blob_at, blob_end;
    int status;
    bool head_only; /* to a HEAD: lengths are told, no body follows */
    bool close;     /* the connection ends after it */
    bool broken;
};

void answer_reset(struct objects *objects, struct answer *answer);
void answer_free(struct objects *objects, struct answer *answer);

/* Status line and the fields that every answer has. */
void answer_begin(struct mock *mock, struct answer *answer, int status);
void answer_raw(struct answer *answer, struct bytes lines); /* whole "name: value\r\n" lines */
void answer_field(struct answer *answer, const char *name, struct bytes value);
void answer_number(struct answer *answer, const char *name, uint64_t value);
void answer_date(struct mock *mock, struct answer *answer, const char *name, int64_t utc_us); /* an HTTP date */
/* The end of the head, and the body. `type` NULL: no Content-Type. */
void answer_end(struct answer *answer, const char *type, struct bytes body);
/* The end of the head with a part of an object as the body. */
void answer_end_blob(struct answer *answer, struct blob *blob, uint64_t from, uint64_t size, bool copy);
/* No body and no Content-Length either (204, 304). */
void answer_end_empty(struct answer *answer);

/* S3's error document; `lines` are extra fields. */
void answer_fail(struct mock *mock, const struct request *request, struct answer *answer, struct fail fail,
                 struct bytes lines);
void answer_xml(struct mock *mock, struct answer *answer, const struct buf *xml); /* 200 */
