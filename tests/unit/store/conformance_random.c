/* conformance_random.c - random use of a store against a naive model of what store.h says.
 *
 * The model keeps every run in one array and looks at all of them for every question. It follows the store where
 * store.h leaves a choice (which of several lanes that were not granted since the open goes first) and expects the
 * exact result elsewhere: duplicates, places, tokens, which runs and in which order, whose turn, what is due, numbers,
 * and after crashes what the last commit left. What a claim gave is checked in conformance_claim.c. */
#include "conformance_model.h"

#include "mem.h"

#include <stdio.h>

static uint64_t below(struct play *play, uint64_t bound) {
    return rng_below(&play->rng, bound);
}

/* ---- batches ---- */

static void maybe_begin(struct play *play) {
    if (!play->in_batch)
        steps_begin(play->steps);
    if (!play->in_batch)
        play->batch_utc_us = play->now_utc_us;
    play->in_batch = true;
}

static void commit(struct play *play) {
    if (!play->in_batch)
        return;
    steps_commit(play->steps);
    play->in_batch = false;
    play->durable = play->now;
}

static void drop_worker(struct play *play, int worker) {
    for (int i = 0; i < RUNS; i++)
        if (play->now.runs[i].lease && play->now.runs[i].worker == worker)
            play->now.runs[i].lease = 0;
    for (int i = 0; i < play->now.n_lanes; i++)
        play->now.lanes[i].tokens[worker] = 0;
    play->workers[worker] = 0;
}

static void expire(struct play *play) {
    for (int w = 0; w < WORKERS; w++)
        if (play->workers[w] && play->steps->sut->mono_us >= play->expires_mono_us[w])
            drop_worker(play, w);
}

static void add_worker(struct play *play, int worker) {
    play->workers[worker] = steps_worker(play->steps);
    play->expires_mono_us[worker] = play->steps->sut->mono_us + LEASE_US;
}

static void reopen(struct play *play, bool crash) {
    if (!crash) {
        commit(play);
        play->durable = play->now; /* steps_reopen checks, which writes what claims cancelled */
    }
    play->in_batch = false;
    play->now = play->durable;
    for (int w = 0; w < WORKERS; w++)
        drop_worker(play, w);
    for (int i = 0; i < play->now.n_lanes; i++)
        play->now.lanes[i].turn = 0;
    memset(play->group_turns, 0, sizeof play->group_turns);
    if (crash)
        steps_crash(play->steps);
    else
        steps_reopen(play->steps);
}

/* ---- time ---- */

/* Is there a moment in this time at which something becomes due? */
static bool is_due_within(const struct play *play, int64_t from_utc_us, int64_t to_utc_us) {
    for (int i = 0; i < RUNS; i++) {
        const struct run *run = &play->now.runs[i];
        if (run->state != FREE && run->due_utc_us >= from_utc_us && run->due_utc_us < to_utc_us)
            return true;
    }
    return false;
}

/* Sets the model's time. When time is not ours it stays away from the moments at which something becomes due, as the
 * store may see them a little earlier or later, and in one batch they all may be the batch's beginning. */
static void look_at_clock(struct play *play) {
    const int64_t before_us = 200 * US_PER_MS, after_us = 20 * US_PER_MS;
    play->now_utc_us = steps_now(play->steps);
    if (play->steps->sut->own_clock)
        return;
    if (play->in_batch && is_due_within(play, play->batch_utc_us, play->now_utc_us + before_us))
        commit(play);
    while (is_due_within(play, play->now_utc_us - after_us, play->now_utc_us + before_us)) {
        steps_pass(play->steps, after_us);
        play->now_utc_us = steps_now(play->steps);
    }
}

/* A time at most so far ahead. When time is not ours, all such lie on a grid, so that waiting for them takes less. */
static int64_t some_time(struct play *play, int64_t at_most_us) {
    int64_t at = play->now_utc_us + (int64_t)below(play, (uint64_t)at_most_us);
    return play->steps->sut->own_clock ? at : at / US_PER_S * US_PER_S;
}

