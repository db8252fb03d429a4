/* claim_sizes.c - how much a claim asks for, and for which lanes. */
#include "engine.h"

#define LANES_MIN 64
#define OFFER_US (500 * US_PER_MS) /* in which others who wait for a token hear of it and take it */

static uint32_t clamp_u32(int64_t value, uint32_t low, uint32_t high) {
    if (value < low)
        return low;
    return value > high ? high : (uint32_t)value;
}

static uint32_t at_once(const struct froe *engine, const struct lane *lane) {
    uint32_t share = (engine->slots + engine->n_lanes - 1) / (engine->n_lanes ? engine->n_lanes : 1);
    if (share > lane->tokens)
        share = lane->tokens;
    if (share > lane->group->limit)
        share = lane->group->limit;
    return share ? share : 1;
}

static int64_t runs_in(int64_t length_us, int64_t duration_us, uint32_t concurrency) {
    return length_us * concurrency / (duration_us > 0 ? duration_us : 1);
}

/* A lease should be at least what may run at once, but never more than a claim gives. */
static uint32_t lease_runs(int64_t duration_us, uint32_t concurrency, uint32_t tokens) {
    uint32_t low = tokens < LEASE_RUNS_MAX ? tokens : LEASE_RUNS_MAX;
    if (duration_us == DURATION_UNKNOWN)
        return low;
    return clamp_u32(runs_in(LEASE_LASTS_US, duration_us, concurrency), low, LEASE_RUNS_MAX);
}

void claim_set_low_water(const struct froe *engine, struct lane *lane) {
    int64_t ahead_us = 2 * engine->round_trip_us + CLAIM_PACE_US;
    int64_t duration_us = lane->duration_us == DURATION_UNKNOWN ? LEASE_LASTS_US : lane->duration_us;
    lane->low_water =
        clamp_u32(1 + lane->boost * runs_in(ahead_us, duration_us, at_once(engine, lane)), 1, LEASE_RUNS_MAX);
}

void claims_ran(struct lane *lane, int64_t duration_us) {
    int64_t *averages[] = {&lane->duration_us, &lane->workflow->duration_us};
    for (size_t i = 0; i < 2; i++)
        *averages[i] = *averages[i] == DURATION_UNKNOWN ? duration_us : *averages[i] + (duration_us - *averages[i]) / 8;
}

/* For lanes that nothing is known of yet, but for the workflows they may belong to: as much as the fastest can do, or,
 * where others may wait for what is too much, the slowest. The lane's own speed decides when it is refilled. */
uint32_t claim_new_lane_runs(const struct froe *engine) {
    uint32_t share = (engine->slots + engine->n_lanes) / (engine->n_lanes + 1), most = 0, fewest = UINT32_MAX;
    for (size_t i = 0; i < engine->n_workflows; i++) {
        const struct workflow *workflow = engine->workflows[i];
        if (!workflow->registered)
            continue;
        uint32_t runs = lease_runs(workflow->duration_us, share ? share : 1, engine->slots);
        most = runs > most ? runs : most;
        fewest = runs < fewest ? runs : fewest;
    }
    uint32_t runs = engine->shared ? fewest : most;
    return most ? runs : 1;
}

static bool lane_is_dry(const struct froe *engine, const struct lane *lane) {
    return lane->dry && lane->wanted_stir == engine->stir && lane->wanted_group_stir == lane->group->stir;
}

/* Its rule has limits, and other workers may be waiting for what it gives. */
static bool is_shared_out(const struct froe *engine, const struct lane *lane) {
    return !lane->workflow->takes_turns && group_max_runs(engine, lane->group) > 0;
}

static uint32_t least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* How many slots it could use. */
static uint32_t demand(const struct froe *engine, const struct lane *lane) {
    if (lane->group->paused_until_mono_us != 0)
        return lane->running;
    uint32_t most = is_shared_out(engine, lane) ? group_max_runs(engine, lane->group) : UINT32_MAX;
    most = least(most, lane->group->limit);
    bool more = !lane->dry && !lane->workflow->takes_turns; /* the store may have more for it */
    uint64_t here = (uint64_t)lane->running + lane->unstarted + !list_empty(&lane->again);
    return more || here > most ? most : (uint32_t)here;
}

static uint64_t slots_used(const struct froe *engine, uint32_t share) {
    uint64_t sum = 0;
    LIST_EACH (link, &engine->lanes)
        sum += least(demand(engine, LIST_ENTRY(link, struct lane, in_lanes)), share);
    return sum;
}

/* ---- what others may have ---- */

bool claim_may_offer(const froe *engine) {
    bool may = false;
    LIST_EACH (link, &engine->lanes) {
        const struct lane *lane = LIST_ENTRY(link, struct lane, in_lanes);
        may = may || (is_shared_out(engine, lane) && (lane->tokens > 1 || lane->keeps != UINT32_MAX));
    }
    return engine->shared && may;
}

static uint32_t fair_tokens(const struct froe *engine, const struct lane *lane) {
    uint32_t most = group_max_runs(engine, lane->group), workers = engine->others_idle + 1;
    return most / workers + (most % workers != 0);
}

static void set_keeps(struct froe *engine, struct lane *lane, uint32_t keeps, enum lane_offer offer) {
    if (keeps > lane->keeps)
        lane->capped = false; /* there may be more for it now */
    lane->keeps = keeps;
    lane->offer = offer;
    engine->thirsty = true;
}

