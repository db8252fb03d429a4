/* cron_bits.h - what reading and firing share: sets of small numbers as bits, and the length of months. */
#pragma once

#include <stdint.h>

/* The bits from `low` to `high` (at most 63), every `step`-th. */
static inline uint64_t bits_between(unsigned low, unsigned high, unsigned step) {
    uint64_t bits = 0;
    for (unsigned i = low; i <= high; i += step)
        bits |= UINT64_C(1) << i;
    return bits;
}

/* The lowest set bit that is not below `from`; -1 when there is none. */
static inline int next_bit(uint64_t bits, int from) {
    bits = from > 63 ? 0 : bits >> from << from;
    return bits ? __builtin_ctzll(bits) : -1;
}

/* The most days that a month ever has. */
static inline int longest_month(int month) {
    return month == 2 ? 29 : month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}
