/* test_inside.c - the SQLite store's own data structures against simple ones: heap, fingerprints, packing,
 * rates; and how much of its file a look-up reads. */
#include "fingerprints.h"
#include "heap.h"
#include "mem.h"
#include "packing.h"
#include "rates.h"
#include "rng.h"
#include "sqlite_files.h"
#include "sqlite_store.h"

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
        struct packing_records records;
        struct packing_record record;
        if (packing_records_init(&records, bytes_of(garbage, n)) == 0)
            while (packing_next_record(&records, &record) > 0)
                continue;
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
    struct store_rule rules[] = {{STORE_CANCEL_NEWEST, UINT32_MAX, 0},
                                 {STORE_GROUP_ROUND_ROBIN, 0, 0},
                                 {STORE_RATE_LIMIT, 7, 24 * US_PER_HOUR},
                                 {STORE_CANCEL_IN_PROGRESS, 1, 0}};
    struct store_rule out[STORE_RULES_MAX];
    assert_int_equal(packing_add_rules(&packed, rules, 4), 0);
    assert_int_equal(packing_read_rules(buf_bytes(&packed), out), 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(out[i].strategy, rules[i].strategy);
        assert_int_equal(out[i].max_runs, rules[i].max_runs);
        assert_int_equal(out[i].period_us, rules[i].period_us);
    }
    buf_free(&packed);
}

#define RECORDS 60

static void random_record(struct rng *rng, uint32_t *index, char (*texts)[400], struct packing_own *own,
                          struct packing_record *ret_record) {
    static const enum store_outcome outcomes[] = {STORE_DONE,   STORE_FORGOTTEN, STORE_RETRY,
                                                  STORE_PARKED, STORE_CANCELLED, STORE_FAILED};
    struct packing_record record = {.index = *index, .outcome = outcomes[rng_below(rng, 6)], .attempt = 1};
    *index += 1 + (uint32_t)(rng_below(rng, 3) ? 0 : rng_below(rng, 10));
    if (rng_below(rng, 3) == 0)
        record.attempt = rng_below(rng, 2) ? 0 : UINT32_MAX;
    record.duration_us = (int64_t)(rng_next(rng) >> (1 + rng_below(rng, 63)));
    if (rng_below(rng, 3) == 0)
        random_bytes(rng, texts[0], 400, &record.error);
    else if (rng_below(rng, 3) == 0)
        record.error = BYTES("the same again");
    if (rng_below(rng, 3) == 0)
        random_bytes(rng, texts[1], 400, &record.result);
    if (rng_below(rng, 4) == 0) {
        *own = (struct packing_own){.lane = 1 + (int64_t)rng_below(rng, 1000),
                                    .created_utc_us = INT64_MAX,
                                    .parent_page = (int64_t)rng_below(rng, 9),
                                    .parent_index = (uint32_t)rng_below(rng, 9),
                                    .priority = 1 + (uint32_t)rng_below(rng, 3)};
        random_bytes(rng, texts[2], 400, &own->child_key);
        random_bytes(rng, texts[3], 400, &own->metadata);
        record.own = own;
    }
    *ret_record = record;
}

static bool same_record(const struct packing_record *a, const struct packing_record *b) {
    bool same = a->index == b->index && a->outcome == b->outcome && a->attempt == b->attempt &&
                a->duration_us == b->duration_us && bytes_equal(a->error, b->error) &&
                bytes_equal(a->result, b->result) && (a->own != NULL) == (b->own != NULL);
    if (!same || !a->own)
        return same;
    return a->own->lane == b->own->lane && a->own->created_utc_us == b->own->created_utc_us &&
           a->own->parent_page == b->own->parent_page && a->own->parent_index == b->own->parent_index &&
           a->own->priority == b->own->priority && bytes_equal(a->own->child_key, b->own->child_key) &&
           bytes_equal(a->own->generation, b->own->generation) && bytes_equal(a->own->input, b->own->input) &&
           bytes_equal(a->own->metadata, b->own->metadata);
}

