/* Memory for secrets: it grows without losing anything, and core dumps leave it out, also after it has moved. */
#include "secret.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* Has the mapping that holds `at` the flag "dd", do not dump? -1: the kernel does not tell. */
static int is_left_out(const void *at) {
    FILE *file = fopen("/proc/self/smaps", "r");
    if (!file)
        return -1;
    char line[512];
    unsigned long from, to;
    bool inside = false;
    int found = -1;
    while (found < 0 && fgets(line, sizeof line, file)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = (uintptr_t)at >= from && (uintptr_t)at < to;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, " dd") != NULL;
    }
    fclose(file);
    return found;
}

static void test_not_dumped(void **state) {
    char on_stack = 'x';
    struct secret secret = {0};
    assert_int_equal(secret_add(&secret, BYTES("key")), 0);
    if (is_left_out(&on_stack) < 0) {
        print_message("the kernel does not say here which pages a core dump leaves out: skipped\n");
        skip();
    }
    assert_int_equal(is_left_out(&on_stack), 0);
    assert_int_equal(is_left_out(secret.p), 1);
    assert_int_equal(secret_reserve(&secret, 1 << 20), 0);
    assert_int_equal(is_left_out(secret.p), 1);
    assert_int_equal(is_left_out(secret.p + secret.cap - 1), 1);
    secret_free(&secret);
}

static void test_growth(void **state) {
    _cleanup_secret_ struct secret secret = {0};
    assert_int_equal(secret_add(&secret, BYTES_NONE), 0);
    for (size_t i = 0; i < 5000; i++)
        assert_int_equal(secret_add(&secret, bytes_of(&i, sizeof i)), 0);
    assert_int_equal(secret.n, 5000 * sizeof(size_t));
    for (size_t i = 0; i < 5000; i++)
        assert_memory_equal(secret.p + i * sizeof i, &i, sizeof i);
    assert_int_equal(secret_reserve(&secret, SIZE_MAX - 100), -ENOMEM);
    assert_int_equal(secret_reserve(&secret, SIZE_MAX / 2), -ENOMEM);
    assert_int_equal(secret.n, 5000 * sizeof(size_t));
    secret_free(&secret);
    assert_null(secret.p);
    assert_int_equal(secret.n, 0);
    assert_int_equal(secret_add(&secret, BYTES("again")), 0);
    assert_true(bytes_equal(secret_bytes(&secret), BYTES("again")));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_not_dumped), cmocka_unit_test(test_growth)};
    return cmocka_run_group_tests_name("s3/secret", tests, NULL, NULL);
}
