/* credentials_world.c - see credentials_world.h. */
#include "credentials_world.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct world world;

void world_set(const char *name, const char *format, ...) {
    assert_true(world.n_variables < CREDENTIALS_WORLD_VARIABLES);
    va_list args;
    va_start(args, format);
    world.variables[world.n_variables].name = name;
    vsnprintf(world.variables[world.n_variables++].value, sizeof world.variables[0].value, format, args);
    va_end(args);
}

static const char *get_variable(void *arg, const char *name) {
    const char *value = NULL;
    for (size_t i = 0; i < world.n_variables; i++)
        if (strcmp(world.variables[i].name, name) == 0)
            value = world.variables[i].value;
    return value;
}

const struct env world_env = {get_variable, NULL};

void world_write_file(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", world.home, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int64_t get_utc_us(void *arg) {
    return world.utc_us;
}

static int64_t get_mono_us(void *arg) {
    return world.mono_us;
}

const struct clock world_clock = {get_utc_us, get_mono_us, NULL};

void world_pass(int64_t us) {
    world.utc_us += us;
    world.mono_us += us;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *ftw) {
    return remove(path);
}

int world_setup(void **state) {
    world.n_variables = 0;
    strcpy(world.home, "/tmp/froe-test-XXXXXX");
    assert_non_null(mkdtemp(world.home));
    char path[256];
    snprintf(path, sizeof path, "%s/.aws", world.home);
    assert_int_equal(mkdir(path, 0700), 0);
    world_set("HOME", "%s", world.home);
    world.utc_us = clock_from_date_utc(&(struct clock_date){.year = 2026, .month = 1, .day = 2});
    world.mono_us = 1000 * US_PER_S;
    return uv_loop_init(&world.loop);
}

int world_teardown(void **state) {
    uv_run(&world.loop, UV_RUN_DEFAULT);
    int r = uv_loop_close(&world.loop);
    nftw(world.home, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return r;
}

static void take(char *out, size_t size, struct bytes text) {
    assert_true(text.n < size);
    if (text.n)
        memcpy(out, text.p, text.n);
    out[text.n] = '\0';
}

void answer_take(void *arg, const struct credentials *keys, const struct err *err) {
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

struct credentials_provider *world_open(const char *profile) {
    struct credentials_provider *provider;
    struct err err = {0};
    int r = credentials_open(&world.loop, &world_env, profile, &world_clock, &provider, &err);
    if (r != 0)
        fail_msg("%s", err.text);
    return provider;
}

struct answer answer_now(struct credentials_provider *provider) {
    struct answer answer = {0};
    credentials_get(provider, answer_take, &answer);
    assert_int_equal(answer.calls, 1);
    return answer;
}

struct answer answer_later(struct credentials_provider *provider) {
    struct answer answer = {0};
    credentials_get(provider, answer_take, &answer);
    assert_int_equal(answer.calls, 0);
    uv_run(&world.loop, UV_RUN_DEFAULT);
    assert_int_equal(answer.calls, 1);
    return answer;
}
