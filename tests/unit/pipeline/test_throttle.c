/* test_throttle.c - a bucket that S3 slows down: half as many at once and a pause, then one more per round of
 * successes. */
#include "world.h"

static struct bucket *busy(void **state, uint32_t running) {
    struct world *world = *state;
    world_open(world);
    struct bucket *bucket = bucket_get(world->pipeline, BYTES("bucket-1"));
    assert_non_null(bucket);
    bucket->running = running;
    return bucket;
}

static const struct fake_limit *limit_of(struct world *world) {
    struct list *first = world->engine.limits.next;
    return first == &world->engine.limits ? NULL : LIST_ENTRY(first, struct fake_limit, link);
}

static void after_the_pause(struct world *world) {
    world->mono_us = limit_of(world)->until_mono_us;
}

static void succeed(struct bucket *bucket, uint32_t times) {
    for (uint32_t i = 0; i < times; i++)
        throttle_success(bucket);
}

static void test_nothing_happens_unasked(void **state) {
    struct world *world = *state;
    struct bucket *bucket = busy(state, 20);
    succeed(bucket, 1000);
    assert_null(limit_of(world));
    assert_false(bucket->stats.throttled);
    assert_int_equal(bucket->stats.limit, UINT32_MAX);
}

static void test_hit_halves_and_pauses(void **state) {
    struct world *world = *state;
    struct bucket *bucket = busy(state, 20);
    throttle_hit(bucket, 0);
    assert_int_equal(limit_of(world)->limit, 10);
    assert_in_range(limit_of(world)->until_mono_us - world->mono_us, 100 * US_PER_MS, 200 * US_PER_MS);
    assert_true(bucket->stats.throttled);
    assert_int_equal(bucket->stats.limit, 10);
    bucket->running = 3; /* fewer than the limit run: half of what runs */
    world->mono_us += US_PER_S;
    throttle_hit(bucket, 0);
    assert_int_equal(limit_of(world)->limit, 1);
    bucket->running = 0;
    world->mono_us += US_PER_S;
    throttle_hit(bucket, 0);
    assert_int_equal(limit_of(world)->limit, 1); /* never none */
}

static void test_calls_that_were_under_way_together_are_one_hit(void **state) {
    struct world *world = *state;
    struct bucket *bucket = busy(state, 20);
    for (int i = 0; i < 20; i++)
        throttle_hit(bucket, 0);
    assert_int_equal(limit_of(world)->calls, 1);
    /* The client tries throttled calls several times, so some tell of it much later. */
    world->mono_us += 3 * US_PER_S;
    throttle_hit(bucket, 3 * US_PER_S + 1);
    assert_int_equal(limit_of(world)->calls, 1);
    throttle_hit(bucket, 2 * US_PER_S);
    assert_int_equal(limit_of(world)->calls, 2);
    assert_int_equal(limit_of(world)->limit, 5);
}

static void test_pauses_grow_up_to_a_limit(void **state) {
    struct world *world = *state;
    struct bucket *bucket = busy(state, 1000);
    int64_t most = 200 * US_PER_MS;
    for (int i = 0; i < 40; i++) {
        throttle_hit(bucket, 0);
        int64_t pause = limit_of(world)->until_mono_us - world->mono_us;
        assert_in_range(pause, most / 2, most);
        most = most * 2 > 20 * US_PER_S ? 20 * US_PER_S : most * 2;
        world->mono_us += 30 * US_PER_S;
        assert_in_range(throttle_delay_us(bucket), 1, 20 * US_PER_S);
    }
}

static void test_grows_by_one_per_round_of_successes(void **state) {
    struct world *world = *state;
    struct bucket *bucket = busy(state, 8);
    throttle_hit(bucket, 0);
    after_the_pause(world);
    for (uint32_t limit = 4; limit < world->options.slots - 1; limit++) {
        assert_int_equal(limit_of(world)->limit, limit);
        succeed(bucket, limit - 1);
        assert_int_equal(limit_of(world)->limit, limit);
        succeed(bucket, 1);
        assert_int_equal(limit_of(world)->limit, limit + 1);
        assert_int_equal(limit_of(world)->until_mono_us, world->mono_us);
    }
    succeed(bucket, world->options.slots - 1); /* as many as there are slots is no limit */
    assert_int_equal(limit_of(world)->limit, UINT32_MAX);
    assert_false(bucket->stats.throttled);
    assert_int_equal(bucket->stats.limit, UINT32_MAX);
    throttle_hit(bucket, 0); /* and the pauses begin anew */
    assert_in_range(limit_of(world)->until_mono_us - world->mono_us, 100 * US_PER_MS, 200 * US_PER_MS);
}

static void test_successes_do_not_end_a_pause(void **state) {
    struct world *world = *state;
    struct bucket *bucket = busy(state, 2);
    throttle_hit(bucket, 0);
    int64_t until = limit_of(world)->until_mono_us;
    succeed(bucket, 100); /* of calls that were under way */
    assert_int_equal(limit_of(world)->until_mono_us, until);
    assert_int_equal(limit_of(world)->limit, 1);
    after_the_pause(world);
    succeed(bucket, 1);
    assert_int_equal(limit_of(world)->limit, 2);
}

static void test_calls_tell_of_throttling(void **state) {
    struct world *world = *state;
    world->options.trust_if_match = true;
    world_open(world);
    world_object(world, "bucket-1", "a");
    /* Answered well in the end, but throttled on the way: the bucket is too fast all the same. */
    struct s3_call *get = fake_call(&world->s3, FAKE_GET);
    fake_get_info(get, "\"e1\"", "", 0);
    fake_end_throttled(get, S3_OK, 2);
    assert_int_equal(limit_of(world)->limit, 1);
    uint64_t calls = limit_of(world)->calls;
    world->mono_us += US_PER_S;
    world_job_end(world, world_job(world), HANDLER_OK, "");
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(limit_of(world)->limit, 2);
    assert_int_equal(limit_of(world)->calls, calls + 1);
    assert_int_equal(world->engine.done, 1);
}

static void test_only_that_bucket_is_slowed(void **state) {
    struct world *world = *state;
    world_open(world);
    world_object(world, "bucket-1", "a");
    fake_end(fake_call(&world->s3, FAKE_GET), S3_THROTTLED);
    world_object(world, "bucket-1", "b");
    assert_null(fake_call(&world->s3, FAKE_GET)); /* it waits for the pause */
    world_object(world, "bucket-2", "c");
    assert_non_null(fake_call(&world->s3, FAKE_GET));
    assert_int_equal(world_bucket(world, "bucket-2")->stats.limit, UINT32_MAX);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_happens_unasked),
        TEST(test_hit_halves_and_pauses),
        TEST(test_calls_that_were_under_way_together_are_one_hit),
        TEST(test_pauses_grow_up_to_a_limit),
        TEST(test_grows_by_one_per_round_of_successes),
        TEST(test_successes_do_not_end_a_pause),
        TEST(test_calls_tell_of_throttling),
        TEST(test_only_that_bucket_is_slowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
