/* Numbers, lengths of time, sizes and globs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clock.h"
#include "rng.h"
#include "text.h"

#include <errno.h>

static void test_parse_u64(void **state) {
    static const struct {
        const char *text;
        int result;
        uint64_t value;
    } table[] = {
        {"0", 0, 0},
        {"007", 0, 7},
        {"18446744073709551615", 0, UINT64_MAX},
        {"18446744073709551616", -ERANGE, 0},
        {"99999999999999999999999", -ERANGE, 0},
        {"99999999999999999999999x", -EINVAL, 0},
        {"", -EINVAL, 0},
        {"-1", -EINVAL, 0},
        {"+1", -EINVAL, 0},
        {" 1", -EINVAL, 0},
        {"1 ", -EINVAL, 0},
        {"1.0", -EINVAL, 0},
        {"0x1", -EINVAL, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        uint64_t value = 4711;
        if (text_parse_u64(bytes_str(table[i].text), &value) != table[i].result)
            fail_msg("\"%s\": wrong result", table[i].text);
        if (value != (table[i].result == 0 ? table[i].value : 4711))
            fail_msg("\"%s\": wrong value", table[i].text);
    }
    uint64_t value = 1;
    assert_int_equal(text_parse_u64(bytes_of("1\0", 2), &value), -EINVAL);
}

static void test_parse_i64(void **state) {
    static const struct {
        const char *text;
        int result;
        int64_t value;
    } table[] = {
        {"0", 0, 0},
        {"-0", 0, 0},
        {"-12", 0, -12},
        {"9223372036854775807", 0, INT64_MAX},
        {"9223372036854775808", -ERANGE, 0},
        {"-9223372036854775808", 0, INT64_MIN},
        {"-9223372036854775809", -ERANGE, 0},
        {"-", -EINVAL, 0},
        {"--1", -EINVAL, 0},
        {"+1", -EINVAL, 0},
        {"", -EINVAL, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        int64_t value = 4711;
        if (text_parse_i64(bytes_str(table[i].text), &value) != table[i].result)
            fail_msg("\"%s\": wrong result", table[i].text);
        if (value != (table[i].result == 0 ? table[i].value : 4711))
            fail_msg("\"%s\": wrong value", table[i].text);
    }
}

static void test_parse_bool(void **state) {
    static const char *const yes[] = {"true", "yes", "on", "1", "TRUE", "Yes"};
    static const char *const no[] = {"false", "no", "off", "0", "Off"};
    static const char *const bad[] = {"", "2", "y", "t", "true ", "tru", "truee"};
    bool value;
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        value = false;
        assert_int_equal(text_parse_bool(bytes_str(yes[i]), &value), 0);
        assert_true(value);
    }
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
        value = true;
        assert_int_equal(text_parse_bool(bytes_str(no[i]), &value), 0);
        assert_false(value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(text_parse_bool(bytes_str(bad[i]), &value), -EINVAL);
}

static void test_parse_size(void **state) {
    static const struct {
        const char *text;
        int result;
        uint64_t value;
    } table[] = {
        {"0", 0, 0},         {"4096", 0, 4096},         {"12b", 0, 12},         {"1KB", 0, 1000},
        {"1kib", 0, 1024},   {"256MiB", 0, 256u << 20}, {"2GB", 0, 2000000000}, {"", -EINVAL, 0},
        {"MiB", -EINVAL, 0}, {"1 MiB", -EINVAL, 0},     {"1.5MiB", -EINVAL, 0}, {"16777216TiB", -ERANGE, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        uint64_t value = 77;
        assert_int_equal(text_parse_size(bytes_str(table[i].text), &value), table[i].result);
        if (table[i].result == 0)
            assert_int_equal(value, table[i].value);
    }
}

static void test_parse_duration(void **state) {
    static const struct {
        const char *text;
        int result;
        int64_t us;
    } table[] = {
        {"0", 0, 0},
        {"0s", 0, 0},
        {"1us", 0, 1},
        {"250ms", 0, 250000},
        {"1.5s", 0, 1500000},
        {"90s", 0, 90 * US_PER_S},
        {"1h30m", 0, 90 * US_PER_MIN},
        {"2h05m", 0, 125 * US_PER_MIN},
        {"1d", 0, 24 * US_PER_HOUR},
        {"1m1ms", 0, US_PER_MIN + 1000},
        {"1s1s", 0, 2 * US_PER_S},
        {"0.000001s", 0, 1},
        {"0.0000019s", 0, 1},
        {"0.33333333333333333333333333333d", 0, INT64_C(28799999999)},
        {"1.9us", 0, 1},
        {"106751991d", 0, INT64_C(106751991) * 24 * US_PER_HOUR},
        {"106751992d", -ERANGE, 0},
        {"9223372036854775807us", 0, INT64_MAX},
        {"9223372036854775807us1us", -ERANGE, 0},
        {"9223372036854775808us", -ERANGE, 0},
        {"99999999999999999999999d", -ERANGE, 0},
        {"99999999999999999999999d!", -EINVAL, 0},
        {"", -EINVAL, 0},
        {"5", -EINVAL, 0},
        {"00", -EINVAL, 0},
        {"0.0", -EINVAL, 0},
        {"s", -EINVAL, 0},
        {".5s", -EINVAL, 0},
        {"1.s", -EINVAL, 0},
        {"1.5.5s", -EINVAL, 0},
        {"-1s", -EINVAL, 0},
        {"+1s", -EINVAL, 0},
        {"1 s", -EINVAL, 0},
        {" 1s", -EINVAL, 0},
        {"1s ", -EINVAL, 0},
        {"1S", -EINVAL, 0},
        {"1w", -EINVAL, 0},
        {"1h30", -EINVAL, 0},
        {"1sec", -EINVAL, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        int64_t us = -4711;
        int r = text_parse_duration(bytes_str(table[i].text), &us);
        if (r != table[i].result || us != (r == 0 ? table[i].us : -4711))
            fail_msg("\"%s\": %d, %jd us", table[i].text, r, (intmax_t)us);
    }
}

static void test_add_duration(void **state) {
    static const struct {
        int64_t us;
        const char *text;
    } table[] = {
        {0, "0s"},
        {1, "1us"},
        {999, "999us"},
        {1000, "1ms"},
        {350999, "350ms"},
        {999999, "999ms"},
        {US_PER_S, "1s"},
        {1099999, "1s"},
        {1500000, "1.5s"},
        {9999999, "9.9s"},
        {10999999, "10s"},
        {59999999, "59s"},
        {60 * US_PER_S, "1m"},
        {80 * US_PER_S, "1m20s"},
        {65 * US_PER_S, "1m05s"},
        {US_PER_HOUR - 1, "59m59s"},
        {US_PER_HOUR, "1h"},
        {125 * US_PER_MIN, "2h05m"},
        {24 * US_PER_HOUR, "1d"},
        {76 * US_PER_HOUR, "3d04h"},
        {-80 * US_PER_S, "-1m20s"},
        {INT64_MAX, "106751991d04h"},
        {INT64_MIN, "-106751991d04h"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        _cleanup_buf_ struct buf out = {0};
        assert_int_equal(text_add_duration(&out, table[i].us), 0);
        assert_string_equal(out.p, table[i].text);
    }
    /* What it writes reads back, rounded down. */
    struct rng rng;
    rng_seed(&rng, 1);
    for (int i = 0; i < 20000; i++) {
        int64_t us = (int64_t)(rng_next(&rng) >> (1 + rng_below(&rng, 63))), again = -1;
        _cleanup_buf_ struct buf out = {0};
        assert_int_equal(text_add_duration(&out, us), 0);
        assert_int_equal(text_parse_duration(buf_bytes(&out), &again), 0);
        assert_true(again <= us && us - again <= us / 2);
    }
}