/* Who keeps to its share already looks whether others have left something; it may have more than that next time. */
void claim_offer(froe *engine) {
    LIST_EACH (link, &engine->lanes) {
        struct lane *lane = LIST_ENTRY(link, struct lane, in_lanes);
        if (!is_shared_out(engine, lane))
            continue;
        bool gives = lane->keeps != UINT32_MAX && lane->offer == OFFER_NONE && lane->tokens > lane->keeps;
        bool offers = lane->offer == OFFER_GIVING || lane->offer == OFFER_GIVEN;
        uint32_t fair = fair_tokens(engine, lane);
        if (engine->others_idle > 0 && gives)
            set_keeps(engine, lane, fair, OFFER_NONE);
        else if (engine->others_idle > 0 && lane->tokens > fair && !offers)
            set_keeps(engine, lane, lane->tokens - 1, OFFER_GIVING);
        else if (lane->keeps != UINT32_MAX && !(offers && engine->others_idle > 0))
            set_keeps(engine, lane, UINT32_MAX, OFFER_NONE);
    }
}

static void go_on_offering(struct froe *engine, struct lane *lane) {
    if (lane->offer == OFFER_GIVING && !lane->wanted && lane->tokens <= lane->keeps) {
        lane->offer = OFFER_GIVEN;
        lane->offer_until_mono_us = engine->shared_out_mono_us + OFFER_US;
    } else if (lane->offer == OFFER_GIVEN && engine->shared_out_mono_us >= lane->offer_until_mono_us) {
        set_keeps(engine, lane, lane->keeps + 1, OFFER_ASKED);
    }
}

void claim_offer_answered(struct froe *engine, struct lane *lane) {
    if (lane->offer != OFFER_ASKED || lane->want_tokens < lane->keeps)
        return;
    bool taken = lane->tokens < lane->keeps;
    set_keeps(engine, lane, taken ? fair_tokens(engine, lane) : UINT32_MAX, OFFER_NONE);
}

void claim_share_out(froe *engine) {
    uint32_t low = 1, high = engine->slots; /* the smallest share with which all slots are used */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (slots_used(engine, middle) >= engine->slots)
            high = middle;
        else
            low = middle + 1;
    }
    uint64_t used = slots_used(engine, low), over = used > engine->slots ? used - engine->slots : 0;
    LIST_EACH (link, &engine->lanes) {
        struct lane *lane = LIST_ENTRY(link, struct lane, in_lanes);
        uint32_t share = low;
        if (over > 0 && low > 1 && demand(engine, lane) >= low) {
            share--;
            over--;
        }
        if (!is_shared_out(engine, lane))
            share = UINT32_MAX;
        go_on_offering(engine, lane);
        share = least(share, lane->keeps);
        if (share != lane->share) {
            lane->share = share;
            held_update(engine, lane);
        }
        if (claim_has_spare(lane))
            engine->thirsty = true;
    }
}

bool claim_has_spare(const struct lane *lane) {
    return !lane->wanted && lane->tokens > lane->share && lane->tokens > lane->running;
}

/* All its tokens are in use, and it may have more. */
static bool lacks_tokens(const struct froe *engine, const struct lane *lane) {
    return lane->share != UINT32_MAX && lane->running == lane->tokens &&
           lane->tokens < least(lane->share, demand(engine, lane)) && lane->unstarted > 0 &&
           !(lane->capped && lane->wanted_stir == engine->stir);
}

/* Never less than run already: the rule counts those. */
uint32_t claim_want_tokens(const struct froe *engine, const struct lane *lane) {
    uint32_t share = least(lane->share, engine->slots);
    return share > lane->running ? share : lane->running;
}

static bool has_fewer_than(const struct froe *engine, const struct lane *lane, uint32_t low_water) {
    return lane->unstarted < low_water && !engine->more && !lane->workflow->takes_turns && !lane->wanted &&
           lane->group->paused_until_mono_us == 0 && lane->group->limit > 0 && !lane_is_dry(engine, lane);
}

bool claim_wants(const struct froe *engine, const struct lane *lane) {
    if (!lane->wanted && lane->group->paused_until_mono_us == 0 && lacks_tokens(engine, lane))
        return true;
    return has_fewer_than(engine, lane, lane->low_water);
}

bool claim_wants_along(const struct froe *engine, const struct lane *lane) {
    return has_fewer_than(engine, lane, lane->low_water + 1);
}

bool claim_idles(const struct froe *engine, const struct lane *lane) {
    return lane->workflow->takes_turns && !lane->wanted && lane->unstarted == 0 && list_empty(&lane->again) &&
           lane->running > 0 && lane->group->paused_until_mono_us == 0 && lane->group->limit > 0 &&
           (lane->running < lane->tokens || !lane_is_dry(engine, lane) || lane->dry_offers != engine->offers);
}

uint32_t claim_want_runs(const struct froe *engine, const struct lane *lane) {
    if (!lane->workflow->takes_turns)
        return lease_runs(lane->duration_us, at_once(engine, lane) * lane->boost, lane->tokens);
    return lane->workflow->rated ? claim_free_slots(engine)
                                 : lease_runs(lane->duration_us, at_once(engine, lane), claim_free_slots(engine));
}

uint32_t claim_free_slots(const struct froe *engine) {
    uint32_t busy = engine->running + engine->n_hanging;
    return engine->slots > busy ? engine->slots - busy : 1;
}

/* Lanes of paused groups are held for free, up to a point, so that they do not keep others out. */
uint32_t claim_new_lanes(const struct froe *engine) {
    uint32_t most = engine->slots > LANES_MIN / 2 ? engine->slots * 2 : LANES_MIN, held = 0;
    if (engine->n_lanes >= most * 4)
        return 0;
    LIST_EACH (link, &engine->lanes) {
        const struct lane *lane = LIST_ENTRY(link, struct lane, in_lanes);
        held += lane->group->paused_until_mono_us == 0 || lane->running > 0;
    }
    return held < most ? most - held : 0;
}
