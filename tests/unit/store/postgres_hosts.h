/* postgres_hosts.h - for tests of a fleet: several stores on one PostgreSQL, and short ways to say what each does.
 *
 * Each has one workflow "w" with a GROUP_ROUND_ROBIN rule, and a worker. What cannot fail in a test fails it. */
#pragma once

#include "postgres_server.h"
#include "store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

extern struct err host_err; /* of the last call */
#define MUST(call_)                                                      \
    do {                                                                 \
        if ((call_) < 0)                                                 \
            fail_msg("%s: %d %s", #call_, host_err.code, host_err.text); \
    } while (0)

struct host {
    struct store *store;
    int64_t worker, workflow;
    struct store_claimed claimed;
};

/* In the schema "fleet". */
void host_open(struct host *host, const struct postgres_server *server, enum postgres_way way,
               const struct store_options *options, uint32_t max_runs);
void host_close(struct host *host);
/* Items "key-%05d" from `from` on, at most 100. Begins again while the connection is lost. */
struct store_spawned host_spawn(struct host *host, const char *group, int from, int n, const char *generation);
#define assert_spawned(spawned_, created_, duplicates_, superseded_) \
    do {                                                             \
        struct store_spawned it_ = (spawned_);                       \
        assert_int_equal(it_.created, (created_));                   \
        assert_int_equal(it_.duplicates, (duplicates_));             \
        assert_int_equal(it_.superseded, (superseded_));             \
    } while (0)
/* At most so many runs of each lane. How many it got; what, is in host->claimed. */
size_t host_claim(struct host *host, uint32_t runs);
/* Settles all that the last claim gave; how many were ignored. */
size_t host_settle(struct host *host, enum store_outcome outcome);
void host_check(struct host *host);
