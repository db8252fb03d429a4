/* test_rules.c - the first rule that matches: names, expressions, what is known when, and what cannot be said. */
#include "rules.h"

#include "clock.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NOW (INT64_C(1700000000) * US_PER_S)

static struct rule_when *compile(const char *source) {
    struct rule_when *when;
    struct err err = {0};
    if (rule_when_compile(bytes_str(source), &when, &err) < 0)
        fail_msg("%s: %s", source, err.text);
    assert_string_equal(rule_when_source(when), source);
    return when;
}

static enum rules_found ask(const char *source, struct rule_object object, struct err *err) {
    const struct rule rule = {.when = compile(source)};
    size_t at;
    enum rules_found found = rules_find(&rule, 1, &object, &at, err);
    rule_when_free((struct rule_when *)(uintptr_t)rule.when);
    return found;
}

static const struct rule_meta metadata[] = {
    {BYTES("class"), BYTES("raw")}, {BYTES("owner"), BYTES("\xff")}, {BYTES("class"), BYTES("twice")}};

static struct rule_object an_object(bool headers) {
    return (struct rule_object){.bucket = BYTES("photos-1"),
                                .key = BYTES("a/b.jpg"),
                                .etag = BYTES("\"abc\""),
                                .size = 1000,
                                .modified_utc_us = NOW + 500 * US_PER_MS,
                                .headers = headers,
                                .content_type = BYTES("image/jpeg"),
                                .metadata = metadata,
                                .n_metadata = 3};
}

static void test_expressions(void **state) {
    static const struct {
        const char *source;
        enum rules_found listed, read;
    } cases[] = {
        {"true", RULES_FOUND, RULES_FOUND},
        {"false", RULES_NONE, RULES_NONE},
        {"bucket == 'photos-1' && key.endsWith('.jpg')", RULES_FOUND, RULES_FOUND},
        {"size == 1000 && size < 2000", RULES_FOUND, RULES_FOUND},
        {"etag == 'abc'", RULES_FOUND, RULES_FOUND},
        {"last_modified > timestamp('2023-11-14T22:13:20Z')", RULES_FOUND, RULES_FOUND},
        {"last_modified == timestamp('2023-11-14T22:13:20.5Z')", RULES_FOUND, RULES_FOUND},
        {"content_type == 'image/jpeg'", RULES_LATER, RULES_FOUND},
        {"content_type == 'image/png'", RULES_LATER, RULES_NONE},
        {"metadata.class == 'raw'", RULES_LATER, RULES_FOUND}, /* of two the first */
        {"metadata.owner == '\\\\xff'", RULES_LATER, RULES_FOUND},
        {"'class' in metadata && !('x' in metadata)", RULES_LATER, RULES_FOUND},
        {"has(metadata.x) && metadata.x == 'y'", RULES_LATER, RULES_NONE},
        {"metadata.x == 'y'", RULES_LATER, RULES_FAILED},
        {"1 / (size - 1000) == 1", RULES_FAILED, RULES_FAILED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = {0};
        assert_int_equal(ask(cases[i].source, an_object(false), &err), cases[i].listed);
        assert_int_equal(ask(cases[i].source, an_object(true), &err), cases[i].read);
        assert_int_equal(err.text[0] != '\0', cases[i].read == RULES_FAILED);
    }
}

static void test_what_is_not_known_has_no_value(void **state) {
    struct err err = {0};
    struct rule_object object = {
        .bucket = BYTES("b"), .key = BYTES("\xff\n"), .size = RULE_SIZE_UNKNOWN, .headers = true};
    assert_int_equal(ask("size > 1", object, &err), RULES_FAILED);
    assert_non_null(strstr(err.text, "size"));
    assert_int_equal(ask("last_modified > timestamp('2023-11-14T22:13:20Z')", object, &err), RULES_FAILED);
    assert_int_equal(ask("key == '\\\\xff\\\\x0a' || key == '\\\\xff\\\\n'", object, &err), RULES_FOUND);
    assert_int_equal(ask("content_type == '' && metadata.size() == 0 && etag == ''", object, &err), RULES_FOUND);
}

static void test_what_does_not_compile(void **state) {
    static const char *const sources[] = {"",           "size",   "'x'",          "sizes > 1",
                                          "size > 'x'", "size >", "input.x == 1", "key.matches('(')"};
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        struct rule_when *when;
        struct err err = {0};
        assert_int_equal(rule_when_compile(bytes_str(sources[i]), &when, &err), -EINVAL);
        assert_true(err.text[0] != '\0');
    }
}