static void let_pass(struct play *play) {
    int64_t us = (int64_t)below(play, below(play, 8) ? US_PER_S : LEASE_US);
    steps_pass(play->steps, play->steps->sut->own_clock ? us : 40 * US_PER_MS);
    for (int w = 0; w < WORKERS; w++)
        if (play->workers[w] && below(play, 4) && play->steps->sut->mono_us < play->expires_mono_us[w]) {
            expire(play); /* so do heartbeats of others */
            assert_int_equal(store_heartbeat(play->steps->store, play->workers[w], NULL, NULL), 0);
            play->expires_mono_us[w] = play->steps->sut->mono_us + LEASE_US;
        }
}

/* ---- spawning ---- */

static struct run *live_key(struct model *model, int workflow, int key) {
    for (int i = 0; i < RUNS; i++)
        if (model->runs[i].state != FREE && model->runs[i].key == key &&
            model->lanes[model->runs[i].lane].workflow == workflow)
            return &model->runs[i];
    return NULL;
}

static struct run *free_run(struct model *model) {
    for (int i = 0; i < RUNS; i++)
        if (model->runs[i].state == FREE)
            return &model->runs[i];
    fail_msg("the model is too small");
    return NULL;
}

static int64_t newest_lane;
static int see_lane(void *arg, const struct store_lane_info *info) {
    (void)arg;
    newest_lane = info->lane > newest_lane ? info->lane : newest_lane;
    return 0;
}

static int lane_of(struct play *play, int workflow, int group, int other) {
    struct model *model = &play->now;
    int n_keys = (int)model->n_rules[workflow];
    for (int i = 0; i < model->n_lanes; i++) {
        const struct lane *lane = &model->lanes[i];
        if (lane->workflow == workflow && lane->n_keys == n_keys && (n_keys < 1 || lane->group == group) &&
            (n_keys < 2 || lane->other == other))
            return i;
    }
    assert_true(model->n_lanes < LANES);
    model->lanes[model->n_lanes] =
        (struct lane){.workflow = workflow, .group = group, .other = other, .n_keys = n_keys};
    return model->n_lanes++;
}

/* The lane is there from now on: it gets its turn, and its group too if it is new. */
static void lane_is_born(struct play *play, struct lane *lane) {
    newest_lane = 0;
    assert_int_equal(store_lanes_each(play->steps->store, see_lane, NULL, NULL), 0);
    lane->id = newest_lane;
    lane->turn = ++play->turn;
    bool first = true;
    for (int i = 0; i < play->now.n_lanes; i++)
        if (&play->now.lanes[i] != lane && play->now.lanes[i].id &&
            model_group_turn(play, &play->now.lanes[i]) == model_group_turn(play, lane))
            first = false;
    if (first)
        *model_group_turn(play, lane) = lane->turn;
}

static void spawn(struct play *play) {
    struct model *model = &play->now;
    int workflow = (int)below(play, WORKFLOWS), group = (int)below(play, 5), other = (int)below(play, 2);
    size_t n = 1 + below(play, below(play, 4) ? 6 : 30);
    char keys[30][16], generations[30][16], rule_keys[2][16];
    int key[30], generation[30];
    struct store_item items[30];
    for (size_t i = 0; i < n; i++) {
        key[i] = below(play, 10) ? (int)below(play, KEYS) : -1;
        generation[i] = (int)below(play, 3);
        snprintf(keys[i], sizeof keys[i], "key-%03d", key[i]);
        snprintf(generations[i], sizeof generations[i], "%d", generation[i]);
        items[i] = (struct store_item){.child_key = key[i] < 0 ? BYTES_NONE : bytes_str(keys[i]),
                                       .generation = bytes_str(generations[i])};
    }
    snprintf(rule_keys[0], sizeof rule_keys[0], "%d", group);
    snprintf(rule_keys[1], sizeof rule_keys[1], "%d", other);
    struct bytes both[] = {bytes_str(rule_keys[0]), bytes_str(rule_keys[1])};
    int64_t not_before = below(play, 5) ? 0 : some_time(play, 5 * US_PER_S);
    struct store_page page = {.workflow = play->workflows[workflow],
                              .keys = both,
                              .n_keys = model->n_rules[workflow],
                              .not_before_utc_us = not_before,
                              .items = items,
                              .n = n};
    struct store_spawned spawned;
    maybe_begin(play);
    assert_int_equal(store_spawn(play->steps->store, &page, &spawned, NULL), 0);

    int at = lane_of(play, workflow, group, other);
    struct lane *lane = &model->lanes[at];
    uint64_t places = model_least_places(play, lane, 1);
    struct store_spawned expected = {.page = spawned.page};
    for (size_t i = 0; i < n; i++) {
        struct run *live = key[i] < 0 ? NULL : live_key(model, workflow, key[i]);
        bool fits = expected.created < places;
        if (live && !(fits && live->state == PARKED && live->generation != generation[i])) {
            expected.duplicates++;
            continue;
        }
        if (!fits) {
            expected.cancelled++;
            continue;
        }
        if (live) {
            expected.superseded++;
            live->state = FREE;
        }
        *free_run(model) = (struct run){.state = QUEUED,
                                        .lane = at,
                                        .key = key[i],
                                        .generation = generation[i],
                                        .page = spawned.page,
                                        .index = expected.created++,
                                        .due_utc_us = not_before};
    }
    assert_spawned(spawned, expected.created, expected.duplicates, expected.superseded, expected.cancelled);
    lane->cancelled += expected.cancelled;
    play->spawned += expected.created;
    if (lane->id == 0 && (expected.created || expected.cancelled))
        lane_is_born(play, lane);
    else if (lane->id == 0)
        model->n_lanes--;
}

