/* db.c - see db.h. */
#include "db.h"

#include "cleanup.h"
#include "hash.h"
#include "lock.h"

#include <stdarg.h>
#include <stdio.h>

#define APPLICATION_ID 0x66726f65 /* "froe" */
#define VERSION 4
#define CHECKPOINT_FRAMES 4096             /* 16 MiB */
#define JOURNAL_SIZE_LIMIT "33554432"      /* what the WAL is cut back to when it was longer */
#define SHRINK_FREE_PAGES (64 << 20 >> 12) /* a file with so much free ... */
#define SHRINK_USED_PAGES (16 << 20 >> 12) /* ... and no more in use is rewritten at open */

/* A page's row is written once, read when it is claimed, and stays while its runs or their history do. first_key and
 * last_key are the least and the greatest child key; of a page of one first_key is its key's fingerprint (see
 * db_fingerprint), or empty without a key, and last_key NULL. Both NULL (of earlier formats): look into the items. */
#define PAGE_TABLE(name_)                                                                                  \
    "CREATE TABLE " name_                                                                                  \
    "(id INTEGER PRIMARY KEY, lane INTEGER NOT NULL, n INTEGER NOT NULL, not_before INTEGER NOT NULL,"     \
    " start_by INTEGER NOT NULL, priority INTEGER NOT NULL, created INTEGER NOT NULL, parent_page INTEGER" \
    " NOT NULL, parent_index INTEGER NOT NULL, first_key BLOB, last_key BLOB, items BLOB NOT NULL,"        \
    " input BLOB NOT NULL, metadata BLOB NOT NULL);"
/* What a child key is looked for in: it has all that says whether a page may have it, and little else. By the page's
 * id and not by the key, so that spawning and tidying change its two ends and not a block for each page. */
#define KEYS_INDEX "CREATE INDEX page_keys ON page(id, first_key, last_key);"
/* A run in trouble: waiting for a retry (at: when it is due) or parked (at: since when). Needs its page no more. */
#define RUN_TABLE(name_)                                                                                    \
    "CREATE TABLE " name_                                                                                   \
    "(page INTEGER NOT NULL, idx INTEGER NOT NULL, lane INTEGER NOT NULL, state INTEGER NOT NULL,"          \
    " at INTEGER NOT NULL, attempts INTEGER NOT NULL, priority INTEGER NOT NULL, created INTEGER NOT NULL," \
    " parent_page INTEGER NOT NULL, parent_index INTEGER NOT NULL, child_key BLOB NOT NULL,"                \
    " generation BLOB NOT NULL, input BLOB NOT NULL, metadata BLOB NOT NULL, checkpoint BLOB NOT NULL,"     \
    " error BLOB NOT NULL, PRIMARY KEY(page, idx)) WITHOUT ROWID;"
/* ended: attempts that ended, those of one page and call together, in the order of time (packing.h). own: some of them
 * carry what the page's row would say, which may be gone; runs: how many of them were the last of their run.
 * ask: leased runs that were asked to end. rate: units used in the window that begins there. */
#define NEW_TABLES                                                                                        \
    "CREATE TABLE ended(id INTEGER PRIMARY KEY, page INTEGER NOT NULL, at INTEGER NOT NULL, runs INTEGER" \
    " NOT NULL, own INTEGER NOT NULL, worker BLOB NOT NULL, records BLOB NOT NULL);"                      \
    "CREATE INDEX ended_page ON ended(page);"                                                             \
    "CREATE INDEX ended_own ON ended(page) WHERE own;"                                                    \
    "CREATE TABLE ask(page INTEGER NOT NULL, idx INTEGER NOT NULL, driven_out INTEGER NOT NULL,"          \
    " PRIMARY KEY(page, idx)) WITHOUT ROWID;"                                                             \
    "CREATE TABLE rate(period INTEGER NOT NULL, key BLOB NOT NULL, window INTEGER NOT NULL, used INTEGER" \
    " NOT NULL, PRIMARY KEY(period, key)) WITHOUT ROWID;"

