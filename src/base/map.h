/* map.h - a hash map from bytes to a pointer (open addressing, keyed hash).
 *
 * Keys are copied in; values are borrowed and never freed by the map. Not thread-safe. All-zero is a valid empty map.
 */
#pragma once

#include "bytes.h"
#include "hash.h"

struct map_entry {
    char *key; /* owned by the map; NULL: the place is free */
    size_t key_n;
    uint64_t hash;
    void *value;
};

struct map {
    struct map_entry *entries;
    size_t cap, count;
    struct hash_key hash_key;
};

void map_free(struct map *map);                              /* empty again */
void *map_get(const struct map *map, struct bytes key);      /* NULL when absent */
int map_put(struct map *map, struct bytes key, void *value); /* replaces; value is not NULL; -ENOMEM */
void *map_remove(struct map *map, struct bytes key);         /* the value, NULL when absent */
/* Iteration in no particular order: start with *at = 0; false at the end. No put or remove meanwhile. */
bool map_next(const struct map *map, size_t *at, struct bytes *ret_key, void **ret_value);
