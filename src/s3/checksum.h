/* checksum.h - the checksums S3 sends beside a body, computed while it streams.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html */
#pragma once

#include "bytes.h"

enum checksum_kind {
    CHECKSUM_NONE,
    CHECKSUM_CRC32,
    CHECKSUM_CRC32C,
    CHECKSUM_CRC64NVME,
    CHECKSUM_SHA1,
    CHECKSUM_SHA256,
    CHECKSUM_MD5,
};

#define CHECKSUM_SIZE_MAX 32

struct checksum; /* not thread-safe; one a body, reusable */

int checksum_new(struct checksum **ret_checksum); /* -ENOMEM */
void checksum_free(struct checksum *checksum);
int checksum_begin(struct checksum *checksum, enum checksum_kind kind); /* -EIO when OpenSSL fails */
int checksum_update(struct checksum *checksum, struct bytes data);
/* Of many bodies at once MD5 costs a third (md5.h), when right after checksum_begin it is told that it will be one of
 * many, and pieces are then added together: data[i] to *sums[i], n <= CHECKSUM_MANY_MAX different ones, of any kinds.
 * What checksum_update of each would return is in ret_results[i]. */
void checksum_of_many(struct checksum *checksum);
void checksum_update_many(struct checksum *const sums[], const struct bytes data[], size_t n, int ret_results[]);
#define CHECKSUM_MANY_MAX 8
/* Big-endian digest as S3 sends it in base64; `*ret_size` bytes. */
int checksum_end(struct checksum *checksum, unsigned char ret_digest[CHECKSUM_SIZE_MAX], size_t *ret_size);

/* "x-amz-checksum-crc32" -> CHECKSUM_CRC32; CHECKSUM_NONE for any other header. Name in lower case. */
enum checksum_kind checksum_of_header(struct bytes header_name);
/* Does this header value (base64) equal the digest? A composite value ("...-3") cannot be compared: *ret_comparable
 * false. */
bool checksum_header_matches(struct bytes value, const unsigned char *digest, size_t size, bool *ret_comparable);
/* Is this ETag (with or without its quotes) one that may be the MD5 of the body: 32 hex digits and nothing else? Digest
 * in ret_md5. */
bool checksum_etag_md5(struct bytes etag, unsigned char ret_md5[16]);
uint32_t checksum_crc32(uint32_t crc, struct bytes data); /* start with 0 */