static void records_come_out_as_they_went_in(void **state) {
    static char texts[RECORDS][4][400];
    struct packing_record records[RECORDS], record;
    struct packing_own own[RECORDS];
    struct packing_records reading;
    struct buf packed = {0};
    struct rng rng;
    rng_seed(&rng, 5);
    for (int round = 0; round < 300; round++) {
        uint32_t index = (uint32_t)rng_below(&rng, 3);
        buf_reset(&packed);
        for (int i = 0; i < RECORDS; i++) {
            random_record(&rng, &index, texts[i], &own[i], &records[i]);
            assert_int_equal(packing_add_record(&packed, i ? &records[i - 1] : NULL, &records[i]), 0);
        }
        assert_int_equal(packing_records_init(&reading, buf_bytes(&packed)), 0);
        for (int i = 0; i < RECORDS; i++) {
            assert_int_equal(packing_next_record(&reading, &record), 1);
            assert_true(same_record(&record, &records[i]));
        }
        assert_int_equal(packing_next_record(&reading, &record), 0);
        for (size_t cut = 1; cut < packed.n && round < 10; cut++) {
            char *part = mem_memdup(packed.p, cut);
            int n = 0, r = packing_records_init(&reading, bytes_of(part, cut));
            while (r == 0 && (r = packing_next_record(&reading, &record)) > 0) {
                assert_true(same_record(&record, &records[n++]));
                r = 0;
            }
            assert_true(n < RECORDS);
            mem_free(part);
        }
    }
    buf_free(&packed);
}

static void common_records_cost_little(void **state) {
    struct packing_record records[1000] = {{0}};
    struct buf packed = {0};
    for (uint32_t i = 0; i < 1000; i++) {
        records[i] = (struct packing_record){.index = i, .outcome = STORE_DONE, .attempt = 1, .duration_us = 12345 + i};
        assert_int_equal(packing_add_record(&packed, i ? &records[i - 1] : NULL, &records[i]), 0);
    }
    assert_true(packed.n < 4 * 1000);
    buf_reset(&packed);
    for (uint32_t i = 0; i < 1000; i++) { /* a reason is there once */
        records[i] =
            (struct packing_record){.index = i, .outcome = STORE_CANCELLED, .error = BYTES("a reason for all")};
        assert_int_equal(packing_add_record(&packed, i ? &records[i - 1] : NULL, &records[i]), 0);
    }
    assert_true(packed.n < 5 * 1000);
    buf_free(&packed);
}

/* ---- rates ---- */

static bool is_full(const struct rate *rate) {
    return rate->used >= 3;
}

static void use(struct rates *rates, struct rate *rate, uint64_t n) {
    rates_use(rates, rate, n);
    if (is_full(rate))
        rates_mark_full(rates, rate);
}

static void rates_count_in_windows(void **state) {
    struct rates rates;
    struct rate *a, *b, *same;
    rates_init(&rates);
    assert_int_equal(rates_get(&rates, 10, BYTES("k"), &a), 0);
    assert_int_equal(rates_get(&rates, 100, BYTES("k"), &b), 0);
    assert_int_equal(rates_get(&rates, 10, BYTES("k"), &same), 0);
    assert_ptr_equal(a, same);
    assert_ptr_not_equal(a, b);
    assert_null(rates_turn(&rates, 1005));
    assert_int_equal(rates_next(&rates, is_full), 0);
    use(&rates, a, 2);
    use(&rates, b, 3);
    assert_int_equal(a->window_utc_us, 1000);
    assert_int_equal(rates_next(&rates, is_full), 1100);
    use(&rates, a, 1);
    assert_int_equal(rates_next(&rates, is_full), 1010);
    assert_null(rates_turn(&rates, 1009));
    assert_ptr_equal(rates_turn(&rates, 1010), a);
    assert_null(rates_turn(&rates, 1010));
    assert_int_equal(a->used, 0);
    assert_int_equal(rates_next(&rates, is_full), 1100);
    use(&rates, a, 3);
    assert_int_equal(a->window_utc_us, 1010);
    /* The clock goes back: by less than a window that changes nothing, by more it ends those of the future. */
    assert_null(rates_turn(&rates, 1003));
    assert_int_equal(a->used, 3);
    assert_ptr_equal(rates_turn(&rates, 990), a);
    assert_null(rates_turn(&rates, 990));
    assert_int_equal(b->used, 3);
    rates_free(&rates);
    /* So it does when the store is opened. */
    rates_init(&rates);
    assert_int_equal(rates_get(&rates, 10, BYTES("k"), &a), 0);
    rates_restore(&rates, a, 5000, 3);
    assert_ptr_equal(rates_turn(&rates, 1000), a);
    assert_null(rates_turn(&rates, 1000));
    rates_free(&rates);
}

