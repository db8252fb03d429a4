/* conformance_model.h - a naive model of what store.h says: every run in one array, looked through for every question.
 */
#pragma once

#include "conformance_steps.h"

#include "rng.h"

#define WORKFLOWS 5
#define LANES 120
#define RUNS 3000
#define WORKERS 3
#define KEYS 40 /* child keys of a workflow */

enum state { FREE, QUEUED, WAITING, PARKED };

struct run {
    enum state state; /* QUEUED: in its page; WAITING: in trouble, due or not */
    int lane, key;    /* key -1: none */
    int generation;
    uint32_t index, attempts;
    int64_t page, due_utc_us; /* of a delayed page too */
    int64_t lease;            /* 0: not leased */
    int worker;
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
    struct lane lanes[LANES];
    int n_lanes;
    struct store_rule rules[WORKFLOWS][2];
    size_t n_rules[WORKFLOWS];
};

struct play {
    struct steps *steps;
    struct rng rng;
    struct model now, durable; /* as of the last commit */
    uint64_t turn, group_turns[WORKFLOWS][8][2];
    int64_t workflows[WORKFLOWS];
    int64_t now_utc_us, batch_utc_us; /* as of this step; when the batch was begun */
    int64_t workers[WORKERS], expires_mono_us[WORKERS];
    bool in_batch;
    uint64_t claimed, spawned, settled;
};

bool model_robin(const struct model *model, int workflow, size_t rule);
size_t model_first_robin(const struct model *model, int workflow);
/* The turn of the lane's group. */
uint64_t *model_group_turn(struct play *play, const struct lane *lane);
bool model_is_work(const struct play *play, const struct run *run, int lane);
bool model_has_work(const struct play *play, int lane);
uint64_t model_leased_of(const struct play *play, int worker, int lane);
uint64_t model_least_tokens(const struct play *play, const struct lane *lane, const uint32_t *but);
/* when: 1: rules decided at the spawn, 2: at the claim, 3: both */
uint64_t model_least_places(const struct play *play, const struct lane *lane, int when);
bool model_cancels_late(const struct model *model, int workflow);
int model_lane_by_id(const struct model *model, int64_t id); /* fails the test for a lane that is not known */
/* Plays the claim of that worker in the model and fails the test where the store gave anything else. wanted: by
 * workflow, as in the claim. (conformance_claim.c) */
void model_check_claim(struct play *play, int worker, const struct store_claim *claim, const bool *wanted,
                       const struct store_claimed *claimed);
