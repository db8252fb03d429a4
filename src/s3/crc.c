/* crc.c - table-driven CRCs whose tables the compiler works out; long inputs are folded where that can be done.
 *
 * A CRC is linear, so an entry of a table is the exclusive-or of the entries for the single bits of its index, and
 * those are one chain: each is the one before, advanced by one bit. The chain (64 constants a polynomial) is an enum,
 * where each constant may use the one before; the tables are built of it by macros. */
#include "crc.h"

#include "crc_fold.h"

#define ADVANCE(c, poly) (((uint64_t)(c) >> 1) ^ (((uint64_t)(c)&1) ? (poly) : UINT64_C(0)))

/* name_K_B: what bit B of a byte contributes when K more bytes follow it in the same step. */
#define BITS_OF_SLICE(name, k, before, poly)                                                        \
    name##_##k##_7 = ADVANCE(before, poly), name##_##k##_6 = ADVANCE(name##_##k##_7, poly),         \
    name##_##k##_5 = ADVANCE(name##_##k##_6, poly), name##_##k##_4 = ADVANCE(name##_##k##_5, poly), \
    name##_##k##_3 = ADVANCE(name##_##k##_4, poly), name##_##k##_2 = ADVANCE(name##_##k##_3, poly), \
    name##_##k##_1 = ADVANCE(name##_##k##_2, poly), name##_##k##_0 = ADVANCE(name##_##k##_1, poly)
