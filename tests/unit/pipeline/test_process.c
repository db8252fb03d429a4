/* test_process.c - process_object: what happens to an object in every way that download, job and delete can go. */
#include "world.h"

#define KEY "bucket-1/a key"

static struct world *trusting(void **state) {
    struct world *world = *state;
    world->options.trust_if_match = true;
    world_open(world);
    return world;
}

static void time_passes(struct world *world) {
    world_settle(world);
    world->mono_us += 20 * US_PER_S;
    world_settle(world);
}

static void test_reads_processes_and_deletes_what_it_read(void **state) {
    struct world *world = trusting(state);
    world_object(world, "bucket-1", "a key");
    world_process(world, "\"e1\"", "");
    struct s3_call *deletion = fake_call(&world->s3, FAKE_DELETE);
    assert_non_null(deletion);
    assert_string_equal(deletion->bucket, "bucket-1");
    assert_string_equal(deletion->key, "a key");
    assert_string_equal(deletion->if_match, "\"e1\"");
    assert_string_equal(deletion->version_id, "");
    fake_end(deletion, S3_OK);
    assert_int_equal(world->engine.done, 1);
    assert_int_equal(world->s3.sent[FAKE_GET], 1);
    assert_int_equal(world->s3.sent[FAKE_PROBE], 0);
    assert_int_equal(world_processed(world, KEY " \"e1\""), 1);
    const struct pipeline_bucket *stats = &world_bucket(world, "bucket-1")->stats;
    assert_int_equal(stats->done, 1);
    assert_int_equal(stats->gone, 0);
    assert_int_equal(stats->bytes, 5);
    assert_int_equal(stats->guard, GUARD_IF_MATCH);
    assert_int_equal(world_bucket(world, "bucket-1")->running, 0);
}

static void test_keys_are_any_bytes(void **state) {
    struct world *world = trusting(state);
    static const char *const keys[] = {"/", "//a//", "../..", "a\nb", "\xff\xfe", "\"", "%2F+ ", "\xc3\xa4"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        world_object(world, "bucket-1", keys[i]);
        assert_string_equal(fake_call(&world->s3, FAKE_GET)->key, keys[i]);
        world_process(world, "\"e\"", "");
        assert_string_equal(fake_call(&world->s3, FAKE_DELETE)->key, keys[i]);
        fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
        world_settle(world);
    }
    char longest[S3_KEY_MAX + 1];
    memset(longest, 'k', S3_KEY_MAX);
    longest[S3_KEY_MAX] = '\0';
    world_object(world, "bucket-1", longest);
    world_process(world, "\"e\"", "");
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(world->engine.done, 9);
}

static void test_run_without_a_bucket_in_its_key_is_parked(void **state) {
    struct world *world = trusting(state);
    const froe_item item = {.child_key = "no-slash", .child_key_n = 8};
    const froe_spawn spawn = {.size = sizeof spawn,
                              .workflow = PIPELINE_PROCESS_OBJECT,
                              .input = "{\"bucket\":\"b\"}",
                              .items = &item,
                              .n = 1};
    froe_spawn_many(&world->engine, &spawn, NULL, NULL, NULL);
    world_settle(world);
    assert_int_equal(world->engine.parked, 1);
}

/* ---- processed, but not deleted ---- */

/* Of an earlier froe on the same store, which was told another prefix or other patterns. */
static void test_what_the_prefix_or_the_patterns_leave_out_is_left_alone(void **state) {
    struct world *world = *state;
    static const char *const exclude[] = {"keep/*"};
    world->plan.filter.exclude = exclude;
    world->plan.filter.n_exclude = 1;
    world->options.trust_if_match = true;
    world_open(world);
    assert_null(world_object(world, "other-1", "k"));
    assert_null(world_object(world, "bucket-1", "keep/k"));
    assert_int_equal(world->s3.sent[FAKE_GET], 0);
    assert_int_equal(world->engine.parked, 0);
    assert_int_equal(fake_count(&world->engine, PIPELINE_PROCESS_OBJECT, FAKE_QUEUED), 0);
    const froe_item item = {.child_key = "other-1", .child_key_n = 7};
    const froe_spawn spawn = {.size = sizeof spawn,
                              .workflow = PIPELINE_FETCH_OBJECTS,
                              .input = "{\"bucket\":\"other-1\"}",
                              .items = &item,
                              .n = 1};
    assert_int_equal(froe_spawn_many(&world->engine, &spawn, NULL, NULL, NULL), FROE_OK);
    world_settle(world);
    assert_int_equal(world->s3.sent[FAKE_LIST_OBJECTS], 0);
    /* what was processed already is deleted */
    world_object(world, "bucket-1", "k");
    world_process(world, "\"e\"", "");
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_SERVER);
    world->plan.filter.exclude = (const char *const[]){"*"};
    time_passes(world);
    assert_int_equal(world->s3.sent[FAKE_DELETE], 2);
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(world->s3.sent[FAKE_GET], 1);
}

