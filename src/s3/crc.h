/* crc.h - the three CRCs that S3 knows, eight bytes a step by tables, and long inputs much faster where the
 * processor multiplies polynomials.
 *
 * All are the reflected kind, start from all ones and end inverted; the functions hide that, so that a running value
 * starts with 0 and crc(crc(0, a), b) == crc(0, ab). CRC-32 is ISO 3309's, CRC-32C is Castagnoli's (RFC 3720, appendix
 * B.4), CRC-64/NVME is that of the NVM Express command set specification. Any thread. */
#pragma once

#include "bytes.h"

uint32_t crc_32(uint32_t crc, struct bytes data);
uint32_t crc_32c(uint32_t crc, struct bytes data);
uint64_t crc_64nvme(uint64_t crc, struct bytes data);