/* What a leased run of a page gave to be kept while it runs. */
#define KEPT_TABLE                                                                                               \
    "CREATE TABLE kept(page INTEGER NOT NULL, idx INTEGER NOT NULL, attempts INTEGER NOT NULL, child_key BLOB "  \
    "NOT NULL, generation BLOB NOT NULL, input BLOB NOT NULL, checkpoint BLOB NOT NULL, PRIMARY KEY(page, idx))" \
    " WITHOUT ROWID;"

/* done, failed, cancelled of a workflow: of its lanes that are gone. idle of a lane: since when it has no runs, when it
 * has none; last_ended: no later row of ended is about it then. */
#define IDLE_COLUMNS                                                        \
    "ALTER TABLE workflow ADD COLUMN done INTEGER NOT NULL DEFAULT 0;"      \
    "ALTER TABLE workflow ADD COLUMN failed INTEGER NOT NULL DEFAULT 0;"    \
    "ALTER TABLE workflow ADD COLUMN cancelled INTEGER NOT NULL DEFAULT 0;" \
    "ALTER TABLE lane ADD COLUMN idle INTEGER NOT NULL DEFAULT 0;"          \
    "ALTER TABLE lane ADD COLUMN last_ended INTEGER NOT NULL DEFAULT 0;"

/* Blobs and no text: names, keys and the like may hold any byte. */
static const char schema[] =
    "CREATE TABLE state(name INTEGER PRIMARY KEY, value INTEGER NOT NULL);"
    "CREATE TABLE workflow(id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, rules BLOB NOT NULL,"
    " paused INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE lane(id INTEGER PRIMARY KEY, workflow INTEGER NOT NULL, keys BLOB NOT NULL, done INTEGER NOT NULL,"
    " failed INTEGER NOT NULL, cancelled INTEGER NOT NULL);" PAGE_TABLE("page")
    /* Pages with runs that are neither settled nor in trouble, and which those are. Empty: all. When the page has a
     * start_by, then which were ever leased. Apart from the page, as it is written often. */
    "CREATE TABLE live(page INTEGER PRIMARY KEY, bits BLOB NOT NULL);" RUN_TABLE(
        "run") "CREATE TABLE tick(workflow INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(workflow, at)) WITHOUT "
               "ROWID;"
               "CREATE TABLE value(name BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;"
               "CREATE TABLE log(id INTEGER PRIMARY KEY, page INTEGER NOT NULL, idx INTEGER NOT NULL, at INTEGER NOT "
               "NULL,"
               " level INTEGER NOT NULL, line BLOB NOT NULL);" KEYS_INDEX NEW_TABLES KEPT_TABLE IDLE_COLUMNS
               "INSERT INTO state VALUES(1, 1), (2, 0), (3, 0), (4, 0);";

/* From format 1, in which a page without a row in `live` had all its runs, and none was kept beyond them. */
static const char from_1[] = "ALTER TABLE workflow ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;" PAGE_TABLE(
    "page2") "INSERT INTO page2 SELECT id, lane, n, not_before, 0, 1, 0, parent_page, parent_index, NULL, NULL, items, "
             "input,"
             " metadata FROM page;"
             "INSERT INTO live SELECT id, x'' FROM page WHERE id NOT IN (SELECT page FROM live);" RUN_TABLE(
                 "run2") "INSERT INTO run2 SELECT r.page, r.idx, r.lane, r.state, r.at, r.attempts, 1, 0, "
                         "ifnull(p.parent_page, 0),"
                         " ifnull(p.parent_index, 0), r.child_key, r.generation, r.input, r.metadata, r.checkpoint, "
                         "r.error"
                         " FROM run r LEFT JOIN page p ON p.id = r.page;"
                         "DROP TABLE page; ALTER TABLE page2 RENAME TO page; DROP TABLE run; ALTER TABLE run2 RENAME "
                         "TO run;" KEYS_INDEX NEW_TABLES KEPT_TABLE IDLE_COLUMNS
                         "INSERT INTO state VALUES(3, 0), (4, 0);";

