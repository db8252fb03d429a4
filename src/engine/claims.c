/* claims.c - when to ask the store for how many runs.
 *
 * At most one claim is under way. It asks for two things: more runs of lanes that are held and run low (so early that
 * they never run empty), and lanes that are not held, whenever those may have got work. A lease should last about a
 * second: a fast workflow gets hundreds of runs at once, a slow one as many as it may run. Lanes that take turns with
 * equal leases run low one run apart: who is about to is asked for along with the first, or would be without work until
 * the answer after the next, while the first goes on. When more lanes have work than may be held no lane is refilled:
 * it runs empty, and the store gives the turn to whoever waited longest.
 *
 * Where lanes compete for what a rule has to give, a lane that has tokens but no runs for them first offers them: it
 * gives them back while lanes that are not held are asked for. Only when none of those came is it refilled, and of
 * several the one that got something longest ago first.
 *
 * A worker of a fleet that has more of what a rule gives than its share, while others have free slots, offers one token
 * at each heartbeat. When somebody took it, it gives back all beyond its share, as its runs end. */
#include "engine.h"

#include "cleanup.h"
#include "mem.h"

#define OVERDUE_POLL_US US_PER_S      /* what is due but was not given: a rule is full, or the lane has enough */
#define WAKE_PACE_US (50 * US_PER_MS) /* between claims that others' work causes */
#define POLL_LEAST_US (2 * US_PER_S)  /* between looks at a shared store, while they bring something */
#define POLL_MOST_US (10 * US_PER_S)  /* and at most */

struct seen_waiting { /* how many runs of a lane still wait; of a shared store: how many fewer they are by this claim */
    int64_t lane;
    uint64_t waiting;
};

struct claim_request {
    struct request request;
    struct froe *engine;
    struct store_claim claim;
    struct store_want *wants;
    uint32_t *tokens;    /* the answer to each want */
    struct lane **lanes; /* of each want; they stay until the answer is here */
    bool refill;         /* lanes that offered their tokens get runs again */
    bool rated;          /* for lanes of rate limits; otherwise for the others */
    int64_t sent_mono_us;
    struct grant *grant;
    struct lease **leases;
    size_t n_leases;
    bool more;
    uint32_t cancelled;
    int64_t next_due_utc_us;
    struct seen_waiting *waiting;
    size_t n_waiting;
    struct snapshot *snapshot;
};

/* What an execution made. */
static void claim_reset(struct claim_request *claim) {
    for (size_t i = 0; i < claim->n_leases; i++)
        lease_free(claim->leases[i]);
    mem_free(claim->leases);
    if (claim->grant) {
        claim->grant->refs = 1;
        grant_unref(claim->grant);
    }
    mem_free(claim->waiting);
    snapshot_free(claim->snapshot);
    claim->leases = NULL;
    claim->grant = NULL;
    claim->waiting = NULL;
    claim->snapshot = NULL;
    claim->n_leases = claim->n_waiting = 0;
}

static void claim_free(struct claim_request *claim) {
    claim_reset(claim);
    mem_free(claim->wants);
    mem_free(claim->tokens);
    mem_free(claim->lanes);
    mem_free(claim);
}

/* ---- on the committer's thread ---- */

static bool same_text(struct bytes a, struct bytes b) {
    return a.p == b.p && a.n == b.n;
}

static char *put_text(char **at, struct bytes text) {
    char *copy = *at;
    if (text.n)
        memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    *at += text.n + 1;
    return copy;
}

static size_t texts_size(const struct store_claimed *claimed) {
    size_t size = 1;
    for (size_t i = 0; i < claimed->n; i++) {
        const struct store_lease *lease = &claimed->leases[i];
        size += lease->metadata.n + 3; /* an empty one becomes {} */
        for (size_t j = 0; j < lease->n; j++)
            if (j == 0 || !same_text(lease->runs[j].input, lease->runs[j - 1].input))
                size += lease->runs[j].input.n + 1;
    }
    return size;
}

static struct workflow *workflow_by_id(const struct froe *engine, int64_t id) {
    for (size_t i = 0; i < engine->n_store_workflows; i++)
        if (engine->store_workflows[i]->store_id == id)
            return engine->store_workflows[i];
    return NULL;
}

