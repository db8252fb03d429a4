/* lanes.c - see lanes.h. */
#include "lanes.h"

/* ---- rules ---- */

static bool limits_tokens(const struct lane *lane, size_t rule) {
    return lane_has(lane, rule, STORE_GROUP_ROUND_ROBIN) || lane_has(lane, rule, STORE_CANCEL_IN_PROGRESS);
}

static bool cancels(const struct lane *lane, size_t rule) {
    return lane_has(lane, rule, STORE_CANCEL_NEWEST);
}

static uint64_t room_beside(const struct rule_key *key, uint64_t own) {
    uint32_t max = key->max_runs;
    if (max == 0)
        return UINT64_MAX;
    uint64_t used = (key->rate ? key->rate->used : key->used) - own;
    return used < max ? max - used : 0;
}

uint64_t rule_key_excess(const struct store_rule *rule, const struct rule_key *key, uint64_t more) {
    uint64_t all = more + (key ? key->live - key->asked : 0);
    return all > rule->max_runs ? all - rule->max_runs : 0;
}

uint64_t rule_key_room(const struct rule_key *key) {
    return room_beside(key, 0);
}

uint64_t lane_tokens_free(const struct lane *lane, uint32_t own) {
    uint64_t room = UINT64_MAX;
    for (size_t i = 0; i < lane->n_keys; i++) {
        if (!limits_tokens(lane, i))
            continue;
        uint64_t here = room_beside(lane->keys[i].rule_key, own);
        room = here < room ? here : room;
    }
    return room;
}

static uint64_t places(const struct lane *lane, bool early) {
    uint64_t room = UINT64_MAX;
    for (size_t i = 0; lane->workflow->cancels && i < lane->n_keys; i++) {
        if (!cancels(lane, i) || (!early && !rule_is_late(lane->workflow, i)))
            continue;
        uint64_t here = rule_key_room(lane->keys[i].rule_key);
        room = here < room ? here : room;
    }
    return room;
}

uint64_t lane_places_at_claim(const struct lane *lane) {
    return places(lane, false);
}

uint64_t lane_places(const struct lane *lane) {
    return places(lane, true);
}

uint64_t workflow_places_at_spawn(const struct workflow *workflow, const struct bytes *keys, size_t n) {
    uint64_t room = UINT64_MAX;
    for (size_t i = 0; workflow->cancels && i < n; i++) {
        if (workflow->rules[i].strategy != STORE_CANCEL_NEWEST || rule_is_late(workflow, i))
            continue;
        const struct rule_key *key = map_get(&workflow->keys[i], keys[i]);
        uint64_t here = key ? rule_key_room(key) : workflow->rules[i].max_runs;
        room = here < room ? here : room;
    }
    return room;
}

/* A place decided at the spawn is held by whatever is live, one decided at the claim by what was claimed: leased runs
 * and those that were in trouble since. */
static bool takes_place(const struct lane *lane, size_t rule, enum lane_kind kind) {
    return kind == LANE_LEASED || kind == LANE_RETRIES || (kind == LANE_QUEUED && !rule_is_late(lane->workflow, rule));
}

static void add_to(uint64_t *sum, int64_t change) {
    *sum += (uint64_t)change;
}

void lane_count(struct lane *lane, enum lane_kind kind, int64_t change) {
    add_to(&lane->counts[kind], change);
    for (size_t i = 0; lane->workflow->cancels && i < lane->n_keys; i++)
        if (cancels(lane, i) && takes_place(lane, i, kind))
            add_to(&lane->keys[i].rule_key->used, change);
    for (size_t i = 0; lane->workflow->drives_out && kind != LANE_PARKED && i < lane->n_keys; i++)
        if (lane_has(lane, i, STORE_CANCEL_IN_PROGRESS))
            add_to(&lane->keys[i].rule_key->live, change);
    if (change < 0 && !lane_has_runs(lane))
        lane_emptied(lane);
}

bool lane_has_runs(const struct lane *lane) {
    for (int kind = 0; kind < LANE_KINDS; kind++)
        if (lane->counts[kind])
            return true;
    return false;
}

void lane_emptied(struct lane *lane) {
    list_move_back(&lane->workflow->emptied, &lane->idle);
}

