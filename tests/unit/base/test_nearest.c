/* test_nearest.c - "did you mean ...?" */
#include "nearest.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char *near(const char *name) {
    static const char *const known[] = {"slots", "store", "retries", "timeout", "min_age", "when"};
    struct nearest nearest = {.name = bytes_str(name)};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        nearest_offer(&nearest, known[i]);
    return nearest.found;
}

static void test_distance(void **state) {
    assert_int_equal(nearest_distance(BYTES(""), BYTES("")), 0);
    assert_int_equal(nearest_distance(BYTES("abc"), BYTES("")), 3);
    assert_int_equal(nearest_distance(BYTES(""), BYTES("abc")), 3);
    assert_int_equal(nearest_distance(BYTES("kitten"), BYTES("sitting")), 3);
    char longer[NEAREST_FAR];
    memset(longer, 'a', sizeof longer);
    assert_int_equal(nearest_distance(bytes_of(longer, sizeof longer), bytes_of(longer, sizeof longer)), NEAREST_FAR);
    assert_int_equal(nearest_distance(bytes_of(longer, 63), bytes_of(longer, 63)), 0);
}

static void test_the_nearest_is_found(void **state) {
    assert_string_equal(near("slot"), "slots");
    assert_string_equal(near("sotre"), "store");
    assert_string_equal(near("retry"), "retries");
    assert_string_equal(near("min-age"), "min_age");
    assert_string_equal(near("when"), "when");
    assert_null(near("something"));
    assert_null(near("x")); /* nearly everything is near to it */
    assert_null(near(""));
    static const char *const words[] = {"text", "json", NULL};
    assert_string_equal(nearest_of(BYTES("jsn"), words), "json");
    assert_null(nearest_of(BYTES("xml"), words));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_distance), cmocka_unit_test(test_the_nearest_is_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
