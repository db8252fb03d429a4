/* checksum.c - one running checksum of a chosen kind, and the headers that carry such values. */
#include "checksum.h"

#include "crc.h"
#include "md5.h"
#include "mem.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>

struct checksum {
    enum checksum_kind kind;
    uint64_t crc;
    EVP_MD_CTX *ctx;
    EVP_MD *sha1, *sha256, *md5; /* fetched when first asked for, then kept: fetching costs more than a small body */
    bool in_lane;                /* of CHECKSUM_MD5: computed in `lane`, not by `ctx` */
    struct md5 lane;
};
_Static_assert(CHECKSUM_MANY_MAX == MD5_LANES, "a lane for each");

int checksum_new(struct checksum **ret_checksum) {
    struct checksum *checksum = mem_zalloc(sizeof *checksum);
    if (!checksum)
        return -ENOMEM;
    checksum->ctx = EVP_MD_CTX_new();
    if (!checksum->ctx) {
        mem_free(checksum);
        return -ENOMEM;
    }
    *ret_checksum = checksum;
    return 0;
}

void checksum_free(struct checksum *checksum) {
    if (!checksum)
        return;
    EVP_MD_CTX_free(checksum->ctx);
    EVP_MD_free(checksum->sha1);
    EVP_MD_free(checksum->sha256);
    EVP_MD_free(checksum->md5);
    mem_free(checksum);
}

static int failed(struct checksum *checksum) {
    ERR_clear_error();
    checksum->kind = CHECKSUM_NONE;
    return -EIO;
}

static int begin_digest(struct checksum *checksum, EVP_MD **md, const char *name) {
    if (!*md)
        *md = EVP_MD_fetch(NULL, name, NULL);
    if (!*md || EVP_DigestInit_ex2(checksum->ctx, *md, NULL) != 1)
        return failed(checksum);
    return 0;
}

int checksum_begin(struct checksum *checksum, enum checksum_kind kind) {
    checksum->kind = kind;
    checksum->crc = 0;
    checksum->in_lane = false;
    switch (kind) {
    case CHECKSUM_SHA1:
        return begin_digest(checksum, &checksum->sha1, "SHA1");
    case CHECKSUM_SHA256:
        return begin_digest(checksum, &checksum->sha256, "SHA256");
    case CHECKSUM_MD5:
        return begin_digest(checksum, &checksum->md5, "MD5");
    case CHECKSUM_NONE:
    case CHECKSUM_CRC32:
    case CHECKSUM_CRC32C:
    case CHECKSUM_CRC64NVME:
        break;
    }
    return 0;
}

void checksum_of_many(struct checksum *checksum) {
    checksum->in_lane = checksum->kind == CHECKSUM_MD5;
    if (checksum->in_lane)
        md5_begin(&checksum->lane);
}

int checksum_update(struct checksum *checksum, struct bytes data) {
    if (checksum->in_lane) {
        md5_update(&(struct md5 *){&checksum->lane}, &data, 1);
        return 0;
    }
    switch (checksum->kind) {
    case CHECKSUM_NONE:
        break;
    case CHECKSUM_CRC32:
        checksum->crc = crc_32((uint32_t)checksum->crc, data);
        break;
    case CHECKSUM_CRC32C:
        checksum->crc = crc_32c((uint32_t)checksum->crc, data);
        break;
    case CHECKSUM_CRC64NVME:
        checksum->crc = crc_64nvme(checksum->crc, data);
        break;
    case CHECKSUM_SHA1:
    case CHECKSUM_SHA256:
    case CHECKSUM_MD5:
        if (EVP_DigestUpdate(checksum->ctx, data.p, data.n) != 1)
            return failed(checksum);
        break;
    }
    return 0;
}

void checksum_update_many(struct checksum *const sums[], const struct bytes data[], size_t n, int ret_results[]) {
    struct md5 *lanes[CHECKSUM_MANY_MAX];
    struct bytes of_lanes[CHECKSUM_MANY_MAX];
    size_t n_lanes = 0;
    for (size_t i = 0; i < n; i++) {
        ret_results[i] = sums[i]->in_lane ? 0 : checksum_update(sums[i], data[i]);
        if (sums[i]->in_lane) {
            lanes[n_lanes] = &sums[i]->lane;
            of_lanes[n_lanes++] = data[i];
        }
    }
    md5_update(lanes, of_lanes, n_lanes);
}

