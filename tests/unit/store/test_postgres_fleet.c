/* test_postgres_fleet.c - several stores on one PostgreSQL: what each sees of the others, what an idle store costs,
 * and who may open one at all. */
#include "cleanup.h"
#include "postgres_hosts.h"
#include "postgres_proxy.h"
#include "postgres_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static struct postgres_server server;

static void pause_us(int64_t us) {
    nanosleep(&(struct timespec){.tv_sec = us / US_PER_S, .tv_nsec = us % US_PER_S * 1000}, NULL);
}

static int fresh(void **state) {
    (void)state;
    postgres_server_wipe(&server, "fleet");
    return 0;
}

/* ---- what each sees of the other ---- */

static void a_child_key_lives_once_in_the_fleet(void **state) {
    (void)state;
    struct host a, b;
    host_open(&a, &server, POSTGRES_SOCKET, NULL, 100);
    host_open(&b, &server, POSTGRES_SOCKET, NULL, 100);
    assert_int_equal(a.workflow, b.workflow);
    assert_spawned(host_spawn(&a, "g", 0, 50, "1"), 50, 0, 0);
    assert_spawned(host_spawn(&b, "g", 25, 50, "1"), 25, 25, 0);
    assert_spawned(host_spawn(&a, "h", 0, 80, "1"), 5, 75, 0);
    assert_int_equal(host_claim(&b, 50), 55);                  /* of g, and the 5 of h */
    assert_spawned(host_spawn(&a, "g", 0, 50, "1"), 0, 50, 0); /* while the other runs them */
    assert_int_equal(host_settle(&b, STORE_DONE), 0);
    assert_spawned(host_spawn(&a, "g", 0, 50, "1"), 50, 0, 0); /* what it finished may come again */
    assert_int_equal(host_claim(&b, 5), 5);
    assert_int_equal(host_settle(&b, STORE_PARKED), 0);
    host_check(&a);
    host_check(&b);
    assert_int_equal(postgres_server_number(&server, "SELECT count(*) FROM fleet.trouble WHERE state = 2"), 5);
    struct store_spawned again = host_spawn(&a, "g", 0, 80, "1"), newer = host_spawn(&a, "g", 0, 80, "2");
    assert_int_equal(again.created, 5);    /* of h, which are done */
    assert_int_equal(newer.superseded, 5); /* parked by the other */
    assert_int_equal(newer.created, 5);
    uint64_t dropped = 9;
    MUST(store_begin(b.store, &host_err));
    MUST(store_parked_drop(b.store, &(struct store_parked_filter){0}, &dropped, &host_err));
    MUST(store_commit(b.store, &host_err));
    assert_int_equal(dropped, 0);
    host_check(&a);
    host_close(&a);
    host_check(&b);
    host_close(&b);
}

static void a_new_store_learns_what_is_live(void **state) {
    (void)state;
    struct host a, b;
    host_open(&a, &server, POSTGRES_SOCKET, NULL, 100);
    for (int i = 0; i < 30; i++) /* more pages than are read at once */
        for (int j = 0; j < 10; j++)
            assert_int_equal(host_spawn(&a, "g", i * 100 + j * 10, 10, "1").created, 10);
    host_claim(&a, 20);
    host_settle(&a, STORE_PARKED);
    host_open(&b, &server, POSTGRES_SOCKET, NULL, 100);
    for (int i = 0; i < 30; i++)
        assert_spawned(host_spawn(&b, "g", i * 100, 100, "1"), 0, 100, 0);
    host_check(&b);
    host_close(&a);
    host_close(&b);
}

