/* Checksums that threads compute: of many bodies at once, in pieces of all sizes, with threads and without any that has
 * time, and bodies that are given up in the midst. */
#include "hashers.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#define BODIES 12
#define BODY_BYTES ((size_t)3 * 1024 * 1024 + 12345)

static char body[BODY_BYTES];

static void fill(unsigned seed) {
    uint32_t x = seed * 2654435761u + 1;
    for (size_t i = 0; i < sizeof body; i++) {
        x = x * 1664525u + 1013904223u;
        body[i] = (char)(x >> 24);
    }
}

struct digest {
    unsigned char bytes[CHECKSUM_SIZE_MAX];
    size_t n;
};

static struct digest digest_of(struct checksum *sum) {
    struct digest digest;
    assert_int_equal(checksum_end(sum, digest.bytes, &digest.n), 0);
    return digest;
}

static void compute_side_by_side(unsigned threads, enum checksum_kind kind, size_t piece_n) {
    struct hashers *hashers;
    struct checksum *sums[BODIES];
    struct hashing *hashings[BODIES];
    assert_int_equal(hashers_new(threads, &hashers), 0);
    for (size_t i = 0; i < BODIES; i++) {
        assert_int_equal(checksum_new(&sums[i]), 0);
        assert_int_equal(checksum_begin(sums[i], kind), 0);
        assert_int_equal(hashing_new(hashers, sums[i], &hashings[i]), 0);
    }
    /* Each body is another end of the same bytes. */
    for (size_t at = 0; at < BODY_BYTES; at += piece_n)
        for (size_t i = 0; i < BODIES; i++) {
            size_t n = BODY_BYTES - i - at < piece_n ? BODY_BYTES - i - at : piece_n;
            if (at < BODY_BYTES - i)
                assert_int_equal(hashing_add(hashings[i], bytes_of(body + i + at, n)), 0);
        }
    struct checksum *plain;
    assert_int_equal(checksum_new(&plain), 0);
    for (size_t i = 0; i < BODIES; i++) {
        assert_int_equal(hashing_end(hashings[i]), 0);
        hashing_free(hashings[i]);
        assert_int_equal(checksum_begin(plain, kind), 0);
        assert_int_equal(checksum_update(plain, bytes_of(body + i, BODY_BYTES - i)), 0);
        struct digest want = digest_of(plain), got = digest_of(sums[i]);
        assert_int_equal(got.n, want.n);
        assert_memory_equal(got.bytes, want.bytes, want.n);
        checksum_free(sums[i]);
    }
    checksum_free(plain);
    hashers_free(hashers);
}

static void test_many_bodies(void **state) {
    fill(1);
    compute_side_by_side(2, CHECKSUM_MD5, 16 * 1024);
    compute_side_by_side(3, CHECKSUM_SHA256, 100 * 1000);
    compute_side_by_side(1, CHECKSUM_CRC64NVME, 7777);
}

/* What one thread works on at once are checksums of all kinds, and pieces of other lengths. */
static void test_mixed(void **state) {
    static const enum checksum_kind kinds[] = {CHECKSUM_MD5, CHECKSUM_SHA256, CHECKSUM_MD5, CHECKSUM_CRC32,
                                               CHECKSUM_MD5, CHECKSUM_SHA1,   CHECKSUM_MD5, CHECKSUM_MD5};
    enum { N = sizeof kinds / sizeof *kinds };
    struct hashers *hashers;
    struct checksum *sums[N], *plain;
    struct hashing *hashings[N];
    fill(4);
    assert_int_equal(hashers_new(1, &hashers), 0);
    assert_int_equal(checksum_new(&plain), 0);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(checksum_new(&sums[i]), 0);
        assert_int_equal(checksum_begin(sums[i], kinds[i]), 0);
        assert_int_equal(hashing_new(hashers, sums[i], &hashings[i]), 0);
    }
    for (size_t turn = 0; turn < 100; turn++)
        for (size_t i = 0; i < N; i++)
            assert_int_equal(hashing_add(hashings[i], bytes_of(body + turn * 4001 * i, 4001 * i)), 0);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(hashing_end(hashings[i]), 0);
        hashing_free(hashings[i]);
        assert_int_equal(checksum_begin(plain, kinds[i]), 0);
        assert_int_equal(checksum_update(plain, bytes_of(body, 100 * 4001 * i)), 0);
        struct digest want = digest_of(plain), got = digest_of(sums[i]);
        assert_int_equal(got.n, want.n);
        assert_memory_equal(got.bytes, want.bytes, want.n);
        checksum_free(sums[i]);
    }
    checksum_free(plain);
    hashers_free(hashers);
}