int checksum_end(struct checksum *checksum, unsigned char ret_digest[CHECKSUM_SIZE_MAX], size_t *ret_size) {
    size_t crc_size = 0;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int digest_size = 0;
    switch (checksum->kind) {
    case CHECKSUM_NONE:
        break;
    case CHECKSUM_CRC32:
    case CHECKSUM_CRC32C:
        crc_size = 4;
        break;
    case CHECKSUM_CRC64NVME:
        crc_size = 8;
        break;
    case CHECKSUM_SHA1:
    case CHECKSUM_SHA256:
    case CHECKSUM_MD5:
        if (checksum->in_lane) {
            md5_end(&checksum->lane, digest);
            digest_size = MD5_SIZE;
        } else if (EVP_DigestFinal_ex(checksum->ctx, digest, &digest_size) != 1 || digest_size > CHECKSUM_SIZE_MAX)
            return failed(checksum);
        memcpy(ret_digest, digest, digest_size);
        checksum->kind = CHECKSUM_NONE;
        *ret_size = digest_size;
        return 0;
    }
    for (size_t i = 0; i < crc_size; i++)
        ret_digest[i] = (unsigned char)(checksum->crc >> 8 * (crc_size - 1 - i));
    checksum->kind = CHECKSUM_NONE;
    *ret_size = crc_size;
    return 0;
}

enum checksum_kind checksum_of_header(struct bytes header_name) {
    static const struct {
        struct bytes name;
        enum checksum_kind kind;
    } headers[] = {
        {{"x-amz-checksum-crc32", 20}, CHECKSUM_CRC32},         {{"x-amz-checksum-crc32c", 21}, CHECKSUM_CRC32C},
        {{"x-amz-checksum-crc64nvme", 24}, CHECKSUM_CRC64NVME}, {{"x-amz-checksum-sha1", 19}, CHECKSUM_SHA1},
        {{"x-amz-checksum-sha256", 21}, CHECKSUM_SHA256},
    };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        if (bytes_equal(header_name, headers[i].name))
            return headers[i].kind;
    return CHECKSUM_NONE;
}

/* "<base64>-<parts>": a checksum of the parts' checksums. '-' is not in base64's alphabet. */
static bool is_composite(struct bytes value) {
    size_t digits = 0;
    while (digits < value.n && value.p[value.n - 1 - digits] >= '0' && value.p[value.n - 1 - digits] <= '9')
        digits++;
    return digits > 0 && digits < value.n && value.p[value.n - 1 - digits] == '-';
}

bool checksum_header_matches(struct bytes value, const unsigned char *digest, size_t size, bool *ret_comparable) {
    unsigned char text[(CHECKSUM_SIZE_MAX + 2) / 3 * 4 + 1];
    *ret_comparable = size <= CHECKSUM_SIZE_MAX && !is_composite(value);
    if (!*ret_comparable)
        return false;
    int n = EVP_EncodeBlock(text, digest, (int)size);
    return n >= 0 && bytes_equal(value, bytes_of(text, (size_t)n));
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool checksum_etag_md5(struct bytes etag, unsigned char ret_md5[16]) {
    unsigned char md5[16];
    if (etag.n == 34 && etag.p[0] == '"' && etag.p[33] == '"')
        etag = bytes_of(etag.p + 1, 32);
    if (etag.n != 32)
        return false;
    for (size_t i = 0; i < sizeof md5; i++) {
        int high = hex_value(etag.p[2 * i]), low = hex_value(etag.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        md5[i] = (unsigned char)(high << 4 | low);
    }
    memcpy(ret_md5, md5, sizeof md5);
    return true;
}

uint32_t checksum_crc32(uint32_t crc, struct bytes data) {
    return crc_32(crc, data);
}