static void test_failed_delete_never_runs_the_handler_again(void **state) {
    struct world *world = trusting(state);
    froe_task *task = world_object(world, "bucket-1", "a key");
    world_process(world, "\"e1\"", "");
    for (uint32_t attempt = 1; attempt <= 4; attempt++) {
        assert_int_equal(task->attempt, attempt);
        struct s3_call *deletion = fake_call(&world->s3, FAKE_DELETE);
        assert_non_null(deletion);
        assert_string_equal(deletion->if_match, "\"e1\"");
        fake_end(deletion, S3_DENIED);
        assert_non_null(strstr(task->error.p, "processed, but not deleted"));
        time_passes(world);
    }
    assert_int_equal(task->state, FAKE_PARKED);
    fake_retry(task);
    world_settle(world);
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(world->engine.done, 1);
    assert_int_equal(world->handler.started, 1);
    assert_int_equal(world->s3.sent[FAKE_GET], 1);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.failed, 4);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.bytes, 5); /* of one processing, whenever it is deleted */
}

static void test_delete_that_is_not_the_objects_fault_counts_no_attempt(void **state) {
    struct world *world = trusting(state);
    static const enum s3_status passing[] = {S3_THROTTLED, S3_UNREACHABLE, S3_NO_MEMORY, S3_CREDENTIALS};
    pipeline_note(world->pipeline, NULL, &(struct s3_result){.status = S3_OK}); /* the keys have worked before */
    froe_task *task = world_object(world, "bucket-1", "a key");
    world_process(world, "\"e1\"", "");
    for (int round = 0; round < 20; round++) {
        fake_end(fake_call(&world->s3, FAKE_DELETE), passing[round % 4]);
        assert_int_equal(task->end, FAKE_AGAIN);
        assert_true(task->due_mono_us > world->mono_us); /* not at once */
        time_passes(world);
    }
    assert_int_equal(task->attempt, 1);
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(world->engine.done, 1);
    assert_int_equal(world->handler.started, 1);
}

static void test_version_id_survives_in_the_checkpoint(void **state) {
    struct world *world = trusting(state);
    world_object(world, "bucket-1", "a key");
    world_process(world, "\"e1\"", "v7");
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_SERVER);
    time_passes(world);
    struct s3_call *deletion = fake_call(&world->s3, FAKE_DELETE);
    assert_string_equal(deletion->version_id, "v7");
    assert_string_equal(deletion->if_match, "");
    fake_end(deletion, S3_OK);
    assert_int_equal(world->handler.started, 1);
}

static void test_foreign_checkpoints_are_not_trusted(void **state) {
    struct world *world = trusting(state);
    static const char *const odd[] = {"x", "processed", "processed\n", "processed\n\"e1\"", "\n\n\n"};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        world->engine.lost = false;
        froe_task *task = world_object(world, "bucket-1", "a key");
        fake_end(fake_call(&world->s3, FAKE_GET), S3_SERVER);
        froe_task_set_checkpoint(task, odd[i], strlen(odd[i]));
        time_passes(world);
        assert_non_null(fake_call(&world->s3, FAKE_GET));
        assert_null(fake_call(&world->s3, FAKE_DELETE));
        world_process(world, "\"e1\"", "");
        fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
        world_settle(world);
    }
    /* One that names neither ETag nor version would delete whatever is there. */
    froe_task *task = world_object(world, "bucket-1", "a key");
    fake_end(fake_call(&world->s3, FAKE_GET), S3_SERVER);
    froe_task_set_checkpoint(task, "processed\n\n", 11);
    time_passes(world);
    assert_null(fake_call(&world->s3, FAKE_DELETE));
    assert_non_null(fake_call(&world->s3, FAKE_GET));
}

