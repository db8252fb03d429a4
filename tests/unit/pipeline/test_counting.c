/* test_counting.c - buckets that no rule can want anything of, which are listed to count what is left alone there; and
 * the turns in which long listings are made. */
#include "world.h"

#include "rules.h"

static const char *const bucket_1[] = {"bucket-1"}, *const bucket_2[] = {"bucket-2"};

struct counting {
    struct rule rule;
    struct pipeline_way way;
};

/* The one rule wants what is in bucket-1. */
static struct world *opened(void **state, struct counting *fx, bool once) {
    struct world *world = *state;
    fx->rule = (struct rule){.buckets = {bucket_1, 1}};
    fx->way = world->plan.way;
    world->plan.rules = &fx->rule;
    world->plan.ways = &fx->way;
    world->plan.n_rules = 1;
    world->options.once = once;
    world_open(world);
    struct err err = {0};
    assert_int_equal(pipeline_begin(world->pipeline, &err), 0);
    world_settle(world);
    return world;
}

static struct s3_call *found(struct world *world, const char *const *names) {
    fake_buckets(fake_call(&world->s3, FAKE_LIST_BUCKETS), names, "");
    world_settle(world);
    return fake_call(&world->s3, FAKE_LIST_OBJECTS);
}

static struct s3_call *tick(struct world *world, int64_t after_us) {
    world->mono_us += after_us;
    const froe_spawn spawn = {.size = sizeof spawn, .workflow = PIPELINE_FETCH_BUCKETS, .n = 1};
    froe_spawn_many(&world->engine, &spawn, NULL, NULL, NULL);
    world_settle(world);
    return found(world, LIST("bucket-2"));
}

static size_t times_logged(struct world *world, const char *text) {
    size_t n = 0;
    for (const char *at = world->lines; (at = strstr(at, text)); at += strlen(text))
        n++;
    return n;
}

static uint64_t left_alone(struct world *world, const char *bucket) {
    return world_bucket(world, bucket)->stats.skipped[SKIP_NO_RULE];
}

static void test_unwanted_objects_are_counted_and_left_alone(void **state) {
    struct counting fx;
    struct world *world = opened(state, &fx, true);
    struct s3_call *listing = found(world, LIST("bucket-2"));
    assert_string_equal(listing->bucket, "bucket-2");
    fake_objects(listing, LIST("a", "b"), true);
    world_settle(world);
    fake_objects(fake_call(&world->s3, FAKE_LIST_OBJECTS), LIST("c"), false);
    world_settle(world);
    world_settle(world);
    assert_int_equal(left_alone(world, "bucket-2"), 3);
    assert_int_equal(fake_count(&world->engine, PIPELINE_PROCESS_OBJECT, FAKE_QUEUED), 0);
    assert_int_equal(world->s3.sent[FAKE_GET], 0);
    assert_non_null(strstr(world->engine.trace.p, "listing/bucket-2=complete"));
    assert_non_null(strstr(world->engine.trace.p, "no_rule=3"));
    assert_int_equal(world->ended, 1);
    assert_int_equal(world->end, PIPELINE_DRAINED);
    assert_int_equal(times_logged(world, "no rule wants anything of some buckets"), 1);
}

static void test_they_are_counted_every_hour(void **state) {
    struct counting fx;
    struct world *world = opened(state, &fx, false);
    fake_objects(found(world, LIST("bucket-2")), LIST("a"), false);
    world_settle(world);
    assert_null(tick(world, COUNT_EVERY_US - 1));
    assert_int_equal(left_alone(world, "bucket-2"), 1);
    struct s3_call *listing = tick(world, 1);
    assert_non_null(listing);
    fake_objects(listing, LIST("a", "b"), false);
    world_settle(world);
    assert_int_equal(left_alone(world, "bucket-2"), 2);
    assert_null(tick(world, US_PER_S));
}

static void test_one_that_may_not_be_listed_is_no_failure(void **state) {
    static const enum s3_status failures[] = {S3_DENIED, S3_BAD_REQUEST, S3_CORRUPT};
    for (size_t i = 0; i < 3; i++) {
        struct counting fx;
        struct world *world = opened(state, &fx, true);
        fake_objects(found(world, LIST("bucket-1", "bucket-2")), NOTHING, false);
        for (int tries = 0; tries <= LIST_FAILURES_MAX && fake_call(&world->s3, FAKE_LIST_OBJECTS); tries++) {
            fake_end(fake_call(&world->s3, FAKE_LIST_OBJECTS), failures[i]);
            world_settle(world);
            world->mono_us += 20 * US_PER_S;
            world_settle(world);
        }
        world_settle(world);
        assert_int_equal(world->ended, 1);
        assert_int_equal(world->end, PIPELINE_DRAINED);
        assert_int_equal(times_logged(world, "its objects are left alone, and not counted"), 1);
        assert_int_equal(times_logged(world, "bucket cannot be listed"), 0);
        world_down(state);
        world_up(state);
    }
}

