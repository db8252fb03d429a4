/* crc_fold.h - most of a long input to a CRC, folded into 16 bytes that have the same CRC, where the processor can
 * multiply polynomials: some twenty times as fast as tables. Any thread. */
#pragma once

#include "bytes.h"

#include <stdbool.h>
#include <stdint.h>

#define CRC_FOLD_SIZE 16
#define CRC_FOLD_MIN 128 /* bytes; for fewer it does not pay */

/* x^575, x^511, x^191 and x^127 modulo the polynomial, reflected: bit 63 is x^0. */
struct crc_fold {
    uint64_t by_64_bytes[2], by_16_bytes[2];
};

/* The rest, from *data on, follows the 16 bytes: the register (reflected, without inversions) after these, begun with
 * 0, and then the rest is the one after all of the data, begun with `crc`. False, and nothing was done: this processor
 * cannot, or there are too few bytes. */
bool crc_fold(const struct crc_fold *constants, uint64_t crc, struct bytes *data, unsigned char folded[CRC_FOLD_SIZE]);
