/* pool_crew.h - the workers that a pool has: started when one is needed, ever more slowly when they die at once,
 * replaced when they are worn out.
 *
 * It knows nothing of jobs. Thread: the loop's. */
#pragma once

#include "pool_worker.h"

struct pool_crew {
    /* Set by the holder before anything else. */
    struct pool_worker_kind kind;
    uint32_t max_workers, recycle_objects;
    int64_t recycle_bytes;
    void (*again)(void *arg); /* a worker may be started now, where none could before */
    void *arg;                /* the workers' too */

    /* pool_crew.c's; to be read. */
    uv_timer_t restart;
    struct list all, idle; /* the last used is idle's first */
    size_t n_workers;
    unsigned deaths;        /* of workers before their first answer, since the last answer of any */
    uint64_t not_before_ms; /* no worker is started earlier; by uv_now */
    bool lost;              /* the spawner is dead */
};

/* Both lists, without workers. */
void pool_crew_init(struct pool_crew *crew);
/* Once kind.loop is known. Who has begun closes `restart`, when no worker is left. */
void pool_crew_begin(struct pool_crew *crew);

/* One without a request: its holder's now. NULL with 0 in *ret_error: there is none at present; when it is time to ask
 * again `again` says so, or the end or the answer of one that there is. NULL with an error of pool_worker_new: none can
 * be started, and there are none. */
struct pool_worker *pool_crew_take(struct pool_crew *crew, int *ret_error);
/* It was not given a request after all. */
void pool_crew_put_back(struct pool_crew *crew, struct pool_worker *worker);
/* It has answered: for the next one to take, unless it is worn out or ending. */
void pool_crew_answered(struct pool_crew *crew, struct pool_worker *worker);
/* From pool_worker_kind's `ended`: it is none of them any more. */
void pool_crew_ended(struct pool_crew *crew, struct pool_worker *worker, const struct pool_worker_exit *exit);
void pool_crew_retire(struct pool_crew *crew); /* those that have no request, and none is left that has */
