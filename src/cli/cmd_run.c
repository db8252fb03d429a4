/* cmd_run.c - froe run: puts engine, S3 client, handler and pipeline together, and takes them apart again.
 *
 * The order of the end: the engine stops (nothing runs, all is durable), then the parts are closed from the top down;
 * when the last handle is closed the loop ends and with it the program. */
#include "aws.h"
#include "commands.h"
#include "config_output.h"
#include "config_rules.h"
#include "control.h"
#include "plan.h"
#include "progress.h"
#include "spawner.h"
#include "text.h"

#include <sys/resource.h>
#include <unistd.h>

struct run {
    const struct options *options;
    uv_loop_t loop;
    struct log log;
    struct aws aws;
    froe *engine;
    struct spawner *spawner;
    struct plans plans;
    struct reload *reload; /* NULL: there is no file to read again */
    struct pipeline *pipeline;
    struct control *control;
    struct admin admin;
    struct progress *progress;
    uv_signal_t term, interrupt;
    bool signals_open;
    uv_timer_t alive;
    bool alive_open, started;
    unsigned signals; /* how many came */
    bool stopping, drained;
    struct plan *dry_plan;
    int exit_code;
};

/* ---- the end ---- */

static void nothing(void *arg) {
    (void)arg;
}

/* Handlers need the spawner, and clients of outputs the credentials, until they are closed. */
static void plans_closed(void *arg) {
    struct run *run = arg;
    if (run->spawner)
        spawner_close(run->spawner, nothing, NULL);
    run->spawner = NULL;
    aws_close(&run->aws, nothing, NULL);
}

static void pipeline_closed(void *arg) {
    struct run *run = arg;
    plans_close(&run->plans, plans_closed, run);
}

static void engine_closed(void *arg) {
    struct run *run = arg;
    run->engine = NULL;
    if (run->pipeline)
        pipeline_close(run->pipeline, pipeline_closed, run);
    else
        pipeline_closed(run);
    run->pipeline = NULL;
}

/* Closes whatever was opened. */
static void close_all(struct run *run) {
    if (run->signals_open) {
        uv_close((uv_handle_t *)&run->term, NULL);
        uv_close((uv_handle_t *)&run->interrupt, NULL);
        run->signals_open = false;
    }
    if (run->reload)
        reload_close(run->reload);
    run->reload = NULL;
    if (run->alive_open)
        uv_close((uv_handle_t *)&run->alive, NULL);
    run->alive_open = false;
    progress_end(run->progress, run->drained);
    run->progress = NULL;
    if (run->control)
        control_close(run->control, nothing, NULL);
    run->control = NULL;
    if (run->engine)
        froe_close(run->engine, engine_closed, run);
    else
        engine_closed(run);
}

static void count_parked(void *arg, const froe_group *group) {
    *(uint64_t *)arg += group->parked;
}

static void stopped(void *arg) {
    struct run *run = arg;
    uint64_t parked = 0;
    froe_groups_each(run->engine, PIPELINE_PROCESS_OBJECT, count_parked, &parked);
    if (run->drained && run->exit_code == EXIT_DRAINED && parked > 0)
        run->exit_code = EXIT_PARKED;
    if (!run->options->once)
        log_info(&run->log, "stopped");
    close_all(run);
}

static void stop(struct run *run, froe_stop_mode mode) {
    run->stopping = true;
    froe_stop(run->engine, mode, stopped, run);
}

static void fail(struct run *run, int exit_code, froe_stop_mode mode) {
    if (run->exit_code == EXIT_DRAINED)
        run->exit_code = exit_code;
    if (!run->stopping || mode == FROE_STOP_NOW)
        stop(run, mode);
}

/* ---- events ---- */

