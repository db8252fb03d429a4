/* A credential process: its command line, its limits, and what it may write. */
#include "clock.h"
#include "credential_json.h"
#include "credential_process.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- words ---- */

static void check_words(const char *command, const char *const *want) {
    struct command_words words;
    struct err err = {0};
    if (command_words_split(bytes_str(command), &words, &err) != 0)
        fail_msg("%s: %s", command, err.text);
    size_t n = 0;
    for (; want[n]; n++) {
        assert_true(n < words.n);
        assert_string_equal(words.argv[n], want[n]);
    }
    assert_int_equal(words.n, n);
    assert_null(words.argv[n]);
    command_words_free(&words);
    command_words_free(&words);
}

static void refuse_words(struct bytes command, const char *error) {
    struct command_words words;
    struct err err = {0};
    assert_int_equal(command_words_split(command, &words, &err), -EINVAL);
    assert_string_equal(err.text, error);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_words(void **state) {
    check_words("a", WORDS("a"));
    check_words("  /bin/a\t--b  c\n", WORDS("/bin/a", "--b", "c"));
    check_words("a 'b c' \"d e\" f\\ g", WORDS("a", "b c", "d e", "f g"));
    check_words("a '' \"\" b", WORDS("a", "", "", "b"));
    check_words("a'b'\"c\"d", WORDS("abcd"));
    check_words("'a\\b' \"a\\\"b\\\\c\\d\" \\'x\\\"", WORDS("a\\b", "a\"b\\c\\d", "'x\""));
    check_words("'\"' \"'\"", WORDS("\"", "'"));
    check_words("a $HOME `b` $(c) * ~ ; | & # x", /* nothing is expanded */
                WORDS("a", "$HOME", "`b`", "$(c)", "*", "~", ";", "|", "&", "#", "x"));
    check_words("\xc3\xa4 \xff", WORDS("\xc3\xa4", "\xff"));
    refuse_words(BYTES(""), "the command has no word in it");
    refuse_words(BYTES(" \t "), "the command has no word in it");
    refuse_words(BYTES("a 'b"), "the command has an open quote");
    refuse_words(BYTES("a \"b\\"), "the command has an open quote");
    refuse_words(BYTES("a \"b\\\""), "the command has an open quote");
    refuse_words(BYTES("a\\"), "the command has a backslash at its end");
    refuse_words(BYTES("a\0b"), "the command has a NUL");
    refuse_words(BYTES("a\\\0"), "the command has a NUL");
    char many[2 * (CREDENTIAL_PROCESS_WORDS_MAX + 1)];
    memset(many, 'x', sizeof many);
    for (size_t i = 1; i < sizeof many; i += 2)
        many[i] = ' ';
    refuse_words(bytes_of(many, sizeof many), "the command has too many words");
    struct command_words words;
    assert_int_equal(command_words_split(bytes_of(many, sizeof many - 2), &words, NULL), 0);
    assert_int_equal(words.n, CREDENTIAL_PROCESS_WORDS_MAX);
    command_words_free(&words);
    mem_fail_at(1, 0);
    int r = command_words_split(BYTES("a"), &words, NULL);
    mem_fail_at(0, 0);
    assert_int_equal(r, -ENOMEM);
}

/* ---- JSON ---- */

static void refuse_json(const char *text, const char *error) {
    struct credential_json json;
    struct err err = {0};
    int r = credential_json_parse(bytes_str(text), &json, &err);
    if (r != -EBADMSG)
        fail_msg("%d for %s", r, text);
    if (error)
        assert_string_equal(err.text, error);
}

static void accept_json(const char *text) {
    struct credential_json json;
    struct err err = {0};
    int r = credential_json_parse(bytes_str(text), &json, &err);
    if (r != 0)
        fail_msg("%d (%s) for %s", r, err.text, text);
    credential_json_free(&json);
}

static void test_json(void **state) {
    struct credential_json json;
    assert_int_equal(
        credential_json_parse(BYTES(" {\r\n\t\"Version\" : 1 ,\n"
                                    "\"Other\": {\"SecretAccessKey\": [1, -0.5e+3, {\"a\": null}, [], {}]},"
                                    "\"AccessKeyId\": \"A\\u0041\\n\\\"\\\\\\/\\u00e4\\u20ac\\ud83d\\ude00\","
                                    "\"SecretAccessKey\":\"\xc3\xa4\", \"SessionToken\": null,"
                                    "\"Expiration\": \"x\", \"Expiration\": \"y\" } \n"),
                              &json, NULL),
        0);
    assert_true(bytes_equal(json.access_key_id, BYTES("AA\n\"\\/\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80")));
    assert_true(bytes_equal(json.secret_access_key, BYTES("\xc3\xa4")));
    assert_int_equal(json.session_token.n, 0);
    assert_true(bytes_equal(json.expiration, BYTES("y")));
    credential_json_free(&json);
    credential_json_free(&json);
    credential_json_free(NULL);

    accept_json("{\"Version\":1}");
    accept_json("{\"a\":[[[]]],\"b\":{\"c\":{\"d\":true,\"e\":false}},\"Version\":1}");
    refuse_json("", "it is not a JSON object");
    refuse_json("[1]", "it is not a JSON object");
    refuse_json("An error occurred", "it is not a JSON object");
    refuse_json("{}", "it has no Version");
    refuse_json("{\"AccessKeyId\":\"secret\"}", "it has no Version");
    refuse_json("{\"Version\":2}", "its Version is not 1, which is the only one there is");
    refuse_json("{\"Version\":\"1\"}", "Version is a string, not the number 1");
    refuse_json("{\"Version\":1} x", "something follows the JSON object");
    refuse_json("{\"Version\":1}{", "something follows the JSON object");
    refuse_json("{\"Version\":1,\"AccessKeyId\":5}", "a member that should be a string is not");
    refuse_json("{\"Version\":1,\"SessionToken\":{}}", "a member that should be a string is not");
    static const char *const broken[] = {
        "{",
        "{\"Version\"",
        "{\"Version\":",
        "{\"Version\":1",
        "{\"Version\":1,",
        "{\"Version\":1,}",
        "{\"Version\" 1}",
        "{Version:1}",
        "{\"Version\":01}",
        "{\"Version\":true}",
        "{\"Version\":1,\"a\":\"}",
        "{\"Version\":1,\"a\":\"\n\"}",
        "{\"Version\":1,\"a\":\"\\x\"}",
        "{\"Version\":1,\"a\":\"\\u12g4\"}",
        "{\"Version\":1,\"a\":\"\\ud800\"}",
        "{\"Version\":1,\"a\":\"\\ud800\\u0041\"}",
        "{\"Version\":1,\"a\":\"\\udc00\"}",
        "{\"Version\":1,\"a\":tru}",
        "{\"Version\":1,\"a\":-}",
        "{\"Version\":1,\"a\":1.}",
        "{\"Version\":1,\"a\":1e}",
        "{\"Version\":1,\"a\":+1}",
        "{\"Version\":1,\"a\":[1,]}",
        "{\"Version\":1,\"a\":[,1]}",
        "{\"Version\":1,\"a\":[1}",
        "{\"Version\":1,\"a\":{\"b\"}}",
        "{\"Version\":1,\"a\":{\"b\":1,}}",
        "{\"Version\":1,\"a\":{,}}",
        "{\"Version\":1,\"a\":}",
        "{\"Version\":1 \"a\":1}",
        "'{\"Version\":1}'",
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        refuse_json(broken[i], NULL);
}

static void test_json_depth(void **state) {
    for (size_t depth = CREDENTIAL_JSON_DEPTH_MAX; depth <= CREDENTIAL_JSON_DEPTH_MAX + 1; depth++) {
        struct buf text = {0};
        assert_int_equal(buf_add_str(&text, "{\"a\":"), 0);
        for (size_t i = 0; i < depth; i++)
            assert_int_equal(buf_add_byte(&text, '['), 0);
        for (size_t i = 0; i < depth; i++)
            assert_int_equal(buf_add_byte(&text, ']'), 0);
        assert_int_equal(buf_add_str(&text, ",\"Version\":1}"), 0);
        if (depth == CREDENTIAL_JSON_DEPTH_MAX)
            accept_json(text.p);
        else
            refuse_json(text.p, "too many levels");
        buf_free(&text);
    }
}

/* ---- what is read of it ---- */

static int64_t utc(int hour, int minute) {
    return clock_from_date_utc(
        &(struct clock_date){.year = 2026, .month = 1, .day = 2, .hour = hour, .minute = minute});
}

static int read_expiration(const char *expiration, int64_t *ret_utc_us, struct err *err) {
    char text[256];
    snprintf(text, sizeof text, "{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Expiration\":\"%s\"}",
             expiration);
    struct credential_keys keys = {0};
    int r = credential_process_read(bytes_str(text), utc(3, 0), &keys, err);
    *ret_utc_us = keys.keys.expires_utc_us;
    credential_keys_free(&keys);
    return r;
}

static void test_expiration(void **state) {
    static const struct {
        const char *text;
        int hour, minute;
    } good[] = {
        {"2026-01-02T04:05:00Z", 4, 5},      {"2026-01-02T04:05:00.000Z", 4, 5},  {"2026-01-02T04:05:00+00:00", 4, 5},
        {"2026-01-02T06:35:00+02:30", 4, 5}, {"2026-01-01T23:05:00-05:00", 4, 5},
    };
    struct err err = {0};
    int64_t expires_utc_us;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(read_expiration(good[i].text, &expires_utc_us, &err), 0);
        assert_int_equal(expires_utc_us, utc(good[i].hour, good[i].minute));
    }
    assert_int_equal(read_expiration("2026-01-02T03:00:00Z", &expires_utc_us, &err), -EBADMSG);
    assert_string_equal(err.text, "the keys that it gave have expired already");
    static const char *const bad[] = {"tomorrow",
                                      "2026-01-02",
                                      "2026-01-02T04:05:00",
                                      "2026-01-02T04:05:00+24:00",
                                      "2026-01-02T04:05:00+00:60",
                                      "2026-01-02T04:05:00Z+00:00",
                                      "+00:00"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(read_expiration(bad[i], &expires_utc_us, &err), -EBADMSG);
        assert_null(strstr(err.text, bad[i]));
    }
}

static void test_members(void **state) {
    struct credential_keys keys = {0};
    struct err err = {0};
    assert_int_equal(credential_process_read(BYTES("{\"Version\":1,\"SecretAccessKey\":\"S\"}"), 0, &keys, &err),
                     -EINVAL);
    assert_string_equal(err.text, "AccessKeyId is missing or empty");
    assert_int_equal(credential_process_read(BYTES("{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"\"}"), 0,
                                             &keys, &err),
                     -EINVAL);
    assert_string_equal(err.text, "SecretAccessKey is missing or empty");
    assert_int_equal(credential_process_read(BYTES("{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\","
                                                   "\"SessionToken\":\"T\\r\\nX-Header: y\"}"),
                                             0, &keys, &err),
                     -EINVAL);
    assert_string_equal(err.text,
                        "SessionToken holds a space or a character that is not printable ASCII (character 2)");
    assert_int_equal(keys.memory.n, 0);
}

/* ---- running ---- */

static int run(const char *script, int64_t timeout_us, int cancel_fd, struct credential_keys *keys, struct err *err) {
    char sh[] = "sh", c[] = "-c";
    char *copy = mem_strdup(script);
    char *const argv[] = {sh, c, copy, NULL};
    int r = credential_process_run(argv, timeout_us, cancel_fd, utc(3, 0), keys, err);
    mem_free(copy);
    return r;
}

#define KEYS_JSON "{\"Version\":1,\"AccessKeyId\":\"AK\",\"SecretAccessKey\":\"SK\",\"SessionToken\":\"ST\"}"

static void test_run(void **state) {
    struct credential_keys keys = {0};
    struct err err = {0};
    int r = run("echo noise >&2; echo '" KEYS_JSON "'", US_PER_MIN, -1, &keys, &err);
    if (r != 0)
        fail_msg("%s", err.text);
    assert_true(bytes_equal(keys.keys.access_key_id, BYTES("AK")));
    assert_true(bytes_equal(keys.keys.secret_access_key, BYTES("SK")));
    assert_true(bytes_equal(keys.keys.session_token, BYTES("ST")));
    assert_int_equal(keys.keys.expires_utc_us, 0);
    credential_keys_free(&keys);
    /* Its input is empty, and it inherits the environment and nothing else that is open. */
    assert_int_equal(setenv("TEST_OF_PROCESS", "inherited", 1), 0);
    int leaked = open("/dev/null", O_RDONLY); /* not close-on-exec */
    assert_true(leaked > 2);
    char script[512];
    snprintf(script, sizeof script,
             "read x && exit 1; test \"$TEST_OF_PROCESS\" = inherited || exit 2; test -e /proc/self/fd/%d && exit 3;"
             "echo '" KEYS_JSON "'",
             leaked);
    r = run(script, US_PER_MIN, -1, &keys, &err);
    close(leaked);
    if (r != 0)
        fail_msg("%s", err.text);
    credential_keys_free(&keys);
    /* It may close its outputs before it ends. */
    assert_int_equal(run("echo '" KEYS_JSON "'; exec >&- 2>&-; sleep 0.1", US_PER_MIN, -1, &keys, &err), 0);
    credential_keys_free(&keys);
}

/* No signal is blocked or ignored in it, whatever is here; 32 and 33 are the C library's own. */
static void test_signals(void **state) {
    sigset_t all, before;
    char grep[] = "grep", quiet[] = "-qE", file[] = "/proc/self/status";
    char blocked[] = "^SigBlk:.0+$", ignored[] = "^SigIgn:.0{7}[01][08]0{7}$";
    char *patterns[] = {blocked, ignored};
    struct credential_keys keys = {0};
    struct err err = {0};
    sigfillset(&all);
    assert_int_equal(sigprocmask(SIG_SETMASK, &all, &before), 0);
    void (*old)(int) = signal(SIGPIPE, SIG_IGN);
    int r[2];
    for (size_t i = 0; i < 2; i++) {
        char *const argv[] = {grep, quiet, patterns[i], file, NULL};
        r[i] = credential_process_run(argv, US_PER_MIN, -1, utc(3, 0), &keys, &err);
    }
    signal(SIGPIPE, old);
    assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
    assert_int_equal(r[0], -EBADMSG); /* it ended well, with nothing written; -EIO would be "no such line" */
    assert_int_equal(r[1], -EBADMSG);
}

static void test_failing(void **state) {
    struct credential_keys keys = {0};
    struct err err = {0};
    assert_int_equal(run("exit 3", US_PER_MIN, -1, &keys, &err), -EIO);
    assert_string_equal(err.text, "it ended with exit code 3");
    assert_int_equal(run("echo first >&2; printf 'bad \\033[1m\\n\\n' >&2; exit 1", US_PER_MIN, -1, &keys, &err), -EIO);
    assert_string_equal(err.text, "it ended with exit code 1: bad \\x1b[1m");
    assert_int_equal(run("echo '" KEYS_JSON "'; kill -TERM $$", US_PER_MIN, -1, &keys, &err), -EIO);
    assert_string_equal(err.text, "it was ended by signal 15 (SIGTERM)");
    assert_int_equal(run("head -c 20000 /dev/zero | tr '\\0' y >&2; echo >&2; echo last line >&2; exit 1", US_PER_MIN,
                         -1, &keys, &err),
                     -EIO);
    assert_string_equal(err.text, "it ended with exit code 1: last line");
    assert_int_equal(run("head -c 20000 /dev/zero | tr '\\0' y >&2; exit 1", US_PER_MIN, -1, &keys, &err), -EIO);
    assert_true(strlen(err.text) < 300);
    assert_int_equal(run("echo AKSECRET", US_PER_MIN, -1, &keys, &err), -EBADMSG);
    assert_null(strstr(err.text, "AKSECRET"));
    char nothing[] = "/nonexistent/program", folder[] = "/";
    assert_int_equal(credential_process_run((char *const[]){nothing, NULL}, US_PER_S, -1, utc(3, 0), &keys, &err),
                     -ENOENT);
    assert_string_equal(err.text, "it cannot be started: No such file or directory");
    assert_int_equal(credential_process_run((char *const[]){folder, NULL}, US_PER_S, -1, utc(3, 0), &keys, &err),
                     -EACCES);
    assert_int_equal(keys.memory.n, 0);
}

static void test_slow(void **state) {
    struct credential_keys keys = {0};
    struct err err = {0};
    int64_t start_mono_us = clock_mono_us(&clock_system);
    assert_int_equal(run("echo '" KEYS_JSON "'; sleep 100", 100 * US_PER_MS, -1, &keys, &err), -ETIMEDOUT);
    assert_string_equal(err.text, "it did not end within 0.1 s and was killed");
    /* A grandchild that keeps the output open. */
    assert_int_equal(run("sleep 100 & exit 0", 100 * US_PER_MS, -1, &keys, &err), -ETIMEDOUT);
    /* Closed outputs, but it does not end. */
    assert_int_equal(run("exec >&- 2>&-; exec sleep 100", 100 * US_PER_MS, -1, &keys, &err), -ETIMEDOUT);
    /* One that ignores what can be ignored. */
    assert_int_equal(run("trap '' TERM INT HUP; sleep 100; sleep 100", 100 * US_PER_MS, -1, &keys, &err), -ETIMEDOUT);
    int cancel_fd = eventfd(1, EFD_CLOEXEC);
    assert_int_equal(run("sleep 100", 100 * US_PER_S, cancel_fd, &keys, &err), -ECANCELED);
    close(cancel_fd);
    assert_true(clock_mono_us(&clock_system) - start_mono_us < 60 * US_PER_S);
    assert_int_equal(keys.memory.n, 0);
}

static void test_huge(void **state) {
    struct credential_keys keys = {0};
    struct err err = {0};
    assert_int_equal(run("yes", US_PER_MIN, -1, &keys, &err), -E2BIG);
    assert_string_equal(err.text, "it wrote more than 65536 bytes");
    /* Exactly at the limit it is still read; and stderr has none. */
    char script[512];
    snprintf(script, sizeof script,
             "head -c 300000 /dev/zero >&2; head -c %zu /dev/zero | tr '\\0' ' '; printf %%s '" KEYS_JSON "'",
             CREDENTIAL_PROCESS_OUTPUT_MAX - strlen(KEYS_JSON));
    int r = run(script, US_PER_MIN, -1, &keys, &err);
    if (r != 0)
        fail_msg("%s", err.text);
    credential_keys_free(&keys);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),      cmocka_unit_test(test_json),    cmocka_unit_test(test_json_depth),
        cmocka_unit_test(test_expiration), cmocka_unit_test(test_members), cmocka_unit_test(test_run),
        cmocka_unit_test(test_signals),    cmocka_unit_test(test_failing), cmocka_unit_test(test_slow),
        cmocka_unit_test(test_huge),
    };
    return cmocka_run_group_tests_name("s3/credential_process", tests, NULL, NULL);
}