/* From format 2, in which nothing was kept of a run while it ran, and no lane was idle. */
static const char from_2[] = KEYS_INDEX KEPT_TABLE IDLE_COLUMNS;

/* From format 3, in which nothing was noted of the key of a page of one. */
static const char from_3[] = KEYS_INDEX;

#define TEXT_OF(number_) #number_
#define TEXT(number_) TEXT_OF(number_)
#define PAGE_COST                                                                                                 \
    "length(items) + length(input) + length(metadata) + ifnull(length(first_key) + length(last_key), 0) + " TEXT( \
        DB_PAGE_COST)
#define ENDED_COST "length(records) + length(worker) + " TEXT(DB_ENDED_COST)
#define PAGE_LOOK "id, lane, n, not_before, priority, created, parent_page, parent_index, items, input, metadata"
#define RUN_LOOK                                                                                              \
    "attempts, child_key, generation, input, metadata, checkpoint, created, idx, lane, state, at, priority, " \
    "parent_page,"                                                                                            \
    " parent_index, error"

static const char *const sql[DB_STATEMENTS] = {
    [DB_BEGIN] = "BEGIN IMMEDIATE",
    [DB_COMMIT] = "COMMIT",
    [DB_STATE_PUT] = "UPDATE state SET value = ?2 WHERE name = ?1",
    [DB_STATE_GET] = "SELECT value FROM state WHERE name = ?1",
    [DB_WORKFLOW_PUT] = "INSERT INTO workflow(id, name, rules) VALUES(?1, ?2, ?3)"
                        " ON CONFLICT(id) DO UPDATE SET rules = excluded.rules",
    [DB_WORKFLOW_PAUSE] = "UPDATE workflow SET paused = ?2 WHERE id = ?1",
    [DB_WORKFLOW_PAST] = "UPDATE workflow SET done = ?2, failed = ?3, cancelled = ?4 WHERE id = ?1",
    [DB_WORKFLOW_EACH] = "SELECT id, name, rules, paused, done, failed, cancelled FROM workflow ORDER BY id",
    [DB_LANE_ADD] = "INSERT INTO lane(id, workflow, keys, done, failed, cancelled) VALUES(?1, ?2, ?3, 0, 0, 0)",
    [DB_LANE_NUMBERS] = "UPDATE lane SET done = ?2, failed = ?3, cancelled = ?4, idle = ?5, last_ended = ?6"
                        " WHERE id = ?1",
    [DB_LANE_DROP] = "DELETE FROM lane WHERE id = ?1",
    [DB_LANE_EACH] = "SELECT id, workflow, keys, done, failed, cancelled, idle, last_ended FROM lane ORDER BY id",
    [DB_LANE_MISSING] = "SELECT lane FROM page WHERE lane NOT IN (SELECT id FROM lane) LIMIT 1",
    [DB_PAGE_ADD] = "INSERT INTO page(id, lane, n, not_before, start_by, priority, created, parent_page, parent_index,"
                    " first_key, last_key, items, input, metadata)"
                    " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    [DB_PAGE_DROP] = "DELETE FROM page WHERE id = ?1",
    [DB_PAGE_DROP_PAST] = "DELETE FROM page WHERE id = ?1 RETURNING " PAGE_COST,
    [DB_PAGE_READ] = "SELECT input, metadata, items, created FROM page WHERE id = ?1",
    [DB_PAGE_KNOWN] = "SELECT EXISTS(SELECT 1 FROM page WHERE id = ?1) OR EXISTS(SELECT 1 FROM run WHERE page = ?1)"
                      " OR EXISTS(SELECT 1 FROM ended WHERE page = ?1)",
    [DB_PAGE_LOOK] = "SELECT " PAGE_LOOK " FROM page WHERE id <= ?1 ORDER BY id DESC",
    [DB_PAGE_LOOK_LIVE] = "SELECT " PAGE_LOOK " FROM live l CROSS JOIN page p ON p.id = l.page WHERE l.page <= ?1"
                          " ORDER BY l.page DESC",
    /* ?3: the fingerprint of ?2 */
    [DB_PAGE_LOOK_KEY] = "SELECT " PAGE_LOOK " FROM page INDEXED BY page_keys WHERE id <= ?1 AND CASE"
                         " WHEN last_key IS NOT NULL THEN first_key <= ?2 AND last_key >= ?2"
                         " WHEN first_key IS NOT NULL THEN first_key = ?3"
                         " ELSE n > 1 OR instr(items, ?2) > 0 END ORDER BY id DESC",
    [DB_PAGE_PAST] = "SELECT id, " PAGE_COST ", EXISTS(SELECT 1 FROM ended WHERE page = page.id) FROM page"
                     " WHERE NOT EXISTS(SELECT 1 FROM live WHERE page = page.id)",
    [DB_LIVE_ADD] = "INSERT INTO live(page, bits) VALUES(?1, x'')",
    [DB_LIVE_PUT] = "UPDATE live SET bits = ?2 WHERE page = ?1",
    [DB_LIVE_DROP] = "DELETE FROM live WHERE page = ?1",
    [DB_LIVE_EACH] = "SELECT l.page, p.lane, p.n, p.not_before, p.items, l.bits, p.start_by, p.priority, " PAGE_COST
                     " FROM live l LEFT JOIN page p ON p.id = l.page ORDER BY l.page",
    /* What the run has of its page comes from there, which is still there in this transaction. */
    [DB_RUN_ADD] = "INSERT INTO run(page, idx, lane, state, at, attempts, priority, created, parent_page,"
                   " parent_index, child_key, generation, input, metadata, checkpoint, error)"
                   " SELECT ?1, ?2, ?3, ?4, ?5, ?6, priority, created, parent_page, parent_index, ?7, ?8, ?9,"
                   " metadata, ?10, ?11 FROM page WHERE id = ?1",
    [DB_RUN_UPDATE] =
        "UPDATE run SET state = ?4, at = ?5, attempts = ?6, generation = ?8, input = ?9, checkpoint = ?10,"
        " error = ?11 WHERE page = ?1 AND idx = ?2 AND lane = ?3 AND child_key = ?7",
    [DB_RUN_CHECKPOINT] = "UPDATE run SET attempts = ?4, generation = ?5, checkpoint = ?6"
                          " WHERE page = ?1 AND idx = ?2 AND lane = ?3",
    [DB_RUN_REQUEUE] = "UPDATE run SET state = 1, at = ?3, attempts = 0 WHERE page = ?1 AND idx = ?2",
    [DB_RUN_DROP] = "DELETE FROM run WHERE page = ?1 AND idx = ?2",
    [DB_RUN_READ] = "SELECT " RUN_LOOK " FROM run WHERE page = ?1 AND idx = ?2",
    [DB_RUN_GENERATION] = "SELECT generation, lane FROM run WHERE page = ?1 AND idx = ?2 AND state = 2",
    [DB_RUN_EACH] = "SELECT page, idx, lane, state, at, child_key FROM run ORDER BY page, idx",
    [DB_RUN_LOOK] = "SELECT DISTINCT page FROM run WHERE page <= ?1 ORDER BY page DESC",
    [DB_RUN_LOOK_KEY] = "SELECT DISTINCT page FROM run WHERE page <= ?1 AND child_key = ?2 ORDER BY page DESC",
    [DB_RUN_OF_PAGE] = "SELECT " RUN_LOOK " FROM run WHERE page = ?1 ORDER BY idx",
    [DB_ENDED_ADD] = "INSERT INTO ended(id, page, at, runs, own, worker, records) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [DB_ENDED_FIRST] = "SELECT id, page, at, runs, " ENDED_COST " FROM ended ORDER BY id LIMIT 1",
    [DB_ENDED_DROP] = "DELETE FROM ended WHERE id = ?1",
    [DB_ENDED_RANGE] = "SELECT ifnull(min(id), 1), ifnull(max(id), 0) FROM ended",
    [DB_ENDED_HAS] = "SELECT 1 FROM ended WHERE page = ?1 LIMIT 1",
    [DB_ENDED_OF_PAGE] = "SELECT at, worker, records FROM ended WHERE page = ?1 ORDER BY id",
    [DB_ENDED_OWN] = "SELECT DISTINCT page FROM ended WHERE own AND page <= ?1 ORDER BY page DESC",
    [DB_ENDED_OWN_KEY] = "SELECT DISTINCT page FROM ended WHERE own AND page <= ?1 AND instr(records, ?2) > 0"
                         " ORDER BY page DESC",
    [DB_ENDED_EACH] = "SELECT id, page, runs, own, records, " ENDED_COST ", EXISTS(SELECT 1 FROM page WHERE id ="
                      " ended.page) FROM ended ORDER BY id",
    [DB_KEPT_PUT] = "INSERT OR REPLACE INTO kept(page, idx, attempts, child_key, generation, input, checkpoint)"
                    " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [DB_KEPT_DROP] = "DELETE FROM kept WHERE page = ?1 AND idx = ?2",
    [DB_KEPT_EACH] = "SELECT page, idx FROM kept WHERE (page, idx) >= (?1, ?2) ORDER BY page, idx",
    [DB_KEPT_OF_PAGE] = "SELECT idx, attempts, generation, checkpoint FROM kept WHERE page = ?1 ORDER BY idx",
    [DB_KEPT_MOVE] = "INSERT INTO run(page, idx, lane, state, at, attempts, priority, created, parent_page,"
                     " parent_index, child_key, generation, input, metadata, checkpoint, error)"
                     " SELECT p.id, k.idx, p.lane, 1, ?3, k.attempts, p.priority, p.created, p.parent_page,"
                     " p.parent_index, k.child_key, k.generation, k.input, p.metadata, k.checkpoint, x''"
                     " FROM kept k JOIN page p ON p.id = k.page WHERE k.page = ?1 AND k.idx = ?2",
    [DB_ASK_ADD] = "INSERT INTO ask(page, idx, driven_out) VALUES(?1, ?2, ?3)",
    [DB_ASK_DROP] = "DELETE FROM ask WHERE page = ?1 AND idx = ?2",
    [DB_ASK_EACH] = "SELECT page, idx, driven_out FROM ask ORDER BY page, idx",
    [DB_RATE_PUT] = "INSERT INTO rate(period, key, window, used) VALUES(?1, ?2, ?3, ?4)"
                    " ON CONFLICT(period, key) DO UPDATE SET window = excluded.window, used = excluded.used",
    [DB_RATE_DROP] = "DELETE FROM rate WHERE period = ?1 AND key = ?2",
    [DB_RATE_EACH] = "SELECT period, key, window, used FROM rate",
    [DB_PARKED_EACH] = "SELECT page, idx, lane, at, attempts, child_key, generation, error FROM run"
                       " WHERE state = 2 AND (page, idx) > (?1, ?2) ORDER BY page, idx",
    [DB_TICK_ADD] = "INSERT OR IGNORE INTO tick(workflow, at) VALUES(?1, ?2)",
    /* The oldest of the newest ?2, when there are as many. */
    [DB_TICK_OLDEST] = "SELECT at FROM tick WHERE workflow = ?1 ORDER BY at DESC LIMIT 1 OFFSET ?2 - 1",
    [DB_TICK_TRIM] = "DELETE FROM tick WHERE workflow = ?1 AND at < ?2",
    [DB_TICK_LAST] = "SELECT ifnull(max(at), 0) FROM tick WHERE workflow = ?1",
    [DB_VALUE_PUT] =
        "INSERT INTO value(name, value) VALUES(?1, ?2) ON CONFLICT(name) DO UPDATE SET value = excluded.value",
    [DB_VALUE_DROP] = "DELETE FROM value WHERE name = ?1",
    [DB_VALUE_GET] = "SELECT value FROM value WHERE name = ?1",
    [DB_LOG_ADD] = "INSERT INTO log(id, page, idx, at, level, line) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    [DB_LOG_TRIM] = "DELETE FROM log WHERE id < ?1",
    [DB_LOG_RANGE] = "SELECT ifnull(min(id), 1), ifnull(max(id), 0) FROM log",
    [DB_LOG_EACH] = "SELECT page, idx, at, level, line FROM log ORDER BY id",
    [DB_LOG_OF_RUN] = "SELECT page, idx, at, level, line FROM log WHERE page = ?1 AND idx = ?2 ORDER BY id",
    [DB_QUICK_CHECK] = "PRAGMA quick_check(1)",
};

