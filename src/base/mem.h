/* mem.h - memory, behind a seam so that tests can make any allocation fail.
 *
 * All of froe's own allocations go through these. They return NULL when memory runs out; callers return -ENOMEM and
 * leave everything as it was. Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

void *mem_alloc(size_t size);                /* uninitialised; size 0 gives a unique pointer */
void *mem_zalloc(size_t size);               /* zeroed */
void *mem_calloc(size_t count, size_t size); /* zeroed; NULL when count * size overflows */
void *mem_realloc(void *ptr, size_t size);   /* on failure `ptr` stays valid and owned by the caller */
void *mem_reallocarray(void *ptr, size_t count, size_t size);
char *mem_strdup(const char *text);
char *mem_memdup(const void *data, size_t size); /* a copy with a NUL after it */
void mem_free(void *ptr);                        /* NULL is fine */

/* Tests only. The n-th allocation from now (1 is the next) fails, and with `sticky` all after it too; 0 turns it off.
 * mem_fail_count() tells how many allocations were made since, while it was on (so: mem_fail_at(UINT64_MAX, 0) counts
 * without failing). Process-wide, so single-threaded tests only. */
void mem_fail_at(uint64_t n, int sticky);
uint64_t mem_fail_count(void);
