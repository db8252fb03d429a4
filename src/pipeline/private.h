/* private.h - what the pipeline's files share. */
#pragma once

#include "cleanup.h"
#include "list.h"
#include "map.h"
#include "mem.h"
#include "pipeline.h"
#include "rng.h"

/* Slows one bucket when S3 says so: halves how many of its objects run at once and pauses it, then lets it grow again
 * by one per round of successes (additive increase, multiplicative decrease). */
struct throttle {
    uint32_t limit;      /* UINT32_MAX: none */
    uint32_t successes;  /* since the limit last moved */
    uint32_t hits;       /* in a row, for the length of the pause */
    int64_t hit_mono_us; /* the last one that counted */
    int64_t pause_until_mono_us;
};

struct bucket {
    struct pipeline *pipeline;
    struct pipeline_bucket stats; /* name and cursor are views into the two below */
    char *name;
    struct buf cursor;
    struct throttle throttle;
    uint64_t late_skipped[SKIP_KINDS]; /* of stats.skipped: when they were read, since the pass began */
    uint64_t late_unnoted[SKIP_KINDS]; /* of these: not remembered in the store yet */
    bool late_noting;                  /* fleet: they are being added to what it remembers */
    uint32_t running;                  /* process_object tasks */
    bool lister_spawned;    /* a fetch_s3_objects is queued or runs, as far as this process knows; fleet: runs here */
    bool listing_failed;    /* the last fetch_s3_objects gave up */
    bool listing_denied;    /* likewise, for lack of permission */
    bool restart;           /* --once: listing starts at the first key, whatever cursor an earlier process saved. In a
                               fleet, where any host may go on with a listing, its run remembers that it has begun */
    uint32_t list_failures; /* --once: in a row */
    int64_t count_due_mono_us; /* of a bucket that no rule can want anything of: not listed before */
    bool uncounted;            /* likewise: its last listing failed, which was said */
};

/* Does the server honour If-Match on DELETE? Asked once per server, before the first delete that needs it. */
struct guard {
    enum { PROBE_NEEDED, PROBE_RUNNING, PROBE_GUARDED, PROBE_UNGUARDED, PROBE_REFUSES_CONDITION } state;
    struct bucket *bucket; /* RUNNING: where it is asked */
    struct list waiting;   /* object tasks that wait for the answer */
};

struct pipeline {
    struct pipeline_options options;
    uv_loop_t *loop;
    char *prefix, *cron;
    int64_t timeout_us; /* of the workflow process_object */
    struct map buckets; /* name -> struct bucket */
    struct rng rng;
    struct guard guard;
    struct list free_objects;      /* object tasks to reuse */
    uv_timer_t timer;              /* looks whether all is drained, and whether a bucket may be listed further */
    uint64_t unwanted_buckets;     /* of the last pass: those that no rule can want anything of */
    bool buckets_listed;           /* a fetch_s3_buckets has come to its end */
    uint32_t bucket_list_failures; /* --once: in a row */
    enum { PASS_NONE, PASS_ASKED, PASS_SPAWNED } pass; /* --once in a fleet: its own fetch_s3_buckets */
    bool looking;                                      /* likewise: the store was asked what is live */
    int64_t looked_mono_us;
    uint64_t live;    /* so far as it has answered */
    bool left_alone;  /* it was said that queued objects are not this drain's */
    bool s3_worked;   /* some call was answered */
    bool unreachable; /* the last call was not, and none since the time below */
    int64_t unreachable_mono_us;
    enum {
        RECORDS_MAYBE,
        RECORDS_NONE,
        RECORDS_SOME
    } records; /* of what is kept, in the store; the first: not asked */
    bool ended;
    void (*closed)(void *arg);
    void *closed_arg;
};

static inline int64_t pipeline_mono_us(const struct pipeline *pipeline) {
    return clock_mono_us(pipeline->options.clock);
}

