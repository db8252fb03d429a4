/* conformance_random.c - random use of a store against a naive model of what store.h says.
 *
 * The model keeps every run in one array and looks at all of them for every question. It follows the store where
 * store.h leaves a choice (which of several lanes that were not granted since the open goes first) and expects the
 * exact result elsewhere: duplicates, places, tokens, which runs and in which order, whose turn, what is due, numbers,
 * and after crashes what the last commit left. What a claim gave is checked in conformance_claim.c.
 *
 * A seed says all that is done (but for time, where it is not ours). To look for what others say:
 *
 *     FROE_TEST_SEED=100 FROE_TEST_SEEDS=500 CONFORMANCE_TEST=random_use_does_what_the_model_does test_store_sqlite */
#include "conformance_model.h"

#include "mem.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- batches ---- */

static void commit(struct play *play) {
    if (!play->in_batch)
        return;
    steps_commit(play->steps);
    model_committed(play);
    play->in_batch = false;
    play->durable = play->now;
}

/* Outside of a batch what a call changes is a batch of its own. */
static void changed(struct play *play) {
    if (!play->in_batch)
        play->durable = play->now;
}

/* What it had is queued again, but for those that were asked to end. */
static void drop_worker(struct play *play, int worker) {
    for (int i = 0; i < RUNS; i++) {
        struct run *run = &play->now.runs[i];
        if (run->state == FREE || !run->lease || run->worker != worker)
            continue;
        run->lease = 0;
        if (run->asked)
            model_cancel(play, run);
    }
    for (int i = 0; i < play->now.n_lanes; i++)
        play->now.lanes[i].tokens[worker] = 0;
    play->workers[worker] = 0;
}

static bool is_late(const struct play *play, int worker) {
    return play->workers[worker] && play->steps->sut->mono_us >= play->expires_mono_us[worker];
}

static bool is_any_late(const struct play *play) {
    for (int w = 0; w < WORKERS; w++)
        if (is_late(play, w))
            return true;
    return false;
}

static void expire(struct play *play) {
    for (int w = 0; w < WORKERS; w++)
        if (is_late(play, w))
            drop_worker(play, w);
}

static void add_worker(struct play *play, int worker) {
    play->workers[worker] = steps_worker(play->steps);
    play->expires_mono_us[worker] = play->steps->sut->mono_us + LEASE_US;
}

static void reopen(struct play *play, bool crash) {
    if (!crash)
        commit(play);
    play->in_batch = false;
    play->n_reserved = 0;
    model_lost(play);
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
    play->durable = play->now;
}

/* ---- time ---- */

/* Is there a moment in this time at which something becomes due? */
static bool is_due_within(const struct play *play, int64_t from_utc_us, int64_t to_utc_us) {
    for (int i = 0; i < RUNS; i++) {
        const struct run *run = &play->now.runs[i];
        if (run->state != FREE && run->due_utc_us >= from_utc_us && run->due_utc_us < to_utc_us)
            return true;
        if (run->state == QUEUED && run->start_by_utc_us >= from_utc_us && run->start_by_utc_us < to_utc_us)
            return true;
    }
    for (int period = 0; period < PERIODS; period++)
        for (int key = 0; key < GROUPS; key++) {
            int64_t end = play->now.rates[period][key].window_utc_us + model_period_us(period);
            if (end >= from_utc_us && end < to_utc_us)
                return true;
        }
    return false;
}

/* Sets the model's time. When time is not ours it stays away from the moments at which something becomes due, as the
 * store may see them a little earlier or later, and in one batch they all may be the batch's beginning. */
