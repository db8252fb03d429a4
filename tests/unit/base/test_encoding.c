/* UTF-8, percent, hex, base64, printable and JSON text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mem.h"
#include "rng.h"
#include "text.h"

#include <errno.h>
#include <jansson.h>

static void assert_content(const struct buf *buf, struct bytes expected) {
    assert_int_equal(buf->n, expected.n);
    if (expected.n)
        assert_memory_equal(buf->p, expected.p, expected.n);
    if (buf->p)
        assert_int_equal(buf->p[buf->n], 0);
}

static void test_percent(void **state) {
    static const struct {
        struct bytes in;
        bool keep_slash;
        const char *out;
    } table[] = {
        {{"", 0}, true, ""},
        {{"azAZ09-._~", 10}, true, "azAZ09-._~"},
        {{"a b+c%d", 7}, true, "a%20b%2Bc%25d"},
        {{"a/b//c", 6}, true, "a/b//c"},
        {{"a/b", 3}, false, "a%2Fb"},
        {{"\0\n\x7f\x80\xff", 5}, true, "%00%0A%7F%80%FF"},
        {{"\xc3\xa9", 2}, true, "%C3%A9"},
        {{"!*'()&=?#@:$,;[]\"<>", 19}, true, "%21%2A%27%28%29%26%3D%3F%23%40%3A%24%2C%3B%5B%5D%22%3C%3E"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        _cleanup_buf_ struct buf out = {0}, back = {0};
        assert_int_equal(text_add_percent(&out, table[i].in, table[i].keep_slash), 0);
        assert_string_equal(out.p, table[i].out);
        assert_int_equal(text_add_unpercent(&back, buf_bytes(&out), false), 0);
        assert_content(&back, table[i].in);
    }
}

static void test_unpercent(void **state) {
    static const struct {
        const char *in;
        bool plus_is_space;
        int result;
        struct bytes out;
    } table[] = {
        {"", false, 0, {"", 0}},
        {"a+b", false, 0, {"a+b", 3}},
        {"a+b", true, 0, {"a b", 3}},
        {"a%2Bb", true, 0, {"a+b", 3}},
        {"%2f%2F", false, 0, {"//", 2}},
        {"%00%ff", false, 0, {"\0\xff", 2}},
        {"%25%32%35", false, 0, {"%25", 3}}, /* once, not until nothing is left to decode */
        {"%", false, -EINVAL, {0}},
        {"a%2", false, -EINVAL, {0}},
        {"%zz", false, -EINVAL, {0}},
        {"%2", false, -EINVAL, {0}},
        {"ok%2x", false, -EINVAL, {0}},
        {"% 2", false, -EINVAL, {0}},
        {"%+1", true, -EINVAL, {0}},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        _cleanup_buf_ struct buf out = {0};
        assert_int_equal(buf_add_str(&out, "before"), 0);
        if (text_add_unpercent(&out, bytes_str(table[i].in), table[i].plus_is_space) != table[i].result)
            fail_msg("%s: wrong result", table[i].in);
        assert_memory_equal(out.p, "before", 6);
        assert_content(&out, table[i].result < 0 ? BYTES("before") : buf_bytes(&out));
        assert_int_equal(out.n, 6 + table[i].out.n);
        if (table[i].out.n)
            assert_memory_equal(out.p + 6, table[i].out.p, table[i].out.n);
    }
}

static void test_hex(void **state) {
    _cleanup_buf_ struct buf out = {0};
    assert_int_equal(text_add_hex(&out, "", 0), 0);
    assert_int_equal(text_add_hex(&out, "\x00\x0f\xa5\xff", 4), 0);
    assert_string_equal(out.p, "000fa5ff");
}

static void test_base64(void **state) {
    /* RFC 4648, section 10 */
    static const char *const table[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\xfb\xff\xfe", "+//+"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        _cleanup_buf_ struct buf out = {0}, back = {0};
        assert_int_equal(text_add_base64(&out, table[i][0], strlen(table[i][0])), 0);
        assert_string_equal(out.p, table[i][1]);
        assert_int_equal(text_add_unbase64(&back, buf_bytes(&out)), 0);
        assert_content(&back, bytes_str(table[i][0]));
    }
    static const char *const bad[] = {"Z",        "Zg",       "Zg=",  "Zg===",  "====", "Z===", "Zh==", "Zm9=",
                                      "Zm8=Zm8=", "Zg==Zm9v", "Zm 9", "Zm9v\n", "Zm9-", "Zm9_", "=m9v", "Zm=v"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        _cleanup_buf_ struct buf out = {0};
        assert_int_equal(buf_add_str(&out, "x"), 0);
        if (text_add_unbase64(&out, bytes_str(bad[i])) != -EINVAL)
            fail_msg("%s was not refused", bad[i]);
        assert_content(&out, BYTES("x"));
    }
}

