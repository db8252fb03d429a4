/* map.c - linear probing with backward-shift deletion: no tombstones, so lookups stay short. */
#include "map.h"

#include "mem.h"

#include <errno.h>

void map_free(struct map *map) {
    for (size_t i = 0; i < map->cap; i++)
        mem_free(map->entries[i].key);
    mem_free(map->entries);
    *map = (struct map){0};
}

static size_t find(const struct map *map, struct bytes key, uint64_t hash, bool *ret_found) {
    size_t mask = map->cap - 1, i = hash & mask;
    while (map->entries[i].key) {
        const struct map_entry *entry = &map->entries[i];
        if (entry->hash == hash && bytes_equal(bytes_of(entry->key, entry->key_n), key)) {
            *ret_found = true;
            return i;
        }
        i = (i + 1) & mask;
    }
    *ret_found = false;
    return i;
}

void *map_get(const struct map *map, struct bytes key) {
    if (map->count == 0)
        return NULL;
    bool found;
    size_t i = find(map, key, hash64(&map->hash_key, key), &found);
    return found ? map->entries[i].value : NULL;
}

static int grow(struct map *map) {
    if (map->cap == 0)
        hash_key_random(&map->hash_key);
    size_t cap = map->cap ? map->cap * 2 : 16;
    struct map_entry *entries = mem_calloc(cap, sizeof *entries);
    if (!entries)
        return -ENOMEM;
    for (size_t i = 0; i < map->cap; i++) {
        if (!map->entries[i].key)
            continue;
        size_t j = map->entries[i].hash & (cap - 1);
        while (entries[j].key)
            j = (j + 1) & (cap - 1);
        entries[j] = map->entries[i];
    }
    mem_free(map->entries);
    map->entries = entries;
    map->cap = cap;
    return 0;
}

int map_put(struct map *map, struct bytes key, void *value) {
    if (map->count * 10 >= map->cap * 7) {
        int r = grow(map);
        if (r < 0)
            return r;
    }
    uint64_t hash = hash64(&map->hash_key, key);
    bool found;
    size_t i = find(map, key, hash, &found);
    if (!found) {
        char *copy = mem_memdup(key.p, key.n);
        if (!copy)
            return -ENOMEM;
        map->entries[i] = (struct map_entry){.key = copy, .key_n = key.n, .hash = hash};
        map->count++;
    }
    map->entries[i].value = value;
    return 0;
}

void *map_remove(struct map *map, struct bytes key) {
    if (map->count == 0)
        return NULL;
    bool found;
    size_t mask = map->cap - 1, hole = find(map, key, hash64(&map->hash_key, key), &found);
    if (!found)
        return NULL;
    void *value = map->entries[hole].value;
    mem_free(map->entries[hole].key);
    for (size_t i = (hole + 1) & mask; map->entries[i].key; i = (i + 1) & mask) {
        size_t home = map->entries[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            map->entries[hole] = map->entries[i];
            hole = i;
        }
    }
    map->entries[hole] = (struct map_entry){0};
    map->count--;
    return value;
}

bool map_next(const struct map *map, size_t *at, struct bytes *ret_key, void **ret_value) {
    for (; *at < map->cap; (*at)++) {
        const struct map_entry *entry = &map->entries[*at];
        if (!entry->key)
            continue;
        *ret_key = bytes_of(entry->key, entry->key_n);
        *ret_value = entry->value;
        (*at)++;
        return true;
    }
    return false;
}
