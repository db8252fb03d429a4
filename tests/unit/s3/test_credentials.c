/* Where keys and settings come from: environment, files, profiles, precedence, broken files, and the renewal of keys
 * that a process gives. Everything happens in a folder of its own with an environment of its own. */
#include "cleanup.h"
#include "clock.h"
#include "credentials.h"
#include "mem.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- a world of its own ---- */

static char home[64];

#define VARIABLES 16
static struct {
    const char *name;
    char value[512];
} variables[VARIABLES];
static size_t n_variables;

static void set(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void set(const char *name, const char *format, ...) {
    assert_true(n_variables < VARIABLES);
    va_list args;
    va_start(args, format);
    variables[n_variables].name = name;
    vsnprintf(variables[n_variables++].value, sizeof variables[0].value, format, args);
    va_end(args);
}

static const char *get_variable(void *arg, const char *name) {
    const char *value = NULL;
    for (size_t i = 0; i < n_variables; i++)
        if (strcmp(variables[i].name, name) == 0)
            value = variables[i].value;
    return value;
}

static const struct env env = {get_variable, NULL};

static void write_file(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", home, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

#define write_credentials(text) write_file(".aws/credentials", text)
#define write_config(text) write_file(".aws/config", text)

static int64_t now_utc_us, now_mono_us;

static int64_t get_utc_us(void *arg) {
    return now_utc_us;
}

static int64_t get_mono_us(void *arg) {
    return now_mono_us;
}

static const struct clock clock_moved = {get_utc_us, get_mono_us, NULL};
static uv_loop_t loop;

static void pass(int64_t us) {
    now_utc_us += us;
    now_mono_us += us;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *ftw) {
    return remove(path);
}

static int setup(void **state) {
    n_variables = 0;
    strcpy(home, "/tmp/froe-test-XXXXXX");
    assert_non_null(mkdtemp(home));
    char path[256];
    snprintf(path, sizeof path, "%s/.aws", home);
    assert_int_equal(mkdir(path, 0700), 0);
    set("HOME", "%s", home);
    now_utc_us = clock_from_date_utc(&(struct clock_date){.year = 2026, .month = 1, .day = 2});
    now_mono_us = 1000 * US_PER_S;
    return uv_loop_init(&loop);
}

static int teardown(void **state) {
    uv_run(&loop, UV_RUN_DEFAULT);
    int r = uv_loop_close(&loop);
    nftw(home, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return r;
}

struct answer {
    int calls;
    bool keys;
    char id[256], secret[512], token[64];
    uint64_t generation;
    struct err err;
};

static void take(char *out, size_t size, struct bytes text) {
    assert_true(text.n < size);
    if (text.n)
        memcpy(out, text.p, text.n);
    out[text.n] = '\0';
}

static void on_keys(void *arg, const struct credentials *keys, const struct err *err) {
    struct answer *answer = arg;
    int calls = answer->calls;
    *answer = (struct answer){.calls = calls + 1, .keys = keys != NULL};
    if (keys) {
        assert_null(err);
        take(answer->id, sizeof answer->id, keys->access_key_id);
        take(answer->secret, sizeof answer->secret, keys->secret_access_key);
        take(answer->token, sizeof answer->token, keys->session_token);
        answer->generation = keys->generation;
    } else {
        assert_non_null(err);
        assert_true(err->code < 0);
        answer->err = *err;
    }
}

static struct credentials_provider *open_provider(const char *profile) {
    struct credentials_provider *provider;
    struct err err = {0};
    int r = credentials_open(&loop, &env, profile, &clock_moved, &provider, &err);
    if (r != 0)
        fail_msg("%s", err.text);
    return provider;
}

static void refuse(const char *profile, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void refuse(const char *profile, int code, const char *format, ...) {
    struct credentials_provider *provider = NULL;
    struct err err = {0};
    char want[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(want, sizeof want, format, args);
    va_end(args);
    assert_int_equal(credentials_open(&loop, &env, profile, &clock_moved, &provider, &err), code);
    assert_null(provider);
    assert_string_equal(err.text, want);
    assert_int_equal(err.code, code);
}

/* At once: keys that are there are given from inside the call. */
static struct answer get_now(struct credentials_provider *provider) {
    struct answer answer = {0};
    credentials_get(provider, on_keys, &answer);
    assert_int_equal(answer.calls, 1);
    return answer;
}

static struct answer get_later(struct credentials_provider *provider) {
    struct answer answer = {0};
    credentials_get(provider, on_keys, &answer);
    assert_int_equal(answer.calls, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(answer.calls, 1);
    return answer;
}

static void check_static(const char *profile, const char *id, const char *secret, const char *token, const char *source,
                         const char *file) {
    struct credentials_provider *provider = open_provider(profile);
    struct answer answer = get_now(provider);
    assert_true(answer.keys);
    assert_string_equal(answer.id, id);
    assert_string_equal(answer.secret, secret);
    assert_string_equal(answer.token, token);
    char want[512];
    snprintf(want, sizeof want, "%s%s%s", source, file ? home : "", file ? file : "");
    assert_string_equal(credentials_source(provider), want);
    credentials_close(provider);
}

/* ---- environment and files ---- */

static void test_environment(void **state) {
    set("AWS_ACCESS_KEY_ID", "ENVID");
    set("AWS_SECRET_ACCESS_KEY", "env/secret");
    check_static(NULL, "ENVID", "env/secret", "", "environment", NULL);
    set("AWS_SESSION_TOKEN", "tok==");
    check_static(NULL, "ENVID", "env/secret", "tok==", "environment", NULL);
    /* The files are not even read then. */
    write_credentials("broken");
    check_static(NULL, "ENVID", "env/secret", "tok==", "environment", NULL);
    set("AWS_PROFILE", "%s", "");
    check_static(NULL, "ENVID", "env/secret", "tok==", "environment", NULL);
    /* Renewing gives nothing new. */
    struct credentials_provider *provider = open_provider("");
    struct answer answer = get_now(provider);
    credentials_refused(provider, answer.generation);
    struct answer again = get_now(provider);
    assert_true(again.keys);
    assert_int_equal(again.generation, answer.generation);
    credentials_close(provider);
    credentials_close(NULL);
}

static void test_broken_environment(void **state) {
    set("AWS_SECRET_ACCESS_KEY", "env/secret");
    refuse(NULL, -EINVAL, "AWS_SECRET_ACCESS_KEY is set, but AWS_ACCESS_KEY_ID is not");
    set("AWS_SECRET_ACCESS_KEY", "%s", "");
    set("AWS_ACCESS_KEY_ID", "ENVID");
    refuse(NULL, -EINVAL, "AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not");
    set("AWS_SECRET_ACCESS_KEY", "env/secret\n");
    refuse(NULL, -EINVAL,
           "AWS_SECRET_ACCESS_KEY holds a space or a character that is not printable ASCII (character 11)");
    char longest[CREDENTIALS_SECRET_MAX + 2];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    set("AWS_SECRET_ACCESS_KEY", "%s", longest);
    refuse(NULL, -EINVAL, "AWS_SECRET_ACCESS_KEY is longer than %d characters", CREDENTIALS_SECRET_MAX);
    set("AWS_SECRET_ACCESS_KEY", "%s", longest + 1);
    check_static(NULL, "ENVID", longest + 1, "", "environment", NULL);
}

static void test_files(void **state) {
    write_credentials("[default]\naws_access_key_id = A\naws_secret_access_key = S # c\n"
                      "[two]\nAWS_Access_Key_Id = A2\naws_secret_access_key = S2\naws_session_token = T2\n"
                      "[two words]\naws_access_key_id = A3\naws_secret_access_key = S3\n"
                      "[profile odd]\naws_access_key_id = no\naws_secret_access_key = no\n");
    write_config("[default]\nregion = eu-west-1\naws_access_key_id = C\naws_secret_access_key = CS\n"
                 "[profile four]\naws_access_key_id = A4\naws_secret_access_key = S4\n"
                 "[profile \"five x\"]\naws_access_key_id = A5\naws_secret_access_key = S5\n"
                 "[six]\naws_access_key_id = no\naws_secret_access_key = no\n");
    check_static(NULL, "A", "S", "", "profile 'default' in ", "/.aws/credentials");
    check_static("two", "A2", "S2", "T2", "profile 'two' in ", "/.aws/credentials");
    check_static("two words", "A3", "S3", "", "profile 'two words' in ", "/.aws/credentials");
    check_static("four", "A4", "S4", "", "profile 'four' in ", "/.aws/config");
    check_static("five x", "A5", "S5", "", "profile 'five x' in ", "/.aws/config");
    refuse("six", -ENOENT,
           "no credentials: AWS_ACCESS_KEY_ID is not looked at when a profile is asked for by name, and there is no "
           "profile 'six' in %s/.aws/credentials or %s/.aws/config",
           home, home);
    refuse("odd", -ENOENT,
           "no credentials: AWS_ACCESS_KEY_ID is not looked at when a profile is asked for by name, and there is no "
           "profile 'odd' in %s/.aws/credentials or %s/.aws/config",
           home, home);
    /* A profile asked for by name counts more than keys in the environment; the argument more than AWS_PROFILE. */
    set("AWS_ACCESS_KEY_ID", "ENVID");
    set("AWS_SECRET_ACCESS_KEY", "env/secret");
    check_static(NULL, "ENVID", "env/secret", "", "environment", NULL);
    set("AWS_PROFILE", "two");
    check_static(NULL, "A2", "S2", "T2", "profile 'two' in ", "/.aws/credentials");
    check_static("four", "A4", "S4", "", "profile 'four' in ", "/.aws/config");
    set("AWS_PROFILE", "default");
    check_static(NULL, "A", "S", "", "profile 'default' in ", "/.aws/credentials");
}

static void test_other_paths(void **state) {
    write_file("c", "[default]\naws_access_key_id = A\naws_secret_access_key = S\n");
    write_file("d", "[default]\naws_access_key_id = B\naws_secret_access_key = no\n"
                    "[profile default]\naws_access_key_id = B\n"
                    "[default]\naws_secret_access_key = no\n"
                    "[profile default]\naws_secret_access_key = S\n");
    set("AWS_SHARED_CREDENTIALS_FILE", "%s/c", home);
    check_static(NULL, "A", "S", "", "profile 'default' in ", "/c");
    set("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/c");
    set("AWS_CONFIG_FILE", "~/d"); /* and there [profile default] counts more than [default] */
    check_static(NULL, "B", "S", "", "profile 'default' in ", "/d");
    set("AWS_CONFIG_FILE", "/dev/null");
    refuse(NULL, -ENOENT,
           "no credentials: AWS_ACCESS_KEY_ID is not set, and there is no profile 'default' in /nonexistent/c or "
           "/dev/null");
    n_variables = 0; /* no HOME */
    refuse(NULL, -ENOENT,
           "no credentials: AWS_ACCESS_KEY_ID is not set, and there is no profile 'default' in ~/.aws/credentials or "
           "~/.aws/config (HOME is not set)");
}

static void test_broken_files(void **state) {
    write_credentials("[default]\naws_access_key_id = A\n");
    refuse(NULL, -EINVAL, "%s/.aws/credentials:2: profile 'default' has aws_access_key_id but no aws_secret_access_key",
           home);
    write_credentials("[default]\n\naws_secret_access_key = S\naws_access_key_id =\n");
    refuse(NULL, -EINVAL, "%s/.aws/credentials:3: profile 'default' has aws_secret_access_key but no aws_access_key_id",
           home);
    write_credentials("[default]\naws_access_key_id = A\naws_secret_access_key = S E\n");
    refuse(NULL, -EINVAL,
           "%s/.aws/credentials:3: aws_secret_access_key holds a space or a character that is not printable ASCII "
           "(character 2)",
           home);
    write_credentials("[default]\nS/E/C/R/E/T\n");
    refuse(NULL, -EINVAL, "%s/.aws/credentials: line 2: neither a [section], nor key = value, nor a comment", home);
    write_credentials("[default]\nregion = x\n");
    refuse(NULL, -ENOENT,
           "no credentials: AWS_ACCESS_KEY_ID is not set, and neither keys nor a credential_process are set for "
           "profile 'default' in %s/.aws/credentials or %s/.aws/config",
           home, home);
    write_config("[default\n");
    refuse(NULL, -EINVAL, "%s/.aws/config: line 1: a section without its ']'", home);
    write_config("[default]\ncredential_process = a 'b\n");
    refuse(NULL, -EINVAL, "%s/.aws/config:2: credential_process: the command has an open quote", home);
    set("AWS_CONFIG_FILE", "%s", home);
    refuse(NULL, -EINVAL, "cannot read %s: Is a directory", home);
    set("AWS_CONFIG_FILE", "/dev/zero");
    refuse(NULL, -EINVAL, "/dev/zero: larger than 1048576 bytes");
    set("AWS_CONFIG_FILE", "/dev/null");
    if (geteuid() == 0)
        return; /* root can read everything */
    char path[256];
    snprintf(path, sizeof path, "%s/.aws/credentials", home);
    assert_int_equal(chmod(path, 0), 0);
    refuse(NULL, -EACCES, "cannot read %s: Permission denied", path);
}

static void test_other_ways(void **state) {
    write_credentials("[default]\naws_access_key_id = A\naws_secret_access_key = S\n"
                      "[base]\naws_access_key_id = A\naws_secret_access_key = S\n");
    write_config("[default]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = base\n"
                 "[profile sso]\nregion = r\nsso_session = s\n");
    struct credentials_provider *provider = NULL;
    struct err err = {0};
    assert_int_equal(credentials_open(&loop, &env, NULL, &clock_moved, &provider, &err), -EINVAL);
    assert_non_null(strstr(err.text, "/.aws/config:2: profile 'default' has role_arn, which froe does not follow"));
    assert_non_null(strstr(err.text, "aws configure export-credentials --profile default --format process"));
    assert_int_equal(credentials_open(&loop, &env, "sso", &clock_moved, &provider, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/.aws/config:6: profile 'sso' gets its keys by sso_session"));
}

/* Keys in a file that was written again, as tools do that renew session tokens. */
static void test_file_written_again(void **state) {
    write_credentials("[default]\naws_access_key_id = A\naws_secret_access_key = S\naws_session_token = T\n");
    struct credentials_provider *provider = open_provider(NULL);
    struct answer first = get_now(provider);
    write_credentials("[default]\naws_access_key_id = B\naws_secret_access_key = S2\n");
    struct answer same = get_now(provider);
    assert_string_equal(same.id, "A");
    credentials_refused(provider, first.generation + 1); /* another's: nothing happens */
    assert_string_equal(get_now(provider).id, "A");
    credentials_refused(provider, first.generation);
    struct answer second = get_now(provider);
    assert_string_equal(second.id, "B");
    assert_string_equal(second.token, "");
    assert_true(second.generation != first.generation);
    /* Refused again at once: it is not read at each request. */
    write_credentials("[default]\naws_access_key_id = C\naws_secret_access_key = S3\n");
    credentials_refused(provider, second.generation);
    assert_string_equal(get_now(provider).id, "B");
    pass(6 * US_PER_S);
    assert_string_equal(get_now(provider).id, "C");
    /* Broken meanwhile: the keys stay. */
    write_credentials("broken");
    pass(6 * US_PER_S);
    credentials_refused(provider, get_now(provider).generation);
    assert_string_equal(get_now(provider).id, "C");
    /* A process now. */
    write_credentials("[default]\ncredential_process = echo "
                      "'{\"Version\":1,\"AccessKeyId\":\"P\",\"SecretAccessKey\":\"S\"}'\n");
    pass(6 * US_PER_S);
    credentials_refused(provider, get_now(provider).generation);
    assert_string_equal(get_later(provider).id, "P");
    credentials_close(provider);
}

/* ---- a process ---- */

/* The process counts its runs in the file `runs` and prints the file `out`, or fails when that is not there. */
static void write_process(void) {
    char text[1024];
    snprintf(text, sizeof text,
             "[default]\ncredential_process = sh -c 'echo x >> \"$1/runs\"; cat \"$1/out\"' sh \"%s\"\n", home);
    write_config(text);
}

static void write_output(const char *id, int64_t expires_in_us) {
    struct clock_date date;
    char text[512];
    clock_date_utc(now_utc_us + expires_in_us, &date);
    snprintf(text, sizeof text,
             "{\"Version\": 1, \"AccessKeyId\": \"%s\", \"SecretAccessKey\": \"S\", \"SessionToken\": \"T\", "
             "\"Expiration\": \"%04d-%02d-%02dT%02d:%02d:%02dZ\"}",
             id, date.year, date.month, date.day, date.hour, date.minute, date.second);
    write_file("out", text);
}

static void remove_output(void) {
    char path[256];
    snprintf(path, sizeof path, "%s/out", home);
    assert_int_equal(unlink(path), 0);
}

static int runs(void) {
    char path[256];
    struct stat info;
    snprintf(path, sizeof path, "%s/runs", home);
    return stat(path, &info) == 0 ? (int)(info.st_size / 2) : 0;
}

static void test_process(void **state) {
    write_process();
    write_output("P1", 60 * US_PER_MIN);
    struct credentials_provider *provider = open_provider(NULL);
    assert_int_equal(runs(), 0);
    struct answer answers[3] = {0};
    for (int i = 0; i < 3; i++)
        credentials_get(provider, on_keys, &answers[i]);
    credentials_cancel(provider, on_keys, &answers[1]);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(answers[0].calls, 1);
    assert_int_equal(answers[1].calls, 0);
    assert_int_equal(answers[2].calls, 1);
    assert_string_equal(answers[2].id, "P1");
    assert_string_equal(answers[2].token, "T");
    assert_int_equal(runs(), 1);
    assert_string_equal(get_now(provider).id, "P1");
    assert_int_equal(runs(), 1);
    char want[512];
    snprintf(want, sizeof want, "credential_process of profile 'default' in %s/.aws/config", home);
    assert_string_equal(credentials_source(provider), want);
    credentials_close(provider);
}

static void test_process_renews(void **state) {
    write_process();
    write_output("P1", 10 * US_PER_MIN);
    struct credentials_provider *provider = open_provider(NULL);
    struct answer first = get_later(provider);
    pass(4 * US_PER_MIN);
    assert_string_equal(get_now(provider).id, "P1");
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(runs(), 1);
    /* Five minutes before they expire: used still, and renewed meanwhile. */
    pass(1 * US_PER_MIN);
    write_output("P2", 10 * US_PER_MIN);
    assert_string_equal(get_now(provider).id, "P1");
    assert_string_equal(get_now(provider).id, "P1");
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(runs(), 2);
    struct answer second = get_now(provider);
    assert_string_equal(second.id, "P2");
    assert_true(second.generation != first.generation);
    /* Renewing fails: they are used until they expire, and the process is not run at each request. */
    remove_output();
    pass(6 * US_PER_MIN);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(get_now(provider).id, "P2");
        uv_run(&loop, UV_RUN_DEFAULT);
    }
    assert_int_equal(runs(), 3);
    pass(6 * US_PER_S);
    assert_string_equal(get_now(provider).id, "P2");
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(runs(), 4);
    /* Expired: an error now. */
    pass(4 * US_PER_MIN);
    struct answer failed = get_later(provider);
    assert_false(failed.keys);
    assert_int_equal(failed.err.code, -EIO);
    char want[512];
    snprintf(want, sizeof want,
             "credential_process of profile 'default' in %s/.aws/config: it ended with exit code 1: ", home);
    assert_memory_equal(failed.err.text, want, strlen(want));
    assert_int_equal(runs(), 5);
    assert_false(get_now(provider).keys); /* the failure is remembered for a moment */
    assert_int_equal(runs(), 5);
    pass(6 * US_PER_S);
    write_output("P3", 60 * US_PER_MIN);
    assert_string_equal(get_later(provider).id, "P3");
    credentials_close(provider);
}

static void test_process_refused(void **state) {
    write_process();
    write_output("P1", 60 * US_PER_MIN);
    struct credentials_provider *provider = open_provider(NULL);
    struct answer first = get_later(provider);
    pass(6 * US_PER_S);
    /* The same keys again: the generation tells. */
    credentials_refused(provider, first.generation);
    struct answer same = get_later(provider);
    assert_true(same.keys);
    assert_int_equal(same.generation, first.generation);
    assert_int_equal(runs(), 2);
    credentials_refused(provider, first.generation);
    assert_true(get_now(provider).keys);
    assert_int_equal(runs(), 2);
    pass(6 * US_PER_S);
    write_output("P2", 60 * US_PER_MIN);
    struct answer second = get_later(provider);
    assert_string_equal(second.id, "P2");
    assert_true(second.generation != first.generation);
    credentials_refused(provider, first.generation); /* an answer that comes late */
    assert_string_equal(get_now(provider).id, "P2");
    /* Refused, and no others to be had: that is what is said. */
    remove_output();
    pass(6 * US_PER_S);
    credentials_refused(provider, second.generation);
    assert_false(get_later(provider).keys);
    assert_false(get_now(provider).keys);
    credentials_close(provider);
}

static void test_process_slow(void **state) {
    write_config("[default]\ncredential_process = sh -c 'sleep 50'\n");
    struct credentials_provider *provider = open_provider(NULL);
    struct answer answer = {0};
    credentials_get(provider, on_keys, &answer);
    int64_t start_mono_us = clock_mono_us(&clock_system);
    usleep(50000); /* it runs by now */
    credentials_close(provider);
    assert_int_equal(answer.calls, 1);
    assert_int_equal(answer.err.code, -ECANCELED);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(answer.calls, 1);
    assert_true(clock_mono_us(&clock_system) - start_mono_us < 20 * US_PER_S);
}

static struct credentials_provider *to_close;

static void close_provider(void *arg, const struct credentials *keys, const struct err *err) {
    on_keys(arg, keys, err);
    credentials_close(to_close);
}

static void test_close_in_callback(void **state) {
    write_process();
    write_output("P1", 60 * US_PER_MIN);
    to_close = open_provider(NULL);
    struct answer first = {0}, second = {0};
    credentials_get(to_close, close_provider, &first);
    credentials_get(to_close, on_keys, &second);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(first.calls, 1);
    assert_true(first.keys);
    assert_int_equal(second.calls, 1);
    assert_int_equal(second.err.code, -ECANCELED);
}

struct again {
    struct credentials_provider *provider;
    struct answer answer;
    int rounds;
};

static void ask_again(void *arg, const struct credentials *keys, const struct err *err) {
    struct again *again = arg;
    on_keys(&again->answer, keys, err);
    if (++again->rounds < 3)
        credentials_get(again->provider, ask_again, again);
}

static void test_ask_in_callback(void **state) {
    write_process(); /* there is nothing to print: each answer is a failure */
    struct again again = {.provider = open_provider(NULL)};
    credentials_get(again.provider, ask_again, &again);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(again.rounds, 3);
    assert_int_equal(runs(), 1);
    credentials_close(again.provider);
}

/* Keys of the credentials file, then a process of either file, then keys of the config file. */
static void test_order_in_profile(void **state) {
    write_config("[default]\naws_access_key_id = C\naws_secret_access_key = S\n"
                 "credential_process = echo '{\"Version\":1,\"AccessKeyId\":\"P\",\"SecretAccessKey\":\"S\"}'\n");
    struct credentials_provider *provider = open_provider(NULL);
    assert_string_equal(get_later(provider).id, "P");
    credentials_close(provider);
    write_credentials(
        "[default]\ncredential_process = echo '{\"Version\":1,\"AccessKeyId\":\"Q\",\"SecretAccessKey\":\"S\"}'");
    provider = open_provider(NULL);
    assert_string_equal(get_later(provider).id, "Q");
    credentials_close(provider);
    write_credentials("[default]\naws_access_key_id = A\naws_secret_access_key = S\n");
    check_static(NULL, "A", "S", "", "profile 'default' in ", "/.aws/credentials");
}

/* ---- settings ---- */

static struct aws_settings settings_of(const char *profile) {
    struct aws_settings settings;
    struct err err = {0};
    int r = aws_settings_read(&env, profile, &settings, &err);
    if (r != 0)
        fail_msg("%s", err.text);
    return settings;
}

static void check_settings(const char *profile, const char *endpoint, const char *region, const char *ca_bundle,
                           uint32_t max_attempts) {
    struct aws_settings settings = settings_of(profile);
    assert_string_equal(settings.endpoint ? settings.endpoint : "-", endpoint);
    assert_string_equal(settings.region ? settings.region : "-", region);
    assert_string_equal(settings.ca_bundle ? settings.ca_bundle : "-", ca_bundle);
    assert_int_equal(settings.max_attempts, max_attempts);
    aws_settings_free(&settings);
    aws_settings_free(&settings);
}

static void refuse_settings(const char *profile, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void refuse_settings(const char *profile, int code, const char *format, ...) {
    struct aws_settings settings;
    struct err err = {0};
    char want[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(want, sizeof want, format, args);
    va_end(args);
    assert_int_equal(aws_settings_read(&env, profile, &settings, &err), code);
    assert_string_equal(err.text, want);
}

static void test_settings(void **state) {
    check_settings(NULL, "-", "-", "-", 0);
    write_config(
        "[default]\nregion = eu-west-1\nmax_attempts = 5\n[profile x]\nregion=x-1\nendpoint_url = http://x:1 # c\n"
        "ca_bundle = /x.pem\n[profile y]\nservices = own\nendpoint_url = http://y\n"
        "[services own]\ndynamodb =\n  endpoint_url = http://no\ns3 =\n  endpoint_url = http://s3.y\n"
        "[services other]\ns3 =\n  endpoint_url = http://no\n[profile empty]\n");
    check_settings(NULL, "-", "eu-west-1", "-", 5);
    check_settings("x", "http://x:1", "x-1", "/x.pem", 0);
    check_settings("y", "http://s3.y", "-", "-", 0);
    check_settings("empty", "-", "-", "-", 0);
    refuse_settings("z", -ENOENT, "there is no profile 'z' in %s/.aws/credentials or %s/.aws/config", home, home);
    write_credentials("[z]\nregion = z-1\n");
    check_settings("z", "-", "z-1", "-", 0);
    /* The environment counts more. */
    set("AWS_PROFILE", "y");
    set("AWS_DEFAULT_REGION", "d-1");
    set("AWS_ENDPOINT_URL", "http://e");
    check_settings(NULL, "http://e", "d-1", "-", 0);
    set("AWS_REGION", "r-1");
    set("AWS_ENDPOINT_URL_S3", "http://s");
    set("AWS_CA_BUNDLE", "/e.pem");
    set("AWS_MAX_ATTEMPTS", "7");
    check_settings(NULL, "http://s", "r-1", "/e.pem", 7);
    set("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "True");
    check_settings(NULL, "-", "r-1", "/e.pem", 7);
    set("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "false");
    check_settings(NULL, "http://s", "r-1", "/e.pem", 7);
}

static void test_broken_settings(void **state) {
    static const char *const bad[] = {"0", "-1", "x", "4294967296", "3 "};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        n_variables = 1;
        set("AWS_MAX_ATTEMPTS", "%s", bad[i]);
        refuse_settings(NULL, -EINVAL, "AWS_MAX_ATTEMPTS must be a whole number from 1");
    }
    n_variables = 1;
    set("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "maybe");
    refuse_settings(NULL, -EINVAL, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS must be true or false");
    n_variables = 1;
    write_config("[default]\nmax_attempts = many\n[profile x]\nignore_configured_endpoint_urls = perhaps\n"
                 "[profile y]\nendpoint_url = http://y\nignore_configured_endpoint_urls = true\n");
    refuse_settings(NULL, -EINVAL, "%s/.aws/config:2: max_attempts must be a whole number from 1", home);
    refuse_settings("x", -EINVAL, "%s/.aws/config:4: ignore_configured_endpoint_urls must be true or false", home);
    check_settings("y", "-", "-", "-", 0);
    write_config("oops");
    refuse_settings(NULL, -EINVAL, "%s/.aws/config: line 1: neither a [section], nor key = value, nor a comment", home);
}

/* ---- memory ---- */

static void test_no_memory(void **state) {
    write_process();
    write_output("P1", 60 * US_PER_MIN);
    set("AWS_REGION", "r-1");
    set("AWS_ENDPOINT_URL", "http://e");
    int failures = 0;
    for (uint64_t n = 1;; n++) {
        struct credentials_provider *provider = NULL;
        struct aws_settings settings = {0};
        struct answer answer = {0};
        struct err err = {0};
        mem_fail_at(n, 0);
        int r = aws_settings_read(&env, NULL, &settings, &err);
        if (r >= 0)
            r = credentials_open(&loop, &env, NULL, &clock_moved, &provider, &err);
        if (r >= 0) {
            credentials_get(provider, on_keys, &answer);
            uv_run(&loop, UV_RUN_DEFAULT); /* the thread's allocations count too, one at a time */
            assert_int_equal(answer.calls, 1);
            r = answer.keys ? 0 : answer.err.code;
        }
        uint64_t calls = mem_fail_count();
        mem_fail_at(0, 0);
        if (r < 0) {
            failures++;
            assert_int_equal(r, -ENOMEM);
        }
        credentials_close(provider);
        aws_settings_free(&settings);
        if (calls < n)
            break;
    }
    assert_true(failures > 10);
}

static void test_process_environment(void **state) {
    assert_int_equal(setenv("FROE_TEST_OF_ENV", "x", 1), 0);
    assert_string_equal(env_process.get(env_process.arg, "FROE_TEST_OF_ENV"), "x");
    assert_null(env_process.get(env_process.arg, "FROE_TEST_OF_ENV_2"));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_environment),
        TEST(test_broken_environment),
        TEST(test_files),
        TEST(test_other_paths),
        TEST(test_broken_files),
        TEST(test_other_ways),
        TEST(test_file_written_again),
        TEST(test_process),
        TEST(test_process_renews),
        TEST(test_process_refused),
        TEST(test_process_slow),
        TEST(test_close_in_callback),
        TEST(test_ask_in_callback),
        TEST(test_order_in_profile),
        TEST(test_settings),
        TEST(test_broken_settings),
        TEST(test_no_memory),
        TEST(test_process_environment),
    };
    return cmocka_run_group_tests_name("s3/credentials", tests, NULL, NULL);
}
