/* test_postgres_optimistic.c - batches that are decided from what is known of the last one: one round trip while nobody
 * else writes, and repeated when somebody did, whatever that was. */
#include "postgres_hosts.h"
#include "postgres_store.h"

#include <time.h>

static struct postgres_server server;

static int fresh(void **state) {
    (void)state;
    postgres_server_wipe(&server, "fleet");
    return 0;
}

/* ---- a batch as the engine makes them ---- */

struct item {
    char text[24];
    struct store_item item;
    struct bytes group;
    struct store_page page;
    struct store_spawned spawned;
    struct store_place place;
};

static void item_make(struct item *item, const struct host *host, int key, const char *generation) {
    *item = (struct item){.group = BYTES("g")};
    snprintf(item->text, sizeof item->text, "key-%05d", key);
    item->item = (struct store_item){.child_key = bytes_str(item->text), .generation = bytes_str(generation)};
    item->page = (struct store_page){.workflow = host->workflow,
                                     .keys = &item->group,
                                     .n_keys = 1,
                                     .items = &item->item,
                                     .n = 1,
                                     .ret_runs = &item->place};
}

/* One run is spawned and claimed. */
static int spawn_and_claim(struct host *host, struct item *item) {
    struct store_claim what = {.worker = host->worker,
                               .new_lanes = 9,
                               .new_runs = 9,
                               .new_tokens = 9,
                               .workflows = &host->workflow,
                               .n_workflows = 1};
    store_claimed_free(&host->claimed);
    int r = store_begin(host->store, &host_err);
    if (r == 0)
        r = store_spawn(host->store, &item->page, &item->spawned, &host_err);
    if (r == 0)
        r = store_claim(host->store, &what, &host->claimed, &host_err);
    return r == 0 ? store_commit(host->store, &host_err) : r;
}

static int settle(struct host *host, enum store_outcome outcome, size_t *ret_ignored) {
    const struct store_lease *lease = &host->claimed.leases[0];
    const struct store_settled settled = {.lease = lease->id,
                                          .index = lease->runs[0].index,
                                          .outcome = outcome,
                                          .attempts = 1,
                                          .attempt = 1,
                                          .child_key = lease->runs[0].child_key,
                                          .generation = lease->runs[0].generation,
                                          .error = BYTES("why")};
    int r = store_begin(host->store, &host_err);
    if (r == 0)
        r = store_settle(host->store, host->worker, &settled, 1, ret_ignored, &host_err);
    return r == 0 ? store_commit(host->store, &host_err) : r;
}

static void cycle(struct host *host, int key) {
    struct item item;
    size_t ignored;
    item_make(&item, host, key, "1");
    MUST(spawn_and_claim(host, &item));
    assert_int_equal(item.spawned.created, 1);
    assert_int_equal(host->claimed.n, 1);
    MUST(settle(host, STORE_DONE, &ignored));
    assert_int_equal(ignored, 0);
}

/* `a` decides from what it knows, `b` is another host. */
struct pair {
    struct host a, b;
};

static void pair_open(struct pair *pair) {
    host_open(&pair->a, &server, POSTGRES_SOCKET, &(struct store_options){.repeats = true}, 100);
    host_open(&pair->b, &server, POSTGRES_SOCKET, NULL, 100);
    for (int i = 0; i < 3; i++)
        cycle(&pair->a, i);
    pg_of(pair->a.store)->others = 0; /* not to write many more until it forgets the other */
    cycle(&pair->a, 3);
}

static void pair_close(struct pair *pair) {
    host_check(&pair->a);
    host_check(&pair->b);
    host_close(&pair->a);
    host_close(&pair->b);
}

static uint64_t loads(const struct host *host) {
    return pg_of(host->store)->loads;
}

/* ---- alone ---- */

static void alone_nothing_is_read(void **state) {
    (void)state;
    struct pair pair;
    pair_open(&pair);
    uint64_t before = loads(&pair.a);
    int64_t batches = pg_of(pair.a.store)->synced;
    for (int i = 0; i < 20; i++)
        cycle(&pair.a, 10 + i % 5); /* keys come again */
    assert_int_equal(loads(&pair.a), before);
    assert_int_equal(pg_of(pair.a.store)->synced, batches + 40);
    assert_int_equal(postgres_server_number(&server, "SELECT sum(done) FROM fleet.lane"), 24);
    /* The last settlement was one statement. */
    assert_int_equal(postgres_server_number(&server, "SELECT count(*) FROM pg_stat_activity"
                                                     " WHERE query LIKE 'WITH part0 AS (UPDATE %%part1 AS (DELETE %%'"),
                     1);
    pair_close(&pair);
}

