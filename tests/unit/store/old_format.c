/* old_format.c - see old_format.h. */
#include "old_format.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* Format 1. A page had its runs as long as no row of `live` said otherwise; there was no history. */
static const char schema[] =
    "PRAGMA journal_mode=WAL;"
    "CREATE TABLE state(name INTEGER PRIMARY KEY, value INTEGER NOT NULL);"
    "CREATE TABLE workflow(id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, rules BLOB NOT NULL);"
    "CREATE TABLE lane(id INTEGER PRIMARY KEY, workflow INTEGER NOT NULL, keys BLOB NOT NULL, done INTEGER NOT NULL,"
    " failed INTEGER NOT NULL, cancelled INTEGER NOT NULL);"
    "CREATE TABLE page(id INTEGER PRIMARY KEY, lane INTEGER NOT NULL, n INTEGER NOT NULL, not_before INTEGER NOT NULL,"
    " parent_page INTEGER NOT NULL, parent_index INTEGER NOT NULL, input BLOB NOT NULL, metadata BLOB NOT NULL,"
    " items BLOB NOT NULL);"
    "CREATE TABLE live(page INTEGER PRIMARY KEY, bits BLOB NOT NULL);"
    "CREATE TABLE run(page INTEGER NOT NULL, idx INTEGER NOT NULL, lane INTEGER NOT NULL, state INTEGER NOT NULL,"
    " at INTEGER NOT NULL, attempts INTEGER NOT NULL, child_key BLOB NOT NULL, generation BLOB NOT NULL,"
    " input BLOB NOT NULL, metadata BLOB NOT NULL, checkpoint BLOB NOT NULL, error BLOB NOT NULL,"
    " PRIMARY KEY(page, idx)) WITHOUT ROWID;"
    "CREATE TABLE tick(workflow INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(workflow, at)) WITHOUT ROWID;"
    "CREATE TABLE value(name BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE log(id INTEGER PRIMARY KEY, page INTEGER NOT NULL, idx INTEGER NOT NULL, at INTEGER NOT NULL,"
    " level INTEGER NOT NULL, line BLOB NOT NULL);"
    "INSERT INTO state VALUES(1, 9), (2, 4);"
    "PRAGMA application_id=1718775653; PRAGMA user_version=1;";

/* Two workflows (ROBIN 5; CANCEL_NEWEST 2); in page 5 "a" is done, "b" left, "c" waits; page 6 is whole; a parked run
 * of page 2, which is gone. */
static const char content[] =
    "INSERT INTO workflow VALUES(1, CAST('many' AS BLOB), x'010105'), (2, CAST('single' AS BLOB), x'010202');"
    "INSERT INTO lane VALUES(1, 1, x'010167', 11, 2, 3), (2, 2, x'010163', 0, 0, 1);"
    "INSERT INTO page VALUES(5, 1, 3, 0, 4, 7, CAST('{\"i\":1}' AS BLOB), CAST('{\"m\":1}' AS BLOB),"
    " x'0100000161000162000163');"
    "INSERT INTO page VALUES(6, 1, 2, 0, 0, 0, x'', x'', x'01010001640231310001650131');"
    "INSERT INTO live VALUES(5, x'0200000000000000');"
    "INSERT INTO run VALUES(5, 2, 1, 1, 1600000000000000, 1, CAST('c' AS BLOB), x'', CAST('{\"own\":1}' AS BLOB),"
    " CAST('{\"m\":1}' AS BLOB), CAST('half' AS BLOB), CAST('why' AS BLOB));"
    "INSERT INTO run VALUES(2, 0, 2, 2, 1600000000000000, 4, CAST('p' AS BLOB), CAST('g' AS BLOB), x'', x'', x'',"
    " CAST('parked' AS BLOB));"
    "INSERT INTO tick VALUES(1, 60), (1, 120);"
    "INSERT INTO value VALUES(CAST('cursor' AS BLOB), CAST('here' AS BLOB));"
    "INSERT INTO log VALUES(3, 5, 0, 1600000000000000, 2, CAST('a line' AS BLOB));";

