/* Hash, random numbers, map and list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hash.h"
#include "list.h"
#include "map.h"
#include "mem.h"
#include "rng.h"

#include <errno.h>
#include <stdio.h>

/* Key 00..0f, input 00, 01, ...: the vectors of the authors' reference implementation. The 64-bit one for 15 bytes is
 * the example in appendix A of the SipHash paper. */
static void test_siphash(void **state) {
    static const struct {
        size_t n;
        uint64_t h64, lo, hi;
    } vectors[] = {
        {0, UINT64_C(0x726fdb47dd0e0e31), UINT64_C(0xe6a825ba047f81a3), UINT64_C(0x930255c71472f66d)},
        {1, UINT64_C(0x74f839c593dc67fd), UINT64_C(0x44af996bd8c187da), UINT64_C(0x45fc229b11597634)},
        {7, UINT64_C(0xab0200f58b01d137), UINT64_C(0x53c1dbd8beebf1a1), UINT64_C(0x3982f01fa64ab8c0)},
        {8, UINT64_C(0x93f5f5799a932462), UINT64_C(0x61f55862baa9623b), UINT64_C(0xb49714f364e2830f)},
        {15, UINT64_C(0xa129ca6149be45e5), UINT64_C(0x11a8b03399e99354), UINT64_C(0xd9c3cf970fec087e)},
        {16, UINT64_C(0x3f2acc7f57c29bdb), UINT64_C(0xbb54b067caa4e26e), UINT64_C(0x77052385bf1533fd)},
        {63, UINT64_C(0x958a324ceb064572), UINT64_C(0x4a83502f77d15051), UINT64_C(0x7cbd3f979a063e50)},
    };
    const struct hash_key key = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    unsigned char data[64];
    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)i;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        struct bytes in = bytes_of(data, vectors[i].n);
        assert_int_equal(hash64(&key, in), vectors[i].h64);
        struct hash128 wide = hash128(&key, in);
        assert_int_equal(wide.lo, vectors[i].lo);
        assert_int_equal(wide.hi, vectors[i].hi);
    }
    assert_int_equal(hash64(&key, BYTES_NONE), vectors[0].h64);
    struct hash_key a, b;
    hash_key_random(&a);
    hash_key_random(&b);
    assert_true(a.k0 != b.k0 && a.k1 != b.k1);
}

static void test_rng(void **state) {
    struct rng rng, again;
    rng_seed(&rng, 42);
    /* xoshiro256** seeded with splitmix64(42), computed apart from this code */
    assert_int_equal(rng_next(&rng), UINT64_C(0x15780b2e0c2ec716));
    assert_int_equal(rng_next(&rng), UINT64_C(0x6104d9866d113a7e));
    assert_int_equal(rng_next(&rng), UINT64_C(0xae17533239e499a1));
    rng_seed(&again, 42);
    for (int i = 0; i < 3; i++)
        rng_next(&again);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(rng_next(&rng), rng_next(&again));
    rng_seed_system(&rng);
    rng_seed_system(&again);
    assert_true(rng_next(&rng) != rng_next(&again));

    rng_seed(&rng, 1);
    assert_int_equal(rng_below(&rng, 0), 0);
    int counts[7] = {0};
    double sum = 0;
    for (int i = 0; i < 70000; i++) {
        assert_int_equal(rng_below(&rng, 1), 0);
        counts[rng_below(&rng, 7)]++;
        double unit = rng_unit(&rng);
        assert_true(unit >= 0 && unit < 1);
        sum += unit;
    }
    for (int i = 0; i < 7; i++)
        assert_in_range(counts[i], 9500, 10500);
    assert_true(sum > 34500 && sum < 35500);
    int high = 0;
    for (int i = 0; i < 1000; i++) { /* a bound that a plain remainder would favour the lower half of */
        uint64_t value = rng_below(&rng, UINT64_C(3) << 62);
        assert_true(value < UINT64_C(3) << 62);
        high += value >= UINT64_C(1) << 63;
    }
    assert_in_range(high, 250, 420);
}

#define KEYS 512

