/* schema.h - froe's tables on a PostgreSQL server: making and migrating them, and all statements that use them.
 *
 * All tables are in a schema of their own, which froe makes unless it is there. A role needs no more than
 *
 *     GRANT CONNECT, CREATE ON DATABASE db TO role;      the first start makes the schema; CREATE may be taken back
 * then or CREATE SCHEMA froe AUTHORIZATION role;             nothing else at all
 *
 * The version is in the one row of the table meta. Making and migrating go on under an advisory lock of that
 * transaction, so any number of processes may start at once. A process that finds a newer version refuses to start, and
 * one that runs while the tables are brought to a newer version stops at its next batch. */
#pragma once

#include "err.h"

#include <stdint.h>

#define SCHEMA_VERSION 4

enum sql_statement {
    /* of a batch */
    SQL_BEGIN,
    SQL_LOCK,
    SQL_LOCK_SAME,
    SQL_LOCAL,
    SQL_NOTIFY,
    SQL_FINISH,
    SQL_FINISH_SAME,
    SQL_COMMIT,
    SQL_FLUSH,
    SQL_COMMITTED,
    /* what memory has a copy of */
    SQL_META,
    SQL_WORKFLOWS,
    SQL_LANES,
    SQL_TIP,
    SQL_DELTA,
    SQL_LOOK,
    SQL_RATES,
    /* rows */
    SQL_LEASES,
    SQL_LEASES_PAGES,
    SQL_LEASES_TROUBLES,
    SQL_LEASES_OF,
    SQL_LEASES_OF_PAGES,
    SQL_LEASES_OF_TROUBLES,
    SQL_LEASES_ON,
    SQL_LEASES_ON_LANES,
    SQL_KEPT,
    SQL_KEPT_OF,
    SQL_HOLDS,
    SQL_PAGES,
    SQL_PAGES_OF_LANES,
    SQL_PAGES_DELAYED,
    SQL_PAGES_LATE,
    SQL_TROUBLES_OF_PAGES,
    SQL_TROUBLES_OF_LANES,
    SQL_TROUBLE,
    SQL_PAGE_KNOWN,
    SQL_CLAIM_RETRIES,
    SQL_CLAIM_PAGES,
    SQL_WORKERS,
    SQL_WORKERS_EXPIRED,
    SQL_HEARTBEAT,
    SQL_WORKER_EXPIRES,
    /* child keys */
    SQL_KEYS_ALL,
    SQL_KEYS_TROUBLES_ALL,
    SQL_KEYS_NEW,
    SQL_KEYS_TROUBLES_NEW,
    SQL_KEYS_GONE,
    /* writing */
    SQL_PAGE_ADD,
    SQL_PAGES_ADD,
    SQL_PAGE_PUT,
    SQL_PAGE_DROP,
    SQL_LANE_ADD,
    SQL_LANE_PUT,
    SQL_LANE_DROP,
    SQL_LEASE_ADD,
    SQL_LEASE_PUT,
    SQL_LEASE_DROP,
    SQL_HOLD_PUT,
    SQL_HOLD_DROP,
    SQL_TROUBLE_ADD,
    SQL_TROUBLE_PUT,
    SQL_TROUBLE_STATE,
    SQL_TROUBLE_DROP,
    SQL_KEPT_PUT,
    SQL_KEPT_DROP,
    SQL_ENDED_ADD,
    SQL_ASK_ADD,
    SQL_ASK_DROP,
    SQL_ASK_DROP_LEASES,
    SQL_WORKFLOW_PUT,
    SQL_WORKER_ADD,
    SQL_WORKER_DROP,
    SQL_RATE_PUT,
    SQL_VALUE_PUT,
    SQL_VALUE_DROP,
    SQL_VALUE_GET,
    SQL_LOG_ADD,
    SQL_LOG_TRIM,
    SQL_LOG_EACH,
    SQL_LOG_OF_RUN,
    SQL_TICKS,
    SQL_TICK_ADD,
    SQL_TICK_TRIM,
    SQL_TICK_LAST,
    /* people */
    SQL_WAITING,
    SQL_WORKFLOWS_PAST,
    SQL_TICKS_LAST,
    SQL_WORKERS_EACH,
    SQL_PARKED,
    SQL_RUN_IDS,
    SQL_RUN_IDS_KEY,
    SQL_RUN_PAGES,
    SQL_RUN_TROUBLES,
    SQL_RUN_LEASES,
    SQL_RUN_ENDED,
    SQL_RUN_KEPT,
    /* tidying */
    SQL_PAST_PAGES,
    SQL_PAST_TROUBLES,
    SQL_PAST_ENDED,
    SQL_PAST_DROP,
    SQL_BATCHES_TRIM,
    SQL_RATES_TRIM,
    /* checking */
    SQL_CHECK_PAGES,
    SQL_CHECK_TROUBLES,
    SQL_CHECK_LEASES,
    SQL_CHECK_HOLDS,
    SQL_CHECK_HISTORY,
    SQL_CHECK_KEPT,
    SQL_STATEMENTS,
};

struct sql {
    char *text[SQL_STATEMENTS];
    char *one[SQL_STATEMENTS]; /* of those that take rows as arrays: for one row, as plain parameters; NULL: none */
};

/* What a connection of our own is told once, and one behind a pooler (SQL_LOCAL) for each transaction: the client's
 * part of "nobody waits for ever", plans that do not depend on an old idea of how large tables are, and that a COMMIT
 * does not wait for the disk unless SQL_FINISH says so; else SQL_FLUSH does after it. */
extern const char schema_settings[];

/* The statements for this schema. -ENOMEM. */
int sql_make(struct sql *sql, const char *schema);
void sql_free(struct sql *sql);

struct wire;
/* Sees to it that the tables are there in our version. STORE_ERR_CORRUPT when they are newer, or not froe's;
 * STORE_ERR_IO when the role may not make them. */
int schema_ready(struct wire *wire, const char *schema, struct err *err);
