/* sched.h - workflows and lanes in memory: what rules count, who has work, whose turn it is. No I/O.
 *
 * A copy of the tables workflow and lane, which a store brings up to date under the lock of each batch
 * (postgres_store.h): a lane's row has all its numbers, so rows are simply put in the place of older ones. What rules
 * count (tokens, places) and groups' turns are sums and maxima over lanes, kept here and nowhere else.
 *
 * Turns. One counter numbers all grants. A lane's turn is that of its last grant, or of its birth; a group's is the
 * greatest `group_turn` of its lanes: the turn of their last grants, and for the lane that the group came into being
 * with that of its birth. The smallest is next: group before group, then lane before lane.
 *
 * To find the next lane, all lanes that have queued runs are looked at: some 10 ns each. */
#pragma once

#include "fingerprints.h"
#include "hash.h"
#include "list.h"
#include "map.h"
#include "store.h"

/* A lane's numbers, in the order of the table's columns (LANE_COLUMNS in schema.c). */
enum lane_number {
    LN_TURN,
    LN_GROUP_TURN,
    LN_GRANTED,   /* when, microseconds UTC */
    LN_QUEUED,    /* runs of pages that are not leased, delayed ones too */
    LN_DELAYED,   /* of those: in delayed pages */
    LN_PAGES,     /* that have queued runs and are not delayed */
    LN_RETRIES,   /* runs in trouble that wait or are queued again */
    LN_RETRY_DUE, /* when the first of those is due; 0: none */
    LN_LEASED,
    LN_PARKED,
    LN_DONE,
    LN_FAILED,
    LN_CANCELLED,
    LN_TOKENS,
    LN_USED, /* when its row was written last, microseconds UTC; never less than before */
    LANE_NUMBERS,
};

struct group {
    int64_t turn;
    size_t n_lanes;
    uint64_t mark; /* sched.mark when somebody who goes through them has noted this one */
};

struct rule_key {
    uint64_t tokens;  /* held on its lanes */
    uint64_t live;    /* runs of its lanes but parked ones */
    uint64_t claimed; /* of those: leased, or in trouble */
    struct list lanes;
};

/* Units used of a key and a period, of all workflows. */
struct rate {
    struct hash128 hash;
    int64_t period_us, window_utc_us, used; /* at least so many, as far as is known */
    bool dirty;
    size_t n_lanes;
    uint64_t mark; /* see struct group */
    struct rate *next_dirty;
};

struct workflow {
    int64_t id;
    char *name;
    size_t name_n;
    bool paused, dirty;
    uint64_t mark;            /* likewise */
    struct hash_key hash_key; /* of its child keys' fingerprints */
    struct store_rule rules[STORE_RULES_MAX];
    size_t n_rules;
    size_t first_round_robin;                      /* n_rules: none */
    bool cancels, cancels_late, drives_out, rated; /* what rules it has */
    struct map lanes;                              /* packed keys -> struct lane, borrowed */
    struct map keys[STORE_RULES_MAX];              /* rule key -> struct rule_key, owned */
    struct map groups;                             /* key -> struct group, owned */
};

struct lane_key {
    struct bytes key;          /* points into `packed` */
    struct rule_key *rule_key; /* NULL: no such rule any more */
    struct rate *rate;         /* NULL: not a RATE_LIMIT */
    struct lane *lane;
    struct list link; /* in rule_key->lanes */
};

struct lane {
    int64_t id;
    struct workflow *workflow;
    struct group *group;
    int64_t v[LANE_NUMBERS];
    struct list busy;             /* in sched.busy while it has queued runs or retries */
    bool dirty, is_new, had_work; /* had_work: has any, be it due later */
    bool woke;                    /* got work since it was written */
    struct lane *next_dirty;
    char *packed;
    size_t packed_n, n_keys;
    struct lane_key keys[];
};

