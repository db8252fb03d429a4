/* packing.h - the compact forms in which pages, rule keys, rules and ended attempts lie in the file.
 *
 * Items. Byte 0 is the version (1), byte 1 says what the items have (1: generations, 2: inputs). Then for each item:
 * how many bytes its child key shares with the one before it, the rest of the child key with its length, and, as byte 1
 * says, generation and input with their lengths. All numbers are LEB128 varints. Child keys of a listing come sorted,
 * so most of each is shared with its neighbour.
 *
 * Rule keys: their number, then each with its length. Rules: a byte for the strategy and max_runs, each, and of a
 * RATE_LIMIT rule the period.
 *
 * Records of ended attempts. Byte 0 is the version (1). Then for each a byte: its outcome in bits 0-2, and whether
 * there are, in this order, its index when it is not the last one's and 1 (bit 7), its number when that is not 1 (bit
 * 3), always the duration, an error (bit 4: its length and 1, or 0 when it is the one before's), a result (bit 5), what
 * the page's row would say (bit 6: lane, created, parent's page and index, priority, child key, generation, input,
 * metadata). */
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

/* What a record says of its run when the page's row may be gone. */
struct packing_own {
    int64_t lane, created_utc_us, parent_page;
    uint32_t parent_index, priority;
    struct bytes child_key, generation, input, metadata;
};
struct packing_record {
    uint32_t index, attempt;
    enum store_outcome outcome;
    int64_t duration_us;
    struct bytes error, result;
    const struct packing_own *own; /* NULL: none */
};
/* To begin with an empty buffer; `before` is the record that was added last, NULL for the first. */
int packing_add_record(struct buf *buf, const struct packing_record *before, const struct packing_record *record);

struct packing_records {
    const unsigned char *at, *end;
    struct packing_record last;
    struct packing_own own;
};
int packing_records_init(struct packing_records *records, struct bytes packed);
/* 1 and the next record, which points into the packed bytes, its `own` into `records` until the next call; 0 at the
 * end; -EBADMSG. */
int packing_next_record(struct packing_records *records, struct packing_record *ret_record);
