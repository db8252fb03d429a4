/* Views, buffers, and the memory behind them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bytes.h"
#include "cleanup.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>

static void test_views(void **state) {
    assert_true(bytes_equal(BYTES_NONE, BYTES("")));
    assert_true(bytes_equal(bytes_of("a\0b", 3), BYTES("a\0b")));
    assert_false(bytes_equal(BYTES("a"), BYTES("ab")));
    assert_int_equal(bytes_str(NULL).n, 0);
    assert_true(bytes_starts(BYTES("abc"), BYTES_NONE));
    assert_true(bytes_starts(BYTES("abc"), BYTES("ab")));
    assert_false(bytes_starts(BYTES("ab"), BYTES("abc")));
    assert_true(bytes_ends(BYTES("abc"), BYTES("bc")));
    assert_true(bytes_ends(BYTES_NONE, BYTES_NONE));
    assert_false(bytes_ends(BYTES("bc"), BYTES("abc")));

    assert_int_equal(bytes_compare(BYTES("a"), BYTES("a")), 0);
    assert_true(bytes_compare(BYTES("a"), BYTES("b")) < 0);
    assert_true(bytes_compare(BYTES("a"), BYTES("a\0")) < 0);
    assert_true(bytes_compare(BYTES("a\0"), BYTES("a")) > 0);
    assert_true(bytes_compare(BYTES("\x7f"), BYTES("\x80")) < 0); /* as unsigned bytes */
    assert_true(bytes_compare(BYTES_NONE, BYTES("a")) < 0);
    assert_int_equal(bytes_compare(BYTES_NONE, BYTES("")), 0);

    assert_true(bytes_equal_nocase(BYTES("ETag"), BYTES("etag")));
    assert_false(bytes_equal_nocase(BYTES("ETag"), BYTES("etags")));
    assert_false(bytes_equal_nocase(BYTES("\xc3\x89"), BYTES("\xc3\xa9")));
    assert_false(bytes_equal_nocase(BYTES("@[`{"), BYTES("`{@[")));

    assert_true(bytes_equal(bytes_trim(BYTES(" \t\r\n a b \n")), BYTES("a b")));
    assert_int_equal(bytes_trim(BYTES(" \t ")).n, 0);
    assert_int_equal(bytes_trim(BYTES_NONE).n, 0);

    assert_true(bytes_equal(bytes_unquoted(BYTES("\"a\"")), BYTES("a")));
    assert_int_equal(bytes_unquoted(BYTES("\"\"")).n, 0);
    static const char *const as_they_are[] = {"", "\"", "a", "\"a", "a\"", "W/\"a\""};
    for (size_t i = 0; i < sizeof as_they_are / sizeof as_they_are[0]; i++)
        assert_true(bytes_equal(bytes_unquoted(bytes_str(as_they_are[i])), bytes_str(as_they_are[i])));
    assert_int_equal(bytes_unquoted(BYTES_NONE).n, 0);
}

static void test_buf_appends(void **state) {
    _cleanup_buf_ struct buf buf = {0};
    assert_null(buf.p);
    assert_int_equal(buf_add_str(&buf, "ab"), 0);
    assert_int_equal(buf_add_byte(&buf, '\0'), 0);
    assert_int_equal(buf_add_bytes(&buf, BYTES("cd")), 0);
    assert_int_equal(buf_add_bytes(&buf, BYTES_NONE), 0);
    assert_int_equal(buf_printf(&buf, "%d-%s", 42, "x"), 0);
    assert_int_equal(buf.n, 9);
    assert_memory_equal(buf.p, "ab\0cd42-x", 10);
    buf_consume(&buf, 3);
    assert_string_equal(buf.p, "cd42-x");
    buf_consume(&buf, 0);
    buf_consume(&buf, buf.n);
    assert_string_equal(buf.p, "");
    for (int i = 0; i < 10000; i++)
        assert_int_equal(buf_printf(&buf, "%04d", i), 0);
    assert_int_equal(buf.n, 40000);
    assert_memory_equal(buf.p + 4 * 9999, "9999", 5);
    buf_reset(&buf);
    assert_int_equal(buf.n, 0);
    assert_string_equal(buf.p, "");
    assert_int_equal(buf_add_str(&buf, "kept"), 0);
    _cleanup_free_ char *owned = buf_detach(&buf);
    assert_string_equal(owned, "kept");
    assert_null(buf.p);
    assert_null(buf_detach(&buf));
    buf_consume(&buf, 0);
    buf_wipe(&buf);
}

static void test_buf_limit(void **state) {
    _cleanup_buf_ struct buf buf;
    buf_init(&buf, 5);
    assert_int_equal(buf_add_str(&buf, "12345"), 0);
    assert_int_equal(buf_add_byte(&buf, '6'), -E2BIG);
    assert_int_equal(buf_printf(&buf, "%d", 6), -E2BIG);
    assert_int_equal(buf_add(&buf, "", 0), 0);
    assert_string_equal(buf.p, "12345");
    assert_int_equal(buf_reserve(&buf, SIZE_MAX), -ENOMEM);
    buf_consume(&buf, 2);
    assert_int_equal(buf_add_str(&buf, "67"), 0);
    assert_string_equal(buf.p, "34567");
    buf_free(&buf);
    assert_int_equal(buf.max, 5); /* the limit stays */
    assert_int_equal(buf_add_str(&buf, "123456"), -E2BIG);
    assert_null(buf.p);
    _cleanup_buf_ struct buf free_of_limit = {0};
    assert_int_equal(buf_reserve(&free_of_limit, SIZE_MAX), -ENOMEM);
    assert_int_equal(buf_reserve(&free_of_limit, SIZE_MAX / 2 + 1), -ENOMEM);
}

