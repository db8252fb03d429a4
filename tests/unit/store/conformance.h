/* conformance.h - what every kind of store must do, as tests over one that the caller provides.
 *
 *     struct store_under_test sut = {.wipe = ..., .open = ..., .crash = ..., .own_clock = ...};
 *     return conformance_run(&sut);
 *
 * With own_clock time is the suite's: the store is opened with the clock in `sut` and judges by it. Without, it judges
 * by the clock of a server on this host; the tests then wait for real, with short leases and shorter seconds. */
#pragma once

#include "store.h"

struct store_under_test {
    /* Forgets all that was stored: the next open finds nothing. */
    void (*wipe)(struct store_under_test *sut);
    /* Opens the store, with `options` as they are. */
    int (*open)(struct store_under_test *sut, const struct store_options *options, struct store **ret_store,
                struct err *err);
    /* Makes an end of the open store as kill -9 would: what was not committed is lost, nothing is tidied up. */
    void (*crash)(struct store_under_test *sut, struct store *store);
    bool own_clock;
    const char *const *leave_out; /* tests that are not run, NULL at the end; NULL: none */
    bool late;                    /* results come as late as store_commit may give them */
    uint64_t seeds;               /* that random use plays with; 0: 8 */
    void *arg;
    /* Kept by the suite. */
    struct clock clock;
    int64_t utc_us, mono_us;
};

int conformance_run(struct store_under_test *sut); /* how many tests failed */
