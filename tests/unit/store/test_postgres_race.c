/* test_postgres_race.c - several stores on one PostgreSQL at once, each in a thread: nothing runs twice, no limit is
 * exceeded, nothing is lost; also when each decides from what it knows, and when the server crashes. */
#include "postgres_hosts.h"
#include "postgres_store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

static struct postgres_server server;

static void pause_us(int64_t us) {
    nanosleep(&(struct timespec){.tv_sec = us / US_PER_S, .tv_nsec = us % US_PER_S * 1000}, NULL);
}

static int fresh(void **state) {
    (void)state;
    postgres_server_wipe(&server, "fleet");
    return 0;
}

#define RACE_KEYS 400
#define RACE_MAX 6
#define RACE_HOSTS 3
static struct {
    _Atomic int running[2], key_running[RACE_KEYS], done;
    _Atomic uint64_t spawned, lost, again, known;
    _Atomic bool over;
} race;

struct racer {
    pthread_t thread;
    struct rng rng;
    struct host host;
    const char *trouble;
    bool optimistic; /* each batch is decided from what is known, if anything is */
};

static int in_batch(struct racer *racer, int (*change)(struct racer *racer, struct err *why)) {
    struct err why = {0};
    int r;
    do {
        struct postgres_store *inside = pg_of(racer->host.store);
        uint64_t loads = inside->loads;
        if (racer->optimistic)
            inside->others = 0;
        r = store_begin(racer->host.store, &why);
        if (r == 0)
            r = change(racer, &why);
        if (r == 0)
            r = store_commit(racer->host.store, &why);
        race.known += r == 0 && inside->loads == loads;
        race.lost += r == STORE_ERR_LOST;
        race.again += r == STORE_ERR_AGAIN;
    } while (r == STORE_ERR_LOST || r == STORE_ERR_AGAIN);
    if (r < 0 && !racer->trouble) {
        racer->trouble = "a batch failed";
        fprintf(stderr, "%d %s\n", r, why.text);
    }
    return r;
}

static struct store_item race_items[RACE_KEYS];
static char race_keys[RACE_KEYS][16];

struct race_spawn {
    struct store_page page;
    struct bytes key;
    struct store_spawned spawned;
    struct store_place runs[20];
};
static _Thread_local struct race_spawn spawning;
static _Thread_local struct store_claim claiming;
static _Thread_local struct store_settled settling[100];
static _Thread_local size_t n_settling, ignored;

static long key_number(struct bytes key) {
    char text[16];
    snprintf(text, sizeof text, "%.*s", (int)key.n, key.p);
    return strtol(text + 4, NULL, 10);
}

static int race_spawn(struct racer *racer, struct err *why) {
    return store_spawn(racer->host.store, &spawning.page, &spawning.spawned, why);
}

static int has_key(void *arg, const struct store_run_info *run) {
    return bytes_equal(run->child_key, *(const struct bytes *)arg) ? 0 : -EPROTO;
}

/* Each item has a run with its key, be it another host's; of all items the last is looked up. */
static void check_told(struct racer *racer) {
    uint32_t created = 0;
    for (size_t i = 0; i < spawning.page.n; i++) {
        created += spawning.runs[i].created;
        if (spawning.runs[i].page == 0 || (spawning.runs[i].created && spawning.runs[i].page != spawning.spawned.page))
            racer->trouble = "an item is not told its run";
    }
    if (created != spawning.spawned.created)
        racer->trouble = "more or fewer are told to be created than were";
    struct err why = {0};
    const struct store_place *last = &spawning.runs[spawning.page.n - 1];
    struct bytes key = spawning.page.items[spawning.page.n - 1].child_key;
    int r = store_run_get(racer->host.store, last->page, last->index, has_key, &key, &why);
    if (r < 0 && r != STORE_ERR_LOST) {
        racer->trouble = "the run that was told is not there, or has another key";
        fprintf(stderr, "%d %s\n", r, why.text);
    }
}

static int race_settle(struct racer *racer, struct err *why) {
    return store_settle(racer->host.store, racer->host.worker, settling, n_settling, &ignored, why);
}

static void make_up_spawn(struct racer *racer) {
    size_t from = rng_below(&racer->rng, RACE_KEYS - 20);
    spawning.key = rng_below(&racer->rng, 2) ? BYTES("g") : BYTES("h");
    spawning.page = (struct store_page){.workflow = racer->host.workflow,
                                        .keys = &spawning.key,
                                        .n_keys = 1,
                                        .items = race_items + from,
                                        .n = 1 + rng_below(&racer->rng, 20),
                                        .ret_runs = spawning.runs};
}

static void note_spawned(struct racer *racer) {
    race.spawned += spawning.spawned.created;
    check_told(racer);
}

/* Alone, or right after a spawn, which it may get runs of. */
static int race_claim(struct racer *racer, struct err *why) {
    struct host *host = &racer->host;
    store_claimed_free(&host->claimed);
    int r = spawning.page.n ? race_spawn(racer, why) : 0;
    return r == 0 ? store_claim(host->store, &claiming, &host->claimed, why) : r;
}

