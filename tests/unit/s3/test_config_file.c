/* The INI-like files: every kind of line, what is indented, and what is refused without showing it. */
#include "config_file.h"
#include "mem.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct trace {
    struct buf text; /* "section|key|value|line\n" */
    int stop_after;  /* items; 0: never */
    int items;
};

static int trace_item(void *arg, struct bytes section, struct bytes key, struct bytes value, unsigned line) {
    struct trace *trace = arg;
    trace->items++;
    if (trace->items == trace->stop_after)
        return -ECANCELED;
    return buf_printf(&trace->text, "%.*s|%.*s|%.*s|%u\n", (int)section.n, section.p ? section.p : "", (int)key.n,
                      key.p ? key.p : "", (int)value.n, value.p ? value.p : "", line);
}

static void check(const char *text, const char *want) {
    struct trace trace = {0};
    struct err err = {0};
    int r = config_parse(bytes_str(text), trace_item, &trace, &err);
    if (r != 0)
        fail_msg("%d (%s) for %s", r, err.text, text);
    assert_string_equal(trace.text.p ? trace.text.p : "", want);
    buf_free(&trace.text);
}

static void refuse(const char *text, const char *error) {
    struct trace trace = {0};
    struct err err = {0};
    assert_int_equal(config_parse(bytes_str(text), trace_item, &trace, &err), -EINVAL);
    assert_string_equal(err.text, error);
    assert_int_equal(config_parse(bytes_str(text), trace_item, &trace, NULL), -EINVAL);
    buf_free(&trace.text);
}

static void test_plain(void **state) {
    check("", "");
    check("\n \t\r\n", "");
    check("[default]", "default|||1\n");
    check("[default]\naws_access_key_id=A\naws_secret_access_key = S/+=\n[profile x]\nregion\t=\teu-west-1",
          "default|||1\ndefault|aws_access_key_id|A|2\ndefault|aws_secret_access_key|S/+=|3\n"
          "profile x|||4\nprofile x|region|eu-west-1|5\n");
    check("\xef\xbb\xbf[ a b ]\r\nk = v\r\n", "a b|||1\na b|k|v|2\n");
    check("[a]\nk =\nk=v\n[a]\nk=w\n", "a|||1\na|k||2\na|k|v|3\na|||4\na|k|w|5\n");
    check("[a]\nk = a = b\n", "a|||1\na|k|a = b|2\n");
}

static void test_comments(void **state) {
    check("# c\n; c\n  # c\n[a] # c\n#k=v\nk = v # c\nl = v;w#x ; c\nm = #c\n[b];c\n[c]\t; c",
          "a|||4\na|k|v|6\na|l|v;w#x|7\na|m||8\nb|||9\nc|||10\n");
}

static void test_indented(void **state) {
    /* Nested keys, and back. */
    check("[p]\ns3 =\n  endpoint_url = http://x\n\n  # c\n\tmax = 1 # c\nregion = r\n",
          "p|||1\np|s3||2\np|s3.endpoint_url|http://x|3\np|s3.max|1|6\np|region|r|7\n");
    check("[p]\ns3 = # c\n  a =\n  b = 1\n[q]\n k = v\n", "p|||1\np|s3||2\np|s3.a||3\np|s3.b|1|4\nq|||5\nq|k|v|6\n");
    /* A whole section indented. */
    check("[p]\n  a = 1\n  b = 2\n  [q]\nc = 3\n", "p|||1\np|a|1|2\np|b|2|3\nq|||4\nq|c|3|5\n");
    /* A value that goes on. */
    check("[p]\na = 1,\n  2,\n  3 # c\nb = 4\n", "p|||1\np|a|1,\n  2,\n  3|2\np|b|4|5\n");
    check("[p]\na = 1\n  b = 2\n", "p|||1\np|a|1\n  b = 2|2\n");
}

static void test_refused(void **state) {
    refuse("key = value", "line 1: a key before the first [section]");
    refuse("[a]\nsecret words", "line 2: neither a [section], nor key = value, nor a comment");
    refuse("\n[a", "line 2: a section without its ']'");
    refuse("[]", "line 1: a section without a name");
    refuse("[ ]\nk=v", "line 1: a section without a name");
    refuse("[a] b", "line 1: text after the section's ']'");
    refuse("[a]#\n = secret", "line 2: a value without its key");
    refuse("[a]\nk=\n  secret words\n", "line 3: neither a [section], nor key = value, nor a comment");
    refuse("[a]\nk=\n  = v\n", "line 3: a value without its key");
    refuse("secret", "line 1: neither a [section], nor key = value, nor a comment");
}

static void test_limits(void **state) {
    static char text[CONFIG_FILE_MAX + 1];
    struct trace trace = {0};
    struct err err = {0};
    memset(text, '\n', sizeof text);
    assert_int_equal(config_parse(bytes_of(text, CONFIG_FILE_MAX), trace_item, &trace, &err), 0);
    assert_int_equal(config_parse(bytes_of(text, CONFIG_FILE_MAX + 1), trace_item, &trace, &err), -E2BIG);
    assert_int_equal(err.code, -E2BIG);
    assert_int_equal(trace.items, 0);
    /* Bytes are bytes. */
    assert_int_equal(config_parse(BYTES("[a\0b]\nk\0 = \0v\n"), trace_item, &trace, &err), 0);
    assert_int_equal(trace.items, 2);
    buf_free(&trace.text);
}

static void test_stop(void **state) {
    for (int n = 1; n <= 5; n++) {
        struct trace trace = {.stop_after = n};
        int r = config_parse(BYTES("[a]\nk=1\nl=\n  m=2"), trace_item, &trace, NULL);
        assert_int_equal(r, n <= 4 ? -ECANCELED : 0);
        assert_int_equal(trace.items, n <= 4 ? n : 4);
        buf_free(&trace.text);
    }
}

static int ignore_item(void *arg, struct bytes section, struct bytes key, struct bytes value, unsigned line) {
    return 0;
}

static void test_no_memory(void **state) {
    struct err err = {0};
    mem_fail_at(1, 0);
    int r = config_parse(BYTES("[a]\nk=\n  l=1"), ignore_item, NULL, &err);
    mem_fail_at(0, 0);
    assert_int_equal(r, -ENOMEM);
    assert_int_equal(err.code, -ENOMEM);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),     cmocka_unit_test(test_comments), cmocka_unit_test(test_indented),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_limits),   cmocka_unit_test(test_stop),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests_name("s3/config_file", tests, NULL, NULL);
}
