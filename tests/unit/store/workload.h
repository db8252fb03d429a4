/* workload.h - a fixed series of batches that uses all of a store, and a text of all that a store then holds. For the
 * tests that break off somewhere and look what is left. */
#pragma once

#include "sqlite_files.h"

#define WORKLOAD_STEPS 25

/* The clock that they use; it stands still. */
extern const struct clock workload_clock;

/* Does the first `until` steps, each a batch of its own, with a reopening in between. *ret_done is how many were
 * committed. `told` is called after each, if not NULL. 0, or the error of the call that failed; after one the store
 * refuses everything with the same error, which is checked. */
int workload_run(struct sqlite_place *place, int until, int *ret_done, void (*told)(int done), struct err *err);

/* Opens the store, checks it, and says all that is in it. */
int workload_describe(struct sqlite_place *place, struct buf *ret_text, struct err *err);

/* What a store says after each number of steps; index 0 is an empty one. */
struct workload_expected {
    struct buf text[WORKLOAD_STEPS + 1];
};
void workload_expect(struct sqlite_place *place, struct workload_expected *ret_expected);
void workload_expected_free(struct workload_expected *expected);
/* Fails the test unless the store holds what `done` steps leave, or `done` + 1. */
void workload_verify(struct sqlite_place *place, const struct workload_expected *expected, int done, const char *when);