/* Notes how a call ended, for "can S3 be reached at all?" and for throttling. `bucket` may be NULL. */
void pipeline_note(struct pipeline *pipeline, struct bucket *bucket, const struct s3_result *result);
/* In a fleet a lister that has to wait for room stays live and comes again after so long, on whichever host. */
#define LIST_AGAIN_US US_PER_S
/* --once: tries of a listing that the server fails before it is given up. */
#define LIST_FAILURES_MAX 5
/* Keys are counted where no rule can want any of them, too, but not at each tick: a large bucket's listing has its
 * price. */
#define COUNT_EVERY_US (3600 * US_PER_S)
/* A listing has stopped before its end: goes on with it when there is room. */
void pipeline_watch(struct pipeline *pipeline);
/* Tells the owner that the pipeline cannot or need not go on; the first call counts. */
void pipeline_end(struct pipeline *pipeline, enum pipeline_end end, const char *text);

/* An earlier froe may have queued, in the same store, what this one's prefix, globs or rules leave out. `key` NULL: the
 * bucket's listing, for which the prefix alone counts. Says so, once, when it is not to be touched. */
bool pipeline_wants(struct pipeline *pipeline, struct bytes bucket, const struct bytes *key);

/* An object is begun under the plan, and ends. */
void plan_begin(struct pipeline_plan *plan);
void plan_end(struct pipeline *pipeline, struct pipeline_plan *plan);
/* By the object's headers: the way, or why it is left alone. -EINVAL: a rule's expression failed; -ENOMEM. */
int plan_choose(const struct pipeline *pipeline, const struct pipeline_plan *plan, const struct bucket *bucket,
                struct bytes key, const struct s3_object_info *info, struct pipeline_way *ret_way,
                enum pipeline_skip *ret_skip, struct err *err);

/* The bucket's record, made when it is new; NULL when memory is out. */
struct bucket *bucket_get(struct pipeline *pipeline, struct bytes name);
int bucket_set_cursor(struct bucket *bucket, struct bytes cursor);
/* Set and remembered in the store, for `froe status` when nothing runs. */
void bucket_set_skipped(struct bucket *bucket, const uint64_t listed[SKIP_KINDS]); /* so far in the pass */
void bucket_skip_late(struct bucket *bucket, enum pipeline_skip skip);
void bucket_note_listing(struct bucket *bucket); /* stats.listing and stats.skipped, as they are */
void bucket_note_late(struct bucket *bucket);    /* those of the late ones that are not there yet */
void bucket_set_guard(struct bucket *bucket, enum pipeline_guard guard);
/* Spawns fetch_s3_objects for a bucket whose listing stopped at the look-ahead, when its backlog is low again. Nothing
 * in a fleet, where the lister itself comes again. */
void bucket_refill(struct bucket *bucket);
void bucket_free(struct bucket *bucket);

void throttle_init(struct throttle *throttle);
void throttle_hit(struct bucket *bucket, int64_t took_us); /* how long ago the call began that was throttled */
void throttle_success(struct bucket *bucket);
/* How long a run should wait that failed for S3's sake, not its own. */
int64_t throttle_delay_us(struct bucket *bucket);

/* The task functions of the three workflows; `arg` is the pipeline. */
void fetch_buckets_run(froe_task *task, void *arg);
void fetch_buckets_cancel(froe_task *task, void *arg);
void fetch_objects_run(froe_task *task, void *arg);
void fetch_objects_cancel(froe_task *task, void *arg);
void process_object_run(froe_task *task, void *arg);
void process_object_cancel(froe_task *task, void *arg);
void process_object_free_all(struct pipeline *pipeline);

/* What of an object was read, and must be what is deleted. */
struct read_state {
    struct bytes etag, version_id;
};
/* Does it name one state of the object, so that a delete can name it too? */
bool read_state_is_exact(const struct read_state *read);
/* Does it do so by a version id of its own? */
bool read_state_is_version(const struct read_state *read);