static void test_it_is_tried_at_each_tick_and_said_once(void **state) {
    struct counting fx;
    struct world *world = opened(state, &fx, false);
    fake_end(found(world, LIST("bucket-2")), S3_DENIED);
    world_settle(world);
    struct s3_call *listing = tick(world, US_PER_MIN);
    assert_non_null(listing);
    fake_end(listing, S3_DENIED);
    world_settle(world);
    assert_int_equal(times_logged(world, "not counted"), 1);
    fake_objects(tick(world, US_PER_MIN), LIST("a"), false);
    world_settle(world);
    assert_int_equal(left_alone(world, "bucket-2"), 1);
    fake_end(tick(world, COUNT_EVERY_US), S3_DENIED); /* it is worth a line again */
    world_settle(world);
    assert_int_equal(times_logged(world, "not counted"), 2);
}

static void test_rules_that_change(void **state) {
    struct counting fx;
    struct world *world = opened(state, &fx, false);
    fake_objects(found(world, LIST("bucket-2")), LIST("a"), false);
    world_settle(world);
    struct rule rule = {.buckets = {bucket_2, 1}};
    struct pipeline_plan other = world->plan;
    other.rules = &rule;
    pipeline_set_plan(world->pipeline, &other);
    for (int i = 0; i < 2; i++) { /* listed at each tick */
        struct s3_call *listing = tick(world, US_PER_MIN);
        assert_non_null(listing);
        fake_objects(listing, NOTHING, false);
        world_settle(world);
    }
    pipeline_set_plan(world->pipeline, &world->plan);
    struct s3_call *listing = tick(world, US_PER_MIN); /* what was counted before is out of date */
    assert_non_null(listing);
    fake_objects(listing, LIST("a", "b"), false);
    world_settle(world);
    assert_int_equal(left_alone(world, "bucket-2"), 2);
}

static void test_a_turn_has_an_end(void **state) {
    struct counting fx;
    struct world *world = opened(state, &fx, true);
    struct s3_call *listing = found(world, LIST("bucket-2"));
    char key[16];
    unsigned pages = world_list_turn(world, listing, "", key);
    assert_null(fake_run(&world->engine, PIPELINE_FETCH_OBJECTS, "bucket-2", FAKE_RUNNING));
    assert_true(bytes_equal(world_bucket(world, "bucket-2")->stats.cursor, bytes_str(key)));
    assert_int_equal(world->ended, 0);
    world_settle(world); /* the next turn */
    world_settle(world);
    listing = fake_call(&world->s3, FAKE_LIST_OBJECTS);
    assert_non_null(listing);
    assert_string_equal(listing->after, key);
    fake_objects(listing, LIST("z"), false);
    world_settle(world);
    world_settle(world);
    assert_int_equal(left_alone(world, "bucket-2"), pages + 1);
    assert_int_equal(world->end, PIPELINE_DRAINED);
}

/* It is not tried again and again, though a turn before it went well. */
static void test_a_turn_that_fails_waits_for_the_next_tick(void **state) {
    for (int once = 0; once < 2; once++) {
        struct counting fx;
        struct world *world = opened(state, &fx, once);
        struct s3_call *listing = found(world, LIST("bucket-2"));
        char key[16];
        world_list_turn(world, listing, "", key);
        world_settle(world);
        world_settle(world);
        uint64_t counted = left_alone(world, "bucket-2"), sent = world->s3.sent[FAKE_LIST_OBJECTS];
        fake_end(fake_call(&world->s3, FAKE_LIST_OBJECTS), S3_DENIED);
        for (int i = 0; i < 5; i++) {
            world_settle(world);
            world->mono_us += US_PER_S;
        }
        assert_int_equal(world->s3.sent[FAKE_LIST_OBJECTS], sent);
        assert_int_equal(world->ended, once);
        if (once) {
            assert_int_equal(world->end, PIPELINE_DRAINED);
            break;
        }
        listing = tick(world, US_PER_MIN);
        assert_non_null(listing);
        assert_string_equal(listing->after, key);
        fake_objects(listing, LIST("z"), false);
        world_settle(world);
        assert_int_equal(left_alone(world, "bucket-2"), counted + 1);
        world_down(state);
        world_up(state);
    }
}

static void test_the_next_process_goes_on_counting(void **state) {
    static const char noted[] = "partial marker=0 archived=0 excluded=0 too_young=0 no_rule=40 kept=0";
    struct world *world = *state;
    struct counting fx;
    froe_value_put(&world->engine, "cursor/bucket-2", "m", 1, NULL, NULL, NULL);
    froe_value_put(&world->engine, "listing/bucket-2", noted, sizeof noted - 1, NULL, NULL, NULL);
    opened(state, &fx, false);
    struct s3_call *listing = found(world, LIST("bucket-2"));
    assert_string_equal(listing->after, "m");
    fake_objects(listing, LIST("n", "o"), false);
    world_settle(world);
    assert_int_equal(left_alone(world, "bucket-2"), 42);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, world_up, world_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_unwanted_objects_are_counted_and_left_alone),
        TEST(test_they_are_counted_every_hour),
        TEST(test_one_that_may_not_be_listed_is_no_failure),
        TEST(test_it_is_tried_at_each_tick_and_said_once),
        TEST(test_rules_that_change),
        TEST(test_a_turn_has_an_end),
        TEST(test_a_turn_that_fails_waits_for_the_next_tick),
        TEST(test_the_next_process_goes_on_counting),
    };
    return cmocka_run_group_tests_name("pipeline counting", tests, NULL, NULL);
}