static void limits_hold_over_hosts(void **state) {
    (void)state;
    struct host a, b;
    host_open(&a, &server, POSTGRES_SOCKET, NULL, 7);
    host_open(&b, &server, POSTGRES_SOCKET, NULL, 7);
    host_spawn(&a, "g", 0, 50, "1");
    assert_int_equal(host_claim(&a, 5), 5);
    assert_int_equal(host_claim(&b, 5), 5);
    assert_int_equal(a.claimed.n, 1);
    assert_int_equal(b.claimed.leases[0].tokens, 2);
    struct host c;
    host_open(&c, &server, POSTGRES_SOCKET, NULL, 7);
    assert_int_equal(host_claim(&c, 5), 0);
    host_settle(&a, STORE_DONE);
    assert_int_equal(host_claim(&c, 9), 9);
    assert_int_equal(c.claimed.leases[0].tokens, 5);
    MUST(store_begin(a.store, &host_err));
    MUST(store_workflow_pause(a.store, BYTES("w"), true, &host_err));
    MUST(store_commit(a.store, &host_err));
    host_settle(&b, STORE_DONE);
    host_settle(&c, STORE_DONE);
    assert_int_equal(host_claim(&b, 9), 0);
    MUST(store_begin(c.store, &host_err));
    MUST(store_workflow_pause(c.store, BYTES("w"), false, &host_err));
    MUST(store_commit(c.store, &host_err));
    assert_int_equal(host_claim(&b, 9), 9);
    host_check(&a);
    host_close(&a);
    host_close(&c);
    host_check(&b);
    host_close(&b);
}

static void a_zombie_changes_nothing(void **state) {
    (void)state;
    struct host a, b;
    host_open(&b, &server, POSTGRES_SOCKET, NULL, 100);
    host_spawn(&b, "g", 0, 10, "1");
    host_open(&a, &server, POSTGRES_SOCKET, &(struct store_options){.lease_us = 1500 * US_PER_MS}, 100);
    assert_int_equal(host_claim(&a, 4), 4); /* while its lease lasts, however slow the machine is meanwhile */
    assert_int_equal(host_claim(&b, 6), 6);
    pause_us(1600 * US_PER_MS);
    MUST(store_heartbeat(b.store, b.worker, NULL, &host_err)); /* takes nothing back, being alive */
    host_settle(&b, STORE_DONE);
    assert_int_equal(host_claim(&b, 9), 4);
    assert_int_equal(host_settle(&a, STORE_DONE), 4); /* all ignored */
    assert_int_equal(store_heartbeat(a.store, a.worker, NULL, NULL), -ESTALE);
    struct store_claim what = {.worker = a.worker};
    struct store_claimed none;
    assert_int_equal(store_claim(a.store, &what, &none, NULL), -ESTALE);
    assert_int_equal(host_settle(&b, STORE_DONE), 0);
    struct store_lane_info info;
    MUST(store_lane_get(b.store, 1, &info, &host_err));
    assert_int_equal(info.done, 10);
    assert_int_equal(info.tokens, 0);
    host_check(&b);
    host_close(&a);
    host_close(&b);
}

static void a_cancellation_reaches_the_other_host(void **state) {
    (void)state;
    struct host a, b;
    host_open(&a, &server, POSTGRES_SOCKET, NULL, 100);
    host_open(&b, &server, POSTGRES_SOCKET, NULL, 100);
    struct store_spawned spawned = host_spawn(&a, "g", 0, 3, "1");
    assert_int_equal(host_claim(&a, 3), 3);
    enum store_state was;
    MUST(store_begin(b.store, &host_err));
    MUST(store_run_cancel(b.store, spawned.page, 1, &was, &host_err));
    MUST(store_commit(b.store, &host_err));
    assert_int_equal(was, STORE_STATE_LEASED);
    struct store_cancels cancels;
    MUST(store_heartbeat(a.store, a.worker, &cancels, &host_err));
    assert_int_equal(cancels.n, 1);
    assert_int_equal(cancels.items[0].index, 1);
    assert_int_equal(cancels.items[0].lease, a.claimed.leases[0].id);
    store_cancels_free(&cancels);
    MUST(store_heartbeat(a.store, a.worker, &cancels, &host_err));
    assert_int_equal(cancels.n, 0); /* once */
    host_settle(&a, STORE_RELEASED);
    assert_int_equal(host_claim(&b, 9), 2); /* the one that was asked to end does not run again */
    host_check(&b);
    host_close(&a);
    host_close(&b);
}

/* ---- waking ---- */