static void signalled(uv_signal_t *handle, int number) {
    struct run *run = handle->data;
    run->signals++;
    if (run->signals == 1) {
        log_info(&run->log, "stopping: what runs is finished; a second signal stops at once",
                 LOG_STR("signal", number == SIGTERM ? "SIGTERM" : "SIGINT"));
        if (run->options->once && !run->drained && run->exit_code == EXIT_DRAINED)
            run->exit_code = EXIT_INTERRUPTED;
        if (!run->stopping)
            stop(run, FROE_STOP_FINISH);
    } else if (run->signals == 2) {
        log_info(&run->log, "stopping now: what runs is queued again");
        if (run->exit_code == EXIT_DRAINED)
            run->exit_code = EXIT_INTERRUPTED;
        stop(run, FROE_STOP_NOW);
    }
}

static void ended(void *arg, enum pipeline_end end, const char *text) {
    static const int codes[] = {
        [PIPELINE_DRAINED] = EXIT_DRAINED,
        [PIPELINE_NO_CREDENTIALS] = EXIT_CREDENTIALS,
        [PIPELINE_UNREACHABLE] = EXIT_UNREACHABLE,
        [PIPELINE_DENIED] = EXIT_DENIED,
        [PIPELINE_LISTING_FAILED] = EXIT_UNREACHABLE,
        [PIPELINE_BROKEN] = EXIT_INTERNAL,
    };
    struct run *run = arg;
    run->drained = end == PIPELINE_DRAINED;
    if (end != PIPELINE_DRAINED)
        log_error(&run->log, "giving up", LOG_STR("error", text));
    fail(run, codes[end], end == PIPELINE_DRAINED || end == PIPELINE_LISTING_FAILED ? FROE_STOP_FINISH : FROE_STOP_NOW);
}

static struct bytes event_key(const froe_event *event) {
    struct bytes key = bytes_of(event->child_key, event->child_key_n);
    size_t skip = event->group ? strlen(event->group) + 1 : 0;
    bool object = event->workflow && strcmp(event->workflow, PIPELINE_PROCESS_OBJECT) == 0 && key.n > skip;
    return object ? bytes_of(key.p + skip, key.n - skip) : key;
}

static void engine_event(void *arg, const froe_event *event) {
    struct run *run = arg;
    static const enum log_level levels[] = {
        [FROE_DEBUG] = LOG_DEBUG, [FROE_INFO] = LOG_INFO, [FROE_WARN] = LOG_WARN, [FROE_ERROR] = LOG_ERROR};
    struct log_field bucket = LOG_STR("bucket", event->group), key = LOG_BYTES("key", event_key(event));
    struct log_field id = LOG_STR("run", event->run_id), error = LOG_STR("error", event->text);
    switch (event->kind) {
    case FROE_EVENT_LOG:
        LOG_AT(&run->log, levels[event->level], event->text && event->text[0] ? event->text : "task", bucket, key, id);
        break;
    case FROE_EVENT_RETRY:
        if (strcmp(event->text, PIPELINE_NO_ROOM) == 0) {
            log_debug(&run->log, "listing goes on when there is room", bucket);
            break;
        }
        if (strcmp(event->text, PIPELINE_NEXT_TURN) == 0)
            break;
        if (event->level == FROE_DEBUG) { /* put back: overwritten meanwhile, throttled, S3 not reached ... */
            log_info(&run->log, "will be tried again; no attempt is counted", bucket, key,
                     LOG_INT("retry_in_ms", event->delay_us / US_PER_MS), error);
            break;
        }
        log_warn(&run->log, "attempt failed", bucket, key, LOG_INT("attempt", event->attempt),
                 LOG_INT("retry_in_ms", event->delay_us / US_PER_MS), error);
        break;
    case FROE_EVENT_PARKED:
        log_error(&run->log, "object parked", bucket, key, LOG_INT("attempts", event->attempt), error);
        break;
    case FROE_EVENT_FAILED:
        log_error(&run->log, "run failed", LOG_STR("workflow", event->workflow), bucket, key, id, error);
        break;
    case FROE_EVENT_CANCELLED:
        log_warn(&run->log, "run cancelled", LOG_STR("workflow", event->workflow), bucket, key, id, error);
        break;
    case FROE_EVENT_ABANDONED:
        log_error(&run->log, "a cancelled task did not end in time; its slot stays taken", bucket, key, id);
        break;
    case FROE_EVENT_STORE_LOST:
        log_warn(&run->log, "the connection to the store is lost; trying again", error);
        break;
    case FROE_EVENT_STORE_BACK:
        log_info(&run->log, "the store is connected again");
        break;
    case FROE_EVENT_REFUSED:
        log_debug(&run->log, "not started: one is running already", LOG_STR("workflow", event->workflow), bucket,
                  LOG_INT("count", (int64_t)event->count));
        break;
    case FROE_EVENT_LEASE_LOST:
        log_error(&run->log, "the store did not answer in time; nothing is deleted until it does", error);
        break;
    case FROE_EVENT_STORE_FAILED:
        log_error(&run->log, "the store failed; stopping, nothing is lost", error);
        if (run->engine) /* not while it is being opened */
            fail(run, EXIT_STORE, FROE_STOP_NOW);
        break;
    }
}