void lane_asked(struct lane *lane, int64_t change) {
    add_to(&lane->asked, change);
    for (size_t i = 0; lane->workflow->drives_out && i < lane->n_keys; i++)
        if (lane_has(lane, i, STORE_CANCEL_IN_PROGRESS))
            add_to(&lane->keys[i].rule_key->asked, change);
}

/* ---- turns ---- */

static void make_ready(struct lane *lane) {
    struct group *group = lane->group;
    if (!heap_top(&group->lanes))
        heap_push(&lane->workflow->ready, &group->link);
    heap_push(&group->lanes, &lane->link);
    lane->place = LANE_READY;
}

static void take_out(struct lane *lane) {
    if (lane->place == LANE_READY) {
        heap_remove(&lane->group->lanes, &lane->link);
        if (!heap_top(&lane->group->lanes))
            heap_remove(&lane->workflow->ready, &lane->group->link);
    } else if (lane->place == LANE_BLOCKED) {
        heap_remove(&lane->blocked_on->blocked, &lane->link);
        lane->blocked_on = NULL;
    }
    lane->place = LANE_IDLE;
}

static void wait_for(struct lane *lane, struct rule_key *key) {
    lane->blocked_on = key;
    lane->blocked_group_turn = lane->group->turn;
    heap_push(&key->blocked, &lane->link);
    lane->place = LANE_BLOCKED;
}

static void set_candidate(struct rule_key *key, struct lane *lane) {
    key->candidate = lane;
    lane->candidate_of = key;
    list_push_back(&lane->group->candidates, &lane->of_candidates);
}

static void unset_candidate(struct rule_key *key) {
    list_remove(&key->candidate->of_candidates);
    key->candidate->candidate_of = NULL;
    key->candidate = NULL;
}

/* The first of those that wait there; NULL: none does. Groups may have been granted (through another lane) since their
 * lanes began to wait: those go back to where they belong now. */
static struct lane *first_waiting(struct rule_key *key) {
    for (struct heap_link *top; (top = heap_top(&key->blocked));) {
        struct lane *lane = LIST_ENTRY(top, struct lane, link);
        if (lane->blocked_group_turn == lane->group->turn)
            return lane;
        take_out(lane);
        wait_for(lane, key);
    }
    return NULL;
}

static bool is_before(const struct lane *a, const struct lane *b) {
    return a->group->turn != b->group->turn ? a->group->turn < b->group->turn : a->turn < b->turn;
}

/* When there is room under the key, sees to it that the first of those that wait for it is let in. */
static void let_in(struct rule_key *key) {
    if (rule_key_room(key) == 0)
        return;
    struct lane *first = first_waiting(key), *before = key->candidate;
    if (!first || (before && is_before(before, first)))
        return;
    if (before) {
        unset_candidate(key);
        take_out(before);
        wait_for(before, key);
    }
    take_out(first);
    make_ready(first);
    set_candidate(key, first);
}

/* The lane was granted, waits for something else, or has no work: the next may be let in. */
static void decided(struct lane *lane) {
    struct rule_key *key = lane->candidate_of;
    if (!key)
        return;
    unset_candidate(key);
    let_in(key);
}

static bool has_work(const struct lane *lane) {
    return heap_top(&lane->pages) || heap_top(&lane->retries);
}

void lane_work_changed(struct lane *lane) {
    if (lane->place == LANE_ASIDE)
        return; /* lane_put_back looks */
    if (!has_work(lane)) {
        take_out(lane);
        decided(lane);
    } else if (lane->place == LANE_IDLE) {
        make_ready(lane);
    }
}

void lane_put_aside(struct lane *lane) {
    take_out(lane);
    lane->place = LANE_ASIDE;
    decided(lane);
}

void lane_put_back(struct lane *lane) {
    lane->place = LANE_IDLE;
    lane_work_changed(lane);
}

static void block(struct lane *lane, struct rule_key *key) {
    take_out(lane);
    wait_for(lane, key);
    decided(lane);
}

static struct rule_key *full_key(const struct lane *lane) {
    for (size_t i = 0; i < lane->n_keys; i++)
        if ((limits_tokens(lane, i) || lane_has(lane, i, STORE_RATE_LIMIT)) &&
            rule_key_room(lane->keys[i].rule_key) == 0)
            return lane->keys[i].rule_key;
    return NULL;
}