/* ---- claiming ---- */

static void claim(struct play *play) {
    int worker = (int)below(play, WORKERS);
    if (!play->workers[worker])
        add_worker(play, worker);
    bool wanted[WORKFLOWS] = {0};
    int64_t workflows[WORKFLOWS];
    struct store_want wants[8];
    struct store_claim claim = {
        .worker = play->workers[worker],
        .wants = wants,
        .new_lanes = (uint32_t)below(play, 4),
        .new_runs = 1 + (uint32_t)below(play, 8),
        .new_tokens = 1 + (uint32_t)below(play, 4),
        .workflows = workflows,
    };
    for (int i = 0; i < WORKFLOWS; i++)
        if (below(play, 5)) {
            wanted[i] = true;
            workflows[claim.n_workflows++] = play->workflows[i];
        }
    expire(play);
    if (!play->workers[worker])
        add_worker(play, worker), claim.worker = play->workers[worker];
    for (int i = 0; i < play->now.n_lanes && claim.n_wants < 8; i++)
        if (play->now.lanes[i].id && (play->now.lanes[i].tokens[worker] ? below(play, 2) : below(play, 30) == 0))
            wants[claim.n_wants++] =
                (struct store_want){play->now.lanes[i].id, (uint32_t)below(play, 6), 1 + (uint32_t)below(play, 5)};
    model_check_claim(play, worker, &claim, wanted, steps_claim_as(play->steps, &claim));
    if (!play->in_batch)
        play->durable = play->now; /* a batch of its own */
}

/* ---- settling ---- */

static void settle_one(struct play *play, struct run *run, struct store_settled *settled) {
    struct lane *lane = &play->now.lanes[run->lane];
    int worker = run->worker, at = run->lane;
    static char key[16], generation[16];
    uint64_t dice = below(play, 10);
    snprintf(key, sizeof key, "key-%03d", run->key);
    *settled = (struct store_settled){
        .lease = run->lease,
        .index = run->index,
        .outcome = dice < 6   ? STORE_DONE
                   : dice < 8 ? STORE_RETRY
                   : dice < 9 ? STORE_PARKED
                              : STORE_RELEASED,
        .child_key = run->key < 0 ? BYTES_NONE : bytes_str(key),
    };
    run->lease = 0;
    if (settled->outcome == STORE_DONE) {
        run->state = FREE;
        lane->done++;
    } else if (settled->outcome != STORE_RELEASED) {
        run->generation = (int)below(play, 3);
        snprintf(generation, sizeof generation, "%d", run->generation);
        settled->generation = bytes_str(generation);
        settled->attempts = ++run->attempts;
        settled->failed = below(play, 2);
        lane->failed += settled->failed;
        settled->due_utc_us = run->due_utc_us = some_time(play, 3 * US_PER_S);
        run->state = settled->outcome == STORE_RETRY ? WAITING : PARKED;
    }
    if (model_leased_of(play, worker, at) == 0)
        lane->tokens[worker] = 0;
}

