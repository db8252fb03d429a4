/* sched.c - see sched.h. */
#include "sched.h"

#include "cleanup.h"
#include "packing.h"

/* ---- rules ---- */

static bool is_late(const struct workflow *workflow, size_t rule) {
    return rule > workflow->first_round_robin;
}

static bool limits_tokens(const struct lane *lane, size_t rule) {
    enum store_strategy strategy =
        rule < lane->workflow->n_rules ? lane->workflow->rules[rule].strategy : STORE_CANCEL_NEWEST;
    return lane->keys[rule].rule_key && (strategy == STORE_GROUP_ROUND_ROBIN || strategy == STORE_CANCEL_IN_PROGRESS);
}

static bool cancels(const struct lane *lane, size_t rule) {
    return lane->keys[rule].rule_key && lane->workflow->rules[rule].strategy == STORE_CANCEL_NEWEST;
}

static uint64_t room_of(uint32_t max, uint64_t used) {
    return max == 0 ? UINT64_MAX : used < max ? max - used : 0;
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

uint64_t sched_tokens_free(const struct lane *lane, uint64_t own) {
    uint64_t room = UINT64_MAX;
    for (size_t i = 0; i < lane->n_keys; i++)
        if (limits_tokens(lane, i))
            room = least(room, room_of(lane->keys[i].rule_key->max_runs, lane->keys[i].rule_key->tokens - own));
    return room;
}

/* A place decided at the spawn is held by whatever is live, one decided at the claim by what was claimed: leased runs
 * and those that were in trouble since. */
static uint64_t places_of(const struct workflow *workflow, size_t rule, const struct rule_key *key) {
    return room_of(workflow->rules[rule].max_runs, !key ? 0 : is_late(workflow, rule) ? key->claimed : key->live);
}

static uint64_t places(const struct lane *lane, bool early) {
    uint64_t room = UINT64_MAX;
    for (size_t i = 0; lane->workflow->cancels && i < lane->n_keys; i++)
        if (cancels(lane, i) && (early || is_late(lane->workflow, i)))
            room = least(room, places_of(lane->workflow, i, lane->keys[i].rule_key));
    return room;
}

uint64_t sched_places_at_claim(const struct lane *lane) {
    return places(lane, false);
}

uint64_t sched_places(const struct lane *lane) {
    return places(lane, true);
}

struct rule_key *sched_rule_key(const struct workflow *workflow, size_t rule, struct bytes key) {
    return map_get(&workflow->keys[rule], key);
}

uint64_t sched_places_at_spawn(const struct workflow *workflow, const struct bytes *keys, size_t n) {
    uint64_t room = UINT64_MAX;
    for (size_t i = 0; workflow->cancels && i < n && i < workflow->n_rules; i++)
        if (workflow->rules[i].strategy == STORE_CANCEL_NEWEST && !is_late(workflow, i))
            room = least(room, places_of(workflow, i, sched_rule_key(workflow, i, keys[i])));
    return room;
}

/* ---- rates ---- */

static int64_t window_of(const struct rate *rate, int64_t now_utc_us) {
    return now_utc_us - now_utc_us % rate->period_us;
}

static uint64_t rate_room(const struct lane *lane, size_t rule, int64_t now_utc_us) {
    const struct rate *rate = lane->keys[rule].rate;
    bool current = rate->window_utc_us == window_of(rate, now_utc_us);
    return room_of(lane->workflow->rules[rule].max_runs, current ? (uint64_t)rate->used : 0);
}

bool rate_used_up(const struct lane *lane, size_t rule, int64_t now_utc_us) {
    return rate_room(lane, rule, now_utc_us) == 0;
}

uint64_t sched_rate_free(const struct lane *lane, int64_t now_utc_us) {
    uint64_t room = UINT64_MAX;
    for (size_t i = 0; lane->workflow->rated && i < lane->n_keys; i++)
        if (lane->keys[i].rate)
            room = least(room, rate_room(lane, i, now_utc_us));
    return room;
}

int64_t sched_rate_next(const struct lane *lane, int64_t now_utc_us) {
    int64_t next = 0;
    for (size_t i = 0; lane->workflow->rated && i < lane->n_keys; i++) {
        const struct rate *rate = lane->keys[i].rate;
        if (!rate || rate_room(lane, i, now_utc_us) > 0)
            continue;
        int64_t at = window_of(rate, now_utc_us) + rate->period_us;
        next = at > next ? at : next;
    }
    return next;
}

void sched_rate_use(struct sched *sched, struct lane *lane, uint64_t n, int64_t now_utc_us) {
    for (size_t i = 0; lane->workflow->rated && i < lane->n_keys; i++) {
        struct rate *rate = lane->keys[i].rate;
        bool counted = !rate;
        for (size_t j = 0; j < i && !counted; j++)
            counted = lane->keys[j].rate == rate; /* two rules with one count: a run is counted once */
        if (counted)
            continue;
        int64_t window = window_of(rate, now_utc_us);
        if (rate->window_utc_us != window)
            rate->used = 0;
        rate->window_utc_us = window;
        rate->used += (int64_t)n;
        if (!rate->dirty) {
            rate->dirty = true;
            rate->next_dirty = sched->dirty_rates;
            sched->dirty_rates = rate;
        }
    }
}

static int rate_of(struct sched *sched, int64_t period_us, struct bytes key, struct rate **ret_rate) {
    _cleanup_buf_ struct buf name = {0};
    int r = buf_add(&name, &period_us, sizeof period_us);
    if (r == 0)
        r = buf_add_bytes(&name, key);
    if (r < 0)
        return r;
    struct rate *rate = map_get(&sched->rates, buf_bytes(&name));
    if (!rate) {
        rate = mem_zalloc(sizeof *rate);
        if (!rate)
            return -ENOMEM;
        rate->period_us = period_us;
        rate->hash = hash128(&sched->hash_key, buf_bytes(&name));
        r = map_put(&sched->rates_by_hash, bytes_of(&rate->hash, sizeof rate->hash), rate);
        if (r == 0)
            r = map_put(&sched->rates, buf_bytes(&name), rate);
        if (r < 0) {
            map_remove(&sched->rates_by_hash, bytes_of(&rate->hash, sizeof rate->hash));
            mem_free(rate);
            return r;
        }
    }
    *ret_rate = rate;
    return 0;
}

/* ---- numbers ---- */

static uint64_t live_of(const struct lane *lane) {
    return (uint64_t)(lane->v[LN_QUEUED] + lane->v[LN_RETRIES] + lane->v[LN_LEASED]);
}

static void count(struct lane *lane, bool in) {
    uint64_t tokens = (uint64_t)lane->v[LN_TOKENS], live = live_of(lane);
    uint64_t claimed = (uint64_t)(lane->v[LN_RETRIES] + lane->v[LN_LEASED]);
    for (size_t i = 0; i < lane->n_keys; i++) {
        struct rule_key *key = lane->keys[i].rule_key;
        if (!key)
            continue;
        key->tokens += in ? tokens : -tokens;
        key->live += in ? live : -live;
        key->claimed += in ? claimed : -claimed;
    }
}

static void changed(struct sched *sched, struct lane *lane) {
    if (lane->group->turn < lane->v[LN_GROUP_TURN])
        lane->group->turn = lane->v[LN_GROUP_TURN];
    bool busy = lane->v[LN_QUEUED] + lane->v[LN_RETRIES] > 0;
    if (busy == list_empty(&lane->busy)) {
        if (busy)
            list_push_back(&sched->busy, &lane->busy);
        else
            list_remove(&lane->busy);
    }
    bool has_work = lane->v[LN_QUEUED] > lane->v[LN_DELAYED] || lane->v[LN_RETRIES] > 0;
    lane->woke |= has_work && !lane->had_work;
    lane->had_work = has_work;
}

/* Tokens come back: do others wait for them? */
static void tokens_freed(struct sched *sched, const struct lane *lane, uint64_t before) {
    for (size_t i = 0; i < lane->n_keys; i++) {
        if (!limits_tokens(lane, i))
            continue;
        const struct rule_key *key = lane->keys[i].rule_key;
        uint32_t max = key->max_runs;
        uint64_t was = key->tokens + before - (uint64_t)lane->v[LN_TOKENS];
        sched->woke |= max > 0 && was >= max && key->tokens < max && key->live > key->tokens;
    }
}

void sched_lane_dirty(struct sched *sched, struct lane *lane) {
    if (lane->dirty)
        return;
    lane->dirty = true;
    lane->next_dirty = sched->dirty;
    sched->dirty = lane;
}

void sched_set(struct sched *sched, struct lane *lane, enum lane_number which, int64_t value) {
    uint64_t tokens = (uint64_t)lane->v[LN_TOKENS];
    count(lane, false);
    lane->v[which] = value;
    count(lane, true);
    changed(sched, lane);
    if (which == LN_TOKENS && (uint64_t)value < tokens)
        tokens_freed(sched, lane, tokens);
    sched_lane_dirty(sched, lane);
}

void sched_add(struct sched *sched, struct lane *lane, enum lane_number which, int64_t change) {
    if (change)
        sched_set(sched, lane, which, lane->v[which] + change);
}

void sched_retry_due(struct sched *sched, struct lane *lane, int64_t due_utc_us) {
    int64_t due = due_utc_us > 0 ? due_utc_us : 1; /* 0 is none */
    if (lane->v[LN_RETRY_DUE] == 0 || due < lane->v[LN_RETRY_DUE])
        sched_set(sched, lane, LN_RETRY_DUE, due);
}

bool sched_has_work(const struct lane *lane, int64_t now_utc_us) {
    return lane->v[LN_QUEUED] > lane->v[LN_DELAYED] || (lane->v[LN_RETRIES] > 0 && lane->v[LN_RETRY_DUE] <= now_utc_us);
}

bool sched_claims_by_token(const struct lane *lane) {
    return lane->workflow->cancels_late || lane->workflow->rated;
}

bool sched_admissible(const struct lane *lane, int64_t now_utc_us) {
    return !lane->workflow->paused && sched_has_work(lane, now_utc_us) && sched_tokens_free(lane, 0) > 0 &&
           sched_rate_free(lane, now_utc_us) > 0;
}

bool sched_before(const struct lane *a, const struct lane *b) {
    if (a->group != b->group && a->group->turn != b->group->turn)
        return a->group->turn < b->group->turn;
    return a->v[LN_TURN] < b->v[LN_TURN];
}

/* ---- workflows and lanes ---- */

void sched_init(struct sched *sched) {
    *sched = (struct sched){0};
    list_init(&sched->busy);
}

struct workflow *sched_workflow(const struct sched *sched, int64_t id) {
    return id >= 1 && (uint64_t)id <= sched->n_workflows ? sched->workflows[id - 1] : NULL;
}

struct lane *sched_lane(const struct sched *sched, int64_t id) {
    return id >= 1 && (uint64_t)id <= sched->n_lanes ? sched->lanes[id - 1] : NULL;
}

struct workflow *sched_workflow_named(const struct sched *sched, struct bytes name) {
    for (size_t i = 0; i < sched->n_workflows; i++) {
        struct workflow *workflow = sched->workflows[i];
        if (workflow && bytes_equal(bytes_of(workflow->name, workflow->name_n), name))
            return workflow;
    }
    return NULL;
}

struct lane *sched_lane_with(const struct workflow *workflow, struct bytes packed) {
    return map_get(&workflow->lanes, packed);
}

struct bytes sched_group_key(const struct lane *lane) {
    size_t first = lane->workflow->first_round_robin;
    return first < lane->n_keys && first < lane->workflow->n_rules ? lane->keys[first].key : BYTES("");
}

bool sched_group_known(const struct workflow *workflow, const struct bytes *keys, size_t n) {
    size_t first = workflow->first_round_robin;
    return map_get(&workflow->groups, first < n && first < workflow->n_rules ? keys[first] : BYTES(""));
}

/* An array of pointers, indexed by id - 1, with room for this one. */
static int make_room(void *array_at, size_t *n, int64_t id) {
    void **array = *(void ***)array_at;
    if (id < 1 || id > INT64_C(1) << 32)
        return -EBADMSG;
    if ((size_t)id <= *n)
        return 0;
    size_t more = (size_t)id > *n * 2 ? (size_t)id + 15 : *n * 2;
    void **bigger = mem_reallocarray(array, more, sizeof *bigger);
    if (!bigger)
        return -ENOMEM;
    memset(bigger + *n, 0, (more - *n) * sizeof *bigger);
    *(void ***)array_at = bigger;
    *n = more;
    return 0;
}

static uint32_t max_runs_of(const struct sched *sched, const struct workflow *workflow, size_t rule, struct bytes key) {
    uint32_t max = workflow->rules[rule].max_runs;
    if (!sched->caps.max_runs || rule != workflow->first_round_robin)
        return max;
    return sched->caps.max_runs(sched->caps.arg, bytes_of(workflow->name, workflow->name_n), key, max);
}

static int rule_key_of(const struct sched *sched, struct workflow *workflow, size_t rule, struct lane_key *lane_key) {
    struct rule_key *key = map_get(&workflow->keys[rule], lane_key->key);
    if (!key) {
        key = mem_zalloc(sizeof *key);
        if (!key)
            return -ENOMEM;
        key->max_runs = max_runs_of(sched, workflow, rule, lane_key->key);
        list_init(&key->lanes);
        if (map_put(&workflow->keys[rule], lane_key->key, key) < 0) {
            mem_free(key);
            return -ENOMEM;
        }
    }
    lane_key->rule_key = key;
    list_push_back(&key->lanes, &lane_key->link);
    return 0;
}

static int group_of(struct workflow *workflow, struct bytes key, struct group **ret_group) {
    struct group *group = map_get(&workflow->groups, key);
    if (!group) {
        group = mem_zalloc(sizeof *group);
        if (!group)
            return -ENOMEM;
        if (map_put(&workflow->groups, key, group) < 0) {
            mem_free(group);
            return -ENOMEM;
        }
    }
    *ret_group = group;
    return 0;
}

/* One that no lane's key counts any more. What was used stays in its row until its window is over. */
static void leave_rate(struct sched *sched, const struct lane_key *lane_key) {
    struct rate *rate = lane_key->rate;
    if (!rate || --rate->n_lanes > 0 || rate->dirty)
        return;
    char name[sizeof rate->period_us + STORE_NAME_MAX];
    size_t n = lane_key->key.n;
    memcpy(name, &rate->period_us, sizeof rate->period_us);
    if (n)
        memcpy(name + sizeof rate->period_us, lane_key->key.p, n);
    map_remove(&sched->rates_by_hash, bytes_of(&rate->hash, sizeof rate->hash));
    map_remove(&sched->rates, bytes_of(name, sizeof rate->period_us + n));
    mem_free(rate);
}

/* Finds the lane's keys and group under the workflow's rules; it counts nothing yet. */
static int attach(struct sched *sched, struct lane *lane) {
    struct workflow *workflow = lane->workflow;
    int r = 0;
    for (size_t i = 0; i < lane->n_keys && r == 0; i++) {
        struct lane_key *key = &lane->keys[i];
        leave_rate(sched, key);
        key->rule_key = NULL;
        key->rate = NULL;
        list_init(&key->link);
        if (i >= workflow->n_rules)
            continue;
        r = rule_key_of(sched, workflow, i, key);
        if (r == 0 && workflow->rules[i].strategy == STORE_RATE_LIMIT)
            r = rate_of(sched, workflow->rules[i].period_us, key->key, &key->rate);
        if (key->rate)
            key->rate->n_lanes++;
    }
    if (r == 0)
        r = group_of(workflow, sched_group_key(lane), &lane->group);
    if (r == 0)
        lane->group->n_lanes++;
    return r;
}

static void free_values(struct map *map) {
    struct bytes key;
    void *value;
    for (size_t at = 0; map_next(map, &at, &key, &value);)
        mem_free(value);
    map_free(map);
}

static void forget_rules(struct workflow *workflow) {
    for (size_t i = 0; i < STORE_RULES_MAX; i++)
        free_values(&workflow->keys[i]);
    free_values(&workflow->groups);
}

static void take_rules(struct workflow *workflow, const struct store_rule *rules, size_t n) {
    workflow->n_rules = workflow->first_round_robin = n;
    workflow->cancels = workflow->cancels_late = workflow->drives_out = workflow->rated = false;
    for (size_t i = n; i-- > 0;) {
        workflow->rules[i] = rules[i];
        if (rules[i].strategy == STORE_GROUP_ROUND_ROBIN)
            workflow->first_round_robin = i;
    }
    for (size_t i = 0; i < n; i++) {
        workflow->rated |= rules[i].strategy == STORE_RATE_LIMIT;
        workflow->drives_out |= rules[i].strategy == STORE_CANCEL_IN_PROGRESS;
        if (rules[i].strategy != STORE_CANCEL_NEWEST)
            continue;
        workflow->cancels = true;
        workflow->cancels_late |= is_late(workflow, i);
    }
}

/* All that follows from the rules, anew. */
static int set_rules(struct sched *sched, struct workflow *workflow, const struct store_rule *rules, size_t n) {
    forget_rules(workflow);
    take_rules(workflow, rules, n);
    for (size_t i = 0; i < sched->n_lanes; i++) {
        struct lane *lane = sched->lanes[i];
        if (!lane || lane->workflow != workflow)
            continue;
        int r = attach(sched, lane);
        if (r < 0)
            return r;
        count(lane, true);
        changed(sched, lane);
    }
    return 0;
}

static struct workflow *new_workflow(struct sched *sched, int64_t id, struct bytes name) {
    struct workflow *workflow = mem_zalloc(sizeof *workflow);
    if (!workflow)
        return NULL;
    workflow->name = mem_memdup(name.p, name.n);
    if (!workflow->name) {
        mem_free(workflow);
        return NULL;
    }
    workflow->name_n = name.n;
    workflow->id = id;
    struct hash128 hash = hash128(&sched->hash_key, bytes_of(&id, sizeof id));
    workflow->hash_key = (struct hash_key){hash.lo, hash.hi};
    return workflow;
}

int sched_workflow_put(struct sched *sched, int64_t id, struct bytes name, const struct store_rule *rules, size_t n,
                       bool paused, struct workflow **ret_workflow) {
    int r = make_room(&sched->workflows, &sched->n_workflows, id);
    if (r < 0)
        return r;
    struct workflow *workflow = sched->workflows[id - 1];
    bool known = workflow;
    if (!known) {
        workflow = new_workflow(sched, id, name);
        if (!workflow)
            return -ENOMEM;
        sched->workflows[id - 1] = workflow;
    }
    workflow->paused = paused;
    bool same = known && workflow->n_rules == n;
    for (size_t i = 0; i < n && same; i++)
        same = workflow->rules[i].strategy == rules[i].strategy && workflow->rules[i].max_runs == rules[i].max_runs &&
               workflow->rules[i].period_us == rules[i].period_us;
    if (!same)
        r = set_rules(sched, workflow, rules, n);
    if (r == 0 && ret_workflow)
        *ret_workflow = workflow;
    return r;
}

static int new_lane(struct sched *sched, int64_t id, struct workflow *workflow, struct bytes packed,
                    struct lane **ret_lane) {
    struct bytes keys[STORE_RULES_MAX];
    int n = packing_read_keys(packed, keys);
    if (n < 0)
        return n;
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
    for (size_t i = 0; i < lane->n_keys; i++) {
        lane->keys[i].key = keys[i].n ? bytes_of(lane->packed + (keys[i].p - packed.p), keys[i].n) : BYTES_NONE;
        lane->keys[i].lane = lane;
        list_init(&lane->keys[i].link);
    }
    lane->workflow = workflow;
    lane->id = id;
    list_init(&lane->busy);
    int r = attach(sched, lane);
    if (r == 0)
        r = map_put(&workflow->lanes, packed, lane);
    if (r < 0) {
        for (size_t i = 0; i < lane->n_keys; i++)
            list_remove(&lane->keys[i].link);
        mem_free(lane->packed);
        mem_free(lane);
        return r;
    }
    *ret_lane = lane;
    return 0;
}

int sched_lane_put(struct sched *sched, int64_t id, struct workflow *workflow, struct bytes packed,
                   const int64_t *numbers, struct lane **ret_lane) {
    int r = make_room(&sched->lanes, &sched->n_lanes, id);
    if (r < 0)
        return r;
    struct lane *lane = sched->lanes[id - 1];
    if (!lane) {
        r = new_lane(sched, id, workflow, packed, &lane);
        if (r < 0)
            return r;
        sched->lanes[id - 1] = lane;
        sched->n_known++;
    }
    count(lane, false);
    memcpy(lane->v, numbers, sizeof lane->v);
    count(lane, true);
    changed(sched, lane);
    lane->woke = false; /* whoever gave it work told of it */
    if (ret_lane)
        *ret_lane = lane;
    return 0;
}

bool sched_is_idle(const struct lane *lane) {
    static const enum lane_number runs[] = {LN_QUEUED, LN_RETRIES, LN_LEASED, LN_PARKED, LN_TOKENS};
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++)
        if (lane->v[runs[i]])
            return false;
    return true;
}

