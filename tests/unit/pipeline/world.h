/* world.h - a pipeline between fakes: engine, S3, handler, time. */
#pragma once

#include "fake_engine.h"
#include "fake_s3.h"

#include "private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Names and keys for fake_buckets and fake_objects. */
#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NOTHING ((const char *const[]){NULL})

struct fake_job {
    struct handler_job job;
    struct list link;
    struct handler_events events;
    void *arg;
    char object[S3_KEY_MAX + 64]; /* "bucket/key etag" */
    char body[128];
    uint32_t attempt;
    bool finished, aborted, full; /* full: handler_write says so */
};

struct fake_handler {
    struct handler handler;
    struct list jobs;
    int refuse; /* the next handler_start returns this, when negative */
    bool full;  /* new jobs are full */
    uint64_t started;
    char processed[512][128]; /* what jobs ended well on */
    size_t n_processed;
};

struct world {
    uv_loop_t loop;
    struct clock clock;
    int64_t mono_us, utc_us;
    struct log log;
    char lines[16384]; /* what was logged first */
    size_t n_lines;
    froe engine;
    struct s3_client s3;
    struct fake_handler handler;
    struct pipeline_plan plan;
    unsigned unused; /* plans that told so */
    struct pipeline_options options;
    struct pipeline *pipeline;
    unsigned ended;
    enum pipeline_end end;
    char end_text[128];
    bool closed;
};

int world_up(void **state);
int world_down(void **state);
void world_open(struct world *world); /* pipeline_new with world->options */

/* Engine, ends of what was cancelled, the pipeline's timer: until nothing happens any more. No S3 call is answered. */
void world_settle(struct world *world);
/* Also answers S3 calls with the little server and lets jobs do well; moves the clock on when all wait. Stops when the
 * pipeline has ended, or nothing is left to wait for. */
void world_drain(struct world *world);

/* Spawns a process_object run and lets it start. */
froe_task *world_object(struct world *world, const char *bucket, const char *key);
struct fake_job *world_job(struct world *world); /* the first job, or NULL */
void world_job_end(struct world *world, struct fake_job *job, enum handler_end end, const char *text);
/* It ends well, with those parts. What was moved out of their spools is the pipeline's. */
void world_job_makes(struct world *world, struct fake_job *job, struct handler_part *parts, size_t n);
/* How often was this state of the object processed? */
size_t world_processed(const struct world *world, const char *object_and_etag);
/* GET, body and job of the run that was just started, up to the delete. */
void world_process(struct world *world, const char *etag, const char *version_id);
/* Answers a listing with pages of one key each, `first` and a number, until its lister asks for no more: its turn is
 * over. Gives the number of pages, and the last key. */
unsigned world_list_turn(struct world *world, struct s3_call *listing, const char *first, char ret_key[16]);
struct bucket *world_bucket(struct world *world, const char *name);
