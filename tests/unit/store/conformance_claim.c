/* conformance_claim.c - is what a claim of the store gave exactly what the model gives? Which runs in which order,
 * whose turn, tokens, what was cancelled, and what is due next. */
#include "conformance_model.h"

#include <stdio.h>

/* The next run that the lane must give: retries by due time, then pages by priority, then in order. */
static struct run *next_run(struct play *play, int lane) {
    struct run *best = NULL;
    for (int i = 0; i < RUNS; i++) {
        struct run *run = &play->now.runs[i];
        if (!model_is_work(play, run, lane))
            continue;
        bool better;
        if (!best)
            better = true;
        else if (run->state != best->state)
            better = run->state == WAITING;
        else if (run->state == WAITING && run->due_utc_us != best->due_utc_us)
            better = run->due_utc_us < best->due_utc_us;
        else if (run->state == QUEUED && run->priority != best->priority)
            better = run->priority > best->priority;
        else
            better = run->page != best->page ? run->page < best->page : run->index < best->index;
        if (better)
            best = run;
    }
    return best;
}

struct reading {
    const struct store_claimed *claimed;
    size_t lease, run;
    uint32_t cancelled;
};

/* The lane gives up to max_runs runs; what the store gave must be exactly those. Returns how many. */
static uint32_t give(struct play *play, struct reading *reading, int worker, int at, uint32_t max_runs,
                     uint32_t max_tokens) {
    struct model *model = &play->now;
    struct lane *lane = &model->lanes[at];
    uint32_t *tokens = &lane->tokens[worker];
    uint64_t before = model_leased_of(play, worker, at), most = model_least_tokens(play, lane, tokens);
    most = most < max_tokens ? most : max_tokens;
    most = most ? most : 1;
    if (model_claims_by_token(model, lane->workflow)) {
        uint64_t left = most > before ? most - before : 0, rate = model_rate_room(play, lane);
        play->limited += rate < left && rate < max_runs;
        left = rate < left ? rate : left;
        max_runs = max_runs < left ? max_runs : (uint32_t)left;
    }
    if (model->paused[lane->workflow])
        max_runs = 0;
    uint32_t n = 0;
    size_t first_lease = reading->lease;
    for (struct run *run; n < max_runs && (run = next_run(play, at));) {
        if (run->state == QUEUED && model_least_places(play, lane, 2) == 0) {
            /* All that is queued of its page is cancelled, and so on. */
            int64_t page = run->page;
            for (int i = 0; i < RUNS; i++) {
                struct run *one = &model->runs[i];
                if (one->state == QUEUED && one->lane == at && one->page == page && one->lease == 0) {
                    model_cancel(play, one);
                    reading->cancelled++;
                }
            }
            continue;
        }
        if (reading->lease < reading->claimed->n && reading->run == reading->claimed->leases[reading->lease].n) {
            reading->lease++;
            reading->run = 0;
        }
        assert_true(reading->lease < reading->claimed->n);
        const struct store_lease *lease = &reading->claimed->leases[reading->lease];
        const struct store_run *given = &lease->runs[reading->run++];
        char generation[16];
        snprintf(generation, sizeof generation, "%d", run->generation);
        if (lease->lane != lane->id || lease->page != run->page || given->index != run->index)
            fail_msg("lane %lld gave run %lld:%u, not run %lld:%u of lane %lld", (long long)lease->lane,
                     (long long)lease->page, given->index, (long long)run->page, run->index, (long long)lane->id);
        assert_true(lease->waited == (run->state == WAITING));
        model_same_number(run, "attempts", given->attempts, run->attempts);
        model_same_key_of(run, given->child_key);
        model_same_text(run, "generation", given->generation, generation);
        run->lease = lease->id;
        run->worker = worker;
        run->started = true;
        model_rate_use(play, lane);
        n++;
    }
    uint64_t leased = before + n;
    *tokens = (uint32_t)(most < leased ? most : leased);
    if (n) {
        if (reading->run == reading->claimed->leases[reading->lease].n) {
            reading->lease++;
            reading->run = 0;
        }
        assert_int_equal(reading->run, 0); /* a lease that was begun was given whole */
        for (size_t i = first_lease; i < reading->lease; i++)
            assert_int_equal(reading->claimed->leases[i].tokens, *tokens);
        lane->turn = *model_group_turn(play, lane) = ++play->turn;
    }
    play->claimed += n;
    return n;
}

static bool is_admissible(struct play *play, int worker, int at, const bool *wanted) {
    const struct lane *lane = &play->now.lanes[at];
    return lane->id && wanted[lane->workflow] && !play->now.paused[lane->workflow] && lane->tokens[worker] == 0 &&
           model_has_work(play, at) && model_least_tokens(play, lane, NULL) > 0 && model_rate_room(play, lane) > 0;
}

/* Must b wait for a? Turns that are not known are not compared. */
static bool goes_before(struct play *play, const struct lane *a, const struct lane *b) {
    uint64_t *of_a = model_group_turn(play, a), *of_b = model_group_turn(play, b);
    return of_a == of_b ? a->turn < b->turn : *of_a < *of_b;
}

static uint64_t store_cancelled(struct play *play, const struct lane *lane) {
    struct store_lane_info info;
    MUST(store_lane_get(play->steps->store, lane->id, &info, &err));
    return info.cancelled;
}

