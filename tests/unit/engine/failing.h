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
/* As a server that cannot be reached: each batch begins with STORE_ERR_LOST, until it is set back. */
void failing_lose(struct failing_store *failing, bool lose);
/* As a server that starts again: the n-th call from now gives STORE_ERR_LOST (or STORE_ERR_AGAIN) once, the batch is
 * gone, and with it all leases. Needs a real store that can be closed and opened again by this URI. 0: no call. */
void failing_restart_at(struct failing_store *failing, uint64_t n, int code, const char *uri,
                        const struct store_options *options);
/* What store_shared says. */
void failing_shared(struct failing_store *failing, bool shared);
uint64_t failing_batches(const struct failing_store *failing); /* that were committed */
/* The next heartbeat does not return before this is set back. */
void failing_stall(struct failing_store *failing, bool stall);
/* No call returns before this is set back. */
void failing_freeze(struct failing_store *failing, bool freeze);
