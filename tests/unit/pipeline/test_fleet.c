/* test_fleet.c - what is different when other pipelines work on the same store: who goes on with a listing, and when a
 * drain has come to its end. */
#include "world.h"

static struct world *opened(void **state, bool once) {
    struct world *world = *state;
    world->options.once = once;
    world->options.fleet = true;
    world->options.look_ahead = 2;
    world_open(world);
    return world;
}

static void begin(struct world *world) {
    struct err err = {0};
    assert_int_equal(pipeline_begin(world->pipeline, &err), 0);
    world_settle(world);
}

static void later(struct world *world, int64_t us) {
    world_settle(world);
    world->mono_us += us;
    world_settle(world);
    world_settle(world);
}

/* As another worker's tick, or its start. */
static void pass_of_another(struct world *world) {
    const froe_spawn spawn = {.size = sizeof spawn, .workflow = PIPELINE_FETCH_BUCKETS, .n = 1};
    froe_spawn_many(&world->engine, &spawn, NULL, NULL, NULL);
    world_settle(world);
}

static struct s3_call *one_bucket(struct world *world) {
    fake_buckets(fake_call(&world->s3, FAKE_LIST_BUCKETS), LIST("bucket-1"), "");
    world_settle(world);
    struct s3_call *listing = fake_call(&world->s3, FAKE_LIST_OBJECTS);
    assert_non_null(listing);
    return listing;
}

static froe_task *lister(struct world *world, enum fake_state state) {
    return fake_run(&world->engine, PIPELINE_FETCH_OBJECTS, "bucket-1", state);
}

static void objects_gone(struct world *world, size_t n) {
    for (size_t i = 0; i < n; i++) {
        fake_end(fake_call(&world->s3, FAKE_GET), S3_NO_KEY);
        world_settle(world);
    }
}

static void test_a_lister_without_room_stays_live(void **state) {
    struct world *world = opened(state, false);
    begin(world);
    fake_objects(one_bucket(world), LIST("a", "b"), true);
    world_settle(world);
    froe_task *task = lister(world, FAKE_QUEUED);
    assert_non_null(task);
    assert_int_equal(task->end, FAKE_AGAIN);
    assert_int_equal(task->attempt, 1);
    assert_string_equal(fake_value(&world->engine, "cursor/bucket-1").p, "b");
    /* No room yet: it looks, and is put back again. */
    uint32_t starts = task->starts;
    later(world, LIST_AGAIN_US);
    assert_int_equal(task->starts, starts + 1);
    assert_ptr_equal(lister(world, FAKE_QUEUED), task);
    assert_null(fake_call(&world->s3, FAKE_LIST_OBJECTS));
    /* Room, made by whomever. */
    objects_gone(world, 2);
    later(world, LIST_AGAIN_US);
    struct s3_call *listing = fake_call(&world->s3, FAKE_LIST_OBJECTS);
    assert_non_null(listing);
    assert_string_equal(listing->after, "b");
    fake_objects(listing, NOTHING, false);
    world_settle(world);
    assert_null(lister(world, FAKE_QUEUED));
    assert_int_equal(fake_value(&world->engine, "cursor/bucket-1").n, 0);
}

static void test_a_lister_of_another_host_is_not_waited_for(void **state) {
    struct world *world = opened(state, true);
    begin(world);
    /* The runs that this pass spawns are carried out elsewhere: nothing here ever hears of them. */
    froe_task *elsewhere = NULL;
    fake_buckets(fake_call(&world->s3, FAKE_LIST_BUCKETS), LIST("bucket-1"), "");
    elsewhere = lister(world, FAKE_QUEUED);
    assert_non_null(elsewhere);
    elsewhere->due_mono_us = INT64_MAX;
    later(world, US_PER_S);
    later(world, US_PER_S);
    assert_int_equal(world->ended, 0);
    elsewhere->state = FAKE_ENDED;
    later(world, US_PER_S);
    later(world, US_PER_S);
    assert_int_equal(world->ended, 1);
    assert_int_equal(world->end, PIPELINE_DRAINED);
}

static void test_once_begins_at_the_first_key_once(void **state) {
    struct world *world = opened(state, true);
    froe_value_put(&world->engine, "cursor/bucket-1", "k", 1, NULL, NULL, NULL);
    begin(world);
    struct s3_call *listing = one_bucket(world);
    assert_string_equal(listing->after, "");
    fake_objects(listing, LIST("a", "b"), true);
    world_settle(world);
    objects_gone(world, 2);
    /* On another host, which has its own idea of where this bucket's listing stands. */
    world_bucket(world, "bucket-1")->restart = true;
    later(world, LIST_AGAIN_US);
    assert_string_equal(fake_call(&world->s3, FAKE_LIST_OBJECTS)->after, "b");
}

static void test_without_once_it_goes_on_at_the_cursor(void **state) {
    struct world *world = opened(state, false);
    froe_value_put(&world->engine, "cursor/bucket-1", "k", 1, NULL, NULL, NULL);
    begin(world);
    assert_string_equal(one_bucket(world)->after, "k");
}

static void test_once_waits_for_what_others_do(void **state) {
    struct world *world = opened(state, true);
    begin(world);
    fake_objects(one_bucket(world), LIST("a"), false);
    world_settle(world);
    later(world, US_PER_S);
    assert_int_equal(world->ended, 0); /* a is being read */
    objects_gone(world, 1);
    later(world, US_PER_S);
    assert_int_equal(world->ended, 1);
    assert_int_equal(world->end, PIPELINE_DRAINED);
}

