/* s3_answer.c - response headers by name, and the verification of a streamed body. */
#include "s3_answer.h"

#include "clock.h"
#include "text.h"

#include <errno.h>

#define METADATA "x-amz-meta-"

static bool is(struct bytes name, struct bytes want) {
    return bytes_equal(name, want);
}

static void read_encryption(struct bytes name, struct bytes value, struct s3_answer *answer) {
    if (is(name, BYTES("x-amz-server-side-encryption")))
        answer->etag_is_opaque |= bytes_starts(value, BYTES("aws:kms"));
    else if (is(name, BYTES("x-amz-server-side-encryption-customer-algorithm")))
        answer->etag_is_opaque = true;
}

static int64_t read_whole(struct bytes value, int64_t unit_us) {
    uint64_t number;
    if (text_parse_u64(value, &number) < 0 || number > 1000000)
        return 0;
    return (int64_t)number * unit_us;
}

static void read_date(struct bytes value, int64_t *ret_utc_us) {
    if (text_parse_http_date(value, ret_utc_us) < 0)
        *ret_utc_us = 0;
}

static void read_amz(struct bytes name, struct bytes value, struct s3_answer *answer) {
    if (bytes_starts(name, BYTES(METADATA))) {
        answer->n_metadata++;
    } else if (is(name, BYTES("x-amz-request-id"))) {
        answer->request_id = value;
    } else if (is(name, BYTES("x-amz-version-id"))) {
        answer->version_id = value;
    } else if (is(name, BYTES("x-amz-bucket-region"))) {
        answer->region = value;
    } else if (is(name, BYTES("x-amz-retry-after"))) { /* milliseconds; stronger than the one in seconds */
        int64_t us = read_whole(value, US_PER_MS);
        if (us)
            answer->retry_after_us = us;
    } else if (bytes_starts(name, BYTES("x-amz-checksum-"))) {
        enum checksum_kind kind = checksum_of_header(name);
        /* "...-3" is the checksum of three parts' checksums: base64 itself has no '-' */
        if (kind != CHECKSUM_NONE && answer->checksum_kind == CHECKSUM_NONE && value.n &&
            value.n <= S3_CHECKSUM_TEXT_MAX && !memchr(value.p, '-', value.n)) {
            answer->checksum_kind = kind;
            answer->checksum = value;
        }
    } else {
        read_encryption(name, value, answer);
    }
}

void s3_answer_read(const struct http_field *fields, size_t n, struct s3_answer *ret_answer) {
    struct s3_answer answer = {.length = S3_SIZE_UNKNOWN};
    for (size_t i = 0; i < n; i++) {
        struct bytes name = fields[i].name, value = fields[i].value;
        if (bytes_starts(name, BYTES("x-amz-"))) {
            read_amz(name, value, &answer);
        } else if (is(name, BYTES("etag"))) {
            answer.etag = value;
        } else if (is(name, BYTES("content-length"))) {
            if (text_parse_u64(value, &answer.length) < 0)
                answer.length = S3_SIZE_UNKNOWN;
        } else if (is(name, BYTES("content-type"))) {
            answer.content_type = value;
        } else if (is(name, BYTES("last-modified"))) {
            read_date(value, &answer.modified_utc_us);
        } else if (is(name, BYTES("date"))) {
            read_date(value, &answer.date_utc_us);
        } else if (is(name, BYTES("transfer-encoding"))) {
            answer.chunked = bytes_ends(value, BYTES("chunked"));
        } else if (is(name, BYTES("retry-after")) && answer.retry_after_us == 0) {
            answer.retry_after_us = read_whole(value, US_PER_S);
        }
    }
    if (answer.chunked)
        answer.length = S3_SIZE_UNKNOWN; /* RFC 9112, section 6.3: the chunks count */
    *ret_answer = answer;
}

void s3_answer_metadata(const struct http_field *fields, size_t n, struct s3_header *ret_metadata) {
    for (size_t i = 0; i < n; i++) {
        struct bytes name = fields[i].name;
        size_t skip = sizeof METADATA - 1;
        if (bytes_starts(name, BYTES(METADATA)))
            *ret_metadata++ =
                (struct s3_header){.name = bytes_of(name.p + skip, name.n - skip), .value = fields[i].value};
    }
}

/* ---- the body ---- */

/* Below that a body is over before a thread has begun with it. */
#define LARGE_BYTES (1024 * 1024)

/* A CRC costs less than to hand it over. */
static bool is_dear(enum checksum_kind kind) {
    return kind == CHECKSUM_MD5 || kind == CHECKSUM_SHA1 || kind == CHECKSUM_SHA256;
}

int s3_check_begin(struct s3_check *check, const struct s3_answer *answer) {
    s3_check_stop(check);
    check->kind = answer->checksum_kind;
    check->length = answer->length;
    check->seen = 0;
    check->framed = answer->length != S3_SIZE_UNKNOWN || answer->chunked;
    check->want_n = answer->checksum.n;
    if (check->kind != CHECKSUM_NONE)
        memcpy(check->want, answer->checksum.p, check->want_n);
    else if (!answer->etag_is_opaque && checksum_etag_md5(answer->etag, check->md5))
        check->kind = CHECKSUM_MD5;
    if (check->kind == CHECKSUM_NONE)
        return 0;
    int r = check->sum ? 0 : checksum_new(&check->sum);
    if (r >= 0)
        r = checksum_begin(check->sum, check->kind);
    if (r >= 0 && check->hashers && is_dear(check->kind) && check->length != S3_SIZE_UNKNOWN &&
        check->length >= LARGE_BYTES)
        r = hashing_new(check->hashers, check->sum, &check->hashing);
    return r;
}

int s3_check_add(struct s3_check *check, struct bytes piece) {
    check->seen += piece.n;
    if (check->hashing)
        return hashing_add(check->hashing, piece);
    return check->kind == CHECKSUM_NONE ? 0 : checksum_update(check->sum, piece);
}

const char *s3_check_end(struct s3_check *check) {
    if (check->length != S3_SIZE_UNKNOWN && check->length != check->seen)
        return "the body is not as long as was said";
    const char *unframed = check->framed ? NULL : "the answer has neither a length nor a checksum: it may be cut";
    if (check->kind == CHECKSUM_NONE)
        return unframed;
    unsigned char digest[CHECKSUM_SIZE_MAX];
    size_t size;
    int r = check->hashing ? hashing_end(check->hashing) : 0;
    s3_check_stop(check);
    if (r < 0 || checksum_end(check->sum, digest, &size) < 0)
        return "the checksum cannot be computed";
    if (check->kind == CHECKSUM_MD5)
        return memcmp(digest, check->md5, sizeof check->md5) == 0 ? NULL : "the body's MD5 is not the ETag";
    bool comparable;
    bool same = checksum_header_matches(bytes_of(check->want, check->want_n), digest, size, &comparable);
    if (!comparable)
        return unframed;
    return same ? NULL : "the body does not have the checksum that was sent";
}

void s3_check_stop(struct s3_check *check) {
    hashing_free(check->hashing);
    check->hashing = NULL;
}

void s3_check_free(struct s3_check *check) {
    s3_check_stop(check);
    checksum_free(check->sum);
    check->sum = NULL;
}