static void count_wake(void *arg) {
    (*(_Atomic int *)arg)++;
}

static void others_are_woken_when_there_is_work(void **state) {
    (void)state;
    struct host a, b;
    _Atomic int woken = 0;
    host_open(&a, &server, POSTGRES_SOCKET,
              &(struct store_options){.wake = count_wake, .wake_arg = (void *)(uintptr_t)&woken}, 100);
    for (int i = 0; i < 200 && woken == 0; i++) /* it is when it begins to listen */
        pause_us(10 * US_PER_MS);
    host_open(&b, &server, POSTGRES_SOCKET, NULL, 100); /* no one else's rules change: no work, no waking */
    pause_us(50 * US_PER_MS);
    int before = woken;
    assert_true(before >= 1);
    host_spawn(&a, "g", 0, 3, "1");
    pause_us(100 * US_PER_MS);
    assert_int_equal(woken, before); /* not by itself */
    host_spawn(&b, "h", 10, 3, "1");
    for (int i = 0; i < 200 && woken == before; i++)
        pause_us(10 * US_PER_MS);
    assert_int_equal(woken, before + 1);
    host_spawn(&b, "h", 20, 3, "1"); /* there is work already: no news */
    pause_us(100 * US_PER_MS);
    assert_int_equal(woken, before + 1);
    postgres_server_sql(&server, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'");
    for (int i = 0; i < 300 && woken == before + 1; i++)
        pause_us(10 * US_PER_MS);
    assert_true(woken > before + 1); /* it listens again, and may have missed something */
    host_close(&a);
    host_close(&b);
}

/* Who has leased more runs than it may run at once waits for tokens, though nothing is left to be leased. */
static void who_lacks_tokens_is_woken_when_some_come_back(void **state) {
    (void)state;
    struct host a, b;
    _Atomic int woken = 0;
    host_open(&a, &server, POSTGRES_SOCKET,
              &(struct store_options){.wake = count_wake, .wake_arg = (void *)(uintptr_t)&woken}, 4);
    host_open(&b, &server, POSTGRES_SOCKET, NULL, 4);
    for (int i = 0; i < 200 && woken == 0; i++) /* it is when it begins to listen */
        pause_us(10 * US_PER_MS);
    host_spawn(&a, "g", 0, 10, "1");
    assert_int_equal(host_claim(&b, 3), 3);
    assert_int_equal(host_claim(&a, 7), 7);
    assert_int_equal(a.claimed.leases[0].tokens, 1);
    pause_us(100 * US_PER_MS);
    int before = woken;
    host_settle(&b, STORE_DONE);
    for (int i = 0; i < 1000 && woken == before; i++)
        pause_us(10 * US_PER_MS);
    assert_int_equal(woken, before + 1);
    host_close(&a);
    host_close(&b);
}

static void an_idle_store_costs_next_to_nothing(void **state) {
    (void)state;
    struct host a;
    host_open(&a, &server, POSTGRES_SOCKET, NULL, 100);
    host_spawn(&a, "g", 0, 3, "1");
    assert_int_equal(host_claim(&a, 3), 3); /* it works on something, and asks for more */
    int64_t lane = a.claimed.leases[0].lane;
    struct store_want want = {lane, 5, 3};
    struct store_claim what = {.worker = a.worker,
                               .wants = &want,
                               .n_wants = 1,
                               .new_lanes = 9,
                               .new_runs = 9,
                               .new_tokens = 9,
                               .workflows = &a.workflow,
                               .n_workflows = 1};
    int64_t before = postgres_server_number(&server, "SELECT pg_current_wal_insert_lsn() - '0/0'");
    for (int i = 0; i < 20; i++) {
        struct store_claimed claimed;
        MUST(store_claim(a.store, &what, &claimed, &host_err));
        assert_int_equal(claimed.n, 0);
        assert_int_equal(claimed.held[0], 3);
        store_claimed_free(&claimed);
    }
    int64_t after = postgres_server_number(&server, "SELECT pg_current_wal_insert_lsn() - '0/0'");
    assert_true(after - before < 2000); /* asking in vain writes nothing (but the server's own notes) */
    host_close(&a);
}

/* A host that is stopped while it has the lock holds up the others for some seconds, not for ever. */
static void a_stopped_host_loses_the_lock(void **state) {
    (void)state;
    struct host a, b;
    host_open(&a, &server, POSTGRES_SOCKET, NULL, 100);
    host_open(&b, &server, POSTGRES_SOCKET, NULL, 100);
    bool first;
    MUST(store_begin(a.store, &host_err));
    MUST(store_tick(a.store, a.workflow, 60, &first, &host_err)); /* takes the lock; and then nothing */
    assert_true(first);
    int64_t began = clock_mono_us(&clock_system);
    assert_int_equal(host_spawn(&b, "g", 0, 5, "1").created, 5);
    int64_t took = clock_mono_us(&clock_system) - began;
    assert_in_range(took, 5 * US_PER_S, 13 * US_PER_S);
    assert_int_equal(store_commit(a.store, &host_err), STORE_ERR_LOST);
    MUST(store_begin(a.store, &host_err));
    MUST(store_tick(a.store, a.workflow, 60, &first, &host_err));
    assert_true(first); /* it had not been recorded */
    MUST(store_commit(a.store, &host_err));
    host_check(&a);
    host_close(&a);
    host_close(&b);
}

/* ---- opening ---- */

static int open_as(const char *uri, struct err *why) {
    struct store *store = NULL;
    int r = store_open(uri, NULL, &store, why);
    if (r == 0) {
        assert_non_null(strstr(store_describe(store), "schema"));
        assert_null(strstr(store_describe(store), POSTGRES_PASSWORD));
    }
    store_close(store);
    return r;
}

static void *open_thread(void *arg) {
    char uri[256];
    struct err why = {0};
    postgres_server_uri(&server, POSTGRES_SOCKET, 0, "starters", uri, sizeof uri);
    *(int *)arg = open_as(uri, &why);
    if (*(int *)arg < 0)
        fprintf(stderr, "%s\n", why.text);
    return NULL;
}

static void many_start_at_once(void **state) {
    (void)state;
    for (int round = 0; round < 3; round++) {
        pthread_t threads[6];
        int results[6] = {0};
        postgres_server_wipe(&server, "starters");
        for (int i = 0; i < 6; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, open_thread, &results[i]), 0);
        for (int i = 0; i < 6; i++) {
            pthread_join(threads[i], NULL);
            assert_int_equal(results[i], 0);
        }
    }
    postgres_server_wipe(&server, "starters");
}