static void settle(struct play *play) {
    int worker = (int)below(play, WORKERS);
    maybe_begin(play);
    size_t ignored;
    for (int i = (int)below(play, RUNS), seen = 0, n = 0; seen < RUNS && n < 12; seen++, i = (i + 1) % RUNS) {
        struct run *run = &play->now.runs[i];
        if (run->state == FREE || !run->lease || run->worker != worker || below(play, 3) == 0)
            continue;
        struct store_settled settled;
        settle_one(play, run, &settled);
        int64_t other = play->workers[(worker + 1) % WORKERS];
        if (below(play, 20) == 0 && other) { /* another worker's word counts nothing */
            assert_int_equal(store_settle(play->steps->store, other, &settled, 1, &ignored, NULL), 0);
            assert_int_equal(ignored, 1);
        }
        assert_int_equal(store_settle(play->steps->store, play->workers[worker], &settled, 1, &ignored, NULL), 0);
        assert_int_equal(ignored, 0);
        if (below(play, 20) == 0) { /* nor does the same word again */
            assert_int_equal(store_settle(play->steps->store, play->workers[worker], &settled, 1, &ignored, NULL), 0);
            assert_int_equal(ignored, 1);
        }
        play->settled++;
        n++;
    }
}

/* ---- the rest ---- */

