/* packing.h - the compact forms in which pages, rule keys and rules lie in the file.
 *
 * Items. Byte 0 is the version (1), byte 1 says what the items have (1: generations, 2: inputs). Then for each item:
 * how many bytes its child key shares with the one before it, the rest of the child key with its length, and, as byte 1
 * says, generation and input with their lengths. All numbers are LEB128 varints. Child keys of a listing come sorted,
 * so most of each is shared with its neighbour.
 *
 * Rule keys: their number, then each with its length. Rules: a byte for the strategy and max_runs, each. */
#pragma once

#include "store.h"

int packing_add_keys(struct buf *buf, const struct bytes *keys, size_t n);
/* How many there are, or -EBADMSG. `keys` has room for STORE_RULES_MAX and points into `packed` afterwards. */
int packing_read_keys(struct bytes packed, struct bytes *keys);

int packing_add_rules(struct buf *buf, const struct store_rule *rules, size_t n);
int packing_read_rules(struct bytes packed, struct store_rule *rules); /* likewise */

/* `which` are the indexes in `items` of the ones to pack, ascending. */
int packing_add_items(struct buf *buf, const struct store_item *items, const uint16_t *which, size_t n);

struct packing_reader {
    const unsigned char *at, *end;
    unsigned char has;
    size_t key_n;
    char key[STORE_NAME_MAX];
};
int packing_reader_init(struct packing_reader *reader, struct bytes packed);
/* The next item: child_key points into the reader until the next call, the rest into the packed bytes. -EBADMSG when
 * the bytes are damaged or end. */
int packing_next(struct packing_reader *reader, struct store_item *ret_item);
bool packing_at_end(const struct packing_reader *reader);
