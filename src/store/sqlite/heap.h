/* heap.h - an intrusive priority queue (a pairing heap): push O(1), pop and remove O(log n) amortised.
 *
 * The holder embeds `struct heap_link` and gets back with LIST_ENTRY. Nothing allocates, so nothing can fail. An entry
 * is in one heap at most; an entry's place in the order must not change while it is in one. */
#pragma once

#include "list.h"

struct heap_link {
    struct heap_link *child, *next, *prev; /* prev of a first child: its parent */
};

struct heap {
    struct heap_link *root;
    bool (*before)(struct heap_link *a, struct heap_link *b);
};

static inline void heap_init(struct heap *heap, bool (*before)(struct heap_link *, struct heap_link *)) {
    *heap = (struct heap){.before = before};
}

static inline struct heap_link *heap_top(const struct heap *heap) {
    return heap->root; /* NULL: empty */
}

void heap_push(struct heap *heap, struct heap_link *entry);
void heap_remove(struct heap *heap, struct heap_link *entry); /* which must be in it */
struct heap_link *heap_pop(struct heap *heap);                /* NULL: empty */
