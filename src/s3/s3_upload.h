/* s3_upload.h - what the files share that make one call of several requests: s3_upload.c (uploads in parts, and the
 * steps of all) and s3_upload_copy.c (what copies do besides). */
#pragma once

#include "s3_private.h"

struct s3_upload {
    struct s3_call *call;  /* the caller's */
    struct s3_call *child; /* the request under way */
    uint64_t size, part_bytes;
    uint32_t part, parts; /* the one under way, from 1; how many there are */
    s3_read_fn *read;     /* NULL: it is a copy, or a probe */
    bool probe;           /* nothing is to be stored */
    struct s3_copy_source source;
    struct bytes source_text;      /* as x-amz-copy-source */
    int64_t modified_utc_us;       /* of the source, by the first HEAD */
    bool in_one, looked;           /* the copy is one request; the source was looked at again after it was copied */
    struct s3_put_options options; /* views into `texts` */
    struct s3_header *metadata;
    struct bytes standard[S3_STANDARD_N];
    struct buf texts, tagging, etag;
    struct buf id;       /* of the upload; empty: there is none */
    struct buf document; /* that completes it */
    struct buf crcs, md5s;
    enum s3_status status; /* what it came to */
    struct buf left;       /* words on an abort that failed */
};

/* ---- s3_upload.c ---- */
/* A request on the object that is stored; of an upload that has begun, with its id. -ENOMEM, -ECANCELED. */
int s3_upload_ask(struct s3_upload *upload, enum s3_op op, size_t args_n, size_t n_headers, struct s3_call **ret_child);
/* Sends it, unless `r`, which is returned, says that it could not be made. */
int s3_upload_send(struct s3_upload *upload, struct s3_call *child, int r, bool with_deadline);
/* Copies the options, and what a HEAD told of the source (`standard` may be NULL). -ENOMEM. */
int s3_upload_take_options(struct s3_upload *upload, const struct s3_put_options *options,
                           const struct bytes standard[S3_STANDARD_N]);
int s3_upload_create(struct s3_upload *upload);
int s3_upload_complete(struct s3_upload *upload);
void s3_upload_count(struct s3_upload *upload, const struct s3_result *result); /* first thing in each callback */
/* The object is stored: what is to be told of it is kept. -ENOMEM, -ECANCELED when the call was cancelled. */
int s3_upload_stored(struct s3_upload *upload, struct bytes etag, struct bytes version_id);
void s3_upload_succeed(struct s3_upload *upload); /* ends it */
/* These end it, too, when what was begun is aborted. */
void s3_upload_fail(struct s3_upload *upload, const struct s3_result *result);
/* Likewise, of a source that was there a moment ago: if it is gone is for the next look to tell, as "no such key" would
 * be final. A server may just have taken its name for another one's. */
void s3_upload_fail_gone(struct s3_upload *upload, const struct s3_result *result);
void s3_upload_fail_here(struct s3_upload *upload, enum s3_status status, const char *why);
void s3_upload_fail_code(struct s3_upload *upload, int r);

/* ---- s3_upload_copy.c ---- */
int s3_upload_copy_start(struct s3_upload *upload, const struct s3_copy_source *source, struct bytes source_text);
int s3_upload_copy_part(struct s3_upload *upload, uint64_t from, uint64_t n);
/* After the last part, where the server may not know the parts' condition: is the source still the same? */
bool s3_upload_copy_must_look(const struct s3_upload *upload);
int s3_upload_copy_look(struct s3_upload *upload);
