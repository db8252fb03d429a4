/* Log lines, and error texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "rng.h"
#include "text.h"

#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static int64_t fixed_utc_us(void *arg) {
    return INT64_C(1795338001234567); /* 2026-11-22 09:00:01.234567 */
}

static const struct clock fixed_clock = {fixed_utc_us, fixed_utc_us, NULL};

struct heard {
    int lines;
    enum log_level level;
    char line[LOG_LINE_MAX + 1];
    size_t n;
};

static void hear(void *arg, enum log_level level, struct bytes line) {
    struct heard *heard = arg;
    heard->lines++;
    heard->level = level;
    assert_in_range(line.n, 1, LOG_LINE_MAX - 1);
    assert_null(memchr(line.p, '\n', line.n));
    assert_true(text_is_utf8(line));
    memcpy(heard->line, line.p, line.n);
    heard->line[line.n] = '\0';
    heard->n = line.n;
}

static struct heard heard;

static struct log make_log(enum log_format format) {
    heard.lines = 0;
    return (struct log){.format = format, .fd = -1, .clock = &fixed_clock, .sink = hear, .sink_arg = &heard};
}

static void test_text(void **state) {
    struct log log = make_log(LOG_TEXT);
    log_info(&log, "object parked", LOG_STR("bucket", "b"), LOG_BYTES("key", BYTES("a b")), LOG_INT("attempts", 3));
    assert_string_equal(heard.line, "2026-11-22 09:00:01.234 INFO  object parked bucket=b key=\"a b\" attempts=3");
    assert_int_equal(heard.level, LOG_INFO);
    log_error(&log, "no fields");
    assert_string_equal(heard.line, "2026-11-22 09:00:01.234 ERROR no fields");
    log_debug(&log, "m", LOG_NUM("rate", 1.5), LOG_INT("least", INT64_MIN), LOG_NUM("bad", NAN),
              LOG_NUM("low", -INFINITY));
    assert_string_equal(heard.line,
                        "2026-11-22 09:00:01.234 DEBUG m rate=1.5 least=-9223372036854775808 bad=nan low=-inf");
    log.colour = true;
    log_warn(&log, "m");
    assert_string_equal(heard.line, "2026-11-22 09:00:01.234 \x1b[33mWARN \x1b[0m m");
    assert_int_equal(heard.lines, 4);
}

static void test_text_escapes(void **state) {
    static const struct {
        struct bytes value;
        const char *shown;
    } table[] = {
        {{"", 0}, "\"\""},
        {{"plain", 5}, "plain"},
        {{"a=b,c/d", 7}, "a=b,c/d"},
        {{"a\"b", 3}, "\"a\\\"b\""},
        {{"\"", 1}, "\"\\\"\""},
        {{"a\\b", 3}, "\"a\\\\b\""},
        {{"\\\"", 2}, "\"\\\\\\\"\""},
        {{"x\nINFO forged", 13}, "\"x\\x0aINFO forged\""},
        {{"\x1b[31m", 5}, "\"\\x1b[31m\""},
        {{"\0", 1}, "\"\\x00\""},
        {{"\xc3\xa9", 2}, "\"\xc3\xa9\""},
        {{"\xff", 1}, "\"\\xff\""},
    };
    struct log log = make_log(LOG_TEXT);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        log_info(&log, "m", LOG_BYTES("k", table[i].value));
        assert_string_equal(heard.line + strlen("2026-11-22 09:00:01.234 INFO  m k="), table[i].shown);
    }
    log_info(&log, "two\nlines\x1b");
    assert_string_equal(heard.line + strlen("2026-11-22 09:00:01.234 INFO  "), "two\\x0alines\\x1b");
}

