/* cel_arena.c - chunks that grow, cut from the front. */
#include "cel_arena.h"

#include "mem.h"

#define ALIGNMENT ((size_t)16)
#define FIRST_CHUNK ((size_t)2048)
#define LARGEST_CHUNK ((size_t)256 << 10)

struct cel_chunk {
    struct cel_chunk *next;
    size_t n;
};

static size_t round_up(size_t n) {
    return (n + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
}

void *cel_arena_alloc(struct cel_arena *arena, size_t n) {
    if (n > SIZE_MAX / 2)
        return NULL;
    n = round_up(n ? n : 1);
    if (arena->max && n > arena->max - arena->used)
        return NULL;
    if ((size_t)(arena->end - arena->at) < n) {
        size_t head = round_up(sizeof(struct cel_chunk));
        size_t room = arena->chunks ? arena->chunks->n * 2 : FIRST_CHUNK;
        if (room > LARGEST_CHUNK)
            room = LARGEST_CHUNK;
        if (room < n)
            room = n;
        struct cel_chunk *chunk = mem_alloc(head + room);
        if (!chunk)
            return NULL;
        *chunk = (struct cel_chunk){arena->chunks, room};
        arena->chunks = chunk;
        arena->at = (char *)chunk + head;
        arena->end = arena->at + room;
    }
    void *at = arena->at;
    arena->at += n;
    arena->used += n;
    return at;
}

void cel_arena_shrink(struct cel_arena *arena, void *newest, size_t n, size_t less) {
    n = round_up(n ? n : 1);
    less = round_up(less ? less : 1);
    if ((char *)newest + n != arena->at || less >= n)
        return;
    arena->at -= n - less;
    arena->used -= n - less;
}

void cel_arena_free(struct cel_arena *arena) {
    while (arena->chunks) {
        struct cel_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        mem_free(chunk);
    }
    *arena = (struct cel_arena){.max = arena->max};
}
