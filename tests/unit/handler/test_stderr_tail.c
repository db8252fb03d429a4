/* test_stderr_tail.c - the last lines, whatever came before them. */
#include "support.h"

#include "cleanup.h"
#include "stderr_tail.h"

static void text_is(const struct stderr_tail *tail, const char *expected) {
    _cleanup_buf_ struct buf text = {0};
    assert_int_equal(stderr_tail_text(tail, &text), 0);
    assert_string_equal(text.p ? text.p : "", expected);
}

static void test_short(void **state) {
    struct stderr_tail tail = {0};
    text_is(&tail, "");
    stderr_tail_add(&tail, BYTES("\nfirst\r\nsecond \x1b[31mred\n"));
    stderr_tail_add(&tail, BYTES("gr\xc3\xbc\xc3\x9f"
                                 "e, a NUL \0 and \xff\n\n"));
    text_is(&tail, "first\nsecond \\x1b[31mred\ngr\xc3\xbc\xc3\x9f"
                   "e, a NUL \\x00 and \\xff");
    stderr_tail_free(&tail);
    text_is(&tail, "");
    stderr_tail_add(&tail, BYTES(" \n\t\n"));
    text_is(&tail, "");
    stderr_tail_free(&tail);
}

/* Whatever the pieces: what is kept are the whole lines within the last HANDLER_STDERR_MAX bytes. */
static void test_long(void **state) {
    for (size_t piece = 1; piece < 3 * HANDLER_STDERR_MAX; piece = piece * 3 + 1) {
        _cleanup_buf_ struct buf all = {0};
        struct stderr_tail tail = {0};
        for (int i = 0; i < 3000; i++)
            assert_int_equal(buf_printf(&all, "line %d\n", i), 0);
        for (size_t at = 0; at < all.n; at += piece)
            stderr_tail_add(&tail, bytes_of(all.p + at, all.n - at < piece ? all.n - at : piece));
        char *kept = all.p + all.n - HANDLER_STDERR_MAX;
        kept = strchr(kept, '\n') + 1;
        all.p[all.n - 1] = '\0';
        text_is(&tail, kept);
        assert_non_null(strstr(kept, "line 2999"));
        stderr_tail_free(&tail);
    }
}

static void test_one_endless_line(void **state) {
    struct stderr_tail tail = {0};
    for (int i = 0; i < 5000; i++)
        stderr_tail_add(&tail, BYTES("\xe2\x82\xac")); /* three bytes, so the ring begins inside of one */
    stderr_tail_add(&tail, BYTES("\n"));
    _cleanup_buf_ struct buf text = {0};
    assert_int_equal(stderr_tail_text(&tail, &text), 0);
    assert_true(text.n > HANDLER_STDERR_MAX - 4 && text.n % 3 == 0);
    assert_null(strstr(text.p, "\\x"));
    stderr_tail_free(&tail);
}

static void test_worst_case_fits(void **state) {
    struct stderr_tail tail = {0};
    _cleanup_buf_ struct buf text = {.max = HANDLER_TEXT_MAX - 1024};
    for (int i = 0; i < HANDLER_STDERR_MAX; i++)
        stderr_tail_add(&tail, BYTES("\x01"));
    assert_int_equal(stderr_tail_text(&tail, &text), 0);
    assert_int_equal(text.n, 4 * HANDLER_STDERR_MAX);
    stderr_tail_free(&tail);
}

static void test_without_memory(void **state) {
    struct stderr_tail tail = {0};
    mem_fail_at(1, 0);
    stderr_tail_add(&tail, BYTES("lost\n"));
    mem_fail_at(0, 0);
    text_is(&tail, "");
    stderr_tail_add(&tail, BYTES("kept\n"));
    text_is(&tail, "kept");
    mem_fail_at(1, 0);
    struct buf text = {0};
    assert_int_equal(stderr_tail_text(&tail, &text), -ENOMEM);
    mem_fail_at(0, 0);
    stderr_tail_free(&tail);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_one_endless_line),
        cmocka_unit_test(test_worst_case_fits),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