/* ---- overwritten ---- */

static void test_overwritten_object_is_processed_afresh(void **state) {
    struct world *world = trusting(state);
    froe_task *task = world_object(world, "bucket-1", "a key");
    for (int round = 1; round <= 10; round++) {
        char etag[16];
        snprintf(etag, sizeof etag, "\"e%d\"", round);
        world_process(world, etag, "");
        fake_end(fake_call(&world->s3, FAKE_DELETE), S3_PRECONDITION);
        assert_int_equal(task->end, FAKE_AGAIN);
        assert_int_equal(task->attempt, 1);
        assert_int_equal(task->checkpoint.n, 0);
        world_settle(world);
    }
    world_process(world, "\"last\"", "");
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(world->handler.started, 11);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.again, 10);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.done, 1);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.failed, 0);
}

static void test_overwritten_before_the_delete_is_tried_again(void **state) {
    struct world *world = trusting(state);
    froe_task *task = world_object(world, "bucket-1", "a key");
    world_process(world, "\"e1\"", "");
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_SERVER);
    assert_int_equal(task->attempt, 2);
    time_passes(world);
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_PRECONDITION);
    world_settle(world);
    world_process(world, "\"e2\"", "");
    assert_int_equal(task->attempt, 1); /* attempts belong to a generation */
    assert_int_equal(world_processed(world, KEY " \"e2\""), 1);
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(world->engine.done, 1);
}

static void test_attempt_number_given_to_the_handler_is_the_generations(void **state) {
    struct world *world = trusting(state);
    world_object(world, "bucket-1", "a key");
    for (int i = 1; i <= 2; i++) {
        fake_get_info(fake_call(&world->s3, FAKE_GET), "\"e1\"", "", 0);
        assert_int_equal(world_job(world)->attempt, i);
        world_job_end(world, world_job(world), HANDLER_FAILED, "no");
        time_passes(world);
    }
    fake_get_info(fake_call(&world->s3, FAKE_GET), "\"e2\"", "", 0);
    assert_int_equal(world_job(world)->attempt, 1);
}

/* ---- the download's ends ---- */

static void test_missing_object_is_done(void **state) {
    struct world *world = trusting(state);
    world_object(world, "bucket-1", "a key");
    fake_end(fake_call(&world->s3, FAKE_GET), S3_NO_KEY);
    world_object(world, "bucket-1", "b");
    fake_end(fake_call(&world->s3, FAKE_GET), S3_NO_BUCKET);
    world_object(world, "bucket-1", "c"); /* somebody else deletes it while it is processed */
    world_process(world, "\"e1\"", "");
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_NO_KEY);
    assert_int_equal(world->engine.done, 3);
    assert_int_equal(world->handler.started, 1);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.gone, 2);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.done, 3);
}

static void test_archived_object_is_skipped_and_not_parked(void **state) {
    struct world *world = trusting(state);
    world_object(world, "bucket-1", "a key");
    fake_end(fake_call(&world->s3, FAKE_GET), S3_ARCHIVED);
    assert_int_equal(world->engine.dropped, 1);
    assert_int_equal(world->engine.parked, 0);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.skipped[SKIP_ARCHIVED], 1);
    assert_int_equal(world_bucket(world, "bucket-1")->running, 0);
}

