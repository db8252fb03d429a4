/* credentials_world.h - the world of the tests of credentials.h: a folder of its own, an environment of its own, a
 * clock that the test moves, and what an answer held. */
#pragma once

#include "clock.h"
#include "credentials.h"

#define CREDENTIALS_WORLD_VARIABLES 16

extern struct world {
    char home[64]; /* the folder, HOME */
    struct {
        const char *name;
        char value[512];
    } variables[CREDENTIALS_WORLD_VARIABLES];
    size_t n_variables; /* the first is HOME */
    int64_t utc_us, mono_us;
    uv_loop_t loop;
} world;

extern const struct env world_env;
extern const struct clock world_clock;

int world_setup(void **state);
int world_teardown(void **state); /* nothing is left on the loop, nor of the folder */
#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

void world_set(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
void world_pass(int64_t us);
void world_write_file(const char *name, const char *text); /* name: below home */
#define world_write_credentials(text) world_write_file(".aws/credentials", text)
#define world_write_config(text) world_write_file(".aws/config", text)
struct credentials_provider *world_open(const char *profile); /* which must open */

struct answer {
    int calls;
    bool keys;
    char id[256], secret[512], token[64];
    uint64_t generation;
    struct err err;
};

void answer_take(void *arg, const struct credentials *keys, const struct err *err); /* arg: struct answer */
/* At once: keys that are there are given from inside the call. */
struct answer answer_now(struct credentials_provider *provider);
struct answer answer_later(struct credentials_provider *provider); /* after some turns of the loop, not before */
