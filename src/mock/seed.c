/* seed.c - makes objects for benchmarks faster than any client could. */
#include "seed.h"

#include "mem.h"

#include <stdio.h>

static int make_body(struct mock *mock, uint64_t size, uint64_t variant, struct blob **ret_blob) {
    struct buf data = {0};
    struct rng rng;
    rng_seed(&rng, size * SEED_VARIANTS + variant);
    if (size > mock->objects.max_bytes)
        return -ENOSPC;
    int r = size < SIZE_MAX / 2 ? buf_reserve(&data, (size_t)size + sizeof(uint64_t)) : -ENOMEM;
    for (uint64_t at = 0; r == 0 && at < size; at += sizeof(uint64_t)) {
        uint64_t word = rng_next(&rng);
        memcpy(data.p + at, &word, sizeof(word));
    }
    if (r == 0)
        r = blob_new(&mock->objects, bytes_of(data.p, (size_t)size), ret_blob);
    buf_free(&data);
    return r;
}

static int find_or_make_bucket(struct mock *mock, const struct seed *seed, struct bucket **ret_bucket) {
    struct bucket *bucket = bucket_find(&mock->objects, seed->bucket);
    if (!bucket) {
        struct bytes region = seed->region.n ? seed->region : bytes_str(mock->region);
        int r = bucket_make(&mock->objects, seed->bucket, region, mock->now_utc_us, &bucket);
        if (r < 0)
            return r;
        bucket->stats = stats_bucket(&mock->stats, seed->bucket);
    }
    *ret_bucket = bucket;
    return 0;
}

static int put_all(struct mock *mock, const struct seed *seed, struct bucket *bucket, struct blob **variants,
                   uint64_t n_variants) {
    char key[OBJECT_KEY_MAX + 32];
    memcpy(key, seed->prefix.n ? seed->prefix.p : "", seed->prefix.n);
    for (uint64_t i = seed->start; i - seed->start < seed->count; i++) {
        int n = snprintf(key + seed->prefix.n, 24, "%08llu", (unsigned long long)i);
        struct blob *blob = blob_ref(variants[i % n_variants]);
        int r = object_put(&mock->objects, bucket, bytes_of(key, seed->prefix.n + (size_t)n), blob, NULL,
                           STORAGE_STANDARD, mock->now_utc_us, NULL);
        if (r < 0) {
            blob_unref(&mock->objects, blob);
            return r;
        }
    }
    return 0;
}

int seed_run(struct mock *mock, const struct seed *seed, struct err *err) {
    struct blob *variants[SEED_VARIANTS] = {NULL};
    uint64_t n_variants = seed->size > 1024 * 1024 ? 1 : SEED_VARIANTS;
    if (seed->count > SEED_COUNT_MAX || seed->start > SEED_COUNT_MAX)
        return err_set(err, -EINVAL, "count and start must not be over %d", SEED_COUNT_MAX);
    if (seed->prefix.n > OBJECT_KEY_MAX - 24)
        return err_set(err, -EINVAL, "the prefix is too long");
    struct bucket *bucket;
    int r = find_or_make_bucket(mock, seed, &bucket);
    if (r < 0)
        return err_set(err, r, "the bucket cannot be made: %s", err_errno_text(r));
    for (uint64_t i = 0; r == 0 && i < n_variants; i++)
        r = make_body(mock, seed->size, i, &variants[i]);
    if (r == 0)
        r = put_all(mock, seed, bucket, variants, n_variants);
    for (uint64_t i = 0; i < n_variants; i++)
        blob_unref(&mock->objects, variants[i]);
    return r < 0 ? err_set(err, r, "the objects do not fit: %s", err_errno_text(r)) : 0;
}
