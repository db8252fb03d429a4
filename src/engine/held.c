/* held.c - the leases held, and whose run is started next.
 *
 * Two rings: groups with something to start, and in each group its lanes with something to start. Whose turn it was
 * goes to the end, run by run. A lane is held from its first lease until all its leased runs are on their way to
 * settlement; the store takes its tokens back then. */
#include "engine.h"

#include "mem.h"

#define WINDOW_SLACK_US (100 * US_PER_MS) /* a run may start so much later than its window of a rate limit */

static struct bytes id_key(const int64_t *id) {
    return bytes_of(id, sizeof *id);
}

struct lane *held_find(const froe *engine, int64_t id) {
    return map_get(&engine->lanes_by_id, id_key(&id));
}

static bool lane_startable(const struct lane *lane) {
    return lane->running < lane->tokens && lane->running < lane->share &&
           (lane->unstarted > 0 || !list_empty(&lane->again));
}

void held_group_update(froe *engine, struct group *group) {
    bool in = !list_empty(&group->in_rotation);
    bool should = !list_empty(&group->startable_lanes) && group_lets(group);
    if (should && !in)
        list_push_back(&engine->rotation, &group->in_rotation);
    else if (!should && in)
        list_remove(&group->in_rotation);
    if (should)
        engine->dirty = true;
}

void held_update(froe *engine, struct lane *lane) {
    bool in = !list_empty(&lane->startable), should = lane_startable(lane);
    if (should && !in)
        list_push_back(&lane->group->startable_lanes, &lane->startable);
    else if (!should && in)
        list_remove(&lane->startable);
    held_group_update(engine, lane->group);
}

struct lane *held_next(froe *engine) {
    if (list_empty(&engine->rotation))
        return NULL;
    struct group *group = LIST_ENTRY(engine->rotation.next, struct group, in_rotation);
    return LIST_ENTRY(group->startable_lanes.next, struct lane, startable);
}

void held_turn(froe *engine, struct lane *lane) {
    list_move_back(&engine->rotation, &lane->group->in_rotation);
    list_move_back(&lane->group->startable_lanes, &lane->startable);
}

static struct lane *lane_make(froe *engine, const struct lease *lease) {
    struct lane *lane = mem_zalloc(sizeof *lane);
    if (!lane)
        return NULL;
    struct group *group = group_get(lease->workflow, lease->store->group, true);
    if (!group || map_put(&engine->lanes_by_id, id_key(&lease->store->lane), lane) < 0) {
        mem_free(lane);
        return NULL;
    }
    lane->id = lease->store->lane;
    lane->group = group_ref(group);
    lane->workflow = lease->workflow;
    lane->duration_us = lease->workflow->duration_us;
    lane->boost = 1;
    lane->share = lane->keeps = UINT32_MAX;
    lane->came_mono_us = engine_mono_us(engine);
    list_init(&lane->leases);
    list_init(&lane->again);
    list_init(&lane->startable);
    list_push_back(&engine->lanes, &lane->in_lanes);
    engine->n_lanes++;
    return lane;
}

int held_add_lease(froe *engine, struct lease *lease, struct lane **ret_lane) {
    struct lane *lane = held_find(engine, lease->store->lane);
    if (lane)
        list_move_back(&engine->lanes, &lane->in_lanes); /* who got something longest ago is first */
    else
        lane = lane_make(engine, lease);
    if (!lane)
        return -ENOMEM;
    lane->tokens = lease->store->tokens;
    lane->leased_mono_us = engine_mono_us(engine);
    lease->granted_mono_us = engine_mono_us(engine);
    lease->granted_utc_us = engine_utc_us(engine);
    if (lease->workflow->schedule_timeout_us) {
        lease->start_by_mono_us = lease->granted_mono_us + lease->workflow->schedule_timeout_us;
        if (lease->start_by_mono_us < engine->start_by_mono_us)
            engine->start_by_mono_us = lease->start_by_mono_us;
    }
    list_push_back(&lane->leases, &lease->link);
    list_push_back(&engine->leases, &lease->in_all);
    lane->unstarted += lease->n;
    lane->unsettled += lease->n;
    held_update(engine, lane);
    *ret_lane = lane;
    return 0;
}

static void lane_free(froe *engine, struct lane *lane) {
    list_remove(&lane->startable);
    held_group_update(engine, lane->group);
    group_unref(lane->group);
    list_remove(&lane->in_lanes);
    map_remove(&engine->lanes_by_id, id_key(&lane->id));
    engine->n_lanes--;
    mem_free(lane);
}

