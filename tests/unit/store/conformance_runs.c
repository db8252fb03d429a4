/* conformance_runs.c - the life of a run: spawned once, claimed, tried again, parked, superseded, settled. */
#include "conformance_steps.h"

#include "mem.h"

#include <stdio.h>

static void what_was_spawned_is_claimed(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(5));
    struct store_item items[] = {
        {.child_key = BYTES("a\0b"), .generation = BYTES("\"tag\""), .input = BYTES("{\"own\":true}")},
        {.child_key = BYTES("a\0c")},
        {.generation = BYTES("\xff\x00\x01")},
    };
    struct bytes key = BYTES("group");
    struct store_page page = {.workflow = workflow,
                              .keys = &key,
                              .n_keys = 1,
                              .input = BYTES("{\"shared\":true}"),
                              .metadata = BYTES("{\"m\":1}"),
                              .parent_page = 7,
                              .parent_index = 3,
                              .items = items,
                              .n = 3};
    struct store_spawned spawned;
    steps_begin(steps);
    assert_int_equal(store_spawn(steps->store, &page, &spawned, NULL), 0);
    steps_commit(steps);
    assert_spawned(spawned, 3, 0, 0, 0);

    for (int round = 0; round < 2; round++) {
        const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 10, 10);
        assert_int_equal(claimed->n, 1);
        const struct store_lease *lease = &claimed->leases[0];
        assert_int_equal(lease->page, spawned.page);
        assert_int_equal(lease->workflow, workflow);
        assert_int_equal(lease->tokens, 3); /* no more than runs */
        assert_true(bytes_equal(lease->group, BYTES("group")));
        assert_true(bytes_equal(lease->metadata, BYTES("{\"m\":1}")));
        assert_int_equal(lease->n, 3);
        for (uint32_t i = 0; i < 3; i++) {
            assert_int_equal(lease->runs[i].index, i);
            assert_int_equal(lease->runs[i].attempts, 0);
            assert_int_equal(lease->runs[i].checkpoint.n, 0);
            assert_true(bytes_equal(lease->runs[i].child_key, items[i].child_key));
            assert_true(bytes_equal(lease->runs[i].generation, items[i].generation));
            assert_true(bytes_equal(lease->runs[i].input, i == 0 ? items[0].input : page.input));
        }
        steps_reopen(steps); /* leases do not outlive the store */
    }
    assert_lane(steps, workflow, "group", 3, 0, 0, 0);
}

static void an_input_is_never_empty(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow_of(steps, "w", NULL, 0);
    struct store_item item = {.child_key = BYTES("a")};
    struct store_page page = {.workflow = workflow, .items = &item, .n = 1};
    struct store_spawned spawned;
    steps_begin(steps);
    assert_int_equal(store_spawn(steps->store, &page, &spawned, NULL), 0);
    steps_commit(steps);
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 1, 1);
    assert_int_equal(claimed->n, 1);
    assert_true(bytes_equal(claimed->leases[0].runs[0].input, BYTES("{}")));
    assert_int_equal(claimed->leases[0].group.n, 0);
}

static void a_full_page_of_long_values(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow_of(steps, "w", NULL, 0);
    static char keys[STORE_PAGE_MAX][STORE_NAME_MAX];
    static struct store_item items[STORE_PAGE_MAX];
    char *input = mem_alloc(STORE_DATA_MAX);
    assert_non_null(input);
    memset(input, 'x', STORE_DATA_MAX);
    for (size_t i = 0; i < STORE_PAGE_MAX; i++) {
        memset(keys[i], i % 2 ? 'k' : 'K', STORE_NAME_MAX);
        keys[i][STORE_NAME_MAX - 1] = (char)(i & 0xff);
        keys[i][STORE_NAME_MAX - 2] = (char)(i >> 8);
        items[i] = (struct store_item){.child_key = bytes_of(keys[i], i % 3 ? STORE_NAME_MAX : 1 + i),
                                       .generation = bytes_of(keys[i], STORE_NAME_MAX)};
        if (i % 100 == 0)
            items[i].input = bytes_of(input, STORE_DATA_MAX);
    }
    struct store_page page = {.workflow = workflow, .items = items, .n = STORE_PAGE_MAX};
    struct store_spawned spawned;
    steps_begin(steps);
    assert_int_equal(store_spawn(steps->store, &page, &spawned, NULL), 0);
    steps_commit(steps);
    assert_int_equal(spawned.created, STORE_PAGE_MAX);
    steps_reopen(steps);
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, UINT32_MAX, UINT32_MAX);
    assert_int_equal(claimed->n, 1);
    assert_int_equal(claimed->leases[0].n, STORE_PAGE_MAX);
    for (size_t i = 0; i < STORE_PAGE_MAX; i++) {
        const struct store_run *run = &claimed->leases[0].runs[i];
        assert_true(bytes_equal(run->child_key, items[i].child_key));
        assert_true(bytes_equal(run->generation, items[i].generation));
        assert_true(bytes_equal(run->input, items[i].input.n ? items[i].input : BYTES("{}")));
    }
    mem_free(input);
}

