/* pipeline.h - draining S3: three workflows on froe's public API.
 *
 *     fetch_s3_buckets   cron, singleton        pages through ListBuckets, spawns a fetch_s3_objects per bucket
 *     fetch_s3_objects   one per bucket, N at once   lists from the bucket's cursor while there is look-ahead, spawns a
 *                                               process_object per key, saves the cursor and ends
 *     process_object     capped per bucket      GET, verify, hand to the user's code, store its results, delete exactly
 *                                               what was read (or move, tag or keep it)
 *
 * Thread: the loop's. The pipeline logs what it does to the log it is given. */
#pragma once

#include "bytes.h"
#include "clock.h"
#include "err.h"
#include "handler.h"
#include "log.h"
#include "output.h"
#include "rules.h"
#include "s3.h"

#include <froe.h>

#define PIPELINE_FETCH_BUCKETS "fetch_s3_buckets"
#define PIPELINE_FETCH_OBJECTS "fetch_s3_objects"
#define PIPELINE_PROCESS_OBJECT "process_object"

#define PIPELINE_RETRIES_MAX 1000

struct pipeline;

/* Which objects of a listing are taken. */
struct pipeline_filter {
    int64_t min_age_us;         /* skip what was modified more recently */
    const char *const *include; /* globs on the key; none: all */
    size_t n_include;
    const char *const *exclude;
    size_t n_exclude;
};

enum pipeline_skip {
    SKIP_NOT,       /* it is taken */
    SKIP_MARKER,    /* zero bytes and the key ends in '/': a folder marker */
    SKIP_ARCHIVED,  /* GLACIER or DEEP_ARCHIVE without a restored copy */
    SKIP_EXCLUDED,  /* by --include or --exclude */
    SKIP_TOO_YOUNG, /* by --min-age, or its rule's */
    SKIP_NO_RULE,   /* there are rules, and none matches */
    SKIP_KEPT,      /* processed already in this state, and kept */
    SKIP_KINDS,
};
const char *pipeline_skip_name(enum pipeline_skip skip); /* "marker", "archived" ... */
/* Is the key one that the globs let through? */
bool pipeline_filter_key(const struct pipeline_filter *filter, struct bytes key);
enum pipeline_skip pipeline_filter_object(const struct pipeline_filter *filter, const struct s3_object *object,
                                          int64_t now_utc_us);

/* What becomes of an object that was processed; all borrowed. */
enum pipeline_then_kind { THEN_DELETE, THEN_MOVE, THEN_TAG, THEN_KEEP };
struct pipeline_then {
    enum pipeline_then_kind kind;
    const char *bucket;             /* MOVE: where to */
    const struct key_template *key; /* MOVE: as what */
    const struct s3_tag *tags;      /* TAG: set in addition to those that it has */
    size_t n_tags;
};

/* What is done with an object. */
struct pipeline_way {
    struct handler *handler;             /* borrowed */
    uint32_t retries;                    /* attempts after the first; at most PIPELINE_RETRIES_MAX */
    int64_t timeout_us;                  /* of an attempt */
    int64_t min_age_us;                  /* of a rule; without rules the filter's counts */
    const struct output *const *outputs; /* borrowed: where results land. Their handler keeps results */
    size_t n_outputs;                    /* 0: results are not wanted */
    struct pipeline_then then;           /* once they are durable */
};

/* What is done with which object. All of it is borrowed and stays as it is while the pipeline has it. */
struct pipeline_plan {
    struct pipeline_filter filter;   /* of all objects; where there are rules, theirs is the age */
    struct pipeline_way way;         /* without rules; with rules until it is known which one an object falls under */
    const struct rule *rules;        /* the first that matches counts; an object that none matches is left alone */
    const struct pipeline_way *ways; /* of each */
    size_t n_rules;
    /* Another plan is in force, and no object is left that was begun under this one: it is the caller's again. */
    void (*unused)(void *arg);
    void *arg;
    uint32_t objects; /* the pipeline's: that were begun under it; 0 at first */
    bool keeps;       /* likewise: some way keeps or tags objects */
};
/* By what a listing tells; what can only be decided when the object is read is taken. */
enum pipeline_skip pipeline_plan_object(const struct pipeline_plan *plan, struct bytes bucket,
                                        const struct s3_object *object, int64_t now_utc_us);
/* Could it take an object of the bucket, with that key (NULL: any)? Where it could not the bucket is listed all the
 * same, to count what is left alone, but without `once` at most every hour; that it may not be listed is no failure
 * then. */
bool pipeline_plan_wants(const struct pipeline_plan *plan, struct bytes bucket, const struct bytes *key);

/* How deletes of a bucket are protected. */
enum pipeline_guard {
    GUARD_UNKNOWN,   /* nothing was deleted yet */
    GUARD_IF_MATCH,  /* by If-Match on the ETag that was read */
    GUARD_VERSION,   /* by the version id that was read */
    GUARD_UNGUARDED, /* the server ignores conditions: a HEAD is compared right before the delete */
};
const char *pipeline_guard_name(enum pipeline_guard guard); /* "unknown", "guarded", "versioned", "unguarded" */