/* Lanes of which the store cancelled all that was queued, without giving any. */
static void cancelled_lanes(struct play *play, struct reading *reading, int worker, const struct store_claim *claim,
                            const bool *wanted, const struct lane *before) {
    for (int i = 0; i < play->now.n_lanes; i++) {
        struct lane *lane = &play->now.lanes[i];
        if (!lane->id || !is_admissible(play, worker, i, wanted) || store_cancelled(play, lane) == lane->cancelled)
            continue;
        bool given = false;
        for (size_t j = reading->lease; j < reading->claimed->n; j++)
            given |= reading->claimed->leases[j].lane == lane->id;
        /* Among lanes whose turns are not known it may have come after one that is granted below. */
        if (given || (before && (goes_before(play, before, lane) || model_least_places(play, lane, 2) > 0)))
            continue;
        assert_int_equal(give(play, reading, worker, i, claim->new_runs, claim->new_tokens), 0);
    }
}

/* Runs that were never leased and should have been by now. */
static void cancel_late(struct play *play, struct reading *reading) {
    for (int i = 0; i < RUNS; i++) {
        struct run *run = &play->now.runs[i];
        if (run->state != QUEUED || run->started || !run->start_by_utc_us || run->start_by_utc_us > play->now_utc_us)
            continue;
        model_cancel(play, run);
        reading->cancelled++;
        play->late++;
    }
}

static int64_t earlier(int64_t a, int64_t b) {
    return a == 0 || (b && b < a) ? b : a;
}

static int64_t window_end(const struct play *play, const struct store_rule *rule) {
    return play->now_utc_us - play->now_utc_us % rule->period_us + rule->period_us;
}

/* The windows of rates that are used up need not be told when no lane waits for them. */
static void check_next_due(struct play *play, int64_t told) {
    const struct model *model = &play->now;
    int64_t due = 0;
    bool may_be = false;
    for (int i = 0; i < RUNS; i++) {
        const struct run *run = &model->runs[i];
        if ((run->state == QUEUED || run->state == WAITING) && !run->lease && run->due_utc_us > play->now_utc_us)
            due = earlier(due, run->due_utc_us);
        if (run->state == QUEUED && !run->started && run->start_by_utc_us)
            due = earlier(due, run->start_by_utc_us);
    }
    for (int i = 0; i < model->n_lanes; i++) {
        const struct lane *lane = &model->lanes[i];
        if (!lane->id || model_rate_room(play, lane) > 0)
            continue;
        bool waits =
            model_has_work(play, i) && !model->paused[lane->workflow] && model_least_tokens(play, lane, NULL) > 0;
        for (size_t rule = 0; rule < model->n_rules[lane->workflow]; rule++) {
            const struct store_rule *one = &model->rules[lane->workflow][rule];
            if (one->strategy != STORE_RATE_LIMIT)
                continue;
            may_be |= told == window_end(play, one);
            if (waits && model->n_rules[lane->workflow] == 2 && model->rules[lane->workflow][1 - rule].period_us == 0)
                due = earlier(due, window_end(play, one)); /* it alone can be what is used up */
        }
    }
    if (told != due && !(may_be && (due == 0 || told < due)))
        fail_msg("%lld is due next, not %lld", (long long)due, (long long)told);
}

void model_check_claim(struct play *play, int worker, const struct store_claim *claim, const bool *wanted,
                       const struct store_claimed *claimed) {
    if (model_stood_still(play))
        return;
    struct reading reading = {.claimed = claimed};
    struct model *model = &play->now;
    cancel_late(play, &reading);
    for (size_t i = 0; i < claim->n_wants; i++) {
        int at = model_lane_by_id(model, claim->wants[i].lane);
        uint32_t *tokens = &model->lanes[at].tokens[worker];
        if (*tokens)
            give(play, &reading, worker, at, claim->wants[i].runs, claim->wants[i].tokens);
        assert_int_equal(claimed->held[i], *tokens);
    }
    uint32_t lanes = 0;
    while (reading.lease < claimed->n) {
        int at = model_lane_by_id(model, claimed->leases[reading.lease].lane);
        cancelled_lanes(play, &reading, worker, claim, wanted, &model->lanes[at]);
        assert_true(is_admissible(play, worker, at, wanted));
        for (int i = 0; i < model->n_lanes; i++)
            if (i != at && is_admissible(play, worker, i, wanted) &&
                goes_before(play, &model->lanes[i], &model->lanes[at]))
                fail_msg("lane %lld was granted before lane %lld", (long long)model->lanes[at].id,
                         (long long)model->lanes[i].id);
        assert_true(give(play, &reading, worker, at, claim->new_runs, claim->new_tokens) > 0);
        assert_true(++lanes <= claim->new_lanes);
    }
    if (lanes < claim->new_lanes)
        cancelled_lanes(play, &reading, worker, claim, wanted, NULL);
    assert_int_equal(claimed->cancelled, reading.cancelled);
    bool more = false;
    for (int i = 0; i < model->n_lanes && !more; i++)
        more = is_admissible(play, worker, i, wanted);
    assert_int_equal(claimed->more, more);
    if (more)
        assert_int_equal(lanes, claim->new_lanes);
    check_next_due(play, claimed->next_due_utc_us);
}
