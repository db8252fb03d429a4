/* test_plan.c - which handlers a plan makes of options and rules: those that are to keep results do, and share one
 * budget. */
#include "plan.h"

#include "config_rules.h"
#include "mem.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
    uv_loop_t loop;
    struct spawner *spawner;
    struct options options;
    struct plans plans;
    char path[32];
    bool closed;
};

static void on_closed(void *arg) {
    *(bool *)arg = true;
}

static void run_until(struct world *world, const bool *flag) {
    while (!*flag)
        uv_run(&world->loop, UV_RUN_ONCE);
}

static int up(void **state) {
    struct world *world = calloc(1, sizeof *world);
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(uv_loop_init(&world->loop), 0);
    struct err err = {0};
    assert_int_equal(spawner_new(&world->loop, -1, NULL, &world->spawner, &err), 0);
    world->plans = (struct plans){.loop = &world->loop, .spawner = world->spawner};
    strcpy(world->path, "/tmp/test_plan.XXXXXX");
    int fd = mkstemp(world->path);
    *state = world;
    return fd < 0 ? -1 : close(fd);
}

static int down(void **state) {
    struct world *world = *state;
    plans_close(&world->plans, on_closed, &world->closed);
    run_until(world, &world->closed);
    world->closed = false;
    spawner_close(world->spawner, on_closed, &world->closed);
    run_until(world, &world->closed);
    uv_run(&world->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    options_free(&world->options);
    unlink(world->path);
    free(world);
    return 0;
}

static void read_config(struct world *world, const char *text) {
    FILE *file = fopen(world->path, "we");
    assert_true(file && fputs(text, file) >= 0 && fclose(file) == 0);
    static char words[3][16] = {"froe", "run", "--config"};
    char *argv[] = {words[0], words[1], words[2], world->path, NULL};
    struct err err = {0};
    if (options_parse(4, argv, &world->options, &err) < 0)
        fail_msg("%s", err.text);
}

static void open_plans(struct world *world) {
    struct err err = {0};
    if (plans_open(&world->plans, &world->options, &err) < 0)
        fail_msg("%s", err.text);
}

struct outcome {
    bool done;
    enum handler_end end;
    size_t n_parts, n;
    uint64_t budget_used;
    struct world *world;
    char bytes[64], text[512];
};

static void on_done(void *arg, const struct handler_result *result) {
    struct outcome *outcome = arg;
    outcome->done = true;
    outcome->end = result->end;
    outcome->n_parts = result->n_parts;
    outcome->budget_used = outcome->world->plans.budget.used_bytes;
    snprintf(outcome->text, sizeof outcome->text, "%s", result->text);
    if (result->n_parts)
        outcome->n = (size_t)spool_read(result->parts[0].body, 0, outcome->bytes, sizeof outcome->bytes);
}

static void on_room(void *arg) {
}

/* One object through the handler of that number: those of the rules, then the general one. */
static struct outcome handle(struct world *world, size_t i, const char *body) {
    struct outcome outcome = {.world = world};
    const struct handler_events events = {.room = on_room, .done = on_done};
    const struct handler_object object = {
        .bucket = BYTES("b"), .key = BYTES("k"), .etag = BYTES("e"), .size = strlen(body), .attempt = 1, .run_id = "1"};
    struct handler_job *job;
    struct err err = {0};
    struct handler *handler = i < world->plans.now->pipeline.n_rules ? world->plans.now->ways[i].handler
                                                                     : world->plans.now->pipeline.way.handler;
    assert_non_null(handler);
    if (handler_start(handler, &object, &events, &outcome, &job, &err) < 0)
        fail_msg("%s", err.text);
    handler_write(job, bytes_str(body));
    handler_finish(job);
    run_until(world, &outcome.done);
    return outcome;
}

static void gives(struct world *world, size_t i, const char *body, const char *result) {
    struct outcome outcome = handle(world, i, body);
    if (outcome.end != HANDLER_OK)
        fail_msg("%s", outcome.text);
    assert_int_equal(outcome.n_parts, 1);
    assert_int_equal(outcome.n, strlen(result));
    assert_memory_equal(outcome.bytes, result, outcome.n);
    assert_int_equal(outcome.budget_used, 4096);
    assert_int_equal(world->plans.budget.used_bytes, 0);
}

#define WORKER                                                                    \
    "sh, -c, 'while read -r line; do printf "                                     \
    "\"{\\\"id\\\":%s,\\\"status\\\":\\\"ok\\\",\\\"result_bytes\\\":3}\\nabc\" " \
    "\"$(expr \"$line\" : \"{.id.:\\([0-9]*\\)\")\"; done'"

static void test_results(void **state) {
    struct world *world = *state;
    read_config(world, "memory: 1MiB\n"
                       "program: [tr, a-z, A-Z]\n"
                       "rules:\n"
                       "  - handler: {program: [tr, a, b]}\n"
                       "  - handler: {pool: [" WORKER "]}\n"
                       "  - retries: 1\n"
                       "  - retries: 2\n"
                       "  - handler: {pool: [" WORKER "]}\n"
                       "  - handler: discard\n");
    static const bool keep[] = {true, true, true, false, false, true};
    for (size_t i = 0; i < 6; i++)
        world->options.rules->rules[i].keeps_results = keep[i];
    open_plans(world);
    assert_int_equal(world->plans.budget.max_bytes, 1 << 20);
    gives(world, 0, "abc", "bbc");
    gives(world, 1, "", "abc");
    gives(world, 2, "abc", "ABC"); /* one like the general one, which keeps none */
    assert_ptr_equal(world->plans.now->ways[3].handler, world->plans.now->pipeline.way.handler);
    assert_ptr_not_equal(world->plans.now->ways[2].handler, world->plans.now->pipeline.way.handler);
    struct outcome outcome = handle(world, 4, "");
    assert_int_equal(outcome.end, HANDLER_FAILED);
    assert_non_null(strstr(outcome.text, "nowhere for it to go"));
    outcome = handle(world, 5, "abc");
    assert_true(outcome.end == HANDLER_OK && outcome.n_parts == 0);
}

static void test_without_rules(void **state) {
    struct world *world = *state;
    read_config(world, "program: [sh, -c, 'cat >/dev/null']\n");
    open_plans(world);
    assert_int_equal(world->plans.budget.max_bytes, 512 << 20);
    struct outcome outcome = handle(world, 0, "abc");
    assert_true(outcome.end == HANDLER_OK && outcome.n_parts == 0);
}

int main(int argc, char **argv) {
    spawner_main_if_asked(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_results, up, down),
        cmocka_unit_test_setup_teardown(test_without_rules, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
