/* uploads.h - multipart uploads under way: what their creation said, and the parts that came. No HTTP.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html */
#pragma once

#include "checksum.h"
#include "objects.h"

#define PART_NUMBER_MAX 10000
#define PART_MIN_BYTES (5 * 1024 * 1024) /* of all parts but the last, unless the server is told otherwise */
#define UPLOADS_MAX 100000               /* of a bucket */

struct part {
    uint32_t number;
    struct blob *blob;
    int64_t modified_utc_us;
    char checksum[48]; /* base64; empty: none */
};

struct upload {
    struct list link; /* of its bucket, oldest first */
    uint64_t id;
    struct meta *meta; /* of the object to be; not NULL */
    enum storage_class storage;
    enum checksum_kind checksum; /* of the parts; CHECKSUM_NONE: they have none */
    const char *checksum_header; /* static */
    bool whole;                  /* the object's checksum is of its bytes, not of the parts' checksums */
    int64_t started_utc_us;
    struct part *parts; /* by number */
    size_t n, cap;
    struct bytes key;
    char key_text[];
};

/* Takes over `meta` on success. -ENOMEM, -ENOSPC. */
int upload_new(struct objects *objects, struct bucket *bucket, struct bytes key, struct meta *meta, int64_t now_utc_us,
               struct upload **ret_upload);
/* NULL when there is none such for that key. */
struct upload *upload_find(const struct objects *objects, const struct bucket *bucket, struct bytes key,
                           struct bytes id);
size_t upload_id_text(const struct objects *objects, const struct upload *upload, char ret_text[VERSION_ID_MAX]);
/* Adds a part, or replaces the one of its number; takes over one reference of its blob on success. -ENOMEM. */
int upload_put_part(struct objects *objects, struct upload *upload, const struct part *part);
const struct part *upload_part(const struct upload *upload, uint32_t number); /* NULL when it did not come */
/* Ends it: it leaves its bucket with its parts. Its meta is freed unless it was set to NULL. */
void upload_free(struct objects *objects, struct bucket *bucket, struct upload *upload);