void held_drop_if_empty(froe *engine, struct lane *lane) {
    if (lane->unsettled > 0 || lane->wanted)
        return;
    lane_free(engine, lane);
    engine->lane_ended = true;
    engine->offers++;
    /* Its tokens come free, for its own further runs and perhaps for others. */
    claims_look(engine);
}

void held_run_settled(froe *engine, struct lane *lane) {
    lane->unsettled--;
    held_drop_if_empty(engine, lane);
}

void held_release(froe *engine, struct lane *lane) {
    if (lane->unstarted == 0 || settle_reserve(engine, lane->unstarted) < 0)
        return; /* without memory they stay leased, and come back with the worker's removal */
    struct list leases;
    list_init(&leases);
    list_splice_back(&leases, &lane->leases);
    lane->unstarted = 0;
    held_update(engine, lane);
    struct list *link;
    while ((link = list_pop_front(&leases))) {
        struct lease *lease = LIST_ENTRY(link, struct lease, link);
        /* The lane may be gone after the very last one, the lease only later. */
        while (lease->next < lease->n)
            settle_add(engine, lane, lease, lease_take(lease), &settle_released, 0, NULL);
    }
}

bool held_stale(const froe *engine, const struct lane *lane) {
    if (!lane->workflow->rated || lane->unstarted == 0)
        return false;
    const struct lease *lease = LIST_ENTRY(lane->leases.next, struct lease, link);
    if (engine_mono_us(engine) - lease->granted_mono_us < WINDOW_SLACK_US)
        return false;
    int64_t now = engine_utc_us(engine);
    for (size_t i = 0; i < lane->workflow->n_rules; i++) {
        const struct store_rule *rule = &lane->workflow->rules[i].store;
        if (rule->strategy == STORE_RATE_LIMIT && now / rule->period_us != lease->granted_utc_us / rule->period_us)
            return true;
    }
    return false;
}

void held_release_all(froe *engine) {
    LIST_EACH_SAFE (link, following, &engine->lanes)
        held_release(engine, LIST_ENTRY(link, struct lane, in_lanes));
}

void held_forget(froe *engine) {
    LIST_EACH_SAFE (link, following, &engine->lanes) {
        struct lane *lane = LIST_ENTRY(link, struct lane, in_lanes);
        struct list *at;
        while ((at = list_pop_front(&lane->leases))) {
            struct lease *lease = LIST_ENTRY(at, struct lease, link);
            uint32_t n = 0;
            for (; lease->next < lease->n; n++)
                lease_take(lease);
            lane->unstarted -= n;
            lane->unsettled -= n;
            lease->unacked -= n;
            if (lease->unacked == 0)
                lease_free(lease);
        }
        held_update(engine, lane);
        held_drop_if_empty(engine, lane);
    }
}

/* ---- leases ---- */

static void skip_taken_out(struct lease *lease) {
    while (lease->next < lease->n && lease->taken_out && lease->taken_out[lease->next])
        lease->next++;
    if (lease->next == lease->n)
        list_remove(&lease->link);
}

uint32_t lease_take(struct lease *lease) {
    uint32_t at = lease->next++;
    skip_taken_out(lease);
    return at;
}

bool lease_unstarted(const struct lease *lease, uint32_t at) {
    return at >= lease->next && !(lease->taken_out && lease->taken_out[at]);
}

int held_take_out(froe *engine, struct lane *lane, struct lease *lease, uint32_t at) {
    if (!lease->taken_out)
        lease->taken_out = mem_calloc(lease->n, sizeof *lease->taken_out);
    if (!lease->taken_out)
        return -ENOMEM;
    lease->taken_out[at] = true;
    skip_taken_out(lease);
    lane->unstarted--;
    held_update(engine, lane);
    return 0;
}

void lease_acked(struct lease *lease) {
    if (--lease->unacked == 0)
        lease_free(lease);
}

void lease_free(struct lease *lease) {
    if (!lease)
        return;
    list_remove(&lease->link);
    list_remove(&lease->in_all);
    grant_unref(lease->grant);
    mem_free(lease->inputs);
    mem_free(lease->taken_out);
    mem_free(lease);
}

void grant_unref(struct grant *grant) {
    if (!grant || --grant->refs > 0)
        return;
    store_claimed_free(&grant->claimed);
    mem_free(grant->texts);
    mem_free(grant);
}

void held_free(froe *engine) {
    LIST_EACH_SAFE (link, following, &engine->leases)
        lease_free(LIST_ENTRY(link, struct lease, in_all));
    LIST_EACH_SAFE (link, following, &engine->lanes)
        lane_free(engine, LIST_ENTRY(link, struct lane, in_lanes));
    map_free(&engine->lanes_by_id);
}
