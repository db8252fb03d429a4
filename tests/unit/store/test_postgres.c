/* test_postgres.c - the conformance suite over the PostgreSQL store. The argument says how:
 *
 *     (none)    in a time of the suite's own, each call answered at once
 *     late      as the engine uses it: results come as late as store_commit may give them, and batches are decided
 *               from what is known where that will do
 *     waiting   by the server's clock
 *     pooler    through PgBouncer in transaction mode */
#include "conformance.h"
#include "conformance_steps.h"
#include "postgres_server.h"
#include "postgres_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

struct place_of_test {
    struct postgres_server server;
    char uri[256];
    bool late;
};

static struct store_ops eager_ops;
static const struct store_ops *lazy_ops;

/* Tests of what many runs, lines or bytes do: nothing of that is other by another clock or through a pooler. */
#define LARGE                                                                                        \
    "many_pages_many_runs", "the_newest_log_lines_are_kept", "the_oldest_go_when_they_are_too_many", \
        "many_parked_runs_are_changed_at_once", "a_full_page_of_long_values"
static const char *const large[] = {LARGE, NULL};
/* And those that look at results in the midst of a batch; random use knows better. */
static const char *const looking[] = {LARGE, "all_of_a_batch_sees_what_came_before", "a_reserved_id_is_the_pages",
                                      NULL};

/* What a call that queues has to do is done before it returns, as the tests look at results in the midst of batches. */
static int at_once(struct store *store, int r, struct err *err) {
    if (r == 0)
        r = pg_run_ops(pg_of(store), err);
    for (int i = 0; i < 2 && r == 0; i++) /* the first may take the lock, the second writes what was changed */
        r = pg_load(pg_of(store), err);
    return r;
}

static int eager_spawn(struct store *store, const struct store_page *page, struct store_spawned *ret_spawned,
                       struct err *err) {
    return at_once(store, lazy_ops->spawn(store, page, ret_spawned, err), err);
}

static int eager_log_add(struct store *store, int64_t page, uint32_t index, int level, struct bytes text,
                         struct err *err) {
    return at_once(store, lazy_ops->log_add(store, page, index, level, text, err), err);
}

static int eager_settle(struct store *store, int64_t worker, const struct store_settled *settled, size_t n,
                        size_t *ret_ignored, struct err *err) {
    return at_once(store, lazy_ops->settle(store, worker, settled, n, ret_ignored, err), err);
}

static void wipe(struct store_under_test *sut) {
    struct place_of_test *place = sut->arg;
    postgres_server_wipe(&place->server, "conformance");
}

static int open_store(struct store_under_test *sut, const struct store_options *options, struct store **ret_store,
                      struct err *err) {
    struct place_of_test *place = sut->arg;
    struct store_options how = *options;
    how.repeats = place->late;
    int r = store_open(place->uri, &how, ret_store, err);
    if (r < 0)
        return r;
    if (sut->own_clock)
        postgres_store_use_clock(*ret_store, options->clock);
    if (place->late)
        return 0;
    lazy_ops = (*ret_store)->ops;
    eager_ops = *lazy_ops;
    eager_ops.spawn = eager_spawn;
    eager_ops.settle = eager_settle;
    eager_ops.log_add = eager_log_add;
    (*ret_store)->ops = &eager_ops;
    return 0;
}

/* The server sees the connection end; nothing else is told. */
static void crash(struct store_under_test *sut, struct store *store) {
    (void)sut;
    struct postgres_store *inside = pg_of(store);
    if (inside->wire.pg)
        shutdown(PQsocket(inside->wire.pg), SHUT_RDWR);
    inside->in_batch = true; /* so that nothing is tidied up */
    store_close(store);
}

int main(int argc, char **argv) {
    static struct place_of_test place;
    const char *how = argc > 1 ? argv[1] : "";
    bool pooler = strcmp(how, "pooler") == 0;
    const char *missing = postgres_server_missing();
    if (!missing && pooler)
        missing = postgres_pooler_missing();
    if (missing) {
        printf("skipped: there is no %s here\n", missing);
        return 77;
    }
    postgres_server_start(&place.server);
    if (pooler)
        postgres_pooler_start(&place.server);
    postgres_server_uri(&place.server, pooler ? POSTGRES_POOLER : POSTGRES_SOCKET, 0, "conformance", place.uri,
                        sizeof place.uri);
    place.late = strcmp(how, "late") == 0;
    struct store_under_test sut = {
        .wipe = wipe, .open = open_store, .crash = crash, .own_clock = strcmp(how, "waiting") != 0, .arg = &place};
    if (*how) {
        sut.leave_out = place.late ? looking : large;
        sut.seeds = place.late ? 4 : 2;
        sut.late = place.late;
    }
    if (getenv("CONFORMANCE_TEST")) /* one alone, by its name */
        cmocka_set_test_filter(getenv("CONFORMANCE_TEST"));
    int failed = conformance_run(&sut);
    postgres_server_stop(&place.server);
    return failed;
}
