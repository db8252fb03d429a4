/* lanes.c - see lanes.h. */
#include "lanes.h"

#include "mem.h"
#include "packing.h"

#include <errno.h>

static bool group_before(struct heap_link *a, struct heap_link *b) {
    return LIST_ENTRY(a, struct group, link)->turn < LIST_ENTRY(b, struct group, link)->turn;
}

static bool lane_before(struct heap_link *a, struct heap_link *b) {
    return LIST_ENTRY(a, struct lane, link)->turn < LIST_ENTRY(b, struct lane, link)->turn;
}

static bool blocked_before(struct heap_link *a, struct heap_link *b) {
    const struct lane *x = LIST_ENTRY(a, struct lane, link), *y = LIST_ENTRY(b, struct lane, link);
    if (x->blocked_group_turn != y->blocked_group_turn)
        return x->blocked_group_turn < y->blocked_group_turn;
    return x->turn < y->turn;
}

/* ---- rules ---- */

static bool is_late(const struct workflow *workflow, size_t rule) {
    return rule > workflow->first_round_robin;
}

static bool has(const struct lane *lane, size_t rule, enum store_strategy strategy) {
    return lane->keys[rule].rule_key && lane->workflow->rules[rule].strategy == strategy;
}

static bool limits_tokens(const struct lane *lane, size_t rule) {
    return has(lane, rule, STORE_GROUP_ROUND_ROBIN) || has(lane, rule, STORE_CANCEL_IN_PROGRESS);
}

static bool cancels(const struct lane *lane, size_t rule) {
    return has(lane, rule, STORE_CANCEL_NEWEST);
}

static uint64_t room_beside(const struct rule_key *key, uint64_t own) {
    uint32_t max = key->workflow->rules[key->rule].max_runs;
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
        if (!cancels(lane, i) || (!early && !is_late(lane->workflow, i)))
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
        if (workflow->rules[i].strategy != STORE_CANCEL_NEWEST || is_late(workflow, i))
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
    return kind == LANE_LEASED || kind == LANE_RETRIES || (kind == LANE_QUEUED && !is_late(lane->workflow, rule));
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
        if (has(lane, i, STORE_CANCEL_IN_PROGRESS))
            add_to(&lane->keys[i].rule_key->live, change);
}

void lane_asked(struct lane *lane, int64_t change) {
    add_to(&lane->asked, change);
    for (size_t i = 0; lane->workflow->drives_out && i < lane->n_keys; i++)
        if (has(lane, i, STORE_CANCEL_IN_PROGRESS))
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
        if ((limits_tokens(lane, i) || has(lane, i, STORE_RATE_LIMIT)) && rule_key_room(lane->keys[i].rule_key) == 0)
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
        uint64_t here = has(lane, i, STORE_RATE_LIMIT) ? rule_key_room(lane->keys[i].rule_key) : UINT64_MAX;
        room = here < room ? here : room;
    }
    return room;
}

static bool rate_is_full(const struct rate *rate) {
    LIST_EACH (link, &rate->rule_keys)
        if (rule_key_room(LIST_ENTRY(link, struct rule_key, of_rate)) == 0)
            return true;
    return false;
}

