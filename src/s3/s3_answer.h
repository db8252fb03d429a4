/* s3_answer.h - what the headers of S3's answers say, and whether the body that followed is the one they promised.
 *
 * Private to the S3 client and its tests. https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html */
#pragma once

#include "checksum.h"
#include "hashers.h"
#include "http.h"
#include "s3.h"

#define S3_REQUEST_ID_MAX 128
#define S3_CHECKSUM_TEXT_MAX 64 /* 44 are enough for SHA-256 in base64 */

struct s3_answer { /* views into the header fields, empty when absent */
    struct bytes etag, version_id, content_type, region, request_id;
    struct bytes checksum; /* the first that covers the whole body; composite ones are left out */
    enum checksum_kind checksum_kind;
    uint64_t length; /* S3_SIZE_UNKNOWN: none or not a number */
    bool chunked;
    bool etag_is_opaque;                  /* encrypted so that it is no MD5 */
    int64_t modified_utc_us, date_utc_us; /* 0: absent or broken */
    int64_t retry_after_us;               /* 0: absent or broken; dates are not understood */
    size_t n_metadata;
};

void s3_answer_read(const struct http_field *fields, size_t n, struct s3_answer *ret_answer);
/* Fills `ret_metadata` with the answer's n_metadata entries. */
void s3_answer_metadata(const struct http_field *fields, size_t n, struct s3_header *ret_metadata);

/* Follows a body to its end. */
struct s3_check {
    struct checksum *sum;    /* made when first needed, kept */
    struct hashers *hashers; /* borrowed, set by who begins; NULL: none */
    struct hashing *hashing; /* NULL: `sum` is computed here */
    enum checksum_kind kind;
    char want[S3_CHECKSUM_TEXT_MAX];
    size_t want_n;
    unsigned char md5[16];
    uint64_t length, seen;
    bool framed; /* the end of the body can be told from a lost connection */
};

int s3_check_begin(struct s3_check *check, const struct s3_answer *answer); /* -ENOMEM, -EIO */
int s3_check_add(struct s3_check *check, struct bytes piece);               /* -EIO */
/* NULL: all is right; else what is wrong, in static words. */
const char *s3_check_end(struct s3_check *check);
void s3_check_stop(struct s3_check *check); /* in the midst of a body, or after it: `sum` may be used again */
void s3_check_free(struct s3_check *check);