static void test_failed_downloads(void **state) {
    struct world *world = trusting(state);
    static const struct {
        enum s3_status status;
        enum fake_end end;
    } cases[] = {
        {S3_CORRUPT, FAKE_FAILED},       {S3_SERVER, FAKE_FAILED},      {S3_DENIED, FAKE_FAILED},
        {S3_TIMEOUT, FAKE_FAILED},       {S3_BAD_REQUEST, FAKE_FAILED}, {S3_CONFLICT, FAKE_FAILED},
        {S3_NOT_SUPPORTED, FAKE_FAILED}, {S3_THROTTLED, FAKE_AGAIN},    {S3_UNREACHABLE, FAKE_AGAIN},
        {S3_NO_MEMORY, FAKE_AGAIN},      {S3_CREDENTIALS, FAKE_AGAIN},
    };
    pipeline_note(world->pipeline, NULL, &(struct s3_result){.status = S3_OK});
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int begun = 0; begun < 2; begun++) {
            char key[16];
            snprintf(key, sizeof key, "%zu-%d", i, begun);
            froe_task *task = world_object(world, "bucket-1", key);
            while (task->state == FAKE_QUEUED) { /* the bucket may be throttled */
                world->mono_us += US_PER_S;
                world_settle(world);
            }
            struct s3_call *get = NULL;
            LIST_EACH (link, &world->s3.calls)
                if (strcmp(LIST_ENTRY(link, struct s3_call, link)->key, key) == 0)
                    get = LIST_ENTRY(link, struct s3_call, link);
            assert_non_null(get);
            if (begun) {
                fake_get_info(get, "\"e1\"", "", 10);
                fake_get_data(get, "hel");
            }
            fake_end(get, cases[i].status);
            if (begun) {
                assert_int_equal(task->state, FAKE_RUNNING); /* not before the job is gone */
                assert_true(world_job(world)->aborted);
                world_job_end(world, world_job(world), HANDLER_ABORTED, "");
            }
            assert_int_equal(task->end, cases[i].end);
            assert_string_equal(task->error.p, "it failed");
            assert_int_equal(task->attempt, cases[i].end == FAKE_FAILED ? 2 : 1);
            task->due_mono_us = INT64_MAX; /* enough of it */
        }
    }
    assert_int_equal(world->handler.n_processed, 0);
    assert_int_equal(world->s3.sent[FAKE_DELETE], 0);
}

static void test_answer_that_names_nothing_to_delete_is_a_failure(void **state) {
    struct world *world = trusting(state);
    static const char *const versions[] = {"", "null"}; /* "null" names whatever is there without a version */
    for (size_t i = 0; i < 2; i++) {
        froe_task *task = world_object(world, "bucket-1", i ? "b" : "a");
        fake_get_info(fake_call(&world->s3, FAKE_GET), "", versions[i], 5);
        world_settle(world);
        assert_int_equal(task->end, FAKE_FAILED);
        assert_non_null(strstr(task->error.p, "neither"));
        assert_int_equal(world->handler.started, 0);
        task->due_mono_us = INT64_MAX;
    }
    /* A version id alone is enough. */
    world_object(world, "bucket-1", "c");
    world_process(world, "", "v1");
    assert_string_equal(fake_call(&world->s3, FAKE_DELETE)->version_id, "v1");
}

static void test_unknown_size_does_not_spoil_the_count(void **state) {
    struct world *world = trusting(state);
    world_object(world, "bucket-1", "a key");
    struct s3_call *get = fake_call(&world->s3, FAKE_GET);
    fake_get_info(get, "\"e1\"", "", S3_SIZE_UNKNOWN);
    fake_get_data(get, "hello");
    fake_end(get, S3_OK);
    world_job_end(world, world_job(world), HANDLER_OK, "");
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.bytes, 5);
}

static void test_request_that_cannot_be_made(void **state) {
    struct world *world = trusting(state);
    world->s3.refuse = 1;
    froe_task *task = world_object(world, "bucket-1", "a key");
    assert_int_equal(task->end, FAKE_AGAIN); /* memory is not the object's fault */
    time_passes(world);
    world_process(world, "\"e1\"", "");
    assert_int_equal(task->attempt, 1);
}

/* ---- the job's ends ---- */

static void test_failed_job_is_a_failed_attempt_and_stops_the_download(void **state) {
    struct world *world = trusting(state);
    static const enum handler_end ends[] = {HANDLER_FAILED, HANDLER_AGAIN};
    for (size_t i = 0; i < 2; i++) {
        froe_task *task = world_object(world, "bucket-1", i ? "b" : "a");
        struct s3_call *get = fake_call(&world->s3, FAKE_GET);
        fake_get_info(get, "\"e1\"", "", 10);
        fake_get_data(get, "hel");
        world_job_end(world, world_job(world), ends[i], "boom");
        assert_true(get->cancelled);
        assert_int_equal(task->state, FAKE_RUNNING);
        world_settle(world);
        assert_int_equal(task->end, FAKE_FAILED);
        assert_string_equal(task->error.p, "boom");
        task->due_mono_us = INT64_MAX;
    }
    assert_int_equal(world->s3.sent[FAKE_DELETE], 0);
}

