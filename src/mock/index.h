/* index.h - keys in byte order: a B+ tree of borrowed entries, made for ordered listing with inserts and deletes
 * between.
 *
 * The entry is embedded at the start of whatever it stands for; the tree neither copies nor frees it. All-zero is a
 * valid empty index. Not thread-safe. */
#pragma once

#include "bytes.h"

struct index_entry {
    const char *key; /* stays the same, and where it is, while the entry is in the index */
    uint32_t key_n;
};

struct index_node;
struct index {
    struct index_node *root;
    uint64_t count;
};

struct index_cursor { /* valid until the next insert or removal */
    const struct index_node *leaf;
    uint32_t at;
};

static inline struct bytes index_key(const struct index_entry *entry) {
    return (struct bytes){entry->key, entry->key_n};
}

/* -EEXIST, or -ENOMEM with the index as it was. */
int index_insert(struct index *index, struct index_entry *entry);
struct index_entry *index_find(const struct index *index, struct bytes key); /* NULL when absent */
struct index_entry *index_remove(struct index *index, struct bytes key);     /* NULL when absent */

/* Places the cursor at the first key that is >= `key` (> `key` when `after`). */
void index_seek(const struct index *index, struct bytes key, bool after, struct index_cursor *ret_cursor);
struct index_entry *
index_next(struct index_cursor *cursor); /* the entry under the cursor, then moves on; NULL: the end */

/* Frees the tree, handing each entry to `free_entry` (may be NULL) first; empty afterwards. */
void index_clear(struct index *index, void (*free_entry)(void *arg, struct index_entry *entry), void *arg);
