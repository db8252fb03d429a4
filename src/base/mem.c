/* mem.c - malloc and kin, with the fault counter for tests. */
#include "mem.h"

#include <stdatomic.h>
#include <string.h>

static _Atomic uint64_t fail_at;
static _Atomic uint64_t calls;
static _Atomic int fail_sticky;

void mem_fail_at(uint64_t n, int sticky) {
    atomic_store(&calls, 0);
    atomic_store(&fail_sticky, sticky);
    atomic_store(&fail_at, n);
}

uint64_t mem_fail_count(void) {
    return atomic_load(&calls);
}

static int must_fail(void) {
    uint64_t at = atomic_load_explicit(&fail_at, memory_order_relaxed);
    if (at == 0)
        return 0;
    uint64_t n = atomic_fetch_add(&calls, 1) + 1;
    return n == at || (n > at && atomic_load(&fail_sticky));
}

void *mem_alloc(size_t size) {
    return must_fail() ? NULL : malloc(size ? size : 1);
}

void *mem_zalloc(size_t size) {
    return must_fail() ? NULL : calloc(1, size ? size : 1);
}

void *mem_calloc(size_t count, size_t size) {
    size_t total;
    if (__builtin_mul_overflow(count, size, &total)) /* calloc checks too, but sanitizers end the program then */
        return NULL;
    return mem_zalloc(total);
}

void *mem_realloc(void *ptr, size_t size) {
    return must_fail() ? NULL : realloc(ptr, size ? size : 1);
}

void *mem_reallocarray(void *ptr, size_t count, size_t size) {
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        return NULL;
    return mem_realloc(ptr, total);
}

char *mem_memdup(const void *data, size_t size) {
    if (size == SIZE_MAX)
        return NULL;
    char *copy = mem_alloc(size + 1);
    if (!copy)
        return NULL;
    if (size)
        memcpy(copy, data, size);
    copy[size] = '\0';
    return copy;
}

char *mem_strdup(const char *text) {
    return mem_memdup(text, strlen(text));
}

void mem_free(void *ptr) {
    free(ptr);
}
