/* arena.h - memory of a claim's result: many small pieces, freed all at once, from any thread. */
#pragma once

#include "bytes.h"

struct arena;

/* NULL when memory runs out. */
struct arena *arena_new(void);
void arena_free(struct arena *arena); /* NULL is fine */
/* Uninitialised, aligned for any type; NULL when memory runs out. Lives as long as the arena. */
void *arena_alloc(struct arena *arena, size_t size);
/* A copy, not NUL-terminated. An empty view stays one. -ENOMEM. */
int arena_copy(struct arena *arena, struct bytes data, struct bytes *ret_copy);