/* ---- errors ---- */

static int code_of(sqlite3 *handle, int rc) {
    switch (rc & 0xff) {
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return STORE_ERR_BUSY;
    case SQLITE_FULL:
        return STORE_ERR_FULL;
    case SQLITE_IOERR: {
        if (rc == SQLITE_IOERR_NOMEM)
            return -ENOMEM;
        int error = handle ? sqlite3_system_errno(handle) : 0;
        return error == ENOSPC || error == EDQUOT ? STORE_ERR_FULL : STORE_ERR_IO;
    }
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return STORE_ERR_IO;
    default: /* SQLITE_CORRUPT, SQLITE_NOTADB, a constraint, a table that is not as it should be */
        return STORE_ERR_CORRUPT;
    }
}

static int fail_with(struct db *db, int rc, const char *doing, struct err *err) {
    const char *text = db->handle ? sqlite3_errmsg(db->handle) : sqlite3_errstr(rc);
    int error = db->handle ? sqlite3_system_errno(db->handle) : 0;
    bool tell = error && ((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN);
    return err_set(err, code_of(db->handle, rc), "store '%s': cannot %s: %s%s%s%s", db->path, doing, text,
                   tell ? " (" : "", tell ? err_errno_text(-error) : "", tell ? ")" : "");
}

int db_fail(struct db *db, const char *doing, struct err *err) {
    return fail_with(db, sqlite3_extended_errcode(db->handle), doing, err);
}

int db_corrupt(struct db *db, struct err *err, const char *format, ...) {
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return err_set(err, STORE_ERR_CORRUPT, "store '%s': %s", db->path, text);
}

/* ---- statements ---- */

struct db_use db_use(struct db *db, enum db_statement which) {
    return (struct db_use){.db = db, .stmt = db->statements[which], .rc = SQLITE_OK};
}

void db_int(struct db_use *use, int at, int64_t value) {
    int rc = sqlite3_bind_int64(use->stmt, at, value);
    if (use->rc == SQLITE_OK)
        use->rc = rc;
}

void db_null(struct db_use *use, int at) {
    int rc = sqlite3_bind_null(use->stmt, at);
    if (use->rc == SQLITE_OK)
        use->rc = rc;
}

void db_blob(struct db_use *use, int at, struct bytes value) {
    /* A NULL pointer would bind NULL. */
    int rc = sqlite3_bind_blob64(use->stmt, at, value.n ? value.p : "", value.n, SQLITE_STATIC);
    if (use->rc == SQLITE_OK)
        use->rc = rc;
}

int db_row(struct db_use *use, const char *doing, struct err *err) {
    int rc = use->rc == SQLITE_OK ? sqlite3_step(use->stmt) : use->rc;
    if (rc == SQLITE_ROW)
        return 1;
    int r = 0;
    if (rc != SQLITE_DONE)
        r = fail_with(use->db, use->rc == SQLITE_OK ? sqlite3_extended_errcode(use->db->handle) : use->rc, doing, err);
    db_done(use);
    return r;
}

void db_done(struct db_use *use) {
    sqlite3_reset(use->stmt); /* reports the step's error again */
}

int db_run(struct db_use *use, const char *doing, struct err *err) {
    int r = db_row(use, doing, err);
    if (r > 0)
        db_done(use);
    return r < 0 ? r : 0;
}

int64_t db_get_int(struct db_use *use, int column) {
    return sqlite3_column_int64(use->stmt, column);
}

int db_get_blob(struct db_use *use, int column, struct bytes *ret_value, struct err *err) {
    const void *p = sqlite3_column_blob(use->stmt, column);
    int n = sqlite3_column_bytes(use->stmt, column);
    if (!p && sqlite3_errcode(use->db->handle) == SQLITE_NOMEM)
        return db_fail(use->db, "read", err);
    *ret_value = p && n > 0 ? bytes_of(p, (size_t)n) : BYTES_NONE;
    return 0;
}

void db_fingerprint(struct bytes child_key, unsigned char ret_print[DB_FINGERPRINT]) {
    static const struct hash_key none;
    uint64_t hash = hash64(&none, child_key);
    for (int i = 0; i < DB_FINGERPRINT; i++)
        ret_print[i] = (unsigned char)(hash >> 8 * i);
}

/* ---- opening ---- */

static int exec(struct db *db, const char *text, const char *doing, struct err *err) {
    if (sqlite3_exec(db->handle, text, NULL, NULL, NULL) != SQLITE_OK)
        return db_fail(db, doing, err);
    return 0;
}

/* The one number that the query gives. */
static int number(struct db *db, const char *query, int64_t *ret_value, struct err *err) {
    sqlite3_stmt *stmt = NULL;
    int r = 0;
    if (sqlite3_prepare_v2(db->handle, query, -1, &stmt, NULL) != SQLITE_OK || sqlite3_step(stmt) != SQLITE_ROW)
        r = db_fail(db, "read", err);
    else
        *ret_value = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return r;
}

/* Settings that touch nothing on disk. */
static int set_up(struct db *db, struct err *err) {
    sqlite3_extended_result_codes(db->handle, 1);
    if (sqlite3_db_readonly(db->handle, "main") == 1)
        return err_set(err, STORE_ERR_IO, "store '%s': cannot write to it", db->path);
    if (sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL) != SQLITE_OK ||
        sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL) != SQLITE_OK)
        return db_fail(db, "configure", err);
    /* secure_delete is on in some builds: it would write every page of a settled backlog once more. */
    return exec(db,
                "PRAGMA locking_mode=EXCLUSIVE; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;"
                "PRAGMA mmap_size=0; PRAGMA cache_size=-4096; PRAGMA temp_store=MEMORY; PRAGMA secure_delete=OFF;"
                "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit=" JOURNAL_SIZE_LIMIT,
                "open", err);
}