/* What has to be read is, and the batch goes on as any other. */
static void what_is_not_known_is_read(void **state) {
    (void)state;
    struct pair pair;
    struct item item, same;
    size_t ignored;
    pair_open(&pair);
    item_make(&item, &pair.a, 50, "1");
    item_make(&same, &pair.a, 50, "2");
    MUST(spawn_and_claim(&pair.a, &item));
    MUST(settle(&pair.a, STORE_PARKED, &ignored));
    MUST(spawn_and_claim(&pair.a, &same)); /* the parked run's row */
    assert_int_equal(same.spawned.superseded, 1);
    assert_true(same.place.superseded && same.place.created);
    MUST(settle(&pair.a, STORE_RETRY, &ignored));
    item_make(&item, &pair.a, 51, "1");
    MUST(spawn_and_claim(&pair.a, &item)); /* and the retry's, which is due */
    assert_int_equal(pair.a.claimed.n, 2);
    assert_int_equal(host_settle(&pair.a, STORE_DONE), 0);
    pair_close(&pair);
}

/* A delayed page and a run that is late are seen when their time comes, though nobody asks the server about them. */
static void what_comes_due_is_seen(void **state) {
    (void)state;
    struct pair pair;
    struct item item, late;
    pair_open(&pair);
    item_make(&item, &pair.a, 60, "1");
    item_make(&late, &pair.a, 61, "1");
    item.page.not_before_utc_us = pg_now(pg_of(pair.a.store)) + 300 * US_PER_MS;
    late.page.start_by_utc_us = pg_now(pg_of(pair.a.store)) + 200 * US_PER_MS;
    late.page.not_before_utc_us = pg_now(pg_of(pair.a.store)) + 3600 * US_PER_S;
    MUST(store_begin(pair.a.store, &host_err));
    MUST(store_spawn(pair.a.store, &late.page, &late.spawned, &host_err));
    MUST(store_commit(pair.a.store, &host_err));
    MUST(spawn_and_claim(&pair.a, &item));
    assert_int_equal(pair.a.claimed.n, 0);
    assert_true(pair.a.claimed.next_due_utc_us == late.page.start_by_utc_us);
    nanosleep(&(struct timespec){.tv_nsec = 400000000}, NULL);
    struct item another;
    item_make(&another, &pair.a, 62, "1");
    MUST(spawn_and_claim(&pair.a, &another));
    assert_int_equal(pair.a.claimed.n, 2);
    assert_int_equal(pair.a.claimed.cancelled, 1);
    assert_int_equal(host_settle(&pair.a, STORE_DONE), 0);
    pair_close(&pair);
}

/* ---- another host writes ---- */

static void its_spawn_is_noticed(void **state) {
    (void)state;
    struct pair pair;
    struct item item;
    pair_open(&pair);
    host_spawn(&pair.b, "g", 70, 1, "1");
    item_make(&item, &pair.a, 70, "1");
    assert_int_equal(spawn_and_claim(&pair.a, &item), STORE_ERR_AGAIN);
    MUST(spawn_and_claim(&pair.a, &item));
    assert_int_equal(item.spawned.duplicates, 1);
    assert_int_equal(pair.a.claimed.n, 1); /* the other's */
    assert_int_equal(host_settle(&pair.a, STORE_DONE), 0);
    pair_close(&pair);
}

