/* hello.c - one workflow, one run, its result.
 *
 *     cc hello.c $(pkg-config --cflags --libs froe) -o hello
 *     ./hello '{"name": "World"}'
 */
#include <froe.h>
#include <stdio.h>
#include <stdlib.h>

static void fail(const froe_error *error) {
    fprintf(stderr, "hello: %s\n", error->text);
    exit(1);
}

/* Does the work of one run. It may take its time and block: FROE_BLOCKING workflows have threads of their own. */
static void greet(froe_task *task, void *arg) {
    froe_task_log(task, FROE_INFO, "greeting, attempt %u", (unsigned)froe_task_attempt(task));

    /* What comes in and goes out is JSON text; read and write it with any library you like. */
    char result[1000];
    snprintf(result, sizeof result, "{\"hello\": %s}", froe_task_input(task));
    if (froe_task_succeed_with(task, result) != FROE_OK)
        froe_task_fail(task, FROE_FAIL_FINAL, "the greeting does not fit");
}

static void print_event(void *arg, const froe_event *event) {
    printf("%s %s: %s\n", event->workflow, event->run_id, event->text);
}

int main(int argc, char **argv) {
    froe *engine;
    froe_error error;

    /* One file keeps everything. Give it a postgres:// address instead, and any number of hosts share the work. */
    froe_options options = {.size = sizeof options, .store = "sqlite:hello.db", .event = print_event};
    if (froe_open(&options, &engine, &error) != FROE_OK)
        fail(&error);

    froe_workflow workflow = {.size = sizeof workflow, .name = "greet", .run = greet, .flags = FROE_BLOCKING};
    if (froe_workflow_add(engine, &workflow, &error) != FROE_OK)
        fail(&error);
    if (froe_start(engine, &error) != FROE_OK)
        fail(&error);

    /* When this has returned the run is on disk: whatever happens now, it will be run. */
    froe_spawn spawn = {
        .size = sizeof spawn, .workflow = "greet", .input = argc > 1 ? argv[1] : "{\"name\": \"World\"}", .n = 1};
    froe_spawned spawned;
    froe_run_id id;
    if (froe_spawn_sync(engine, &spawn, &spawned, &id, &error) != FROE_OK)
        fail(&error);

    froe_result *results;
    if (froe_wait_sync(engine, NULL, &id, 1, 0, &results, &error) != FROE_OK)
        fail(&error);
    int succeeded = results[0].state == FROE_SUCCEEDED;
    printf("%s\n", succeeded ? results[0].result : results[0].error);
    froe_results_free(results);

    froe_close(engine, NULL, NULL);
    return succeeded ? 0 : 1;
}
