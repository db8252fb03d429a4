/* test_records.c - an object that is kept is processed once in each state, whoever finds it again. */
#include "world.h"

static struct world *keeping(void **state) {
    struct world *world = *state;
    world->plan.way.then.kind = THEN_KEEP;
    world->options.trust_if_match = true;
    world->options.once = true;
    return world;
}

static size_t count_records(const struct world *world) {
    size_t n = 0;
    LIST_EACH (link, &world->engine.values) {
        const struct fake_value *value = LIST_ENTRY(link, struct fake_value, link);
        n += bytes_starts(buf_bytes(&value->name), BYTES("kept/bucket-1/")) && value->data.n > 0;
    }
    return n;
}

static void test_records_once(void **state) {
    struct world *world = keeping(state);
    fake_put(&world->s3, "bucket-1", "a", "x");
    fake_put(&world->s3, "bucket-1", "b", "y");
    world_open(world);
    assert_int_equal(pipeline_begin(world->pipeline, NULL), 0);
    world_drain(world);
    assert_int_equal(world->end, PIPELINE_DRAINED);
    assert_int_equal(world->handler.started, 2);
    assert_int_equal(world->s3.sent[FAKE_DELETE], 0);
    assert_int_equal(fake_objects_left(&world->s3), 2);
    assert_int_equal(count_records(world), 2);
}

/* The next pass finds the records: fake_objects lists everything in the state "listed". */
static void test_listing_leaves_out_what_was_kept(void **state) {
    struct world *world = keeping(state);
    world->options.once = false;
    world_open(world);
    assert_int_equal(records_put(world->pipeline, BYTES("bucket-1"), BYTES("a"), BYTES("listed")), 0);
    assert_int_equal(records_put(world->pipeline, BYTES("bucket-1"), BYTES("b"), BYTES("older")), 0);
    assert_int_equal(pipeline_begin(world->pipeline, NULL), 0);
    world_settle(world);
    fake_buckets(fake_call(&world->s3, FAKE_LIST_BUCKETS), (const char *const[]){"bucket-1", NULL}, "");
    world_settle(world);
    fake_objects(fake_call(&world->s3, FAKE_LIST_OBJECTS), (const char *const[]){"a", "b", "c", NULL}, false);
    world_settle(world);
    const struct pipeline_bucket *stats = &world_bucket(world, "bucket-1")->stats;
    assert_int_equal(stats->listed, 2);
    assert_int_equal(stats->skipped[SKIP_KEPT], 1);
    assert_int_equal(stats->listing, LISTING_COMPLETE);
    assert_null(fake_run(&world->engine, PIPELINE_PROCESS_OBJECT, "bucket-1/a", FAKE_RUNNING));
    assert_non_null(fake_run(&world->engine, PIPELINE_PROCESS_OBJECT, "bucket-1/b", FAKE_RUNNING));
    assert_non_null(fake_run(&world->engine, PIPELINE_PROCESS_OBJECT, "bucket-1/c", FAKE_RUNNING));
}

/* By the run itself: the listing that spawned it may have been faster than the record. */
static void test_run_looks_again(void **state) {
    struct world *world = keeping(state);
    world->options.once = false;
    world_open(world);
    world_object(world, "bucket-1", "k");
    world_process(world, "\"e1\"", "");
    world_settle(world);
    assert_int_equal(world->engine.done, 1);
    assert_int_equal(count_records(world), 1);
    world_object(world, "bucket-1", "k");
    fake_get_info(fake_call(&world->s3, FAKE_GET), "\"e1\"", "", 5);
    world_settle(world);
    assert_int_equal(world->engine.done, 1);
    assert_int_equal(world->engine.parked, 0);
    assert_int_equal(world->handler.started, 1);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.skipped[SKIP_KEPT], 1);
    /* overwritten: another state */
    world_object(world, "bucket-1", "k");
    world_process(world, "\"e2\"", "");
    world_settle(world);
    assert_int_equal(world->handler.started, 2);
    assert_int_equal(count_records(world), 1);
}

static void test_gone_is_forgotten(void **state) {
    struct world *world = keeping(state);
    world->options.once = false;
    world_open(world);
    world_object(world, "bucket-1", "k");
    world_process(world, "\"e1\"", "");
    world_object(world, "bucket-1", "k");
    fake_end(fake_call(&world->s3, FAKE_GET), S3_NO_KEY);
    world_settle(world);
    assert_int_equal(count_records(world), 0);
}

/* Once nothing is kept any more what is deleted leaves no record, also where a delete needs two attempts; and in a
 * store that never had any nobody looks. */
