/* db.h - the connection to a store's SQLite file: opening, schema, statements, errors.
 *
 * One connection, held exclusively, does all reading, writing and checkpointing. So no shared-memory file is needed,
 * what the program keeps in memory about the file stays true, and the WAL-reset bug of SQLite before 3.51.3 (two
 * connections that write and checkpoint at the same moment) cannot happen. Never open a second one.
 *
 * Space. Pages that become free are used again, so the file grows to what the largest backlog needed and then stays. It
 * is not auto-vacuumed: the pointer map that needs would be written with every page of runs. Instead db_open rewrites a
 * file that is nearly empty (see SHRINK_* in db.c). */
#pragma once

#include "store.h"

#include <sqlite3.h>

enum db_statement {
    DB_BEGIN,
    DB_COMMIT,
    DB_STATE_PUT,
    DB_STATE_GET,
    DB_WORKFLOW_PUT,
    DB_WORKFLOW_PAUSE,
    DB_WORKFLOW_PAST,
    DB_WORKFLOW_EACH,
    DB_LANE_ADD,
    DB_LANE_NUMBERS,
    DB_LANE_DROP,
    DB_LANE_EACH,
    DB_LANE_MISSING,
    DB_PAGE_ADD,
    DB_PAGE_DROP,
    DB_PAGE_DROP_PAST,
    DB_PAGE_READ,
    DB_PAGE_KNOWN,
    DB_PAGE_LOOK,
    DB_PAGE_LOOK_LIVE,
    DB_PAGE_LOOK_KEY,
    DB_PAGE_PAST,
    DB_LIVE_ADD,
    DB_LIVE_PUT,
    DB_LIVE_DROP,
    DB_LIVE_EACH,
    DB_RUN_ADD,
    DB_RUN_UPDATE,
    DB_RUN_CHECKPOINT,
    DB_RUN_REQUEUE,
    DB_RUN_DROP,
    DB_RUN_READ,
    DB_RUN_GENERATION,
    DB_RUN_EACH,
    DB_RUN_LOOK,
    DB_RUN_LOOK_KEY,
    DB_RUN_OF_PAGE,
    DB_ENDED_ADD,
    DB_ENDED_FIRST,
    DB_ENDED_DROP,
    DB_ENDED_RANGE,
    DB_ENDED_HAS,
    DB_ENDED_OF_PAGE,
    DB_ENDED_OWN,
    DB_ENDED_OWN_KEY,
    DB_ENDED_EACH,
    DB_KEPT_PUT,
    DB_KEPT_DROP,
    DB_KEPT_EACH,
    DB_KEPT_OF_PAGE,
    DB_KEPT_MOVE,
    DB_ASK_ADD,
    DB_ASK_DROP,
    DB_ASK_EACH,
    DB_RATE_PUT,
    DB_RATE_DROP,
    DB_RATE_EACH,
    DB_PARKED_EACH,
    DB_TICK_ADD,
    DB_TICK_OLDEST,
    DB_TICK_TRIM,
    DB_TICK_LAST,
    DB_VALUE_PUT,
    DB_VALUE_DROP,
    DB_VALUE_GET,
    DB_LOG_ADD,
    DB_LOG_TRIM,
    DB_LOG_RANGE,
    DB_LOG_EACH,
    DB_LOG_OF_RUN,
    DB_QUICK_CHECK,
    DB_STATEMENTS,
};

enum { DB_RUN_WAITING = 1, DB_RUN_PARKED = 2 }; /* run.state */
enum { DB_STATE_NEXT_PAGE = 1, DB_STATE_EPOCH = 2, DB_STATE_HISTORY_BYTES = 3, DB_STATE_HISTORY_RUNS = 4 };

struct db {
    sqlite3 *handle;
    char *path; /* as given; for texts */
    sqlite3_stmt *statements[DB_STATEMENTS];
    int wal_frames;
};

/* What rows of the tables page and ended count for in the history's size, beside their blobs. */
#define DB_PAGE_COST 64
#define DB_ENDED_COST 48

/* Opens or makes the file, of an earlier format brings it to this one, brings everything that is in its WAL into it,
 * and leaves it ready. */
int db_open(struct db *db, const char *path, struct err *err);
/* `clean`: bring the WAL into the file first, as nothing went wrong. */
void db_close(struct db *db, bool clean);

/* The code and text of the error that SQLite reported last on this connection; `doing` completes "cannot ...". */
int db_fail(struct db *db, const char *doing, struct err *err);
int db_corrupt(struct db *db, struct err *err, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A statement in use. Bind with the functions below, which remember the first failure until the step. */
struct db_use {
    struct db *db;
    sqlite3_stmt *stmt;
    int rc;
};
struct db_use db_use(struct db *db, enum db_statement which);
void db_int(struct db_use *use, int at, int64_t value);
void db_null(struct db_use *use, int at);
void db_blob(struct db_use *use, int at, struct bytes value);       /* borrowed until db_done */
int db_row(struct db_use *use, const char *doing, struct err *err); /* 1: a row, 0: no more, or an error */
void db_done(struct db_use *use);
/* Steps a statement that gives no rows, and is done with it. */
int db_run(struct db_use *use, const char *doing, struct err *err);

int64_t db_get_int(struct db_use *use, int column);
/* Valid until the next db_row or db_done. -ENOMEM. */
int db_get_blob(struct db_use *use, int column, struct bytes *ret_value, struct err *err);

/* What the row of a page of one says of its child key. Only finds rows that may have it: who chooses keys with the same
 * one makes them slower to find, and no more. */
#define DB_FINGERPRINT 4
void db_fingerprint(struct bytes child_key, unsigned char ret_print[DB_FINGERPRINT]);

/* Commits the transaction; when the WAL has grown long enough, brings it into the file. *ret_after is an error of that:
 * the commit itself is then durable all the same. */
int db_commit(struct db *db, int *ret_after, struct err *err);