/* printf writes into the memory that is there: what fits, what is one too long, and what passes the limit. */
static void test_buf_printf_into_what_is_there(void **state) {
    for (int n = 0; n < 200; n++) {
        _cleanup_buf_ struct buf buf = {0};
        assert_int_equal(buf_add_str(&buf, "kept"), 0);
        assert_int_equal(buf_printf(&buf, "%*s", n, ""), 0);
        assert_int_equal(buf.n, 4 + n);
        assert_int_equal(strlen(buf.p), 4 + n);
        assert_true(buf.cap > buf.n && bytes_starts(buf_bytes(&buf), BYTES("kept")));
        _cleanup_buf_ struct buf limited = {.max = 100};
        assert_int_equal(buf_add_str(&limited, "kept"), 0);
        assert_int_equal(buf_printf(&limited, "%*s", n, ""), 4 + n > 100 ? -E2BIG : 0);
        assert_int_equal(strlen(limited.p), 4 + n > 100 ? 4 : 4 + n);
        assert_int_equal(limited.n, strlen(limited.p));
    }
    char text[8];
    struct buf fixed = {.p = text, .cap = sizeof text, .max = sizeof text - 1};
    assert_int_equal(buf_printf(&fixed, "%s", "1234567"), 0);
    assert_int_equal(buf_add_byte(&fixed, '8'), -E2BIG);
    assert_int_equal(buf_printf(&fixed, "%s", "8"), -E2BIG);
    assert_string_equal(text, "1234567");
}

static void test_buf_without_memory(void **state) {
    _cleanup_buf_ struct buf buf = {0};
    mem_fail_at(1, 0);
    assert_int_equal(buf_add_str(&buf, "x"), -ENOMEM);
    assert_null(buf.p);
    mem_fail_at(0, 0);
    assert_int_equal(buf_add_str(&buf, "kept"), 0);
    mem_fail_at(1, 1);
    assert_int_equal(buf_reserve(&buf, 1000), -ENOMEM);
    assert_int_equal(buf_printf(&buf, "%0500d", 1), -ENOMEM);
    mem_fail_at(0, 0);
    assert_string_equal(buf.p, "kept");
}

static void test_mem(void **state) {
    assert_null(mem_calloc(SIZE_MAX / 2, 3));
    assert_null(mem_reallocarray(NULL, SIZE_MAX / 2, 3));
    assert_null(mem_memdup("x", SIZE_MAX));
    _cleanup_free_ char *nothing = mem_alloc(0);
    _cleanup_free_ unsigned char *zeroed = mem_zalloc(16);
    _cleanup_free_ char *copy = mem_memdup("a\0b", 3);
    assert_non_null(nothing);
    assert_non_null(zeroed);
    assert_non_null(copy);
    for (int i = 0; i < 16; i++)
        assert_int_equal(zeroed[i], 0);
    assert_memory_equal(copy, "a\0b", 4);
    copy = mem_realloc(copy, 0);
    assert_non_null(copy);
    mem_free(NULL);
}

static void test_mem_faults(void **state) {
    mem_fail_at(2, 0);
    _cleanup_free_ char *first = mem_alloc(1);
    _cleanup_free_ char *second = mem_alloc(1);
    _cleanup_free_ char *third = mem_alloc(1);
    assert_int_equal(mem_fail_count(), 3);
    mem_fail_at(2, 1);
    _cleanup_free_ char *fourth = mem_strdup("x");
    _cleanup_free_ char *fifth = mem_strdup("x");
    _cleanup_free_ char *sixth = mem_calloc(1, 1);
    mem_fail_at(0, 0);
    _cleanup_free_ char *seventh = mem_alloc(1);
    assert_non_null(first);
    assert_null(second);
    assert_non_null(third);
    assert_non_null(fourth);
    assert_null(fifth);
    assert_null(sixth);
    assert_non_null(seventh);
}

static void test_cleanup(void **state) {
    int kept = -1, number = -1;
    {
        _cleanup_close_ int closed = open("/dev/null", O_RDONLY | O_CLOEXEC);
        _cleanup_close_ int taken = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_true(closed >= 0 && taken >= 0);
        number = closed;
        kept = TAKE_FD(taken);
        assert_int_equal(taken, -1);
    }
    assert_int_equal(fcntl(number, F_GETFD), -1);
    assert_true(fcntl(kept, F_GETFD) >= 0);
    close(kept);
    char *text = NULL;
    {
        _cleanup_free_ char *mine = mem_strdup("mine");
        text = TAKE_PTR(mine);
        assert_null(mine);
    }
    assert_string_equal(text, "mine");
    mem_free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_buf_appends),
        cmocka_unit_test(test_buf_limit),
        cmocka_unit_test(test_buf_printf_into_what_is_there),
        cmocka_unit_test(test_buf_without_memory),
        cmocka_unit_test(test_mem),
        cmocka_unit_test(test_mem_faults),
        cmocka_unit_test(test_cleanup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
