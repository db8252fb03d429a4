/* test_inside.c - the SQLite store's own data structures against simple ones: heap, fingerprints, packing. */
#include "fingerprints.h"
#include "heap.h"
#include "mem.h"
#include "packing.h"
#include "rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* ---- heap ---- */

#define ENTRIES 300

struct entry {
    struct heap_link link;
    uint64_t key;
    bool in;
};

static bool entry_before(struct heap_link *a, struct heap_link *b) {
    return LIST_ENTRY(a, struct entry, link)->key < LIST_ENTRY(b, struct entry, link)->key;
}

static void a_heap_gives_the_smallest(void **state) {
    static struct entry entries[ENTRIES];
    struct heap heap;
    struct rng rng;
    heap_init(&heap, entry_before);
    rng_seed(&rng, 1);
    assert_null(heap_pop(&heap));
    for (int step = 0; step < 20000; step++) {
        struct entry *entry = &entries[rng_below(&rng, ENTRIES)], *smallest = NULL;
        if (!entry->in) {
            entry->key = rng_below(&rng, 100) << 32 | (uint64_t)step; /* no two alike */
            heap_push(&heap, &entry->link);
            entry->in = true;
        } else if (rng_below(&rng, 2)) {
            heap_remove(&heap, &entry->link);
            entry->in = false;
        } else {
            LIST_ENTRY(heap_pop(&heap), struct entry, link)->in = false;
        }
        for (int i = 0; i < ENTRIES; i++)
            if (entries[i].in && (!smallest || entries[i].key < smallest->key))
                smallest = &entries[i];
        assert_ptr_equal(heap_top(&heap), smallest ? &smallest->link : NULL);
    }
}

/* ---- fingerprints ---- */

#define HASHES 20000

static struct hash128 hash_of(uint64_t i) {
    if (i == 0)
        return (struct hash128){0, 0}; /* the one that marks a free place */
    static const struct hash_key key = {1, 2};
    return hash128(&key, bytes_of(&i, sizeof i));
}

static void fingerprints_are_a_set(void **state) {
    static bool in[HASHES];
    struct fingerprints set;
    struct rng rng;
    size_t count = 0;
    fingerprints_init(&set, 16);
    rng_seed(&rng, 2);
    for (int step = 0; step < 300000; step++) {
        uint64_t i = rng_below(&rng, step % 100000 < 50000 ? HASHES : 50);
        uint64_t *value = fingerprints_find(&set, hash_of(i));
        assert_int_equal(value != NULL, in[i]);
        if (in[i]) {
            assert_int_equal(value[1], i);
            assert_int_equal(fingerprints_add(&set, hash_of(i), NULL), -EEXIST);
        }
        bool add = rng_below(&rng, 100) < (step / 50000 % 2 ? 30u : 70u);
        if (add && !in[i]) {
            void *place;
            assert_int_equal(fingerprints_add(&set, hash_of(i), &place), 0);
            assert_int_equal(((uint64_t *)place)[0], 0);
            ((uint64_t *)place)[1] = i;
            in[i] = true;
            count++;
        } else if (!add) {
            assert_int_equal(fingerprints_remove(&set, hash_of(i)), in[i]);
            count -= in[i];
            in[i] = false;
        }
        assert_int_equal(set.count, count);
    }
    fingerprints_free(&set);
}

static void fingerprints_are_small(void **state) {
    struct fingerprints set;
    fingerprints_init(&set, 0);
    for (uint64_t i = 1; i <= 300000; i++) {
        assert_int_equal(fingerprints_add(&set, hash_of(i), NULL), 0);
        if (i > 10000)
            assert_true(fingerprints_bytes(&set) < i * 34);
    }
    for (uint64_t i = 1; i <= 300000; i++)
        assert_true(fingerprints_remove(&set, hash_of(i)));
    assert_true(fingerprints_bytes(&set) < 100000); /* and give their memory back */
    fingerprints_free(&set);
}

static void fingerprints_bear_a_lack_of_memory(void **state) {
    struct fingerprints set;
    fingerprints_init(&set, 0);
    uint64_t in = 0;
    for (uint64_t i = 1; i <= 5000; i++) {
        mem_fail_at(1, 1);
        int r = fingerprints_add(&set, hash_of(i), NULL);
        mem_fail_at(0, 0);
        if (r == -ENOMEM)
            r = fingerprints_add(&set, hash_of(i), NULL);
        assert_int_equal(r, 0);
        assert_int_equal(set.count, ++in);
    }
    mem_fail_at(1, 1);
    for (uint64_t i = 1; i <= 5000; i++)
        assert_true(fingerprints_remove(&set, hash_of(i)));
    mem_fail_at(0, 0);
    fingerprints_free(&set);
}

/* ---- packing ---- */

#define ITEMS 50

static void random_bytes(struct rng *rng, char *into, size_t max, struct bytes *ret_bytes) {
    size_t n = rng_below(rng, 3) ? rng_below(rng, max < 20 ? max : 20) : rng_below(rng, max + 1);
    for (size_t i = 0; i < n; i++)
        into[i] = (char)('a' + rng_below(rng, 3)); /* few letters: long shared beginnings */
    *ret_bytes = bytes_of(into, n);
}

