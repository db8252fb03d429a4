/* process_object.h - what the two files of process_object share: process_object.c, which gets an object processed, and
 * process_after.c, which stores the results and then does with the object what is to be done. */
#pragma once

#include "private.h"

struct object_task {
    struct list link; /* in free_objects */
    struct pipeline *pipeline;
    struct bucket *bucket;
    froe_task *task;
    struct bytes key;
    struct pipeline_plan *plan; /* under which it was begun */
    struct pipeline_way way;    /* the rule's, once the headers told which one it is */
    enum pipeline_skip left;    /* not SKIP_NOT: they told that it is left alone */
    bool hopeless;              /* another attempt would end the same way */
    int64_t began_mono_us, timeout_us;

    struct s3_call *get; /* NULL: not running */
    enum s3_status get_status;
    bool got;                /* the GET has ended */
    struct handler_job *job; /* NULL: none, or ended */
    bool job_started;
    enum handler_end job_end;
    bool paused;
    uint64_t read_bytes;
    struct buf text; /* what went wrong, of the download or the job */

    struct buf read; /* etag, then version id: what after.read points into */
    size_t etag_n;
    struct buf record; /* of an earlier state of it that was kept; empty: none */
    bool asking;       /* for that, before anything else */
    bool asked;        /* and was told */

    struct results *results;        /* NULL: none are wanted */
    struct output_writing *writing; /* NULL: not running */
    struct buf how;                 /* what becomes of it then */
    bool finishing;                 /* that is being done */
    struct aftermath after;
};

/* process_object.c: what went wrong, for the ends below. */
void object_set_text(struct object_task *run, const char *text);
const char *object_text(const struct object_task *run);
/* The ends of the task; the record is gone afterwards. */
void object_end_done(struct object_task *run);
void object_end_failed(struct object_task *run);
void object_end_again(struct object_task *run, int64_t delay_us);
void object_end_cancelled(struct object_task *run);
/* What is not there any more was not kept either. */
void object_drop_record(struct object_task *run);

/* process_after.c: all of these end the task, now or later, but for the first. */
/* What an earlier attempt has processed: 1, 0 when there was none, or -ENOMEM. */
int object_was_processed(struct object_task *run);
void object_store_results(struct object_task *run); /* and then finish */
/* What was decided when the object was read. Also of a run that was cancelled: what was processed is better deleted
 * than processed twice. */
void object_finish(struct object_task *run);