static void a_newer_schema_is_refused(void **state) {
    (void)state;
    struct host a;
    char uri[256];
    host_open(&a, &server, POSTGRES_SOCKET, NULL, 9);
    postgres_server_sql(&server, "UPDATE fleet.meta SET version = %d", SCHEMA_VERSION + 1);
    postgres_server_uri(&server, POSTGRES_SOCKET, 0, "fleet", uri, sizeof uri);
    assert_int_equal(open_as(uri, &host_err), STORE_ERR_CORRUPT);
    assert_non_null(strstr(host_err.text, "update froe"));
    /* Nor does one go on that runs while another brings the tables to a newer version. */
    MUST(store_begin(a.store, &host_err));
    assert_int_equal(store_value_put(a.store, BYTES("n"), BYTES("v"), &host_err), 0);
    assert_int_equal(store_commit(a.store, &host_err), STORE_ERR_CORRUPT);
    assert_int_equal(store_begin(a.store, &host_err), STORE_ERR_CORRUPT);
    postgres_server_sql(&server, "UPDATE fleet.meta SET version = %d", SCHEMA_VERSION);
    assert_int_equal(store_begin(a.store, &host_err), STORE_ERR_CORRUPT); /* it stays failed */
    host_close(&a);
    assert_int_equal(open_as(uri, &host_err), 0);
}

/* Version 1 had no table for checkpoints, version 2 did not know since when a lane is not used, version 3 had one index
 * of child keys. */
