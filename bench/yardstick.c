/* yardstick.c - the queue that froe's store is measured against: one row a task, in plain SQL, as such queues are
 * usually written. The same payload, the same unique keys, every transaction durable.
 *
 *     yardstick sqlite:PATH|postgres://... PER-TRANSACTION TASKS
 *
 * One client, three transactions again and again: insert N tasks (a task whose key is there already is left out), claim
 * N, delete those N. On PostgreSQL the insert is one statement over unnest, the claim one with FOR UPDATE SKIP LOCKED.
 * Prints a line of JSON. */
#include <inttypes.h>
#include <libpq-fe.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KEY_BYTES 67
#define MOST 1000
#define PAYLOAD "{\"bucket\":\"bucket-of-images\"}"

static uint64_t n_keys;

static void die(const char *what, const char *text) {
    fprintf(stderr, "yardstick: %s: %s\n", what, text);
    exit(1);
}

static double now_s(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void make_key(char key[KEY_BYTES + 1]) {
    snprintf(key, KEY_BYTES + 1, "%-50s/%016" PRIx64, "bucket-of-images/2026/11/22/camera-7/take", n_keys++);
}

/* ---- SQLite ---- */

static sqlite3 *db;
static sqlite3_stmt *insert, *claim, *erase, *begin, *commit;

static sqlite3_stmt *prepare(const char *sql) {
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) != SQLITE_OK)
        die(sql, sqlite3_errmsg(db));
    return statement;
}

static void step(sqlite3_stmt *statement) {
    if (sqlite3_step(statement) != SQLITE_DONE)
        die("sqlite", sqlite3_errmsg(db));
    sqlite3_reset(statement);
}

static void sqlite_open(const char *path) {
    if (sqlite3_open(path, &db) != SQLITE_OK)
        die(path, sqlite3_errmsg(db));
    static const char setup[] =
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
        "CREATE TABLE task(id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, payload TEXT NOT NULL,"
        " claimed INTEGER NOT NULL DEFAULT 0);"
        "CREATE INDEX task_queued ON task(id) WHERE claimed = 0";
    char *text = NULL;
    if (sqlite3_exec(db, setup, NULL, NULL, &text) != SQLITE_OK)
        die(path, text);
    begin = prepare("BEGIN IMMEDIATE");
    commit = prepare("COMMIT");
    insert = prepare("INSERT INTO task(key, payload) VALUES(?1, ?2) ON CONFLICT DO NOTHING");
    claim = prepare("UPDATE task SET claimed = 1 WHERE id IN"
                    " (SELECT id FROM task WHERE claimed = 0 ORDER BY id LIMIT ?1) RETURNING id, key, payload");
    erase = prepare("DELETE FROM task WHERE id = ?1");
}

static void sqlite_round(uint32_t n) {
    static sqlite3_int64 ids[MOST];
    char key[KEY_BYTES + 1];
    step(begin);
    for (uint32_t i = 0; i < n; i++) {
        make_key(key);
        sqlite3_bind_text(insert, 1, key, KEY_BYTES, SQLITE_STATIC);
        sqlite3_bind_text(insert, 2, PAYLOAD, sizeof PAYLOAD - 1, SQLITE_STATIC);
        step(insert);
    }
    step(commit);
    step(begin);
    sqlite3_bind_int64(claim, 1, n);
    uint32_t claimed = 0;
    while (sqlite3_step(claim) == SQLITE_ROW && claimed < n)
        ids[claimed++] = sqlite3_column_int64(claim, 0);
    sqlite3_reset(claim);
    step(commit);
    if (claimed != n)
        die("claim", "not all were there");
    step(begin);
    for (uint32_t i = 0; i < n; i++) {
        sqlite3_bind_int64(erase, 1, ids[i]);
        step(erase);
    }
    step(commit);
}

/* ---- PostgreSQL ---- */

static PGconn *connection;

static PGresult *checked(PGresult *result) {
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        die("postgres", PQerrorMessage(connection));
    return result;
}