/* None is there to take anything over: the caller computes all of it. */
static void test_without_a_thread(void **state) {
    fill(2);
    compute_side_by_side(0, CHECKSUM_MD5, 16 * 1024);
}

static void test_nothing_was_added(void **state) {
    struct hashers *hashers;
    struct checksum *sum, *plain;
    struct hashing *hashing;
    assert_int_equal(hashers_new(2, &hashers), 0);
    assert_int_equal(checksum_new(&sum), 0);
    assert_int_equal(checksum_new(&plain), 0);
    assert_int_equal(checksum_begin(sum, CHECKSUM_MD5), 0);
    assert_int_equal(checksum_begin(plain, CHECKSUM_MD5), 0);
    assert_int_equal(hashing_new(hashers, sum, &hashing), 0);
    assert_int_equal(hashing_end(hashing), 0);
    hashing_free(hashing);
    struct digest want = digest_of(plain), got = digest_of(sum);
    assert_memory_equal(got.bytes, want.bytes, want.n);
    checksum_free(plain);
    checksum_free(sum);
    hashers_free(hashers);
}

/* The checksum may be used for another body at once: no thread still works on it. */
static void test_given_up(void **state) {
    fill(3);
    struct hashers *hashers;
    struct checksum *sum, *plain;
    assert_int_equal(hashers_new(2, &hashers), 0);
    assert_int_equal(checksum_new(&sum), 0);
    assert_int_equal(checksum_new(&plain), 0);
    assert_int_equal(checksum_begin(plain, CHECKSUM_MD5), 0);
    assert_int_equal(checksum_update(plain, bytes_of(body, 1000)), 0);
    struct digest want = digest_of(plain);
    for (size_t i = 0; i < 50; i++) {
        struct hashing *hashing;
        assert_int_equal(checksum_begin(sum, CHECKSUM_MD5), 0);
        assert_int_equal(hashing_new(hashers, sum, &hashing), 0);
        for (size_t at = 0; at < i * 10000; at += 20000)
            assert_int_equal(hashing_add(hashing, bytes_of(body + at, 20000)), 0);
        hashing_free(hashing);
        assert_int_equal(checksum_begin(sum, CHECKSUM_MD5), 0);
        assert_int_equal(checksum_update(sum, bytes_of(body, 1000)), 0);
        struct digest got = digest_of(sum);
        assert_memory_equal(got.bytes, want.bytes, want.n);
    }
    checksum_free(plain);
    checksum_free(sum);
    hashers_free(hashers);
}

static void test_out_of_memory(void **state) {
    struct hashers *hashers;
    struct checksum *sum;
    mem_fail_at(1, 0);
    assert_int_equal(hashers_new(1, &hashers), -ENOMEM);
    mem_fail_at(0, 0);
    assert_int_equal(hashers_new(1, &hashers), 0);
    assert_int_equal(checksum_new(&sum), 0);
    assert_int_equal(checksum_begin(sum, CHECKSUM_MD5), 0);
    for (unsigned n = 1; n <= 2; n++) {
        struct hashing *hashing = NULL;
        mem_fail_at(n, 0);
        int r = hashing_new(hashers, sum, &hashing);
        if (r == 0)
            r = hashing_add(hashing, bytes_of(body, 1000));
        mem_fail_at(0, 0);
        assert_int_equal(r, -ENOMEM);
        hashing_free(hashing);
    }
    checksum_free(sum);
    hashers_free(hashers);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_bodies),       cmocka_unit_test(test_without_a_thread),
        cmocka_unit_test(test_nothing_was_added), cmocka_unit_test(test_given_up),
        cmocka_unit_test(test_out_of_memory),     cmocka_unit_test(test_mixed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
