/* wire.h - one connection to PostgreSQL: connecting, sending statements in a pipeline, reading the answers, errors.
 *
 * Everything is sent in libpq's pipeline mode, parameters and results are binary, and no call waits longer than it was
 * told to. Statements are prepared by name on a connection of our own; behind a connection pooler (which is noticed by
 * the process id it invents) they are sent whole, as the next transaction may be another server process's.
 *
 * Any error leaves the connection closed: what was in its transaction is rolled back by the server. */
#pragma once

#include "schema.h"
#include "store.h"

#include <libpq-fe.h>

/* ---- parameters of a statement ---- */

#define ARGS_MAX 40

/* The first failure (no memory) is remembered and shows when they are sent. */
struct args {
    struct arg {
        unsigned type;
        struct bytes value;
        bool null, stored; /* stored: value.p is an offset in `store` */
        size_t at;
        unsigned element; /* the type of its elements; 0: no array */
        size_t elements;
    } list[ARGS_MAX];
    int n, failed;
    int statement;            /* that it is for, when it waits to be sent */
    size_t array_at, array_n; /* of the array that is being made */
    struct buf store;
};

void args_free(struct args *args);
void args_reset(struct args *args); /* as new, keeps its memory */
void args_int(struct args *args, int64_t value);
void args_bool(struct args *args, bool value);
void args_bytes(struct args *args, struct bytes value);         /* borrowed until it is sent */
void args_bytes_or_null(struct args *args, struct bytes value); /* NULL when empty */
void args_text(struct args *args, const char *value);           /* likewise */
void args_uuid(struct args *args, const void *value);           /* 16 bytes, copied */
void args_null_int(struct args *args);

enum args_array { ARGS_INTS, ARGS_BYTES, ARGS_UUIDS };
void args_array(struct args *args, enum args_array kind); /* begins one; then its elements; then args_array_end */
void args_array_int(struct args *args, int64_t value);
void args_array_bytes(struct args *args, struct bytes value); /* copied */
void args_array_end(struct args *args);
void args_ints(struct args *args, const int64_t *values, size_t n); /* a whole array */

#define _cleanup_args_ __attribute__((cleanup(args_free)))

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
    int version;                      /* of the server: 150018 */
    struct expected *expected;        /* answers that are to come */
    size_t n_expected, cap_expected;
    int failed; /* of a send: -ENOMEM */
};

void wire_init(struct wire *wire, const struct place *place, const struct sql *sql);
/* STORE_ERR_LOST when there is no server or it does not take connections now, STORE_ERR_IO when it refuses us. */
int wire_connect(struct wire *wire, int64_t within_us, struct err *err);
void wire_close(struct wire *wire);
bool wire_connected(const struct wire *wire);

/* Queues a statement; nothing may be sent yet. *ret_answer (may be NULL) is set by wire_sync and then the caller's.
 * What `args` borrows must live until then. A failure shows in wire_sync. */
void wire_send(struct wire *wire, enum sql_statement statement, struct args *args, PGresult **ret_answer);
/* Sends all, and reads all answers. Closes the connection when anything fails:
 *   STORE_ERR_LOST     the connection or the server is gone, stalled, or gave up this transaction for another's sake
 *   STORE_ERR_AGAIN    SQL_LOCK_SAME found another batch
 *   STORE_ERR_FULL, STORE_ERR_CORRUPT, STORE_ERR_IO, -ENOMEM */
int wire_sync(struct wire *wire, int64_t within_us, struct err *err);
/* Runs a script of statements without parameters (outside of any pipeline). */
int wire_script(struct wire *wire, const char *script, int64_t within_us, struct err *err);

/* For waiting on it: the thread that listens. */
int wire_fd(const struct wire *wire);
/* Reads what came; 1: a notification that `session` (hex) did not send itself, 0: none, STORE_ERR_LOST. */
int wire_notified(struct wire *wire, const char *session);