static void test_job_that_fails_after_the_download(void **state) {
    struct world *world = trusting(state);
    froe_task *task = world_object(world, "bucket-1", "a key");
    fake_get_info(fake_call(&world->s3, FAKE_GET), "\"e1\"", "", 0);
    fake_end(fake_call(&world->s3, FAKE_GET), S3_OK);
    world_job_end(world, world_job(world), HANDLER_AGAIN, "");
    assert_int_equal(task->end, FAKE_FAILED);
    assert_true(task->error.n > 0); /* says something in any case */
    assert_int_equal(world->s3.sent[FAKE_DELETE], 0);
}

static void test_job_that_fails_while_it_is_being_aborted(void **state) {
    struct world *world = trusting(state);
    froe_task *task = world_object(world, "bucket-1", "a key");
    struct s3_call *get = fake_call(&world->s3, FAKE_GET);
    fake_get_info(get, "\"e1\"", "", 10);
    world_job_end(world, world_job(world), HANDLER_FAILED, "boom");
    fake_end(get, S3_CORRUPT); /* it ended before the cancel reached it */
    assert_int_equal(task->end, FAKE_FAILED);
    assert_int_equal(task->attempt, 2);
}

static void test_job_that_cannot_be_started(void **state) {
    struct world *world = trusting(state);
    static const struct {
        int code;
        enum fake_end end;
    } cases[] = {{-EAGAIN, FAKE_AGAIN}, {-ENOMEM, FAKE_AGAIN}, {-E2BIG, FAKE_FAILED}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char key[8];
        snprintf(key, sizeof key, "%zu", i);
        froe_task *task = world_object(world, "bucket-1", key);
        world->handler.refuse = cases[i].code;
        fake_get_info(fake_call(&world->s3, FAKE_GET), "\"e1\"", "", 5);
        assert_true(fake_call(&world->s3, FAKE_GET)->cancelled);
        world_settle(world);
        assert_int_equal(task->end, cases[i].end);
        assert_string_equal(task->error.p, "refused");
        assert_true(task->due_mono_us > world->mono_us);
        task->due_mono_us = INT64_MAX;
    }
}

static void test_handler_that_can_start_nothing_any_more_ends_the_pipeline(void **state) {
    struct world *world = trusting(state);
    froe_task *task = world_object(world, "bucket-1", "a key");
    world->handler.refuse = -EPIPE;
    fake_get_info(fake_call(&world->s3, FAKE_GET), "\"e1\"", "", 5);
    world_settle(world);
    assert_int_equal(world->ended, 1);
    assert_int_equal(world->end, PIPELINE_BROKEN);
    assert_int_equal(task->end, FAKE_AGAIN); /* not the object's fault */
}

static void test_back_pressure(void **state) {
    struct world *world = trusting(state);
    world->handler.full = true;
    world_object(world, "bucket-1", "a key");
    struct s3_call *get = fake_call(&world->s3, FAKE_GET);
    fake_get_info(get, "\"e1\"", "", 10);
    struct fake_job *job = world_job(world);
    assert_false(fake_get_data(get, "hello"));
    assert_true(get->paused);
    job->events.room(job->arg);
    assert_false(get->paused);
    assert_false(fake_get_data(get, "world"));
    job->full = false;
    job->events.room(job->arg);
    assert_false(get->paused);
    assert_true(fake_get_data(get, "!"));
    fake_end(get, S3_OK);
    world_job_end(world, job, HANDLER_OK, "");
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.bytes, 11);
}

static void test_paused_download_of_a_failed_job_ends(void **state) {
    struct world *world = trusting(state);
    world->handler.full = true;
    froe_task *task = world_object(world, "bucket-1", "a key");
    fake_get_info(fake_call(&world->s3, FAKE_GET), "\"e1\"", "", 10);
    fake_get_data(fake_call(&world->s3, FAKE_GET), "hello");
    world_job_end(world, world_job(world), HANDLER_FAILED, "boom");
    world_settle(world);
    assert_int_equal(task->end, FAKE_FAILED);
}

