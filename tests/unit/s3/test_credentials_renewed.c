/* Keys that are renewed: files that are written again, a process that is run again, callbacks that ask or close, and
 * memory that ends. */
#include "credentials_world.h"
#include "mem.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Keys in a file that was written again, as tools do that renew session tokens. */
static void test_file_written_again(void **state) {
    world_write_credentials("[default]\naws_access_key_id = A\naws_secret_access_key = S\naws_session_token = T\n");
    struct credentials_provider *provider = world_open(NULL);
    struct answer first = answer_now(provider);
    world_write_credentials("[default]\naws_access_key_id = B\naws_secret_access_key = S2\n");
    struct answer same = answer_now(provider);
    assert_string_equal(same.id, "A");
    credentials_refused(provider, first.generation + 1); /* another's: nothing happens */
    assert_string_equal(answer_now(provider).id, "A");
    credentials_refused(provider, first.generation);
    struct answer second = answer_now(provider);
    assert_string_equal(second.id, "B");
    assert_string_equal(second.token, "");
    assert_true(second.generation != first.generation);
    /* Refused again at once: it is not read at each request. */
    world_write_credentials("[default]\naws_access_key_id = C\naws_secret_access_key = S3\n");
    credentials_refused(provider, second.generation);
    assert_string_equal(answer_now(provider).id, "B");
    world_pass(6 * US_PER_S);
    assert_string_equal(answer_now(provider).id, "C");
    /* Broken meanwhile: the keys stay. */
    world_write_credentials("broken");
    world_pass(6 * US_PER_S);
    credentials_refused(provider, answer_now(provider).generation);
    assert_string_equal(answer_now(provider).id, "C");
    /* A process now. */
    world_write_credentials("[default]\ncredential_process = echo "
                            "'{\"Version\":1,\"AccessKeyId\":\"P\",\"SecretAccessKey\":\"S\"}'\n");
    world_pass(6 * US_PER_S);
    credentials_refused(provider, answer_now(provider).generation);
    assert_string_equal(answer_later(provider).id, "P");
    credentials_close(provider);
}

/* The process counts its runs in the file `runs` and prints the file `out`, or fails when that is not there. */
static void write_process(void) {
    char text[1024];
    snprintf(text, sizeof text,
             "[default]\ncredential_process = sh -c 'echo x >> \"$1/runs\"; cat \"$1/out\"' sh \"%s\"\n", world.home);
    world_write_config(text);
}

static void write_output(const char *id, int64_t expires_in_us) {
    struct clock_date date;
    char text[512];
    clock_date_utc(world.utc_us + expires_in_us, &date);
    snprintf(text, sizeof text,
             "{\"Version\": 1, \"AccessKeyId\": \"%s\", \"SecretAccessKey\": \"S\", \"SessionToken\": \"T\", "
             "\"Expiration\": \"%04d-%02d-%02dT%02d:%02d:%02dZ\"}",
             id, date.year, date.month, date.day, date.hour, date.minute, date.second);
    world_write_file("out", text);
}

static void remove_output(void) {
    char path[256];
    snprintf(path, sizeof path, "%s/out", world.home);
    assert_int_equal(unlink(path), 0);
}

static int runs(void) {
    char path[256];
    struct stat info;
    snprintf(path, sizeof path, "%s/runs", world.home);
    return stat(path, &info) == 0 ? (int)(info.st_size / 2) : 0;
}

static void test_process(void **state) {
    write_process();
    write_output("P1", 60 * US_PER_MIN);
    struct credentials_provider *provider = world_open(NULL);
    assert_int_equal(runs(), 0);
    struct answer answers[3] = {0};
    for (int i = 0; i < 3; i++)
        credentials_get(provider, answer_take, &answers[i]);
    credentials_cancel(provider, answer_take, &answers[1]);
    uv_run(&world.loop, UV_RUN_DEFAULT);
    assert_int_equal(answers[0].calls, 1);
    assert_int_equal(answers[1].calls, 0);
    assert_int_equal(answers[2].calls, 1);
    assert_string_equal(answers[2].id, "P1");
    assert_string_equal(answers[2].token, "T");
    assert_int_equal(runs(), 1);
    assert_string_equal(answer_now(provider).id, "P1");
    assert_int_equal(runs(), 1);
    char want[512];
    snprintf(want, sizeof want, "credential_process of profile 'default' in %s/.aws/config", world.home);
    assert_string_equal(credentials_source(provider), want);
    credentials_close(provider);
}

