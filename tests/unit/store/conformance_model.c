/* conformance_model.c - see conformance_model.h. */
#include "conformance_model.h"

#include "mem.h"

#include <stdio.h>

enum store_strategy model_strategy(const struct model *model, int workflow, size_t rule) {
    return rule < model->n_rules[workflow] ? model->rules[workflow][rule].strategy : 0;
}

static bool counts_tokens(const struct model *model, int workflow, size_t rule) {
    enum store_strategy strategy = model_strategy(model, workflow, rule);
    return strategy == STORE_GROUP_ROUND_ROBIN || strategy == STORE_CANCEL_IN_PROGRESS;
}

size_t model_first_robin(const struct model *model, int workflow) {
    size_t rule = 0;
    while (rule < model->n_rules[workflow] && model_strategy(model, workflow, rule) != STORE_GROUP_ROUND_ROBIN)
        rule++;
    return rule;
}

static int key_of(const struct lane *lane, size_t rule) {
    return rule == 0 ? lane->group : lane->other;
}

static bool applies(const struct model *model, const struct lane *lane, size_t rule) {
    return rule < model->n_rules[lane->workflow] && (int)rule < lane->n_keys;
}

uint64_t *model_group_turn(struct play *play, const struct lane *lane) {
    size_t rule = model_first_robin(&play->now, lane->workflow);
    if (!applies(&play->now, lane, rule))
        return &play->group_turns[lane->workflow][0][0];
    return &play->group_turns[lane->workflow][1 + key_of(lane, rule)][rule];
}

bool model_is_work(const struct play *play, const struct run *run, int lane) {
    return (run->state == QUEUED || run->state == WAITING) && run->lane == lane && run->lease == 0 &&
           run->due_utc_us <= play->now_utc_us;
}

bool model_has_work(const struct play *play, int lane) {
    for (int i = 0; i < RUNS; i++)
        if (model_is_work(play, &play->now.runs[i], lane))
            return true;
    return false;
}

uint64_t model_leased_of(const struct play *play, int worker, int lane) {
    uint64_t n = 0;
    for (int i = 0; i < RUNS; i++) {
        const struct run *run = &play->now.runs[i];
        n += run->state != FREE && run->lease && run->lane == lane && run->worker == worker;
    }
    return n;
}

bool model_same_key(const struct model *model, const struct lane *a, const struct lane *b, size_t rule) {
    return a->workflow == b->workflow && applies(model, b, rule) && key_of(a, rule) == key_of(b, rule);
}

/* What a rule's key counts: tokens without those of one holder, or places. */
static uint64_t used(const struct play *play, const struct lane *lane, size_t rule, const uint32_t *but) {
    const struct model *model = &play->now;
    uint64_t n = 0;
    if (counts_tokens(model, lane->workflow, rule)) {
        for (int i = 0; i < model->n_lanes; i++)
            for (int w = 0; w < WORKERS && model_same_key(model, lane, &model->lanes[i], rule); w++)
                if (&model->lanes[i].tokens[w] != but)
                    n += model->lanes[i].tokens[w];
        return n;
    }
    bool late = rule > model_first_robin(model, lane->workflow);
    for (int i = 0; i < RUNS; i++) {
        const struct run *run = &model->runs[i];
        if (run->state == FREE || run->state == PARKED || !model_same_key(model, lane, &model->lanes[run->lane], rule))
            continue;
        n += !late || run->lease || run->state == WAITING;
    }
    return n;
}

static uint64_t room(const struct play *play, const struct lane *lane, size_t rule, const uint32_t *but) {
    uint32_t max = play->now.rules[lane->workflow][rule].max_runs;
    uint64_t n = used(play, lane, rule, but);
    return max == 0 ? UINT64_MAX : n < max ? max - n : 0;
}

uint64_t model_least_tokens(const struct play *play, const struct lane *lane, const uint32_t *but) {
    uint64_t least = UINT64_MAX;
    for (size_t rule = 0; rule < 2; rule++)
        if (applies(&play->now, lane, rule) && counts_tokens(&play->now, lane->workflow, rule)) {
            uint64_t here = room(play, lane, rule, but);
            least = here < least ? here : least;
        }
    return least;
}

uint64_t model_least_places(const struct play *play, const struct lane *lane, int when) {
    uint64_t least = UINT64_MAX;
    for (size_t rule = 0; rule < 2; rule++) {
        if (!applies(&play->now, lane, rule) || model_strategy(&play->now, lane->workflow, rule) != STORE_CANCEL_NEWEST)
            continue;
        bool late = rule > model_first_robin(&play->now, lane->workflow);
        uint64_t here = room(play, lane, rule, NULL);
        if ((when & (late ? 2 : 1)) && here < least)
            least = here;
    }
    return least;
}

int64_t model_period_us(int period) {
    return (1 + period) * US_PER_S;
}

static int period_of(const struct store_rule *rule) {
    return rule->period_us == model_period_us(0) ? 0 : 1;
}

/* Is the rule a rate that is not the first one's once more? */
static bool is_rate(const struct play *play, const struct lane *lane, size_t rule) {
    const struct store_rule *rules = play->now.rules[lane->workflow];
    if (!applies(&play->now, lane, rule) || rules[rule].strategy != STORE_RATE_LIMIT)
        return false;
    return rule == 0 || rules[0].strategy != STORE_RATE_LIMIT || rules[0].period_us != rules[1].period_us ||
           lane->group != lane->other;
}