static void an_older_schema_is_brought_up(void **state) {
    (void)state;
    struct host a, b;
    host_open(&a, &server, POSTGRES_SOCKET, NULL, 9);
    assert_spawned(host_spawn(&a, "g", 0, 5, "1"), 5, 0, 0);
    host_close(&a);
    postgres_server_sql(&server, "DROP TABLE fleet.kept");
    postgres_server_sql(&server, "ALTER TABLE fleet.workflow DROP done, DROP failed, DROP cancelled");
    postgres_server_sql(&server, "ALTER TABLE fleet.lane DROP used");
    postgres_server_sql(&server, "DROP INDEX fleet.page_key, fleet.page_keys");
    postgres_server_sql(&server, "CREATE INDEX page_key ON fleet.page (first_key) WHERE first_key IS NOT NULL");
    postgres_server_sql(&server, "UPDATE fleet.meta SET version = 1");
    host_open(&a, &server, POSTGRES_SOCKET, NULL, 9);
    host_open(&b, &server, POSTGRES_SOCKET, NULL, 9); /* finds it done */
    assert_int_equal(postgres_server_number(&server, "SELECT version FROM fleet.meta"), SCHEMA_VERSION);
    assert_int_equal(postgres_server_number(&server, "SELECT count(*) FROM fleet.kept"), 0);
    assert_int_equal(postgres_server_number(&server, "SELECT count(*) FROM pg_indexes WHERE schemaname = 'fleet'"
                                                     " AND indexname LIKE 'page_key%%' AND indexdef LIKE '%%(n %%'"),
                     2);
    assert_spawned(host_spawn(&b, "g", 0, 6, "1"), 1, 5, 0);
    host_check(&a); /* reads the table */
    host_check(&b);
    host_close(&a);
    host_close(&b);
}

/* However many pages there are, only those are read that the key's index names; plans do not depend on their number. */
static void a_child_key_is_looked_for_by_index(void **state) {
    (void)state;
    struct host a;
    struct sql sql;
    char plan[4096];
    host_open(&a, &server, POSTGRES_SOCKET, NULL, 9);
    assert_int_equal(sql_make(&sql, "fleet"), 0);
    for (int round = 0; round < 2; round++) {
        snprintf(plan, sizeof plan, "%s",
                 postgres_server_sql(&server,
                                     "%s; PREPARE q (int8, int8, int8[], int8, int8, int8, int8, bytea) AS %s;"
                                     " EXPLAIN (FORMAT YAML, COSTS OFF)"
                                     " EXECUTE q(9223372036854775807, 64, '{}', 0, 0, 0, 0, 'key-00001')",
                                     schema_settings, sql.text[SQL_RUN_IDS_KEY]));
        if (!strstr(plan, "\"page_key\"") || !strstr(plan, "\"page_keys\"") || !strstr(plan, "\"trouble_key\"") ||
            strstr(plan, "Seq Scan") || strstr(plan, "_pkey"))
            fail_msg("%s", plan);
        for (int i = 0; i < 50 && round == 0; i++) {
            host_spawn(&a, "g", i, 1, "1");
            host_spawn(&a, "g", 100 + i * 10, 10, "1");
        }
        postgres_server_sql(&server, "ANALYZE fleet.page");
    }
    sql_free(&sql);
    host_close(&a);
}

static void little_privilege_is_enough(void **state) {
    (void)state;
    char uri[300];
    postgres_server_sql(&server, "REVOKE CREATE ON DATABASE postgres FROM PUBLIC");
    postgres_server_sql(&server, "CREATE ROLE little LOGIN");
    snprintf(uri, sizeof uri, "postgres:///postgres?host=%s&port=%d&user=little&froe_schema=little", server.folder,
             server.port);
    assert_int_equal(open_as(uri, &host_err), STORE_ERR_IO);
    assert_non_null(strstr(host_err.text, "permission denied"));
    postgres_server_sql(&server, "CREATE SCHEMA little AUTHORIZATION little");
    if (open_as(uri, &host_err) < 0)
        fail_msg("%s", host_err.text);
    assert_int_equal(open_as(uri, &host_err), 0);
    postgres_server_sql(&server, "DROP SCHEMA little CASCADE");
}

