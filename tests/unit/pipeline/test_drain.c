/* test_drain.c - whole drains against a little server, with faults: nothing is deleted unprocessed, nothing is left. */
#include "world.h"

static void check_processed(void *arg, const struct fake_object *object) {
    const struct world *world = arg;
    char name[S3_KEY_MAX + 160];
    snprintf(name, sizeof name, "%s/%s %s", object->bucket, object->key, object->etag);
    if (world_processed(world, name) == 0)
        fail_msg("%s was deleted unprocessed", name);
}

static void fill(struct world *world, const char *bucket, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char key[32];
        snprintf(key, sizeof key, "object-%03zu", i);
        fake_put(&world->s3, bucket, key, i % 5 ? "body" : "");
    }
}

/* A drain of three uneven buckets is under way. */
static struct world *begin(void **state) {
    struct world *world = *state;
    world->s3.deleting = check_processed;
    world->s3.arg = world;
    world->options.once = true;
    world_open(world);
    struct err err = {0};
    assert_int_equal(pipeline_begin(world->pipeline, &err), 0);
    return world;
}

static void assert_drained(struct world *world) {
    assert_int_equal(world->ended, 1);
    assert_int_equal(world->end, PIPELINE_DRAINED);
    assert_int_equal(fake_objects_left(&world->s3), 0);
    assert_int_equal(fake_count(&world->engine, PIPELINE_PROCESS_OBJECT, FAKE_RUNNING), 0);
}

static void test_drains_to_the_last_object(void **state) {
    struct world *world = *state;
    world->s3.page = 2;
    fill(world, "bucket-1", 130);
    fill(world, "bucket-2", 7);
    fill(world, "bucket-3", 1);
    begin(state);
    world_drain(world);
    assert_drained(world);
    assert_int_equal(world->handler.started, 138);
    assert_int_equal(world->s3.sent[FAKE_GET], 138);
    assert_int_equal(world->s3.sent[FAKE_DELETE], 138);
    assert_int_equal(world->s3.sent[FAKE_PROBE], 1);
    assert_int_equal(world->s3.sent[FAKE_HEAD], 0);
}

static void test_drains_whatever_the_look_ahead(void **state) {
    static const uint64_t look_aheads[] = {1, 2, 3, 7, 50};
    for (size_t i = 0; i < 5; i++) {
        struct world *world = *state;
        world->options.look_ahead = look_aheads[i];
        fill(world, "bucket-1", 40);
        fill(world, "bucket-2", 3);
        begin(state);
        world_drain(world);
        assert_drained(world);
        world_down(state);
        world_up(state);
    }
}

static void test_drains_an_unguarded_server(void **state) {
    struct world *world = *state;
    world->s3.ignores_if_match = true;
    fill(world, "bucket-1", 30);
    begin(state);
    world_drain(world);
    assert_drained(world);
    assert_int_equal(world->s3.sent[FAKE_HEAD], 30);
}

static void test_drains_versioned_buckets(void **state) {
    struct world *world = *state;
    world->s3.versioned = true;
    fill(world, "bucket-1", 30);
    begin(state);
    world_drain(world);
    assert_drained(world);
    assert_int_equal(world->s3.sent[FAKE_PROBE], 0);
}

/* A writer overwrites what is being processed, over and over: each generation that is gone was processed. */
static void test_overwritten_objects_are_processed_again(void **state) {
    for (int ignores = 0; ignores < 2; ignores++) {
        struct world *world = *state;
        world->s3.ignores_if_match = ignores;
        fill(world, "bucket-1", 10);
        begin(state);
        for (int round = 0; round < 200; round++) {
            world_settle(world);
            struct fake_job *job = world_job(world);
            if (job && round % 3 == 0) {
                char key[32];
                snprintf(key, sizeof key, "object-%03d", round % 10);
                if (fake_find(&world->s3, "bucket-1", key))
                    fake_put(&world->s3, "bucket-1", key, "newer");
            }
            if (!fake_serve(&world->s3) && job && job->finished)
                world_job_end(world, job, HANDLER_OK, "");
        }
        world_drain(world);
        assert_drained(world);
        assert_true(world->handler.n_processed > 10);
        world_down(state);
        world_up(state);
    }
}

/* Each kind of call fails for a while in each way that may pass. */
static void test_drains_through_failures(void **state) {
    static const enum s3_status failures[] = {S3_SERVER, S3_THROTTLED, S3_TIMEOUT, S3_CORRUPT};
    for (enum fake_op op = 0; op < FAKE_OPS; op++) {
        for (size_t i = 0; i < 4; i++) {
            struct world *world = *state;
            world->s3.ignores_if_match = op == FAKE_HEAD;
            world->s3.fail[op] = failures[i];
            world->s3.fail_n[op] = 3;
            fill(world, "bucket-1", 12);
            fill(world, "bucket-2", 2);
            begin(state);
            world_drain(world);
            assert_drained(world);
            assert_int_equal(world->engine.parked, 0);
            world_down(state);
            world_up(state);
        }
    }
}

/* ---- memory ---- */

static uint64_t drain_without_memory(void **state, uint64_t fail_at, int sticky_for) {
    struct world *world = *state;
    world->options.look_ahead = 4;
    fill(world, "bucket-1", 9);
    fill(world, "bucket-2", 2);
    begin(state);
    mem_fail_at(fail_at, sticky_for > 0);
    for (int turn = 0; turn < sticky_for; turn++) { /* a time of no memory at all, which passes */
        world_settle(world);
        if (!fake_serve(&world->s3) && world_job(world) && world_job(world)->finished)
            world_job_end(world, world_job(world), HANDLER_OK, "");
        world->mono_us += 10 * US_PER_MS;
    }
    if (sticky_for)
        mem_fail_at(0, 0);
    world_drain(world);
    uint64_t count = mem_fail_count();
    mem_fail_at(0, 0);
    assert_drained(world);
    assert_int_equal(world->engine.parked, 0);
    /* Once each, but for the one whose end could not be remembered, should it be that. */
    assert_in_range(world->handler.n_processed, 11, 11 + 1 + (size_t)sticky_for);
    world_down(state);
    world_up(state);
    return count;
}

static void test_any_allocation_may_fail(void **state) {
    uint64_t count = drain_without_memory(state, UINT64_MAX, 0);
    assert_true(count > 50);
    for (uint64_t n = 1; n <= count; n++)
        drain_without_memory(state, n, 0);
}

static void test_memory_may_be_out_for_a_while(void **state) {
    for (uint64_t n = 1; n <= 60; n += 3)
        drain_without_memory(state, n, 20);
}

static void test_making_it_without_memory(void **state) {
    struct world *world = *state;
    for (uint64_t n = 1;; n++) {
        struct err err = {0};
        mem_fail_at(n, 0);
        int r = pipeline_new(&world->loop, &world->options, &world->pipeline, &err);
        mem_fail_at(0, 0);
        if (r == 0)
            break;
        assert_int_equal(r, -ENOMEM);
        assert_null(world->pipeline);
        world->engine.n_workflows = 0;
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)
    const struct CMUnitTest tests[] = {
        TEST(test_drains_to_the_last_object),
        TEST(test_drains_whatever_the_look_ahead),
        TEST(test_drains_an_unguarded_server),
        TEST(test_drains_versioned_buckets),
        TEST(test_overwritten_objects_are_processed_again),
        TEST(test_drains_through_failures),
        TEST(test_any_allocation_may_fail),
        TEST(test_memory_may_be_out_for_a_while),
        TEST(test_making_it_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