/* ---- the beginning ---- */

static int store_exit_code(int froe_code) {
    return froe_code == FROE_ERR_MEMORY ? EXIT_INTERNAL : froe_code == FROE_ERR_INVALID ? EXIT_USAGE : EXIT_STORE;
}

/* Each object needs a connection, and with a program three pipes and a socket message. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int open_spawner(struct run *run, struct err *err) {
    struct confined *basic = NULL;
    int r = 0;
    if (plan_confines_all(run->options))
        r = confined_new(&(struct confine){.level = CONFINE_BASIC}, &basic, err);
    if (r == 0)
        r = spawner_new(&run->loop, froe_lock_fd(run->engine), basic, &run->spawner, err);
    confined_free(basic);
    return r;
}

static int open_plan(struct run *run, struct err *err) {
    const struct options *options = run->options;
    bool only_discard = options->discard && !options->config;
    if (!only_discard && open_spawner(run, err) < 0)
        return EXIT_INTERNAL;
    run->plans = (struct plans){.loop = &run->loop, .spawner = run->spawner, .log = &run->log, .aws = &run->aws};
    int r = plans_open(&run->plans, options, err);
    return r < 0 ? (r == -ENOMEM ? EXIT_INTERNAL : EXIT_USAGE) : 0;
}

/* By the rules of the start, as all that the engine was opened with. */
static uint32_t max_runs_of(void *arg, const char *workflow, const char *group, uint32_t max_runs) {
    const struct run *run = arg;
    bool objects = strcmp(workflow, PIPELINE_PROCESS_OBJECT) == 0;
    return objects ? config_rules_cap(run->options->rules, bytes_str(group), max_runs) : max_runs;
}

static int open_engine(struct run *run, struct err *err) {
    const froe_options options = {
        .size = sizeof options,
        .store = run->options->store,
        .loop = &run->loop,
        .slots = run->options->slots,
        .event = engine_event,
        .event_arg = run,
        .lease_us = run->options->lease_us,
        .worker = run->options->worker,
        .history_us = run->options->history_us ? run->options->history_us : -1,
        .history_bytes = run->options->history_bytes,
        .max_runs_of = run->options->rules ? max_runs_of : NULL,
        .max_runs_arg = run,
    };
    froe_error error = {0};
    int r = froe_open(&options, &run->engine, &error);
    if (r == FROE_OK)
        return 0;
    err_set(err, r, "%s", error.text);
    return store_exit_code(r);
}

static int open_pipeline(struct run *run, struct err *err) {
    const struct options *options = run->options;
    const struct pipeline_options pipeline = {
        .bucket_prefix = options->bucket_prefix,
        .max_pollers = options->max_pollers,
        .max_runs_per_bucket = options->max_runs_per_bucket,
        .slots = options->slots,
        .cron = options->cron,
        .backoff_us = options->backoff_us,
        .look_ahead = options->look_ahead,
        .plan = plans_now(&run->plans),
        .once = options->once,
        .fleet = !options_store_path(options),
        .trust_if_match = run->aws.settings.endpoint == NULL,
        .s3 = run->aws.s3,
        .engine = run->engine,
        .log = &run->log,
        .ended = ended,
        .arg = run,
    };
    int r = pipeline_new(&run->loop, &pipeline, &run->pipeline, err);
    return r < 0 ? (r == -ENOMEM ? EXIT_INTERNAL : EXIT_USAGE) : 0;
}

