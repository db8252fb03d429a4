/* conformance_duplicates.c - a spawn tells which live run has the child key of a duplicate. */
#include "conformance_steps.h"

#include <stdio.h>

static struct store_place runs[STORE_PAGE_MAX];

static struct store_spawned spawn(struct steps *steps, int64_t workflow, const char *keys, const char *items) {
    memset(runs, 0x55, sizeof runs);
    return steps_spawn_as(steps, workflow, keys, items, &(struct store_page){.ret_runs = runs});
}

static void assert_duplicates(struct steps *steps, int64_t workflow, const char *items, const struct held *const *held,
                              size_t n) {
    assert_spawned(spawn(steps, workflow, "other", items), 0, (uint32_t)n, 0, 0);
    for (size_t i = 0; i < n; i++)
        assert_place(runs[i], held[i]->page, held[i]->index, false);
}

static void whatever_its_run_does(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9));
    int64_t first = steps_spawn(steps, workflow, "g", "- leased retried parked released again").page;
    int64_t second = steps_spawn(steps, workflow, "h", "queued").page;
    int64_t third = steps_spawn_later(steps, workflow, "h", "- delayed", steps_now(steps) + US_PER_HOUR).page;
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
    struct held leased = steps_hold(steps, claimed, "leased"), retried = steps_hold(steps, claimed, "retried"),
                parked = steps_hold(steps, claimed, "parked"), released = steps_hold(steps, claimed, "released"),
                again = steps_hold(steps, claimed, "again");
    const struct held queued = {.page = second, .index = 0}, delayed = {.page = third, .index = 1};
    assert_int_equal(leased.page, first);
    steps_retry(steps, &retried, 1, US_PER_HOUR);
    steps_park(steps, &parked);
    steps_release(steps, &released);
    steps_park(steps, &again);
    uint64_t count;
    const struct store_parked_filter filter = {.child_key = BYTES("again")};
    steps_begin(steps);
    assert_int_equal(store_parked_retry(steps->store, &filter, &count, NULL), 0);
    steps_commit(steps);
    assert_int_equal(count, 1);

    const struct held *all[] = {&delayed, &again, &released, &parked, &retried, &leased, &queued};
    static const char items[] = "delayed again released parked retried leased queued";
    assert_duplicates(steps, workflow, items, all, 7);
    steps_crash(steps);
    assert_duplicates(steps, workflow, items, all, 7);
    /* With room or without: in the same generation a parked run gives way to nothing. */
    assert_spawned(spawn(steps, workflow, "g", "parked new parked:2 parked:2"), 2, 2, 1, 0);
    assert_place(runs[0], parked.page, parked.index, false);
    assert_true(runs[2].created && runs[2].page == runs[1].page && runs[2].index == 1);
    assert_place(runs[3], runs[2].page, 1, false);
    int64_t page = runs[2].page;
    steps_crash(steps);
    assert_spawned(spawn(steps, workflow, "g", "parked"), 0, 1, 0, 0);
    assert_place(runs[0], page, 1, false);
}

static void what_is_finished_is_spawned_anew(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9)), other = steps_workflow(steps, "v", ROBIN(9));
    int64_t first = steps_spawn(steps, workflow, "g", "a b c").page;
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b");
    steps_done(steps, &a);
    steps_end(steps, &b, STORE_FAILED);
    int64_t second = spawn(steps, workflow, "g", "c b a").page;
    assert_place(runs[0], first, 2, false);
    assert_place(runs[1], second, 0, true);
    assert_place(runs[2], second, 1, true);
    assert_spawned(spawn(steps, other, "g", "a b c"), 3, 0, 0, 0); /* a workflow's keys are its own */
    assert_int_equal(steps_cancel_run(steps, second, 0), STORE_STATE_QUEUED);
    assert_spawned(spawn(steps, workflow, "g", "a b c"), 1, 2, 0, 0);
    assert_place(runs[0], second, 1, false);
    assert_true(runs[1].created);
    assert_place(runs[2], first, 2, false);
}

/* Spawns two pages, settles a run in between, and spawns again, all in one batch: what is told is there when it is
 * committed. */
