/* What a rule lets a fleet run is shared by its workers: one does not keep it while others have free slots. */
#include "engine.h"
#include "postgres_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOSTS 3
#define CAP 12
#define SLOW_US (300 * US_PER_MS)
#define GUARD_US (240 * US_PER_S)

static struct postgres_server server;

struct fleet;

struct held {
    froe_task *task;
    int64_t until_mono_us;
};

struct host {
    struct fleet *fleet;
    froe *froe;
    struct held held[CAP];
    size_t n_held;
    bool stopped, closed;
};

struct fleet {
    uv_loop_t loop;
    uv_timer_t timer;
    char uri[256];
    struct host hosts[HOSTS];
    size_t n_ended;
    bool too_many;
    char failure[256];
};

static size_t running(const struct fleet *fleet) {
    size_t n = 0;
    for (size_t i = 0; i < HOSTS; i++)
        n += fleet->hosts[i].n_held;
    return n;
}

static void on_event(void *arg, const froe_event *event) {
    struct fleet *fleet = arg;
    if (event->kind == FROE_EVENT_STORE_FAILED || event->kind == FROE_EVENT_LEASE_LOST)
        snprintf(fleet->failure, sizeof fleet->failure, "%s", event->text);
}

static void run(froe_task *task, void *arg) {
    struct host *host = arg;
    struct fleet *fleet = host->fleet;
    if (strstr(froe_task_input(task), "quick")) {
        fleet->n_ended++;
        froe_task_succeed(task);
        return;
    }
    fleet->too_many = fleet->too_many || running(fleet) >= CAP;
    host->held[host->n_held++] = (struct held){task, clock_mono_us(&clock_system) + SLOW_US};
}

static void on_timer(uv_timer_t *timer) {
    struct fleet *fleet = timer->data;
    int64_t now = clock_mono_us(&clock_system);
    for (size_t i = 0; i < HOSTS; i++) {
        struct host *host = &fleet->hosts[i];
        while (host->n_held > 0 && host->held[0].until_mono_us <= now) {
            froe_task *task = host->held[0].task;
            memmove(&host->held[0], &host->held[1], --host->n_held * sizeof host->held[0]);
            fleet->n_ended++;
            froe_task_succeed(task);
        }
    }
}

static void turn(struct fleet *fleet, int64_t until) {
    uv_run(&fleet->loop, UV_RUN_ONCE);
    if (fleet->failure[0])
        fail_msg("%s", fleet->failure);
    assert_false(fleet->too_many);
    if (clock_mono_us(&clock_system) > until)
        fail_msg("not within the time; %zu ended", fleet->n_ended);
}

static void host_open(struct fleet *fleet, struct host *host, const char *name) {
    *host = (struct host){.fleet = fleet};
    const froe_options options = {.size = sizeof options,
                                  .store = fleet->uri,
                                  .loop = &fleet->loop,
                                  .slots = CAP,
                                  .lease_us = 9 * US_PER_S,
                                  .event = on_event,
                                  .event_arg = fleet};
    static const froe_rule rule = {"'bucket'", CAP, FROE_GROUP_ROUND_ROBIN, 0};
    const froe_workflow workflow = {
        .size = sizeof workflow, .name = name, .run = run, .arg = host, .rules = &rule, .n_rules = 1};
    froe_error error;
    if (engine_open(&options, &(struct engine_seams){0}, &host->froe, &error) != FROE_OK ||
        froe_workflow_add(host->froe, &workflow, &error) != FROE_OK || froe_start(host->froe, &error) != FROE_OK)
        fail_msg("%s", error.text);
    int64_t until = clock_mono_us(&clock_system) + GUARD_US;
    while (host->froe->state != WORKER_RUNNING)
        turn(fleet, until);
}

static void on_true(void *arg) {
    *(bool *)arg = true;
}

static void host_close(struct fleet *fleet, struct host *host) {
    int64_t until = clock_mono_us(&clock_system) + GUARD_US;
    froe_stop(host->froe, FROE_STOP_NOW, on_true, &host->stopped);
    while (!host->stopped)
        turn(fleet, until);
    froe_close(host->froe, on_true, &host->closed);
    while (!host->closed)
        turn(fleet, until);
}

