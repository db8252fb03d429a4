/* world.c - see world.h. */
#include "world.h"

static int64_t mono(void *arg) {
    return ((struct world *)arg)->mono_us;
}

static int64_t utc(void *arg) {
    return ((struct world *)arg)->utc_us;
}

static void line(void *arg, enum log_level level, struct bytes text) {
    struct world *world = arg;
    (void)level;
    assert_true(text.n > 0);
    size_t room = sizeof world->lines - 1 - world->n_lines, n = text.n < room ? text.n : room;
    memcpy(world->lines + world->n_lines, text.p, n);
    world->n_lines += n;
}

static void ended(void *arg, enum pipeline_end end, const char *text) {
    struct world *world = arg;
    world->ended++;
    world->end = end;
    assert_non_null(text);
    snprintf(world->end_text, sizeof world->end_text, "%s", text);
}

static void plan_unused(void *arg) {
    ((struct world *)arg)->unused++;
}

int world_up(void **state) {
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    assert_int_equal(uv_loop_init(&world->loop), 0);
    world->mono_us = 1000 * US_PER_S;
    world->utc_us = INT64_C(1700000000) * US_PER_S;
    world->clock = (struct clock){utc, mono, world};
    world->log = (struct log){.level = LOG_DEBUG, .fd = -1, .clock = &world->clock, .sink = line, .sink_arg = world};
    fake_engine_init(&world->engine, &world->clock);
    fake_s3_init(&world->s3);
    list_init(&world->handler.jobs);
    world->plan = (struct pipeline_plan){
        .way = {.handler = &world->handler.handler, .retries = 3, .timeout_us = 60 * US_PER_S},
        .unused = plan_unused,
        .arg = world,
    };
    world->options = (struct pipeline_options){
        .bucket_prefix = "bucket-",
        .max_pollers = 10,
        .max_runs_per_bucket = 20,
        .slots = 40,
        .cron = "* * * * *",
        .backoff_us = US_PER_S,
        .look_ahead = 10000,
        .plan = &world->plan,
        .s3 = &world->s3,
        .engine = &world->engine,
        .log = &world->log,
        .clock = &world->clock,
        .ended = ended,
        .arg = world,
    };
    *state = world;
    return 0;
}

void world_open(struct world *world) {
    struct err err = {0};
    if (pipeline_new(&world->loop, &world->options, &world->pipeline, &err) < 0)
        fail_msg("%s", err.text);
}

static void closed(void *arg) {
    ((struct world *)arg)->closed = true;
}

/* Tasks that a test left running are cancelled as a stop would, so that nothing is left behind. */
static void stop(struct world *world) {
    LIST_EACH_SAFE (link, following, &world->engine.runs) {
        froe_task *task = LIST_ENTRY(link, froe_task, link);
        if (task->state == FAKE_RUNNING && !task->cancelled)
            fake_cancel(task, FROE_CANCELLED_STOP);
    }
    for (int i = 0; i < 1000; i++) {
        bool any = fake_s3_step(&world->s3);
        LIST_EACH_SAFE (link, following, &world->handler.jobs) {
            struct fake_job *job = LIST_ENTRY(link, struct fake_job, link);
            if (job->aborted)
                world_job_end(world, job, HANDLER_ABORTED, "stopped");
        }
        struct s3_call *call = fake_call(&world->s3, FAKE_DELETE);
        call = call ? call : fake_call(&world->s3, FAKE_PROBE);
        for (int op = FAKE_HEAD; op < FAKE_OPS; op++) {
            if (op != FAKE_GET)
                call = call ? call : fake_call(&world->s3, (enum fake_op)op);
        }
        if (call)
            fake_end(call, S3_UNREACHABLE);
        else if (!any)
            break;
    }
}