static void test_first_match_counts(void **state) {
    static const char *const photos[] = {"photos-*", "scans"}, *const jpg[] = {"*.jpg"}, *const a[] = {"a/*"};
    struct rule_when *big = compile("size > 10"), *typed = compile("content_type == 'x'");
    const struct rule rules[] = {
        {.buckets = {photos, 2}, .include = {jpg, 1}, .exclude = {a, 1}},
        {.include = {jpg, 1}, .when = big},
        {.buckets = {photos, 2}, .when = typed},
        {.exclude = {jpg, 1}},
    };
    static const struct {
        const char *bucket, *key;
        uint64_t size;
        enum rules_found found;
        size_t at;
    } cases[] = {
        {"photos-1", "x.jpg", 1, RULES_FOUND, 0},    {"scans", "x.jpg", 1, RULES_FOUND, 0},
        {"photos-1", "a/x.jpg", 11, RULES_FOUND, 1}, {"photos-1", "a/x.jpg", 1, RULES_LATER, 2},
        {"other", "x.jpg", 11, RULES_FOUND, 1},      {"other", "x.jpg", 1, RULES_NONE, 0},
        {"other", "x", 1, RULES_FOUND, 3},           {"photos-1", "x", 1, RULES_LATER, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct rule_object object = {
            .bucket = bytes_str(cases[i].bucket), .key = bytes_str(cases[i].key), .size = cases[i].size};
        size_t at = 99;
        assert_int_equal(rules_find(rules, 4, &object, &at, NULL), cases[i].found);
        if (cases[i].found != RULES_NONE)
            assert_int_equal(at, cases[i].at);
    }
    struct bytes key = BYTES("a/x.jpg"), none = BYTES("a/x");
    assert_true(rules_may_match(rules, 1, BYTES("scans"), NULL));
    assert_false(rules_may_match(rules, 1, BYTES("other"), NULL));
    assert_false(rules_may_match(rules, 1, BYTES("scans"), &key));
    assert_true(rules_may_match(rules, 2, BYTES("scans"), &key));
    assert_false(rules_may_match(rules, 2, BYTES("scans"), &none));
    rule_when_free(big);
    rule_when_free(typed);
}

/* Without memory nothing is decided. */
static void test_any_allocation_may_fail(void **state) {
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        struct rule_when *when = NULL;
        mem_fail_at(n, 0);
        int r = rule_when_compile(BYTES("content_type == 'image/jpeg' && metadata.owner != ''"), &when, NULL);
        enum rules_found found = RULES_FOUND;
        struct err err = {0};
        if (r == 0) {
            const struct rule rule = {.when = when};
            const struct rule_object object = an_object(true);
            size_t at;
            found = rules_find(&rule, 1, &object, &at, &err);
        }
        done = mem_fail_count() < n;
        mem_fail_at(0, 0);
        rule_when_free(when);
        if (r < 0)
            assert_int_equal(r, -ENOMEM);
        else if (found == RULES_FAILED)
            assert_int_equal(err.code, -ENOMEM);
        else
            assert_int_equal(found, RULES_FOUND);
        assert_true(n < 1000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expressions),
        cmocka_unit_test(test_what_is_not_known_has_no_value),
        cmocka_unit_test(test_what_does_not_compile),
        cmocka_unit_test(test_first_match_counts),
        cmocka_unit_test(test_any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
