/* wait.h - what wait.c, wait_poll.c and wait_sync.c share. */
#pragma once

#include "asking.h"

typedef void waited_fn(void *arg, const froe_result *results, size_t n, const froe_error *error);

struct wait_call {
    froe *engine;
    froe_error *error;
    const froe_run_id *runs;
    size_t n;
    int64_t timeout_us;
    waited_fn *done;
    void *arg;
};

/* On the loop's thread. *ret_wait (may be NULL) is gone when `done` was called. */
int wait_begin(froe *engine, const struct wait_call *call, struct wait **ret_wait);
/* `done` comes inside the call, with FROE_ERR_STATE and what is known. */
void wait_give_up(froe *engine, struct wait *wait);

/* ---- wait_poll.c: one question to the store about many runs ---- */

#define POLL_RUNS 10000

struct polled {
    int64_t page;
    uint32_t index;
    froe_state state;
    size_t text_at; /* in the texts: the result, then the error; of runs that are over */
    size_t result_n, error_n;
};

struct poll_request {
    struct request request;
    struct polled *runs; /* sorted when it was executed: newest page first, highest index first */
    size_t n;
    struct buf texts;
    int64_t took_us;
};

struct poll_request *poll_make(void); /* room for POLL_RUNS; NULL: out of memory */
void poll_add(struct poll_request *poll, froe_run_id id);
void poll_free(struct poll_request *poll);
