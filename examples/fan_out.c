/* fan_out.c - fan out and gather: one run spawns a hundred others, each counts the primes of a range, and the first
 * sums up what they found. Kill it at any moment and start it again: it goes on with what is left.
 *
 *     cc fan_out.c $(pkg-config --cflags --libs froe jansson) -o fan_out
 *     ./fan_out 10000000
 */
#include <froe.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS = 100 };

/* A whole number in the run's input. */
static long input_number(const froe_task *task, const char *name) {
    json_t *input = json_loads(froe_task_input(task), 0, NULL);
    long number = (long)json_integer_value(json_object_get(input, name));
    json_decref(input);
    return number;
}

/* ---- count_part: one range ---- */

static int is_prime(long n) {
    for (long divisor = 2; divisor * divisor <= n; divisor++)
        if (n % divisor == 0)
            return 0;
    return n > 1;
}

static void count_part(froe_task *task, void *arg) {
    long from = input_number(task, "from"), to = input_number(task, "to"), count = 0;
    for (long n = from; n < to; n++)
        count += is_prime(n);
    printf("%ld primes from %ld to %ld\n", count, from, to - 1);

    char result[32];
    snprintf(result, sizeof result, "%ld", count);
    if (froe_task_succeed_with(task, result) != FROE_OK)
        froe_task_fail(task, 0, "out of memory");
}

/* ---- count_all: spawns the parts, waits, sums ---- */

/* Spawns the parts. Of one that is at work since before a crash no second run is made: its id is told. */
static int spawn_parts(froe_task *task, froe_run_id runs[PARTS], froe_error *error) {
    char keys[PARTS][8], inputs[PARTS][64];
    froe_item items[PARTS] = {{0}};
    long below = input_number(task, "below");
    for (int part = 0; part < PARTS; part++) {
        snprintf(inputs[part], sizeof inputs[part], "{\"from\": %ld, \"to\": %ld}", below * part / PARTS,
                 below * (part + 1) / PARTS);
        items[part].input = inputs[part];
        /* While a run with this child key lives no other is made. */
        items[part].child_key = keys[part];
        items[part].child_key_n = (size_t)snprintf(keys[part], sizeof keys[part], "%d", part);
    }
    froe_spawn spawn = {.size = sizeof spawn, .workflow = "count_part", .parent = task, .items = items, .n = PARTS};
    froe_spawned spawned;
    return froe_spawn_sync(froe_task_engine(task), &spawn, &spawned, runs, error);
}

static void sum_parts(froe_task *task, const froe_run_id runs[PARTS]) {
    froe *engine = froe_task_engine(task);
    froe_result *results;
    froe_error error;
    printf("waiting for %d parts\n", PARTS);
    if (froe_wait_sync(engine, task, runs, PARTS, 0, &results, &error) != FROE_OK) {
        froe_task_fail(task, 0, error.text); /* this program is ending; the next start goes on from the checkpoint */
        return;
    }
    long sum = 0;
    int failed = 0;
    for (int i = 0; i < PARTS; i++)
        if (results[i].state == FROE_SUCCEEDED)
            sum += strtol(results[i].result, NULL, 10);
        else
            failed++;
    froe_results_free(results);
    if (failed > 0) {
        froe_task_fail(task, FROE_FAIL_FINAL, "a part was not counted");
    } else {
        printf("%ld primes in all\n", sum);
        froe_task_succeed(task);
    }
    froe_stop(engine, FROE_STOP_FINISH, NULL, NULL); /* froe_main returns */
}

static void count_all(froe_task *task, void *arg) {
    froe_run_id runs[PARTS];
    froe_error error;
    size_t checkpoint_n;
    const void *checkpoint = froe_task_checkpoint(task, &checkpoint_n);
    if (checkpoint_n == sizeof runs) {
        memcpy(runs, checkpoint, sizeof runs);
        sum_parts(task, runs);
        return;
    }
    /* With the checkpoint on disk the next attempt knows its children, also those that have finished by then. */
    if (spawn_parts(task, runs, &error) != FROE_OK ||
        froe_task_set_checkpoint_sync(task, runs, sizeof runs, &error) != FROE_OK)
        froe_task_fail(task, 0, error.text);
    else
        sum_parts(task, runs);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line is seen at once, through a pipe too */
    froe *engine;
    froe_error error;
    froe_options options = {.size = sizeof options, .store = "sqlite:fan_out.db", .slots = 4};
    /* Who waits for children holds a slot. One at a time leaves the other three to the children. */
    froe_rule rule = {.expression = "'one at a time'", .max_runs = 1, .strategy = FROE_GROUP_ROUND_ROBIN};
    froe_workflow all = {.size = sizeof all, .name = "count_all", .run = count_all, .rules = &rule, .n_rules = 1};
    froe_workflow part = {.size = sizeof part, .name = "count_part", .run = count_part};
    part.flags = all.flags = FROE_BLOCKING | FROE_NEVER_PARK;
    part.retries = all.retries = 3;

    char input[64];
    snprintf(input, sizeof input, "{\"below\": %ld}", argc > 1 ? strtol(argv[1], NULL, 10) : 10000000);
    froe_item item = {.child_key = "all", .child_key_n = 3, .input = input};
    froe_spawn spawn = {.size = sizeof spawn, .workflow = "count_all", .items = &item, .n = 1};
    froe_spawned spawned;
    if (froe_open(&options, &engine, &error) == FROE_OK && froe_workflow_add(engine, &part, &error) == FROE_OK &&
        froe_workflow_add(engine, &all, &error) == FROE_OK &&
        froe_spawn_sync(engine, &spawn, &spawned, NULL, &error) == FROE_OK) {
        if (spawned.duplicates > 0)
            printf("going on with what an earlier start began\n");
        if (froe_main(engine, &error) == FROE_OK)
            return 0;
    }
    fprintf(stderr, "fan_out: %s\n", error.text);
    return 1;
}
