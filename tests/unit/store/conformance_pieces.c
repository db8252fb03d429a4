/* conformance_pieces.c - pages that are claimed and settled piece by piece: what is left of them stays what it was. */
#include "conformance_steps.h"

#include <stdio.h>

#define PAGES 40 /* more than a store may like to keep in memory */
#define ITEMS 4

static void spawn_page(struct steps *steps, int64_t workflow, int number) {
    char group[16], text[ITEMS][3][32];
    struct store_item items[ITEMS];
    snprintf(group, sizeof group, "g%d", number);
    for (int i = 0; i < ITEMS; i++) {
        snprintf(text[i][0], sizeof text[i][0], "key-%d-%d", number, i);
        snprintf(text[i][1], sizeof text[i][1], "generation-%d-%d", number, i);
        snprintf(text[i][2], sizeof text[i][2], "{\"input\":[%d,%d]}", number, i);
        items[i] = (struct store_item){bytes_str(text[i][0]), bytes_str(text[i][1]), bytes_str(text[i][2])};
    }
    struct bytes key = bytes_str(group);
    struct store_page page = {.workflow = workflow, .keys = &key, .n_keys = 1, .items = items, .n = ITEMS};
    struct store_spawned spawned = {0};
    steps_begin(steps);
    MUST(store_spawn(steps->store, &page, &spawned, &err));
    steps_commit(steps);
    assert_int_equal(spawned.created, ITEMS);
}

static void check_run(const struct store_lease *lease, const struct store_run *run) {
    char text[3][32];
    snprintf(text[0], sizeof text[0], "key-%.*s-%u", (int)lease->group.n - 1, lease->group.p + 1, run->index);
    snprintf(text[1], sizeof text[1], "generation-%.*s-%u", (int)lease->group.n - 1, lease->group.p + 1, run->index);
    snprintf(text[2], sizeof text[2], "{\"input\":[%.*s,%u]}", (int)lease->group.n - 1, lease->group.p + 1, run->index);
    const struct bytes told[] = {run->child_key, run->generation, run->input};
    for (int i = 0; i < 3; i++)
        if (!bytes_equal(told[i], bytes_str(text[i])))
            fail_msg("\"%.*s\" instead of \"%s\"", (int)told[i].n, told[i].n ? told[i].p : "", text[i]);
}

/* One run of each page at a time. Those that were spawned first are the last in turn, so the order in which pages come
 * by is another one than that in which they came. */
static void many_pages_half_claimed_keep_all_they_have(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9));
    for (int i = 0; i < PAGES; i++) {
        char group[16];
        snprintf(group, sizeof group, "g%d", (i + 8) % PAGES);
        steps_spawn(steps, workflow, group, "first");
        steps_drain(steps, workflow);
    }
    for (int i = 0; i < PAGES; i++)
        spawn_page(steps, workflow, i);
    for (int round = 0; round < ITEMS; round++) {
        int64_t worker = steps_worker(steps); /* to whom all lanes are new */
        const struct store_claimed *claimed = steps_claim(steps, worker, workflow, PAGES, 1, 1);
        assert_int_equal(claimed->n, PAGES);
        for (size_t i = 0; i < claimed->n; i++) {
            assert_int_equal(claimed->leases[i].n, 1);
            assert_int_equal(claimed->leases[i].runs[0].index, round);
            check_run(&claimed->leases[i], &claimed->leases[i].runs[0]);
        }
    }
}

/* The call looks at the page's leases; what each is on is needed to settle it. */
static void settling_beside_a_cancelled_sibling(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9));
    int64_t page = steps_spawn(steps, workflow, "g", "a b c").page;
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b"),
                c = steps_hold(steps, claimed, "c");
    steps_retry(steps, &a, 1, 0);
    claimed = steps_claim_more(steps, 0, b.lane, 1, 9);
    assert_claimed(claimed, "a");
    a = steps_hold(steps, claimed, "a");
    steps_reopen(steps);
    claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
    a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b"), c = steps_hold(steps, claimed, "c");
    const struct store_settled settled[] = {
        {.lease = a.lease, .index = a.index, .outcome = STORE_DONE, .child_key = BYTES("a")},
        {.lease = c.lease, .index = c.index, .outcome = STORE_DONE, .child_key = BYTES("c")},
    };
    enum store_state was = 0;
    size_t ignored = 9;
    steps_begin(steps);
    MUST(store_run_cancel(steps->store, page, b.index, &was, &err));
    MUST(store_settle(steps->store, steps->worker, settled, 2, &ignored, &err));
    steps_commit(steps);
    assert_int_equal(was, STORE_STATE_LEASED);
    assert_int_equal(ignored, 0);
    assert_lane(steps, workflow, "g", 0, 1, 0, 0);
    assert_int_equal(steps_lane(steps, workflow, "g").done, 2);
    assert_string_equal(steps_asks(steps, 0), "b");
}

/* Nobody is asked to end what has ended meanwhile, whenever the store looks at either. */
static void driven_out_and_settled_in_one_batch(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", PROGRESS(1));
    steps_spawn(steps, workflow, "g", "a");
    struct held a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    const struct store_item item = {.child_key = BYTES("b")};
    const struct bytes group = BYTES("g");
    const struct store_page page = {.workflow = workflow, .keys = &group, .n_keys = 1, .items = &item, .n = 1};
    const struct store_settled settled = {
        .lease = a.lease, .index = a.index, .outcome = STORE_DONE, .child_key = BYTES("a")};
    struct store_spawned spawned = {0};
    size_t ignored = 9;
    steps_begin(steps);
    MUST(store_spawn(steps->store, &page, &spawned, &err));
    MUST(store_settle(steps->store, steps->worker, &settled, 1, &ignored, &err));
    steps_commit(steps);
    assert_int_equal(spawned.created, 1);
    assert_true(spawned.cancels);
    assert_int_equal(ignored, 0);
    struct store_cancels cancels;
    MUST(store_heartbeat(steps->store, steps->worker, &cancels, &err));
    assert_int_equal(cancels.n, 0);
    store_cancels_free(&cancels);
    assert_state(steps, &a, STORE_STATE_DONE);
    assert_string_equal(steps_drain(steps, workflow), "b");
}

const struct CMUnitTest conformance_pieces[] = {
    CONFORMANCE_TEST(driven_out_and_settled_in_one_batch),
    CONFORMANCE_TEST(many_pages_half_claimed_keep_all_they_have),
    CONFORMANCE_TEST(settling_beside_a_cancelled_sibling),
};
const size_t conformance_pieces_n = sizeof conformance_pieces / sizeof conformance_pieces[0];