static void test_deleted_is_forgotten_where_nothing_is_kept(void **state) {
    struct world *world = keeping(state);
    world->options.once = false;
    world_open(world);
    assert_int_equal(pipeline_begin(world->pipeline, NULL), 0);
    world_settle(world);
    assert_int_equal(world->pipeline->records, RECORDS_NONE);
    for (int i = 0; i < 2; i++) {
        world_object(world, "bucket-1", i ? "k" : "l");
        world_process(world, "\"e1\"", "");
        world_settle(world);
    }
    assert_int_equal(count_records(world), 2);
    assert_int_equal(world->pipeline->records, RECORDS_SOME);
    assert_string_equal(fake_value(&world->engine, "kept").p, "1");

    world->plan.way.then.kind = THEN_DELETE;
    plan_settle(&world->plan);
    world_object(world, "bucket-1", "k");
    world_process(world, "\"e1\"", "");
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    world_settle(world);
    assert_int_equal(count_records(world), 1);
    world_object(world, "bucket-1", "l");
    world_process(world, "\"e1\"", "");
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_UNREACHABLE);
    world_settle(world);
    assert_int_equal(count_records(world), 1);
    world->mono_us += 20 * US_PER_S;
    world_settle(world);
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    world_settle(world);
    assert_int_equal(count_records(world), 0);
}

/* Under a plan that keeps, another process may have left the store's first record; the next plan must not ignore it. */
static void test_others_may_have_left_records(void **state) {
    static struct pipeline_plan next;
    struct world *world = keeping(state);
    world_open(world);
    assert_int_equal(pipeline_begin(world->pipeline, NULL), 0);
    world_settle(world);
    assert_int_equal(world->pipeline->records, RECORDS_NONE);
    next = world->plan;
    next.way.then.kind = THEN_DELETE;
    pipeline_set_plan(world->pipeline, &next);
    assert_int_equal(world->pipeline->records, RECORDS_MAYBE);
}

static void test_no_records_cost_nothing(void **state) {
    struct world *world = keeping(state);
    world->plan.way.then.kind = THEN_DELETE;
    fake_put(&world->s3, "bucket-1", "a", "x");
    world_open(world);
    assert_int_equal(pipeline_begin(world->pipeline, NULL), 0);
    world_drain(world);
    assert_int_equal(fake_objects_left(&world->s3), 0);
    LIST_EACH (link, &world->engine.values)
        assert_false(bytes_starts(buf_bytes(&LIST_ENTRY(link, struct fake_value, link)->name), BYTES("kept")));
}

/* It could not be told from another state. */
static void test_without_an_etag_nothing_is_kept(void **state) {
    struct world *world = keeping(state);
    world->options.once = false;
    world_open(world);
    world_object(world, "bucket-1", "k");
    fake_get_info(fake_call(&world->s3, FAKE_GET), "", "version-1", 5);
    world_settle(world);
    assert_int_equal(world->handler.started, 0);
    assert_int_equal(world->engine.parked, 1);
    assert_int_equal(count_records(world), 0);
}

/* What a listing shows by quotes or without is the same state. */
static void test_quotes_do_not_matter(void **state) {
    struct world *world = keeping(state);
    world->options.once = false;
    world_open(world);
    assert_int_equal(records_put(world->pipeline, BYTES("bucket-1"), BYTES("k"), BYTES("\"e\"")), 0);
    world_settle(world);
    struct buf record = {0};
    LIST_EACH (link, &world->engine.values) {
        const struct fake_value *value = LIST_ENTRY(link, struct fake_value, link);
        if (bytes_starts(buf_bytes(&value->name), BYTES("kept/")))
            assert_int_equal(buf_add_bytes(&record, buf_bytes(&value->data)), 0);
    }
    assert_int_equal(record.n, 32);
    assert_true(records_match(buf_bytes(&record), BYTES("\"e\"")));
    assert_true(records_match(buf_bytes(&record), BYTES("e")));
    assert_false(records_match(buf_bytes(&record), BYTES("f")));
    assert_false(records_match(buf_bytes(&record), BYTES_NONE));
    assert_false(records_match(BYTES_NONE, BYTES("e")));
    buf_free(&record);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)
    const struct CMUnitTest tests[] = {
        TEST(test_records_once),
        TEST(test_listing_leaves_out_what_was_kept),
        TEST(test_run_looks_again),
        TEST(test_gone_is_forgotten),
        TEST(test_quotes_do_not_matter),
        TEST(test_deleted_is_forgotten_where_nothing_is_kept),
        TEST(test_others_may_have_left_records),
        TEST(test_no_records_cost_nothing),
        TEST(test_without_an_etag_nothing_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