/* How a guarded delete ended. */
enum deleted {
    DELETED,            /* or found gone */
    DELETE_OVERWRITTEN, /* something else is there now: it was left alone */
    DELETE_LATER,       /* throttled, unreachable, no valid keys: not the object's fault */
    DELETE_FAILED,      /* denied, or the server failed on it: counts as a failed attempt */
    DELETE_CANCELLED,
};
struct guarded_delete {
    struct pipeline *pipeline;
    struct bucket *bucket;
    froe_task *task; /* asked right before the delete whether it still holds its lease */
    struct bytes key;
    struct read_state read;
    struct s3_call *call; /* NULL: none under way */
    struct list waiting;  /* in guard.waiting */
    bool cancelled;
    void (*done)(struct guarded_delete *deletion, enum deleted deleted, const char *text);
};
/* Deletes what `read` names and nothing else; it must be exact. Fill pipeline, bucket, task, key, read and done; all
 * must live until done, which never comes from inside this call. On a negative code nothing was started and done does
 * not come: -ENOMEM, or -ECANCELED when the lease on the run is not certain any more. */
int guarded_delete_start(struct guarded_delete *deletion);
void guarded_delete_cancel(
    struct guarded_delete *deletion); /* ends it soon, with DELETE_CANCELLED or what came first */

/* then.c: what is to be done with the object as a text; appends. -EINVAL: it has no place to be moved to, with a text;
 * -ENOMEM. */
int then_resolve(const struct pipeline_then *then, const struct key_object *object, struct buf *how, struct err *err);
const char *then_failure(struct bytes how); /* "processed, but not moved" */
/* Does it to what `read` names, which must be exact, and to nothing else. Fill pipeline ... done; all must live until
 * done, which may come from inside the start. Ends are those of a guarded delete: DELETED when all was done, or the
 * object is gone. */
struct aftermath {
    struct pipeline *pipeline;
    struct bucket *bucket;
    froe_task *task;
    struct bytes key;
    struct read_state read;
    uint64_t size;
    struct bytes how;
    void (*done)(struct aftermath *after, enum deleted ended, const char *text);

    struct guarded_delete deletion;
    struct s3_call *call; /* NULL: none under way, or the deletion's */
    bool deleting, cancelled;
    bool copied; /* of a move only the delete is left */
};
void aftermath_start(struct aftermath *after);
void aftermath_cancel(struct aftermath *after, bool lease_lost);

/* records.c: records of what was processed and stays. An empty ETag removes it. -ENOMEM. */
int records_put(struct pipeline *pipeline, struct bytes bucket, struct bytes key, struct bytes etag);
/* Asks whether the store has had records at all; until that is known they are taken to be there. */
void records_ask(struct pipeline *pipeline);
/* `got` comes later: data NULL when there is none. -ENOMEM. */
int records_get(struct pipeline *pipeline, struct bytes bucket, struct bytes key,
                void (*got)(void *arg, const void *data, size_t n, const froe_error *error), void *arg);
bool records_match(struct bytes record, struct bytes etag); /* is that the state that was kept? */
/* Leaves the items (of process_object runs of that bucket) that were not kept in their generation. may_be: of each, is
 * it to be asked for at all? Copies; `done` comes later with what is left, or NULL when the store failed. 1: there is
 * nothing to be asked, and done does not come; -ENOMEM: likewise. */
typedef void records_page_fn(void *arg, const froe_item *items, size_t n, size_t n_kept);
int records_filter_page(struct pipeline *pipeline, struct bytes bucket, const froe_item *items, const bool *may_be,
                        size_t n, records_page_fn *done, void *arg);

/* plan.c: could an object be kept, by what a listing tells? */
bool plan_may_keep(const struct pipeline_plan *plan, struct bytes bucket, const struct s3_object *object);
void plan_settle(struct pipeline_plan *plan); /* sets what follows from the rest */

/* results.c: of one object, from the handler to their outputs. */
struct results {
    struct output_source *source;
    struct handler_part parts[HANDLER_PARTS_MAX];
    struct spool bodies[HANDLER_PARTS_MAX];
    char *names[HANDLER_PARTS_MAX]; /* what name, content_type and extension of the parts point to */
    size_t n;
};
struct results *results_new(const struct output_source *source);              /* copied; NULL: no memory */
int results_take(struct results *results, const struct handler_result *from); /* moves the bodies; -ENOMEM */
void results_free(struct results *results);                                   /* NULL is fine */
