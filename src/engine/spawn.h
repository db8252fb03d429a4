/* spawn.h - a spawn on its way to the store: what spawn.c makes of the caller's items and spawn_pages.c writes. */
#pragma once

#include "engine.h"

#define REASONS_MAX 20 /* events about items that failed; the others are told together */

/* The keys of items that have the same under every rule; or why they have none. */
struct keyset {
    struct bytes keys[FROE_RULES_MAX];
    struct bytes failed; /* not empty: no keys */
    struct group *group; /* NULL: a page's own, until the store has answered */
    size_t first, n;     /* in the request's items */
};

struct spawn_page {
    const struct keyset *set;
    size_t first, n;
    struct keyset *own;      /* made, in one piece of memory, when the page is written: its keys depend on its id */
    struct store_page given; /* a store may read it as late as at the commit */
    struct store_spawned spawned;
};

struct spawn_request {
    struct request request;
    struct workflow *workflow;
    froe_spawned_fn *done;
    void *arg;
    int64_t tick_utc_us;
    bool tick_was_taken;
    int64_t not_before_utc_us, start_by_utc_us, parent_page;
    uint32_t parent_index;
    unsigned priority;
    struct bytes input, metadata;
    struct keyset *sets;
    size_t n_sets;
    struct store_item *items; /* set by set */
    size_t n_items;
    struct spawn_page *pages;
    size_t n_pages;
    char *memory;              /* what all views point into */
    bool joined;               /* executed with an earlier one */
    struct spawn_joint *joint; /* what it was executed as with later ones; NULL: alone */

    /* For `done`; NULL without it. */
    struct store_place *placed; /* what the store says of each item */
    uint32_t *places;           /* of each item among those given; NULL: its own */
    froe_run_id *runs;          /* by place */
    unsigned char *ret_created; /* the caller's, likewise, or NULL */
};

/* The keys of one input under the workflow's rules, one after the other at the end of `keys`, or the reason why there
 * is none under one of them. 0, -EINVAL with a text, -ENOMEM; of an error nothing is left in `keys`. Any thread. */
int spawn_keys(const struct workflow *workflow, const struct cel_vars *vars, struct buf *keys,
               size_t lengths[FROE_RULES_MAX], struct err *err);

/* Divides the sets into pages and submits. Takes the request; -ENOMEM: it is still the caller's. */
int spawn_submit(froe *engine, struct spawn_request *spawn);
void spawn_free(struct spawn_request *spawn);

/* On the committer's thread: executes the spawn together with those right after it in the transaction (request.next)
 * that can share a page with it; *ret_joined is false when there are none, or the store refused them together. Those
 * have `joined` set then and are not to be executed. Errors are the store's, or -ENOMEM. */
int spawn_join(struct spawn_request *spawn, struct store *store, bool *ret_joined, struct err *err);
/* On the loop's thread, once it is durable and before any of them is finished: tells each what came of its own. */
void spawn_joint_tell(struct spawn_request *spawn);
void spawn_joint_free(struct spawn_joint *joint);

static inline struct bytes spawn_group_key(const struct workflow *workflow, const struct keyset *set) {
    return set->failed.n == 0 && workflow->group_rule < workflow->n_rules ? set->keys[workflow->group_rule]
                                                                          : BYTES_NONE;
}
