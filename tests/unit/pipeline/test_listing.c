/* test_listing.c - fetch_s3_buckets and fetch_s3_objects: what is listed when, what is remembered, and what is done
 * when it cannot be. */
#include "world.h"

static struct world *opened(void **state, bool once) {
    struct world *world = *state;
    world->options.once = once;
    world_open(world);
    struct err err = {0};
    assert_int_equal(pipeline_begin(world->pipeline, &err), 0);
    world_settle(world);
    return world;
}

/* One bucket is found, and its lister has asked for its first page. */
static struct s3_call *one_bucket(struct world *world) {
    fake_buckets(fake_call(&world->s3, FAKE_LIST_BUCKETS), LIST("bucket-1"), "");
    world_settle(world);
    struct s3_call *listing = fake_call(&world->s3, FAKE_LIST_OBJECTS);
    assert_non_null(listing);
    return listing;
}

static void tick(struct world *world) {
    const froe_spawn spawn = {.size = sizeof spawn, .workflow = PIPELINE_FETCH_BUCKETS, .n = 1};
    froe_spawn_many(&world->engine, &spawn, NULL, NULL, NULL);
    world_settle(world);
}

static void later(struct world *world, int64_t us) {
    world_settle(world);
    world->mono_us += us;
    world_settle(world);
}

/* All objects that were spawned are found gone: the shortest way to get rid of them. */
static void objects_gone(struct world *world, size_t n) {
    for (size_t i = 0; i < n; i++) {
        fake_end(fake_call(&world->s3, FAKE_GET), S3_NO_KEY);
        if (i + 1 < n)
            world_settle(world);
    }
}

/* ---- buckets ---- */

static void test_buckets_are_paged_and_spawned(void **state) {
    struct world *world = opened(state, false);
    struct s3_call *listing = fake_call(&world->s3, FAKE_LIST_BUCKETS);
    assert_string_equal(listing->prefix, "bucket-");
    assert_string_equal(listing->after, "");
    fake_buckets(listing, LIST("bucket-1", "bucket-2"), "next");
    assert_null(fake_call(&world->s3, FAKE_LIST_BUCKETS)); /* not before the first ones are durable */
    world_settle(world);
    assert_false(pipeline_listing_complete(world->pipeline));
    listing = fake_call(&world->s3, FAKE_LIST_BUCKETS);
    assert_string_equal(listing->after, "next");
    fake_buckets(listing, LIST("bucket-3"), "");
    world_settle(world);
    assert_int_equal(fake_count(&world->engine, PIPELINE_FETCH_BUCKETS, FAKE_RUNNING), 0);
    static const char *const names[] = {"bucket-1", "bucket-2", "bucket-3"};
    for (int i = 0; i < 3; i++)
        assert_non_null(fake_run(&world->engine, PIPELINE_FETCH_OBJECTS, names[i], FAKE_RUNNING));
    assert_int_equal(world->s3.sent[FAKE_LIST_OBJECTS], 3);
}

static void test_next_tick_lists_again_and_spawns_no_second_lister(void **state) {
    struct world *world = opened(state, false);
    one_bucket(world);
    tick(world);
    fake_buckets(fake_call(&world->s3, FAKE_LIST_BUCKETS), LIST("bucket-1", "bucket-2"), "");
    world_settle(world);
    assert_int_equal(fake_count(&world->engine, PIPELINE_FETCH_OBJECTS, FAKE_RUNNING), 2);
}

static void test_failed_tick_is_forgotten(void **state) {
    struct world *world = opened(state, false);
    static const enum s3_status failures[] = {S3_SERVER, S3_UNREACHABLE, S3_TIMEOUT, S3_THROTTLED};
    fake_buckets(fake_call(&world->s3, FAKE_LIST_BUCKETS), NOTHING, "");
    world_settle(world);
    for (size_t i = 0; i < 4; i++) {
        tick(world);
        fake_end(fake_call(&world->s3, FAKE_LIST_BUCKETS), failures[i]);
        world_settle(world);
        assert_int_equal(world->engine.dropped, i + 1);
    }
    tick(world);
    fake_end(fake_call(&world->s3, FAKE_LIST_BUCKETS), S3_DENIED); /* it was allowed before: that may come back */
    assert_int_equal(world->ended, 0);
    assert_int_equal(world->engine.parked, 0);
}