int world_down(void **state) {
    struct world *world = *state;
    if (world->pipeline) {
        stop(world);
        LIST_EACH (link, &world->engine.runs)
            assert_int_not_equal(LIST_ENTRY(link, froe_task, link)->state, FAKE_RUNNING);
        assert_true(list_empty(&world->s3.calls));
        assert_true(list_empty(&world->handler.jobs));
        /* What was asked of the engine comes to its end before it is closed. */
        for (size_t i = 0; i < world->engine.n_workflows; i++)
            world->engine.workflows[i].def.run = NULL;
        LIST_EACH (link, &world->engine.runs)
            LIST_ENTRY(link, froe_task, link)->due_mono_us = INT64_MAX;
        pipeline_close(world->pipeline, closed, world);
        uv_run(&world->loop, UV_RUN_DEFAULT);
        assert_true(world->closed);
    }
    assert_int_equal(uv_loop_close(&world->loop), 0);
    fake_engine_free(&world->engine);
    fake_s3_free(&world->s3);
    free(world);
    return 0;
}

/* The timer's turn, without waiting for it. */
static void turn_timer(struct world *world) {
    uv_timer_t *timer = &world->pipeline->timer;
    if (uv_is_active((uv_handle_t *)timer))
        timer->timer_cb(timer);
}

void world_settle(struct world *world) {
    for (bool any = true; any;) {
        any = fake_engine_step(&world->engine);
        any |= fake_s3_step(&world->s3);
        LIST_EACH_SAFE (link, following, &world->handler.jobs) {
            struct fake_job *job = LIST_ENTRY(link, struct fake_job, link);
            if (job->aborted) {
                world_job_end(world, job, HANDLER_ABORTED, "aborted");
                any = true;
            }
        }
    }
    turn_timer(world);
}

static bool jobs_do_well(struct world *world) {
    LIST_EACH_SAFE (link, following, &world->handler.jobs) {
        struct fake_job *job = LIST_ENTRY(link, struct fake_job, link);
        if (job->finished) {
            world_job_end(world, job, HANDLER_OK, "");
            return true;
        }
    }
    return false;
}

static int64_t next_due(const struct world *world) {
    int64_t next = INT64_MAX;
    LIST_EACH (link, &world->engine.runs) {
        const froe_task *task = LIST_ENTRY(link, froe_task, link);
        if (task->state == FAKE_QUEUED && task->due_mono_us < next)
            next = task->due_mono_us;
    }
    LIST_EACH (link, &world->engine.limits) {
        const struct fake_limit *limit = LIST_ENTRY(link, struct fake_limit, link);
        if (limit->until_mono_us > world->mono_us && limit->until_mono_us < next)
            next = limit->until_mono_us;
    }
    return next;
}

void world_drain(struct world *world) {
    for (int turn = 0; turn < 100000; turn++) {
        world_settle(world);
        if (world->ended > 0)
            return;
        if (fake_serve(&world->s3) || jobs_do_well(world))
            continue;
        int64_t due = next_due(world);
        if (due == INT64_MAX) {
            world_settle(world);
            if (list_empty(&world->engine.later) && list_empty(&world->s3.calls))
                return;
            continue;
        }
        world->mono_us = due > world->mono_us ? due : world->mono_us + 10 * US_PER_MS;
    }
    fail_msg("the drain does not come to an end");
}

froe_task *world_object(struct world *world, const char *bucket, const char *key) {
    char child_key[S3_KEY_MAX + 64], input[128];
    world_settle(world); /* what ended before is settled, and its key free again */
    int n = snprintf(child_key, sizeof child_key, "%s/%s", bucket, key);
    snprintf(input, sizeof input, "{\"bucket\":\"%s\"}", bucket);
    const froe_item item = {
        .child_key = child_key, .child_key_n = (size_t)n, .generation = "\"listed\"", .generation_n = 8};
    const froe_spawn spawn = {
        .size = sizeof spawn, .workflow = PIPELINE_PROCESS_OBJECT, .input = input, .items = &item, .n = 1};
    assert_int_equal(froe_spawn_many(&world->engine, &spawn, NULL, NULL, NULL), FROE_OK);
    world_settle(world);
    froe_task *task = fake_run(&world->engine, PIPELINE_PROCESS_OBJECT, child_key, FAKE_RUNNING);
    return task ? task : fake_run(&world->engine, PIPELINE_PROCESS_OBJECT, child_key, FAKE_QUEUED);
}

struct fake_job *world_job(struct world *world) {
    struct list *first = world->handler.jobs.next;
    return first == &world->handler.jobs ? NULL : LIST_ENTRY(first, struct fake_job, link);
}