/* ---- cancelled, in every phase ---- */

enum phase { IN_REQUEST, IN_BODY, IN_PAUSE, IN_JOB, IN_DELETE, PHASES };

static froe_task *bring_to(struct world *world, enum phase phase) {
    world->handler.full = phase == IN_PAUSE;
    froe_task *task = world_object(world, "bucket-1", "a key");
    struct s3_call *get = fake_call(&world->s3, FAKE_GET);
    if (phase == IN_REQUEST)
        return task;
    fake_get_info(get, "\"e1\"", "", 10);
    fake_get_data(get, "hello");
    world->handler.full = false;
    if (phase == IN_BODY || phase == IN_PAUSE)
        return task;
    fake_end(get, S3_OK);
    if (phase == IN_JOB)
        return task;
    world_job_end(world, world_job(world), HANDLER_OK, "");
    assert_non_null(fake_call(&world->s3, FAKE_DELETE));
    return task;
}

static void test_timeout_is_a_failed_attempt_in_every_phase_before_the_delete(void **state) {
    struct world *world = trusting(state);
    for (enum phase phase = IN_REQUEST; phase < IN_DELETE; phase++) {
        froe_task *task = bring_to(world, phase);
        fake_cancel(task, FROE_CANCELLED_TIMEOUT);
        assert_int_equal(task->state, FAKE_RUNNING); /* what runs is ended first */
        world_settle(world);
        assert_int_equal(task->end, FAKE_FAILED);
        assert_string_equal(task->error.p, "timed out");
        assert_int_equal(task->attempt, 2);
        assert_int_equal(world->s3.sent[FAKE_DELETE], 0);
        time_passes(world); /* the next attempt does well */
        world_process(world, "\"e1\"", "");
        fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
        world->s3.sent[FAKE_DELETE] = 0;
        world_settle(world);
    }
}

static void test_timeout_while_deleting_lets_the_delete_end(void **state) {
    struct world *world = trusting(state);
    froe_task *task = bring_to(world, IN_DELETE);
    fake_cancel(task, FROE_CANCELLED_TIMEOUT);
    world_settle(world);
    assert_int_equal(task->state, FAKE_RUNNING);
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(world->engine.done, 1);
    task = bring_to(world, IN_DELETE);
    fake_cancel(task, FROE_CANCELLED_TIMEOUT);
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_TIMEOUT);
    time_passes(world);
    assert_null(fake_call(&world->s3, FAKE_GET)); /* processed, and remembered */
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_NO_KEY);
    assert_int_equal(world->engine.done, 2);
    assert_int_equal(world->handler.started, 2);
}

static void test_stop_counts_nothing(void **state) {
    struct world *world = trusting(state);
    for (enum phase phase = IN_REQUEST; phase < IN_DELETE; phase++) {
        froe_task *task = bring_to(world, phase);
        fake_cancel(task, FROE_CANCELLED_STOP);
        for (int i = 0; task->state == FAKE_RUNNING && i < 10; i++) {
            fake_s3_step(&world->s3);
            if (world_job(world) && world_job(world)->aborted)
                world_job_end(world, world_job(world), HANDLER_ABORTED, "");
        }
        assert_int_equal(task->end, FAKE_AGAIN);
        assert_int_equal(task->attempt, 1);
        assert_int_equal(world->s3.sent[FAKE_DELETE], 0);
        world_settle(world);
        world_process(world, "\"e1\"", "");
        fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
        world->s3.sent[FAKE_DELETE] = 0;
        world_settle(world);
    }
    froe_task *task = bring_to(world, IN_DELETE);
    fake_cancel(task, FROE_CANCELLED_STOP);
    assert_false(fake_call(&world->s3, FAKE_DELETE)->cancelled);
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(world->engine.done, 5);
}

/* The job ends well in the moment in which the run is cancelled: better deleted than processed twice. */
static void test_job_that_does_well_although_stopped_is_deleted(void **state) {
    struct world *world = trusting(state);
    froe_task *task = bring_to(world, IN_JOB);
    task->cancelled = FROE_CANCELLED_STOP;
    world_job_end(world, world_job(world), HANDLER_OK, "");
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(world->engine.done, 1);
}