/* The version of the store that the file is; 0: it is empty. Changes nothing, so a foreign file stays as it is. */
static int identify(struct db *db, struct err *err) {
    int64_t id = 0, version = 0, things = 0;
    int r = number(db, "PRAGMA application_id", &id, err);
    if (r == 0)
        r = number(db, "PRAGMA user_version", &version, err);
    if (r == 0)
        r = number(db, "SELECT count(*) FROM sqlite_schema", &things, err);
    if (r < 0)
        return r;
    if (id == 0 && version == 0 && things == 0)
        return 0;
    if (id != APPLICATION_ID)
        return db_corrupt(db, err, "this is an SQLite file, but not froe's; name another file");
    if (version > VERSION)
        return db_corrupt(db, err, "made by a newer froe (format %lld, this one reads up to %d)", (long long)version,
                          VERSION);
    if (version < 1)
        return db_corrupt(db, err, "format %lld is not known", (long long)version);
    return (int)version;
}

/* SQLite keeps the old mode without an error where it cannot change it. */
static int use_wal(struct db *db, struct err *err) {
    sqlite3_stmt *stmt = NULL;
    int r = 0;
    if (sqlite3_prepare_v2(db->handle, "PRAGMA journal_mode=WAL", -1, &stmt, NULL) != SQLITE_OK ||
        sqlite3_step(stmt) != SQLITE_ROW)
        r = db_fail(db, "open", err);
    else if (sqlite3_stricmp((const char *)sqlite3_column_text(stmt, 0), "wal") != 0)
        r = err_set(err, STORE_ERR_IO, "store '%s': the file system does not allow a write-ahead log", db->path);
    sqlite3_finalize(stmt);
    return r;
}

