/* test_filter.c - which objects of a listing are taken, and which are skipped for what reason. */
#include "pipeline.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NOW (INT64_C(1700000000) * US_PER_S)

static enum pipeline_skip ask(const struct pipeline_filter *filter, struct s3_object object) {
    return pipeline_filter_object(filter, &object, NOW);
}

static void test_all_is_taken_by_default(void **state) {
    const struct pipeline_filter all = {0};
    assert_int_equal(ask(&all, (struct s3_object){.key = BYTES("a"), .size = 1}), SKIP_NOT);
    assert_int_equal(ask(&all, (struct s3_object){.key = BYTES("empty"), .size = 0}), SKIP_NOT);
    assert_int_equal(ask(&all, (struct s3_object){.key = BYTES("\0\n\xff"), .size = 1, .modified_utc_us = NOW + 1}),
                     SKIP_NOT);
}

static void test_markers(void **state) {
    const struct pipeline_filter all = {0};
    assert_int_equal(ask(&all, (struct s3_object){.key = BYTES("dir/")}), SKIP_MARKER);
    assert_int_equal(ask(&all, (struct s3_object){.key = BYTES("/")}), SKIP_MARKER);
    assert_int_equal(ask(&all, (struct s3_object){.key = BYTES("dir/"), .size = 1}), SKIP_NOT);
    assert_int_equal(ask(&all, (struct s3_object){.key = BYTES("dir/a")}), SKIP_NOT);
}

static void test_archived_classes(void **state) {
    const struct pipeline_filter all = {0};
    static const struct {
        struct bytes class;
        enum pipeline_skip skip;
    } cases[] = {
        {BYTES("GLACIER"), SKIP_ARCHIVED},
        {BYTES("DEEP_ARCHIVE"), SKIP_ARCHIVED},
        {BYTES("GLACIER_IR"), SKIP_NOT},
        {BYTES("STANDARD"), SKIP_NOT},
        {BYTES(""), SKIP_NOT},
        {BYTES("INTELLIGENT_TIERING"), SKIP_NOT},
        {BYTES("SOMETHING_NEW"), SKIP_NOT},
        {BYTES("STANDARD_IA"), SKIP_NOT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct s3_object object = {.key = BYTES("a"), .size = 1, .storage_class = cases[i].class};
        assert_int_equal(ask(&all, object), cases[i].skip);
        object.restored = true;
        assert_int_equal(ask(&all, object), SKIP_NOT);
    }
}

static void test_include_and_exclude(void **state) {
    static const char *const images[] = {"*.png", "*.jpg"};
    static const char *const drafts[] = {"draft-*", "*/draft-*"};
    const struct pipeline_filter both = {.include = images, .n_include = 2, .exclude = drafts, .n_exclude = 2};
    const struct pipeline_filter include = {.include = images, .n_include = 2};
    const struct pipeline_filter exclude = {.exclude = drafts, .n_exclude = 2};
    static const struct {
        struct bytes key;
        enum pipeline_skip both, include, exclude;
    } cases[] = {
        {BYTES("a.png"), SKIP_NOT, SKIP_NOT, SKIP_NOT},
        {BYTES("deep/er/a.jpg"), SKIP_NOT, SKIP_NOT, SKIP_NOT},
        {BYTES("a.txt"), SKIP_EXCLUDED, SKIP_EXCLUDED, SKIP_NOT},
        {BYTES("draft-a.png"), SKIP_EXCLUDED, SKIP_NOT, SKIP_EXCLUDED},
        {BYTES("x/draft-a.png"), SKIP_EXCLUDED, SKIP_NOT, SKIP_EXCLUDED},
        {BYTES("nul\0.png"), SKIP_NOT, SKIP_NOT, SKIP_NOT},
        {BYTES("a.png\0"), SKIP_EXCLUDED, SKIP_EXCLUDED, SKIP_NOT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct s3_object object = {.key = cases[i].key, .size = 1};
        assert_int_equal(ask(&both, object), cases[i].both);
        assert_int_equal(ask(&include, object), cases[i].include);
        assert_int_equal(ask(&exclude, object), cases[i].exclude);
    }
}

static void test_min_age(void **state) {
    const struct pipeline_filter hour = {.min_age_us = US_PER_HOUR};
    struct s3_object object = {.key = BYTES("a"), .size = 1, .modified_utc_us = NOW - US_PER_HOUR};
    assert_int_equal(ask(&hour, object), SKIP_NOT); /* exactly old enough */
    object.modified_utc_us++;
    assert_int_equal(ask(&hour, object), SKIP_TOO_YOUNG);
    object.modified_utc_us = NOW + US_PER_HOUR; /* the server's clock is ahead */
    assert_int_equal(ask(&hour, object), SKIP_TOO_YOUNG);
    object.modified_utc_us = 0;
    assert_int_equal(ask(&hour, object), SKIP_NOT);
}

static void test_names(void **state) {
    assert_string_equal(pipeline_skip_name(SKIP_MARKER), "marker");
    assert_string_equal(pipeline_skip_name(SKIP_ARCHIVED), "archived");
    assert_string_equal(pipeline_skip_name(SKIP_EXCLUDED), "excluded");
    assert_string_equal(pipeline_skip_name(SKIP_TOO_YOUNG), "too_young");
    assert_string_equal(pipeline_guard_name(GUARD_UNKNOWN), "unknown");
    assert_string_equal(pipeline_guard_name(GUARD_IF_MATCH), "guarded");
    assert_string_equal(pipeline_guard_name(GUARD_VERSION), "versioned");
    assert_string_equal(pipeline_guard_name(GUARD_UNGUARDED), "unguarded");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_is_taken_by_default),
        cmocka_unit_test(test_markers),
        cmocka_unit_test(test_archived_classes),
        cmocka_unit_test(test_include_and_exclude),
        cmocka_unit_test(test_min_age),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
