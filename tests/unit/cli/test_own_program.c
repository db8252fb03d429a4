/* test_own_program.c - where froe looks for its helpers; built as by a distributor who puts them into /bin. */
#include "own_program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void test_places(void **state) {
    char path[PATH_MAX], own[PATH_MAX];
    struct err err = {0};
    assert_int_equal(own_program_find("test_cli_own_program", "../no/such/folder", path, &err), 0); /* beside it */
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
    assert_true(n > 0);
    own[n] = '\0';
    assert_memory_equal(path, own, (size_t)(strrchr(own, '/') - own));
    assert_int_equal(own_program_find("sh", "../no/such/folder", path, &err), 0);
    assert_string_equal(path, "/bin/sh");
    assert_int_equal(own_program_find("no-such-program", "../no/such/folder", path, &err), -ENOENT);
    assert_non_null(strstr(err.text, "no-such-program is neither in '/"));
    assert_non_null(strstr(err.text, "nor in '/bin'"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_places)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
