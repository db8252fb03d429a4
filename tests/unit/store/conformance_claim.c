/* conformance_claim.c - is what a claim of the store gave exactly what the model gives? Which runs in which order,
 * whose turn, tokens, what was cancelled, and what is due next. */
#include "conformance_model.h"

#include <stdio.h>

/* The next run that the lane must give: retries by due time, then pages in order. */
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
    if (model_cancels_late(model, lane->workflow)) {
        uint64_t left = most > before ? most - before : 0;
        max_runs = max_runs < left ? max_runs : (uint32_t)left;
    }
    uint32_t n = 0;
    size_t first_lease = reading->lease;
    for (struct run *run; n < max_runs && (run = next_run(play, at));) {
        if (run->state == QUEUED && model_least_places(play, lane, 2) == 0) {
            /* All that is queued of its page is cancelled, and so on. */
            int64_t page = run->page;
            for (int i = 0; i < RUNS; i++) {
                struct run *one = &model->runs[i];
                if (one->state == QUEUED && one->lane == at && one->page == page && one->lease == 0) {
                    one->state = FREE;
                    lane->cancelled++;
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
        char text[16];
        snprintf(text, sizeof text, "key-%03d", run->key);
        assert_int_equal(lease->lane, lane->id);
        assert_int_equal(lease->page, run->page);
        assert_int_equal(given->index, run->index);
        assert_int_equal(given->attempts, run->attempts);
        assert_true(bytes_equal(given->child_key, run->key < 0 ? BYTES_NONE : bytes_str(text)));
        snprintf(text, sizeof text, "%d", run->generation);
        assert_true(bytes_equal(given->generation, bytes_str(text)));
        run->lease = lease->id;
        run->worker = worker;
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
    return lane->id && wanted[lane->workflow] && lane->tokens[worker] == 0 && model_has_work(play, at) &&
           model_least_tokens(play, lane, NULL) > 0;
}

/* Must b wait for a? Turns that are not known are not compared. */
static bool goes_before(struct play *play, const struct lane *a, const struct lane *b) {
    uint64_t *of_a = model_group_turn(play, a), *of_b = model_group_turn(play, b);
    return of_a == of_b ? a->turn < b->turn : *of_a < *of_b;
}

static uint64_t store_cancelled(struct play *play, const struct lane *lane) {
    struct store_lane_info info;
    assert_int_equal(store_lane_get(play->steps->store, lane->id, &info, NULL), 0);
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

void model_check_claim(struct play *play, int worker, const struct store_claim *claim, const bool *wanted,
                       const struct store_claimed *claimed) {
    struct reading reading = {.claimed = claimed};
    struct model *model = &play->now;
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
    int64_t due = 0;
    for (int i = 0; i < RUNS; i++) {
        const struct run *run = &model->runs[i];
        if ((run->state == QUEUED || run->state == WAITING) && run->due_utc_us > play->now_utc_us &&
            (due == 0 || run->due_utc_us < due))
            due = run->due_utc_us;
    }
    assert_int_equal(claimed->next_due_utc_us, due);
}