/* ---- one live run per child key ---- */

static void a_child_key_lives_once(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(5)), other = steps_workflow(steps, "other", ROBIN(5));
    assert_spawned(steps_spawn(steps, workflow, "g", "a b a c b"), 3, 2, 0, 0);
    assert_spawned(steps_spawn(steps, workflow, "g", "a b c"), 0, 3, 0, 0);
    assert_spawned(steps_spawn(steps, workflow, "another-group", "c d"), 1, 1, 0, 0);
    assert_spawned(steps_spawn(steps, workflow, "a-third-group", "c d"), 0, 2, 0, 0);
    assert_spawned(steps_spawn(steps, other, "g", "a b"), 2, 0, 0, 0);
    assert_spawned(steps_spawn(steps, workflow, "g", "- - -"), 3, 0, 0, 0);
    steps_reopen(steps);
    assert_spawned(steps_spawn(steps, workflow, "g", "e d c b a"), 1, 4, 0, 0);

    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 2, 2);
    assert_claimed(claimed, "a b");
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b");
    assert_spawned(steps_spawn(steps, workflow, "g", "a b"), 0, 2, 0, 0); /* while it runs */
    assert_int_equal(steps_done(steps, &a), 0);
    assert_spawned(steps_spawn(steps, workflow, "g", "a b"), 1, 1, 0, 0); /* when it is done it may come again */
    assert_int_equal(steps_retry(steps, &b, 1, US_PER_MIN), 0);
    assert_spawned(steps_spawn(steps, workflow, "g", "b:other-generation"), 0, 1, 0, 0); /* while it waits */
    steps_crash(steps);
    assert_spawned(steps_spawn(steps, workflow, "g", "a b c d e"), 0, 5, 0, 0);
}

static void a_parked_run_gives_way_to_another_generation(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(5));
    steps_spawn(steps, workflow, "g", "a:1 b:1 c");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 3, 3);
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b"),
                c = steps_hold(steps, claimed, "c");
    steps_park(steps, &a);
    steps_park(steps, &b);
    steps_park(steps, &c);
    assert_lane(steps, workflow, "g", 0, 0, 0, 3);
    assert_spawned(steps_spawn(steps, workflow, "g", "a:1 b:1 c"), 0, 3, 0, 0);
    assert_spawned(steps_spawn(steps, workflow, "h", "a:2 a:3"), 1, 1, 1, 0); /* from another group, too */
    assert_lane(steps, workflow, "g", 0, 0, 0, 2);
    steps_reopen(steps);
    assert_spawned(steps_spawn(steps, workflow, "g", "a:1 b:1 c"), 0, 3, 0, 0);
    assert_spawned(steps_spawn(steps, workflow, "g", "b c:1"), 2, 0, 2, 0);
    assert_lane(steps, workflow, "g", 2, 0, 0, 0);
    assert_string_equal(steps_drain(steps, workflow), "b c a");
}

/* ---- trouble ---- */