static void test_process_renews(void **state) {
    write_process();
    write_output("P1", 10 * US_PER_MIN);
    struct credentials_provider *provider = world_open(NULL);
    struct answer first = answer_later(provider);
    world_pass(4 * US_PER_MIN);
    assert_string_equal(answer_now(provider).id, "P1");
    uv_run(&world.loop, UV_RUN_DEFAULT);
    assert_int_equal(runs(), 1);
    /* Five minutes before they expire: used still, and renewed meanwhile. */
    world_pass(1 * US_PER_MIN);
    write_output("P2", 10 * US_PER_MIN);
    assert_string_equal(answer_now(provider).id, "P1");
    assert_string_equal(answer_now(provider).id, "P1");
    uv_run(&world.loop, UV_RUN_DEFAULT);
    assert_int_equal(runs(), 2);
    struct answer second = answer_now(provider);
    assert_string_equal(second.id, "P2");
    assert_true(second.generation != first.generation);
    /* Renewing fails: they are used until they expire, and the process is not run at each request. */
    remove_output();
    world_pass(6 * US_PER_MIN);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(answer_now(provider).id, "P2");
        uv_run(&world.loop, UV_RUN_DEFAULT);
    }
    assert_int_equal(runs(), 3);
    world_pass(6 * US_PER_S);
    assert_string_equal(answer_now(provider).id, "P2");
    uv_run(&world.loop, UV_RUN_DEFAULT);
    assert_int_equal(runs(), 4);
    /* Expired: an error now. */
    world_pass(4 * US_PER_MIN);
    struct answer failed = answer_later(provider);
    assert_false(failed.keys);
    assert_int_equal(failed.err.code, -EIO);
    char want[512];
    snprintf(want, sizeof want,
             "credential_process of profile 'default' in %s/.aws/config: it ended with exit code 1: ", world.home);
    assert_memory_equal(failed.err.text, want, strlen(want));
    assert_int_equal(runs(), 5);
    assert_false(answer_now(provider).keys); /* the failure is remembered for a moment */
    assert_int_equal(runs(), 5);
    world_pass(6 * US_PER_S);
    write_output("P3", 60 * US_PER_MIN);
    assert_string_equal(answer_later(provider).id, "P3");
    credentials_close(provider);
}

static void test_process_refused(void **state) {
    write_process();
    write_output("P1", 60 * US_PER_MIN);
    struct credentials_provider *provider = world_open(NULL);
    struct answer first = answer_later(provider);
    world_pass(6 * US_PER_S);
    /* The same keys again: the generation tells. */
    credentials_refused(provider, first.generation);
    struct answer same = answer_later(provider);
    assert_true(same.keys);
    assert_int_equal(same.generation, first.generation);
    assert_int_equal(runs(), 2);
    credentials_refused(provider, first.generation);
    assert_true(answer_now(provider).keys);
    assert_int_equal(runs(), 2);
    world_pass(6 * US_PER_S);
    write_output("P2", 60 * US_PER_MIN);
    struct answer second = answer_later(provider);
    assert_string_equal(second.id, "P2");
    assert_true(second.generation != first.generation);
    credentials_refused(provider, first.generation); /* an answer that comes late */
    assert_string_equal(answer_now(provider).id, "P2");
    /* Refused, and no others to be had: that is what is said. */
    remove_output();
    world_pass(6 * US_PER_S);
    credentials_refused(provider, second.generation);
    assert_false(answer_later(provider).keys);
    assert_false(answer_now(provider).keys);
    credentials_close(provider);
}

static void test_process_slow(void **state) {
    world_write_config("[default]\ncredential_process = sh -c 'sleep 100'\n");
    struct credentials_provider *provider = world_open(NULL);
    struct answer answer = {0};
    credentials_get(provider, answer_take, &answer);
    int64_t start_mono_us = clock_mono_us(&clock_system);
    usleep(50000); /* it runs by now, or was not begun: the promise is the same */
    credentials_close(provider);
    assert_int_equal(answer.calls, 1);
    assert_int_equal(answer.err.code, -ECANCELED);
    uv_run(&world.loop, UV_RUN_DEFAULT);
    assert_int_equal(answer.calls, 1);
    assert_true(clock_mono_us(&clock_system) - start_mono_us < 60 * US_PER_S);
}

static struct credentials_provider *to_close;

static void close_provider(void *arg, const struct credentials *keys, const struct err *err) {
    answer_take(arg, keys, err);
    credentials_close(to_close);
}

static void test_close_in_callback(void **state) {
    write_process();
    write_output("P1", 60 * US_PER_MIN);
    to_close = world_open(NULL);
    struct answer first = {0}, second = {0};
    credentials_get(to_close, close_provider, &first);
    credentials_get(to_close, answer_take, &second);
    uv_run(&world.loop, UV_RUN_DEFAULT);
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
    answer_take(&again->answer, keys, err);
    if (++again->rounds < 3)
        credentials_get(again->provider, ask_again, again);
}

static void test_ask_in_callback(void **state) {
    write_process(); /* there is nothing to print: each answer is a failure */
    struct again again = {.provider = world_open(NULL)};
    credentials_get(again.provider, ask_again, &again);
    uv_run(&world.loop, UV_RUN_DEFAULT);
    assert_int_equal(again.rounds, 3);
    assert_int_equal(runs(), 1);
    credentials_close(again.provider);
}

static void test_no_memory(void **state) {
    write_process();
    write_output("P1", 60 * US_PER_MIN);
    world_set("AWS_REGION", "r-1");
    world_set("AWS_ENDPOINT_URL", "http://e");
    int failures = 0;
    for (uint64_t n = 1;; n++) {
        struct credentials_provider *provider = NULL;
        struct aws_settings settings = {0};
        struct answer answer = {0};
        struct err err = {0};
        mem_fail_at(n, 0);
        int r = aws_settings_read(&world_env, NULL, &settings, &err);
        if (r >= 0)
            r = credentials_open(&world.loop, &world_env, NULL, &world_clock, &provider, &err);
        if (r >= 0) {
            credentials_get(provider, answer_take, &answer);
            uv_run(&world.loop, UV_RUN_DEFAULT); /* the thread's allocations count too, one at a time */
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

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_file_written_again), WORLD_TEST(test_process),      WORLD_TEST(test_process_renews),
        WORLD_TEST(test_process_refused),    WORLD_TEST(test_process_slow), WORLD_TEST(test_close_in_callback),
        WORLD_TEST(test_ask_in_callback),    WORLD_TEST(test_no_memory),
    };
    return cmocka_run_group_tests_name("s3/credentials_renewed", tests, NULL, NULL);
}
