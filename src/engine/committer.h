/* committer.h - the thread that owns the store, and the way to it and back.
 *
 * The loop's thread submits requests; the committer takes all that gathered while its last transaction ran, executes
 * them in the order of submission inside one transaction, commits, and hands them back. A request belongs to whoever
 * holds it: to the loop until it is submitted, to the committer's thread until it is collected, then to the loop
 * again. What a request points at must not be changed meanwhile.
 *
 * When the connection to the store's server is lost (STORE_ERR_LOST) the whole transaction is repeated, with pauses,
 * until it works or committer_give_up was called; meanwhile nothing is handed back. On STORE_ERR_AGAIN it is repeated
 * at once. */
#pragma once

#include "err.h"
#include "list.h"
#include "store.h"
#include "wake.h"

struct froe;

struct request {
    struct list link;
    struct request *next; /* the one right after it in its transaction; NULL: it is the last. Until it is finished */
    /* On the committer's thread, inside a transaction; again from the start when that was lost, so it must not build on
     * what an earlier execution left in the request. -EINVAL, -ESTALE and -ENOENT concern this request alone; any
     * other negative code ends the store: this transaction and all later requests fail with it. */
    int (*execute)(struct request *request, struct store *store, struct err *err);
    /* On the loop's thread once the transaction is durable (r = 0, or the request's own refusal), or has failed (r <
     * 0). Frees the request. */
    void (*finish)(struct request *request, struct froe *engine);
    int r;
    struct err err; /* of r < 0 */
};

struct committer;

/* Takes the store. `wake` is sent whenever there is something to collect. -ENOMEM, or the thread's errno; the store is
 * then still the caller's. */
int committer_start(struct store *store, struct wake *wake, struct committer **ret_committer, struct err *err);

/* Not looked at before the next committer_go, unless the committer is just done with another transaction: so what is
 * submitted together, like a spawn and the claim that is to find its runs, mostly shares one. */
void committer_submit(struct committer *committer, struct request *request);
void committer_go(struct committer *committer);

/* Moves what is finished to the end of `done`, in order of submission. *ret_fatal: has the store failed? */
void committer_collect(struct committer *committer, struct list *done, bool *ret_fatal);

/* Is the connection to the store's server lost, as far as is known? *ret_err says why, and is only set then. `wake` is
 * sent when it changes. */
bool committer_lost(struct committer *committer, struct err *ret_err);
/* From now on a lost connection is a failure. */
void committer_give_up(struct committer *committer);

/* No more requests come; when those submitted are executed the store is closed and `wake` sent a last time. */
void committer_close(struct committer *committer);
bool committer_closed(struct committer *committer);

/* After committer_closed gave true and all was collected. NULL is fine. */
void committer_free(struct committer *committer);