struct sched {
    struct workflow **workflows; /* by id - 1; with holes */
    size_t n_workflows;
    struct lane **lanes; /* likewise */
    size_t n_lanes;
    struct map rates; /* owned */
    struct map rates_by_hash;
    struct list busy;
    struct lane *dirty;
    struct rate *dirty_rates;
    bool workflows_dirty;
    bool woke; /* something may be leased that could not be before; beside what lanes got */
    uint64_t mark;
    size_t n_known;      /* lanes that there are */
    uint64_t generation; /* how often it was freed, or a lane dropped: pointers of before are void */
    struct hash_key hash_key;
};

void sched_init(struct sched *sched);
void sched_free(struct sched *sched);

struct workflow *sched_workflow(const struct sched *sched, int64_t id); /* NULL: unknown */
struct workflow *sched_workflow_named(const struct sched *sched, struct bytes name);
/* Adds it, or gives it other rules. -ENOMEM: the scheduler must only be freed. */
int sched_workflow_put(struct sched *sched, int64_t id, struct bytes name, const struct store_rule *rules, size_t n,
                       bool paused, struct workflow **ret_workflow);

struct lane *sched_lane(const struct sched *sched, int64_t id); /* NULL: unknown */
struct lane *sched_lane_with(const struct workflow *workflow, struct bytes packed);
/* Adds it, or gives it these numbers. -ENOMEM, -EBADMSG for keys that do not unpack. */
int sched_lane_put(struct sched *sched, int64_t id, struct workflow *workflow, struct bytes packed,
                   const int64_t *numbers, struct lane **ret_lane);

bool sched_is_idle(const struct lane *lane); /* it has no runs */
/* Forgets an idle lane that is not dirty, and the keys, group and rates that only it used. NULL: does nothing. */
void sched_lane_drop(struct sched *sched, struct lane *lane);

/* Changes a number, what follows from it, and notes that the row has to be written. */
void sched_add(struct sched *sched, struct lane *lane, enum lane_number which, int64_t change);
void sched_set(struct sched *sched, struct lane *lane, enum lane_number which, int64_t value);
void sched_retry_due(struct sched *sched, struct lane *lane, int64_t due_utc_us); /* also this one */
void sched_lane_dirty(struct sched *sched, struct lane *lane);
/* Its group's key, "" when there is none; in memory as long as the lane. */
struct bytes sched_group_key(const struct lane *lane);
/* A lane's group and what its keys count, when a page with these keys made it (one for each rule). */
bool sched_group_known(const struct workflow *workflow, const struct bytes *keys, size_t n);

bool sched_has_work(const struct lane *lane, int64_t now_utc_us); /* that may be leased now, but for rules */
bool sched_claims_by_token(const struct lane *lane);              /* no more runs leased than tokens */
/* How many tokens its rules allow somebody who has `own` of the lane's already; UINT64_MAX without limits. */
uint64_t sched_tokens_free(const struct lane *lane, uint64_t own);
uint64_t sched_rate_free(const struct lane *lane, int64_t now_utc_us);
void sched_rate_use(struct sched *sched, struct lane *lane, uint64_t n, int64_t now_utc_us);
bool rate_used_up(const struct lane *lane, size_t rule, int64_t now_utc_us);
int64_t sched_rate_next(const struct lane *lane, int64_t now_utc_us); /* when the used-up windows end; 0: none is */
/* How many places the CANCEL_NEWEST rules that are decided at the claim have left, or all of them. */
uint64_t sched_places_at_claim(const struct lane *lane);
uint64_t sched_places(const struct lane *lane);
/* How many those have left that are decided at the spawn, for a page with these keys. */
uint64_t sched_places_at_spawn(const struct workflow *workflow, const struct bytes *keys, size_t n);
struct rule_key *sched_rule_key(const struct workflow *workflow, size_t rule, struct bytes key); /* NULL: none */
/* May it be granted now (work, rules, not paused)? */
bool sched_admissible(const struct lane *lane, int64_t now_utc_us);
bool sched_before(const struct lane *a, const struct lane *b); /* is it a's turn before b's? */
