/* The cron of a fleet: several engines on one PostgreSQL, ten minutes of a clock that is moved, and each tick once.
 *
 * The engines' clocks differ by up to a second, each wanders and sometimes goes back a bit, and now and then an engine
 * ends and another comes in its place, as hosts do. */
#include "engine.h"
#include "postgres_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOSTS 4
#define SECONDS 600
#define T0_UTC_US INT64_C(1767258000000000) /* 2026-01-01T09:00:00Z */
#define SKEW_US (US_PER_S / 2)
#define GUARD_US (30 * US_PER_S)

struct host {
    froe *froe;
    struct clock clock;
    _Atomic int64_t utc_us; /* read by the store's thread, too */
    int64_t skew_us;
    bool stopped, closed;
};

struct fleet {
    uv_loop_t loop;
    char uri[1024];
    struct host hosts[HOSTS];
    struct rng rng;
    int64_t utc_us; /* the time that all clocks are about */
    unsigned seconds[SECONDS + 1], minutes[SECONDS / 60 + 1];
    size_t n_ran;
    unsigned by_host[HOSTS];
    char failure[512];
};

static int64_t host_utc_us(void *arg) {
    return atomic_load(&((struct host *)arg)->utc_us);
}

static int64_t host_mono_us(void *arg) {
    (void)arg;
    return clock_mono_us(&clock_system);
}

static void host_set(struct fleet *fleet, struct host *host) {
    atomic_store(&host->utc_us, fleet->utc_us + host->skew_us);
    if (host->froe)
        engine_clock_moved(host->froe);
}

static void on_event(void *arg, const froe_event *event) {
    struct fleet *fleet = arg;
    if (event->kind == FROE_EVENT_STORE_FAILED || event->kind == FROE_EVENT_LEASE_LOST || event->level == FROE_ERROR)
        snprintf(fleet->failure, sizeof fleet->failure, "%s", event->text);
}

/* "froe__scheduled":"2026-01-01T09:04:31Z" in the metadata: seconds since the beginning. */
static size_t scheduled(froe_task *task) {
    static const char name[] = "\"froe__scheduled\":\"2026-01-01T09:";
    const char *at = strstr(froe_task_metadata(task), name);
    unsigned minute = 99, second = 99;
    assert_non_null(at);
    assert_int_equal(sscanf(at + sizeof name - 1, "%2u:%2uZ", &minute, &second), 2);
    return (size_t)minute * 60 + second;
}

static void run(froe_task *task, void *arg) {
    struct fleet *fleet = arg;
    size_t at = scheduled(task);
    if (strcmp(froe_task_workflow(task), "second") == 0) {
        assert_true(at <= SECONDS);
        fleet->seconds[at]++;
    } else {
        assert_true(at % 60 == 0 && at <= SECONDS);
        fleet->minutes[at / 60]++;
    }
    for (size_t i = 0; i < HOSTS; i++)
        fleet->by_host[i] += fleet->hosts[i].froe == froe_task_engine(task);
    fleet->n_ran++;
    froe_task_succeed(task);
}

static void turn_until(struct fleet *fleet, bool (*met)(struct fleet *fleet)) {
    int64_t end = clock_mono_us(&clock_system) + GUARD_US;
    while (!met(fleet)) {
        uv_run(&fleet->loop, UV_RUN_NOWAIT);
        if (fleet->failure[0])
            fail_msg("%s", fleet->failure);
        if (clock_mono_us(&clock_system) > end)
            fail_msg("not within the time; %zu ran", fleet->n_ran);
    }
}

static bool all_run(struct fleet *fleet) {
    for (size_t i = 0; i < HOSTS; i++)
        if (fleet->hosts[i].froe && fleet->hosts[i].froe->state != WORKER_RUNNING)
            return false;
    return true;
}

/* Nobody owes a tick any more, and the store has taken all of them. */
static bool all_ticked(struct fleet *fleet) {
    for (size_t i = 0; i < HOSTS; i++) {
        const froe *engine = fleet->hosts[i].froe;
        for (size_t w = 0; w < engine->n_workflows; w++)
            if (engine->workflows[w]->next_tick_utc_us <= atomic_load(&fleet->hosts[i].utc_us))
                return false;
        if (engine->inflight > 0)
            return false;
    }
    return true;
}

