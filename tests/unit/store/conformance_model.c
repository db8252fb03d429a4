/* conformance_model.c - see conformance_model.h. */
#include "conformance_model.h"

bool model_robin(const struct model *model, int workflow, size_t rule) {
    return rule < model->n_rules[workflow] && model->rules[workflow][rule].strategy == STORE_GROUP_ROUND_ROBIN;
}

size_t model_first_robin(const struct model *model, int workflow) {
    size_t rule = 0;
    while (rule < model->n_rules[workflow] && !model_robin(model, workflow, rule))
        rule++;
    return rule;
}

static int key_of(const struct lane *lane, size_t rule) {
    return rule == 0 ? lane->group : lane->other;
}

static bool applies(const struct model *model, const struct lane *lane, size_t rule) {
    return rule < model->n_rules[lane->workflow] && (int)rule < lane->n_keys;
}

/* The turn of the lane's group. */
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

static bool same_key(const struct model *model, const struct lane *a, const struct lane *b, size_t rule) {
    return a->workflow == b->workflow && applies(model, b, rule) && key_of(a, rule) == key_of(b, rule);
}

/* What a rule's key counts: tokens without those of one holder, or places. */
static uint64_t used(const struct play *play, const struct lane *lane, size_t rule, const uint32_t *but) {
    const struct model *model = &play->now;
    uint64_t n = 0;
    for (int i = 0; i < model->n_lanes && model_robin(model, lane->workflow, rule); i++)
        for (int w = 0; w < WORKERS && same_key(model, lane, &model->lanes[i], rule); w++)
            if (&model->lanes[i].tokens[w] != but)
                n += model->lanes[i].tokens[w];
    if (model_robin(model, lane->workflow, rule))
        return n;
    bool late = rule > model_first_robin(model, lane->workflow);
    for (int i = 0; i < RUNS; i++) {
        const struct run *run = &model->runs[i];
        if (run->state == FREE || run->state == PARKED || !same_key(model, lane, &model->lanes[run->lane], rule))
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
        if (applies(&play->now, lane, rule) && model_robin(&play->now, lane->workflow, rule)) {
            uint64_t here = room(play, lane, rule, but);
            least = here < least ? here : least;
        }
    return least;
}

/* when: 1: rules decided at the spawn, 2: at the claim, 3: both */
uint64_t model_least_places(const struct play *play, const struct lane *lane, int when) {
    uint64_t least = UINT64_MAX;
    for (size_t rule = 0; rule < 2; rule++) {
        if (!applies(&play->now, lane, rule) || model_robin(&play->now, lane->workflow, rule))
            continue;
        bool late = rule > model_first_robin(&play->now, lane->workflow);
        uint64_t here = room(play, lane, rule, NULL);
        if ((when & (late ? 2 : 1)) && here < least)
            least = here;
    }
    return least;
}

bool model_cancels_late(const struct model *model, int workflow) {
    return model->n_rules[workflow] == 2 && model_robin(model, workflow, 0) && !model_robin(model, workflow, 1);
}

int model_lane_by_id(const struct model *model, int64_t id) {
    for (int i = 0; i < model->n_lanes; i++)
        if (model->lanes[i].id == id)
            return i;
    fail_msg("lane %lld is not known", (long long)id);
    return -1;
}