/* Why a pipeline cannot go on. */
enum pipeline_end {
    PIPELINE_DRAINED,        /* --once: all was listed and nothing is live; parked runs may be left */
    PIPELINE_NO_CREDENTIALS, /* S3 refused the keys, and no call ever succeeded; or there are none any more */
    PIPELINE_UNREACHABLE,    /* --once: no S3 call was answered for PIPELINE_GIVE_UP_US, or not even the first */
    PIPELINE_DENIED, /* buckets may not be listed (at the first try; any with --once), or with --once a bucket's keys,
                        and all else was drained */
    PIPELINE_BROKEN, /* the user's code cannot be started any more: the spawner process is dead */
    PIPELINE_LISTING_FAILED, /* --once: a bucket could not be listed for another reason, all else was drained; or the
                                buckets could not */
};
#define PIPELINE_GIVE_UP_US (20 * US_PER_S)

struct pipeline_options {
    const char *bucket_prefix;
    uint32_t max_pollers;
    uint32_t max_runs_per_bucket; /* 0: no cap */
    uint32_t slots;
    const char *cron;
    int64_t backoff_us;
    uint64_t look_ahead; /* keys a bucket that may be live at once */
    bool once;
    bool fleet;                 /* other pipelines may work on the same store */
    bool trust_if_match;        /* AWS itself: no probe needed */
    struct pipeline_plan *plan; /* the first one; borrowed, as all below */
    struct s3_client *s3;
    froe *engine;
    struct log *log;
    const struct clock *clock; /* NULL: the system's */
    /* Called once, from the loop, when there is nothing more to do (`text` says why). NULL is not allowed. */
    void (*ended)(void *arg, enum pipeline_end end, const char *text);
    void *arg;
};

/* Adds the workflows to the engine, which must not be started yet. */
int pipeline_new(uv_loop_t *loop, const struct pipeline_options *options, struct pipeline **ret_pipeline,
                 struct err *err);
/* After froe_start: triggers a first fetch_s3_buckets at once instead of waiting for the cron. */
int pipeline_begin(struct pipeline *pipeline, struct err *err);
/* From now on objects are taken, and begun, by this plan; those under way end as they began. The old one's `unused` may
 * come from inside this call. What is queued already and has no place in the new plan is dropped when its turn comes,
 * and left alone. */
void pipeline_set_plan(struct pipeline *pipeline, struct pipeline_plan *plan);
/* After the engine has stopped. Calls `closed` from the loop; the pipeline is gone. */
void pipeline_close(struct pipeline *pipeline, void (*closed)(void *arg), void *arg);

/* How the last listing of a bucket ended. */
enum pipeline_listing {
    LISTING_NONE,     /* there was none */
    LISTING_PARTIAL,  /* at the look-ahead: it goes on after the cursor */
    LISTING_COMPLETE, /* at the last key */
};
const char *pipeline_listing_name(enum pipeline_listing listing); /* "none", "partial", "complete" */

/* Numbers of this process, for progress and status. */
struct pipeline_bucket {
    struct bytes name;
    uint64_t listed;               /* spawned */
    uint64_t done;                 /* processed and deleted (moved, tagged, kept), or found gone */
    uint64_t gone;                 /* of the done: were not there any more */
    uint64_t bytes;                /* of the processed bodies */
    uint64_t results;              /* stored, each output counted */
    uint64_t result_bytes;         /* of these */
    uint64_t failed;               /* attempts */
    uint64_t again;                /* overwritten while being processed */
    uint64_t skipped[SKIP_KINDS];  /* in the last pass */
    struct bytes cursor;           /* where the next listing goes on; empty: at the start */
    enum pipeline_listing listing; /* of the last pass */
    enum pipeline_guard guard;
    bool throttled; /* S3 asked to slow down, and the limit is still in force */
    uint32_t limit; /* runs at once by that limit; UINT32_MAX: none */
};
void pipeline_buckets_each(struct pipeline *pipeline, void (*each)(void *arg, const struct pipeline_bucket *bucket),
                           void *arg);
/* The same of a bucket as the last pipeline on this store left it, without one: name, cursor, listing, guard and
 * skipped; the counts are 0. For an engine that need not be started. `done` comes once, from the loop, unless the call
 * failed (-ENOMEM, or a code of froe.h). */
int pipeline_read_notes(froe *engine, const char *bucket, void (*done)(void *arg, const struct pipeline_bucket *bucket),
                        void *arg);
/* What a lister in a fleet says when it is put back and all is well: the bucket's look-ahead is full, or it has listed
 * for so long that others should come to their turn. */
#define PIPELINE_NO_ROOM "the look-ahead is full"
#define PIPELINE_NEXT_TURN "the listing goes on after the others"
/* True once a fetch_s3_buckets has told all buckets and none of them is still being listed: totals are final. Never in
 * a fleet, where others list too. */
bool pipeline_listing_complete(const struct pipeline *pipeline);

/* `--dry-run`: lists and counts, without an engine, handler or store, and touches nothing. `bucket` is called per
 * bucket with its numbers (listed: would be processed, or read to decide that; bytes: of those), `done` once. */
struct dry_run_options {
    const char *bucket_prefix;
    const struct pipeline_plan *plan;
    struct s3_client *s3;
    const struct clock *clock;
    void (*bucket)(void *arg, const struct pipeline_bucket *bucket,
                   const struct s3_result *failed); /* failed NULL: fine */
    void (*done)(void *arg, const struct s3_result *failed, uint64_t buckets);
    void *arg;
};
int dry_run_start(const struct dry_run_options *options, struct err *err);
