/* spawn.h - a spawn on its way to the store: what spawn.c makes of the caller's items and spawn_pages.c writes. */
#pragma once

#include "engine.h"

#define REASONS_MAX 20 /* why items failed: more are only counted */

/* Items that have the same key under every rule. */
struct keyset {
    struct bytes keys[FROE_RULES_MAX];
    struct group *group;
    size_t first, n; /* in the request's items */
};

struct spawn_page {
    size_t set, first, n;
    struct store_spawned spawned;
};

struct reason {
    char *text;
    uint32_t count;
};

struct spawn_request {
    struct request request;
    struct workflow *workflow;
    froe_spawned_fn *done;
    void *arg;
    int64_t tick_utc_us;
    bool tick_was_taken;
    int64_t not_before_utc_us, parent_page;
    uint32_t parent_index;
    struct bytes input, metadata;
    struct keyset *sets;
    size_t n_sets;
    struct store_item *items; /* set by set */
    size_t n_items;
    struct spawn_page *pages;
    size_t n_pages;
    char *memory; /* what all views point into */
    struct reason reasons[REASONS_MAX];
    size_t n_reasons;
    uint32_t failed;
};

/* Divides the sets into pages and submits. Takes the request; -ENOMEM: it is still the caller's. */
int spawn_submit(froe *engine, struct spawn_request *spawn);
void spawn_free(struct spawn_request *spawn);
