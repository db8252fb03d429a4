/* hashers.h - a few threads that compute checksums of large bodies, so that the loop can go on with moving bytes: an
 * MD5 costs more than all else that is done with a body. Of several bodies at once it costs less.
 *
 * Nothing depends on a thread having time: what none of them has begun when it is needed, the caller computes itself.
 * Thread: the loop's for all functions. */
#pragma once

#include "bytes.h"
#include "checksum.h"

struct hashers;
struct hashing; /* one body */

/* -ENOMEM, or why no thread can be started. */
int hashers_new(unsigned threads, struct hashers **ret_hashers);
void hashers_free(struct hashers *hashers); /* no hashing may be left */

/* From now on `sum` (borrowed, begun) is only to be used through this, until its end. -ENOMEM. */
int hashing_new(struct hashers *hashers, struct checksum *sum, struct hashing **ret_hashing);
/* Copies the piece. With pieces up to 32 KiB it holds at most HASHING_BYTES_MAX. -ENOMEM, or what checksum_update
 * failed with. */
int hashing_add(struct hashing *hashing, struct bytes piece);
#define HASHING_BYTES_MAX (512 * 1024)
/* When it returns, all that was added is in `sum`; may take twice as long as HASHING_BYTES_MAX do. What checksum_update
 * failed with. */
int hashing_end(struct hashing *hashing);
/* Also before its end; then what is in `sum` is of no use. */
void hashing_free(struct hashing *hashing);