void sched_lane_drop(struct sched *sched, struct lane *lane) {
    if (!lane)
        return;
    struct workflow *workflow = lane->workflow;
    for (size_t i = 0; i < lane->n_keys; i++) {
        struct lane_key *key = &lane->keys[i];
        list_remove(&key->link);
        if (key->rule_key && list_empty(&key->rule_key->lanes))
            mem_free(map_remove(&workflow->keys[i], key->key));
        leave_rate(sched, key);
    }
    if (--lane->group->n_lanes == 0)
        mem_free(map_remove(&workflow->groups, sched_group_key(lane)));
    map_remove(&workflow->lanes, bytes_of(lane->packed, lane->packed_n));
    list_remove(&lane->busy);
    sched->lanes[lane->id - 1] = NULL;
    sched->n_known--;
    sched->generation++;
    mem_free(lane->packed);
    mem_free(lane);
}

void sched_free(struct sched *sched) {
    for (size_t i = 0; i < sched->n_lanes; i++) {
        struct lane *lane = sched->lanes[i];
        if (!lane)
            continue;
        mem_free(lane->packed);
        mem_free(lane);
    }
    for (size_t i = 0; i < sched->n_workflows; i++) {
        struct workflow *workflow = sched->workflows[i];
        if (!workflow)
            continue;
        forget_rules(workflow);
        map_free(&workflow->lanes);
        mem_free(workflow->name);
        mem_free(workflow);
    }
    mem_free(sched->lanes);
    mem_free(sched->workflows);
    map_free(&sched->rates_by_hash);
    free_values(&sched->rates);
    struct hash_key hash_key = sched->hash_key;
    struct store_caps caps = sched->caps;
    uint64_t generation = sched->generation + 1;
    sched_init(sched);
    sched->hash_key = hash_key;
    sched->caps = caps;
    sched->generation = generation;
}
