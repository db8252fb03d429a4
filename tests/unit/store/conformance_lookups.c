/* conformance_lookups.c - a child key finds the same runs as going through all of them does, whatever pages they are
 * in: alone, among few or many, without keys beside them, live, in trouble, finished. */
#include "conformance_steps.h"

#include "mem.h"
#include "rng.h"

#include <stdio.h>

#define KEYS 24
#define PAGES 120
#define LONG 300 /* more than a store may note of a key at once */
#define SEEN_MAX 2048

struct seen {
    struct bytes key; /* one of `keys`, or empty */
    int64_t page;
    uint32_t index;
    enum store_state state;
    bool second; /* of the second workflow */
};

struct lookup {
    struct steps *steps;
    struct rng rng;
    char texts[KEYS][LONG + 1];
    struct bytes keys[KEYS];
    int64_t workflows[2];
    size_t n;
    struct seen seen[SEEN_MAX];
};

/* Some begin with one another, some begin alike for long, some hold zeros. */
static void make_keys(struct lookup *lookup) {
    for (int i = 0; i < KEYS; i++) {
        char *text = lookup->texts[i];
        size_t n = (size_t)i / 3 + 1;
        if (i < 15) {
            memset(text, 'k', n);
            text[n - 1] = (char)(i % 3); /* with zeros */
        } else {
            n = LONG - (size_t)(i % 3);
            memset(text, i < 20 ? 'k' : 'z', n);
            text[n - 1] = (char)i;
        }
        lookup->keys[i] = bytes_of(text, n);
    }
}

static void spawn_some(struct lookup *lookup) {
    struct store_item items[8] = {0};
    struct bytes group = BYTES("g");
    uint64_t kind = rng_below(&lookup->rng, 4);
    struct store_page page = {.workflow = lookup->workflows[rng_below(&lookup->rng, 4) == 0],
                              .keys = &group,
                              .n_keys = 1,
                              .items = items,
                              .n = kind < 2 ? 1 : 2 + rng_below(&lookup->rng, 7)};
    struct store_spawned spawned;
    for (size_t i = 0; i < page.n; i++)
        if (rng_below(&lookup->rng, 8) > 0) /* some have none */
            items[i].child_key = lookup->keys[rng_below(&lookup->rng, KEYS)];
    if (rng_below(&lookup->rng, 10) == 0)
        page.failed = BYTES("why");
    steps_begin(lookup->steps);
    MUST(store_spawn(lookup->steps->store, &page, &spawned, &err));
    steps_commit(lookup->steps);
}

static void settle_some(struct lookup *lookup) {
    static const enum store_outcome outcomes[] = {STORE_DONE,  STORE_DONE,      STORE_DONE,   STORE_FAILED,
                                                  STORE_RETRY, STORE_CANCELLED, STORE_PARKED, STORE_RELEASED};
    struct steps *steps = lookup->steps;
    const struct store_claimed *claimed =
        steps_claim(steps, 0, lookup->workflows[rng_below(&lookup->rng, 2)], 1, 12, 12);
    struct store_settled settled[64];
    size_t n = 0;
    for (size_t i = 0; i < claimed->n; i++)
        for (size_t j = 0; j < claimed->leases[i].n && n < 64; j++) {
            const struct store_run *run = &claimed->leases[i].runs[j];
            settled[n++] =
                (struct store_settled){.lease = claimed->leases[i].id,
                                       .index = run->index,
                                       .outcome = outcomes[rng_below(&lookup->rng, 8)],
                                       .child_key = run->child_key,
                                       .attempt = run->attempts + 1,
                                       .attempts = run->attempts + 1,
                                       .failed = true,
                                       .due_utc_us = rng_below(&lookup->rng, 2) ? 1 : steps_now(steps) + US_PER_HOUR};
        }
    assert_int_equal(steps_settle(steps, steps->worker, settled, n), 0);
}

static int note(void *arg, const struct store_run_info *run) {
    struct lookup *lookup = arg;
    struct seen *seen = &lookup->seen[lookup->n++];
    assert_true(lookup->n < SEEN_MAX);
    *seen = (struct seen){.page = run->page,
                          .index = run->index,
                          .state = run->state,
                          .second = bytes_equal(run->workflow_name, BYTES("v"))};
    for (int i = 0; i < KEYS; i++)
        if (bytes_equal(run->child_key, lookup->keys[i]))
            seen->key = lookup->keys[i];
    assert_int_equal(seen->key.n, run->child_key.n);
    return 0;
}