void lane_rate_use(struct lanes *lanes, const struct lane *lane, uint64_t n) {
    for (size_t i = 0; lane->workflow->limits_rate && i < lane->n_keys; i++) {
        struct rate *rate = has(lane, i, STORE_RATE_LIMIT) ? lane->keys[i].rule_key->rate : NULL;
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

/* ---- workflows and lanes ---- */

struct workflow *lanes_workflow(const struct lanes *lanes, int64_t id) {
    return id >= 1 && (uint64_t)id <= lanes->n_workflows ? lanes->workflows[id - 1] : NULL;
}

struct lane *lanes_lane(const struct lanes *lanes, int64_t id) {
    return id >= 1 && (uint64_t)id <= lanes->n_lanes ? lanes->lanes[id - 1] : NULL;
}

struct workflow *lanes_workflow_named(const struct lanes *lanes, struct bytes name) {
    for (size_t i = 0; i < lanes->n_workflows; i++)
        if (bytes_equal(bytes_of(lanes->workflows[i]->name, lanes->workflows[i]->name_n), name))
            return lanes->workflows[i];
    return NULL;
}

struct lane *lanes_lane_with(const struct workflow *workflow, struct bytes packed) {
    return map_get(&workflow->lanes, packed);
}

struct bytes lane_group_key(const struct lane *lane) {
    size_t first = lane->workflow->first_round_robin;
    return first < lane->n_keys && first < lane->workflow->n_rules ? lane->keys[first].key : BYTES("");
}

/* The array with room for one more pointer; NULL: as it was. */
static void *grown(void *array, size_t n, size_t *cap) {
    if (n < *cap)
        return array;
    size_t more = *cap ? *cap * 2 : 16;
    void *bigger = mem_reallocarray(array, more, sizeof(void *));
    if (bigger)
        *cap = more;
    return bigger;
}

int lanes_workflow_add(struct lanes *lanes, struct bytes name, struct hash_key hash_key,
                       struct workflow **ret_workflow) {
    struct workflow **workflows = grown(lanes->workflows, lanes->n_workflows, &lanes->cap_workflows);
    if (!workflows)
        return -ENOMEM;
    lanes->workflows = workflows;
    struct workflow *workflow = mem_zalloc(sizeof *workflow);
    if (!workflow)
        return -ENOMEM;
    workflow->name = mem_memdup(name.p, name.n);
    if (!workflow->name) {
        mem_free(workflow);
        return -ENOMEM;
    }
    workflow->name_n = name.n;
    workflow->hash_key = hash_key;
    workflow->id = (int64_t)lanes->n_workflows + 1;
    heap_init(&workflow->ready, group_before);
    lanes->workflows[lanes->n_workflows++] = workflow;
    *ret_workflow = workflow;
    return 0;
}

static int rule_key_of(struct lanes *lanes, struct workflow *workflow, size_t rule, struct bytes key,
                       struct rule_key **ret_key) {
    struct rule_key *rule_key = map_get(&workflow->keys[rule], key);
    if (!rule_key) {
        struct rate *rate = NULL;
        if (workflow->rules[rule].strategy == STORE_RATE_LIMIT &&
            rates_get(&lanes->rates, workflow->rules[rule].period_us, key, &rate) < 0)
            return -ENOMEM;
        rule_key = mem_zalloc(sizeof *rule_key);
        if (!rule_key)
            return -ENOMEM;
        rule_key->workflow = workflow;
        rule_key->rule = rule;
        rule_key->rate = rate;
        list_init(&rule_key->lanes);
        list_init(&rule_key->of_rate);
        heap_init(&rule_key->blocked, blocked_before);
        if (map_put(&workflow->keys[rule], key, rule_key) < 0) {
            mem_free(rule_key);
            return -ENOMEM;
        }
        if (rate) {
            list_push_back(&rate->rule_keys, &rule_key->of_rate);
            if (rate_is_full(rate))
                rates_mark_full(&lanes->rates, rate);
        }
    }
    *ret_key = rule_key;
    return 0;
}

static int group_of(struct workflow *workflow, struct bytes key, struct group **ret_group) {
    struct group *group = map_get(&workflow->groups, key);
    if (!group) {
        group = mem_zalloc(sizeof *group);
        if (!group)
            return -ENOMEM;
        heap_init(&group->lanes, lane_before);
        list_init(&group->candidates);
        if (map_put(&workflow->groups, key, group) < 0) {
            mem_free(group);
            return -ENOMEM;
        }
    }
    *ret_group = group;
    return 0;
}

/* Finds the lane's keys and group under the workflow's rules. A group's turn is the latest of its lanes'. */
static int attach(struct lanes *lanes, struct lane *lane) {
    struct workflow *workflow = lane->workflow;
    for (size_t i = 0; i < lane->n_keys; i++) {
        struct lane_key *key = &lane->keys[i];
        key->rule_key = NULL;
        list_init(&key->of_key);
        int r = i < workflow->n_rules ? rule_key_of(lanes, workflow, i, key->key, &key->rule_key) : 0;
        if (r < 0)
            return r;
        if (has(lane, i, STORE_CANCEL_IN_PROGRESS))
            list_push_back(&key->rule_key->lanes, &key->of_key);
    }
    int r = group_of(workflow, lane_group_key(lane), &lane->group);
    if (r == 0 && lane->group->turn == 0)
        lane->group->turn = lane->turn;
    return r;
}

int lanes_lane_add(struct lanes *lanes, struct workflow *workflow, struct bytes packed, struct heap pages,
                   struct heap retries, struct lane **ret_lane) {
    struct bytes keys[STORE_RULES_MAX];
    int n = packing_read_keys(packed, keys);
    if (n < 0)
        return n;
    struct lane **array = grown(lanes->lanes, lanes->n_lanes, &lanes->cap_lanes);
    if (!array)
        return -ENOMEM;
    lanes->lanes = array;
    struct lane *lane = mem_zalloc(sizeof *lane + (size_t)n * sizeof lane->keys[0]);
    if (!lane)
        return -ENOMEM;
    lane->packed = mem_memdup(packed.p, packed.n);
    if (!lane->packed) {
        mem_free(lane);
        return -ENOMEM;
    }
    lane->packed_n = packed.n;
    lane->n_keys = (size_t)n;
    for (size_t i = 0; i < lane->n_keys; i++)
        lane->keys[i] = (struct lane_key){
            .key = keys[i].n ? bytes_of(lane->packed + (keys[i].p - packed.p), keys[i].n) : BYTES_NONE, .lane = lane};
    lane->workflow = workflow;
    lane->id = (int64_t)lanes->n_lanes + 1;
    lane->turn = ++lanes->turn;
    lane->pages = pages;
    lane->retries = retries;
    list_init(&lane->holds);
    list_init(&lane->all_pages);
    list_init(&lane->all_retries);
    list_init(&lane->of_candidates);
    int r = attach(lanes, lane);
    if (r == 0)
        r = map_put(&workflow->lanes, packed, lane);
    if (r < 0) {
        for (size_t i = 0; i < lane->n_keys; i++)
            if (lane->keys[i].of_key.next)
                list_remove(&lane->keys[i].of_key);
        mem_free(lane->packed);
        mem_free(lane);
        return r;
    }
    lanes->lanes[lanes->n_lanes++] = lane;
    *ret_lane = lane;
    return 0;
}

static void free_values(struct map *map) {
    struct bytes key;
    void *value;
    for (size_t at = 0; map_next(map, &at, &key, &value);)
        mem_free(value);
    map_free(map);
}

static void forget_rules(struct workflow *workflow) {
    for (size_t i = 0; i < STORE_RULES_MAX; i++) {
        struct bytes key;
        void *value;
        for (size_t at = 0; map_next(&workflow->keys[i], &at, &key, &value);)
            list_remove(&((struct rule_key *)value)->of_rate);
        free_values(&workflow->keys[i]);
    }
    free_values(&workflow->groups);
    heap_init(&workflow->ready, group_before);
}

int lanes_rules_set(struct lanes *lanes, struct workflow *workflow, const struct store_rule *rules, size_t n) {
    forget_rules(workflow);
    workflow->n_rules = workflow->first_round_robin = n;
    workflow->cancels = workflow->cancels_late = workflow->drives_out = workflow->limits_rate = false;
    for (size_t i = n; i-- > 0;) {
        workflow->rules[i] = rules[i];
        if (rules[i].strategy == STORE_GROUP_ROUND_ROBIN)
            workflow->first_round_robin = i;
    }
    for (size_t i = 0; i < n; i++) {
        bool newest = rules[i].strategy == STORE_CANCEL_NEWEST;
        workflow->cancels |= newest;
        workflow->cancels_late |= newest && is_late(workflow, i);
        workflow->drives_out |= rules[i].strategy == STORE_CANCEL_IN_PROGRESS;
        workflow->limits_rate |= rules[i].strategy == STORE_RATE_LIMIT;
    }
    for (size_t i = 0; i < lanes->n_lanes; i++) {
        struct lane *lane = lanes->lanes[i];
        if (lane->workflow != workflow)
            continue;
        lane->place = LANE_IDLE; /* the heaps it may have been in are gone */
        lane->blocked_on = lane->candidate_of = NULL;
        list_init(&lane->of_candidates);
        int r = attach(lanes, lane);
        if (r < 0)
            return r;
        if (lane->group->turn < lane->turn)
            lane->group->turn = lane->turn; /* it is in no heap yet */
        for (int kind = 0; kind < LANE_KINDS; kind++) {
            int64_t count = (int64_t)lane->counts[kind];
            lane->counts[kind] = 0;
            lane_count(lane, (enum lane_kind)kind, count);
        }
        int64_t tokens = (int64_t)lane->tokens, asked = (int64_t)lane->asked;
        lane->tokens = lane->asked = 0;
        lane_tokens(lane, tokens);
        lane_asked(lane, asked);
    }
    for (size_t i = 0; i < lanes->n_lanes; i++)
        if (lanes->lanes[i]->workflow == workflow)
            lane_work_changed(lanes->lanes[i]);
    return 0;
}

void lanes_init(struct lanes *lanes) {
    *lanes = (struct lanes){0};
    rates_init(&lanes->rates);
}

void lanes_free(struct lanes *lanes) {
    for (size_t i = 0; i < lanes->n_lanes; i++) {
        mem_free(lanes->lanes[i]->packed);
        mem_free(lanes->lanes[i]);
    }
    for (size_t i = 0; i < lanes->n_workflows; i++) {
        struct workflow *workflow = lanes->workflows[i];
        forget_rules(workflow);
        map_free(&workflow->lanes);
        mem_free(workflow->name);
        mem_free(workflow);
    }
    rates_free(&lanes->rates);
    mem_free(lanes->lanes);
    mem_free(lanes->workflows);
    *lanes = (struct lanes){0};
}
