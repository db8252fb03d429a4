/* claim.h - what the parts of a claim share: claim.c (whose turn it is, and the call), claim_work.c (reading what lanes
 * have), claim_give.c (giving it out). */
#pragma once

#include "postgres_store.h"

/* What was read of one lane. */
struct lane_work {
    struct lane *lane;
    uint32_t want_retries, want_pages, max;
    PGresult *retries, *pages;
    int retry_at, page_at;
    struct page_row **made; /* instead of all that: the pages that this batch has made, as the lane has no others */
    size_t n_made, made_at;
    bool all_retries, all_pages;
    int64_t last_rank;
    bool asked;
    int64_t as_of[LANE_NUMBERS]; /* the lane's numbers when it was asked for */
    struct lane_work *next;
};

struct claiming {
    struct postgres_store *store;
    const struct store_claim *claim;
    struct arena *arena;
    struct lane_work *works;
    struct store_lease *leases; /* growing; moved into the arena at the end */
    size_t n, cap;
    uint32_t *held; /* in the arena */
    uint32_t cancelled;
    bool cut_short;
    bool look_again; /* what will be late next has changed */
};
static inline uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* ---- claim_work.c ---- */

struct lane_work *claim_work_of(struct claiming *claiming, struct lane *lane); /* NULL: no memory */
/* Asks for what a lane has, for up to `max` runs; claim_load reads it, if there is anything to be read. */
int claim_want_work(struct claiming *claiming, struct lane *lane, uint64_t max);
int claim_load(struct postgres_store *store, struct err *err);
void claim_want_retries(struct postgres_store *store, struct lane_work *work); /* more of them */
void claim_want_pages(struct postgres_store *store, struct lane_work *work);
/* What others have used of the rates that lanes with work depend on. One that is known to be used up stays so. */
void claim_want_rates(struct postgres_store *store);
/* Forgets what was read of lanes that are not as they were expected to be. generation: the scheduler's when it was
 * asked for. */
void claim_keep_what_holds(struct claiming *claiming, uint64_t generation, bool time_changed);
void claim_cache_pages(const struct claiming *claiming); /* at the end of the claim */
void claim_work_free(struct claiming *claiming);

/* ---- claim_give.c ---- */

/* How many more runs, and how many tokens in all, somebody who has these gets at most. hold: NULL: none. */
void claim_limits(const struct lane *lane, const struct hold_row *hold, int64_t now_utc_us, uint32_t *runs,
                  uint32_t *tokens);
/* Leases up to `runs` more runs of the lane and lets the hold have up to `tokens` tokens in all, but none that it has
 * no runs for. Returns how many runs it got. */
int claim_serve(struct claiming *claiming, struct lane *lane, struct hold_row *hold, uint32_t runs, uint32_t tokens,
                struct err *err);
