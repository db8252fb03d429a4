/* test_notes.c - what is remembered of a bucket for when no pipeline runs. */
#include "world.h"

struct seen {
    unsigned times;
    struct pipeline_bucket bucket;
    char cursor[64];
};

static void see(void *arg, const struct pipeline_bucket *bucket) {
    struct seen *seen = arg;
    seen->times++;
    seen->bucket = *bucket;
    snprintf(seen->cursor, sizeof seen->cursor, "%.*s", (int)bucket->cursor.n,
             bucket->cursor.n ? bucket->cursor.p : "");
}

static struct seen read_notes(struct world *world, const char *name) {
    struct seen seen = {0};
    assert_int_equal(pipeline_read_notes(&world->engine, name, see, &seen), 0);
    assert_int_equal(seen.times, 0); /* never from inside the call */
    world_settle(world);
    assert_int_equal(seen.times, 1);
    return seen;
}

static void test_read_as_they_were_left(void **state) {
    struct world *world = *state;
    world_open(world);
    struct bucket *bucket = bucket_get(world->pipeline, BYTES("bucket-1"));
    assert_non_null(bucket);
    bucket->stats.listing = LISTING_PARTIAL;
    bucket->stats.skipped[SKIP_MARKER] = 2;
    bucket->stats.skipped[SKIP_TOO_YOUNG] = UINT64_MAX;
    bucket_note_listing(bucket);
    bucket_set_guard(bucket, GUARD_UNGUARDED);
    froe_value_put(&world->engine, "cursor/bucket-1", "m", 1, NULL, NULL, NULL);
    world_settle(world);
    struct seen seen = read_notes(world, "bucket-1");
    assert_string_equal(seen.cursor, "m");
    assert_int_equal(seen.bucket.listing, LISTING_PARTIAL);
    assert_int_equal(seen.bucket.guard, GUARD_UNGUARDED);
    assert_int_equal(seen.bucket.skipped[SKIP_MARKER], 2);
    assert_int_equal(seen.bucket.skipped[SKIP_ARCHIVED], 0);
    assert_true(seen.bucket.skipped[SKIP_TOO_YOUNG] == UINT64_MAX);
}

static void test_nothing_and_nonsense_are_not_known(void **state) {
    struct world *world = *state;
    static const char *const texts[] = {"",  " ",          "partia", "complete marker", "complete =1 marker=x nobody=3",
                                        "=", "  partial  "};
    world_open(world);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        froe_value_put(&world->engine, "listing/bucket-1", texts[i], strlen(texts[i]), NULL, NULL, NULL);
        froe_value_put(&world->engine, "guard/bucket-1", texts[i], strlen(texts[i]), NULL, NULL, NULL);
        world_settle(world);
        struct seen seen = read_notes(world, "bucket-1");
        bool complete = strncmp(texts[i], "complete ", 9) == 0;
        assert_int_equal(seen.bucket.listing, complete ? LISTING_COMPLETE : LISTING_NONE);
        assert_int_equal(seen.bucket.guard, GUARD_UNKNOWN);
        for (int skip = 0; skip < SKIP_KINDS; skip++)
            assert_int_equal(seen.bucket.skipped[skip], 0);
        assert_string_equal(seen.cursor, "");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_read_as_they_were_left, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_nothing_and_nonsense_are_not_known, world_up, world_down),
    };
    return cmocka_run_group_tests_name("pipeline notes", tests, NULL, NULL);
}