static void end_job(struct world *world, struct fake_job *job, const struct handler_result *result) {
    enum handler_end end = result->end;
    assert_true(end != HANDLER_OK || job->finished);
    assert_true(end == HANDLER_ABORTED ? job->aborted : !job->aborted);
    if (end == HANDLER_OK) {
        assert_true(world->handler.n_processed < 512);
        snprintf(world->handler.processed[world->handler.n_processed++], 128, "%.127s", job->object);
    }
    list_remove(&job->link);
    job->events.done(job->arg, result);
    free(job);
}

void world_job_end(struct world *world, struct fake_job *job, enum handler_end end, const char *text) {
    const struct handler_result result = {.end = end, .text = text};
    end_job(world, job, &result);
}

void world_job_makes(struct world *world, struct fake_job *job, struct handler_part *parts, size_t n) {
    const struct handler_result result = {.end = HANDLER_OK, .parts = parts, .n_parts = n, .text = ""};
    end_job(world, job, &result);
}

size_t world_processed(const struct world *world, const char *object_and_etag) {
    size_t n = 0;
    for (size_t i = 0; i < world->handler.n_processed; i++)
        n += strcmp(world->handler.processed[i], object_and_etag) == 0;
    return n;
}

void world_process(struct world *world, const char *etag, const char *version_id) {
    struct s3_call *get = fake_call(&world->s3, FAKE_GET);
    fake_get_info(get, etag, version_id, 5);
    assert_true(fake_get_data(get, "hello"));
    fake_end(get, S3_OK);
    struct fake_job *job = world_job(world);
    assert_non_null(job);
    assert_true(job->finished);
    assert_string_equal(job->body, "hello");
    world_job_end(world, job, HANDLER_OK, "");
}

unsigned world_list_turn(struct world *world, struct s3_call *listing, const char *first, char ret_key[16]) {
    unsigned pages = 0;
    for (; listing && pages < 1000; pages++) {
        snprintf(ret_key, 16, "%s%04u", first, pages);
        fake_objects(listing, LIST(ret_key), true);
        listing = fake_call(&world->s3, FAKE_LIST_OBJECTS);
    }
    assert_in_range(pages, 10, 999);
    return pages;
}

struct bucket *world_bucket(struct world *world, const char *name) {
    struct bucket *bucket = map_get(&world->pipeline->buckets, bytes_str(name));
    assert_non_null(bucket);
    return bucket;
}

/* ---- handler.h ---- */

int handler_start(struct handler *handler, const struct handler_object *object, const struct handler_events *events,
                  void *arg, struct handler_job **ret_job, struct err *err) {
    struct fake_handler *fake = (struct fake_handler *)handler;
    if (fake->refuse < 0) {
        int r = fake->refuse;
        fake->refuse = 0;
        return err_set(err, r, "refused");
    }
    struct fake_job *job = calloc(1, sizeof *job);
    assert_non_null(job);
    job->job.handler = handler;
    job->events = *events;
    job->arg = arg;
    job->attempt = object->attempt;
    job->full = fake->full;
    snprintf(job->object, sizeof job->object, "%.*s/%.*s %.*s", (int)object->bucket.n, object->bucket.p,
             (int)object->key.n, object->key.p, (int)object->etag.n, object->etag.p);
    list_push_back(&fake->jobs, &job->link);
    fake->started++;
    *ret_job = &job->job;
    return 0;
}

bool handler_write(struct handler_job *handler_job, struct bytes piece) {
    struct fake_job *job = (struct fake_job *)handler_job;
    assert_false(job->finished);
    size_t n = strlen(job->body);
    assert_true(n + piece.n < sizeof job->body);
    memcpy(job->body + n, piece.p, piece.n);
    return !job->full;
}

void handler_finish(struct handler_job *handler_job) {
    struct fake_job *job = (struct fake_job *)handler_job;
    assert_false(job->finished);
    job->finished = true;
}

void handler_abort(struct handler_job *handler_job, const char *reason) {
    assert_non_null(reason);
    ((struct fake_job *)handler_job)->aborted = true;
}