static struct lease *make_lease(struct claim_request *claim, const struct store_lease *from, char **texts) {
    struct lease *lease = mem_zalloc(sizeof *lease);
    const char **inputs = mem_calloc(from->n, sizeof *inputs);
    if (!lease || !inputs) {
        mem_free(lease);
        mem_free(inputs);
        return NULL;
    }
    list_init(&lease->link);
    list_init(&lease->in_all);
    lease->store = from;
    lease->inputs = inputs;
    lease->n = lease->unacked = (uint32_t)from->n;
    lease->metadata = put_text(texts, from->metadata.n ? from->metadata : BYTES("{}"));
    for (size_t j = 0; j < from->n; j++)
        inputs[j] = j > 0 && same_text(from->runs[j].input, from->runs[j - 1].input)
                        ? inputs[j - 1]
                        : put_text(texts, from->runs[j].input);
    return lease;
}

/* A retry comes in a lease of its own: how many still wait is asked where one is given, for the groups' numbers. Of a
 * shared store, where asking takes a round trip, and others' are not known before all numbers are read, it is counted.
 */
static int see_waiting(struct claim_request *claim, struct store *store, const struct store_lease *lease,
                       struct err *err) {
    if (!lease->waited)
        return 0;
    struct seen_waiting *last = claim->n_waiting > 0 ? &claim->waiting[claim->n_waiting - 1] : NULL;
    bool same = last && last->lane == lease->lane;
    if (claim->engine->shared && same) {
        last->waiting++;
        return 0;
    }
    if (same)
        return 0;
    if (claim->engine->shared) {
        claim->waiting[claim->n_waiting++] = (struct seen_waiting){lease->lane, 1};
        return 0;
    }
    struct store_lane_info info;
    int r = store_lane_get(store, lease->lane, &info, err);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;
    claim->waiting[claim->n_waiting++] = (struct seen_waiting){lease->lane, info.waiting};
    return 0;
}