static void spawn(struct fleet *fleet, const char *input, size_t n) {
    froe_item items[1000] = {0};
    const froe_spawn given = {.size = sizeof given, .workflow = "w", .input = input, .items = items, .n = n};
    assert_int_equal(froe_spawn_many(fleet->hosts[0].froe, &given, NULL, NULL, NULL), FROE_OK);
}

static struct fleet *setup(const char *schema) {
    struct fleet *fleet = calloc(1, sizeof *fleet);
    assert_non_null(fleet);
    postgres_server_uri(&server, POSTGRES_SOCKET, 0, schema, fleet->uri, sizeof fleet->uri);
    uv_loop_init(&fleet->loop);
    uv_timer_init(&fleet->loop, &fleet->timer);
    fleet->timer.data = fleet;
    uv_timer_start(&fleet->timer, on_timer, 5, 5);
    return fleet;
}

static void teardown(struct fleet *fleet) {
    for (size_t i = 0; i < HOSTS; i++)
        if (fleet->hosts[i].froe)
            host_close(fleet, &fleet->hosts[i]);
    uv_close((uv_handle_t *)&fleet->timer, NULL);
    uv_run(&fleet->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&fleet->loop), 0);
    free(fleet);
}

static uint32_t tokens(const struct host *host) {
    uint32_t n = 0;
    LIST_EACH (link, &host->froe->lanes)
        n += LIST_ENTRY(link, struct lane, in_lanes)->tokens;
    return n;
}

/* Does each have a part of what the rule gives, and uses it? Counted are tokens: how many tasks run at a moment depends
 * on how long the server takes to answer, too. */
static bool is_shared(struct fleet *fleet, bool ran[HOSTS]) {
    uint32_t all = 0;
    bool shared = true;
    for (size_t i = 0; i < HOSTS; i++) {
        uint32_t has = tokens(&fleet->hosts[i]);
        all += has;
        ran[i] = ran[i] || fleet->hosts[i].n_held > 0;
        shared = shared && has > 0 && has <= CAP * 2 / 3 && ran[i];
    }
    return shared && all >= CAP - 1;
}

/* Whoever comes first has all of it, quick ones and slow ones; then the others get their part. */
static void test_a_share_for_each(void **state) {
    struct fleet *fleet = setup("shares");
    for (size_t i = 0; i < HOSTS; i++)
        host_open(fleet, &fleet->hosts[i], "w");
    spawn(fleet, "{\"a\":\"quick\"}", 300);
    spawn(fleet, "{\"a\":\"slow\"}", 1000);
    int64_t until = clock_mono_us(&clock_system) + GUARD_US;
    bool ran[HOSTS] = {false};
    while (!is_shared(fleet, ran)) {
        turn(fleet, until);
        if (fleet->n_ended > 1000) { /* there must be enough to do for all */
            spawn(fleet, "{\"a\":\"slow\"}", 1000);
            fleet->n_ended = 0;
        }
    }
    teardown(fleet);
}

/* Others that have free slots, but nothing to do with this, cost no more than one place now and then. */
static void test_what_nobody_wants_stays_in_use(void **state) {
    struct fleet *fleet = setup("wanted");
    host_open(fleet, &fleet->hosts[0], "w");
    host_open(fleet, &fleet->hosts[1], "other");
    spawn(fleet, "{\"a\":\"slow\"}", 1000);
    int64_t until = clock_mono_us(&clock_system) + GUARD_US;
    const struct host *host = &fleet->hosts[0];
    while (tokens(host) < CAP)
        turn(fleet, until);
    size_t offered = 0;
    bool offers = false;
    while (offered < 2 || tokens(host) < CAP) { /* and comes back */
        turn(fleet, until);
        bool now = tokens(host) < CAP;
        offered += now && !offers;
        offers = now;
        assert_true(tokens(host) >= CAP - 1);
    }
    teardown(fleet);
}

int main(void) {
    if (postgres_server_missing()) {
        printf("skipped: there is no %s here\n", postgres_server_missing());
        return 77;
    }
    postgres_server_start(&server);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_share_for_each),
                                       cmocka_unit_test(test_what_nobody_wants_stays_in_use)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    postgres_server_stop(&server);
    return failed;
}
