/* test_guard.c - what stands between a delete and a newer object: the probe, If-Match, versions, the compared HEAD. */
#include "world.h"

static struct world *asking(void **state) {
    struct world *world = *state;
    world_open(world);
    return world;
}

static froe_task *processed(struct world *world, const char *key, const char *version_id) {
    froe_task *task = world_object(world, "bucket-1", key);
    world_process(world, "\"e1\"", version_id);
    return task;
}

static enum pipeline_guard guard_of(struct world *world) {
    return world_bucket(world, "bucket-1")->stats.guard;
}

/* The server has answered the probe in a way that makes it unguarded. */
static struct world *unguarded(void **state) {
    struct world *world = asking(state);
    processed(world, "first", "");
    fake_end(fake_call(&world->s3, FAKE_PROBE), S3_OK);
    fake_head(fake_call(&world->s3, FAKE_HEAD), "\"e1\"");
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    world_settle(world);
    assert_int_equal(guard_of(world), GUARD_UNGUARDED);
    return world;
}

static void test_one_probe_for_all(void **state) {
    struct world *world = asking(state);
    static const char *const keys[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++)
        processed(world, keys[i], "");
    assert_int_equal(world->s3.sent[FAKE_PROBE], 1);
    assert_int_equal(world->s3.sent[FAKE_DELETE], 0);
    assert_int_equal(guard_of(world), GUARD_UNKNOWN);
    fake_end(fake_call(&world->s3, FAKE_PROBE), S3_NO_KEY);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(fake_call(&world->s3, FAKE_DELETE)->if_match, "\"e1\"");
        fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    }
    processed(world, "d", "");
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(world->s3.sent[FAKE_PROBE], 1);
    assert_int_equal(world->s3.sent[FAKE_HEAD], 0);
    assert_int_equal(world->engine.done, 4);
    assert_int_equal(guard_of(world), GUARD_IF_MATCH);
}

static void test_412_to_the_probe_is_as_good(void **state) {
    struct world *world = asking(state);
    processed(world, "a", "");
    fake_end(fake_call(&world->s3, FAKE_PROBE), S3_PRECONDITION);
    assert_string_equal(fake_call(&world->s3, FAKE_DELETE)->if_match, "\"e1\"");
    assert_int_equal(guard_of(world), GUARD_IF_MATCH);
}

static void test_unguarded_compares_a_head_first(void **state) {
    struct world *world = unguarded(state);
    processed(world, "same", "");
    assert_null(fake_call(&world->s3, FAKE_DELETE)); /* not before the answer */
    fake_head(fake_call(&world->s3, FAKE_HEAD), "\"e1\"");
    assert_string_equal(fake_call(&world->s3, FAKE_DELETE)->if_match,
                        "\"e1\""); /* some servers honour it all the same */
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    uint64_t deletes = world->s3.sent[FAKE_DELETE];

    froe_task *task = processed(world, "other", "");
    fake_head(fake_call(&world->s3, FAKE_HEAD), "\"e2\"");
    assert_int_equal(task->end, FAKE_AGAIN);
    assert_int_equal(task->checkpoint.n, 0);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.again, 1);
    task->due_mono_us = INT64_MAX;

    task = processed(world, "no ETag any more", "");
    fake_head(fake_call(&world->s3, FAKE_HEAD), "");
    assert_int_equal(task->end, FAKE_AGAIN);
    task->due_mono_us = INT64_MAX;

    processed(world, "gone", "");
    fake_end(fake_call(&world->s3, FAKE_HEAD), S3_NO_KEY);
    assert_int_equal(world->engine.done, 3);

    task = processed(world, "denied", "");
    fake_end(fake_call(&world->s3, FAKE_HEAD), S3_DENIED);
    assert_int_equal(task->end, FAKE_FAILED);
    assert_true(task->checkpoint.n > 0);
    task->due_mono_us = INT64_MAX;

    task = processed(world, "unreachable", "");
    fake_end(fake_call(&world->s3, FAKE_HEAD), S3_UNREACHABLE);
    assert_int_equal(task->end, FAKE_AGAIN);
    assert_true(task->checkpoint.n > 0);
    assert_int_equal(world->s3.sent[FAKE_DELETE], deletes);
}

static void test_server_that_refuses_the_header_gets_none(void **state) {
    struct world *world = asking(state);
    world->s3.refuses_if_match = true;
    processed(world, "a", "");
    fake_end(fake_call(&world->s3, FAKE_PROBE), S3_NOT_SUPPORTED);
    fake_head(fake_call(&world->s3, FAKE_HEAD), "\"e1\"");
    struct s3_call *deletion = fake_call(&world->s3, FAKE_DELETE);
    assert_string_equal(deletion->if_match, "");
    fake_end(deletion, S3_OK);
    assert_int_equal(world->engine.done, 1);
    assert_int_equal(guard_of(world), GUARD_UNGUARDED);
}