static void a_retry_waits_and_keeps_what_it_knows(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(5));
    steps_spawn(steps, workflow, "g", "a:1 b:1 c:1");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 1, 1);
    struct held a = steps_hold(steps, claimed, "a");
    strcpy(a.generation, "2");
    int64_t before = steps_now(steps), second = steps->second_us;
    steps_retry(steps, &a, 1, 10 * second);
    int64_t after = steps_now(steps);
    struct store_lane_info info = steps_lane(steps, workflow, "g");
    assert_int_equal(info.failed, 1);
    assert_lane(steps, workflow, "g", 2, 0, 1, 0);
    claimed = steps_claim(steps, 0, workflow, 0, 1, 1);
    assert_in_range(claimed->next_due_utc_us, before + 10 * second, after + 10 * second);
    steps_pass_most(steps, 10 * second);
    assert_lane(steps, workflow, "g", 2, 0, 1, 0);
    steps_crash(steps);
    steps_pass_rest(steps, 10 * second);
    assert_lane(steps, workflow, "g", 3, 0, 0, 0);
    claimed = steps_claim(steps, 0, workflow, 1, 2, 2); /* before new work */
    assert_claimed(claimed, "a b");
    assert_int_equal(claimed->next_due_utc_us, 0);
    const struct store_lease *lease = &claimed->leases[0];
    assert_int_equal(lease->page, a.page);
    assert_int_equal(lease->runs[0].index, a.index);
    assert_int_equal(lease->runs[0].attempts, 1);
    assert_true(bytes_equal(lease->runs[0].generation, BYTES("2")));
    assert_true(bytes_equal(lease->runs[0].checkpoint, BYTES("checkpoint")));
    assert_true(bytes_equal(lease->runs[0].input, BYTES("{\"of\":\"run\"}")));
    assert_true(bytes_equal(lease->metadata, BYTES("{\"meta\":1}")));

    /* It does so again, and again when its page is long gone. */
    a = steps_hold(steps, claimed, "a");
    steps_retry(steps, &a, 2, 2 * second);
    steps->worker = steps_worker(steps);
    assert_string_equal(steps_drain(steps, workflow), "c");
    steps_pass(steps, 2 * second);
    steps_crash(steps);
    claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
    assert_claimed(claimed, "a b");
    assert_int_equal(claimed->leases[0].runs[0].attempts, 2);
    a = steps_hold(steps, claimed, "a");
    struct held b = steps_hold(steps, claimed, "b");
    assert_int_equal(steps_done(steps, &b), 0);
    assert_int_equal(steps_done(steps, &a), 0);
    assert_lane(steps, workflow, "g", 0, 0, 0, 0);
    assert_int_equal(steps_lane(steps, workflow, "g").done, 3);
    assert_int_equal(steps_lane(steps, workflow, "g").failed, 2);
    assert_spawned(steps_spawn(steps, workflow, "g", "a b c"), 3, 0, 0, 0);
}

static void the_longest_due_retry_goes_first(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9));
    steps_spawn(steps, workflow, "g", "a b c d");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 3, 3);
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b"),
                c = steps_hold(steps, claimed, "c");
    int64_t second = steps->second_us, before = steps_now(steps);
    steps_retry(steps, &a, 1, 3 * second);
    steps_retry(steps, &b, 1, second);
    steps_retry(steps, &c, 1, 12 * second);
    int64_t after = steps_now(steps);
    steps_pass(steps, 4 * second);
    claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
    assert_claimed(claimed, "b a d");
    assert_in_range(claimed->next_due_utc_us, before + 12 * second, after + 12 * second);
}

static void again_counts_no_attempt(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(5));
    steps_spawn(steps, workflow, "g", "a");
    struct held a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    struct store_settled again = {.lease = a.lease,
                                  .index = a.index,
                                  .outcome = STORE_RETRY,
                                  .due_utc_us = steps_now(steps),
                                  .child_key = BYTES("a")};
    assert_int_equal(steps_settle(steps, a.worker, &again, 1), 0);
    assert_int_equal(steps_lane(steps, workflow, "g").failed, 0);
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 1, 1);
    assert_claimed(claimed, "a");
    assert_int_equal(claimed->leases[0].runs[0].attempts, 0);
    assert_true(bytes_equal(claimed->leases[0].runs[0].input, BYTES("{}")));
}

