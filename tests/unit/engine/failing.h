/* failing.h - a store that hands everything on to a real one until it is told to fail, to be slow, or to forget the
 * worker. */
#pragma once

#include "store.h"

#include <stdatomic.h>

struct failing_store;

/* Wraps `real`, which it owns then. */
struct failing_store *failing_make(struct store *real);
struct store *failing_store(struct failing_store *failing);

/* Any thread. From now on the n-th call that may fail gives `code` (0: none does). Calls after it fail too, as store.h
 * says. */
void failing_at(struct failing_store *failing, uint64_t n, int code);
uint64_t failing_calls(const struct failing_store *failing); /* so far */
/* The next heartbeat does not return before this is set back. */
void failing_stall(struct failing_store *failing, bool stall);