static void test_denied_at_the_first_try_ends_it(void **state) {
    struct world *world = opened(state, false);
    fake_end(fake_call(&world->s3, FAKE_LIST_BUCKETS), S3_DENIED);
    assert_int_equal(world->ended, 1);
    assert_int_equal(world->end, PIPELINE_DENIED);
    assert_string_equal(world->end_text, "it failed");
}

static void test_refused_keys_at_the_first_try_end_it(void **state) {
    struct world *world = opened(state, false);
    fake_end(fake_call(&world->s3, FAKE_LIST_BUCKETS), S3_CREDENTIALS);
    assert_int_equal(world->end, PIPELINE_NO_CREDENTIALS);
}

static void test_refused_keys_later_do_not_end_it(void **state) {
    struct world *world = opened(state, false);
    fake_end(one_bucket(world), S3_CREDENTIALS);
    assert_int_equal(world->ended, 0);
}

static void test_unreachable_with_once_ends_it(void **state) {
    struct world *world = opened(state, true);
    fake_end(fake_call(&world->s3, FAKE_LIST_BUCKETS), S3_UNREACHABLE);
    assert_int_equal(world->ended, 1);
    assert_int_equal(world->end, PIPELINE_UNREACHABLE);
}

static void test_unreachable_without_once_waits_for_the_next_tick(void **state) {
    struct world *world = opened(state, false);
    fake_end(fake_call(&world->s3, FAKE_LIST_BUCKETS), S3_UNREACHABLE);
    later(world, 3600 * US_PER_S);
    tick(world);
    fake_end(fake_call(&world->s3, FAKE_LIST_BUCKETS), S3_UNREACHABLE);
    assert_int_equal(world->ended, 0);
}

static void test_buckets_that_cannot_be_listed_with_once(void **state) {
    struct world *world = opened(state, true);
    for (int i = 0; i < LIST_FAILURES_MAX; i++) {
        fake_end(fake_call(&world->s3, FAKE_LIST_BUCKETS), S3_SERVER);
        assert_int_equal(world->ended, 0);
        later(world, US_PER_S);
    }
    fake_end(fake_call(&world->s3, FAKE_LIST_BUCKETS), S3_SERVER);
    assert_int_equal(world->ended, 1);
    assert_int_equal(world->end, PIPELINE_LISTING_FAILED);
}

static void test_throttled_listing_of_buckets_goes_on(void **state) {
    struct world *world = opened(state, true);
    for (int i = 0; i < 50; i++) {
        fake_end(fake_call(&world->s3, FAKE_LIST_BUCKETS), S3_THROTTLED);
        later(world, US_PER_S);
    }
    fake_objects(one_bucket(world), NOTHING, false);
    world_settle(world);
    world_settle(world);
    assert_int_equal(world->end, PIPELINE_DRAINED);
    assert_int_equal(world->ended, 1);
}

static void test_no_bucket_at_all_is_drained(void **state) {
    struct world *world = opened(state, true);
    fake_buckets(fake_call(&world->s3, FAKE_LIST_BUCKETS), NOTHING, "");
    world_settle(world);
    world_settle(world);
    assert_int_equal(world->ended, 1);
    assert_int_equal(world->end, PIPELINE_DRAINED);
}

static void test_stopped_lister_of_buckets_comes_again(void **state) {
    struct world *world = opened(state, true);
    fake_cancel(fake_run(&world->engine, PIPELINE_FETCH_BUCKETS, NULL, FAKE_RUNNING), FROE_CANCELLED_STOP);
    fake_s3_step(&world->s3);
    froe_task *task = fake_run(&world->engine, PIPELINE_FETCH_BUCKETS, NULL, FAKE_QUEUED);
    assert_non_null(task);
    assert_int_equal(task->attempt, 1);
}

static void test_once_lists_each_bucket_once(void **state) {
    struct world *world = opened(state, true);
    fake_objects(one_bucket(world), NOTHING, false);
    /* The first listing of buckets is told to have more, and lists them all again after a failure. */
    tick(world);
    fake_buckets(fake_call(&world->s3, FAKE_LIST_BUCKETS), LIST("bucket-1", "bucket-2"), "");
    world_settle(world);
    assert_string_equal(fake_call(&world->s3, FAKE_LIST_OBJECTS)->bucket, "bucket-2");
    assert_int_equal(world->s3.sent[FAKE_LIST_OBJECTS], 2);
}