/* ---- look-ups ---- */

#define LONE_PAGES 4000
#define LONE_AT_ONCE 100

static int count_run(void *arg, const struct store_run_info *run) {
    ++*(int *)arg;
    return 0;
}

static void spawn_lone(struct store *store, int from) {
    static struct store_page pages[LONE_AT_ONCE];
    static struct store_item items[LONE_AT_ONCE];
    static struct store_spawned spawned[LONE_AT_ONCE];
    static char keys[LONE_AT_ONCE][16], input[400];
    int64_t workflow;
    memset(input, 'i', sizeof input);
    assert_int_equal(store_begin(store, NULL), 0);
    assert_int_equal(store_workflow_put(store, BYTES("w"), NULL, 0, &workflow, NULL), 0);
    for (int i = 0; i < LONE_AT_ONCE; i++) {
        int n = snprintf(keys[i], sizeof keys[i], "key-%05d", from + i);
        items[i].child_key = bytes_of(keys[i], (size_t)n);
        pages[i] = (struct store_page){.workflow = workflow,
                                       .items = &items[i],
                                       .n = 1,
                                       .input = bytes_of(input, sizeof input),
                                       .failed = BYTES("finished")};
        assert_int_equal(store_spawn(store, &pages[i], &spawned[i], NULL), 0);
    }
    assert_int_equal(store_commit(store, NULL), 0);
}

/* Blocks that were asked for since the last time. */
static int blocks_read(struct store *store) {
    int hits = 0, misses = 0, highest;
    sqlite3 *handle = ((struct sqlite_store *)(void *)store)->db.handle;
    assert_int_equal(sqlite3_db_status(handle, SQLITE_DBSTATUS_CACHE_HIT, &hits, &highest, 1), SQLITE_OK);
    assert_int_equal(sqlite3_db_status(handle, SQLITE_DBSTATUS_CACHE_MISS, &misses, &highest, 1), SQLITE_OK);
    return hits + misses;
}

/* Of a page of one a look-up reads an entry of some 20 bytes and neither its items nor what is beside them. */
static void a_look_up_reads_little(void **state) {
    struct sqlite_place place;
    struct store *store;
    sqlite_place_make(&place);
    assert_int_equal(sqlite_place_open(&place, &(struct store_options){.lock_wait_us = -1}, &store, NULL), 0);
    for (int i = 0; i < LONE_PAGES; i += LONE_AT_ONCE)
        spawn_lone(store, i);
    int found = 0, all = 0;
    blocks_read(store);
    assert_int_equal(
        store_runs_each(store, &(struct store_runs_filter){.child_key = BYTES("key-01234")}, count_run, &found, NULL),
        0);
    int blocks = blocks_read(store);
    assert_int_equal(found, 1);
    assert_in_range(blocks, 1, LONE_PAGES * 40 / 4096 + 20);
    assert_int_equal(store_runs_each(store, &(struct store_runs_filter){0}, count_run, &all, NULL), 0);
    assert_int_equal(all, LONE_PAGES);
    assert_true(blocks_read(store) > 10 * blocks); /* it does count */
    store_close(store);
    sqlite_place_remove(&place);
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
        cmocka_unit_test(records_come_out_as_they_went_in),
        cmocka_unit_test(common_records_cost_little),
        cmocka_unit_test(rates_count_in_windows),
        cmocka_unit_test(a_look_up_reads_little),
    };
    return cmocka_run_group_tests_name("sqlite inside", tests, NULL, NULL);
}
