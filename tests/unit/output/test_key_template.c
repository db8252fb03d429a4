/* test_key_template.c - names made of an object's own: each placeholder, at its edges, and each refusal. */
#include "key_template.h"

#include "clock.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct key_object object_of(struct bytes key) {
    const struct clock_date date = {.year = 2026, .month = 3, .day = 9, .hour = 4, .minute = 5, .second = 6};
    return (struct key_object){
        .bucket = BYTES("in-a"),
        .key = key,
        .etag = BYTES("\"0123abcd-2\""),
        .version_id = BYTES("v1"),
        .modified_utc_us = clock_from_date_utc(&date),
    };
}

static void expect_of(const char *text, struct bytes key, const char *name, const char *extension,
                      struct bytes expected) {
    struct key_template *template;
    struct err err = {0};
    struct buf made = {0};
    if (key_template_compile(bytes_str(text), true, &template, &err) < 0)
        fail_msg("%s: %s", text, err.text);
    struct key_object object = object_of(key);
    if (key_template_expand(template, &object, bytes_str(name), bytes_str(extension), &made, &err) < 0)
        fail_msg("%s: %s", text, err.text);
    if (!bytes_equal(buf_bytes(&made), expected))
        fail_msg("%s of '%.*s': '%s'", text, (int)key.n, key.p, made.p);
    assert_string_equal(key_template_text(template), text);
    buf_free(&made);
    key_template_free(template);
}

static void expect(const char *text, const char *key, const char *expected) {
    expect_of(text, bytes_str(key), "", "", bytes_str(expected));
}

static void test_placeholders(void **state) {
    (void)state;
    expect("{key}", "a/b.tar.gz", "a/b.tar.gz");
    expect("{bucket}/{key}", "a", "in-a/a");
    expect("{dir}|{base}", "a/b/c.txt", "a/b/|c.txt");
    expect("{dir}|{base}", "c.txt", "|c.txt");
    expect("{dir}|{base}", "a/", "a/|");
    expect("{stem}|{ext}", "a/b.tar.gz", "a/b.tar|gz");
    expect("{stem}|{ext}", "a.b/c", "a.b/c|");
    expect("{stem}|{ext}", ".profile", ".profile|");
    expect("{stem}|{ext}", "x/.profile.bak", "x/.profile|bak");
    expect("{stem}|{ext}", "..x", "..x|");
    expect("{stem}|{ext}", "b.", "b.|");
    expect("{stem}|{ext}", "...", "...|");
    expect("{etag}", "a", "0123abcd-2");
    expect("{key}@{version}", "a", "a@v1");
    expect("{date}/{base}", "x/a", "2026-03-09/a");
    expect("y={year}/m={month}/d={day}/h={hour}/{base}", "x/a", "y=2026/m=03/d=09/h=04/a");
    expect("a{{b}}c{key}", "k",
           "a{b}c"
           "k");
    expect("{{{key}}}", "k", "{k}");
    expect_of("{stem}-{name}.{ext}", BYTES("p/1.jpg"), "small", "webp", BYTES("p/1-small.webp"));
    expect_of("{key}",
              BYTES("a\0\xff"
                    "b"),
              "", "",
              BYTES("a\0\xff"
                    "b"));
}

/* "{stem}.{ext}" is the key, whatever it looks like. */
static void test_without_an_extension(void **state) {
    (void)state;
    static const char *const keys[] = {"a",  "a.b",  "a/b.c/d", ".a",  "a.",         "a..",
                                       "..", "a..b", "/",       "a/.", "x/y.tar.gz", "."};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        expect("{stem}.{ext}", keys[i], keys[i]);
    expect("{stem}..{ext}", "a", "a.");
    expect("{ext}{key}", "a", "a");
    expect_of("{stem}.{ext}", BYTES("a"), "", "png", BYTES("a.png"));
}

static void refuse(const char *text, bool results, const char *part) {
    struct key_template *template;
    struct err err = {0};
    assert_int_equal(key_template_compile(bytes_str(text), results, &template, &err), -EINVAL);
    if (!strstr(err.text, part))
        fail_msg("%s: %s", text, err.text);
}

static void test_refused(void **state) {
    (void)state;
    refuse("", true, "empty");
    refuse("{stern}", true, "at 1: there is no {stern}; there are bucket, key,");
    refuse("ab{key}{", true, "at 8: a { without its }");
    refuse("{key", true, "at 1: a { without its }");
    refuse("a}{key}", true, "at 2: a } without its {");
    refuse("{stern}", true, "for a brace; did you mean {stem}?");
    refuse("{nam}", true, "did you mean {name}?");
    refuse("{}{key}", true, "at 1: there is no {}");
    refuse("result", true, "the same for all objects");
    refuse("{bucket}/{date}/{ext}/{dir}{name}", true, "the same for all objects");
    refuse("{key}{name}", false, "at 6: {name} is a result's");
    char longer[KEY_TEMPLATE_MAX + 2];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    refuse(longer, true, "longer than 1024 bytes");
}

static void test_what_cannot_be_expanded(void **state) {
    (void)state;
    struct key_template *template;
    struct err err = {0};
    struct buf made = {0};
    char key[1025];
    memset(key, 'k', sizeof key);
    struct key_object object = object_of(bytes_of(key, 1024));
    assert_int_equal(key_template_compile(BYTES("{key}"), true, &template, &err), 0);
    assert_int_equal(key_template_expand(template, &object, BYTES_NONE, BYTES_NONE, &made, &err), 0);
    assert_int_equal(made.n, 1024);
    object.key.n = 1025;
    assert_int_equal(key_template_expand(template, &object, BYTES_NONE, BYTES_NONE, &made, &err), -E2BIG);
    assert_string_equal(err.text, "'{key}': that has 1025 bytes, and a key has at most 1024");
    assert_int_equal(made.n, 1024); /* what was there before stays */
    key_template_free(template);

    assert_int_equal(key_template_compile(BYTES("{base}"), true, &template, &err), 0);
    object.key = BYTES("a/");
    assert_int_equal(key_template_expand(template, &object, BYTES_NONE, BYTES_NONE, &made, &err), -EINVAL);
    assert_string_equal(err.text, "'{base}': nothing is left of it");
    key_template_free(template);

    assert_int_equal(key_template_compile(BYTES("{date}/{key}"), true, &template, &err), 0);
    object.modified_utc_us = 0;
    assert_int_equal(key_template_expand(template, &object, BYTES_NONE, BYTES_NONE, &made, &err), -EINVAL);
    assert_non_null(strstr(err.text, "no date"));
    key_template_free(template);
    buf_free(&made);
}

static void test_without_memory(void **state) {
    (void)state;
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        struct key_template *template = NULL;
        struct err err = {0};
        struct buf made = {0};
        struct key_object object = object_of(BYTES("a/b.c"));
        mem_fail_at(n, 0);
        int r = key_template_compile(BYTES("x{date}-{stem}.{ext}"), true, &template, &err);
        if (r == 0)
            r = key_template_expand(template, &object, BYTES_NONE, BYTES_NONE, &made, &err);
        done = mem_fail_count() < n;
        mem_fail_at(0, 0);
        assert_int_equal(r, done ? 0 : -ENOMEM);
        assert_int_equal(made.n, done ? strlen("x2026-03-09-a/b.c") : 0);
        buf_free(&made);
        key_template_free(template);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_placeholders),   cmocka_unit_test(test_without_an_extension),
        cmocka_unit_test(test_refused),        cmocka_unit_test(test_what_cannot_be_expanded),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