/* A store in a file is locked until the last program of a dead froe is dead. A server takes the runs of a froe that it
 * does not hear of back when its lease is over; a froe that died has taken its programs along long before. One that
 * only stands still (SIGSTOP) must have them killed by somebody else in time: it has lost its lease at the earliest a
 * fifth of the lease after the last moment at which it could still think that it had it (worker.c). */
#define ALIVE_EVERY(lease) ((lease) / 30)
#define ALIVE_FOR(lease) ((lease) / 6)

static void still_alive(uv_timer_t *timer) {
    struct run *run = timer->data;
    if (run->spawner)
        spawner_alive(run->spawner, ALIVE_FOR(run->options->lease_us));
}

static void watch_spawner(struct run *run) {
    uv_timer_init(&run->loop, &run->alive);
    run->alive.data = run;
    run->alive_open = true;
    uv_timer_start(&run->alive, still_alive, 0, (uint64_t)(ALIVE_EVERY(run->options->lease_us) / US_PER_MS));
}

static int begin(struct run *run, struct err *err) {
    const struct options *options = run->options;
    froe_error error = {0};
    int r = froe_start(run->engine, &error);
    if (r != FROE_OK) {
        err_set(err, r, "%s", error.text);
        return store_exit_code(r);
    }
    run->started = true;
    run->admin = (struct admin){
        .engine = run->engine, .pipeline = run->pipeline, .store = options->store_shown, .slots = options->slots};
    const char *path = options_store_path(options);
    if (path && control_open(&run->loop, path, &run->admin, &run->control, err) < 0)
        return EXIT_STORE;
    if (!path && run->spawner)
        watch_spawner(run);
    const struct progress_options progress = {
        .pipeline = run->pipeline,
        .engine = run->engine,
        .log = &run->log,
        .terminal_fd = options->once && isatty(STDERR_FILENO) && run->log.format == LOG_TEXT ? STDERR_FILENO : -1,
    };
    if (options->once && progress_new(&run->loop, &progress, &run->progress, err) < 0)
        return EXIT_INTERNAL;
    uv_signal_init(&run->loop, &run->term);
    uv_signal_init(&run->loop, &run->interrupt);
    run->term.data = run->interrupt.data = run;
    run->signals_open = true;
    uv_signal_start(&run->term, signalled, SIGTERM);
    uv_signal_start(&run->interrupt, signalled, SIGINT);
    if (options->config &&
        reload_open(&run->loop, options, &run->plans, run->pipeline, &run->log, &run->reload, err) < 0)
        return EXIT_INTERNAL;
    if (froe_recovered(run->engine) > 0)
        log_info(&run->log, "queued again what a froe that died left running",
                 LOG_INT("objects", (int64_t)froe_recovered(run->engine)));
    log_info(&run->log, "draining", LOG_STR("buckets", options->bucket_prefix),
             LOG_STR("handler", plans_describe(&run->plans)), LOG_INT("slots", options->slots),
             LOG_STR("store", options->store_shown));
    return pipeline_begin(run->pipeline, err) < 0 ? EXIT_STORE : 0;
}

/* ---- dry run ---- */

static bool deletes(const struct config_then *then) {
    return !then || then->kind == THEN_DELETE;
}

static bool deletes_all(const struct options *options) {
    size_t n = options->rules ? options->rules->n : 0;
    bool all = n > 0 || deletes(options->then);
    for (size_t i = 0; i < n; i++)
        all &= deletes(config_then_of(options, &options->rules->rules[i]));
    return all;
}

