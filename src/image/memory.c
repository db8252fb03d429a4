/* memory.c - see memory.h. */
#include "memory.h"

#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

/* What sanitizers reserve is more than any limit, and counts. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNLIMITED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UNLIMITED 1
#endif
#endif

#define IN_GENERAL (UINT64_C(512) << 20)
#define A_CORE (UINT64_C(32) << 20) /* codecs begin some threads for each, whose stacks count as a whole */

static void set(rlim_t bytes) {
    struct rlimit limit;
#ifdef UNLIMITED
    bytes = RLIM_INFINITY;
#endif
    if (getrlimit(RLIMIT_DATA, &limit) < 0)
        return;
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max; /* RLIM_INFINITY is the largest number */
    setrlimit(RLIMIT_DATA, &limit);
}

#define KEPT (32 << 20)        /* of memory that is free at the end of the heap */
#define MAPPED_ALONE (8 << 20) /* an allocation of so much is given back when it is freed */

/* By itself the C library gives memory back image by image, some hundred pages, each of which costs as much to get anew
 * as compressing a few pixels; and it keeps a heap for each of libvips's threads, of which one works at a time. */
void image_memory_begin(void) {
#ifdef M_ARENA_MAX
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_TRIM_THRESHOLD, KEPT);
    mallopt(M_MMAP_THRESHOLD, MAPPED_ALONE);
#endif
}

void image_memory_limit(uint64_t bytes) {
    long cores = sysconf(_SC_NPROCESSORS_CONF);
    rlim_t all;
    if (__builtin_add_overflow(bytes, IN_GENERAL + A_CORE * (uint64_t)(cores > 0 ? cores : 1), &all))
        all = RLIM_INFINITY;
    set(all);
}

void image_memory_unlimit(void) {
    set(RLIM_INFINITY);
}

bool image_memory_is_bounded(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_DATA, &limit) == 0 && limit.rlim_max != RLIM_INFINITY;
}
