/* test_plan.c - rules: which objects are taken at the listing, which when they are read, what each rule says of
 * attempts, time and age, and a plan that another one takes the place of. */
#include "world.h"

#include "rules.h"

#define BIG "size > 3"
#define OF_TYPE "content_type == 'a/b'"

static struct rule_when *compiled(const char *source) {
    struct rule_when *when;
    struct err err = {0};
    if (rule_when_compile(bytes_str(source), &when, &err) < 0)
        fail_msg("%s", err.text);
    return when;
}

static const char *const logs[] = {"*.log"}, *const bucket_1[] = {"bucket-1"};

/* Three rules: logs; what is big; in bucket-1 what is of the fake's type. */
struct rules_fixture {
    struct rule rules[3];
    struct pipeline_way ways[3];
    struct rule_when *when[2];
};

static void with_rules(struct world *world, struct rules_fixture *fx) {
    fx->when[0] = compiled(BIG);
    fx->when[1] = compiled(OF_TYPE);
    fx->rules[0] = (struct rule){.include = {logs, 1}};
    fx->rules[1] = (struct rule){.when = fx->when[0], .buckets = {bucket_1, 1}};
    fx->rules[2] = (struct rule){.when = fx->when[1], .buckets = {bucket_1, 1}};
    for (size_t i = 0; i < 3; i++)
        fx->ways[i] = (struct pipeline_way){&world->handler.handler, (uint32_t)i, (int64_t)(i + 1) * US_PER_MIN, 0};
    world->plan.rules = fx->rules;
    world->plan.ways = fx->ways;
    world->plan.n_rules = 3;
    world->options.trust_if_match = true;
}

static void without(struct rules_fixture *fx) {
    rule_when_free(fx->when[0]);
    rule_when_free(fx->when[1]);
}

static void test_listing(void **state) {
    struct world *world = *state;
    struct rules_fixture fx;
    with_rules(world, &fx);
    static const struct {
        const char *bucket, *key;
        uint64_t size;
        enum pipeline_skip skip;
    } cases[] = {
        {"bucket-1", "a.log", 1, SKIP_NOT}, {"bucket-2", "a.log", 1, SKIP_NOT},
        {"bucket-1", "a", 4, SKIP_NOT},     {"bucket-1", "a", 3, SKIP_NOT} /* may be of the type */,
        {"bucket-2", "a", 4, SKIP_NO_RULE}, {"bucket-2", "a/", 0, SKIP_MARKER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct s3_object object = {.key = bytes_str(cases[i].key), .size = cases[i].size};
        assert_int_equal(pipeline_plan_object(&world->plan, bytes_str(cases[i].bucket), &object, world->utc_us),
                         cases[i].skip);
    }
    struct bytes key = BYTES("x"), log = BYTES("x.log");
    assert_true(pipeline_plan_wants(&world->plan, BYTES("bucket-2"), NULL));
    assert_false(pipeline_plan_wants(&world->plan, BYTES("bucket-2"), &key));
    assert_true(pipeline_plan_wants(&world->plan, BYTES("bucket-2"), &log));
    without(&fx);
}

static void test_age_is_the_rules(void **state) {
    struct world *world = *state;
    struct rules_fixture fx;
    with_rules(world, &fx);
    world->plan.filter.min_age_us = 100 * US_PER_S;
    fx.ways[0].min_age_us = 10 * US_PER_S;
    struct s3_object object = {.key = BYTES("a.log"), .size = 1, .modified_utc_us = world->utc_us - 11 * US_PER_S};
    assert_int_equal(pipeline_plan_object(&world->plan, BYTES("bucket-1"), &object, world->utc_us), SKIP_NOT);
    object.modified_utc_us = world->utc_us - 9 * US_PER_S;
    assert_int_equal(pipeline_plan_object(&world->plan, BYTES("bucket-1"), &object, world->utc_us), SKIP_TOO_YOUNG);
    without(&fx);
}

static void test_rule_is_chosen_by_the_headers(void **state) {
    struct world *world = *state;
    struct rules_fixture fx;
    with_rules(world, &fx);
    world_open(world);
    froe_task *task = world_object(world, "bucket-1", "a");
    fake_get_info(fake_call(&world->s3, FAKE_GET), "\"e\"", "", 3); /* the third */
    assert_non_null(world_job(world));
    assert_int_equal(task->more_us, 3 * US_PER_MIN);
    world_job_end(world, world_job(world), HANDLER_FAILED, "no");
    world_settle(world);
    assert_int_equal(task->state, FAKE_QUEUED); /* two retries */
    assert_int_equal(world->plan.objects, 0);
    without(&fx);
}

static void test_retries_are_the_rules(void **state) {
    struct world *world = *state;
    struct rules_fixture fx;
    with_rules(world, &fx);
    world_open(world);
    froe_task *task = world_object(world, "bucket-1", "a.log"); /* none */
    fake_get_info(fake_call(&world->s3, FAKE_GET), "\"e\"", "", 3);
    assert_int_equal(task->more_us, 0); /* a minute, as it has anyway */
    world_job_end(world, world_job(world), HANDLER_FAILED, "no");
    world_settle(world);
    assert_int_equal(world->engine.parked, 1);
    without(&fx);
}

static void test_no_rule_leaves_it_alone_and_counts(void **state) {
    struct world *world = *state;
    struct rules_fixture fx;
    with_rules(world, &fx);
    world_open(world);
    world_object(world, "bucket-1", "a");
    const struct s3_object_info info = {.size = 3, .etag = BYTES("\"e\""), .content_type = BYTES("x/y")};
    fake_get_info_of(fake_call(&world->s3, FAKE_GET), &info);
    world_settle(world);
    assert_null(world_job(world));
    assert_int_equal(world->engine.dropped, 1);
    assert_int_equal(world->engine.parked, 0);
    assert_int_equal(world->s3.sent[FAKE_DELETE], 0);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.skipped[SKIP_NO_RULE], 1);
    world_settle(world);
    assert_non_null(strstr(world->engine.trace.p, "no_rule=1"));
    without(&fx);
}

