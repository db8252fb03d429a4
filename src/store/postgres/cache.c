/* cache.c - child keys, generations and inputs of the pages used last: a worker claims a page piece by piece, and need
 * not fetch all of it for each. The oldest entry gives way. */
#include "postgres_store.h"

#include "cleanup.h"

#define ENTRIES 32
#define ENTRY_MAX ((size_t)512 * 1024)

struct page_cache {
    struct entry {
        int64_t page; /* 0: free */
        char *data;   /* keys, then rest */
        size_t keys_n, rest_n;
    } entries[ENTRIES];
    size_t next;
};

bool cache_get(const struct page_cache *cache, int64_t page, struct cached *ret_cached) {
    for (size_t i = 0; cache && i < ENTRIES; i++) {
        const struct entry *entry = &cache->entries[i];
        if (entry->page != page)
            continue;
        *ret_cached =
            (struct cached){bytes_of(entry->data, entry->keys_n), bytes_of(entry->data + entry->keys_n, entry->rest_n)};
        return true;
    }
    return false;
}

void cache_put(struct page_cache **cache, int64_t page, struct bytes keys, struct bytes rest) {
    struct cached there;
    size_t size = keys.n + rest.n;
    /* Empty: there is nothing to keep, or the server left it out as it was here, and meanwhile it gave way. */
    if (size == 0 || size > ENTRY_MAX || cache_get(*cache, page, &there))
        return;
    if (!*cache)
        *cache = mem_zalloc(sizeof **cache);
    char *data = *cache ? mem_alloc(size + 1) : NULL;
    if (!data)
        return;
    if (keys.n)
        memcpy(data, keys.p, keys.n);
    if (rest.n)
        memcpy(data + keys.n, rest.p, rest.n);
    struct entry *entry = &(*cache)->entries[(*cache)->next];
    (*cache)->next = ((*cache)->next + 1) % ENTRIES;
    mem_free(entry->data);
    *entry = (struct entry){page, data, keys.n, rest.n};
}

void cache_ids(const struct page_cache *cache, struct args *args) {
    args_array(args, ARGS_INTS);
    for (size_t i = 0; cache && i < ENTRIES; i++)
        if (cache->entries[i].page)
            args_array_int(args, cache->entries[i].page);
    args_array_end(args);
}

void cache_free(struct page_cache *cache) {
    for (size_t i = 0; cache && i < ENTRIES; i++)
        mem_free(cache->entries[i].data);
    mem_free(cache);
}
