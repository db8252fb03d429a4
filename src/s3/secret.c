/* secret.c - anonymous mappings marked MADV_DONTDUMP. */
#include "secret.h"

#include <errno.h>
#include <sys/mman.h>

#define PAGE ((size_t)4096)

int secret_reserve(struct secret *secret, size_t more) {
    size_t need;
    if (__builtin_add_overflow(secret->n, more, &need))
        return -ENOMEM;
    if (need <= secret->cap)
        return 0;
    if (need < secret->cap * 2) /* cap is a mapping's size, so twice of it fits */
        need = secret->cap * 2;
    if (__builtin_add_overflow(need, PAGE - 1, &need))
        return -ENOMEM;
    need -= need % PAGE;
    void *p;
    if (secret->p) {
        p = mremap(secret->p, secret->cap, need, MREMAP_MAYMOVE); /* moves the pages, flags and all: no copy stays */
        if (p == MAP_FAILED)
            return -ENOMEM;
    } else {
        p = mmap(NULL, need, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            return -ENOMEM;
        (void)madvise(p, need,
                      MADV_DONTDUMP); /* refused by no kernel for such pages; and then wiping is what is left */
    }
    secret->p = p;
    secret->cap = need;
    return 0;
}

int secret_add(struct secret *secret, struct bytes data) {
    int r = secret_reserve(secret, data.n);
    if (r < 0)
        return r;
    if (data.n)
        memcpy(secret->p + secret->n, data.p, data.n);
    secret->n += data.n;
    return 0;
}

void secret_free(struct secret *secret) {
    if (secret->p) {
        explicit_bzero(secret->p, secret->cap);
        munmap(secret->p, secret->cap);
    }
    *secret = (struct secret){0};
}
