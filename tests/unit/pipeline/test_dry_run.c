/* test_dry_run.c - --dry-run: lists and counts, and sends nothing but listings. */
#include "world.h"

struct seen {
    char name[64];
    uint64_t listed, bytes, excluded;
    bool failed;
};

struct report {
    struct seen seen[8];
    size_t n;
    unsigned done;
    enum s3_status status;
    uint64_t buckets;
};

static void bucket_told(void *arg, const struct pipeline_bucket *bucket, const struct s3_result *failed) {
    struct report *report = arg;
    struct seen *seen = &report->seen[report->n++];
    *seen = (struct seen){.listed = bucket->listed,
                          .bytes = bucket->bytes,
                          .excluded = bucket->skipped[SKIP_EXCLUDED],
                          .failed = failed != NULL};
    snprintf(seen->name, sizeof seen->name, "%.*s", (int)bucket->name.n, bucket->name.p);
}

static void all_told(void *arg, const struct s3_result *failed, uint64_t buckets) {
    struct report *report = arg;
    report->done++;
    report->status = failed ? failed->status : S3_OK;
    report->buckets = buckets;
}

static int run(struct world *world, struct report *report) {
    static const char *const exclude[] = {"*0"};
    const struct pipeline_plan plan = {.filter = {.exclude = exclude, .n_exclude = 1}};
    const struct dry_run_options options = {
        .bucket_prefix = "bucket-",
        .plan = &plan,
        .s3 = &world->s3,
        .clock = &world->clock,
        .bucket = bucket_told,
        .done = all_told,
        .arg = report,
    };
    struct err err = {0};
    *report = (struct report){0};
    int r = dry_run_start(&options, &err);
    while (r == 0 && fake_serve(&world->s3))
        ;
    return r;
}

static void fill(struct world *world) {
    for (size_t i = 0; i < 150; i++) {
        char key[32];
        snprintf(key, sizeof key, "%03zu", i);
        fake_put(&world->s3, "bucket-1", key, "body");
    }
    fake_put(&world->s3, "bucket-2", "a", "body");
}

static void test_counts_what_would_be_done(void **state) {
    struct world *world = *state;
    struct report report;
    world->s3.page = 1;
    fill(world);
    assert_int_equal(run(world, &report), 0);
    assert_int_equal(report.done, 1);
    assert_int_equal(report.status, S3_OK);
    assert_int_equal(report.buckets, 2);
    assert_int_equal(report.n, 2);
    assert_string_equal(report.seen[0].name, "bucket-1");
    assert_int_equal(report.seen[0].listed, 135);
    assert_int_equal(report.seen[0].bytes, 135); /* the fake's listing says 1 byte each */
    assert_int_equal(report.seen[0].excluded, 15);
    assert_int_equal(report.seen[1].listed, 1);
    assert_int_equal(fake_objects_left(&world->s3), 151);
    assert_int_equal(world->s3.sent[FAKE_GET] + world->s3.sent[FAKE_DELETE] + world->s3.sent[FAKE_HEAD] +
                         world->s3.sent[FAKE_PROBE],
                     0);
}

static void test_bucket_that_cannot_be_listed_is_told_and_passed_over(void **state) {
    struct world *world = *state;
    struct report report;
    fill(world);
    world->s3.fail[FAKE_LIST_OBJECTS] = S3_DENIED;
    world->s3.fail_n[FAKE_LIST_OBJECTS] = 1;
    assert_int_equal(run(world, &report), 0);
    assert_true(report.seen[0].failed);
    assert_false(report.seen[1].failed);
    assert_int_equal(report.seen[1].listed, 1);
    assert_int_equal(report.status, S3_OK);
}

static void test_buckets_that_cannot_be_listed(void **state) {
    struct world *world = *state;
    struct report report;
    world->s3.fail[FAKE_LIST_BUCKETS] = S3_CREDENTIALS;
    world->s3.fail_n[FAKE_LIST_BUCKETS] = 1;
    assert_int_equal(run(world, &report), 0);
    assert_int_equal(report.done, 1);
    assert_int_equal(report.status, S3_CREDENTIALS);
}

static void test_bucket_that_went_away(void **state) {
    struct world *world = *state;
    struct report report;
    fill(world);
    world->s3.fail[FAKE_LIST_OBJECTS] = S3_NO_BUCKET;
    world->s3.fail_n[FAKE_LIST_OBJECTS] = 1;
    assert_int_equal(run(world, &report), 0);
    assert_false(report.seen[0].failed);
    assert_int_equal(report.seen[0].listed, 0);
}

static void test_any_allocation_may_fail(void **state) {
    struct world *world = *state;
    struct report report;
    fill(world);
    mem_fail_at(UINT64_MAX, 0);
    run(world, &report);
    uint64_t count = mem_fail_count();
    for (uint64_t n = 1; n <= count; n++) {
        mem_fail_at(n, 0);
        int r = run(world, &report);
        mem_fail_at(0, 0);
        assert_int_equal(report.done, r < 0 ? 0 : 1);
        assert_true(r < 0 || report.status == S3_NO_MEMORY);
    }
    for (unsigned n = 1; n <= 4; n++) { /* a request that cannot be made */
        world->s3.refuse = 1;
        assert_int_equal(run(world, &report), -ENOMEM);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)
    const struct CMUnitTest tests[] = {
        TEST(test_counts_what_would_be_done),     TEST(test_bucket_that_cannot_be_listed_is_told_and_passed_over),
        TEST(test_buckets_that_cannot_be_listed), TEST(test_bucket_that_went_away),
        TEST(test_any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