uint64_t model_rate_room(const struct play *play, const struct lane *lane) {
    uint64_t least = UINT64_MAX;
    for (size_t rule = 0; rule < 2; rule++) {
        const struct store_rule *one = &play->now.rules[lane->workflow][rule];
        if (!applies(&play->now, lane, rule) || one->strategy != STORE_RATE_LIMIT)
            continue;
        int period = period_of(one), key = key_of(lane, rule);
        bool present =
            play->now_utc_us - play->now_utc_us % one->period_us == play->now.rates[period][key].window_utc_us;
        uint64_t n = present ? play->now.rates[period][key].used : 0;
        uint64_t here = n < one->max_runs ? one->max_runs - n : 0;
        least = here < least ? here : least;
    }
    return least;
}

void model_rate_use(struct play *play, const struct lane *lane) {
    for (size_t rule = 0; rule < 2; rule++) {
        const struct store_rule *one = &play->now.rules[lane->workflow][rule];
        if (!is_rate(play, lane, rule))
            continue;
        int period = period_of(one), key = key_of(lane, rule);
        int64_t window = play->now_utc_us - play->now_utc_us % one->period_us;
        if (play->now.rates[period][key].window_utc_us != window)
            play->now.rates[period][key].used = 0;
        play->now.rates[period][key].window_utc_us = window;
        play->now.rates[period][key].used++;
    }
}

bool model_claims_by_token(const struct model *model, int workflow) {
    bool rate = false, late = false;
    for (size_t rule = 0; rule < model->n_rules[workflow]; rule++) {
        rate |= model_strategy(model, workflow, rule) == STORE_RATE_LIMIT;
        late |=
            model_strategy(model, workflow, rule) == STORE_CANCEL_NEWEST && rule > model_first_robin(model, workflow);
    }
    return rate || late;
}

int model_lane_by_id(const struct model *model, int64_t id) {
    for (int i = 0; i < model->n_lanes; i++)
        if (model->lanes[i].id == id)
            return i;
    fail_msg("lane %lld is not known", (long long)id);
    return -1;
}

void model_end(struct play *play, struct run *run, enum store_state state) {
    struct model *model = &play->now;
    assert_true(model->n_past < PAST);
    model->past[model->n_past++] = (struct past){run->page, run->index, state};
    *run = (struct run){.state = FREE};
}

void model_cancel(struct play *play, struct run *run) {
    play->now.lanes[run->lane].cancelled++;
    model_end(play, run, STORE_STATE_CANCELLED);
}

void model_ask(struct play *play, struct run *run, bool driven_out) {
    assert_true(run->lease != 0);
    if (run->asked)
        return;
    run->asked = true;
    run->driven_out = driven_out;
    run->told = false;
    play->asked++;
}

enum store_state model_state(const struct play *play, const struct run *run) {
    return run->state == PARKED                 ? STORE_STATE_PARKED
           : run->lease                         ? STORE_STATE_LEASED
           : run->due_utc_us > play->now_utc_us ? STORE_STATE_WAITING
                                                : STORE_STATE_QUEUED;
}

int64_t model_some_time(struct play *play, int64_t at_most_us) {
    int64_t at = play->now_utc_us + (int64_t)below(play, (uint64_t)at_most_us);
    return play->steps->sut->own_clock ? at : at / US_PER_S * US_PER_S;
}

bool model_stood_still(struct play *play) {
    if (!play->steps->sut->own_clock && steps_now(play->steps) >= play->now_utc_us + MODEL_MARGIN_US)
        play->stood_still = true;
    return play->stood_still;
}

void model_begin(struct play *play) {
    if (play->in_batch)
        return;
    steps_begin(play->steps);
    play->batch_utc_us = play->now_utc_us;
    play->in_batch = true;
}

void model_pending(struct play *play, struct pending *pending) {
    pending->next = play->pending;
    play->pending = pending;
    if (!play->steps->sut->late)
        model_committed(play);
}

static void end_pending(struct play *play, bool answered) {
    for (struct pending *pending = play->pending, *next; pending; pending = next) {
        next = pending->next;
        if (answered)
            pending->check(pending);
        mem_free(pending);
    }
    play->pending = NULL;
}

void model_committed(struct play *play) {
    end_pending(play, true);
}

void model_lost(struct play *play) {
    end_pending(play, false);
}

void model_same_number(const struct run *run, const char *what, int64_t told, int64_t expected) {
    if (told != expected)
        fail_msg("run %lld:%u: its %s is %lld, not %lld", (long long)run->page, run->index, what, (long long)told,
                 (long long)expected);
}

void model_same_text(const struct run *run, const char *what, struct bytes told, const char *expected) {
    if (!bytes_equal(told, bytes_str(expected)))
        fail_msg("run %lld:%u: its %s is \"%.*s\", not \"%s\"", (long long)run->page, run->index, what, (int)told.n,
                 told.n ? told.p : "", expected);
}

void model_same_key_of(const struct run *run, struct bytes told) {
    char key[16] = "";
    if (run->key >= 0)
        snprintf(key, sizeof key, "key-%03d", run->key);
    model_same_text(run, "child key", told, key);
}