static void passwords_stay_out_of_texts(void **state) {
    (void)state;
    static const char *const uris[] = {
        "postgres://froe:hunter2secret@127.0.0.1:%d/postgres",
        "postgres://froe:hunter2secret@127.0.0.1:1/postgres",
        "postgres://froe:hunter2secret@127.0.0.1:%d/nowhere",
        "postgres://froe:hunter2secret%%zz@127.0.0.1:%d/postgres",
        "postgres://froe:hunter2secret@127.0.0.1:%d/postgres?nonsense=1",
        "postgres://froe:hunter2secret@127.0.0.1:%d/postgres?froe_schema=Bad-Name",
        "postgres://froe@127.0.0.1:%d/postgres?password=hunter2secret",
        "postgress://froe:hunter2secret@127.0.0.1:%d/postgres",
        "postgres://froe:hunter2secret@no.such.host.invalid:%d/postgres",
    };
    for (size_t i = 0; i < sizeof uris / sizeof uris[0]; i++) {
        char uri[200];
        const char *port = strstr(uris[i], "%d");
        int before = port ? (int)(port - uris[i]) : (int)strlen(uris[i]);
        snprintf(uri, sizeof uri, "%.*s", before, uris[i]);
        if (port)
            snprintf(uri + strlen(uri), sizeof uri - strlen(uri), "%d%s", server.port, port + 2);
        int r = open_as(uri, &host_err);
        assert_true(r == STORE_ERR_IO || r == -EINVAL);
        assert_true(strlen(host_err.text) > 10);
        if (strstr(host_err.text, "hunter2secret"))
            fail_msg("%s", host_err.text);
    }
}

static void a_server_that_is_down_is_an_error(void **state) {
    (void)state;
    assert_int_equal(open_as("postgres://froe@127.0.0.1:1/postgres", &host_err), STORE_ERR_IO);
    assert_non_null(strstr(host_err.text, "127.0.0.1:1/postgres"));
    assert_non_null(strstr(host_err.text, "refused"));
}

/* Each refusal has its own hint, and no other's. */
static void refusals_have_their_hints(void **state) {
    (void)state;
    static const struct {
        const char *user, *database, *says, *hint;
    } refusals[] = {
        {"froe", "nowhere", "\"nowhere\" does not exist", "CREATE DATABASE"},
        {"nobody_here", "postgres", "\"nobody_here\" does not exist", "CREATE ROLE"},
        {"sleeper", "postgres", "not permitted to log in", "ALTER ROLE"},
        {"froe", "shut", "permission denied for database", "GRANT CONNECT"},
        {"forgotten", "postgres", "no pg_hba.conf entry", "pg_hba.conf has to let"},
        {"rejected", "postgres", "pg_hba.conf rejects", "pg_hba.conf has to let"},
    };
    const size_t n = sizeof refusals / sizeof refusals[0];
    postgres_server_sql(&server, "CREATE ROLE sleeper");
    postgres_server_sql(&server, "CREATE DATABASE shut");
    postgres_server_sql(&server, "REVOKE ALL ON DATABASE shut FROM PUBLIC");
    postgres_server_sql(&server,
                        "COPY (VALUES ('local all postgres trust'), ('host all rejected 127.0.0.1/32 reject'),"
                        " ('host all froe,nobody_here,sleeper 127.0.0.1/32 trust')) TO '%s/data/pg_hba.conf'",
                        server.folder);
    postgres_server_crash(&server);
    postgres_server_again(&server); /* and has read it */
    for (size_t i = 0; i < n; i++) {
        char uri[200];
        snprintf(uri, sizeof uri, "postgres://%s@127.0.0.1:%d/%s?sslmode=disable&gssencmode=disable", refusals[i].user,
                 server.port, refusals[i].database);
        assert_int_equal(open_as(uri, &host_err), STORE_ERR_IO);
        if (!strstr(host_err.text, refusals[i].says) || !strstr(host_err.text, refusals[i].hint))
            fail_msg("%s", host_err.text);
        for (size_t j = 0; j < n; j++)
            if (strcmp(refusals[j].hint, refusals[i].hint) != 0 && strstr(host_err.text, refusals[j].hint))
                fail_msg("%s", host_err.text);
    }
    postgres_server_sql(&server,
                        "COPY (VALUES ('local all all trust'), ('host all all 127.0.0.1/32 scram-sha-256'))"
                        " TO '%s/data/pg_hba.conf'",
                        server.folder);
    postgres_server_sql(&server, "DROP DATABASE shut");
    postgres_server_sql(&server, "DROP ROLE sleeper");
    postgres_server_crash(&server);
    postgres_server_again(&server);
}