static void test_map_against_model(void **state) {
    struct map map = {0};
    static char values[KEYS + 1];
    void *model[KEYS] = {0};
    size_t live = 0;
    struct rng rng;
    rng_seed(&rng, 99);
    for (int step = 0; step < 60000; step++) {
        size_t k = rng_below(&rng, KEYS);
        /* the empty key, and keys of several lengths with NULs in them */
        char key[16] = {0};
        size_t key_n = k == 0 ? 0 : 2 + k % 14;
        if (key_n)
            memcpy(key, &(uint16_t){(uint16_t)k}, 2);
        struct bytes name = bytes_of(key, key_n);
        assert_ptr_equal(map_get(&map, name), model[k]);
        /* waves, so that it grows and empties */
        if (rng_below(&rng, 100) < (step / 5000 % 2 ? 30U : 70U)) {
            void *value = &values[rng_below(&rng, KEYS)];
            live += model[k] == NULL;
            assert_int_equal(map_put(&map, name, value), 0);
            model[k] = value;
        } else {
            assert_ptr_equal(map_remove(&map, name), model[k]);
            live -= model[k] != NULL;
            model[k] = NULL;
        }
        assert_int_equal(map.count, live);
        assert_ptr_equal(map_get(&map, name), model[k]);
        if (step % 1000 == 0) {
            size_t at = 0, seen = 0;
            struct bytes found;
            void *value;
            while (map_next(&map, &at, &found, &value)) {
                assert_ptr_equal(map_get(&map, found), value);
                seen++;
            }
            assert_int_equal(seen, live);
        }
    }
    map_free(&map);
    assert_null(map_get(&map, BYTES("x")));
    assert_null(map_remove(&map, BYTES("x")));
    assert_int_equal(map_put(&map, BYTES("x"), values), 0);
    map_free(&map);
    map_free(&map);
}

static void test_map_copies_keys(void **state) {
    struct map map = {0};
    char key[] = "key";
    assert_int_equal(map_put(&map, bytes_str(key), &map), 0);
    key[0] = 'x';
    assert_ptr_equal(map_get(&map, BYTES("key")), &map);
    assert_null(map_get(&map, bytes_str(key)));
    map_free(&map);
}

static void test_map_without_memory(void **state) {
    struct map map = {0};
    static char value;
    for (int i = 0; i < 200; i++) {
        char key[16];
        snprintf(key, sizeof key, "key %d", i);
        int failures = 0;
        for (uint64_t n = 1;; n++) {
            mem_fail_at(n, 1);
            int r = map_put(&map, bytes_str(key), &value);
            mem_fail_at(0, 0);
            if (r == 0)
                break;
            assert_int_equal(r, -ENOMEM);
            assert_int_equal(map.count, i);
            assert_null(map_get(&map, bytes_str(key)));
            failures++;
        }
        assert_in_range(failures, 1, 2);
        assert_ptr_equal(map_get(&map, BYTES("key 0")), &value);
    }
    map_free(&map);
}

struct item {
    int number;
    struct list link;
};

static void assert_order(struct list *head, const char *order) {
    char seen[16] = {0};
    size_t n = 0;
    LIST_EACH (link, head)
        seen[n++] = (char)('0' + LIST_ENTRY(link, struct item, link)->number);
    assert_string_equal(seen, order);
    n = strlen(order);
    for (struct list *link = head->prev; link != head; link = link->prev)
        assert_int_equal(LIST_ENTRY(link, struct item, link)->number, order[--n] - '0');
    assert_int_equal(n, 0);
}

static void test_list(void **state) {
    struct list head, other;
    struct item items[6];
    list_init(&head);
    list_init(&other);
    for (int i = 0; i < 6; i++)
        items[i] = (struct item){.number = i};
    assert_true(list_empty(&head));
    assert_null(list_pop_front(&head));
    list_push_back(&head, &items[1].link);
    list_push_back(&head, &items[2].link);
    list_push_front(&head, &items[0].link);
    list_insert_before(&items[2].link, &items[3].link);
    assert_order(&head, "0132");
    list_move_back(&head, &items[1].link);
    assert_order(&head, "0321");
    list_splice_back(&head, &other);
    list_push_back(&other, &items[4].link);
    list_push_back(&other, &items[5].link);
    list_splice_back(&head, &other);
    assert_order(&head, "032145");
    assert_order(&other, "");
    LIST_EACH_SAFE (link, following, &head)
        if (LIST_ENTRY(link, struct item, link)->number % 2)
            list_remove(link);
    assert_order(&head, "024");
    list_remove(&items[1].link); /* twice is harmless */
    assert_true(list_empty(&items[1].link));
    assert_ptr_equal(list_pop_front(&head), &items[0].link);
    list_splice_back(&other, &head);
    assert_order(&other, "24");
    assert_order(&head, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_siphash),
        cmocka_unit_test(test_rng),
        cmocka_unit_test(test_map_against_model),
        cmocka_unit_test(test_map_copies_keys),
        cmocka_unit_test(test_map_without_memory),
        cmocka_unit_test(test_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
