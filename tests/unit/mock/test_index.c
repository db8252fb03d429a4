/* The key index against a sorted array, with inserts, removals, seeks and memory that runs out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "index.h"
#include "mem.h"
#include "rng.h"

#include <errno.h>
#include <stdio.h>

struct item {
    struct index_entry entry;
    char text[24];
};

struct model {
    struct item *items[6000];
    size_t n;
};

static struct item *item_new(const char *key, size_t n) {
    struct item *item = calloc(1, sizeof(*item));
    assert_non_null(item);
    assert_true(n <= sizeof(item->text));
    memcpy(item->text, key, n);
    item->entry = (struct index_entry){item->text, (uint32_t)n};
    return item;
}

static size_t model_at(const struct model *model, struct bytes key, bool after) {
    size_t i = 0;
    while (i < model->n) {
        int order = bytes_compare(index_key(&model->items[i]->entry), key);
        if (order > 0 || (order == 0 && !after))
            break;
        i++;
    }
    return i;
}

static void check_walk(const struct index *index, const struct model *model, struct bytes from, bool after,
                       size_t most) {
    struct index_cursor cursor;
    index_seek(index, from, after, &cursor);
    size_t at = model_at(model, from, after);
    for (size_t i = 0; i < most && at < model->n; i++, at++)
        assert_ptr_equal(index_next(&cursor), &model->items[at]->entry);
    if (at == model->n) {
        assert_null(index_next(&cursor));
        assert_null(index_next(&cursor));
    }
}

static size_t random_key(struct rng *rng, char key[24]) {
    /* Few letters, NUL and 0xff among them, and shared prefixes. */
    static const char letters[] = {'a', 'b', '/', '\0', (char)0xff};
    size_t n = (size_t)rng_below(rng, 9);
    size_t start = rng_below(rng, 2) ? 12 : 0;
    memcpy(key, "same-prefix/", 12);
    for (size_t i = 0; i < n; i++)
        key[start + i] = letters[rng_below(rng, sizeof(letters))];
    return start + n;
}

static void free_item(void *arg, struct index_entry *entry) {
    (*(size_t *)arg)++;
    free(entry);
}

static void against_model(void **state) {
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct rng rng;
        rng_seed(&rng, seed);
        struct index index = {0};
        static struct model model;
        model.n = 0;
        for (int step = 0; step < 12000; step++) {
            char key[24];
            size_t n = random_key(&rng, key);
            struct bytes view = bytes_of(key, n);
            size_t at = model_at(&model, view, false);
            bool there = at < model.n && bytes_equal(index_key(&model.items[at]->entry), view);
            assert_ptr_equal(index_find(&index, view), there ? &model.items[at]->entry : NULL);
            bool growing = (step / 3000) % 2 == 0;
            if (rng_below(&rng, 10) < (growing ? 7U : 2U)) {
                struct item *item = item_new(key, n);
                assert_int_equal(index_insert(&index, &item->entry), there ? -EEXIST : 0);
                if (there) {
                    free(item);
                } else {
                    memmove(&model.items[at + 1], &model.items[at], sizeof(model.items[0]) * (model.n - at));
                    model.items[at] = item;
                    model.n++;
                }
            } else {
                struct index_entry *removed = index_remove(&index, view);
                assert_ptr_equal(removed, there ? &model.items[at]->entry : NULL);
                if (there) {
                    model.n--;
                    memmove(&model.items[at], &model.items[at + 1], sizeof(model.items[0]) * (model.n - at));
                    free(removed);
                }
            }
            assert_int_equal(index.count, model.n);
            if (step % 100 == 0)
                check_walk(&index, &model, view, rng_below(&rng, 2), 200);
        }
        check_walk(&index, &model, BYTES_NONE, false, SIZE_MAX);
        size_t freed = 0;
        index_clear(&index, free_item, &freed);
        assert_int_equal(freed, model.n);
        assert_int_equal(index.count, 0);
    }
}

static void in_order_and_back(void **state) {
    enum { N = 20000 };
    struct index index = {0};
    for (int i = 0; i < N; i++) {
        char key[24];
        int n = snprintf(key, sizeof(key), "k%07d", i);
        assert_int_equal(index_insert(&index, &item_new(key, (size_t)n)->entry), 0);
    }
    struct index_cursor cursor;
    index_seek(&index, BYTES("k0012345"), true, &cursor);
    struct index_entry *entry = index_next(&cursor);
    assert_memory_equal(entry->key, "k0012346", 8);
    /* From both ends towards the middle, as drains and their opposites do. */
    for (int i = 0; i < N; i++) {
        int which = i % 2 ? N - 1 - i / 2 : i / 2;
        char key[24];
        int n = snprintf(key, sizeof(key), "k%07d", which);
        entry = index_remove(&index, bytes_of(key, (size_t)n));
        assert_non_null(entry);
        free(entry);
        assert_int_equal(index.count, N - 1 - i);
    }
    assert_null(index.root);
    index_seek(&index, BYTES("k"), false, &cursor);
    assert_null(index_next(&cursor));
    assert_null(index_find(&index, BYTES("k")));
    assert_null(index_remove(&index, BYTES("k")));
}

/* Every allocation of a long run of inserts fails once; nothing is lost and a second try works. */
static void memory_runs_out(void **state) {
    struct index index = {0};
    struct rng rng;
    rng_seed(&rng, 7);
    uint64_t failures = 0;
    for (int i = 0; i < 6000; i++) {
        char key[24];
        int n = snprintf(key, sizeof(key), "%08llx",
                         (unsigned long long)(i < 3000 ? rng_next(&rng) >> 32 : 0xf0000000U + (unsigned)i));
        struct item *item = item_new(key, (size_t)n);
        for (uint64_t at = 1;; at++) {
            uint64_t count = index.count;
            mem_fail_at(at, 0);
            int r = index_insert(&index, &item->entry);
            mem_fail_at(0, 0);
            if (r == 0)
                break;
            if (r == -EEXIST) {
                free(item);
                break;
            }
            assert_int_equal(r, -ENOMEM);
            assert_int_equal(index.count, count);
            assert_null(index_find(&index, bytes_of(key, (size_t)n)));
            failures++;
        }
    }
    assert_true(failures > 150);
    size_t walked = 0;
    struct index_cursor cursor;
    index_seek(&index, BYTES_NONE, false, &cursor);
    struct bytes before = BYTES_NONE;
    for (struct index_entry *entry; (entry = index_next(&cursor)); walked++) {
        assert_true(bytes_compare(before, index_key(entry)) < 0);
        before = index_key(entry);
    }
    assert_int_equal(walked, index.count);
    size_t freed = 0;
    index_clear(&index, free_item, &freed);
    assert_int_equal(freed, walked);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_model),
        cmocka_unit_test(in_order_and_back),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
