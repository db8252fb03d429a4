/* list.h - an intrusive doubly linked ring. The holder embeds `struct list` and gets back with LIST_ENTRY.
 *
 * A head or an entry that is in no list points at itself (list_init). No function allocates. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

#define LIST_ENTRY(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))
#define LIST_EACH(link, head) for (struct list *link = (head)->next; link != (head); link = link->next)
/* The current entry may be removed inside the loop. */
#define LIST_EACH_SAFE(link, following, head)                                       \
    for (struct list *link = (head)->next, *following = link->next; link != (head); \
         link = following, following = link->next)

static inline void list_init(struct list *list) {
    list->next = list->prev = list;
}

static inline bool list_empty(const struct list *head) {
    return head->next == head;
}

static inline void list_insert_before(struct list *at, struct list *entry) {
    entry->prev = at->prev;
    entry->next = at;
    at->prev->next = entry;
    at->prev = entry;
}

static inline void list_push_back(struct list *head, struct list *entry) {
    list_insert_before(head, entry);
}

static inline void list_push_front(struct list *head, struct list *entry) {
    list_insert_before(head->next, entry);
}

/* Leaves the entry pointing at itself, so that removing twice is harmless and list_empty(entry) tells. */
static inline void list_remove(struct list *entry) {
    entry->prev->next = entry->next;
    entry->next->prev = entry->prev;
    list_init(entry);
}

/* NULL when empty. */
static inline struct list *list_pop_front(struct list *head) {
    struct list *entry = head->next;
    if (entry == head)
        return NULL;
    list_remove(entry);
    return entry;
}

static inline void list_move_back(struct list *head, struct list *entry) {
    list_remove(entry);
    list_push_back(head, entry);
}

/* Moves all of `from` to the end of `to`; `from` is then empty. */
static inline void list_splice_back(struct list *to, struct list *from) {
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}
