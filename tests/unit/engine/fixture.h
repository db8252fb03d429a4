/* fixture.h - an engine on a store in a temporary folder (or elsewhere: fixture_place.h), driven by the test: a clock
 * that can be moved, task functions that do as they are told, and a record of all that happened. */
#pragma once

#include "engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>

#define US_PER_DAY (24 * US_PER_HOUR)
#define T0_UTC_US INT64_C(1767258000000000) /* 2026-01-01T09:00:00Z */

/* The system's clock, shifted. */
struct moved_clock {
    _Atomic int64_t utc_us, mono_us;
    struct clock clock;
};

struct ran { /* one call of the task function */
    char workflow[32], group[80], key[80], run_id[32], checkpoint[40], generation[40];
    uint32_t attempt;
    int64_t utc_us;
    bool cancelled;
};

struct told { /* one event */
    froe_event_kind kind;
    froe_level level;
    char workflow[32], group[80], run_id[32], key[80], text[200];
    uint32_t attempt;
    uint64_t count;
    int64_t delay_us, utc_us;
    int code;
};

struct fixture;
/* What a task function does; NULL: hold the task until the test ends it. */
typedef void behaviour(struct fixture *fx, froe_task *task);

struct fixture {
    char dir[64], uri[256];
    uv_loop_t loop;
    uv_timer_t guard, linger;
    bool lingered;
    froe *froe;
    struct moved_clock clock;
    struct store *store; /* given to the engine instead of the file; see failing.h */
    froe_options options;
    struct store_caps caps; /* the same as options.max_runs_of, for a store that the fixture opens */
    behaviour *run, *cancel;
    froe_task *held[20000];
    size_t n_held;
    struct ran *ran;
    size_t n_ran, ran_cap;
    struct told told[4000];
    size_t n_told;
    froe_spawned spawned; /* summed */
    froe_run_id runs[64]; /* of the last spawn, as far as they fit */
    size_t spawns_done, spawns_failed;
    size_t done_calls;
    uint64_t count;
    froe_error error;
    bool stopped, closed, timed_out;
    size_t running, most_running;
};

void fixture_init(struct fixture *fx); /* the folder and the options; nothing is opened */
int fixture_try_open(struct fixture *fx);
void fixture_open(struct fixture *fx);
void fixture_close(struct fixture *fx); /* stops now, closes, closes the loop; the folder stays */
void fixture_remove(struct fixture *fx);
int fixture_setup(void **state);    /* init and open */
int fixture_teardown(void **state); /* close if open, and remove */
int fixture_setup_closed(void **state);

void fixture_move(struct fixture *fx, int64_t us); /* both clocks go on by so much */

/* Runs the loop until `met`, or fails the test after some seconds. */
#define UNTIL(fx, met)                                     \
    do {                                                   \
        fixture_guard(fx);                                 \
        while (!(met)) {                                   \
            uv_run(&(fx)->loop, UV_RUN_ONCE);              \
            if ((fx)->timed_out && !(met))                 \
                fail_msg("not within the time: %s", #met); \
        }                                                  \
    } while (0)
void fixture_guard(struct fixture *fx);
void fixture_linger(struct fixture *fx, int64_t real_us); /* runs the loop for so long */

/* Adds a workflow whose task function is fx->run. `given` may be NULL, or has the fields to take over. */
void fixture_workflow(struct fixture *fx, const char *name, const froe_rule *rules, size_t n_rules,
                      const froe_workflow *given);
void fixture_start(struct fixture *fx);
void fixture_stop(struct fixture *fx, froe_stop_mode mode); /* and waits */
void fixture_spawn_keys(struct fixture *fx, const char *workflow, const char *input, const char *prefix, size_t from,
                        size_t n); /* child keys prefix00000 ...; waits until it is durable */
void fixture_spawn(struct fixture *fx, const froe_spawn *spawn);
void fixture_spawned(void *arg, const froe_spawned *spawned, const froe_error *error);
void fixture_counted(void *arg, uint64_t count, const froe_error *error);
froe_group fixture_group(struct fixture *fx, const char *workflow, const char *group);
size_t fixture_told(const struct fixture *fx, froe_event_kind kind); /* how many */
const struct told *fixture_last(const struct fixture *fx, froe_event_kind kind);
froe_task *fixture_release(struct fixture *fx, size_t i); /* takes a held task out */
size_t fixture_ran_in(const struct fixture *fx, const char *group);

void fixture_run(froe_task *task, void *arg); /* the task function: notes the call, then does fx->run */
void run_succeed(struct fixture *fx, froe_task *task);
void run_fail(struct fixture *fx, froe_task *task);
void run_fail_final(struct fixture *fx, froe_task *task);