static int by_id(const void *a, const void *b) {
    const struct run *x = *(struct run *const *)a, *y = *(struct run *const *)b;
    if (x->page != y->page)
        return x->page < y->page ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static void change_parked(struct play *play) {
    struct model *model = &play->now;
    int workflow = (int)below(play, WORKFLOWS);
    char name[16];
    snprintf(name, sizeof name, "workflow-%d", workflow);
    struct store_parked_filter filter = {.workflow = bytes_str(name)};
    bool retry = below(play, 2);
    struct run *found[RUNS];
    size_t n = 0;
    for (int i = 0; i < RUNS; i++)
        if (model->runs[i].state == PARKED && model->lanes[model->runs[i].lane].workflow == workflow)
            found[n++] = &model->runs[i];
    qsort(found, n, sizeof found[0], by_id);
    uint64_t count = 0, expected = 0;
    maybe_begin(play);
    if (retry)
        assert_int_equal(store_parked_retry(play->steps->store, &filter, &count, NULL), 0);
    else
        assert_int_equal(store_parked_drop(play->steps->store, &filter, &count, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        if (retry && model_least_places(play, &model->lanes[found[i]->lane], 3) == 0)
            continue;
        found[i]->state = retry ? WAITING : FREE;
        found[i]->attempts = 0;
        found[i]->due_utc_us = play->now_utc_us;
        expected++;
    }
    assert_int_equal(count, expected);
}

/* Changes the limits; which rules there are stays, so that groups stay. */
static void change_limits(struct play *play) {
    int workflow = (int)below(play, WORKFLOWS);
    char name[16];
    snprintf(name, sizeof name, "workflow-%d", workflow);
    int64_t id;
    bool changes = false;
    for (size_t i = 0; i < play->now.n_rules[workflow]; i++) {
        uint32_t *max = &play->now.rules[workflow][i].max_runs, before = *max;
        bool unlimited = model_robin(&play->now, workflow, i) && below(play, 16) == 0;
        *max = unlimited ? 0 : 1 + (uint32_t)below(play, 4);
        changes |= *max != before;
    }
    maybe_begin(play);
    assert_int_equal(store_workflow_put(play->steps->store, bytes_str(name), play->now.rules[workflow],
                                        play->now.n_rules[workflow], &id, NULL),
                     0);
    assert_int_equal(id, play->workflows[workflow]);
    /* With other rules a group's turn is the latest of its lanes'. */
    for (int i = 0; i < play->now.n_lanes && changes; i++) {
        const struct lane *lane = &play->now.lanes[i];
        if (lane->id && lane->workflow == workflow && *model_group_turn(play, lane) < lane->turn)
            *model_group_turn(play, lane) = lane->turn;
    }
}

static int check_lane(void *arg, const struct store_lane_info *info) {
    struct play *play = arg;
    struct model *model = &play->now;
    int at = model_lane_by_id(model, info->lane);
    const struct lane *lane = &model->lanes[at];
    uint64_t queued = 0, leased = 0, waiting = 0, parked = 0, tokens = 0;
    for (int i = 0; i < RUNS; i++) {
        const struct run *run = &model->runs[i];
        if (run->state == FREE || run->lane != at)
            continue;
        bool later = run->state == WAITING && run->due_utc_us > play->now_utc_us;
        parked += run->state == PARKED;
        leased += run->lease != 0;
        waiting += later && !run->lease;
        queued += run->state != PARKED && !run->lease && !later;
    }
    for (int w = 0; w < WORKERS; w++)
        tokens += lane->tokens[w];
    assert_int_equal(info->workflow, play->workflows[lane->workflow]);
    assert_int_equal(info->queued, queued);
    assert_int_equal(info->leased, leased);
    assert_int_equal(info->waiting, waiting);
    assert_int_equal(info->parked, parked);
    assert_int_equal(info->tokens, tokens);
    assert_int_equal(info->done, lane->done);
    assert_int_equal(info->failed, lane->failed);
    assert_int_equal(info->cancelled, lane->cancelled);
    return 0;
}

static void check(struct play *play) {
    struct err err = {0};
    if (store_check(play->steps->store, &err) < 0)
        fail_msg("%s", err.text);
    if (!play->in_batch)
        play->durable = play->now; /* the check writes what claims cancelled */
    assert_int_equal(store_lanes_each(play->steps->store, check_lane, play, NULL), 0);
}

static void one_step(struct play *play) {
    uint64_t dice = below(play, 1000);
    look_at_clock(play);
    if (dice < 250) {
        spawn(play);
    } else if (dice < 600) {
        claim(play);
    } else if (dice < 850) {
        settle(play);
    } else if (dice < 930) {
        let_pass(play);
    } else if (dice < 945) {
        change_parked(play);
    } else if (dice < 955) {
        change_limits(play);
    } else if (dice < 960) {
        int worker = (int)below(play, WORKERS);
        if (play->workers[worker])
            assert_int_equal(store_worker_remove(play->steps->store, play->workers[worker], NULL), 0);
        drop_worker(play, worker);
    } else if (dice < 970) {
        reopen(play, below(play, 2));
    } else if (dice < 990) {
        commit(play);
    } else {
        check(play);
    }
    if (below(play, 3) == 0)
        commit(play);
}

static void play_with(struct steps *steps, uint64_t seed, int n_steps) {
    static const struct {
        size_t n;
        struct store_rule rules[2];
    } kinds[WORKFLOWS] = {
        {1, {ROBIN(3)}}, {2, {CANCEL(4), ROBIN(2)}}, {2, {ROBIN(2), ROBIN(4)}}, {2, {ROBIN(3), CANCEL(3)}}, {0, {{0}}},
    };
    struct play *play = mem_zalloc(sizeof *play);
    assert_non_null(play);
    play->steps = steps;
    rng_seed(&play->rng, seed);
    for (int i = 0; i < WORKFLOWS; i++) {
        char name[16];
        snprintf(name, sizeof name, "workflow-%d", i);
        memcpy(play->now.rules[i], kinds[i].rules, sizeof kinds[i].rules);
        play->now.n_rules[i] = kinds[i].n;
        play->workflows[i] = steps_workflow_of(steps, name, kinds[i].rules, kinds[i].n);
    }
    play->durable = play->now;
    for (int i = 0; i < n_steps; i++)
        one_step(play);
    look_at_clock(play);
    commit(play);
    check(play);
    /* The test is worth nothing when nothing happens in it. */
    assert_true(play->spawned > (uint64_t)n_steps / 20 && play->claimed > (uint64_t)n_steps / 20 &&
                play->settled > (uint64_t)n_steps / 50);
    mem_free(play);
}

static void random_use_does_what_the_model_does(void **state) {
    struct steps *steps = *state;
    uint64_t seeds = steps->sut->own_clock ? 8 : 3;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        play_with(steps, seed, 600);
        store_close(steps->store);
        steps->store = NULL;
        steps->sut->wipe(steps->sut);
        steps_open(steps);
    }
}

const struct CMUnitTest conformance_random[] = {
    CONFORMANCE_TEST(random_use_does_what_the_model_does),
};
const size_t conformance_random_n = sizeof conformance_random / sizeof conformance_random[0];