/* ---- objects ---- */

static void test_keys_become_runs(void **state) {
    struct world *world = opened(state, false);
    struct s3_call *listing = one_bucket(world);
    assert_string_equal(listing->bucket, "bucket-1");
    assert_string_equal(listing->after, "");
    assert_int_equal(listing->max_keys, S3_LIST_MAX);
    fake_objects(listing, LIST("a", "b/c", "/"), true);
    assert_null(fake_call(&world->s3, FAKE_LIST_OBJECTS)); /* not before they are durable */
    world_settle(world);
    assert_string_equal(fake_call(&world->s3, FAKE_LIST_OBJECTS)->after, "/");
    froe_task *task = fake_run(&world->engine, PIPELINE_PROCESS_OBJECT, "bucket-1/b/c", FAKE_RUNNING);
    assert_non_null(task);
    assert_string_equal(task->generation.p, "\"listed\"");
    assert_string_equal(task->input.p, "{\"bucket\":\"bucket-1\"}");
    assert_non_null(fake_run(&world->engine, PIPELINE_PROCESS_OBJECT, "bucket-1//", FAKE_RUNNING));
    assert_int_equal(world_bucket(world, "bucket-1")->stats.listed, 3);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.listing, LISTING_NONE);
    fake_objects(fake_call(&world->s3, FAKE_LIST_OBJECTS), NOTHING, false);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.listing, LISTING_COMPLETE);
}

static void test_live_objects_are_not_spawned_again(void **state) {
    struct world *world = opened(state, false);
    fake_objects(one_bucket(world), LIST("a", "b"), false);
    world_settle(world);
    for (int i = 0; i < 3; i++) {
        tick(world);
        fake_objects(one_bucket(world), LIST("a", "b", "c"), false);
        world_settle(world);
    }
    assert_int_equal(fake_count(&world->engine, PIPELINE_PROCESS_OBJECT, FAKE_RUNNING), 3);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.listed, 3);
}

static void test_listing_stops_at_the_look_ahead_and_goes_on_at_the_low_mark(void **state) {
    struct world *world = *state;
    world->options.look_ahead = 8;
    opened(state, false);
    struct s3_call *listing = one_bucket(world);
    assert_int_equal(listing->max_keys, 8);
    fake_objects(listing, LIST("a", "b", "c", "d", "e", "f", "g", "h"), true);
    world_settle(world);
    assert_null(fake_call(&world->s3, FAKE_LIST_OBJECTS));
    /* It does not sit on its slot. */
    assert_int_equal(fake_count(&world->engine, PIPELINE_FETCH_OBJECTS, FAKE_RUNNING), 0);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.listing, LISTING_PARTIAL);
    assert_true(bytes_equal(world_bucket(world, "bucket-1")->stats.cursor, BYTES("h")));
    assert_true(bytes_equal(fake_value(&world->engine, "cursor/bucket-1"), BYTES("h")));
    objects_gone(world, 3);
    world_settle(world);
    assert_null(fake_call(&world->s3, FAKE_LIST_OBJECTS));
    objects_gone(world, 1);
    world_settle(world);
    world_settle(world);
    listing = fake_call(&world->s3, FAKE_LIST_OBJECTS);
    assert_non_null(listing);
    assert_string_equal(listing->after, "h");
    assert_int_equal(listing->max_keys, 4);
    fake_objects(listing, LIST("i"), false);
    world_settle(world);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.listing, LISTING_COMPLETE);
    assert_int_equal(fake_value(&world->engine, "cursor/bucket-1").n, 0); /* the next pass begins at the first key */
    world_settle(world);
    assert_false(uv_is_active((uv_handle_t *)&world->pipeline->timer)); /* nothing is waited for any more */
}

static void test_no_crumbs_are_listed(void **state) {
    struct world *world = *state;
    world->options.look_ahead = 10;
    opened(state, false);
    fake_objects(one_bucket(world), LIST("a", "b", "c", "d", "e", "f", "g", "h", "i"), true);
    world_settle(world);
    assert_null(fake_call(&world->s3, FAKE_LIST_OBJECTS)); /* there is room for one, which is not worth a request */
    assert_int_equal(world_bucket(world, "bucket-1")->stats.listing, LISTING_PARTIAL);
}