static void postgres_open(const char *uri) {
    connection = PQconnectdb(uri);
    if (PQstatus(connection) != CONNECTION_OK)
        die("postgres", PQerrorMessage(connection));
    PQclear(checked(PQexec(connection,
                           "SET client_min_messages = warning; DROP SCHEMA IF EXISTS yardstick CASCADE;"
                           " CREATE SCHEMA yardstick; SET search_path = yardstick;"
                           " CREATE TABLE task(id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
                           " key text NOT NULL UNIQUE, payload text NOT NULL, claimed boolean NOT NULL DEFAULT false);"
                           " CREATE INDEX task_queued ON task(id) WHERE NOT claimed")));
    PQclear(checked(PQprepare(connection, "insert",
                              "INSERT INTO task(key, payload) SELECT * FROM unnest($1::text[], $2::text[])"
                              " ON CONFLICT DO NOTHING",
                              2, NULL)));
    PQclear(checked(PQprepare(connection, "claim",
                              "UPDATE task SET claimed = true WHERE id IN (SELECT id FROM task WHERE NOT claimed"
                              " ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING id, key, payload",
                              1, NULL)));
    PQclear(checked(PQprepare(connection, "erase", "DELETE FROM task WHERE id = ANY($1::bigint[])", 1, NULL)));
}

static void postgres_round(uint32_t n) {
    static char keys[MOST * (KEY_BYTES + 3) + 8], payloads[MOST * (sizeof PAYLOAD * 2) + 8], ids[MOST * 24 + 8];
    char *k = keys, *p = payloads, *i = ids, key[KEY_BYTES + 1], number[16];
    *k++ = *p++ = *i++ = '{';
    for (uint32_t at = 0; at < n; at++) {
        make_key(key);
        k += sprintf(k, "%s\"%s\"", at ? "," : "", key);
        p += sprintf(p, "%s\"{\\\"bucket\\\":\\\"bucket-of-images\\\"}\"", at ? "," : "");
    }
    strcpy(k, "}");
    strcpy(p, "}");
    PQclear(checked(PQexecPrepared(connection, "insert", 2, (const char *[]){keys, payloads}, NULL, NULL, 0)));
    snprintf(number, sizeof number, "%u", n);
    PGresult *result = checked(PQexecPrepared(connection, "claim", 1, (const char *[]){number}, NULL, NULL, 0));
    if ((uint32_t)PQntuples(result) != n)
        die("claim", "not all were there");
    for (int row = 0; row < PQntuples(result); row++)
        i += sprintf(i, "%s%s", row ? "," : "", PQgetvalue(result, row, 0));
    strcpy(i, "}");
    PQclear(result);
    PQclear(checked(PQexecPrepared(connection, "erase", 1, (const char *[]){ids}, NULL, NULL, 0)));
}

int main(int argc, char **argv) {
    uint32_t per = argc > 3 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    uint64_t tasks = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    if (per == 0 || per > MOST || tasks < per) {
        fprintf(stderr, "usage: yardstick sqlite:PATH|postgres://... PER-TRANSACTION TASKS\n");
        return 2;
    }
    int on_sqlite = strncmp(argv[1], "sqlite:", 7) == 0;
    if (on_sqlite)
        sqlite_open(argv[1] + 7);
    else
        postgres_open(argv[1]);
    uint64_t rounds = tasks / per;
    double wall = now_s();
    for (uint64_t i = 0; i < rounds; i++) {
        if (on_sqlite)
            sqlite_round(per);
        else
            postgres_round(per);
    }
    wall = now_s() - wall;
    printf("{\"tasks\": %" PRIu64 ", \"seconds\": %.6f, \"per_second\": %.1f}\n", rounds * per, wall,
           (double)(rounds * per) / wall);
    if (on_sqlite) {
        sqlite3_stmt *all[] = {insert, claim, erase, begin, commit};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
            sqlite3_finalize(all[i]);
        sqlite3_close(db);
    } else
        PQfinish(connection);
    return 0;
}