struct lane *lanes_next(struct lanes *lanes, const int64_t *workflows, size_t n) {
    for (;;) {
        struct group *first = NULL;
        for (size_t i = 0; i < n; i++) {
            struct workflow *workflow = lanes_workflow(lanes, workflows[i]);
            struct heap_link *top = workflow && !workflow->paused ? heap_top(&workflow->ready) : NULL;
            if (top && (!first || LIST_ENTRY(top, struct group, link)->turn < first->turn))
                first = LIST_ENTRY(top, struct group, link);
        }
        if (!first)
            return NULL;
        struct lane *lane = LIST_ENTRY(heap_top(&first->lanes), struct lane, link);
        struct rule_key *full = full_key(lane);
        if (!full)
            return lane;
        block(lane, full);
    }
}

void lane_granted(struct lanes *lanes, struct lane *lane, int64_t now_utc_us) {
    struct group *group = lane->group;
    bool aside = lane->place == LANE_ASIDE;
    if (!aside) {
        take_out(lane);
        decided(lane);
    }
    bool others = heap_top(&group->lanes);
    if (others)
        heap_remove(&lane->workflow->ready, &group->link);
    lane->turn = group->turn = ++lanes->turn;
    lane->last_granted_utc_us = now_utc_us;
    if (others)
        heap_push(&lane->workflow->ready, &group->link);
    LIST_EACH_SAFE (link, next, &group->candidates)
        let_in(LIST_ENTRY(link, struct lane, of_candidates)->candidate_of); /* another may be first now */
    if (!aside)
        lane_work_changed(lane);
}

void lane_tokens(struct lane *lane, int64_t change) {
    add_to(&lane->tokens, change);
    for (size_t i = 0; i < lane->n_keys; i++)
        if (limits_tokens(lane, i)) {
            add_to(&lane->keys[i].rule_key->used, change);
            if (change < 0)
                let_in(lane->keys[i].rule_key);
        }
}

/* ---- rates ---- */

bool lane_claims_by_token(const struct lane *lane) {
    return lane->workflow->cancels_late || lane->workflow->limits_rate;
}

uint64_t lane_rate_room(const struct lane *lane) {
    uint64_t room = UINT64_MAX;
    for (size_t i = 0; lane->workflow->limits_rate && i < lane->n_keys; i++) {
        uint64_t here = lane_has(lane, i, STORE_RATE_LIMIT) ? rule_key_room(lane->keys[i].rule_key) : UINT64_MAX;
        room = here < room ? here : room;
    }
    return room;
}

bool rate_is_full(const struct rate *rate) {
    LIST_EACH (link, &rate->rule_keys)
        if (rule_key_room(LIST_ENTRY(link, struct rule_key, of_rate)) == 0)
            return true;
    return false;
}

void lane_rate_use(struct lanes *lanes, const struct lane *lane, uint64_t n) {
    for (size_t i = 0; lane->workflow->limits_rate && i < lane->n_keys; i++) {
        struct rate *rate = lane_has(lane, i, STORE_RATE_LIMIT) ? lane->keys[i].rule_key->rate : NULL;
        for (size_t j = 0; j < i && rate; j++)
            if (lane->keys[j].rule_key && lane->keys[j].rule_key->rate == rate)
                rate = NULL; /* two rules that count together */
        if (!rate)
            continue;
        rates_use(&lanes->rates, rate, n);
        if (rate_is_full(rate))
            rates_mark_full(&lanes->rates, rate);
    }
}

int lanes_rate_restore(struct lanes *lanes, int64_t period_us, struct bytes key, int64_t window_utc_us, uint64_t used) {
    struct rate *rate;
    int r = rates_get(&lanes->rates, period_us, key, &rate);
    if (r < 0)
        return r;
    rates_restore(&lanes->rates, rate, window_utc_us, used);
    if (rate_is_full(rate))
        rates_mark_full(&lanes->rates, rate);
    return 0;
}

void lanes_turn(struct lanes *lanes, int64_t now_utc_us) {
    for (struct rate *rate; (rate = rates_turn(&lanes->rates, now_utc_us));)
        LIST_EACH (link, &rate->rule_keys)
            let_in(LIST_ENTRY(link, struct rule_key, of_rate));
}

int64_t lanes_next_window(struct lanes *lanes) {
    return rates_next(&lanes->rates, rate_is_full);
}
