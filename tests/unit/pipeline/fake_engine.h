/* fake_engine.h - include/froe.h without a store, for the pipeline's tests: runs live in a list, time is the test's.
 *
 * Kept as the real one keeps it: callbacks come in a later step, never from inside a call; a run counts as live until
 * one step after its end; a child key is live from spawn to settlement, parked included; `again` counts no attempt;
 * another generation starts the attempts anew and drops the checkpoint. */
#pragma once

#include "bytes.h"
#include "clock.h"
#include "list.h"

#include <froe.h>

enum fake_state { FAKE_QUEUED, FAKE_RUNNING, FAKE_ENDED, FAKE_PARKED };
enum fake_end { FAKE_NOT_ENDED, FAKE_SUCCEEDED, FAKE_FAILED, FAKE_FORGOTTEN, FAKE_AGAIN };

struct fake_workflow {
    froe_workflow def;
    uint64_t limit_calls;
};

struct froe_task { /* a run, and its attempt */
    struct list link;
    froe *engine;
    struct fake_workflow *workflow;
    struct buf child_key, generation, checkpoint, input, group, error;
    enum fake_state state;
    enum fake_end end; /* how the latest attempt ended */
    uint32_t attempt, starts;
    int64_t due_mono_us;
    int64_t more_us; /* of the last froe_task_refresh_timeout; 0: there was none */
    froe_cancel_reason cancelled;
    void *data;
    char run_id[FROE_RUN_ID_MAX];
};

struct fake_value {
    struct list link;
    struct buf name, data;
};

struct fake_limit {
    struct list link;
    struct buf group;
    uint32_t limit;
    int64_t until_mono_us;
    uint64_t calls;
};

struct froe {
    const struct clock *clock;
    struct fake_workflow workflows[4];
    size_t n_workflows;
    struct list runs, later, values, limits;
    uint64_t next_id;
    bool lost;             /* froe_task_holds_lease says no */
    bool refuse_workflows; /* froe_workflow_add fails */
    unsigned fail_spawns;  /* so many of the next spawns end with an error */
    unsigned refuse_calls; /* so many of the next calls of spawn, put and get return an error at once */
    struct buf trace;      /* "spawn WORKFLOW N CREATED" and "value NAME=DATA", a line each, when they became durable */
    uint64_t done, failed_attempts, parked, dropped;
};

void fake_engine_init(froe *engine, const struct clock *clock);
void fake_engine_free(froe *engine);
/* Confirms what ended, calls what waits to be called, starts what is due. True when anything happened. */
bool fake_engine_step(froe *engine);
/* The run of that workflow and child key (NULL: any) in that state; NULL when there is none. */
froe_task *fake_run(froe *engine, const char *workflow, const char *child_key, enum fake_state state);
size_t fake_count(const froe *engine, const char *workflow, enum fake_state state);
/* Sets the reason and calls the workflow's cancel function. */
void fake_cancel(froe_task *task, froe_cancel_reason reason);
/* Queues a parked run again, as froe_parked_retry does. */
void fake_retry(froe_task *task);
struct bytes fake_value(const froe *engine, const char *name);