static void test_cursor_is_saved_after_the_spawns_it_stands_for(void **state) {
    struct world *world = *state;
    world->options.look_ahead = 2;
    opened(state, false);
    fake_objects(one_bucket(world), LIST("a", "b"), true);
    world_settle(world);
    const char *spawn = strstr(world->engine.trace.p, "spawn process_object 2 2\n");
    const char *value = strstr(world->engine.trace.p, "value cursor/bucket-1=b\n");
    assert_non_null(spawn);
    assert_non_null(value);
    assert_true(spawn < value);
}

static void test_next_process_goes_on_at_the_cursor(void **state) {
    struct world *world = *state;
    froe_value_put(&world->engine, "cursor/bucket-1", "m", 1, NULL, NULL, NULL);
    opened(state, false);
    assert_string_equal(one_bucket(world)->after, "m");
}

static void test_once_begins_at_the_first_key(void **state) {
    struct world *world = *state;
    froe_value_put(&world->engine, "cursor/bucket-1", "m", 1, NULL, NULL, NULL);
    world->options.look_ahead = 2;
    opened(state, true);
    struct s3_call *listing = one_bucket(world);
    assert_string_equal(listing->after, "");
    fake_objects(listing, LIST("a", "b"), true);
    world_settle(world);
    objects_gone(world, 2);
    world_settle(world);
    world_settle(world);
    assert_string_equal(fake_call(&world->s3, FAKE_LIST_OBJECTS)->after, "b");
}

/* Not even when the first try is cut off: the saved cursor is another process's. */
static void test_once_begins_at_the_first_key_after_a_cut_off_try_too(void **state) {
    struct world *world = *state;
    froe_value_put(&world->engine, "cursor/bucket-1", "m", 1, NULL, NULL, NULL);
    opened(state, true);
    one_bucket(world);
    fake_cancel(fake_run(&world->engine, PIPELINE_FETCH_OBJECTS, NULL, FAKE_RUNNING), FROE_CANCELLED_LEASE_LOST);
    world_settle(world);
    assert_string_equal(fake_call(&world->s3, FAKE_LIST_OBJECTS)->after, "");
    fake_end(fake_call(&world->s3, FAKE_LIST_OBJECTS), S3_SERVER);
    later(world, US_PER_S);
    assert_string_equal(fake_call(&world->s3, FAKE_LIST_OBJECTS)->after, "");
}

static void test_page_that_could_not_be_spawned_is_listed_again(void **state) {
    struct world *world = opened(state, true);
    struct s3_call *listing = one_bucket(world);
    world->engine.refuse_calls = 1;
    fake_objects(listing, LIST("a", "b"), false);
    later(world, US_PER_S);
    listing = fake_call(&world->s3, FAKE_LIST_OBJECTS);
    assert_non_null(listing);
    assert_string_equal(listing->after, "");
    fake_objects(listing, LIST("a", "b"), false);
    world_settle(world);
    assert_int_equal(fake_count(&world->engine, PIPELINE_PROCESS_OBJECT, FAKE_RUNNING), 2);
}

static void test_bucket_that_is_gone_is_complete(void **state) {
    struct world *world = opened(state, true);
    fake_end(one_bucket(world), S3_NO_BUCKET);
    world_settle(world);
    world_settle(world);
    assert_int_equal(world->end, PIPELINE_DRAINED);
    assert_int_equal(world->ended, 1);
}

static void test_skipped_objects_are_counted_over_the_pages_of_a_pass(void **state) {
    struct world *world = *state;
    static const char *const exclude[] = {"x*"};
    world->plan.filter = (struct pipeline_filter){.exclude = exclude, .n_exclude = 1};
    world->options.look_ahead = 2;
    opened(state, false);
    fake_objects(one_bucket(world), LIST("a", "x1"), true);
    world_settle(world);
    fake_objects(fake_call(&world->s3, FAKE_LIST_OBJECTS), LIST("x2"), true); /* nothing to spawn: goes on at once */
    fake_objects(fake_call(&world->s3, FAKE_LIST_OBJECTS), LIST("z"), true);
    world_settle(world); /* stops */
    assert_int_equal(world_bucket(world, "bucket-1")->stats.skipped[SKIP_EXCLUDED], 2);
    objects_gone(world, 2);
    world_settle(world);
    world_settle(world);
    fake_objects(fake_call(&world->s3, FAKE_LIST_OBJECTS), LIST("x3"), false);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.skipped[SKIP_EXCLUDED], 3);
    tick(world);
    fake_objects(one_bucket(world), LIST("x1"), false); /* the next pass counts afresh */
    assert_int_equal(world_bucket(world, "bucket-1")->stats.skipped[SKIP_EXCLUDED], 1);
}