/* So it is with a batch that changes nothing: what it tells has to be true. */
static void it_is_noticed_by_who_changes_nothing(void **state) {
    (void)state;
    struct pair pair;
    struct item item;
    size_t ignored;
    pair_open(&pair);
    item_make(&item, &pair.a, 80, "1");
    MUST(spawn_and_claim(&pair.a, &item));
    MUST(store_begin(pair.b.store, &host_err));
    enum store_state was;
    MUST(store_run_cancel(pair.b.store, item.place.page, item.place.index, &was, &host_err));
    MUST(store_commit(pair.b.store, &host_err));
    assert_int_equal(was, STORE_STATE_LEASED);
    assert_int_equal(settle(&pair.a, STORE_RELEASED, &ignored), STORE_ERR_AGAIN);
    MUST(settle(&pair.a, STORE_RELEASED, &ignored)); /* it was asked to end: it does not run again */
    assert_int_equal(ignored, 0);
    assert_int_equal(postgres_server_number(&server, "SELECT sum(cancelled) FROM fleet.lane"), 1);
    /* Nothing of it is left to be settled. */
    pg_of(pair.a.store)->others = 0;
    MUST(settle(&pair.a, STORE_DONE, &ignored));
    assert_int_equal(ignored, 1);
    pair_close(&pair);
}

static void a_lease_that_was_taken_away_is_not_settled(void **state) {
    (void)state;
    struct pair pair;
    struct item item;
    size_t ignored;
    pair_open(&pair);
    item_make(&item, &pair.a, 90, "1");
    MUST(spawn_and_claim(&pair.a, &item));
    MUST(store_worker_remove(pair.b.store, pair.a.worker, &host_err));
    assert_int_equal(host_claim(&pair.b, 9), 1);
    assert_int_equal(settle(&pair.a, STORE_DONE, &ignored), STORE_ERR_AGAIN);
    MUST(settle(&pair.a, STORE_DONE, &ignored));
    assert_int_equal(ignored, 1);
    assert_int_equal(host_settle(&pair.b, STORE_DONE), 0);
    pair_close(&pair);
}

static void a_paused_workflow_is_noticed(void **state) {
    (void)state;
    struct pair pair;
    struct item item;
    pair_open(&pair);
    MUST(store_begin(pair.b.store, &host_err));
    MUST(store_workflow_pause(pair.b.store, BYTES("w"), true, &host_err));
    MUST(store_commit(pair.b.store, &host_err));
    item_make(&item, &pair.a, 95, "1");
    assert_int_equal(spawn_and_claim(&pair.a, &item), STORE_ERR_AGAIN);
    MUST(spawn_and_claim(&pair.a, &item));
    assert_int_equal(item.spawned.created, 1);
    assert_int_equal(pair.a.claimed.n, 0);
    pair_close(&pair);
}

/* After that the lock is taken first for a while; and who does not repeat is never asked to. */
static void it_is_careful_for_a_while(void **state) {
    (void)state;
    struct pair pair;
    struct item item;
    pair_open(&pair);
    host_spawn(&pair.b, "h", 0, 1, "1");
    item_make(&item, &pair.a, 70, "1");
    assert_int_equal(spawn_and_claim(&pair.a, &item), STORE_ERR_AGAIN);
    for (int i = 0; i < 10; i++) {
        MUST(spawn_and_claim(&pair.a, &item));
        assert_int_equal(host_settle(&pair.a, STORE_DONE), 0);
        assert_int_equal(host_spawn(&pair.b, "h", 1 + i, 1, "1").created, 1);
    }
    assert_int_equal(host_claim(&pair.b, 9), 1);
    assert_int_equal(host_settle(&pair.b, STORE_DONE), 0);
    for (int i = 0; i < 40; i++)
        cycle(&pair.b, 200);
    assert_int_equal(pg_of(pair.b.store)->known.batch, 0);
    for (int i = 0; i < 40; i++)
        cycle(&pair.a, 300);
    uint64_t before = loads(&pair.a);
    cycle(&pair.a, 300);
    assert_int_equal(loads(&pair.a), before); /* it has forgotten the other */
    pair_close(&pair);
}

#define TEST(function_) cmocka_unit_test_setup(function_, fresh)

int main(void) {
    static const struct CMUnitTest tests[] = {
        TEST(alone_nothing_is_read),
        TEST(what_is_not_known_is_read),
        TEST(what_comes_due_is_seen),
        TEST(its_spawn_is_noticed),
        TEST(it_is_noticed_by_who_changes_nothing),
        TEST(a_lease_that_was_taken_away_is_not_settled),
        TEST(a_paused_workflow_is_noticed),
        TEST(it_is_careful_for_a_while),
    };
    if (postgres_server_missing()) {
        printf("skipped: there is no %s here\n", postgres_server_missing());
        return 77;
    }
    postgres_server_start(&server);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    postgres_server_stop(&server);
    return failed;
}
