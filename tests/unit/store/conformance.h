/* conformance.h - what every kind of store must do, as tests over one that the caller provides.
 *
 *     struct store_under_test sut = {.wipe = ..., .open = ..., .crash = ...};
 *     return conformance_run(&sut);
 *
 * Time is the suite's: the store is opened with the clock in `sut`. */
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
    void *arg;
    /* Kept by the suite. */
    struct clock clock;
    int64_t utc_us, mono_us;
};

int conformance_run(struct store_under_test *sut); /* how many tests failed */