/* ---- listings that fail ---- */

static void test_failed_listing_waits_for_the_next_tick(void **state) {
    struct world *world = *state;
    world->options.look_ahead = 2;
    opened(state, false);
    static const enum s3_status failures[] = {S3_SERVER, S3_DENIED, S3_CORRUPT, S3_TIMEOUT, S3_UNREACHABLE};
    fake_objects(one_bucket(world), LIST("a", "b"), true);
    world_settle(world);
    for (size_t i = 0; i < 5; i++) {
        uint64_t sent = world->s3.sent[FAKE_LIST_OBJECTS];
        tick(world);
        fake_buckets(fake_call(&world->s3, FAKE_LIST_BUCKETS), LIST("bucket-1"), "");
        world_settle(world);
        objects_gone(world, i ? 0 : 2); /* there is room again */
        world_settle(world);
        world_settle(world);
        assert_string_equal(fake_call(&world->s3, FAKE_LIST_OBJECTS)->after, "b");
        fake_end(fake_call(&world->s3, FAKE_LIST_OBJECTS), failures[i]);
        for (int turn = 0; turn < 5; turn++) /* it does not fail again and again meanwhile */
            later(world, US_PER_S);
        assert_int_equal(world->s3.sent[FAKE_LIST_OBJECTS], sent + 1);
        assert_int_equal(world->ended, 0);
    }
    tick(world); /* and recovers */
    fake_objects(one_bucket(world), NOTHING, false);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.listing, LISTING_COMPLETE);
    assert_false(world_bucket(world, "bucket-1")->listing_failed);
}

static void test_throttled_listing_comes_again(void **state) {
    for (int once = 0; once < 2; once++) {
        struct world *world = opened(state, once);
        one_bucket(world);
        for (int i = 0; i < 20; i++) {
            assert_non_null(fake_call(&world->s3, FAKE_LIST_OBJECTS));
            fake_end(fake_call(&world->s3, FAKE_LIST_OBJECTS), S3_THROTTLED);
            world_settle(world);
            assert_null(fake_call(&world->s3, FAKE_LIST_OBJECTS)); /* not at once */
            assert_false(pipeline_listing_complete(world->pipeline));
            later(world, 20 * US_PER_S);
        }
        fake_objects(fake_call(&world->s3, FAKE_LIST_OBJECTS), NOTHING, false);
        if (!once) {
            world_down(state);
            world_up(state);
        }
    }
}

static void test_once_ends_although_a_bucket_cannot_be_listed(void **state) {
    struct world *world = opened(state, true);
    fake_buckets(fake_call(&world->s3, FAKE_LIST_BUCKETS), LIST("bucket-1", "bucket-2"), "");
    world_settle(world);
    fake_objects(fake_call(&world->s3, FAKE_LIST_OBJECTS), LIST("a"), false);
    for (int i = 0; i <= LIST_FAILURES_MAX; i++) {
        assert_int_equal(world->ended, 0);
        assert_string_equal(fake_call(&world->s3, FAKE_LIST_OBJECTS)->bucket, "bucket-2");
        fake_end(fake_call(&world->s3, FAKE_LIST_OBJECTS), S3_SERVER);
        later(world, 2 * US_PER_S);
    }
    assert_null(fake_call(&world->s3, FAKE_LIST_OBJECTS));
    assert_int_equal(world->ended, 0); /* all else is drained first */
    objects_gone(world, 1);
    world_settle(world);
    world_settle(world);
    assert_int_equal(world->ended, 1);
    assert_int_equal(world->end, PIPELINE_LISTING_FAILED);
}

static void test_once_with_a_bucket_that_may_not_be_listed(void **state) {
    struct world *world = opened(state, true);
    fake_buckets(fake_call(&world->s3, FAKE_LIST_BUCKETS), LIST("bucket-1", "bucket-2"), "");
    world_settle(world);
    fake_end(fake_call(&world->s3, FAKE_LIST_OBJECTS), S3_DENIED);
    world_settle(world);
    assert_int_equal(world->ended, 0);
    fake_objects(fake_call(&world->s3, FAKE_LIST_OBJECTS), LIST("a"), false);
    world_settle(world);
    objects_gone(world, 1);
    world_settle(world);
    world_settle(world);
    assert_int_equal(world->ended, 1);
    assert_int_equal(world->end, PIPELINE_DENIED);
}