void old_format_make(struct sqlite_place *place) {
    sqlite3 *db = NULL;
    sqlite_place_wipe(place);
    assert_int_equal(sqlite3_open(place->path, &db), SQLITE_OK);
    if (sqlite3_exec(db, schema, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(db, content, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(db));
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static int say(void *arg, const struct store_run_info *run) {
    return buf_printf(arg, "%lld:%u %d %.*s/%.*s/%.*s/%.*s %u of %lld:%u, %u;", (long long)run->page, run->index,
                      (int)run->state, (int)run->workflow_name.n, run->workflow_name.p, (int)run->child_key.n,
                      run->child_key.p, (int)run->generation.n, run->generation.p ? run->generation.p : "",
                      (int)run->error.n, run->error.p ? run->error.p : "", run->attempts, (long long)run->parent_page,
                      run->parent_index, run->priority);
}

static void verify_rest(struct store *store) {
    struct buf value = {0};
    struct store_lane_info lane;
    int64_t last = 0;
    bool found = false;
    assert_int_equal(store_value_get(store, BYTES("cursor"), &value, &found, NULL), 0);
    assert_true(found && bytes_equal(buf_bytes(&value), BYTES("here")));
    buf_free(&value);
    assert_int_equal(store_tick_last(store, 1, &last, NULL), 0);
    assert_int_equal(last, 120);
    assert_int_equal(store_lane_get(store, 1, &lane, NULL), 0);
    assert_int_equal(lane.done, 11);
    assert_int_equal(lane.failed, 2);
    assert_int_equal(lane.cancelled, 3);
    assert_int_equal(lane.queued, 4);
    assert_int_equal(lane.max_runs, 5);
}

/* All of it can be claimed and settled. */
static void drain(struct store *store) {
    static const int64_t workflows[] = {1, 2};
    struct store_claim claim = {
        .new_lanes = 9, .new_runs = 9, .new_tokens = 9, .workflows = workflows, .n_workflows = 2};
    struct store_claimed claimed;
    size_t ignored, n = 0;
    assert_int_equal(store_worker_add(store, BYTES("w"), 4, &claim.worker, NULL), 0);
    assert_int_equal(store_begin(store, NULL), 0);
    assert_int_equal(store_claim(store, &claim, &claimed, NULL), 0);
    for (size_t i = 0; i < claimed.n; i++)
        for (size_t j = 0; j < claimed.leases[i].n; j++, n++) {
            const struct store_run *run = &claimed.leases[i].runs[j];
            struct store_settled done = {
                .lease = claimed.leases[i].id, .index = run->index, .attempt = 1, .child_key = run->child_key};
            assert_int_equal(store_settle(store, claim.worker, &done, 1, &ignored, NULL), 0);
            assert_int_equal(ignored, 0);
        }
    store_claimed_free(&claimed);
    assert_int_equal(n, 4);
    assert_int_equal(store_commit(store, NULL), 0);
}

static void verify_runs(struct store *store, const char *expected) {
    struct buf text = {0};
    assert_int_equal(store_check(store, NULL), 0);
    assert_int_equal(store_runs_each(store, &(struct store_runs_filter){0}, say, &text, NULL), 0);
    assert_string_equal(text.p, expected);
    buf_free(&text);
}

void old_format_verify(struct sqlite_place *place) {
    static const struct store_options options = {.lock_wait_us = -1};
    struct store *store = NULL;
    for (int round = 0; round < 2; round++) {
        struct err err = {0};
        if (sqlite_place_open(place, &options, &store, &err) < 0)
            fail_msg("%s", err.text);
        verify_runs(store, "6:1 1 many/e/1/ 0 of 0:0, 1;6:0 1 many/d/11/ 0 of 0:0, 1;5:2 1 many/c//why 1 of 4:7, 1;"
                           "5:1 1 many/b// 0 of 4:7, 1;2:0 4 single/p/g/parked 4 of 0:0, 1;");
        verify_rest(store);
        if (round == 1)
            drain(store);
        store_close(store);
    }
    assert_int_equal(sqlite_place_open(place, &options, &store, NULL), 0);
    verify_runs(store, "6:1 5 many/e/1/ 1 of 0:0, 1;6:0 5 many/d/11/ 1 of 0:0, 1;5:2 5 many/c// 1 of 4:7, 1;"
                       "5:1 5 many/b// 1 of 4:7, 1;2:0 4 single/p/g/parked 4 of 0:0, 1;");
    store_close(store);
}
