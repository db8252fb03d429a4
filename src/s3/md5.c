/* md5.c - the steps of a block are written once, for one message and for a vector of them. */
#include "md5.h"

typedef uint32_t lanes __attribute__((vector_size(4 * MD5_LANES)));

#define WORTH_LANES 3 /* two, one after the other, take no longer than eight in lanes */

static uint32_t word(const unsigned char *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_word(unsigned char *p, uint32_t x) {
    for (unsigned i = 0; i < 4; i++)
        p[i] = (unsigned char)(x >> 8 * i);
}

/* RFC 1321, section 3.4: the table T, ... */
static const uint32_t table[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
};

/* ... its functions, F and G with an operation less, ... */
#define F(x, y, z) ((z) ^ ((x) & ((y) ^ (z))))
#define G(x, y, z) ((y) ^ ((z) & ((x) ^ (y))))
#define H(x, y, z) ((x) ^ (y) ^ (z))
#define I(x, y, z) ((y) ^ ((x) | ~(z)))

#define STEP(f, a, b, c, d, x, t, s)                \
    do {                                            \
        a += (x) + (t);                             \
        a += f(b, c, d);                            \
        a = ((a) << (s) | (a) >> (32 - (s))) + (b); \
    } while (0)

#define FOUR(f, i, x0, x1, x2, x3, s0, s1, s2, s3)  \
    STEP(f, a, b, c, d, x[x0], table[i], s0);       \
    STEP(f, d, a, b, c, x[x1], table[(i) + 1], s1); \
    STEP(f, c, d, a, b, x[x2], table[(i) + 2], s2); \
    STEP(f, b, c, d, a, x[x3], table[(i) + 3], s3)

/* ... and its 64 steps, on a, b, c, d with the block in x. */
#define STEPS                                   \
    FOUR(F, 0, 0, 1, 2, 3, 7, 12, 17, 22);      \
    FOUR(F, 4, 4, 5, 6, 7, 7, 12, 17, 22);      \
    FOUR(F, 8, 8, 9, 10, 11, 7, 12, 17, 22);    \
    FOUR(F, 12, 12, 13, 14, 15, 7, 12, 17, 22); \
    FOUR(G, 16, 1, 6, 11, 0, 5, 9, 14, 20);     \
    FOUR(G, 20, 5, 10, 15, 4, 5, 9, 14, 20);    \
    FOUR(G, 24, 9, 14, 3, 8, 5, 9, 14, 20);     \
    FOUR(G, 28, 13, 2, 7, 12, 5, 9, 14, 20);    \
    FOUR(H, 32, 5, 8, 11, 14, 4, 11, 16, 23);   \
    FOUR(H, 36, 1, 4, 7, 10, 4, 11, 16, 23);    \
    FOUR(H, 40, 13, 0, 3, 6, 4, 11, 16, 23);    \
    FOUR(H, 44, 9, 12, 15, 2, 4, 11, 16, 23);   \
    FOUR(I, 48, 0, 7, 14, 5, 6, 10, 15, 21);    \
    FOUR(I, 52, 12, 3, 10, 1, 6, 10, 15, 21);   \
    FOUR(I, 56, 8, 15, 6, 13, 6, 10, 15, 21);   \
    FOUR(I, 60, 4, 11, 2, 9, 6, 10, 15, 21)

static void one(uint32_t state[4], const unsigned char *p, size_t blocks) {
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    for (; blocks; blocks--, p += MD5_BLOCK) {
        uint32_t x[16], a0 = a, b0 = b, c0 = c, d0 = d;
        for (size_t i = 0; i < 16; i++)
            x[i] = word(p + 4 * i);
        STEPS;
        a += a0, b += b0, c += c0, d += d0;
    }
    state[0] = a, state[1] = b, state[2] = c, state[3] = d;
}

#define EACH(v) \
    { v(0), v(1), v(2), v(3), v(4), v(5), v(6), v(7) }
_Static_assert(MD5_LANES == 8, "EACH has so many");

static void many(uint32_t *const state[MD5_LANES], const unsigned char *const from[MD5_LANES], size_t blocks) {
    const unsigned char *p[MD5_LANES];
    for (size_t i = 0; i < MD5_LANES; i++)
        p[i] = from[i];
#define STATE(i) state[i][j]
    lanes s[4];
    for (size_t j = 0; j < 4; j++)
        s[j] = (lanes)EACH(STATE);
    lanes a = s[0], b = s[1], c = s[2], d = s[3];
    for (size_t at = 0; at < blocks * MD5_BLOCK; at += MD5_BLOCK) {
        lanes x[16], a0 = a, b0 = b, c0 = c, d0 = d;
#define WORD(i) word(p[i] + at + 4 * j)
        for (size_t j = 0; j < 16; j++)
            x[j] = (lanes)EACH(WORD);
        STEPS;
        a += a0, b += b0, c += c0, d += d0;
    }
    for (size_t i = 0; i < MD5_LANES; i++)
        state[i][0] = a[i], state[i][1] = b[i], state[i][2] = c[i], state[i][3] = d[i];
}

/* Whole blocks, as many as all of these have; returns how many bytes of each that is. */
static size_t hash_some(struct md5 *const md5[], const struct bytes *const data[], size_t n) {
    uint32_t unused[4] = {0}, *state[MD5_LANES];
    const unsigned char *from[MD5_LANES];
    size_t blocks = SIZE_MAX;
    for (size_t i = 0; i < MD5_LANES; i++) {
        state[i] = i < n ? md5[i]->state : unused;
        from[i] = (const unsigned char *)data[i < n ? i : 0]->p;
        if (i < n && data[i]->n / MD5_BLOCK < blocks)
            blocks = data[i]->n / MD5_BLOCK;
    }
    if (n < WORTH_LANES)
        for (size_t i = 0; i < n; i++)
            one(state[i], from[i], blocks);
    else
        many(state, from, blocks);
    return blocks * MD5_BLOCK;
}

/* Of each what is left is less than a block then. */
static void hash_blocks(struct md5 *const md5[], struct bytes data[], size_t n) {
    for (;;) {
        struct md5 *some[MD5_LANES];
        const struct bytes *of_some[MD5_LANES];
        size_t which[MD5_LANES], k = 0;
        for (size_t i = 0; i < n; i++)
            if (data[i].n >= MD5_BLOCK) {
                some[k] = md5[i];
                of_some[k] = &data[i];
                which[k++] = i;
            }
        if (k == 0)
            return;
        size_t done = hash_some(some, of_some, k);
        for (size_t i = 0; i < k; i++)
            data[which[i]] = bytes_of(data[which[i]].p + done, data[which[i]].n - done);
    }
}

/* What it takes of the data to fill the block that is not whole yet. */
static struct bytes fill_part(struct md5 *md5, struct bytes data) {
    size_t at = md5->n % MD5_BLOCK, n = at == 0 ? 0 : MD5_BLOCK - at;
    md5->n += data.n;
    if (n > data.n)
        n = data.n;
    if (n == 0)
        return data;
    memcpy(md5->part + at, data.p, n);
    if (at + n == MD5_BLOCK)
        one(md5->state, md5->part, 1);
    return bytes_of(data.p + n, data.n - n);
}

void md5_begin(struct md5 *md5) {
    *md5 = (struct md5){.state = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}};
}

void md5_update(struct md5 *const md5[], const struct bytes data[], size_t n) {
    struct bytes rest[MD5_LANES];
    for (size_t i = 0; i < n; i++)
        rest[i] = fill_part(md5[i], data[i]);
    hash_blocks(md5, rest, n);
    for (size_t i = 0; i < n; i++)
        if (rest[i].n) /* then its block began here */
            memcpy(md5[i]->part, rest[i].p, rest[i].n);
}

void md5_end(struct md5 *md5, unsigned char ret_digest[MD5_SIZE]) {
    unsigned char end[2 * MD5_BLOCK] = {0};
    size_t at = md5->n % MD5_BLOCK, blocks = at < MD5_BLOCK - 8 ? 1 : 2;
    memcpy(end, md5->part, at);
    end[at] = 0x80;
    put_word(end + blocks * MD5_BLOCK - 8, (uint32_t)(md5->n << 3)); /* its length in bits */
    put_word(end + blocks * MD5_BLOCK - 4, (uint32_t)(md5->n >> 29));
    one(md5->state, end, blocks);
    for (size_t i = 0; i < 4; i++)
        put_word(ret_digest + 4 * i, md5->state[i]);
}