static void test_a_few_failures_between_good_pages_are_no_matter(void **state) {
    struct world *world = opened(state, true);
    one_bucket(world);
    for (int page = 0; page < 4; page++) {
        for (int i = 0; i < LIST_FAILURES_MAX - 1; i++) {
            fake_end(fake_call(&world->s3, FAKE_LIST_OBJECTS), S3_SERVER);
            later(world, 2 * US_PER_S);
        }
        char key[2] = {(char)('a' + page), 0};
        fake_objects(fake_call(&world->s3, FAKE_LIST_OBJECTS), LIST(key), page < 3);
        world_settle(world);
    }
    assert_int_equal(world_bucket(world, "bucket-1")->stats.listing, LISTING_COMPLETE);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.listed, 4);
}

/* ---- giving up on a server that is not there ---- */

static void test_server_that_went_away_is_given_up_with_once(void **state) {
    struct world *world = opened(state, true);
    fake_objects(one_bucket(world), LIST("a"), false);
    world_settle(world);
    int64_t began = world->mono_us;
    while (world->ended == 0) {
        assert_non_null(fake_call(&world->s3, FAKE_GET));
        fake_end(fake_call(&world->s3, FAKE_GET), S3_UNREACHABLE);
        later(world, 2 * US_PER_S);
    }
    assert_int_equal(world->end, PIPELINE_UNREACHABLE);
    assert_in_range(world->mono_us - began, PIPELINE_GIVE_UP_US, PIPELINE_GIVE_UP_US + 5 * US_PER_S);
}

static void test_slow_user_code_is_not_taken_for_a_server_that_went_away(void **state) {
    struct world *world = opened(state, true);
    fake_objects(one_bucket(world), LIST("a", "b"), false);
    world_settle(world);
    fake_end(fake_call(&world->s3, FAKE_GET), S3_UNREACHABLE); /* a hiccup at the start */
    fake_get_info(fake_call(&world->s3, FAKE_GET), "\"e1\"", "", 0);
    fake_end(fake_call(&world->s3, FAKE_GET), S3_OK);
    for (int i = 0; i < 10; i++)
        later(world, PIPELINE_GIVE_UP_US);
    assert_int_equal(world->ended, 0);
    fake_end(fake_call(&world->s3, FAKE_GET), S3_UNREACHABLE); /* and one after the silence */
    later(world, US_PER_S);
    assert_int_equal(world->ended, 0);
}

/* ---- the end of --once ---- */

static void test_not_drained_while_anything_lives(void **state) {
    struct world *world = opened(state, true);
    fake_objects(one_bucket(world), LIST("a", "b"), false);
    world_settle(world);
    assert_true(pipeline_listing_complete(world->pipeline));
    froe_task *task = fake_run(&world->engine, PIPELINE_PROCESS_OBJECT, "bucket-1/a", FAKE_RUNNING);
    fake_end(fake_call(&world->s3, FAKE_GET), S3_SERVER); /* waits for its retry */
    fake_end(fake_call(&world->s3, FAKE_GET), S3_NO_KEY);
    world_settle(world);
    world_settle(world);
    assert_int_equal(world->ended, 0);
    while (task->state != FAKE_PARKED) {
        later(world, 20 * US_PER_S);
        if (task->state == FAKE_RUNNING)
            fake_end(fake_call(&world->s3, FAKE_GET), S3_SERVER);
    }
    world_settle(world);
    assert_int_equal(world->ended, 1);
    assert_int_equal(world->end, PIPELINE_DRAINED);
}