static void test_once_makes_a_pass_of_its_own(void **state) {
    struct world *world = opened(state, true);
    pass_of_another(world);
    begin(world); /* refused: one is under way */
    assert_int_equal(fake_count(&world->engine, PIPELINE_FETCH_BUCKETS, FAKE_RUNNING), 1);
    later(world, US_PER_S);
    fake_buckets(fake_call(&world->s3, FAKE_LIST_BUCKETS), NOTHING, "");
    later(world, US_PER_S);
    assert_int_equal(world->ended, 0);
    struct s3_call *listing = fake_call(&world->s3, FAKE_LIST_BUCKETS);
    assert_non_null(listing);
    fake_buckets(listing, NOTHING, "");
    later(world, US_PER_S);
    assert_int_equal(world->ended, 1);
    assert_int_equal(world->end, PIPELINE_DRAINED);
    assert_int_equal(world->s3.sent[FAKE_LIST_BUCKETS], 2);
}

static void test_once_asks_again_when_it_could_not(void **state) {
    struct world *world = opened(state, true);
    begin(world);
    world_settle(world);
    world->engine.refuse_calls = 1;
    later(world, US_PER_S);
    assert_int_equal(world->engine.refuse_calls, 0);
    fake_buckets(fake_call(&world->s3, FAKE_LIST_BUCKETS), NOTHING, "");
    world_settle(world);
    assert_int_equal(world->ended, 0); /* nobody was asked since */
    later(world, US_PER_S);
    assert_int_equal(world->ended, 1);
}

static void test_buckets_that_may_not_be_listed_are_shown_to_all(void **state) {
    struct world *world = opened(state, true);
    begin(world);
    fake_end(fake_call(&world->s3, FAKE_LIST_BUCKETS), S3_DENIED);
    assert_int_equal(world->end, PIPELINE_DENIED);
    /* Others with --once get the run and find out, too; they do not take the silence for success. */
    assert_int_equal(fake_count(&world->engine, PIPELINE_FETCH_BUCKETS, FAKE_QUEUED), 1);
}

/* ---- what is counted ---- */

static const char *const left_out[] = {"x*"};

static void leave_out(struct world *world) {
    world->plan.filter = (struct pipeline_filter){.exclude = left_out, .n_exclude = 1};
}

static void test_a_turn_goes_on_with_its_counts_on_any_host(void **state) {
    struct world *world = *state;
    leave_out(world);
    opened(state, true);
    begin(world);
    struct s3_call *listing = one_bucket(world);
    froe_task *task = lister(world, FAKE_RUNNING);
    char key[16];
    unsigned pages = world_list_turn(world, listing, "x", key);
    assert_int_equal(task->end, FAKE_AGAIN);
    /* Another host has seen nothing of it but what the store knows. */
    struct bucket *bucket = world_bucket(world, "bucket-1");
    memset(bucket->stats.skipped, 0, sizeof bucket->stats.skipped);
    world_settle(world);
    world_settle(world);
    listing = fake_call(&world->s3, FAKE_LIST_OBJECTS);
    assert_non_null(listing);
    assert_string_equal(listing->after, key);
    fake_objects(listing, LIST("xx"), false);
    world_settle(world);
    assert_int_equal(bucket->stats.skipped[SKIP_EXCLUDED], pages + 1);
}

static void test_what_is_left_late_is_added_to_what_others_noted(void **state) {
    static const char noted[] = "complete marker=0 archived=0 excluded=3 too_young=0 no_rule=40 kept=0";
    struct world *world = opened(state, false);
    begin(world);
    struct bucket *bucket = bucket_get(world->pipeline, BYTES("bucket-1"));
    froe_value_put(&world->engine, "listing/bucket-1", noted, sizeof noted - 1, NULL, NULL, NULL);
    bucket_skip_late(bucket, SKIP_NO_RULE);
    bucket_note_late(bucket);
    bucket_note_late(bucket); /* one at a time */
    bucket_skip_late(bucket, SKIP_NO_RULE);
    world_settle(world);
    assert_string_equal(fake_value(&world->engine, "listing/bucket-1").p,
                        "complete marker=0 archived=0 excluded=3 too_young=0 no_rule=42 kept=0");
    bucket_note_late(bucket); /* nothing is left to be added */
    world_settle(world);
    assert_non_null(strstr(fake_value(&world->engine, "listing/bucket-1").p, "no_rule=42"));
    /* What is not noted yet stays counted when this host goes on with the listing. */
    bucket_skip_late(bucket, SKIP_NO_RULE);
    froe_value_put(&world->engine, "cursor/bucket-1", "k", 1, NULL, NULL, NULL);
    fake_objects(one_bucket(world), NOTHING, false);
    world_settle(world);
    assert_non_null(strstr(fake_value(&world->engine, "listing/bucket-1").p, "no_rule=43"));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)
    const struct CMUnitTest tests[] = {
        TEST(test_a_lister_without_room_stays_live),
        TEST(test_a_lister_of_another_host_is_not_waited_for),
        TEST(test_once_begins_at_the_first_key_once),
        TEST(test_without_once_it_goes_on_at_the_cursor),
        TEST(test_once_waits_for_what_others_do),
        TEST(test_once_makes_a_pass_of_its_own),
        TEST(test_once_asks_again_when_it_could_not),
        TEST(test_buckets_that_may_not_be_listed_are_shown_to_all),
        TEST(test_a_turn_goes_on_with_its_counts_on_any_host),
        TEST(test_what_is_left_late_is_added_to_what_others_noted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