#define BITS(name, poly)                          \
    enum {                                        \
        BITS_OF_SLICE(name, 0, 1, poly),          \
        BITS_OF_SLICE(name, 1, name##_0_0, poly), \
        BITS_OF_SLICE(name, 2, name##_1_0, poly), \
        BITS_OF_SLICE(name, 3, name##_2_0, poly), \
        BITS_OF_SLICE(name, 4, name##_3_0, poly), \
        BITS_OF_SLICE(name, 5, name##_4_0, poly), \
        BITS_OF_SLICE(name, 6, name##_5_0, poly), \
        BITS_OF_SLICE(name, 7, name##_6_0, poly), \
    }

#define BIT(name, k, b, i) (((i) >> (b)) & 1 ? (uint64_t)name##_##k##_##b : UINT64_C(0))
#define ENTRY(type, name, k, i)                                                                                     \
    (type)(BIT(name, k, 0, i) ^ BIT(name, k, 1, i) ^ BIT(name, k, 2, i) ^ BIT(name, k, 3, i) ^ BIT(name, k, 4, i) ^ \
           BIT(name, k, 5, i) ^ BIT(name, k, 6, i) ^ BIT(name, k, 7, i))
#define ENTRIES4(type, name, k, i) \
    ENTRY(type, name, k, i), ENTRY(type, name, k, (i) + 1), ENTRY(type, name, k, (i) + 2), ENTRY(type, name, k, (i) + 3)
#define ENTRIES16(type, name, k, i)                                                                 \
    ENTRIES4(type, name, k, i), ENTRIES4(type, name, k, (i) + 4), ENTRIES4(type, name, k, (i) + 8), \
        ENTRIES4(type, name, k, (i) + 12)
#define ENTRIES64(type, name, k, i)                                                                      \
    ENTRIES16(type, name, k, i), ENTRIES16(type, name, k, (i) + 16), ENTRIES16(type, name, k, (i) + 32), \
        ENTRIES16(type, name, k, (i) + 48)
#define SLICE(type, name, k)                                                                      \
    {                                                                                             \
        ENTRIES64(type, name, k, 0), ENTRIES64(type, name, k, 64), ENTRIES64(type, name, k, 128), \
            ENTRIES64(type, name, k, 192)                                                         \
    }
#define TABLES(type, name)                                                                                            \
    {                                                                                                                 \
        SLICE(type, name, 0), SLICE(type, name, 1), SLICE(type, name, 2), SLICE(type, name, 3), SLICE(type, name, 4), \
            SLICE(type, name, 5), SLICE(type, name, 6), SLICE(type, name, 7)                                          \
    }

BITS(ieee, UINT64_C(0xedb88320));
BITS(castagnoli, UINT64_C(0x82f63b78));
BITS(nvme, UINT64_C(0x9a6c9329ac4bc9b5));

static const uint32_t ieee_tables[8][256] = TABLES(uint32_t, ieee);
static const uint32_t castagnoli_tables[8][256] = TABLES(uint32_t, castagnoli);
static const uint64_t nvme_tables[8][256] = TABLES(uint64_t, nvme);

static uint64_t load_little_endian(const unsigned char *p) {
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 | (uint64_t)p[4] << 32 |
           (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
}

/* ---- by tables: the register, without inversions ---- */

static uint32_t tables_32(const uint32_t tables[8][256], uint32_t crc, const void *data, size_t n) {
    const unsigned char *p = data;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t v = load_little_endian(p) ^ crc;
        crc = tables[7][v & 255] ^ tables[6][v >> 8 & 255] ^ tables[5][v >> 16 & 255] ^ tables[4][v >> 24 & 255] ^
              tables[3][v >> 32 & 255] ^ tables[2][v >> 40 & 255] ^ tables[1][v >> 48 & 255] ^ tables[0][v >> 56];
    }
    for (; n; p++, n--)
        crc = crc >> 8 ^ tables[0][(crc ^ *p) & 255];
    return crc;
}

static uint64_t tables_64(uint64_t crc, const void *data, size_t n) {
    const unsigned char *p = data;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t v = load_little_endian(p) ^ crc;
        crc = nvme_tables[7][v & 255] ^ nvme_tables[6][v >> 8 & 255] ^ nvme_tables[5][v >> 16 & 255] ^
              nvme_tables[4][v >> 24 & 255] ^ nvme_tables[3][v >> 32 & 255] ^ nvme_tables[2][v >> 40 & 255] ^
              nvme_tables[1][v >> 48 & 255] ^ nvme_tables[0][v >> 56];
    }
    for (; n; p++, n--)
        crc = crc >> 8 ^ nvme_tables[0][(crc ^ *p) & 255];
    return crc;
}

/* ---- long inputs folded first ---- */

static const struct crc_fold ieee_fold = {{0x653d982200000000, 0xcad38e8f00000000},
                                          {0x65673b4600000000, 0x9ba54c6f00000000}};
static const struct crc_fold castagnoli_fold = {{0x1c19243b00000000, 0x75bba45b00000000},
                                                {0x3743f7bd00000000, 0x3171d43000000000}};
static const struct crc_fold nvme_fold = {{0x0c32cdb31e18a84a, 0x62242240ace5045a},
                                          {0xeadc41fd2ba3d420, 0x21e9761e252621ac}};

static uint32_t update_32(const uint32_t tables[8][256], const struct crc_fold *fold, uint32_t crc, struct bytes data) {
    unsigned char folded[CRC_FOLD_SIZE];
    crc = ~crc;
    if (crc_fold(fold, crc, &data, folded))
        crc = tables_32(tables, 0, folded, sizeof folded);
    return ~tables_32(tables, crc, data.p, data.n);
}

uint32_t crc_32(uint32_t crc, struct bytes data) {
    return update_32(ieee_tables, &ieee_fold, crc, data);
}

uint32_t crc_32c(uint32_t crc, struct bytes data) {
    return update_32(castagnoli_tables, &castagnoli_fold, crc, data);
}

uint64_t crc_64nvme(uint64_t crc, struct bytes data) {
    unsigned char folded[CRC_FOLD_SIZE];
    crc = ~crc;
    if (crc_fold(&nvme_fold, crc, &data, folded))
        crc = tables_64(0, folded, sizeof folded);
    return ~tables_64(crc, data.p, data.n);
}
