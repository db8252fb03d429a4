/* memory.c - see memory.h. */
#include "memory.h"

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
