/* lanes.h - the scheduler in memory: workflows, their rules, groups and lanes, and whose turn it is. No I/O.
 *
 * Turns. One counter numbers all grants. A group's turn is the number of its last grant, a lane's likewise; the
 * smallest is next. A new group or lane counts as granted when it came into being: so it waits for those that wait
 * already, and a stream of new ones cannot starve them. Each workflow has a heap of its groups that have ready lanes,
 * each group one of its ready lanes; a pick compares the first groups of the workflows asked for.
 *
 * A lane with work that is found over a rule's limit is taken out and put with the rule's key until that has room
 * again. Then the first of those that wait there is let in (the `candidate`), and when it was granted, or turned out to
 * wait for something else, the next, while there is room. So a full key costs nothing however many lanes wait for it, a
 * grant costs O(log n), and yet turns are exact: of those that wait for a key with room the first is always let in.
 *
 * Counting. What a lane has now is in counts[]; every change goes through lane_count, lane_asked and lane_tokens, which
 * keep the keys' sums: tokens for a GROUP_ROUND_ROBIN or CANCEL_IN_PROGRESS rule, places for a CANCEL_NEWEST rule, live
 * runs for a CANCEL_IN_PROGRESS rule. What a RATE_LIMIT rule counts is in its rate (rates.h); lanes that wait for its
 * next window wait as for any other room, until lanes_turn finds that it has come.
 *
 * Coming and going. A lane comes with the first run of its keys. When its last run has ended it is noted in its
 * workflow's `emptied`; idle.c decides when it goes for good. Its keys, its group and what its rates count go with the
 * last lane that uses them. Ids never come again while the store is open. */
#pragma once

#include "hash.h"
#include "heap.h"
#include "map.h"
#include "rates.h"
#include "store.h"

enum lane_kind {
    LANE_QUEUED,  /* runs of pages, delayed ones too */
    LANE_RETRIES, /* runs in trouble that wait or are queued again */
    LANE_LEASED,
    LANE_PARKED,
    LANE_KINDS,
};

enum lane_place { LANE_IDLE, LANE_READY, LANE_BLOCKED, LANE_ASIDE };

struct group {
    uint64_t turn;
    size_t n_lanes;
    struct heap_link link;  /* in its workflow's `ready` while `lanes` is not empty */
    struct heap lanes;      /* the ready ones */
    struct list candidates; /* those of them that are a key's candidate */
};

struct rule_key {
    struct workflow *workflow;
    size_t rule;
    uint32_t max_runs; /* the rule's, but for caps */
    size_t n_lanes;
    uint64_t used;        /* tokens, or places */
    uint64_t live, asked; /* CANCEL_IN_PROGRESS: runs, and those of them that were asked to end */
    struct list lanes;    /* CANCEL_IN_PROGRESS: struct lane_key, by its `of_key` */
    struct rate *rate;    /* RATE_LIMIT */
    struct list of_rate;
    struct heap blocked; /* lanes with work that wait for room here */
    struct lane *candidate;
};

struct workflow {
    int64_t id;
    char *name;
    size_t name_n;
    struct hash_key hash_key; /* of its child keys' fingerprints */
    struct store_rule rules[STORE_RULES_MAX];
    size_t n_rules;
    size_t first_round_robin; /* n_rules: none */
    bool paused;
    bool cancels, cancels_late;       /* has CANCEL_NEWEST rules at all; after a GROUP_ROUND_ROBIN rule */
    bool drives_out, limits_rate;     /* has CANCEL_IN_PROGRESS, RATE_LIMIT rules */
    struct map lanes;                 /* packed keys -> struct lane, borrowed */
    struct map keys[STORE_RULES_MAX]; /* rule key -> struct rule_key, owned */
    struct map groups;                /* key -> struct group, owned */
    struct heap ready;
    struct list emptied;                             /* lanes that lost their last run since that was looked at */
    uint64_t past_done, past_failed, past_cancelled; /* numbers of lanes that are gone */
    bool past_dirty;                                 /* ... that are not in the file yet */
};

struct lane_key {
    struct bytes key;          /* points into `packed` */
    struct rule_key *rule_key; /* NULL: no such rule any more */
    struct lane *lane;
    struct list of_key;
};

struct lane {
    int64_t id;
    struct workflow *workflow;
    struct group *group;
    uint64_t turn;
    int64_t last_granted_utc_us;

    enum lane_place place;
    struct heap_link link; /* in group->lanes or blocked_on->blocked */
    struct rule_key *blocked_on;
    uint64_t blocked_group_turn; /* the group's turn when it was put there: never more than the true one */
    struct rule_key *candidate_of;
    struct list of_candidates;

    struct heap pages;                  /* with queued runs, by priority, then in spawn order: struct page */
    struct heap retries;                /* due ones, the longest due first: struct retry */
    struct list all_pages, all_retries; /* struct work, whatever they are at */
    uint64_t counts[LANE_KINDS];
    uint64_t waiting; /* of LANE_RETRIES: not yet due */
    uint64_t asked;   /* of LANE_LEASED: to end */
    uint64_t done, failed, cancelled;
    uint64_t tokens;
    struct list holds; /* struct hold */

    struct list idle;    /* in workflow->emptied or lanes->idle; may have runs again all the same */
    int64_t idle_utc_us; /* when its last run ended, and the last row of the history that may be about it */
    int64_t last_ended;