static void host_open(struct fleet *fleet, struct host *host) {
    host->clock = (struct clock){.utc_us = host_utc_us, .mono_us = host_mono_us, .arg = host};
    host_set(fleet, host);
    const froe_options options = {.size = sizeof options,
                                  .store = fleet->uri,
                                  .loop = &fleet->loop,
                                  .slots = 4,
                                  .event = on_event,
                                  .event_arg = fleet};
    const struct engine_seams seams = {.clock = &host->clock};
    froe_error error;
    if (engine_open(&options, &seams, &host->froe, &error) != FROE_OK)
        fail_msg("%s", error.text);
    static const char *const names[] = {"second", "minute"}, *const crons[] = {"* * * * * *", "* * * * *"};
    for (size_t i = 0; i < 2; i++) {
        const froe_workflow workflow = {
            .size = sizeof workflow, .name = names[i], .cron = crons[i], .run = run, .arg = fleet};
        if (froe_workflow_add(host->froe, &workflow, &error) != FROE_OK)
            fail_msg("%s", error.text);
    }
    if (froe_start(host->froe, &error) != FROE_OK)
        fail_msg("%s", error.text);
    turn_until(fleet, all_run);
}

static void on_stopped(void *arg) {
    ((struct host *)arg)->stopped = true;
}

static void on_closed(void *arg) {
    ((struct host *)arg)->closed = true;
}

static void host_close(struct fleet *fleet, struct host *host) {
    host->stopped = host->closed = false;
    froe_stop(host->froe, FROE_STOP_FINISH, on_stopped, host);
    while (!host->stopped)
        uv_run(&fleet->loop, UV_RUN_ONCE);
    froe_close(host->froe, on_closed, host);
    while (!host->closed)
        uv_run(&fleet->loop, UV_RUN_ONCE);
    host->froe = NULL;
}

static bool all_ran(struct fleet *fleet) {
    return fleet->n_ran >= SECONDS + SECONDS / 60;
}

static struct postgres_server server;

static void test_each_tick_once(void **state) {
    (void)state;
    struct fleet *fleet = calloc(1, sizeof *fleet);
    assert_non_null(fleet);
    postgres_server_uri(&server, POSTGRES_SOCKET, 0, "froe", fleet->uri, sizeof fleet->uri);
    rng_seed(&fleet->rng, 11);
    uv_loop_init(&fleet->loop);
    fleet->utc_us = T0_UTC_US + US_PER_S / 2; /* the tick of the beginning is nobody's */
    for (size_t i = 0; i < HOSTS; i++)
        host_open(fleet, &fleet->hosts[i]);
    int64_t end_utc_us = T0_UTC_US + SECONDS * US_PER_S + US_PER_S / 2;
    size_t replaced = 0;
    while (fleet->utc_us < end_utc_us) {
        fleet->utc_us += (int64_t)rng_below(&fleet->rng, 400) * US_PER_MS;
        if (fleet->utc_us > end_utc_us)
            fleet->utc_us = end_utc_us;
        for (size_t i = 0; i < HOSTS; i++) {
            struct host *host = &fleet->hosts[i];
            host->skew_us += (int64_t)rng_below(&fleet->rng, 201) * US_PER_MS - 100 * US_PER_MS;
            if (host->skew_us > SKEW_US)
                host->skew_us = SKEW_US - 1;
            if (host->skew_us < -SKEW_US)
                host->skew_us = -SKEW_US;
            if (fleet->utc_us == end_utc_us)
                host->skew_us = 0;
            host_set(fleet, host);
        }
        turn_until(fleet, all_ticked);
        if (rng_below(&fleet->rng, 100) == 0) {
            struct host *host = &fleet->hosts[rng_below(&fleet->rng, HOSTS)];
            host_close(fleet, host);
            host_open(fleet, host);
            replaced++;
        }
    }
    turn_until(fleet, all_ticked);
    turn_until(fleet, all_ran);
    for (size_t i = 0; i < HOSTS; i++)
        host_close(fleet, &fleet->hosts[i]);
    uv_run(&fleet->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&fleet->loop), 0);
    for (size_t i = 1; i <= SECONDS; i++)
        if (fleet->seconds[i] != 1)
            fail_msg("the tick of second %zu made %u runs", i, fleet->seconds[i]);
    for (size_t i = 1; i <= SECONDS / 60; i++)
        if (fleet->minutes[i] != 1)
            fail_msg("the tick of minute %zu made %u runs", i, fleet->minutes[i]);
    assert_int_equal(fleet->seconds[0] + fleet->minutes[0], 0);
    print_message("%d + %d ticks, each once; hosts replaced: %zu; runs by host: %u %u %u %u\n", SECONDS, SECONDS / 60,
                  replaced, fleet->by_host[0], fleet->by_host[1], fleet->by_host[2], fleet->by_host[3]);
    assert_true(replaced > 0);
    free(fleet);
}

int main(void) {
    if (postgres_server_missing()) {
        printf("skipped: there is no %s here\n", postgres_server_missing());
        return 77;
    }
    postgres_server_start(&server);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_tick_once)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    postgres_server_stop(&server);
    return failed;
}