static void test_add_size(void **state) {
    static const struct {
        uint64_t bytes;
        const char *text;
    } table[] = {
        {0, "0 B"},
        {512, "512 B"},
        {1023, "1023 B"},
        {1024, "1.0 KiB"},
        {1126, "1.0 KiB"},
        {1127, "1.1 KiB"},
        {1258291, "1.1 MiB"},
        {1258292, "1.2 MiB"},
        {1048575, "1023.9 KiB"},
        {UINT64_C(5) << 30, "5.0 GiB"},
        {UINT64_C(1) << 40, "1.0 TiB"},
        {UINT64_C(1) << 50, "1.0 PiB"},
        {UINT64_MAX, "15.9 EiB"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        _cleanup_buf_ struct buf out = {0};
        assert_int_equal(text_add_size(&out, table[i].bytes), 0);
        assert_string_equal(out.p, table[i].text);
    }
}

static void test_glob(void **state) {
    static const struct {
        const char *pattern, *text;
        bool match;
    } table[] = {
        {"", "", true},
        {"", "a", false},
        {"a", "", false},
        {"abc", "abc", true},
        {"abc", "abd", false},
        {"abc", "abcd", false},
        {"*", "", true},
        {"*", "a/b/c", true},
        {"**", "x", true},
        {"*.jpg", "a/b.jpg", true},
        {"*.jpg", ".jpg", true},
        {"*.jpg", "a.jpgx", false},
        {"a*", "a", true},
        {"a*b*c", "aXXbYYc", true},
        {"a*b*c", "aXXcYYb", false},
        {"*aab", "aaaab", true},
        {"*a*b", "ba", false},
        {"?", "", false},
        {"?", "/", true},
        {"?", "\xff", true},
        {"??", "\xc3\xa9", true}, /* bytes, not characters */
        {"[abc]", "b", true},
        {"[abc]", "d", false},
        {"[abc]", "", false},
        {"[a-c]x", "cx", true},
        {"[a-c]", "d", false},
        {"[!a-c]", "d", true},
        {"[!a-c]", "b", false},
        {"[!a]", "", false},
        {"[]a]", "]", true},
        {"[]a]", "a", true},
        {"[!]a]", "]", false},
        {"[!]a]", "b", true},
        {"[a-]", "-", true},
        {"[-a]", "-", true},
        {"[^a]", "^", true}, /* only '!' negates */
        {"[^a]", "b", false},
        {"[\\]]", "]", true},
        {"[\\]]", "\\", false},
        {"[\\a-\\c]", "b", true},
        {"[!!]", "a", true},
        {"[!!]", "!", false},
        {"[\x80-\xff]", "\xc3", true},
        {"[a-cx-z0]", "y", true},
        {"[a-cx-z0]", "w", false},
        {"\\*", "*", true},
        {"\\*", "x", false},
        {"\\\\", "\\", true},
        {"\\[a]", "[a]", true},
        {"*[0-9][0-9].log", "app-2026-07.log", true},
        {"*[0-9][0-9].log", "app-2026-7.log", false},
        {"*\\", "x\\", false}, /* malformed patterns match nothing */
        {"*[a", "xa", false},
        {"[", "[", false},
        {"[z-a]", "z", false},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (text_glob(bytes_str(table[i].pattern), bytes_str(table[i].text)) != table[i].match)
            fail_msg("pattern %s on %s: not %d", table[i].pattern, table[i].text, table[i].match);
    assert_true(text_glob(bytes_of("a?b*", 4), bytes_of("a\0b\0\0", 5)));
    assert_true(text_glob(BYTES_NONE, BYTES_NONE));

    static const char *const bad[] = {"[",   "[a",   "[!",    "[]",    "[!]",    "a\\",
                                      "[\\", "[a\\", "[a-\\", "[z-a]", "*[b-a]", "[a-"};
    static const char *const good[] = {"", "*", "[]]", "[!]]", "]", "[a-]", "[--a]", "a-z", "\\[", "!", "[!!]"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (text_glob_check(bytes_str(bad[i])) != -EINVAL)
            fail_msg("%s was not refused", bad[i]);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (text_glob_check(bytes_str(good[i])) != 0)
            fail_msg("%s was refused", good[i]);
}

/* Plainly right, and exponential. */
static bool naive_glob(const char *p, const char *t) {
    if (*p == '\0')
        return *t == '\0';
    if (*p == '*')
        return naive_glob(p + 1, t) || (*t && naive_glob(p, t + 1));
    return *t && (*p == '?' || *p == *t) && naive_glob(p + 1, t + 1);
}

static void test_glob_against_model(void **state) {
    struct rng rng;
    rng_seed(&rng, 7);
    int matches = 0;
    for (int i = 0; i < 100000; i++) {
        char pattern[9] = {0}, text[9] = {0};
        size_t pattern_n = rng_below(&rng, 9), text_n = rng_below(&rng, 9);
        for (size_t j = 0; j < pattern_n; j++)
            pattern[j] = "ab*?*"[rng_below(&rng, 5)];
        for (size_t j = 0; j < text_n; j++)
            text[j] = "ab"[rng_below(&rng, 2)];
        bool expected = naive_glob(pattern, text);
        matches += expected;
        if (text_glob(bytes_str(pattern), bytes_str(text)) != expected)
            fail_msg("pattern %s on %s: not %d", pattern, text, expected);
    }
    assert_in_range(matches, 10000, 90000); /* both outcomes were tried */
}

/* Exponential matchers do not come back from this one. */
static void test_glob_is_not_exponential(void **state) {
    _cleanup_buf_ struct buf pattern = {0}, text = {0};
    for (int i = 0; i < 50; i++)
        assert_int_equal(buf_add_str(&pattern, "*a"), 0);
    assert_int_equal(buf_add_byte(&pattern, 'b'), 0);
    for (int i = 0; i < 1024; i++)
        assert_int_equal(buf_add_byte(&text, 'a'), 0);
    assert_false(text_glob(buf_bytes(&pattern), buf_bytes(&text)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_u64),          cmocka_unit_test(test_parse_i64),
        cmocka_unit_test(test_parse_bool),         cmocka_unit_test(test_parse_size),
        cmocka_unit_test(test_parse_duration),     cmocka_unit_test(test_add_duration),
        cmocka_unit_test(test_add_size),           cmocka_unit_test(test_glob),
        cmocka_unit_test(test_glob_against_model), cmocka_unit_test(test_glob_is_not_exponential),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
