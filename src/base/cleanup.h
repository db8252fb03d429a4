/* cleanup.h - variables that clean up after themselves when they leave scope.
 *
 *     _cleanup_free_ char *name = mem_strdup("x");
 *     _cleanup_close_ int fd = open(...);
 *
 * TAKE_PTR and TAKE_FD hand the thing on and disarm the cleanup: `*ret_name = TAKE_PTR(name);` */
#pragma once

#include "mem.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define _cleanup_(function) __attribute__((cleanup(function)))

static inline void cleanup_free_ptr(void *ptr_to_ptr) {
    mem_free(*(void **)ptr_to_ptr);
}

static inline void cleanup_close_fd(int *fd) {
    if (*fd >= 0) {
        int saved = errno;
        close(*fd); /* never retried: on Linux the descriptor is gone even after EINTR */
        errno = saved;
    }
}

static inline void cleanup_fclose(FILE **file) {
    if (*file)
        fclose(*file);
}

#define _cleanup_free_ _cleanup_(cleanup_free_ptr)
#define _cleanup_close_ _cleanup_(cleanup_close_fd)
#define _cleanup_fclose_ _cleanup_(cleanup_fclose)

/* Declares `cleanup_<name>` for a pointer type with a destructor that accepts NULL. */
#define DEFINE_CLEANUP(type, destructor)                  \
    static inline void cleanup_##destructor(type **ptr) { \
        if (*ptr)                                         \
            destructor(*ptr);                             \
    }

#define TAKE_PTR(ptr)                   \
    ({                                  \
        __typeof__(ptr) taken_ = (ptr); \
        (ptr) = NULL;                   \
        taken_;                         \
    })

#define TAKE_FD(fd)        \
    ({                     \
        int taken_ = (fd); \
        (fd) = -1;         \
        taken_;            \
    })