static void look_at_clock(struct play *play) {
    const int64_t before_us = MODEL_MARGIN_US, after_us = 20 * US_PER_MS;
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

static int by_place(const void *a, const void *b) {
    const struct store_cancel *x = a, *y = b;
    if (x->page != y->page)
        return x->page < y->page ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Each run that was asked to end is told once, to the worker that has it. */
static void heartbeat(struct play *play, int worker) {
    struct store_cancels cancels;
    struct store_cancel expected[RUNS];
    size_t n = 0;
    MUST(store_heartbeat(play->steps->store, play->workers[worker], &cancels, &err));
    play->expires_mono_us[worker] = play->steps->sut->mono_us + LEASE_US;
    for (int i = 0; i < RUNS; i++) {
        struct run *run = &play->now.runs[i];
        if (run->state == FREE || !run->lease || run->worker != worker || !run->asked || run->told)
            continue;
        run->told = true;
        expected[n++] = (struct store_cancel){run->lease, run->page, run->index, run->driven_out};
    }
    assert_int_equal(cancels.n, n);
    struct store_cancel told[RUNS];
    if (n)
        memcpy(told, cancels.items, n * sizeof told[0]);
    store_cancels_free(&cancels);
    qsort(told, n, sizeof told[0], by_place);
    qsort(expected, n, sizeof expected[0], by_place);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(told[i].lease, expected[i].lease);
        assert_int_equal(told[i].page, expected[i].page);
        assert_int_equal(told[i].index, expected[i].index);
        assert_int_equal(told[i].driven_out, expected[i].driven_out);
    }
}

/* Whether a heartbeat takes back what others have held too long is the store's choice; a claim does, even of nothing.
 */
static void take_back(struct play *play, int worker) {
    static const bool none[WORKFLOWS];
    struct store_claim claim = {.worker = play->workers[worker]};
    look_at_clock(play);
    expire(play);
    model_check_claim(play, worker, &claim, none, steps_claim_as(play->steps, &claim));
}

static void let_pass(struct play *play) {
    int64_t us = (int64_t)below(play, below(play, 8) ? US_PER_S : LEASE_US);
    steps_pass(play->steps, play->steps->sut->own_clock ? us : 40 * US_PER_MS);
    for (int w = 0; w < WORKERS; w++)
        if (play->workers[w] && below(play, 4) && play->steps->sut->mono_us < play->expires_mono_us[w]) {
            heartbeat(play, w);
            if (is_any_late(play))
                take_back(play, w);
        }
    changed(play);
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
    changed(play);
}

/* ---- settling ---- */

struct settling {
    struct pending pending; /* first */
    struct store_settled settled;
    char key[16], generation[16];
    size_t n, ignored[3], expected[3];
};

static void check_settled(const struct pending *pending) {
    const struct settling *settling = (const struct settling *)(const void *)pending;
    for (size_t i = 0; i < settling->n; i++)
        assert_int_equal(settling->ignored[i], settling->expected[i]);
}

static void tell(struct play *play, struct settling *settling, int64_t worker, size_t ignored) {
    size_t i = settling->n++;
    settling->expected[i] = ignored;
    MUST(store_settle(play->steps->store, worker, &settling->settled, 1, &settling->ignored[i], &err));
}

static void settle_one(struct play *play, struct run *run, struct settling *settling) {
    static const enum store_outcome outcomes[] = {
        STORE_DONE,  STORE_DONE,   STORE_DONE,   STORE_DONE,     STORE_DONE,      STORE_RETRY,    STORE_RETRY,
        STORE_RETRY, STORE_PARKED, STORE_FAILED, STORE_RELEASED, STORE_CANCELLED, STORE_FORGOTTEN};
    struct lane *lane = &play->now.lanes[run->lane];
    int worker = run->worker, at = run->lane;
    struct store_settled *settled = &settling->settled;
    snprintf(settling->key, sizeof settling->key, "key-%03d", run->key);
    *settled = (struct store_settled){
        .lease = run->lease,
        .index = run->index,
        .outcome = outcomes[below(play, sizeof outcomes / sizeof outcomes[0])],
        .child_key = run->key < 0 ? BYTES_NONE : bytes_str(settling->key),
        .failed = below(play, 2),
        .error = BYTES("why"),
        .result = BYTES("{}"),
    };
    run->lease = 0;
    if (settled->outcome != STORE_DONE && settled->outcome != STORE_RELEASED)
        lane->failed += settled->failed;
    switch (settled->outcome) {
    case STORE_DONE:
        lane->done++;
        model_end(play, run, STORE_STATE_DONE);
        break;
    case STORE_FAILED:
        model_end(play, run, STORE_STATE_FAILED);
        break;
    case STORE_FORGOTTEN:
        model_end(play, run, STORE_STATE_CANCELLED);
        break;
    case STORE_CANCELLED:
        model_cancel(play, run);
        break;
    case STORE_RELEASED:
        if (run->asked)
            model_cancel(play, run);
        break;
    case STORE_RETRY:
    case STORE_PARKED:
        run->generation = (int)below(play, 3);
        snprintf(settling->generation, sizeof settling->generation, "%d", run->generation);
        settled->generation = bytes_str(settling->generation);
        settled->attempts = ++run->attempts;
        settled->due_utc_us = run->due_utc_us = model_some_time(play, 3 * US_PER_S);
        bool asked = run->asked;
        run->asked = false;
        run->state = settled->outcome == STORE_RETRY ? WAITING : PARKED;
        if (asked && settled->outcome == STORE_RETRY)
            model_cancel(play, run);
        break;
    case STORE_CHECKPOINT: /* is not among them */
        break;
    }
    if (model_leased_of(play, worker, at) == 0)
        lane->tokens[worker] = 0;
}

static void settle(struct play *play) {
    int worker = (int)below(play, WORKERS);
    model_begin(play);
    for (int i = (int)below(play, RUNS), seen = 0, n = 0; seen < RUNS && n < 12; seen++, i = (i + 1) % RUNS) {
        struct run *run = &play->now.runs[i];
        if (run->state == FREE || !run->lease || run->worker != worker || below(play, 3) == 0)
            continue;
        struct settling *settling = mem_zalloc(sizeof *settling);
        assert_non_null(settling);
        settling->pending.check = check_settled;
        settle_one(play, run, settling);
        int64_t other = play->workers[(worker + 1) % WORKERS];
        if (below(play, 20) == 0 && other) /* another worker's word counts nothing */
            tell(play, settling, other, 1);
        tell(play, settling, play->workers[worker], 0);
        if (below(play, 20) == 0) /* nor does the same word again */
            tell(play, settling, play->workers[worker], 1);
        model_pending(play, &settling->pending);
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
    model_begin(play);
    if (retry)
        MUST(store_parked_retry(play->steps->store, &filter, &count, &err));
    else
        MUST(store_parked_drop(play->steps->store, &filter, &count, &err));
    for (size_t i = 0; i < n; i++) {
        if (retry && model_least_places(play, &model->lanes[found[i]->lane], 3) == 0)
            continue;
        if (retry) {
            found[i]->state = WAITING;
            found[i]->attempts = 0;
            found[i]->due_utc_us = play->now_utc_us;
        } else {
            model_end(play, found[i], STORE_STATE_CANCELLED);
        }
        expected++;
    }
    if (count != expected)
        fail_msg("parked runs of workflow %lld: the store %s %llu, the model %llu of %zu",
                 (long long)play->workflows[workflow], retry ? "queued again" : "dropped", (unsigned long long)count,
                 (unsigned long long)expected, n);
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
        bool robin = model_strategy(&play->now, workflow, i) == STORE_GROUP_ROUND_ROBIN;
        bool unlimited = robin && below(play, 16) == 0;
        *max = unlimited ? 0 : 1 + (uint32_t)below(play, 4);
        changes |= *max != before;
    }
    model_begin(play);
    MUST(store_workflow_put(play->steps->store, bytes_str(name), play->now.rules[workflow], play->now.n_rules[workflow],
                            &id, &err));
    assert_int_equal(id, play->workflows[workflow]);
    /* With other rules a group's turn is the latest of its lanes'. */
    for (int i = 0; i < play->now.n_lanes && changes; i++) {
        const struct lane *lane = &play->now.lanes[i];
        if (lane->id && lane->workflow == workflow && *model_group_turn(play, lane) < lane->turn)
            *model_group_turn(play, lane) = lane->turn;
    }
}

static void pause(struct play *play) {
    int workflow = (int)below(play, WORKFLOWS);
    char name[16];
    snprintf(name, sizeof name, "workflow-%d", workflow);
    play->now.paused[workflow] = below(play, 4) == 0;
    model_begin(play);
    MUST(store_workflow_pause(play->steps->store, bytes_str(name), play->now.paused[workflow], &err));
}

/* One that lives, or one of the past. */
static void cancel(struct play *play) {
    struct model *model = &play->now;
    struct run *run = &model->runs[below(play, RUNS)];
    enum store_state expected, was = 0;
    int64_t page;
    uint32_t index;
    for (int i = 0; i < RUNS && run->state == FREE; i++)
        run = run + 1 < model->runs + RUNS ? run + 1 : model->runs;
    if (run->state == FREE || (model->n_past && below(play, 10) == 0)) {
        if (!model->n_past)
            return;
        const struct past *past = &model->past[below(play, (uint64_t)model->n_past)];
        page = past->page, index = past->index, expected = past->state;
    } else {
        page = run->page, index = run->index, expected = model_state(play, run);
        if (expected == STORE_STATE_LEASED)
            model_ask(play, run, false);
        else
            model_cancel(play, run);
    }
    model_begin(play);
    MUST(store_run_cancel(play->steps->store, page, index, &was, &err));
    if (was != expected && !model_stood_still(play))
        fail_msg("run %lld:%u was in state %d, not %d", (long long)page, index, (int)was, (int)expected);
}

static int check_lane(void *arg, const struct store_lane_info *info) {
    struct play *play = arg;
    if (model_stood_still(play))
        return 0;
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
    const struct {
        const char *what;
        uint64_t told, expected;
    } numbers[] = {
        {"queued", info->queued, queued},       {"leased", info->leased, leased},
        {"waiting", info->waiting, waiting},    {"parked", info->parked, parked},
        {"tokens", info->tokens, tokens},       {"done", info->done, lane->done},
        {"failed", info->failed, lane->failed}, {"cancelled", info->cancelled, lane->cancelled},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (numbers[i].told != numbers[i].expected)
            fail_msg("lane %lld of workflow %lld: %s is %llu, not %llu", (long long)info->lane,
                     (long long)info->workflow, numbers[i].what, (unsigned long long)numbers[i].told,
                     (unsigned long long)numbers[i].expected);
    return 0;
}

struct counting {
    struct play *play;
    int runs;
};

static int check_run(void *arg, const struct store_run_info *info) {
    struct counting *counting = arg;
    struct play *play = counting->play;
    const struct model *model = &play->now;
    counting->runs++;
    if (model_stood_still(play))
        return 0;
    for (int i = 0; i < RUNS; i++) {
        const struct run *run = &model->runs[i];
        if (run->state == FREE || run->page != info->page || run->index != info->index)
            continue;
        model_same_number(run, "state", info->state, model_state(play, run));
        model_same_number(run, "wish to end it", info->cancel_asked, run->asked);
        model_same_number(run, "attempts", info->attempts, run->attempts);
        model_same_number(run, "priority", info->priority, run->priority);
        model_same_key_of(run, info->child_key);
        return 0;
    }
    for (int i = 0; i < model->n_past; i++)
        if (model->past[i].page == info->page && model->past[i].index == info->index) {
            if (info->state != model->past[i].state)
                fail_msg("run %lld:%u of the past is in state %d, not %d", (long long)info->page, info->index,
                         (int)info->state, (int)model->past[i].state);
            return 0;
        }
    fail_msg("run %lld:%u should not be there", (long long)info->page, info->index);
    return 0;
}

static void check_runs(struct play *play) {
    struct counting counting = {.play = play};
    int expected = play->now.n_past;
    for (int i = 0; i < RUNS; i++)
        expected += play->now.runs[i].state != FREE;
    MUST(store_runs_each(play->steps->store, &(struct store_runs_filter){0}, check_run, &counting, &err));
    assert_int_equal(counting.runs, expected);
}

static void check(struct play *play) {
    MUST(store_check(play->steps->store, &err));
    MUST(store_lanes_each(play->steps->store, check_lane, play, &err));
    check_runs(play);
}

static void one_step(struct play *play) {
    uint64_t dice = below(play, 1000);
    look_at_clock(play);
    if (dice < 250) {
        model_spawn(play);
    } else if (dice < 580) {
        claim(play);
    } else if (dice < 600) {
        cancel(play);
    } else if (dice < 605) {
        pause(play);
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
            MUST(store_worker_remove(play->steps->store, play->workers[worker], &err));
        drop_worker(play, worker);
        changed(play);
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

/* False when the machine stood still, so that it cannot be played to the end. */
static bool play_with(struct steps *steps, uint64_t seed, int n_steps, uint64_t happened[4]) {
    static const struct {
        size_t n;
        struct store_rule rules[2];
    } kinds[WORKFLOWS] = {
        {1, {ROBIN(3)}},
        {2, {CANCEL(4), ROBIN(2)}},
        {2, {ROBIN(2), ROBIN(4)}},
        {2, {ROBIN(3), CANCEL(3)}},
        {0, {{0}}},
        {2, {ROBIN(3), PROGRESS(4)}},
        {2, {PROGRESS(3), CANCEL(4)}},
        {2, {ROBIN(3), RATE(4, US_PER_S)}},
        {2, {RATE(3, 2 * US_PER_S), RATE(2, 2 * US_PER_S)}},
        {2, {PROGRESS(5), RATE(3, US_PER_S)}},
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
    for (int i = 0; i < n_steps && !play->stood_still; i++)
        one_step(play);
    if (!play->stood_still) {
        look_at_clock(play);
        commit(play);
        check(play);
    }
    bool played = !play->stood_still;
    if (played) {
        /* The test is worth nothing when nothing happens in it. */
        assert_true(play->spawned > (uint64_t)n_steps / 20 && play->claimed > (uint64_t)n_steps / 20 &&
                    play->settled > (uint64_t)n_steps / 50);
        const uint64_t counts[] = {play->driven_out, play->late, play->asked, play->limited};
        for (int i = 0; i < 4; i++)
            happened[i] += counts[i];
    } else {
        model_lost(play);
    }
    mem_free(play);
    return played;
}

static uint64_t number_of(const char *variable, uint64_t otherwise) {
    const char *text = getenv(variable);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static uint64_t playing; /* the seed, while it is played with */

static void random_use_does_what_the_model_does(void **state) {
    struct steps *steps = *state;
    uint64_t happened[4] = {0}, first = number_of("FROE_TEST_SEED", 1);
    uint64_t seeds = number_of("FROE_TEST_SEEDS", steps->sut->seeds ? steps->sut->seeds : 8);
    int stood_still = 0;
    for (playing = first; playing < first + seeds;) {
        steps_reset_clock(steps);
        if (getenv("FROE_TEST_SEEDS"))
            print_message("seed %llu\n", (unsigned long long)playing);
        if (play_with(steps, playing, 600, happened))
            playing++;
        else if (++stood_still > 20)
            fail_msg("the machine stands still too often to play with time that is not ours");
        store_close(steps->store);
        steps->store = NULL;
        steps->sut->wipe(steps->sut);
        steps_open(steps);
    }
    playing = 0;
    for (int i = 0; i < 4 && seeds > 1; i++)
        assert_true(happened[i] > 5);
}

static int teardown(void **state) {
    if (playing)
        print_error("it was FROE_TEST_SEED=%llu\n", (unsigned long long)playing);
    playing = 0;
    return steps_teardown(state);
}

const struct CMUnitTest conformance_random[] = {
    cmocka_unit_test_setup_teardown(random_use_does_what_the_model_does, steps_setup, teardown),
};
const size_t conformance_random_n = sizeof conformance_random / sizeof conformance_random[0];