static void a_released_run_is_as_before(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(5));
    steps_spawn(steps, workflow, "g", "a:1 b:1 c:1 d:1");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 3, 3);
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b"),
                c = steps_hold(steps, claimed, "c");
    strcpy(b.generation, "2");
    steps_release(steps, &b);
    assert_lane(steps, workflow, "g", 2, 2, 0, 0);
    steps_retry(steps, &a, 1, 0);
    steps_done(steps, &c);
    claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
    assert_claimed(claimed, "a b d"); /* in the order of the page */
    assert_true(bytes_equal(claimed->leases[1].runs[0].generation, BYTES("1")));
    a = steps_hold(steps, claimed, "a");
    strcpy(a.generation, "3");
    steps_release(steps, &a);
    claimed = steps_claim_more(steps, 0, a.lane, 9, 9);
    assert_claimed(claimed, "a");
    assert_int_equal(claimed->leases[0].runs[0].attempts, 1);
    assert_true(bytes_equal(claimed->leases[0].runs[0].generation, BYTES("1")));
    steps_crash(steps);
    assert_string_equal(steps_drain(steps, workflow), "a b d");
}

/* ---- parked runs ---- */

struct listed {
    char text[512];
    int stop_after;
};

static int list_parked(void *arg, const struct store_parked *parked) {
    struct listed *listed = arg;
    size_t n = strlen(listed->text);
    snprintf(listed->text + n, sizeof listed->text - n, "%.*s/%.*s/%.*s:%.*s %u %.*s;", (int)parked->workflow_name.n,
             parked->workflow_name.p, (int)parked->group.n, parked->group.p, (int)parked->child_key.n,
             parked->child_key.p, (int)parked->generation.n, parked->generation.p ? parked->generation.p : "",
             parked->attempts, (int)parked->error.n, parked->error.p);
    assert_true(parked->parked_utc_us > 0);
    return --listed->stop_after == 0 ? -77 : 0;
}

static const char *parked_list(struct steps *steps, struct store_parked_filter filter) {
    static struct listed listed;
    listed = (struct listed){0};
    assert_int_equal(store_parked_each(steps->store, &filter, list_parked, &listed, NULL), 0);
    return listed.text;
}

static int64_t park_all(struct steps *steps, int64_t workflow, const char *group, const char *key) {
    steps_spawn(steps, workflow, group, key);
    char child_key[64];
    snprintf(child_key, sizeof child_key, "%.*s", (int)strcspn(key, ":"), key);
    struct held held = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), child_key);
    assert_int_equal(steps_park(steps, &held), 0);
    return held.page;
}

static void parked_runs_are_listed_retried_and_dropped(void **state) {
    struct steps *steps = *state;
    int64_t w = steps_workflow(steps, "w", ROBIN(5)), v = steps_workflow(steps, "v", ROBIN(5));
    int64_t first = park_all(steps, w, "g", "a:1");
    park_all(steps, w, "h", "b:2");
    park_all(steps, v, "g", "a:3");
    steps_reopen(steps);
    static const char all[] = "w/g/a:1 4 went wrong;w/h/b:2 4 went wrong;v/g/a:3 4 went wrong;";
    assert_string_equal(parked_list(steps, (struct store_parked_filter){0}), all);
    assert_string_equal(parked_list(steps, (struct store_parked_filter){.workflow = BYTES("v")}),
                        "v/g/a:3 4 went wrong;");
    assert_string_equal(parked_list(steps, (struct store_parked_filter){.group = BYTES("h")}), "w/h/b:2 4 went wrong;");
    assert_string_equal(parked_list(steps, (struct store_parked_filter){.child_key = BYTES("a"), .limit = 1}),
                        "w/g/a:1 4 went wrong;");
    assert_string_equal(parked_list(steps, (struct store_parked_filter){.child_key = BYTES("none")}), "");
    assert_string_equal(parked_list(steps, (struct store_parked_filter){.after_page = first, .limit = 1}),
                        "w/h/b:2 4 went wrong;");
    struct listed listed = {.stop_after = 2};
    assert_int_equal(store_parked_each(steps->store, &(struct store_parked_filter){0}, list_parked, &listed, NULL),
                     -77);

    uint64_t count = 99;
    struct store_parked_filter filter = {.workflow = BYTES("w"), .child_key = BYTES("a")};
    steps_begin(steps);
    assert_int_equal(store_parked_retry(steps->store, &filter, &count, NULL), 0);
    steps_commit(steps);
    assert_int_equal(count, 1);
    assert_lane(steps, w, "g", 1, 0, 0, 0);
    steps_crash(steps);
    const struct store_claimed *claimed = steps_claim(steps, 0, w, 1, 1, 1);
    assert_claimed(claimed, "a");
    assert_int_equal(claimed->leases[0].runs[0].attempts, 0);
    assert_true(bytes_equal(claimed->leases[0].runs[0].checkpoint, BYTES("checkpoint")));
    assert_true(bytes_equal(claimed->leases[0].runs[0].generation, BYTES("1")));

    steps_begin(steps);
    assert_int_equal(store_parked_drop(steps->store, &(struct store_parked_filter){0}, &count, NULL), 0);
    steps_commit(steps);
    assert_int_equal(count, 2);
    assert_string_equal(parked_list(steps, (struct store_parked_filter){0}), "");
    assert_spawned(steps_spawn(steps, v, "g", "a:3"), 1, 0, 0, 0);
    assert_spawned(steps_spawn(steps, w, "g", "a:1 b:2"), 1, 1, 0, 0);
    steps_reopen(steps);
    assert_lane(steps, w, "h", 0, 0, 0, 0);
    assert_int_equal(steps_lane(steps, w, "h").failed, 1);
}