static void race_run(struct racer *racer, bool spawns) {
    struct host *host = &racer->host;
    claiming = (struct store_claim){.worker = host->worker,
                                    .new_lanes = 1 + (uint32_t)rng_below(&racer->rng, 2),
                                    .new_runs = 1 + (uint32_t)rng_below(&racer->rng, 9),
                                    .new_tokens = 1 + (uint32_t)rng_below(&racer->rng, 5),
                                    .workflows = &host->workflow,
                                    .n_workflows = 1};
    if (spawns)
        make_up_spawn(racer);
    else
        spawning.page.n = 0;
    if (in_batch(racer, race_claim) < 0)
        return;
    if (spawns)
        note_spawned(racer);
    n_settling = 0;
    /* As an engine: of each lane no more at once than it has tokens. */
    for (size_t i = 0; i < host->claimed.n; i++) {
        const struct store_lease *lease = &host->claimed.leases[i];
        int group = lease->group.p[0] == 'g';
        if (atomic_fetch_add(&race.running[group], (int)lease->tokens) + (int)lease->tokens > RACE_MAX)
            racer->trouble = "more tokens than the limit";
        for (size_t j = 0; j < lease->n; j++) {
            long key = key_number(lease->runs[j].child_key);
            if (atomic_fetch_add(&race.key_running[key], 1) > 0)
                racer->trouble = "a key runs twice";
            settling[n_settling++] = (struct store_settled){
                .lease = lease->id,
                .index = lease->runs[j].index,
                .attempts = 1,
                .attempt = 1,
                .outcome = rng_below(&racer->rng, 8)   ? STORE_DONE
                           : rng_below(&racer->rng, 2) ? STORE_RETRY
                                                       : STORE_RELEASED,
                .child_key = lease->runs[j].child_key,
            };
        }
        if (i + 1 < host->claimed.n && host->claimed.leases[i + 1].lane == lease->lane)
            race.running[group] -= (int)lease->tokens; /* the same tokens */
    }
    for (size_t i = 0; i < n_settling; i++)
        atomic_fetch_sub(&race.key_running[key_number(settling[i].child_key)], 1);
    for (size_t i = 0; i < host->claimed.n; i++)
        if (i + 1 == host->claimed.n || host->claimed.leases[i + 1].lane != host->claimed.leases[i].lane)
            race.running[host->claimed.leases[i].group.p[0] == 'g'] -= (int)host->claimed.leases[i].tokens;
    if (n_settling && in_batch(racer, race_settle) == 0) {
        if (ignored)
            racer->trouble = "a settlement was ignored";
        for (size_t i = 0; i < n_settling; i++)
            race.done += settling[i].outcome == STORE_DONE;
    }
    store_claimed_free(&host->claimed);
}

static void *race_thread(void *arg) {
    struct racer *racer = arg;
    while (!race.over && !racer->trouble) {
        uint64_t what = rng_below(&racer->rng, 6);
        if (what > 1) {
            race_run(racer, what == 2);
            continue;
        }
        make_up_spawn(racer);
        if (in_batch(racer, race_spawn) == 0)
            note_spawned(racer);
    }
    return NULL;
}

static void run_race(int64_t us, int crashes, bool optimistic) {
    struct racer racers[RACE_HOSTS] = {0};
    memset(&race, 0, sizeof race);
    for (int i = 0; i < RACE_KEYS; i++)
        race_items[i].child_key =
            bytes_of(race_keys[i], (size_t)snprintf(race_keys[i], sizeof race_keys[i], "key-%05d", i));
    for (int i = 0; i < RACE_HOSTS; i++) {
        host_open(&racers[i].host, &server, POSTGRES_SOCKET, &(struct store_options){.repeats = optimistic}, RACE_MAX);
        racers[i].optimistic = optimistic;
        rng_seed(&racers[i].rng, (uint64_t)i + 1);
    }
    for (int i = 0; i < RACE_HOSTS; i++)
        assert_int_equal(pthread_create(&racers[i].thread, NULL, race_thread, &racers[i]), 0);
    for (int i = 0; i <= crashes; i++) {
        pause_us(us);
        if (i == crashes)
            break;
        postgres_server_crash(&server);
        postgres_server_again(&server);
    }
    race.over = true;
    for (int i = 0; i < RACE_HOSTS; i++)
        pthread_join(racers[i].thread, NULL);
    for (int i = 0; i < RACE_HOSTS; i++)
        if (racers[i].trouble)
            fail_msg("%s", racers[i].trouble);
    struct host *host = &racers[0].host;
    while (host_claim(host, 50) > 0) { /* what is left */
        for (size_t i = 0; i < host->claimed.n; i++)
            race.done += (int)host->claimed.leases[i].n;
        assert_int_equal(host_settle(host, STORE_DONE), 0);
    }
    host_check(host);
    host_check(&racers[1].host);
    printf("race: %llu spawned, %llu batches lost, %llu decided from what was known, %llu repeated\n",
           (unsigned long long)race.spawned, (unsigned long long)race.lost, (unsigned long long)race.known,
           (unsigned long long)race.again);
    assert_true(race.spawned > 100);
    assert_int_equal(race.done, race.spawned);
    assert_int_equal(postgres_server_number(&server, "SELECT sum(done) FROM fleet.lane"), race.done);
    if (crashes)
        assert_true(race.lost > 0);
    if (optimistic)
        assert_true(race.again > 0 && race.known > 0);
    for (int i = 0; i < RACE_HOSTS; i++)
        host_close(&racers[i].host);
}

static void hosts_race(void **state) {
    (void)state;
    run_race(3 * US_PER_S, 0, false);
}

static void hosts_race_on_what_they_know(void **state) {
    (void)state;
    run_race(3 * US_PER_S, 0, true);
}

static void the_server_crashes_under_load(void **state) {
    (void)state;
    run_race(US_PER_S, 4, false);
}

static void the_server_crashes_under_what_they_know(void **state) {
    (void)state;
    run_race(US_PER_S, 2, true);
}

#define TEST(function_) cmocka_unit_test_setup(function_, fresh)

int main(void) {
    static const struct CMUnitTest tests[] = {
        TEST(hosts_race),
        TEST(hosts_race_on_what_they_know),
        TEST(the_server_crashes_under_load),
        TEST(the_server_crashes_under_what_they_know),
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
