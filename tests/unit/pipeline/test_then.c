/* test_then.c - what becomes of an object that was processed: moved, tagged, kept; and that only what was read is. */
#include "world.h"

static struct world *opened(void **state) {
    struct world *world = *state;
    world->options.trust_if_match = true;
    world_open(world);
    return world;
}

static struct key_template *key;

static struct world *moving(void **state) {
    struct world *world = *state;
    key_template_free(key);
    assert_int_equal(key_template_compile(BYTES("from-{bucket}/{key}"), false, &key, NULL), 0);
    world->plan.way.then.kind = THEN_MOVE;
    world->plan.way.then.bucket = "archive";
    world->plan.way.then.key = key;
    return opened(state);
}

static const struct s3_tag tags[] = {{BYTES("done"), BYTES("yes & no")}, {BYTES("a"), BYTES("new")}};

static struct world *tagging(void **state) {
    struct world *world = *state;
    world->plan.way.then.kind = THEN_TAG;
    world->plan.way.then.tags = tags;
    world->plan.way.then.n_tags = 2;
    return opened(state);
}

static void time_passes(struct world *world) {
    world_settle(world);
    world->mono_us += 20 * US_PER_S;
    world_settle(world);
}

static void test_moves_what_it_read(void **state) {
    struct world *world = moving(state);
    froe_task *task = world_object(world, "bucket-1", "d/k");
    world_process(world, "\"e1\"", "");
    struct s3_call *copy = fake_call(&world->s3, FAKE_COPY);
    assert_string_equal(copy->bucket, "archive");
    assert_string_equal(copy->key, "from-bucket-1/d/k");
    assert_string_equal(copy->from_bucket, "bucket-1");
    assert_string_equal(copy->from_key, "d/k");
    assert_string_equal(copy->from_etag, "\"e1\"");
    assert_int_equal(copy->size, 5);
    assert_null(fake_call(&world->s3, FAKE_DELETE));
    fake_end(copy, S3_OK);
    assert_string_equal(fake_call(&world->s3, FAKE_DELETE)->if_match, "\"e1\"");
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(task->end, FAKE_SUCCEEDED);
}

static void test_a_version_is_moved_and_deleted_by_its_id(void **state) {
    struct world *world = moving(state);
    world_object(world, "bucket-1", "k");
    world_process(world, "\"e1\"", "v7");
    assert_string_equal(fake_call(&world->s3, FAKE_COPY)->version_id, "v7");
    fake_end(fake_call(&world->s3, FAKE_COPY), S3_OK);
    assert_string_equal(fake_call(&world->s3, FAKE_DELETE)->version_id, "v7");
}

static void test_overwritten_before_the_copy(void **state) {
    struct world *world = moving(state);
    froe_task *task = world_object(world, "bucket-1", "k");
    world_process(world, "\"e1\"", "");
    fake_end(fake_call(&world->s3, FAKE_COPY), S3_PRECONDITION);
    assert_int_equal(task->end, FAKE_AGAIN);
    assert_int_equal(world->s3.sent[FAKE_DELETE], 0);
    assert_int_equal(task->checkpoint.n, 0);
}

/* The attempts after it copy again, and after a copy that went well only delete; none runs the handler. */
static void test_failed_move_is_gone_on_with(void **state) {
    struct world *world = moving(state);
    froe_task *task = world_object(world, "bucket-1", "k\n\xff");
    world_process(world, "\"e1\"", "");
    fake_end(fake_call(&world->s3, FAKE_COPY), S3_NO_BUCKET);
    assert_string_equal(task->error.p, "processed, but not moved: it failed");
    world->plan.way.then.kind = THEN_DELETE; /* whatever the rules say by now */
    time_passes(world);
    struct s3_call *copy = fake_call(&world->s3, FAKE_COPY);
    assert_string_equal(copy->bucket, "archive");
    assert_string_equal(copy->key, "from-bucket-1/k\n\xff");
    assert_string_equal(copy->from_etag, "\"e1\"");
    assert_int_equal(copy->size, 5);
    fake_end(copy, S3_OK);
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_DENIED);
    assert_string_equal(task->error.p, "processed, but not deleted: it failed");
    time_passes(world);
    assert_null(fake_call(&world->s3, FAKE_COPY));
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(task->end, FAKE_SUCCEEDED);
    assert_int_equal(world->handler.started, 1);
    assert_int_equal(world->s3.sent[FAKE_GET], 1);
}

static void test_copy_is_cancelled_a_delete_is_not(void **state) {
    struct world *world = moving(state);
    froe_task *task = world_object(world, "bucket-1", "k");
    world_process(world, "\"e1\"", "");
    fake_cancel(task, FROE_CANCELLED_STOP);
    assert_true(fake_call(&world->s3, FAKE_COPY)->cancelled);
    assert_true(fake_s3_step(&world->s3));
    assert_int_equal(task->end, FAKE_AGAIN);
    task->cancelled = FROE_NOT_CANCELLED;
    time_passes(world);
    fake_end(fake_call(&world->s3, FAKE_COPY), S3_OK);
    fake_cancel(task, FROE_CANCELLED_STOP);
    assert_false(fake_call(&world->s3, FAKE_DELETE)->cancelled);
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(task->end, FAKE_SUCCEEDED);
}

