/* wire.h - one connection to PostgreSQL: connecting, sending statements in a pipeline, reading the answers, errors.
 *
 * Everything is sent in libpq's pipeline mode, parameters and results are binary, and no call waits longer than it was
 * told to. Statements are prepared by name on a connection of our own; behind a connection pooler (which is noticed by
 * the process id it invents) they are sent whole, as the next transaction may be another server process's.
 *
 * Any error leaves the connection closed: what was in its transaction is rolled back by the server. */
#pragma once

#include "args.h"
#include "join.h"
#include "schema.h"
#include "store.h"

#include <libpq-fe.h>

/* ---- results ---- */

void wire_free(PGresult **answer);
#define _cleanup_answer_ __attribute__((cleanup(wire_free)))

static inline int wire_rows(const PGresult *answer) {
    return answer ? PQntuples(answer) : 0;
}
int64_t wire_int(const PGresult *answer, int row, int column);        /* also of a boolean; NULL: 0 */
struct bytes wire_bytes(const PGresult *answer, int row, int column); /* borrowed from it; NULL: empty */
bool wire_is_null(const PGresult *answer, int row, int column);

/* ---- the connection ---- */

struct place; /* place.h */

struct wire {
    PGconn *pg; /* NULL: not connected */
    const struct place *place;
    const struct sql *sql;
    bool pooled; /* by a connection pooler */
    bool in_pipeline;
    bool prepared[2][SQL_STATEMENTS]; /* [1]: for one row */
    struct joins joins;
    int version;               /* of the server: 150018 */
    struct expected *expected; /* answers that are to come */
    size_t n_expected, cap_expected;
    int failed;       /* of a send: -ENOMEM */
    int64_t usual_us; /* that wire_sync_soon takes; 0: not known */
};

void wire_init(struct wire *wire, const struct place *place, const struct sql *sql);
/* STORE_ERR_LOST when there is no server or it does not take connections now, STORE_ERR_IO when it refuses us. */
int wire_connect(struct wire *wire, int64_t within_us, struct err *err);
void wire_close(struct wire *wire);
bool wire_connected(const struct wire *wire);

/* Queues a statement; nothing may be sent yet. *ret_answer (may be NULL) is set by wire_sync and then the caller's.
 * What `args` borrows must live until then. A failure shows in wire_sync. */
void wire_send(struct wire *wire, enum sql_statement statement, struct args *args, PGresult **ret_answer);
/* Queues args->statement of all as one statement, whose answer is the last one's. False: they cannot be joined, and
 * nothing was queued. */
bool wire_send_joined(struct wire *wire, const struct args *last, struct args *const *parts, size_t n,
                      PGresult **ret_answer);
/* Sends all, and reads all answers. Closes the connection when anything fails:
 *   STORE_ERR_LOST     the connection or the server is gone, stalled, or gave up this transaction for another's sake
 *   STORE_ERR_AGAIN    SQL_LOCK_SAME found another batch
 *   STORE_ERR_FULL, STORE_ERR_CORRUPT, STORE_ERR_IO, -ENOMEM */
int wire_sync(struct wire *wire, int64_t within_us, struct err *err);
/* For who has nothing else to do and wants the answer at once: does not sleep when it is due within microseconds. */
int wire_sync_soon(struct wire *wire, int64_t within_us, struct err *err);
/* Runs a script of statements without parameters (outside of any pipeline). */
int wire_script(struct wire *wire, const char *script, int64_t within_us, struct err *err);

/* For waiting on it: the thread that listens. */
int wire_fd(const struct wire *wire);
/* Reads what came; 1: a notification that `session` (hex) did not send itself, 0: none, STORE_ERR_LOST. */
int wire_notified(struct wire *wire, const char *session);
