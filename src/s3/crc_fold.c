/* crc_fold.c - folding by carry-less multiplication.
 *
 * A CRC is the remainder of a polynomial, so a part of it that stands n bits before another may be replaced by
 * part * (x^n mod P) added there. 64 bits times 64 bits are 127, so 16 bytes stay 16 bytes. A product of reflected
 * numbers comes out one bit too high: hence x^(n-1). Four chains at once, as a multiplication takes some cycles. */
#include "crc_fold.h"

#if defined __x86_64__ && defined __GNUC__
#include <emmintrin.h>
#include <wmmintrin.h>

#define FOLDS __attribute__((target("pclmul,sse2")))

static FOLDS __m128i load(const char *p) {
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/* The first 8 bytes stand 64 bits before the others. */
static FOLDS __m128i fold(__m128i state, __m128i constants, __m128i next) {
    __m128i first = _mm_clmulepi64_si128(state, constants, 0x00), second = _mm_clmulepi64_si128(state, constants, 0x11);
    return _mm_xor_si128(_mm_xor_si128(first, second), next);
}

static FOLDS __m128i pair(const uint64_t constants[2]) {
    return _mm_set_epi64x((long long)constants[1], (long long)constants[0]);
}

static FOLDS void fold_all(const struct crc_fold *constants, uint64_t crc, struct bytes *data, unsigned char *folded) {
    const char *p = data->p, *end = p + data->n;
    __m128i far = pair(constants->by_64_bytes), near = pair(constants->by_16_bytes);
    __m128i a = _mm_xor_si128(load(p), _mm_set_epi64x(0, (long long)crc));
    __m128i b = load(p + 16), c = load(p + 32), d = load(p + 48);
    for (p += 64; end - p >= 64; p += 64) {
        a = fold(a, far, load(p));
        b = fold(b, far, load(p + 16));
        c = fold(c, far, load(p + 32));
        d = fold(d, far, load(p + 48));
    }
    d = fold(fold(fold(a, near, b), near, c), near, d);
    for (; end - p >= 16; p += 16)
        d = fold(d, near, load(p));
    _mm_storeu_si128((__m128i *)(void *)folded, d);
    *data = bytes_of(p, (size_t)(end - p));
}

bool crc_fold(const struct crc_fold *constants, uint64_t crc, struct bytes *data, unsigned char folded[CRC_FOLD_SIZE]) {
    if (data->n < CRC_FOLD_MIN || !__builtin_cpu_supports("pclmul"))
        return false;
    fold_all(constants, crc, data, folded);
    return true;
}
#else
bool crc_fold(const struct crc_fold *constants, uint64_t crc, struct bytes *data, unsigned char folded[CRC_FOLD_SIZE]) {
    return false;
}
#endif
