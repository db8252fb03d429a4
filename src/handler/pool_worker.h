/* pool_worker.h - one worker of a pool: its process, its descriptors, its answers, its end.
 *
 * It knows nothing of bodies and jobs: who holds it writes a request's bytes, and is told the answer or the end.
 * Thread: the loop's; callbacks come from the loop and never inside a call. */
#pragma once

#include "bytes.h"
#include "handler.h"
#include "list.h"
#include "pool_protocol.h"
#include "spawner.h"
#include "stderr_tail.h"

struct pool_worker;

struct pool_worker_exit {
    enum handler_end end; /* FAILED, or NOT_RUN when it is not the worker's doing */
    const char *text;     /* borrowed; as handler_result wants it */
    bool young;           /* it ended by itself and never gave an answer */
    bool unread;          /* it ended by itself, after answers, and has read nothing of its last request */
    bool lost;            /* the spawner died */
};

#define POOL_SCRATCH_BYTES (64 * 1024)

/* What all workers of a pool have in common. Borrowed for as long as there is a worker. */
struct pool_worker_kind {
    uv_loop_t *loop;
    struct spawner *spawner;
    const char *file;
    const char *const *argv, *const *envp;
    uint64_t kill_grace_ms;
    const struct handler_results *results; /* NULL: an answer with any is a fault */
    char *scratch;                         /* POOL_SCRATCH_BYTES, for what is read */
    const struct confined *confined;       /* NULL: nothing is taken from it */
    bool channel;                          /* bodies come to it as descriptors: pool_channel.h */
    uint64_t cpu_s;                        /* for each object; 0: no limit */
    /* It takes input again; asked for by pool_worker_want_room, once. */
    void (*room)(struct pool_worker *worker);
    /* The answer to its request, which is over now. All its results have come; who wants them moves them out. */
    void (*answered)(struct pool_worker *worker, const struct pool_answer *answer);
    /* Process and group are dead; the worker is gone after this. */
    void (*ended)(struct pool_worker *worker, const struct pool_worker_exit *exit);
};

struct pool_worker {
    /* The holder's. */
    struct list all, idle;
    void *arg, *job;

    /* pool_worker.c's; to be read. */
    const struct pool_worker_kind *kind;
    struct spawned *spawned; /* NULL: dead */
    uv_poll_t input_poll, output_poll, stderr_poll;
    uv_timer_t timer;
    int next_signal;
    int input_fd, output_fd, stderr_fd; /* -1: closed */
    int channel_fd;                     /* likewise; also where there is none */
    unsigned handles;                   /* not yet closed */
    bool busy;                          /* it has a request */
    bool ending;                        /* it gets no other */
    bool killed;                        /* by froe: its end is no fault of its own, and its words do not count */
    uint64_t id;
    uint64_t answers; /* how many it gave */
    size_t written;   /* of its request */
    struct buf line;
    bool receiving;            /* the results of its answer are coming */
    struct pool_answer answer; /* that one */
    struct stderr_tail tail;
    struct err fault;
};

/* -ENOMEM, -EAGAIN, -EMFILE ... (the machine cannot now), -E2BIG, -EPIPE (the spawner died). */
int pool_worker_new(const struct pool_worker_kind *kind, void *arg, struct pool_worker **ret_worker);

/* May it be given a request? Not when it has one, nor when it is ending. */
bool pool_worker_usable(const struct pool_worker *worker);
/* The body's descriptor (borrowed), before the request that it belongs to. 0 too when it does not receive any more:
 * then it does not read any more either, and will end. -EAGAIN, -EMFILE, -ENOMEM: it has not been sent. */
int pool_worker_send(struct pool_worker *worker, int fd);
/* Has it received what was sent to it? */
bool pool_worker_received(const struct pool_worker *worker);
/* From now on an answer with this id is expected. */
void pool_worker_begin(struct pool_worker *worker, uint64_t id);
/* Writes what it takes now, one after the other, and leaves the rest in them. False: it does not read any more, and
 * will end. */
bool pool_worker_write(struct pool_worker *worker, struct bytes data[2]);
void pool_worker_want_room(struct pool_worker *worker);

size_t pool_worker_unread(const struct pool_worker *worker);    /* bytes written to it that it has not read */
int64_t pool_worker_resident(const struct pool_worker *worker); /* bytes; 0 when that cannot be told */
/* Appends what it wrote to its stderr since its request began: the last of it, for a person. */
int pool_worker_add_said(struct pool_worker *worker, struct buf *text);

/* Ends one without a request: end of input, then SIGTERM, then SIGKILL, a grace apart. */
void pool_worker_retire(struct pool_worker *worker);
/* SIGTERM, and SIGKILL after the grace. Nothing that it says counts any more. */
void pool_worker_stop(struct pool_worker *worker);
/* SIGKILL, for a reason: what `ended` will tell. Of several the first counts. */
void pool_worker_fault(struct pool_worker *worker, enum handler_end end, const char *text);