struct expecting {
    const struct lookup *lookup;
    const struct store_runs_filter *filter;
    size_t at;
};

static bool is_expected(const struct expecting *expecting, const struct seen *seen) {
    const struct store_runs_filter *filter = expecting->filter;
    return bytes_equal(seen->key, filter->child_key) && (filter->states == 0 || filter->states >> seen->state & 1) &&
           (filter->workflow.n == 0 || seen->second) &&
           (filter->before_page == 0 || seen->page < filter->before_page ||
            (seen->page == filter->before_page && seen->index < filter->before_index));
}

static const struct seen *next_expected(struct expecting *expecting) {
    const struct lookup *lookup = expecting->lookup;
    while (expecting->at < lookup->n)
        if (is_expected(expecting, &lookup->seen[expecting->at++]))
            return &lookup->seen[expecting->at - 1];
    return NULL;
}

static int compare(void *arg, const struct store_run_info *run) {
    const struct seen *seen = next_expected(arg);
    assert_non_null(seen);
    assert_int_equal(run->page, seen->page);
    assert_int_equal(run->index, seen->index);
    assert_int_equal(run->state, seen->state);
    assert_true(bytes_equal(run->child_key, seen->key));
    return 0;
}

static size_t look_up(const struct lookup *lookup, const struct store_runs_filter *filter) {
    struct expecting expecting = {lookup, filter, 0};
    MUST(store_runs_each(lookup->steps->store, filter, compare, &expecting, &err));
    assert_null(next_expected(&expecting));
    return expecting.at;
}

static void compare_all(struct lookup *lookup) {
    static const unsigned states[] = {0, 1 << STORE_STATE_DONE | 1 << STORE_STATE_FAILED,
                                      1 << STORE_STATE_QUEUED | 1 << STORE_STATE_PARKED, 1 << STORE_STATE_WAITING};
    lookup->n = 0;
    MUST(store_runs_each(lookup->steps->store, &(struct store_runs_filter){0}, note, lookup, &err));
    for (int i = 0; i < KEYS; i++)
        for (int j = 0; j < 8; j++) {
            struct store_runs_filter filter = {.child_key = lookup->keys[i], .states = states[j % 4]};
            if (j >= 4)
                filter.workflow = BYTES("v");
            look_up(lookup, &filter);
            const struct seen *from = &lookup->seen[rng_below(&lookup->rng, lookup->n)];
            filter.before_page = from->page;
            filter.before_index = from->index;
            look_up(lookup, &filter);
        }
    /* What no run has, though pages reach over it. */
    look_up(lookup, &(struct store_runs_filter){.child_key = BYTES("kkk")});
    look_up(lookup, &(struct store_runs_filter){.child_key = bytes_of(lookup->keys[15].p, 256)});
    look_up(lookup, &(struct store_runs_filter){.child_key = BYTES("a")});
    look_up(lookup, &(struct store_runs_filter){.child_key = BYTES("zzzzz")});
}

static void a_child_key_finds_what_a_scan_does(void **state) {
    struct lookup *lookup = mem_zalloc(sizeof *lookup);
    assert_non_null(lookup);
    lookup->steps = *state;
    rng_seed(&lookup->rng, 20);
    make_keys(lookup);
    lookup->workflows[0] = steps_workflow(lookup->steps, "w", ROBIN(1000));
    lookup->workflows[1] = steps_workflow(lookup->steps, "v", ROBIN(1000));
    for (int i = 0; i < PAGES; i++) {
        spawn_some(lookup);
        settle_some(lookup);
        if (i % 40 == 20)
            compare_all(lookup);
    }
    compare_all(lookup);
    assert_true(lookup->n > PAGES);
    steps_reopen(lookup->steps);
    compare_all(lookup);
    /* Parked ones end long after their pages. */
    uint64_t dropped = 0;
    steps_begin(lookup->steps);
    MUST(store_parked_drop(lookup->steps->store, &(struct store_parked_filter){0}, &dropped, &err));
    steps_commit(lookup->steps);
    assert_true(dropped > 0);
    compare_all(lookup);
    steps_crash(lookup->steps);
    compare_all(lookup);
    mem_free(lookup);
}

const struct CMUnitTest conformance_lookups[] = {
    CONFORMANCE_TEST(a_child_key_finds_what_a_scan_does),
};
const size_t conformance_lookups_n = sizeof conformance_lookups / sizeof conformance_lookups[0];