static void test_encodings_of_random_bytes(void **state) {
    struct rng rng;
    rng_seed(&rng, 3);
    for (int i = 0; i < 3000; i++) {
        unsigned char data[64];
        size_t n = rng_below(&rng, sizeof data + 1);
        for (size_t j = 0; j < n; j++)
            data[j] = (unsigned char)rng_next(&rng);
        struct bytes in = bytes_of(data, n);
        _cleanup_buf_ struct buf base64 = {0}, from_base64 = {0}, percent = {0}, from_percent = {0}, printable = {0};
        assert_int_equal(text_add_base64(&base64, data, n), 0);
        assert_int_equal(text_add_unbase64(&from_base64, buf_bytes(&base64)), 0);
        assert_content(&from_base64, in);
        assert_int_equal(text_add_percent(&percent, in, rng_below(&rng, 2)), 0);
        assert_int_equal(text_add_unpercent(&from_percent, buf_bytes(&percent), rng_below(&rng, 2)), 0);
        assert_content(&from_percent, in);
        assert_int_equal(text_add_printable(&printable, in), 0);
        assert_true(text_is_utf8(buf_bytes(&printable)));
    }
}

static void test_utf8(void **state) {
    static const char *const good[] = {"",
                                       "plain",
                                       "\x7f",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf",
                                       "a\xe2\x82\xacz"};
    static const char *const bad[] = {"\x80",
                                      "\xbf",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xc2x",
                                      "\xe0\x9f\xbf",
                                      "\xe2\x82",
                                      "\xe2\x82x",
                                      "\xed\xa0\x80",
                                      "\xed\xbf\xbf",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xf8\x88\x80\x80\x80",
                                      "\xff",
                                      "\xf0\x9f\x98",
                                      "ok\xfe"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (!text_is_utf8(bytes_str(good[i])))
            fail_msg("good text %zu was refused", i);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (text_is_utf8(bytes_str(bad[i])))
            fail_msg("bad text %zu was taken", i);
    assert_true(text_is_utf8(bytes_of("a\0b", 3)));
}

static void test_printable(void **state) {
    static const struct {
        struct bytes in;
        const char *out;
    } table[] = {
        {{"", 0}, ""},
        {{"plain text \"x\"", 14}, "plain text \"x\""},
        {{"a\\b", 3}, "a\\\\b"},
        {{"\\", 1}, "\\\\"},
        {{"\0\n\r\t\x1b[2J\x7f", 9}, "\\x00\\x0a\\x0d\\x09\\x1b[2J\\x7f"},
        {{"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", 14}, "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {{"\xff\xc3", 2}, "\\xff\\xc3"},
        {{"\xc2\x9b", 2}, "\\xc2\\x9b"},              /* a control character of one code point, CSI */
        {{"a\xe2\x80\xaez", 5}, "a\\xe2\\x80\\xaez"}, /* right-to-left override */
        {{"\xe2\x80\x8b", 3}, "\\xe2\\x80\\x8b"},     /* zero-width space */
        {{"\xe2\x80\xa8", 3}, "\\xe2\\x80\\xa8"},     /* line separator */
        {{"\xef\xbb\xbf", 3}, "\\xef\\xbb\\xbf"},     /* byte order mark */
        {{"\xef\xbf\xbe", 3}, "\\xef\\xbf\\xbe"},     /* U+FFFE */
        {{"\xef\xbf\xbd", 3}, "\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        _cleanup_buf_ struct buf out = {0};
        assert_int_equal(text_add_printable(&out, table[i].in), 0);
        assert_string_equal(out.p, table[i].out);
    }
}

static void test_json(void **state) {
    static const struct {
        struct bytes in;
        const char *out;
    } table[] = {
        {{"", 0}, "\"\""},
        {{"a\"b\\c/", 6}, "\"a\\\"b\\\\c/\""},
        {{"\b\f\n\r\t", 5}, "\"\\b\\f\\n\\r\\t\""},
        {{"\0\x1f\x7f", 3}, "\"\\u0000\\u001f\x7f\""},
        {{"\xc3\xa9", 2}, "\"\xc3\xa9\""},
        {{"\xffz", 2}, "\"\xef\xbf\xbdz\""},
        {{"\xed\xa0\x80", 3}, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        _cleanup_buf_ struct buf out = {0};
        assert_int_equal(text_add_json(&out, table[i].in), 0);
        assert_string_equal(out.p, table[i].out);
    }
    /* Whatever goes in, a JSON parser reads it; and reads the same if it was UTF-8. */
    struct rng rng;
    rng_seed(&rng, 5);
    for (int i = 0; i < 5000; i++) {
        char data[12];
        size_t n = rng_below(&rng, sizeof data);
        for (size_t j = 0; j < n; j++)
            data[j] = (char)(i % 2 ? rng_next(&rng) : rng_below(&rng, 128));
        _cleanup_buf_ struct buf out = {0};
        assert_int_equal(text_add_json(&out, bytes_of(data, n)), 0);
        json_t *json = json_loadb(out.p, out.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_non_null(json);
        if (text_is_utf8(bytes_of(data, n))) {
            assert_int_equal(json_string_length(json), n);
            assert_memory_equal(json_string_value(json), data, n);
        }
        json_decref(json);
    }
}

/* Each writer of the module on the same input, for the failure tests. */
static int add_by(int writer, struct buf *out) {
    static const char data[] = "a b\\c\"d\xff\xc3\xa9 and some more of it, so that the buffer has to grow once again\n";
    struct bytes in = bytes_of(data, sizeof data);
    switch (writer) {
    case 0:
        return text_add_percent(out, in, true);
    case 1:
        return text_add_unpercent(out, BYTES("some%20text+with%00everything+in+it+that+makes+it+long%2C+very+long"),
                                  true);
    case 2:
        return text_add_hex(out, in.p, in.n);
    case 3:
        return text_add_base64(out, in.p, in.n);
    case 4:
        return text_add_unbase64(
            out, BYTES("Zm9vYmFyZm9vYmFyZm9vYmFyZm9vYmFyZm9vYmFyZm9vYmFyZm9vYmFyZm9vYmFyZm9vYmFyZm9vYmE="));
    case 5:
        return text_add_printable(out, in);
    case 6:
        return text_add_json(out, in);
    case 7:
        return text_add_duration(out, 12345678);
    case 8:
        return text_add_size(out, 12345678);
    default:
        return text_add_iso8601(out, 0, true);
    }
}

static void test_failures_leave_the_buffer_alone(void **state) {
    for (int writer = 0; writer < 10; writer++) {
        _cleanup_buf_ struct buf whole = {0};
        assert_int_equal(add_by(writer, &whole), 0);
        for (size_t max = 1; max < whole.n; max++) {
            _cleanup_buf_ struct buf out = {0};
            buf_init(&out, 1 + max);
            assert_int_equal(buf_add_str(&out, "x"), 0);
            assert_int_equal(add_by(writer, &out), -E2BIG);
            assert_content(&out, BYTES("x"));
        }
        _cleanup_buf_ struct buf exact = {0};
        buf_init(&exact, whole.n);
        assert_int_equal(add_by(writer, &exact), 0);
        assert_content(&exact, buf_bytes(&whole));
        for (uint64_t n = 1;; n++) {
            _cleanup_buf_ struct buf out = {0};
            mem_fail_at(n, 0);
            int r = add_by(writer, &out);
            bool failed = mem_fail_count() >= n;
            mem_fail_at(0, 0);
            if (!failed) {
                assert_int_equal(r, 0);
                assert_content(&out, buf_bytes(&whole));
                assert_true(n > 1);
                break;
            }
            assert_int_equal(r, -ENOMEM);
            assert_content(&out, BYTES_NONE);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_percent),
        cmocka_unit_test(test_unpercent),
        cmocka_unit_test(test_hex),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_encodings_of_random_bytes),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_printable),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_failures_leave_the_buffer_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