static void dry_bucket(void *arg, const struct pipeline_bucket *bucket, const struct s3_result *failed) {
    struct run *run = arg;
    if (failed && !pipeline_plan_wants(&run->dry_plan->pipeline, bucket->name, NULL)) {
        printf("%s: no rule wants anything of it, and it cannot be counted: %s\n", bucket->name.p, failed->text);
        fflush(stdout);
        return;
    }
    if (failed) {
        fprintf(stderr, "froe: %s\n", failed->text);
        run->exit_code = failed->status == S3_DENIED ? EXIT_DENIED : EXIT_UNREACHABLE;
        return;
    }
    _cleanup_buf_ struct buf size = {0};
    text_add_size(&size, bucket->bytes);
    printf("%s: would process%s %llu objects (%s)", bucket->name.p, deletes_all(run->options) ? " and delete" : "",
           (unsigned long long)bucket->listed, size.p ? size.p : "");
    for (int skip = SKIP_NOT + 1; skip < SKIP_KINDS; skip++)
        if (bucket->skipped[skip])
            printf(", skip %llu %s", (unsigned long long)bucket->skipped[skip],
                   pipeline_skip_name((enum pipeline_skip)skip));
    putchar('\n');
    fflush(stdout);
}

static int exit_code_of(enum s3_status status) {
    switch (status) {
    case S3_DENIED:
        return EXIT_DENIED;
    case S3_CREDENTIALS:
        return EXIT_CREDENTIALS;
    case S3_NO_MEMORY:
        return EXIT_INTERNAL;
    default:
        return EXIT_UNREACHABLE;
    }
}

static void dry_end(struct run *run) {
    plan_free(run->dry_plan);
    run->dry_plan = NULL;
    aws_close(&run->aws, nothing, NULL);
}

static void dry_done(void *arg, const struct s3_result *failed, uint64_t buckets) {
    struct run *run = arg;
    if (failed) {
        fprintf(stderr, "froe: %s\n", failed->text);
        run->exit_code = exit_code_of(failed->status);
    } else if (buckets == 0)
        printf("no bucket's name starts with '%s'\n", run->options->bucket_prefix);
    dry_end(run);
}

static int dry_run(struct run *run, struct err *err) {
    const struct options *options = run->options;
    if (plan_new(options, &run->dry_plan) < 0)
        return err_set(err, -ENOMEM, "out of memory"), EXIT_INTERNAL;
    const struct dry_run_options dry = {
        .bucket_prefix = options->bucket_prefix,
        .plan = &run->dry_plan->pipeline,
        .s3 = run->aws.s3,
        .bucket = dry_bucket,
        .done = dry_done,
        .arg = run,
    };
    return dry_run_start(&dry, err) < 0 ? EXIT_INTERNAL : 0;
}

int command_run(const struct options *options) {
    struct run run = {.options = options};
    struct err err = {0};
    command_log_init(&run.log, options);
    if (uv_loop_init(&run.loop) < 0)
        return command_fail(EXIT_INTERNAL, "no event loop");
    /* A lister and a processed object use one connection each, and a slot has one of either. */
    int r = aws_open(&run.loop, options->slots + 8, &run.aws, &err);
    if (r == 0 && options->dry_run)
        r = dry_run(&run, &err);
    else if (r == 0) {
        r = open_engine(&run, &err);
        if (r == 0)
            r = open_plan(&run, &err);
        raise_descriptor_limit(); /* after the spawner, whose programs get the limit that froe was given */
        if (r == 0)
            r = open_pipeline(&run, &err);
        if (r == 0)
            r = begin(&run, &err);
    }
    if (r != 0) {
        run.exit_code = r;
        command_fail(r, err.text);
        if (run.engine && run.started)
            stop(&run, FROE_STOP_NOW);
        else
            close_all(&run);
    }
    uv_run(&run.loop, UV_RUN_DEFAULT);
    plan_free(run.dry_plan);
    if (uv_loop_close(&run.loop) < 0 && run.exit_code == EXIT_DRAINED)
        return command_fail(EXIT_INTERNAL, "something was left open at the end");
    return run.exit_code;
}
