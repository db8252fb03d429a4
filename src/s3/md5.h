/* md5.h - MD5 (RFC 1321) of several messages side by side.
 *
 * A step of MD5 needs the one before, so that with a single message most of a processor waits. Eight messages, each in
 * a lane of the processor's vectors, take little longer than one does: that is why this is here, and not OpenSSL's,
 * which knows single messages only. It tells broken bodies from whole ones and keeps nobody out. Any thread. */
#pragma once

#include "bytes.h"

#define MD5_LANES 8
#define MD5_SIZE 16
#define MD5_BLOCK 64

struct md5 {
    uint32_t state[4];
    uint64_t n;                    /* bytes so far */
    unsigned char part[MD5_BLOCK]; /* n % MD5_BLOCK bytes of a block that is not whole yet */
};

void md5_begin(struct md5 *md5);
/* data[i] to *md5[i], which are n <= MD5_LANES different ones. */
void md5_update(struct md5 *const md5[], const struct bytes data[], size_t n);
/* The digest; *md5 is to be begun again before it is used again. */
void md5_end(struct md5 *md5, unsigned char ret_digest[MD5_SIZE]);