static void test_header_refused_only_at_the_delete(void **state) {
    struct world *world = asking(state);
    processed(world, "a", "");
    fake_end(fake_call(&world->s3, FAKE_PROBE), S3_NO_KEY);
    world->s3.refuses_if_match = true;
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_NOT_SUPPORTED);
    fake_head(fake_call(&world->s3, FAKE_HEAD), "\"e1\"");
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(world->engine.done, 1);
    /* A server that refuses every delete is not asked for ever. */
    froe_task *task = processed(world, "b", "");
    fake_head(fake_call(&world->s3, FAKE_HEAD), "\"e1\"");
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_NOT_SUPPORTED);
    assert_int_equal(task->end, FAKE_FAILED);
}

static void test_denied_probe_takes_the_careful_way(void **state) {
    struct world *world = asking(state);
    processed(world, "a", "");
    fake_end(fake_call(&world->s3, FAKE_PROBE), S3_DENIED);
    fake_head(fake_call(&world->s3, FAKE_HEAD), "\"e1\"");
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(world->engine.done, 1);
}

/* ---- probes that fail ---- */

static void test_probe_that_could_not_be_asked_costs_no_attempt(void **state) {
    struct world *world = asking(state);
    pipeline_note(world->pipeline, NULL, &(struct s3_result){.status = S3_OK});
    static const enum s3_status passing[] = {S3_UNREACHABLE, S3_THROTTLED, S3_CREDENTIALS, S3_NO_MEMORY};
    froe_task *task = processed(world, "a", "");
    for (size_t i = 0; i < 4; i++) {
        fake_end(fake_call(&world->s3, FAKE_PROBE), passing[i]);
        assert_int_equal(task->end, FAKE_AGAIN);
        assert_int_equal(task->attempt, 1);
        assert_int_equal(world->s3.sent[FAKE_DELETE], 0);
        world->mono_us += 20 * US_PER_S;
        world_settle(world);
    }
    fake_end(fake_call(&world->s3, FAKE_PROBE), S3_NO_KEY);
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(world->handler.started, 1);
}

static void test_probe_that_always_fails_parks_in_the_end(void **state) {
    struct world *world = asking(state);
    static const enum s3_status failing[] = {S3_SERVER, S3_BAD_REQUEST, S3_CONFLICT, S3_TIMEOUT};
    froe_task *task = processed(world, "a", "");
    for (size_t i = 0; i < 4; i++) {
        fake_end(fake_call(&world->s3, FAKE_PROBE), failing[i]);
        world->mono_us += 20 * US_PER_S;
        world_settle(world);
    }
    assert_int_equal(task->state, FAKE_PARKED);
    assert_int_equal(world->s3.sent[FAKE_DELETE], 0);
    assert_int_equal(world->handler.started, 1);
}

static void test_probe_in_a_bucket_that_is_gone(void **state) {
    struct world *world = asking(state);
    processed(world, "a", "");
    world_object(world, "bucket-2", "b");
    world_process(world, "\"e1\"", "");
    fake_end(fake_call(&world->s3, FAKE_PROBE), S3_NO_BUCKET);
    assert_int_equal(world->engine.done, 1); /* the one in that bucket: it is gone with it */
    assert_string_equal(fake_call(&world->s3, FAKE_PROBE)->bucket, "bucket-2");
    fake_end(fake_call(&world->s3, FAKE_PROBE), S3_NO_KEY);
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(world->engine.done, 2);
}

static void test_probe_that_cannot_be_made(void **state) {
    struct world *world = asking(state);
    froe_task *task = world_object(world, "bucket-1", "a");
    struct s3_call *get = fake_call(&world->s3, FAKE_GET);
    fake_get_info(get, "\"e1\"", "", 0);
    fake_end(get, S3_OK);
    world->s3.refuse = 1;
    world_job_end(world, world_job(world), HANDLER_OK, "");
    assert_int_equal(task->end, FAKE_AGAIN);
    assert_true(task->checkpoint.n > 0);
}

/* ---- versions ---- */

static void test_version_is_deleted_by_its_id(void **state) {
    struct world *world = asking(state);
    processed(world, "a", "v1");
    assert_int_equal(world->s3.sent[FAKE_PROBE], 0); /* it would leave a delete marker */
    struct s3_call *deletion = fake_call(&world->s3, FAKE_DELETE);
    assert_string_equal(deletion->version_id, "v1");
    assert_string_equal(deletion->if_match, "");
    assert_int_equal(guard_of(world), GUARD_VERSION);
    fake_end(deletion, S3_OK);
    froe_task *task = processed(world, "b", "v2");
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_NOT_SUPPORTED); /* nothing to fall back on */
    assert_int_equal(task->end, FAKE_FAILED);
}