/* Parked objects end no run that would say so; the bucket must be listed to its end all the same. */
static void test_look_ahead_full_of_parked_objects_blocks_nothing(void **state) {
    struct world *world = *state;
    world->options.look_ahead = 2;
    world->plan.way.retries = 0;
    opened(state, true);
    fake_objects(one_bucket(world), LIST("a", "b"), true);
    world_settle(world);
    fake_end(fake_call(&world->s3, FAKE_GET), S3_SERVER);
    fake_end(fake_call(&world->s3, FAKE_GET), S3_SERVER);
    assert_int_equal(world->engine.parked, 2);
    world_settle(world);
    world_settle(world);
    assert_non_null(fake_call(&world->s3, FAKE_LIST_OBJECTS));
    fake_objects(fake_call(&world->s3, FAKE_LIST_OBJECTS), LIST("c"), true);
    world_settle(world);
    fake_end(fake_call(&world->s3, FAKE_GET), S3_ARCHIVED); /* nor do skipped ones */
    world_settle(world);
    world_settle(world);
    fake_objects(fake_call(&world->s3, FAKE_LIST_OBJECTS), NOTHING, false);
    world_settle(world);
    world_settle(world);
    assert_int_equal(world->end, PIPELINE_DRAINED);
    assert_int_equal(world->ended, 1);
}

static void test_refill_that_was_refused_is_tried_again(void **state) {
    for (int once = 0; once < 2; once++) {
        struct world *world = *state;
        world->options.look_ahead = 1;
        opened(state, once);
        fake_objects(one_bucket(world), LIST("a"), true);
        world_settle(world);
        fake_end(fake_call(&world->s3, FAKE_GET), S3_NO_KEY);
        world->engine.refuse_calls = 1;
        for (int turn = 0; turn < 3; turn++)
            world_settle(world);
        assert_non_null(fake_call(&world->s3, FAKE_LIST_OBJECTS));
        if (!once) {
            world_down(state);
            world_up(state);
        }
    }
}

static void test_parts_that_cannot_be_made(void **state) {
    struct world *world = *state;
    struct err err = {0};
    world->engine.refuse_workflows = true;
    assert_true(pipeline_new(&world->loop, &world->options, &world->pipeline, &err) < 0);
    assert_string_equal(err.text, "no");
    assert_null(world->pipeline);
    world->engine.refuse_workflows = false;
    world_open(world);
    world->engine.refuse_calls = 1;
    assert_true(pipeline_begin(world->pipeline, &err) < 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)
    const struct CMUnitTest tests[] = {
        TEST(test_buckets_are_paged_and_spawned),
        TEST(test_next_tick_lists_again_and_spawns_no_second_lister),
        TEST(test_failed_tick_is_forgotten),
        TEST(test_denied_at_the_first_try_ends_it),
        TEST(test_refused_keys_at_the_first_try_end_it),
        TEST(test_refused_keys_later_do_not_end_it),
        TEST(test_unreachable_with_once_ends_it),
        TEST(test_unreachable_without_once_waits_for_the_next_tick),
        TEST(test_buckets_that_cannot_be_listed_with_once),
        TEST(test_throttled_listing_of_buckets_goes_on),
        TEST(test_no_bucket_at_all_is_drained),
        TEST(test_stopped_lister_of_buckets_comes_again),
        TEST(test_once_lists_each_bucket_once),
        TEST(test_keys_become_runs),
        TEST(test_live_objects_are_not_spawned_again),
        TEST(test_listing_stops_at_the_look_ahead_and_goes_on_at_the_low_mark),
        TEST(test_no_crumbs_are_listed),
        TEST(test_cursor_is_saved_after_the_spawns_it_stands_for),
        TEST(test_next_process_goes_on_at_the_cursor),
        TEST(test_once_begins_at_the_first_key),
        TEST(test_once_begins_at_the_first_key_after_a_cut_off_try_too),
        TEST(test_page_that_could_not_be_spawned_is_listed_again),
        TEST(test_bucket_that_is_gone_is_complete),
        TEST(test_skipped_objects_are_counted_over_the_pages_of_a_pass),
        TEST(test_failed_listing_waits_for_the_next_tick),
        TEST(test_throttled_listing_comes_again),
        TEST(test_once_ends_although_a_bucket_cannot_be_listed),
        TEST(test_once_with_a_bucket_that_may_not_be_listed),
        TEST(test_a_few_failures_between_good_pages_are_no_matter),
        TEST(test_server_that_went_away_is_given_up_with_once),
        TEST(test_slow_user_code_is_not_taken_for_a_server_that_went_away),
        TEST(test_not_drained_while_anything_lives),
        TEST(test_look_ahead_full_of_parked_objects_blocks_nothing),
        TEST(test_refill_that_was_refused_is_tried_again),
        TEST(test_parts_that_cannot_be_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
