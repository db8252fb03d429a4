/* lanes_make.c - workflows, rules and lanes come and go: see lanes.h. */
#include "lanes.h"

#include "mem.h"
#include "packing.h"

#include <errno.h>

#define GONE_LEAST 64 /* places in lanes->lanes that are worth taking out */

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

/* ---- workflows and lanes ---- */

struct workflow *lanes_workflow(const struct lanes *lanes, int64_t id) {
    return id >= 1 && (uint64_t)id <= lanes->n_workflows ? lanes->workflows[id - 1] : NULL;
}

size_t lanes_index(const struct lanes *lanes, int64_t id) {
    size_t from = 0, to = lanes->n_lanes;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (lanes->lanes[middle]->id < id)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

struct lane *lanes_lane(const struct lanes *lanes, int64_t id) {
    size_t at = lanes_index(lanes, id);
    return at < lanes->n_lanes && lanes->lanes[at]->id == id && !lanes->lanes[at]->gone ? lanes->lanes[at] : NULL;
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
    list_init(&workflow->emptied);
    lanes->workflows[lanes->n_workflows++] = workflow;
    *ret_workflow = workflow;
    return 0;
}

static uint32_t max_runs_of(const struct lanes *lanes, const struct workflow *workflow, size_t rule, struct bytes key) {
    uint32_t max = workflow->rules[rule].max_runs;
    const struct store_caps *caps = &lanes->caps;
    if (!caps->max_runs || rule != workflow->first_round_robin)
        return max;
    return caps->max_runs(caps->arg, bytes_of(workflow->name, workflow->name_n), key, max);
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
        rule_key->max_runs = max_runs_of(lanes, workflow, rule, key);
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
        if (key->rule_key)
            key->rule_key->n_lanes++;
        if (lane_has(lane, i, STORE_CANCEL_IN_PROGRESS))
            list_push_back(&key->rule_key->lanes, &key->of_key);
    }
    int r = group_of(workflow, lane_group_key(lane), &lane->group);
    if (r < 0)
        return r;
    lane->group->n_lanes++;
    if (lane->group->turn == 0)
        lane->group->turn = lane->turn;
    return 0;
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
    lane->id = lanes->next_lane;
    lane->turn = ++lanes->turn;
    lane->pages = pages;
    lane->retries = retries;
    list_init(&lane->holds);
    list_init(&lane->all_pages);
    list_init(&lane->all_retries);
    list_init(&lane->of_candidates);
    list_init(&lane->idle);
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
    lanes->next_lane++;
    lanes->added++;
    lane_emptied(lane); /* it may never get a run */
    *ret_lane = lane;
    return 0;
}

static void drop_key(struct lanes *lanes, struct workflow *workflow, size_t rule, const struct lane_key *lane_key) {
    struct rule_key *key = lane_key->rule_key;
    if (!key || --key->n_lanes > 0)
        return;
    struct rate *rate = key->rate;
    map_remove(&workflow->keys[rule], lane_key->key);
    list_remove(&key->of_rate);
    mem_free(key);
    if (rate)
        rates_drop_unused(&lanes->rates, rate);
}

static void free_lane(struct lane *lane) {
    mem_free(lane->packed);
    mem_free(lane);
}

static void sweep(struct lanes *lanes) {
    size_t kept = 0;
    for (size_t i = 0; i < lanes->n_lanes; i++) {
        struct lane *lane = lanes->lanes[i];
        if (lane->gone)
            free_lane(lane);
        else
            lanes->lanes[kept++] = lane;
    }
    lanes->n_lanes = kept;
    lanes->n_gone = 0;
}

void lanes_lane_drop(struct lanes *lanes, struct lane *lane) {
    struct workflow *workflow = lane->workflow;
    for (size_t i = 0; i < lane->n_keys; i++) {
        list_remove(&lane->keys[i].of_key);
        drop_key(lanes, workflow, i, &lane->keys[i]);
        lane->keys[i].rule_key = NULL;
    }
    if (--lane->group->n_lanes == 0) {
        map_remove(&workflow->groups, lane_group_key(lane));
        mem_free(lane->group);
    }
    map_remove(&workflow->lanes, bytes_of(lane->packed, lane->packed_n));
    list_remove(&lane->idle);
    workflow->past_done += lane->done;
    workflow->past_failed += lane->failed;
    workflow->past_cancelled += lane->cancelled;
    workflow->past_dirty = true;
    lane->gone = true;
    lane->group = NULL;
    lanes->n_gone++;
    if (lanes->n_gone >= GONE_LEAST && lanes->n_gone > lanes->n_lanes / 8)
        sweep(lanes);
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
        workflow->cancels_late |= newest && rule_is_late(workflow, i);
        workflow->drives_out |= rules[i].strategy == STORE_CANCEL_IN_PROGRESS;
        workflow->limits_rate |= rules[i].strategy == STORE_RATE_LIMIT;
    }
    for (size_t i = 0; i < lanes->n_lanes; i++) {
        struct lane *lane = lanes->lanes[i];
        if (lane->workflow != workflow || lane->gone)
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
        if (lanes->lanes[i]->workflow == workflow && !lanes->lanes[i]->gone)
            lane_work_changed(lanes->lanes[i]);
    return 0;
}

void lanes_init(struct lanes *lanes, const struct store_caps *caps) {
    *lanes = (struct lanes){.next_lane = 1, .caps = *caps};
    list_init(&lanes->idle);
    rates_init(&lanes->rates);
}

void lanes_free(struct lanes *lanes) {
    for (size_t i = 0; i < lanes->n_lanes; i++) {
        free_lane(lanes->lanes[i]);
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