static void test_lost_lease_never_deletes(void **state) {
    struct world *world = trusting(state);
    for (enum phase phase = IN_REQUEST; phase < PHASES; phase++) {
        froe_task *task = bring_to(world, phase);
        world->s3.sent[FAKE_DELETE] = 0;
        world->engine.lost = true;
        if (phase == IN_JOB) /* not told yet, only to be asked */
            world_job_end(world, world_job(world), HANDLER_OK, "");
        else
            fake_cancel(task, FROE_CANCELLED_LEASE_LOST);
        if (phase == IN_DELETE)
            assert_true(fake_call(&world->s3, FAKE_DELETE)->cancelled);
        for (int i = 0; task->state == FAKE_RUNNING && i < 10; i++) {
            fake_s3_step(&world->s3);
            if (world_job(world) && world_job(world)->aborted)
                world_job_end(world, world_job(world), HANDLER_ABORTED, "");
        }
        assert_int_equal(task->end, FAKE_AGAIN);
        assert_int_equal(world->s3.sent[FAKE_DELETE], 0);
        assert_int_equal(world->engine.done, phase);
        world->engine.lost = false;
        time_passes(world);
        if (fake_call(&world->s3, FAKE_GET))
            world_process(world, "\"e1\"", "");
        fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
        world_settle(world);
    }
}

static void test_lost_lease_is_noticed_before_a_job_is_started(void **state) {
    struct world *world = trusting(state);
    froe_task *task = bring_to(world, IN_REQUEST);
    world->engine.lost = true; /* not told yet, only to be asked */
    fake_get_info(fake_call(&world->s3, FAKE_GET), "\"e1\"", "", 5);
    assert_null(world_job(world));
    fake_s3_step(&world->s3);
    assert_int_equal(task->end, FAKE_AGAIN);
    assert_int_equal(world->engine.parked, 0);
}

static void test_lost_lease_is_noticed_before_a_delete_that_is_tried_again(void **state) {
    struct world *world = trusting(state);
    froe_task *task = bring_to(world, IN_DELETE);
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_SERVER);
    world->engine.lost = true;
    time_passes(world);
    assert_null(fake_call(&world->s3, FAKE_DELETE));
    assert_int_equal(task->end, FAKE_AGAIN);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)
    const struct CMUnitTest tests[] = {
        TEST(test_reads_processes_and_deletes_what_it_read),
        TEST(test_keys_are_any_bytes),
        TEST(test_run_without_a_bucket_in_its_key_is_parked),
        TEST(test_what_the_prefix_or_the_patterns_leave_out_is_left_alone),
        TEST(test_failed_delete_never_runs_the_handler_again),
        TEST(test_delete_that_is_not_the_objects_fault_counts_no_attempt),
        TEST(test_version_id_survives_in_the_checkpoint),
        TEST(test_foreign_checkpoints_are_not_trusted),
        TEST(test_overwritten_object_is_processed_afresh),
        TEST(test_overwritten_before_the_delete_is_tried_again),
        TEST(test_attempt_number_given_to_the_handler_is_the_generations),
        TEST(test_missing_object_is_done),
        TEST(test_archived_object_is_skipped_and_not_parked),
        TEST(test_failed_downloads),
        TEST(test_answer_that_names_nothing_to_delete_is_a_failure),
        TEST(test_unknown_size_does_not_spoil_the_count),
        TEST(test_request_that_cannot_be_made),
        TEST(test_failed_job_is_a_failed_attempt_and_stops_the_download),
        TEST(test_job_that_fails_after_the_download),
        TEST(test_job_that_fails_while_it_is_being_aborted),
        TEST(test_job_that_cannot_be_started),
        TEST(test_handler_that_can_start_nothing_any_more_ends_the_pipeline),
        TEST(test_back_pressure),
        TEST(test_paused_download_of_a_failed_job_ends),
        TEST(test_timeout_is_a_failed_attempt_in_every_phase_before_the_delete),
        TEST(test_timeout_while_deleting_lets_the_delete_end),
        TEST(test_stop_counts_nothing),
        TEST(test_job_that_does_well_although_stopped_is_deleted),
        TEST(test_lost_lease_never_deletes),
        TEST(test_lost_lease_is_noticed_before_a_job_is_started),
        TEST(test_lost_lease_is_noticed_before_a_delete_that_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