static void test_null_version_is_no_name(void **state) {
    struct world *world = asking(state);
    processed(world, "a", "null"); /* a bucket whose versioning is suspended */
    assert_int_equal(world->s3.sent[FAKE_PROBE], 0);
    assert_null(fake_call(&world->s3, FAKE_DELETE));
    fake_head(fake_call(&world->s3, FAKE_HEAD), "\"e1\"");
    struct s3_call *deletion = fake_call(&world->s3, FAKE_DELETE);
    assert_string_equal(deletion->version_id, "null"); /* without it a delete marker would stay */
    assert_string_equal(deletion->if_match, "");
    fake_end(deletion, S3_OK);
    froe_task *task = processed(world, "b", "null");
    fake_head(fake_call(&world->s3, FAKE_HEAD), "\"e2\"");
    assert_int_equal(task->end, FAKE_AGAIN);
    assert_int_equal(world->s3.sent[FAKE_DELETE], 1);
}

/* ---- the lease ---- */

static void test_lease_lost_while_the_probe_runs(void **state) {
    struct world *world = asking(state);
    froe_task *told = processed(world, "a", ""), *not_told = processed(world, "b", "");
    world->engine.lost = true;
    fake_cancel(told, FROE_CANCELLED_LEASE_LOST);
    fake_end(fake_call(&world->s3, FAKE_PROBE), S3_NO_KEY);
    assert_int_equal(world->s3.sent[FAKE_DELETE], 0);
    assert_int_equal(told->end, FAKE_AGAIN);
    assert_int_equal(not_told->end, FAKE_AGAIN);
    assert_true(not_told->checkpoint.n > 0);
}

static void test_lease_lost_between_head_and_delete(void **state) {
    struct world *world = unguarded(state);
    uint64_t deletes = world->s3.sent[FAKE_DELETE];
    froe_task *task = processed(world, "not told", "");
    world->engine.lost = true;
    fake_head(fake_call(&world->s3, FAKE_HEAD), "\"e1\"");
    assert_int_equal(task->end, FAKE_AGAIN);
    world->engine.lost = false;
    task->due_mono_us = INT64_MAX;
    task = processed(world, "told", "");
    fake_cancel(task, FROE_CANCELLED_LEASE_LOST);
    assert_true(fake_call(&world->s3, FAKE_HEAD)->cancelled);
    fake_head(fake_call(&world->s3, FAKE_HEAD), "\"e1\""); /* it was answered already */
    assert_int_equal(task->end, FAKE_AGAIN);
    assert_int_equal(world->s3.sent[FAKE_DELETE], deletes);
}

static void test_lease_lost_before_the_probe(void **state) {
    struct world *world = asking(state);
    froe_task *task = world_object(world, "bucket-1", "a");
    struct s3_call *get = fake_call(&world->s3, FAKE_GET);
    fake_get_info(get, "\"e1\"", "", 0);
    fake_end(get, S3_OK);
    world->engine.lost = true;
    world_job_end(world, world_job(world), HANDLER_OK, "");
    assert_int_equal(task->end, FAKE_AGAIN);
    assert_int_equal(world->s3.sent[FAKE_PROBE], 0);
    assert_true(task->checkpoint.n > 0);
}

static void test_timeout_and_stop_wait_for_the_probe(void **state) {
    struct world *world = asking(state);
    froe_task *late = processed(world, "a", ""), *stopped = processed(world, "b", "");
    fake_cancel(late, FROE_CANCELLED_TIMEOUT);
    fake_cancel(stopped, FROE_CANCELLED_STOP);
    assert_int_equal(late->state, FAKE_RUNNING);
    fake_end(fake_call(&world->s3, FAKE_PROBE), S3_NO_KEY);
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(world->engine.done, 2);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)
    const struct CMUnitTest tests[] = {
        TEST(test_one_probe_for_all),
        TEST(test_412_to_the_probe_is_as_good),
        TEST(test_unguarded_compares_a_head_first),
        TEST(test_server_that_refuses_the_header_gets_none),
        TEST(test_header_refused_only_at_the_delete),
        TEST(test_denied_probe_takes_the_careful_way),
        TEST(test_probe_that_could_not_be_asked_costs_no_attempt),
        TEST(test_probe_that_always_fails_parks_in_the_end),
        TEST(test_probe_in_a_bucket_that_is_gone),
        TEST(test_probe_that_cannot_be_made),
        TEST(test_version_is_deleted_by_its_id),
        TEST(test_null_version_is_no_name),
        TEST(test_lease_lost_while_the_probe_runs),
        TEST(test_lease_lost_between_head_and_delete),
        TEST(test_lease_lost_before_the_probe),
        TEST(test_timeout_and_stop_wait_for_the_probe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