    bool dirty; /* numbers are not in the file yet */
    bool gone;  /* only its place in lanes->lanes is still there */
    struct lane *next_dirty;
    struct lane *next_aside; /* while it is LANE_ASIDE */
    char *packed;
    size_t packed_n, n_keys;
    struct lane_key keys[];
};

struct lanes {
    struct workflow **workflows; /* by id - 1 */
    size_t n_workflows, cap_workflows;
    struct lane **lanes; /* by id, with gaps; some are gone */
    size_t n_lanes, cap_lanes, n_gone;
    int64_t next_lane;
    struct list idle; /* those without runs, the longest idle first */
    uint64_t added;   /* since that was looked at */
    uint64_t turn;
    struct rates rates;
    struct store_caps caps;
};

void lanes_init(struct lanes *lanes, const struct store_caps *caps);
void lanes_free(struct lanes *lanes); /* not what hangs on pages, retries, holds */

struct workflow *lanes_workflow(const struct lanes *lanes, int64_t id); /* NULL: unknown */
struct workflow *lanes_workflow_named(const struct lanes *lanes, struct bytes name);
/* Its id is the next one: n_workflows + 1. -ENOMEM. */
int lanes_workflow_add(struct lanes *lanes, struct bytes name, struct hash_key hash_key,
                       struct workflow **ret_workflow);
/* Replaces its rules, and reckons anew all that follows from them. After -ENOMEM the scheduler must only be freed. */
int lanes_rules_set(struct lanes *lanes, struct workflow *workflow, const struct store_rule *rules, size_t n);

struct lane *lanes_lane(const struct lanes *lanes, int64_t id); /* NULL: unknown */
/* By packed keys (packing.h); NULL when there is none yet. */
struct lane *lanes_lane_with(const struct workflow *workflow, struct bytes packed);
/* Its id is next_lane, which may be set to a greater one before. -ENOMEM, -EBADMSG for keys that do not unpack. */
int lanes_lane_add(struct lanes *lanes, struct workflow *workflow, struct bytes packed, struct heap pages,
                   struct heap retries, struct lane **ret_lane);

/* Where lanes_lane(id), which is known, is in lanes->lanes. */
size_t lanes_index(const struct lanes *lanes, int64_t id);
bool lane_has_runs(const struct lane *lane);
void lane_emptied(struct lane *lane);
/* Forgets one without runs. Its numbers are its workflow's from then on. */
void lanes_lane_drop(struct lanes *lanes, struct lane *lane);

/* Is it decided by what was claimed, not by what is live? */
static inline bool rule_is_late(const struct workflow *workflow, size_t rule) {
    return rule > workflow->first_round_robin;
}
static inline bool lane_has(const struct lane *lane, size_t rule, enum store_strategy strategy) {
    return lane->keys[rule].rule_key && lane->workflow->rules[rule].strategy == strategy;
}
uint64_t rule_key_room(const struct rule_key *key); /* UINT64_MAX without a limit */
bool rate_is_full(const struct rate *rate);         /* has one of its rules nothing left? */
/* Of a CANCEL_IN_PROGRESS rule: how many are too many when so many more come. `key` may be NULL: none are there yet. */
uint64_t rule_key_excess(const struct store_rule *rule, const struct rule_key *key, uint64_t more);
struct bytes lane_group_key(const struct lane *lane); /* "" when there is none */
void lane_count(struct lane *lane, enum lane_kind kind, int64_t change);
void lane_asked(struct lane *lane, int64_t change); /* leased runs that were asked to end */
/* Changes the tokens on the lane, by all workers together. */
void lane_tokens(struct lane *lane, int64_t change);
/* How many tokens its rules allow somebody who has `own` of the lane's already; UINT64_MAX without limits. */
uint64_t lane_tokens_free(const struct lane *lane, uint32_t own);
/* How many places the CANCEL_NEWEST rules that are decided at the claim have left, or all of them. */
uint64_t lane_places_at_claim(const struct lane *lane);
uint64_t lane_places(const struct lane *lane);
/* How many those have left that are decided at the spawn, for a page with these keys (one for each rule). */
uint64_t workflow_places_at_spawn(const struct workflow *workflow, const struct bytes *keys, size_t n);

/* Are no more of the lane's runs leased than the worker has tokens? */
bool lane_claims_by_token(const struct lane *lane);
/* How many of its runs the rates let be leased now, and that so many were. */
uint64_t lane_rate_room(const struct lane *lane);
void lane_rate_use(struct lanes *lanes, const struct lane *lane, uint64_t n);
/* For the load: a rate as the file has it. -ENOMEM. */
int lanes_rate_restore(struct lanes *lanes, int64_t period_us, struct bytes key, int64_t window_utc_us, uint64_t used);
/* To be called before claims: begins the windows of rates that have come. */
void lanes_turn(struct lanes *lanes, int64_t now_utc_us);
int64_t lanes_next_window(struct lanes *lanes); /* of the rates that are used up; 0: none is */

/* To be called when `pages` or `retries` got something or became empty. */
void lane_work_changed(struct lane *lane);
/* The lane with admissible work among these workflows whose turn it is; NULL: none. Unknown ids are passed over. */
struct lane *lanes_next(struct lanes *lanes, const int64_t *workflows, size_t n);
/* Takes a ready lane out of the turns, and puts it back where it belongs. */
void lane_put_aside(struct lane *lane);
void lane_put_back(struct lane *lane);
void lane_granted(struct lanes *lanes, struct lane *lane, int64_t now_utc_us);