/* As PostgreSQL says it of the volume of its data. */
static void a_full_disk_is_an_error(void **state) {
    (void)state;
    struct host a;
    host_open(&a, &server, POSTGRES_SOCKET, NULL, 9);
    assert_spawned(host_spawn(&a, "g", 0, 5, "1"), 5, 0, 0);
    postgres_server_sql(&server, "CREATE FUNCTION fleet.no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE"
                                 " 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$");
    postgres_server_sql(&server, "CREATE TRIGGER no_room BEFORE INSERT ON fleet.page EXECUTE FUNCTION fleet.no_room()");
    const struct bytes key = BYTES("g");
    const struct store_item item = {.child_key = BYTES("new")};
    const struct store_page page = {.workflow = a.workflow,
                                    .keys = &key,
                                    .n_keys = 1,
                                    .input = BYTES("{}"),
                                    .metadata = BYTES("{}"),
                                    .items = &item,
                                    .n = 1};
    struct store_spawned spawned;
    MUST(store_begin(a.store, &host_err));
    int r = store_spawn(a.store, &page, &spawned, &host_err);
    assert_int_equal(r == 0 ? store_commit(a.store, &host_err) : r, STORE_ERR_FULL);
    assert_non_null(strstr(host_err.text, "No space left on device"));
    assert_non_null(strstr(host_err.text, "53100"));
    assert_int_equal(store_begin(a.store, &host_err), STORE_ERR_FULL); /* it stays failed */
    host_close(&a);
    postgres_server_sql(&server, "DROP FUNCTION fleet.no_room CASCADE");
    host_open(&a, &server, POSTGRES_SOCKET, NULL, 9);
    host_check(&a);
    assert_spawned(host_spawn(&a, "g", 0, 6, "1"), 1, 5, 0); /* what was there is there */
    host_close(&a);
}

#define TEST(function_) cmocka_unit_test_setup(function_, fresh)

int main(void) {
    static const struct CMUnitTest tests[] = {
        TEST(a_child_key_lives_once_in_the_fleet),
        TEST(a_new_store_learns_what_is_live),
        TEST(limits_hold_over_hosts),
        TEST(a_zombie_changes_nothing),
        TEST(a_cancellation_reaches_the_other_host),
        TEST(others_are_woken_when_there_is_work),
        TEST(who_lacks_tokens_is_woken_when_some_come_back),
        TEST(an_idle_store_costs_next_to_nothing),
        TEST(a_stopped_host_loses_the_lock),
        TEST(many_start_at_once),
        TEST(a_newer_schema_is_refused),
        TEST(an_older_schema_is_brought_up),
        TEST(a_child_key_is_looked_for_by_index),
        TEST(little_privilege_is_enough),
        TEST(passwords_stay_out_of_texts),
        TEST(a_server_that_is_down_is_an_error),
        TEST(refusals_have_their_hints),
        TEST(a_full_disk_is_an_error),
    };
    if (postgres_server_missing()) {
        printf("skipped: there is no %s here\n", postgres_server_missing());
        return 77;
    }
    postgres_server_start(&server);
    if (getenv("FLEET_TEST")) /* one alone, by its name */
        cmocka_set_test_filter(getenv("FLEET_TEST"));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    postgres_server_stop(&server);
    return failed;
}
