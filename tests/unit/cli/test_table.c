/* test_table.c - columns are aligned, also over parts, and with notes and characters of several bytes. */
#include "table.h"

#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const columns[] = {"NAME", ">N", "WHAT"};

/* What `print` writes to standard output. */
static char *printed(struct table *table) {
    char path[] = "/tmp/froe-table-XXXXXX";
    int fd = mkstemp(path), before = dup(STDOUT_FILENO);
    assert_true(fd >= 0 && before >= 0);
    unlink(path);
    fflush(stdout);
    dup2(fd, STDOUT_FILENO);
    table_print(table);
    fflush(stdout);
    dup2(before, STDOUT_FILENO);
    close(before);
    char *text = calloc(1, 4096);
    assert_true(pread(fd, text, 4095, 0) >= 0);
    close(fd);
    return text;
}

static void prints(struct table *table, const char *expected) {
    char *text = printed(table);
    assert_string_equal(text, expected);
    free(text);
}

static void row(struct table *table, const char *name, int n, const char *what) {
    table_cell(table, "%s", name);
    table_cell(table, "%d", n);
    table_cell(table, "%s", what);
}

static void test_alignment(void **state) {
    struct table table;
    table_init(&table, columns, 3);
    prints(&table, ""); /* no header without rows */
    row(&table, "a", 1, "x");
    row(&table, "bbbbbb", 12345, "");
    table_note(&table, "note %d", 7);
    row(&table, "", 2, "long long long");
    prints(&table, "NAME        N  WHAT\n"
                   "a           1  x\n"
                   "bbbbbb  12345  \n"
                   "    note 7\n"
                   "            2  long long long\n");
    row(&table, "c", 3, "y"); /* a second part: as wide, no header */
    prints(&table, "c           3  y\n");
    assert_false(table.failed);
    table_free(&table);
}

static void test_characters(void **state) {
    struct table table;
    table_init(&table, columns, 3);
    row(&table, "größe", 1, "x");
    row(&table, "abcde", 2, "y");
    prints(&table, "NAME   N  WHAT\n"
                   "größe  1  x\n"
                   "abcde  2  y\n");
    table_free(&table);
}

static void test_no_memory(void **state) {
    struct table table;
    table_init(&table, columns, 3);
    mem_fail_at(1, 1);
    row(&table, "a", 1, "x");
    mem_fail_at(0, 0);
    assert_true(table.failed);
    table_free(&table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_characters),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
