/* secret.h - memory for secrets: pages of their own that core dumps leave out, and that are wiped before they go. */
#pragma once

#include "bytes.h"

/* All-zero is a valid empty one. What is in it may move when it grows; the old place is not left behind. */
struct secret {
    char *p;
    size_t n, cap;
};

int secret_reserve(struct secret *secret, size_t more);   /* -ENOMEM */
int secret_add(struct secret *secret, struct bytes data); /* -ENOMEM; the content is then as before */
void secret_free(struct secret *secret);                  /* wipes, frees and makes it empty again */

static inline struct bytes secret_bytes(const struct secret *secret) {
    return (struct bytes){secret->p, secret->n};
}

static inline void cleanup_secret(struct secret *secret) {
    secret_free(secret);
}
#define _cleanup_secret_ __attribute__((cleanup(cleanup_secret)))
