/* conformance_model.h - a naive model of what store.h says: every run in one array, looked through for every question.
 */
#pragma once

#include "conformance_steps.h"

#include "rng.h"

#define WORKFLOWS 10
#define LANES 160
#define RUNS 3000
#define PAST 8000
#define WORKERS 3
#define KEYS 40  /* child keys of a workflow */
#define GROUPS 5 /* keys of the first rule; of the second there are two */
#define PERIODS 2
#define RESERVED 8

enum state { FREE, QUEUED, WAITING, PARKED };

struct run {
    enum state state; /* QUEUED: in its page; WAITING: in trouble, due or not */
    int lane, key;    /* key -1: none */
    int generation;
    unsigned priority;
    uint32_t index, attempts;
    int64_t page, due_utc_us;     /* of a delayed page too */
    int64_t start_by_utc_us;      /* 0: none */
    bool started;                 /* was leased once */
    bool asked, driven_out, told; /* to end; its worker was told so */
    int64_t lease;                /* 0: not leased */
    int worker;
};

struct past { /* a run that ended */
    int64_t page;
    uint32_t index;
    enum store_state state;
};

struct lane {
    int64_t id;
    int workflow, group, other; /* its keys: first rule's and second rule's */
    int n_keys;
    uint64_t turn; /* 0: not known since the open */
    uint64_t done, failed, cancelled;
    uint32_t tokens[WORKERS];
};

struct model {
    struct run runs[RUNS];
    struct past past[PAST];
    int n_past;
    struct lane lanes[LANES];
    int n_lanes;
    struct store_rule rules[WORKFLOWS][2];
    size_t n_rules[WORKFLOWS];
    bool paused[WORKFLOWS];
    struct {
        int64_t window_utc_us;
        uint64_t used;
    } rates[PERIODS][GROUPS]; /* period: 1 s, 2 s; their keys are those of the rules that count them */
};

/* What a call was given, and what it is expected to have answered. Allocated. */
struct pending {
    void (*check)(const struct pending *pending);
    struct pending *next;
};

/* When time is not ours, so long ahead of a step nothing becomes due. */
#define MODEL_MARGIN_US (200 * US_PER_MS)

struct play {
    struct steps *steps;
    struct rng rng;
    struct model now, durable; /* as of the last commit */
    uint64_t turn, group_turns[WORKFLOWS][1 + GROUPS][2];
    int64_t now_utc_us, batch_utc_us; /* as of this step; when the batch was begun */
    int64_t workflows[WORKFLOWS];
    int64_t workers[WORKERS], expires_mono_us[WORKERS];
    int64_t reserved[RESERVED]; /* page ids */
    int n_reserved;
    struct pending *pending; /* of the batch; only when results come late */
    bool in_batch, stood_still;
    uint64_t claimed, spawned, settled, driven_out, late, asked, limited;
};

static inline uint64_t below(struct play *play, uint64_t bound) {
    return rng_below(&play->rng, bound);
}

enum store_strategy model_strategy(const struct model *model, int workflow, size_t rule); /* 0: no such rule */
size_t model_first_robin(const struct model *model, int workflow);
/* The turn of the lane's group. */
uint64_t *model_group_turn(struct play *play, const struct lane *lane);
bool model_same_key(const struct model *model, const struct lane *a, const struct lane *b, size_t rule);
bool model_is_work(const struct play *play, const struct run *run, int lane);
bool model_has_work(const struct play *play, int lane);
uint64_t model_leased_of(const struct play *play, int worker, int lane);
uint64_t model_least_tokens(const struct play *play, const struct lane *lane, const uint32_t *but);
/* when: 1: rules decided at the spawn, 2: at the claim, 3: both */
uint64_t model_least_places(const struct play *play, const struct lane *lane, int when);
/* How many the rates let be leased now; and one is. */
uint64_t model_rate_room(const struct play *play, const struct lane *lane);
void model_rate_use(struct play *play, const struct lane *lane);
int64_t model_period_us(int period);
bool model_claims_by_token(const struct model *model, int workflow);
int model_lane_by_id(const struct model *model, int64_t id); /* fails the test for a lane that is not known */
void model_end(struct play *play, struct run *run, enum store_state state); /* it is a run of the past now */
void model_cancel(struct play *play, struct run *run);                      /* likewise, and counted */
void model_ask(struct play *play, struct run *run, bool driven_out);        /* a leased one, to end */
enum store_state model_state(const struct play *play, const struct run *run);
/* A time at most so far ahead. When time is not ours, all such lie on a grid, so that waiting for them takes less. */
int64_t model_some_time(struct play *play, int64_t at_most_us);
/* When time is not ours: did the machine stand still in this step for so long that something may have become due in the
 * store that is not in the model? Then nothing can be said of what depends on time, now and in this play. */
bool model_stood_still(struct play *play);
void model_begin(struct play *play); /* a batch, if there is none */
/* Checks what was answered and frees it: now, or when the batch is committed. */
void model_pending(struct play *play, struct pending *pending);
void model_committed(struct play *play);
void model_lost(struct play *play); /* nothing of the batch is answered */
/* Fail the test, and say which run it is, unless the store told of it what is expected. */
void model_same_number(const struct run *run, const char *what, int64_t told, int64_t expected);
void model_same_text(const struct run *run, const char *what, struct bytes told, const char *expected);
void model_same_key_of(const struct run *run, struct bytes told); /* its child key */

/* Spawns something random, and fails the test where the store did anything else than the model. (conformance_spawn.c)
 */
void model_spawn(struct play *play);
/* Plays the claim of that worker in the model and fails the test where the store gave anything else. wanted: by
 * workflow, as in the claim. (conformance_claim.c) */
void model_check_claim(struct play *play, int worker, const struct store_claim *claim, const bool *wanted,
                       const struct store_claimed *claimed);