static void test_too_young_for_a_rule_that_needed_headers(void **state) {
    struct world *world = *state;
    struct rules_fixture fx;
    with_rules(world, &fx);
    fx.ways[2].min_age_us = US_PER_MIN;
    world_open(world);
    world_object(world, "bucket-1", "a");
    const struct s3_object_info info = {
        .size = 3, .etag = BYTES("\"e\""), .content_type = BYTES("a/b"), .modified_utc_us = world->utc_us - US_PER_S};
    fake_get_info_of(fake_call(&world->s3, FAKE_GET), &info);
    world_settle(world);
    assert_null(world_job(world));
    assert_int_equal(world_bucket(world, "bucket-1")->stats.skipped[SKIP_TOO_YOUNG], 1);
    without(&fx);
}

/* A rule that nobody can say of whether it matches is no reason to go on to the next, which may delete. */
static void test_failed_expression_parks(void **state) {
    struct world *world = *state;
    struct rules_fixture fx;
    with_rules(world, &fx);
    rule_when_free(fx.when[0]);
    fx.rules[1].when = fx.when[0] = compiled("metadata.class == 'x'");
    world_open(world);
    froe_task *task = world_object(world, "bucket-1", "a");
    fake_get_info(fake_call(&world->s3, FAKE_GET), "\"e\"", "", 3);
    world_settle(world);
    assert_int_equal(world->engine.parked, 1);
    assert_int_equal(task->attempt, 1);
    assert_string_equal(task->error.p, "rule 2: when: line 1, column 10: there is no metadata.class");
    without(&fx);
}

static void test_another_plan(void **state) {
    struct world *world = *state;
    struct rules_fixture fx;
    with_rules(world, &fx);
    world_open(world);
    world_object(world, "bucket-1", "a.log");
    struct pipeline_plan next = world->plan;
    next.n_rules = 0;
    next.objects = 0;
    pipeline_set_plan(world->pipeline, &next);
    assert_int_equal(world->unused, 0); /* the object that runs is its */
    fake_get_info(fake_call(&world->s3, FAKE_GET), "\"e\"", "", 3);
    assert_true(fake_get_data(fake_call(&world->s3, FAKE_GET), "abc"));
    fake_end(fake_call(&world->s3, FAKE_GET), S3_OK);
    world_job_end(world, world_job(world), HANDLER_OK, "");
    assert_int_equal(world->unused, 0); /* until it is deleted */
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(world->unused, 1);
    assert_int_equal(next.objects, 0);
    struct pipeline_plan last = next;
    pipeline_set_plan(world->pipeline, &last);
    assert_int_equal(world->unused, 2);
    world_settle(world);
    pipeline_set_plan(world->pipeline, &world->plan);
    without(&fx);
}

static void test_buckets_that_no_rule_wants_are_not_drained(void **state) {
    struct world *world = *state;
    struct rules_fixture fx;
    with_rules(world, &fx);
    world->plan.rules = fx.rules + 1;
    world->plan.ways = fx.ways + 1;
    world->plan.n_rules = 2;
    world->options.once = true;
    fake_put(&world->s3, "bucket-1", "a", "four");
    fake_put(&world->s3, "bucket-2", "a", "four");
    world_open(world);
    struct err err = {0};
    assert_int_equal(pipeline_begin(world->pipeline, &err), 0);
    world_drain(world);
    assert_int_equal(world->end, PIPELINE_DRAINED);
    assert_int_equal(world_bucket(world, "bucket-2")->stats.skipped[SKIP_NO_RULE], 1);
    assert_int_equal(world->engine.done >= 1, 1);
    assert_null(fake_find(&world->s3, "bucket-1", "a"));
    assert_non_null(fake_find(&world->s3, "bucket-2", "a"));
    without(&fx);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, world_up, world_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_listing),
        TEST(test_age_is_the_rules),
        TEST(test_rule_is_chosen_by_the_headers),
        TEST(test_retries_are_the_rules),
        TEST(test_no_rule_leaves_it_alone_and_counts),
        TEST(test_too_young_for_a_rule_that_needed_headers),
        TEST(test_failed_expression_parks),
        TEST(test_another_plan),
        TEST(test_buckets_that_no_rule_wants_are_not_drained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