static void items_come_out_as_they_went_in(void **state) {
    static char keys[ITEMS][STORE_NAME_MAX], generations[ITEMS][200], inputs[ITEMS][500];
    struct buf packed = {0};
    struct rng rng;
    rng_seed(&rng, 3);
    for (int round = 0; round < 300; round++) {
        struct store_item items[ITEMS] = {{.child_key = {0}}};
        uint16_t which[ITEMS];
        size_t n = 0, size = 0;
        for (uint16_t i = 0; i < ITEMS; i++) {
            random_bytes(&rng, keys[i], round % 10 ? 60 : STORE_NAME_MAX, &items[i].child_key);
            if (round % 2)
                random_bytes(&rng, generations[i], sizeof generations[i], &items[i].generation);
            if (round % 3 == 0)
                random_bytes(&rng, inputs[i], sizeof inputs[i], &items[i].input);
            if (rng_below(&rng, 4) == 0)
                continue;
            which[n++] = i;
            size += items[i].child_key.n + items[i].generation.n + items[i].input.n;
        }
        buf_reset(&packed);
        assert_int_equal(packing_add_items(&packed, items, which, n), 0);
        assert_true(packed.n <= 2 + size + n * 7);
        struct packing_reader reader;
        struct store_item item;
        assert_int_equal(packing_reader_init(&reader, buf_bytes(&packed)), 0);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(packing_next(&reader, &item), 0);
            assert_true(bytes_equal(item.child_key, items[which[i]].child_key));
            assert_true(bytes_equal(item.generation, items[which[i]].generation));
            assert_true(bytes_equal(item.input, items[which[i]].input));
        }
        assert_true(packing_at_end(&reader));
        assert_int_equal(packing_next(&reader, &item), -EBADMSG);
        for (size_t cut = 0; cut < packed.n && round < 20; cut++) { /* a part of it is never taken for the whole */
            char *part = mem_memdup(packed.p, cut);
            int r = packing_reader_init(&reader, bytes_of(part, cut));
            for (size_t i = 0; i < n && r == 0; i++)
                r = packing_next(&reader, &item);
            assert_int_equal(r, n ? -EBADMSG : cut < 2 ? -EBADMSG : 0);
            mem_free(part);
        }
    }
    buf_free(&packed);
}

static void sorted_keys_cost_little(void **state) {
    static char keys[STORE_PAGE_MAX][64];
    static struct store_item items[STORE_PAGE_MAX];
    uint16_t which[STORE_PAGE_MAX];
    struct buf packed = {0};
    for (uint16_t i = 0; i < STORE_PAGE_MAX; i++) {
        int n = snprintf(keys[i], sizeof keys[i], "data/year=2026/month=11/part-%06u.parquet", i);
        items[i].child_key = bytes_of(keys[i], (size_t)n);
        which[i] = i;
    }
    assert_int_equal(packing_add_items(&packed, items, which, STORE_PAGE_MAX), 0);
    assert_true(packed.n < STORE_PAGE_MAX * 13); /* of 42 bytes each */
    buf_free(&packed);
}

static void garbage_never_unpacks_out_of_bounds(void **state) {
    struct rng rng;
    rng_seed(&rng, 4);
    for (int round = 0; round < 20000; round++) {
        size_t n = rng_below(&rng, 40);
        char *garbage = mem_alloc(n); /* of the very size, so that a sanitizer sees a read past it */
        for (size_t i = 0; i < n; i++)
            garbage[i] = (char)(rng_below(&rng, 2) ? rng_below(&rng, 4) : rng_next(&rng));
        if (n > 1)
            garbage[0] = 1;
        struct bytes keys[STORE_RULES_MAX];
        struct store_rule rules[STORE_RULES_MAX];
        assert_in_range(packing_read_keys(bytes_of(garbage, n), keys) + 100, 0, 100 + STORE_RULES_MAX);
        assert_in_range(packing_read_rules(bytes_of(garbage, n), rules) + 100, 0, 100 + STORE_RULES_MAX);
        struct packing_reader reader;
        struct store_item item;
        if (packing_reader_init(&reader, bytes_of(garbage, n)) == 0)
            while (packing_next(&reader, &item) == 0 && !packing_at_end(&reader))
                continue;
        mem_free(garbage);
    }
}

static void keys_and_rules_come_out_as_they_went_in(void **state) {
    struct buf packed = {0};
    struct bytes keys[] = {BYTES("a"), BYTES(""), BYTES("\0\xff")}, read[STORE_RULES_MAX];
    assert_int_equal(packing_add_keys(&packed, keys, 3), 0);
    assert_int_equal(packing_read_keys(buf_bytes(&packed), read), 3);
    for (int i = 0; i < 3; i++)
        assert_true(bytes_equal(keys[i], read[i]));
    buf_reset(&packed);
    struct store_rule rules[] = {{STORE_CANCEL_NEWEST, UINT32_MAX}, {STORE_GROUP_ROUND_ROBIN, 0}}, out[STORE_RULES_MAX];
    assert_int_equal(packing_add_rules(&packed, rules, 2), 0);
    assert_int_equal(packing_read_rules(buf_bytes(&packed), out), 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(out[i].strategy, rules[i].strategy);
        assert_int_equal(out[i].max_runs, rules[i].max_runs);
    }
    buf_free(&packed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_heap_gives_the_smallest),
        cmocka_unit_test(fingerprints_are_a_set),
        cmocka_unit_test(fingerprints_are_small),
        cmocka_unit_test(fingerprints_bear_a_lack_of_memory),
        cmocka_unit_test(items_come_out_as_they_went_in),
        cmocka_unit_test(sorted_keys_cost_little),
        cmocka_unit_test(garbage_never_unpacks_out_of_bounds),
        cmocka_unit_test(keys_and_rules_come_out_as_they_went_in),
    };
    return cmocka_run_group_tests_name("sqlite inside", tests, NULL, NULL);
}
