/* arena.c - chunks in a list; the newest is filled first. */
#include "arena.h"

#include "mem.h"

#include <errno.h>

#define CHUNK_FIRST ((size_t)4096)
#define CHUNK_MAX ((size_t)64 * 1024)
#define ALIGN ((size_t)16)

struct chunk {
    struct chunk *next;
    _Alignas(16) char data[];
};

struct arena {
    struct chunk *newest;
    char *at;
    size_t left;
    size_t chunk_size; /* of the next one */
};

struct arena *arena_new(void) {
    struct arena *arena = mem_zalloc(sizeof *arena);
    if (arena)
        arena->chunk_size = CHUNK_FIRST;
    return arena;
}

void arena_free(struct arena *arena) {
    if (!arena)
        return;
    for (struct chunk *chunk = arena->newest, *next; chunk; chunk = next) {
        next = chunk->next;
        mem_free(chunk);
    }
    mem_free(arena);
}

void *arena_alloc(struct arena *arena, size_t size) {
    size_t need;
    if (__builtin_add_overflow(size ? size : 1, ALIGN - 1, &need))
        return NULL;
    need &= ~(ALIGN - 1);
    if (need > arena->left) {
        size_t room = need > arena->chunk_size ? need : arena->chunk_size, total;
        if (__builtin_add_overflow(room, sizeof(struct chunk), &total))
            return NULL;
        struct chunk *chunk = mem_alloc(total);
        if (!chunk)
            return NULL;
        chunk->next = arena->newest;
        arena->newest = chunk;
        arena->at = chunk->data;
        arena->left = room;
        if (arena->chunk_size < CHUNK_MAX)
            arena->chunk_size *= 2;
    }
    void *piece = arena->at;
    arena->at += need;
    arena->left -= need;
    return piece;
}

int arena_copy(struct arena *arena, struct bytes data, struct bytes *ret_copy) {
    if (data.n == 0) {
        *ret_copy = BYTES_NONE;
        return 0;
    }
    char *copy = arena_alloc(arena, data.n);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, data.p, data.n);
    *ret_copy = bytes_of(copy, data.n);
    return 0;
}