static int make_schema(struct db *db, const char *tables, struct err *err) {
    char text[sizeof schema + sizeof from_1 + 128];
    snprintf(text, sizeof text, "BEGIN IMMEDIATE; %s PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT", tables,
             APPLICATION_ID, VERSION);
    return exec(db, text, "make the tables", err);
}

static int checkpoint(struct db *db, int mode, struct err *err) {
    if (sqlite3_wal_checkpoint_v2(db->handle, "main", mode, NULL, NULL) != SQLITE_OK)
        return db_fail(db, "bring the WAL into the file", err);
    db->wal_frames = 0;
    return 0;
}

/* Its cost is bounded by what is in use. A file that cannot be rewritten is fine as it is. */
static int shrink(struct db *db, struct err *err) {
    int64_t all = 0, unused = 0;
    int r = number(db, "PRAGMA page_count", &all, err);
    if (r == 0)
        r = number(db, "PRAGMA freelist_count", &unused, err);
    if (r < 0 || unused < SHRINK_FREE_PAGES || all - unused > SHRINK_USED_PAGES)
        return r;
    int rc = sqlite3_exec(db->handle, "VACUUM", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        return checkpoint(db, SQLITE_CHECKPOINT_TRUNCATE, err);
    return code_of(db->handle, sqlite3_extended_errcode(db->handle)) == STORE_ERR_FULL ? 0 : db_fail(db, "shrink", err);
}

static int on_wal(void *arg, sqlite3 *handle, const char *name, int frames) {
    struct db *db = arg;
    db->wal_frames = frames;
    return SQLITE_OK;
}

static int open_steps(struct db *db, const char *path, struct err *err) {
    /* "./" keeps SQLite from seeing a URI or a special name in it. */
    _cleanup_buf_ struct buf name = {0};
    if (buf_printf(&name, "%s%s", path[0] == '/' ? "" : "./", path) < 0)
        return -ENOMEM;
    int rc = sqlite3_open_v2(name.p, &db->handle,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, NULL);
    if (rc != SQLITE_OK)
        return fail_with(db, db->handle ? sqlite3_extended_errcode(db->handle) : rc, "open", err);
    int r = set_up(db, err);
    if (r == 0)
        r = identify(db, err);
    if (r < 0)
        return r;
    int version = r;
    r = use_wal(db, err);
    if (r == 0 && version < VERSION)
        r = make_schema(db, version == 0 ? schema : version == 1 ? from_1 : version == 2 ? from_2 : from_3, err);
    /* Frames whose sync failed in an earlier process may be readable and yet not on disk. After this nothing rests on
     * them. */
    if (r == 0)
        r = checkpoint(db, SQLITE_CHECKPOINT_TRUNCATE, err);
    if (r == 0)
        r = shrink(db, err);
    for (int i = 0; i < DB_STATEMENTS && r == 0; i++)
        if (sqlite3_prepare_v3(db->handle, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &db->statements[i], NULL) !=
            SQLITE_OK)
            r = db_fail(db, "prepare", err);
    if (r == 0)
        sqlite3_wal_hook(db->handle, on_wal, db);
    return r;
}

int db_open(struct db *db, const char *path, struct err *err) {
    *db = (struct db){.path = mem_strdup(path)};
    if (!db->path)
        return -ENOMEM;
    int r = open_steps(db, path, err);
    if (r < 0)
        db_close(db, false);
    return r;
}

void db_close(struct db *db, bool clean) {
    for (int i = 0; i < DB_STATEMENTS; i++)
        sqlite3_finalize(db->statements[i]);
    if (db->handle && clean)
        (void)checkpoint(db, SQLITE_CHECKPOINT_TRUNCATE, NULL); /* else the next open does it */
    sqlite3_close(db->handle);
    mem_free(db->path);
    *db = (struct db){0};
}

int db_commit(struct db *db, int *ret_after, struct err *err) {
    struct db_use use = db_use(db, DB_COMMIT);
    *ret_after = 0;
    int r = db_run(&use, "commit", err);
    if (r == 0 && db->wal_frames >= CHECKPOINT_FRAMES)
        *ret_after = checkpoint(db, SQLITE_CHECKPOINT_PASSIVE, err);
    return r;
}