static void test_place_that_cannot_be_is_told_before_anything_runs(void **state) {
    struct world *world = moving(state);
    char longer[1020];
    memset(longer, 'k', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    world_object(world, "bucket-1", longer);
    struct s3_call *get = fake_call(&world->s3, FAKE_GET);
    fake_get_info(get, "\"e1\"", "", 5);
    world_settle(world);
    assert_int_equal(world->handler.started, 0);
    assert_int_equal(world->engine.parked, 1);
    froe_task *task = fake_run(&world->engine, PIPELINE_PROCESS_OBJECT, NULL, FAKE_PARKED);
    assert_non_null(strstr(task->error.p, "it cannot be moved to archive: 'from-{bucket}/{key}': that has 1033 bytes"));
}

static void test_tags_are_added(void **state) {
    struct world *world = tagging(state);
    struct fake_object *object = fake_put(&world->s3, "bucket-1", "k", "hello");
    strcpy(object->tags, "a=old;b=1;");
    world_object(world, "bucket-1", "k");
    world_process(world, object->etag, "");
    while (fake_serve(&world->s3)) /* HEAD, get, put */
        ;
    world_settle(world);
    assert_string_equal(object->tags, "a=new;b=1;done=yes & no;");
    assert_int_equal(world->s3.sent[FAKE_HEAD], 1);
    assert_int_equal(world->s3.sent[FAKE_DELETE], 0);
    assert_int_equal(world->engine.done, 1);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.done, 1);
}

static void test_a_version_is_tagged_by_its_id(void **state) {
    struct world *world = tagging(state);
    world_object(world, "bucket-1", "k");
    world_process(world, "\"e1\"", "v7");
    assert_int_equal(world->s3.sent[FAKE_HEAD], 0);
    assert_string_equal(fake_call(&world->s3, FAKE_GET_TAGS)->version_id, "v7");
}

static void test_overwritten_before_it_is_tagged(void **state) {
    struct world *world = tagging(state);
    froe_task *task = world_object(world, "bucket-1", "k");
    world_process(world, "\"e1\"", "");
    fake_head(fake_call(&world->s3, FAKE_HEAD), "\"e2\"");
    assert_int_equal(task->end, FAKE_AGAIN);
    assert_int_equal(world->s3.sent[FAKE_PUT_TAGS], 0);
}

static void test_too_many_tags(void **state) {
    struct world *world = tagging(state);
    struct fake_object *object = fake_put(&world->s3, "bucket-1", "k", "hello");
    strcpy(object->tags, "0=;1=;2=;3=;4=;5=;6=;7=;8=;a=;");
    froe_task *task = world_object(world, "bucket-1", "k");
    world_process(world, object->etag, "");
    while (fake_serve(&world->s3))
        ;
    assert_non_null(strstr(task->error.p, "processed, but not tagged: with the tags that it has there would be more"));
    assert_string_equal(object->tags, "0=;1=;2=;3=;4=;5=;6=;7=;8=;a=;");
}

/* Of a server that allows more; none of them is dropped. */
static void test_more_tags_than_s3_has(void **state) {
    struct world *world = tagging(state);
    struct fake_object *object = fake_put(&world->s3, "bucket-1", "k", "hello");
    strcpy(object->tags, "0=;1=;2=;3=;4=;5=;6=;7=;8=;9=;a=;done=;");
    froe_task *task = world_object(world, "bucket-1", "k");
    world_process(world, object->etag, "");
    while (fake_serve(&world->s3))
        ;
    assert_non_null(strstr(task->error.p, "processed, but not tagged: it has more tags already"));
    assert_int_equal(world->s3.sent[FAKE_PUT_TAGS], 0);
}

static void test_failed_tagging_is_gone_on_with(void **state) {
    struct world *world = tagging(state);
    struct fake_object *object = fake_put(&world->s3, "bucket-1", "k", "hello");
    world_object(world, "bucket-1", "k");
    world_process(world, object->etag, "");
    fake_end(fake_call(&world->s3, FAKE_HEAD), S3_DENIED);
    time_passes(world);
    while (fake_serve(&world->s3))
        ;
    world_settle(world);
    assert_string_equal(object->tags, "done=yes & no;a=new;");
    assert_int_equal(world->engine.done, 1);
    assert_int_equal(world->handler.started, 1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)
    const struct CMUnitTest tests[] = {
        TEST(test_moves_what_it_read),
        TEST(test_a_version_is_moved_and_deleted_by_its_id),
        TEST(test_overwritten_before_the_copy),
        TEST(test_failed_move_is_gone_on_with),
        TEST(test_copy_is_cancelled_a_delete_is_not),
        TEST(test_place_that_cannot_be_is_told_before_anything_runs),
        TEST(test_tags_are_added),
        TEST(test_a_version_is_tagged_by_its_id),
        TEST(test_overwritten_before_it_is_tagged),
        TEST(test_too_many_tags),
        TEST(test_more_tags_than_s3_has),
        TEST(test_failed_tagging_is_gone_on_with),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    key_template_free(key);
    return r;
}
