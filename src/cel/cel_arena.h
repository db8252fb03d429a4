/* cel_arena.h - memory that is given back all at once. */
#pragma once

#include "cel.h"

/* 16-byte aligned; NULL when memory ran out, or past arena->max (then arena->used + n > arena->max). */
void *cel_arena_alloc(struct cel_arena *arena, size_t n);

/* Gives back the end of the newest allocation: it had `n` bytes and now has `less`. */
void cel_arena_shrink(struct cel_arena *arena, void *newest, size_t n, size_t less);