static void within_one_batch(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9)), ignored_page;
    int64_t old = steps_spawn(steps, workflow, "g", "x y").page;
    struct held x = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "x");
    const struct bytes key = BYTES("h");
    const struct store_item items[3][4] = {
        {{.child_key = BYTES("a")}, {.child_key = BYTES("b")}, {.child_key = BYTES("y")}},
        {{.child_key = BYTES("y")}, {.child_key = BYTES("c")}, {.child_key = BYTES("b")}, {.child_key = BYTES("x")}},
        {{.child_key = BYTES("x")}, {.child_key = BYTES("c")}, {.child_key = BYTES("a")}}};
    static const size_t n[] = {3, 4, 3};
    struct store_place told[3][4];
    struct store_page pages[3];
    struct store_spawned spawned[3];
    const struct store_settled settled = {
        .lease = x.lease, .index = x.index, .outcome = STORE_DONE, .child_key = BYTES("x")};
    size_t ignored = 7;
    memset(told, 0x55, sizeof told);
    steps_begin(steps);
    for (int i = 0; i < 3; i++) {
        pages[i] = (struct store_page){
            .workflow = workflow, .keys = &key, .n_keys = 1, .items = items[i], .n = n[i], .ret_runs = told[i]};
        if (i == 1)
            assert_int_equal(store_page_reserve(steps->store, &ignored_page, NULL), 0);
        if (i == 2)
            assert_int_equal(store_settle(steps->store, steps->worker, &settled, 1, &ignored, NULL), 0);
        assert_int_equal(store_spawn(steps->store, &pages[i], &spawned[i], NULL), 0);
    }
    steps_commit(steps);
    assert_int_equal(ignored, 0);
    assert_spawned(spawned[0], 2, 1, 0, 0);
    assert_spawned(spawned[1], 1, 3, 0, 0);
    assert_spawned(spawned[2], 1, 2, 0, 0);
    assert_place(told[0][0], spawned[0].page, 0, true);
    assert_place(told[0][1], spawned[0].page, 1, true);
    assert_place(told[0][2], old, 1, false);
    assert_place(told[1][0], old, 1, false);
    assert_place(told[1][1], spawned[1].page, 0, true);
    assert_place(told[1][2], spawned[0].page, 1, false);
    assert_place(told[1][3], old, 0, false); /* it was settled later */
    assert_place(told[2][0], spawned[2].page, 0, true);
    assert_place(told[2][1], spawned[1].page, 0, false);
    assert_place(told[2][2], spawned[0].page, 0, false);
}

static void on_full_pages(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9));
    static char keys[STORE_PAGE_MAX + 1][12];
    static struct store_item items[STORE_PAGE_MAX];
    static struct store_place first[STORE_PAGE_MAX];
    const struct bytes key = BYTES("g");
    struct store_page page = {.workflow = workflow, .keys = &key, .n_keys = 1, .items = items, .n = STORE_PAGE_MAX};
    struct store_spawned spawned[2];
    for (size_t i = 0; i <= STORE_PAGE_MAX; i++)
        snprintf(keys[i], sizeof keys[i], "key-%zu", i);
    /* Each third one has the key of the one before it. */
    for (size_t i = 0; i < STORE_PAGE_MAX; i++)
        items[i].child_key = bytes_str(keys[i % 3 == 2 ? i - 1 : i]);
    page.ret_runs = first;
    steps_begin(steps);
    assert_int_equal(store_spawn(steps->store, &page, &spawned[0], NULL), 0);
    steps_commit(steps);
    assert_spawned(spawned[0], 667, 333, 0, 0);
    uint32_t index = 0;
    for (size_t i = 0; i < STORE_PAGE_MAX; i++) {
        bool created = i % 3 != 2;
        index += created;
        assert_place(first[i], spawned[0].page, index - 1, created);
    }
    steps_crash(steps);
    for (size_t i = 0; i < STORE_PAGE_MAX; i++)
        items[i].child_key = bytes_str(keys[STORE_PAGE_MAX - i]);
    page.ret_runs = runs;
    steps_begin(steps);
    assert_int_equal(store_spawn(steps->store, &page, &spawned[1], NULL), 0);
    steps_commit(steps);
    assert_spawned(spawned[1], 334, 666, 0, 0);
    index = 0;
    for (size_t i = 0; i < STORE_PAGE_MAX; i++) {
        size_t was = STORE_PAGE_MAX - i;
        if (was < STORE_PAGE_MAX && was % 3 != 2)
            assert_place(runs[i], spawned[0].page, first[was].index, false);
        else
            assert_place(runs[i], spawned[1].page, index++, true);
    }
}

const struct CMUnitTest conformance_duplicates[] = {
    CONFORMANCE_TEST(whatever_its_run_does),
    CONFORMANCE_TEST(what_is_finished_is_spawned_anew),
    CONFORMANCE_TEST(within_one_batch),
    CONFORMANCE_TEST(on_full_pages),
};
const size_t conformance_duplicates_n = sizeof conformance_duplicates / sizeof conformance_duplicates[0];
