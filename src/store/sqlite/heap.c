/* heap.c - the pairing heap of Fredman, Sedgewick, Sleator and Tarjan. */
#include "heap.h"

static struct heap_link *meld(const struct heap *heap, struct heap_link *a, struct heap_link *b) {
    if (!a)
        return b;
    if (!b)
        return a;
    if (heap->before(b, a)) {
        struct heap_link *swap = a;
        a = b;
        b = swap;
    }
    b->next = a->child;
    if (a->child)
        a->child->prev = b;
    b->prev = a;
    a->child = b;
    return a;
}

/* Siblings are melded in pairs from left to right, then the pairs from right to left. */
static struct heap_link *meld_siblings(const struct heap *heap, struct heap_link *first) {
    struct heap_link *pairs = NULL;
    while (first) {
        struct heap_link *a = first, *b = a->next;
        first = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b)
            b->next = b->prev = NULL;
        struct heap_link *pair = meld(heap, a, b);
        pair->next = pairs;
        pairs = pair;
    }
    struct heap_link *all = NULL;
    while (pairs) {
        struct heap_link *pair = pairs;
        pairs = pair->next;
        pair->next = pair->prev = NULL;
        all = meld(heap, all, pair);
    }
    return all;
}

void heap_push(struct heap *heap, struct heap_link *entry) {
    *entry = (struct heap_link){0};
    heap->root = meld(heap, heap->root, entry);
}

struct heap_link *heap_pop(struct heap *heap) {
    struct heap_link *top = heap->root;
    if (!top)
        return NULL;
    heap->root = meld_siblings(heap, top->child);
    *top = (struct heap_link){0};
    return top;
}

void heap_remove(struct heap *heap, struct heap_link *entry) {
    if (entry == heap->root) {
        heap_pop(heap);
        return;
    }
    if (entry->prev->child == entry)
        entry->prev->child = entry->next;
    else
        entry->prev->next = entry->next;
    if (entry->next)
        entry->next->prev = entry->prev;
    struct heap_link *rest = meld_siblings(heap, entry->child);
    *entry = (struct heap_link){0};
    heap->root = meld(heap, heap->root, rest);
}