static json_t *heard_json(void) {
    json_t *json = json_loadb(heard.line, heard.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    assert_non_null(json);
    assert_true(json_is_object(json));
    return json;
}

static void test_json(void **state) {
    struct log log = make_log(LOG_JSON);
    log_info(&log, "object parked", LOG_STR("bucket", "b"), LOG_BYTES("key", BYTES("a\"\n\\\0z")),
             LOG_INT("attempts", 3), LOG_NUM("rate", 0.25), LOG_NUM("bad", NAN), LOG_STR("none", NULL));
    static const char head[] =
        "{\"time\":\"2026-11-22T09:00:01.234Z\",\"level\":\"info\",\"message\":\"object parked\",";
    assert_memory_equal(heard.line, head, sizeof head - 1);
    json_t *json = heard_json();
    assert_string_equal(json_string_value(json_object_get(json, "level")), "info");
    assert_string_equal(json_string_value(json_object_get(json, "message")), "object parked");
    assert_string_equal(json_string_value(json_object_get(json, "bucket")), "b");
    assert_int_equal(json_string_length(json_object_get(json, "key")), 6);
    assert_memory_equal(json_string_value(json_object_get(json, "key")), "a\"\n\\\0z", 6);
    assert_int_equal(json_integer_value(json_object_get(json, "attempts")), 3);
    assert_true(json_real_value(json_object_get(json, "rate")) == 0.25);
    assert_true(json_is_null(json_object_get(json, "bad")));
    assert_string_equal(json_string_value(json_object_get(json, "none")), "");
    assert_int_equal(json_object_size(json), 9);
    json_decref(json);
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    for (int level = LOG_DEBUG; level <= LOG_ERROR; level++) {
        log_write(&log, (enum log_level)level, "m", NULL, 0);
        json = heard_json();
        assert_string_equal(json_string_value(json_object_get(json, "level")), levels[level]);
        json_decref(json);
    }
}

static void test_levels(void **state) {
    struct log log = make_log(LOG_TEXT);
    log.level = LOG_WARN;
    log_debug(&log, "m");
    log_info(&log, "m");
    log_write(&log, LOG_INFO, "m", NULL, 0);
    assert_int_equal(heard.lines, 0);
    log_warn(&log, "m");
    log_error(&log, "m");
    assert_int_equal(heard.lines, 2);
    log.level = LOG_OFF;
    log_error(&log, "m");
    log_write(&log, LOG_OFF, "m", NULL, 0);
    assert_int_equal(heard.lines, 2);
    log_error(NULL, "m", LOG_INT("n", 1));
    log_write(NULL, LOG_ERROR, "m", NULL, 0);
}

/* Long values are cut, say so, and leave room for what follows; and no line ever passes the limit. */
static void test_limits(void **state) {
    static char big[100000];
    memset(big, 'x', sizeof big);
    struct bytes value = bytes_of(big, sizeof big);
    struct log log = make_log(LOG_JSON);
    log_info(&log, "m", LOG_BYTES("first", value), LOG_BYTES("second", value), LOG_INT("last", 7));
    json_t *json = heard_json();
    static const char *const names[] = {"first", "second"};
    for (int i = 0; i < 2; i++) {
        const char *text = json_string_value(json_object_get(json, names[i]));
        assert_non_null(text);
        size_t kept = strspn(text, "x");
        assert_in_range(kept, 2000, 8192);
        char mark[64];
        snprintf(mark, sizeof mark, "...(%zu more bytes)", sizeof big - kept);
        assert_string_equal(text + kept, mark);
    }
    assert_int_equal(json_integer_value(json_object_get(json, "last")), 7);
    json_decref(json);

    /* A key of 1024 bytes is never cut, however it has to be escaped. */
    for (int format = LOG_TEXT; format <= LOG_JSON; format++) {
        log = make_log((enum log_format)format);
        memset(big, '\x01', 1024);
        log_info(&log, "m", LOG_BYTES("key", bytes_of(big, 1024)), LOG_INT("last", 7));
        assert_null(strstr(heard.line, "more bytes"));
        assert_in_range(heard.n, 4 * 1024, 7 * 1024);
    }

    struct rng rng;
    rng_seed(&rng, 4);
    for (int i = 0; i < 300; i++) {
        log = make_log(i % 2 ? LOG_JSON : LOG_TEXT);
        struct log_field fields[40];
        static char names_text[40][8];
        size_t n = rng_below(&rng, 41), spread = rng_below(&rng, 2) ? 256 : 96;
        for (size_t j = 0; j < 4096; j++)
            big[rng_below(&rng, sizeof big)] = (char)(spread == 256 ? rng_next(&rng) : ' ' + rng_below(&rng, spread));
        for (size_t j = 0; j < n; j++) {
            size_t length = rng_below(&rng, rng_below(&rng, 2) ? 100 : 20000);
            snprintf(names_text[j], sizeof names_text[j], "f%zu", j);
            fields[j] = LOG_BYTES(names_text[j], bytes_of(big + rng_below(&rng, sizeof big - length), length));
        }
        log_write(&log, LOG_INFO, "m", fields, n);
        if (log.format == LOG_JSON)
            json_decref(heard_json());
    }
    memset(big, 'y', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    log = make_log(LOG_TEXT);
    log_info(&log, big);
    assert_non_null(strstr(heard.line, "more bytes)"));
}

/* One write a line, whatever the memory; nothing when the reader is gone. */
static void test_write(void **state) {
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
    struct log log = {.fd = fds[1], .clock = &fixed_clock};
    mem_fail_at(1, 1);
    log_info(&log, "one", LOG_STR("k", "a b"));
    log.format = LOG_JSON;
    log_info(&log, "two", LOG_STR("k", "\x01"));
    assert_int_equal(mem_fail_count(), 0);
    mem_fail_at(0, 0);
    char line[200];
    ssize_t n = read(fds[0], line, sizeof line);
    assert_int_equal(n, strlen("2026-11-22 09:00:01.234 INFO  one k=\"a b\"\n"));
    assert_memory_equal(line, "2026-11-22 09:00:01.234 INFO  one k=\"a b\"\n", (size_t)n);
    n = read(fds[0], line, sizeof line);
    assert_true(n > 2);
    assert_memory_equal(line + n - 2, "}\n", 2);
    log.fd = -1;
    errno = EDOM;
    log_info(&log, "nobody listens");
    assert_int_equal(errno, EDOM);
    log.clock = NULL;
    log.fd = fds[1];
    log_info(&log, "by the system's clock");
    assert_true(read(fds[0], line, sizeof line) > 0);
    close(fds[0]);
    close(fds[1]);
}

static void test_err(void **state) {
    struct err err = {0};
    assert_int_equal(err_set(&err, -ENOENT, "no file %s", "x"), -ENOENT);
    assert_int_equal(err.code, -ENOENT);
    assert_string_equal(err.text, "no file x");
    err_prefix(&err, "reading %d", 7);
    assert_string_equal(err.text, "reading 7: no file x");
    assert_int_equal(err.code, -ENOENT);
    assert_int_equal(err_set(&err, -EIO, "%s, twice", err.text), -EIO); /* its own text as an argument */
    assert_string_equal(err.text, "reading 7: no file x, twice");
    err_prefix(&err, "%s", "");
    assert_string_equal(err.text, "reading 7: no file x, twice");
    assert_int_equal(err_set(NULL, -EIO, "x"), -EIO);
    err_prefix(NULL, "x");

    static char longest[2 * ERR_TEXT_MAX];
    memset(longest, 'x', sizeof longest - 1);
    err_set(&err, -EIO, "%s", longest);
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
    err_prefix(&err, "where");
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
    assert_int_equal(err.text[0], 'x');
    /* on the edge: both just fit, and just do not */
    err_set(&err, -EIO, "%.*s", ERR_TEXT_MAX - 1 - 7, longest);
    err_prefix(&err, "where");
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
    assert_memory_equal(err.text, "where: x", 8);
    err_set(&err, -EIO, "%.*s", ERR_TEXT_MAX - 7, longest);
    err_prefix(&err, "where");
    assert_int_equal(err.text[0], 'x');
    err_set(&err, -EIO, "cause");
    err_prefix(&err, "%s", longest);
    assert_string_equal(err.text, "cause");

    assert_string_equal(err_errno_text(-ENOENT), "No such file or directory");
    assert_string_equal(err_errno_text(-123456), "unknown error");
    assert_non_null(err_errno_text(INT_MIN));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),   cmocka_unit_test(test_text_escapes), cmocka_unit_test(test_json),
        cmocka_unit_test(test_levels), cmocka_unit_test(test_limits),       cmocka_unit_test(test_write),
        cmocka_unit_test(test_err),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