static int take_leases(struct claim_request *claim, struct store *store, struct err *err) {
    const struct store_claimed *claimed = &claim->grant->claimed;
    claim->grant->texts = mem_alloc(texts_size(claimed));
    claim->leases = mem_calloc(claimed->n, sizeof *claim->leases);
    claim->waiting = mem_calloc(claimed->n, sizeof *claim->waiting);
    if (!claim->grant->texts || !claim->leases || !claim->waiting)
        return err_set(err, -ENOMEM, "out of memory");
    char *texts = claim->grant->texts;
    for (size_t i = 0; i < claimed->n; i++) {
        struct workflow *workflow = workflow_by_id(claim->engine, claimed->leases[i].workflow);
        if (!workflow || claimed->leases[i].n == 0 || claimed->leases[i].n > UINT32_MAX)
            return err_set(err, STORE_ERR_CORRUPT, "the store gave a lease that was not asked for");
        struct lease *lease = make_lease(claim, &claimed->leases[i], &texts);
        if (!lease)
            return err_set(err, -ENOMEM, "out of memory");
        lease->workflow = workflow;
        claim->leases[claim->n_leases++] = lease;
        int r = see_waiting(claim, store, &claimed->leases[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int execute_claim(struct request *request, struct store *store, struct err *err) {
    struct claim_request *claim = (struct claim_request *)(void *)request;
    const struct froe *engine = claim->engine;
    claim_reset(claim);
    int64_t *ids = mem_calloc(engine->n_store_workflows, sizeof *ids);
    claim->grant = mem_zalloc(sizeof *claim->grant);
    if (!ids || !claim->grant) {
        mem_free(ids);
        return err_set(err, -ENOMEM, "out of memory");
    }
    size_t n_ids = 0;
    for (size_t i = 0; i < engine->n_store_workflows; i++)
        if (engine->store_workflows[i]->rated == claim->rated)
            ids[n_ids++] = engine->store_workflows[i]->store_id;
    claim->claim.workflows = ids;
    claim->claim.n_workflows = n_ids;
    int r = store_claim(store, &claim->claim, &claim->grant->claimed, err);
    claim->claim.workflows = NULL;
    mem_free(ids);
    if (r < 0)
        return r;
    for (size_t i = 0; i < claim->claim.n_wants; i++)
        claim->tokens[i] = claim->grant->claimed.held[i];
    claim->more = claim->grant->claimed.more;
    claim->cancelled = claim->grant->claimed.cancelled;
    claim->next_due_utc_us = claim->grant->claimed.next_due_utc_us;
    r = take_leases(claim, store, err);
    /* It does not say in which groups. */
    if (r == 0 && claim->cancelled > 0)
        r = snapshot_take(store, &claim->snapshot, err);
    return r;
}

/* ---- asking ---- */

void claims_look(froe *engine) {
    engine->look[false] = engine->look[true] = true;
    engine->dirty = true;
}

void claims_stir(froe *engine, struct group *group) {
    if (group)
        group->stir++;
    else
        engine->stir++;
    engine->thirsty = true;
    claims_look(engine);
}

void claims_due(froe *engine, int64_t due_utc_us) {
    if (engine->next_due_utc_us == 0 || due_utc_us < engine->next_due_utc_us) {
        engine->next_due_utc_us = due_utc_us;
        engine->dirty = true;
    }
}

/* The next look at a shared store: soon while it brings something. Not all workers at the same moment. */
static void set_poll(froe *engine, bool brought) {
    engine->poll_us = brought ? POLL_LEAST_US : engine->poll_us + engine->poll_us / 2;
    if (engine->poll_us < POLL_LEAST_US)
        engine->poll_us = POLL_LEAST_US;
    if (engine->poll_us > POLL_MOST_US)
        engine->poll_us = POLL_MOST_US;
    int64_t jitter_us = (int64_t)rng_below(&engine->rng, (uint64_t)engine->poll_us / 4);
    engine->poll_at_mono_us = engine_mono_us(engine) + engine->poll_us - jitter_us;
}

static void take_answer(struct froe *engine, struct claim_request *claim) {
    struct grant *grant = TAKE_PTR(claim->grant);
    grant->refs = 1;
    for (size_t i = 0; i < claim->n_leases; i++) {
        struct lease *lease = TAKE_PTR(claim->leases[i]);
        lease->grant = grant;
        grant->refs++;
        struct lane *lane;
        if (held_add_lease(engine, lease, &lane) < 0) {
            lease_free(lease);
            engine_fail(engine, &(struct err){.code = -ENOMEM, .text = "out of memory"});
            continue;
        }
        lane->got_runs += lease->n;
        claim_set_low_water(engine, lane);
    }
    grant_unref(grant);
}

static void see_numbers(struct froe *engine, struct claim_request *claim) {
    int r = 0;
    if (claim->snapshot) {
        r = snapshot_apply(engine, claim->snapshot);
        event_refused(engine, NULL, NULL, claim->cancelled);
    }
    for (size_t i = 0; i < claim->n_waiting && r == 0; i++) {
        struct lane *lane = held_find(engine, claim->waiting[i].lane);
        if (lane && !engine->shared)
            r = group_set_waiting(engine, lane->group, lane->id, claim->waiting[i].waiting);
        else if (lane && !claim->snapshot) /* which was taken after the claim */
            r = group_less_waiting(engine, lane->group, lane->id, claim->waiting[i].waiting);
    }
    if (r < 0)
        engine_fail(engine, &(struct err){.code = r, .text = "out of memory"});
}

static void finish_wants(struct froe *engine, struct claim_request *claim, bool answered) {
    for (size_t i = 0; i < claim->claim.n_wants; i++) {
        struct lane *lane = claim->lanes[i];
        lane->wanted = false;
        if (answered && claim->tokens[i] > 0) {
            lane->tokens = claim->tokens[i];
            held_update(engine, lane);
        }
        if (lane->want_runs > 0 || lane->workflow->takes_turns)
            lane->dry = answered && lane->got_runs < lane->want_runs;
        lane->capped = answered && lane->tokens < lane->want_tokens;
        if (answered)
            claim_offer_answered(engine, lane);
        if (answered && !lane->dry && lane->want_runs > 0 && !lane->workflow->takes_turns) {
            if (lane->unstarted == lane->got_runs && lane->boost < 64)
                lane->boost *= 2; /* it ran empty meanwhile */
            else if (lane->unstarted - lane->got_runs > lane->low_water / 2 && lane->boost > 1)
                lane->boost /= 2;
        }
        held_drop_if_empty(engine, lane);
    }
}

static bool offered(const struct claim_request *claim) {
    bool any = false;
    for (size_t i = 0; i < claim->claim.n_wants; i++)
        any = any || claim->lanes[i]->offered;
    return any;
}

static void finish_claim(struct request *request, struct froe *engine) {
    struct claim_request *claim = (struct claim_request *)(void *)request;
    engine->claim_inflight = false;
    set_poll(engine, claim->n_leases > 0);
    bool answered = request->r == 0 && claim->claim.worker == engine->worker && engine->state != WORKER_LOST;
    int64_t now = engine_mono_us(engine);
    if (answered) {
        engine->round_trip_us += (now - claim->sent_mono_us - engine->round_trip_us) / 4;
        if (!claim->rated)
            engine->more = claim->more;
        engine->next_due_utc_us = claim->next_due_utc_us;
        int64_t soon = engine_utc_us(engine) + OVERDUE_POLL_US;
        if (claim->next_due_utc_us && claim->next_due_utc_us <= engine_utc_us(engine))
            engine->next_due_utc_us = soon;
        if (claim->more && (claim->n_leases > 0 || claim->claim.new_lanes == 0))
            engine->look[claim->rated] = true;
        engine->refill[claim->rated] = offered(claim) && claim->n_leases == 0 && !claim->more;
        take_answer(engine, claim);
        see_numbers(engine, claim);
    }
    finish_wants(engine, claim, answered);
    engine->thirsty = true;
    engine->dirty = true;
    if (answered && engine->state != WORKER_RUNNING)
        held_release_all(engine);
    if (request->r == -ESTALE)
        worker_lost(engine, "the store took the leases back: it had not heard of this worker for too long");
    else if (request->r < 0)
        engine_fail(engine, &request->err);
    claim_free(claim);
}

/* What is asked for a lane; false: nothing. */
static bool make_want(struct froe *engine, struct lane *lane, bool refill, struct store_want *ret_want) {
    bool idles = claim_idles(engine, lane), wants = claim_wants(engine, lane) || claim_wants_along(engine, lane);
    if (!idles && !wants && !claim_has_spare(lane))
        return false;
    *ret_want = (struct store_want){.lane = lane->id, .tokens = claim_want_tokens(engine, lane)};
    if (lane->workflow->rated)
        ret_want->tokens = lane->running + claim_free_slots(engine);
    if (ret_want->tokens < lane->tokens) {
        lane->tokens = ret_want->tokens; /* from now on: the store may give the others to somebody before it answers */
        held_update(engine, lane);
    }
    lane->want_tokens = ret_want->tokens;
    if (idles && !refill) {
        lane->offered = true;
        engine->offers += lane->running < lane->tokens;
        ret_want->tokens = lane->running;
    } else {
        lane->offered = false;
        ret_want->runs = idles || wants ? claim_want_runs(engine, lane) : 0;
    }
    lane->wanted = true;
    lane->wanted_stir = engine->stir;
    lane->wanted_group_stir = lane->group->stir;
    lane->want_runs = ret_want->runs;
    return true;
}

static int ask(froe *engine, bool rated, size_t n_wants, uint32_t lanes, int64_t now) {
    struct claim_request *claim = mem_zalloc(sizeof *claim);
    if (!claim)
        return -ENOMEM;
    claim->wants = mem_calloc(n_wants, sizeof *claim->wants);
    claim->lanes = mem_calloc(n_wants, sizeof(struct lane *));
    claim->tokens = mem_calloc(n_wants, sizeof *claim->tokens);
    if (!claim->wants || !claim->lanes || !claim->tokens) {
        claim_free(claim);
        return -ENOMEM;
    }
    claim->rated = rated;
    claim->refill = engine->refill[rated];
    engine->refill[rated] = false;
    size_t n = 0;
    LIST_EACH (link, &engine->lanes) {
        struct lane *lane = LIST_ENTRY(link, struct lane, in_lanes);
        lane->got_runs = 0;
        if (n == n_wants || lane->workflow->rated != rated || !make_want(engine, lane, claim->refill, &claim->wants[n]))
            continue;
        claim->lanes[n++] = lane;
    }
    for (size_t i = 0; i < n; i++)
        claim->lanes[i]->dry_offers = engine->offers;
    claim->request.execute = execute_claim;
    claim->request.finish = finish_claim;
    claim->engine = engine;
    claim->claim = (struct store_claim){
        .worker = engine->worker,
        .wants = claim->wants,
        .n_wants = n,
        .new_lanes = lanes,
        .new_runs = rated ? claim_free_slots(engine) : claim_new_lane_runs(engine),
        .new_tokens = rated ? claim_free_slots(engine) : engine->slots,
    };
    claim->sent_mono_us = engine->claim_sent_mono_us = now;
    engine->claim_inflight = true;
    engine_submit(engine, &claim->request);
    return 0;
}

static bool slots_wait(froe *engine) {
    return tasks_slot_free(engine) && !held_next(engine);
}

/* What others do to a shared store is only seen by asking: when it says so, and every few seconds. */
static void claims_others(froe *engine, int64_t now) {
    if (atomic_load(&engine->woken) && now - engine->woken_mono_us >= WAKE_PACE_US) {
        atomic_store(&engine->woken, false);
        engine->woken_mono_us = now;
        worker_heartbeat_soon(engine);
        claims_stir(engine, NULL);
    }
    if (engine->shared && now >= engine->poll_at_mono_us && tasks_slot_free(engine) && !engine->claim_inflight) {
        engine->poll_at_mono_us = now + engine->poll_us;
        claims_stir(engine, NULL);
    }
}

/* Lanes of rate limits are asked for apart, as what they lease should start at once. False: there is nothing to ask. */
static bool pump_kind(froe *engine, bool rated, int64_t now) {
    if ((rated ? engine->n_rated : engine->n_registered - engine->n_rated) == 0)
        return engine->look[rated] = false;
    size_t n_wants = 0, n_along = 0, n_idle = 0;
    if (engine->thirsty)
        LIST_EACH (link, &engine->lanes) {
            const struct lane *lane = LIST_ENTRY(link, struct lane, in_lanes);
            if (lane->workflow->rated != rated)
                continue;
            bool wants = claim_wants(engine, lane) || claim_has_spare(lane);
            n_wants += wants;
            n_along += !wants && claim_wants_along(engine, lane);
            n_idle += claim_idles(engine, lane);
        }
    bool look = engine->look[rated], refill = engine->refill[rated];
    uint32_t lanes = look || (n_idle > 0 && !refill) ? claim_new_lanes(engine) : 0;
    if (n_wants + n_idle == 0)
        engine->refill[rated] = false;
    if (n_wants + n_idle == 0 && lanes == 0)
        return false;
    bool in_haste = slots_wait(engine) && (n_wants > 0 || look || refill);
    engine->claim_paced = !in_haste && now - engine->claim_sent_mono_us < CLAIM_PACE_US;
    if (engine->claim_paced)
        return true;
    /* The store hears of what ended before it is asked for more: a lane whose last run ended holds no tokens. */
    settle_flush(engine);
    engine->thirsty = false;
    if (lanes > 0)
        engine->look[rated] = false;
    if (ask(engine, rated, n_wants + n_along + n_idle, lanes, now) < 0)
        engine_fail(engine, &(struct err){.code = -ENOMEM, .text = "out of memory"});
    return true;
}

void claims_pump(froe *engine, int64_t now) {
    claims_others(engine, now);
    engine->claim_paced = false;
    if (engine->next_due_utc_us && engine->next_due_utc_us <= engine_utc_us(engine)) {
        engine->next_due_utc_us = 0;
        claims_stir(engine, NULL);
    }
    engine->share_paced = engine->shared && now - engine->shared_out_mono_us < CLAIM_PACE_US;
    if (engine->shared && !engine->share_paced) {
        engine->shared_out_mono_us = now;
        claim_share_out(engine);
    }
    if (engine->claim_inflight || (!engine->look[false] && !engine->look[true] && !engine->thirsty))
        return;
    /* By turns. */
    bool rated = engine->rated_turn;
    engine->rated_turn = !rated;
    if (!pump_kind(engine, rated, now) && !pump_kind(engine, !rated, now))
        engine->thirsty = false;
}

int64_t claims_next_mono_us(const froe *engine, int64_t now) {
    if (engine->state != WORKER_RUNNING)
        return INT64_MAX;
    int64_t next = INT64_MAX;
    if (engine->next_due_utc_us) {
        int64_t wait_us = engine->next_due_utc_us - engine_utc_us(engine);
        next = now + (wait_us > 0 ? wait_us : 0);
    }
    if (engine->shared && !engine->claim_inflight && tasks_slot_free(engine) && engine->poll_at_mono_us < next)
        next = engine->poll_at_mono_us;
    if (atomic_load(&engine->woken) && engine->woken_mono_us + WAKE_PACE_US < next)
        next = engine->woken_mono_us + WAKE_PACE_US;
    if (engine->claim_paced && engine->claim_sent_mono_us + CLAIM_PACE_US < next)
        next = engine->claim_sent_mono_us + CLAIM_PACE_US;
    if (engine->share_paced && engine->n_lanes > 0 && engine->shared_out_mono_us + CLAIM_PACE_US < next)
        next = engine->shared_out_mono_us + CLAIM_PACE_US;
    return next;
}