static void many_parked_runs_are_changed_at_once(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow_of(steps, "w", NULL, 0);
    static struct store_item items[STORE_PAGE_MAX];
    static struct store_settled settled[STORE_PAGE_MAX];
    static char keys[STORE_PAGE_MAX][8];
    for (uint32_t i = 0; i < STORE_PAGE_MAX; i++)
        items[i].child_key = bytes_of(keys[i], (size_t)snprintf(keys[i], 8, "%u", i));
    struct store_page page = {.workflow = workflow, .items = items, .n = STORE_PAGE_MAX};
    struct store_spawned spawned;
    steps_begin(steps);
    assert_int_equal(store_spawn(steps->store, &page, &spawned, NULL), 0);
    steps_commit(steps);
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, STORE_PAGE_MAX, 1);
    for (uint32_t i = 0; i < STORE_PAGE_MAX; i++)
        settled[i] = (struct store_settled){
            .lease = claimed->leases[0].id, .index = i, .outcome = STORE_PARKED, .child_key = items[i].child_key};
    assert_int_equal(steps_settle(steps, steps->worker, settled, STORE_PAGE_MAX), 0);
    assert_lane(steps, workflow, "", 0, 0, 0, STORE_PAGE_MAX);
    uint64_t count;
    steps_begin(steps);
    assert_int_equal(
        store_parked_drop(steps->store, &(struct store_parked_filter){.child_key = BYTES("500")}, &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_int_equal(store_parked_retry(steps->store, &(struct store_parked_filter){0}, &count, NULL), 0);
    assert_int_equal(count, STORE_PAGE_MAX - 1);
    steps_commit(steps);
    assert_lane(steps, workflow, "", STORE_PAGE_MAX - 1, 0, 0, 0);
    steps_reopen(steps);
    assert_lane(steps, workflow, "", STORE_PAGE_MAX - 1, 0, 0, 0);
}

const struct CMUnitTest conformance_runs[] = {
    CONFORMANCE_TEST(what_was_spawned_is_claimed),
    CONFORMANCE_TEST(an_input_is_never_empty),
    CONFORMANCE_TEST(a_full_page_of_long_values),
    CONFORMANCE_TEST(a_child_key_lives_once),
    CONFORMANCE_TEST(a_parked_run_gives_way_to_another_generation),
    CONFORMANCE_TEST(a_retry_waits_and_keeps_what_it_knows),
    CONFORMANCE_TEST(the_longest_due_retry_goes_first),
    CONFORMANCE_TEST(again_counts_no_attempt),
    CONFORMANCE_TEST(a_released_run_is_as_before),
    CONFORMANCE_TEST(parked_runs_are_listed_retried_and_dropped),
    CONFORMANCE_TEST(many_parked_runs_are_changed_at_once),
};
const size_t conformance_runs_n = sizeof conformance_runs / sizeof conformance_runs[0];
