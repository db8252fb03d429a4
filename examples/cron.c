/* cron.c - a workflow that runs by the clock, in a time zone: here, each day at half past six in the morning in Berlin,
 * summer and winter. A tick fires once, however many programs share the store, and also when this one is restarted.
 *
 *     cc cron.c $(pkg-config --cflags --libs froe) -o cron
 *     ./cron '30 6 * * *' Europe/Berlin
 *     ./cron '* * * * * *' UTC 3
 *
 * The last one has a field for seconds in front, and ends after three ticks. */
#include <froe.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Not FROE_BLOCKING: it is called on the engine's own thread and returns at once. Work that takes longer is begun here
 * and ended later, from any thread. */
static void tick(froe_task *task, void *arg) {
    long *to_go = arg;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now); /* time() lags behind by some milliseconds */
    char text[32];
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", gmtime(&now.tv_sec));
    printf("%s UTC: run %s\n", text, froe_task_run_id(task));

    froe *engine = froe_task_engine(task);
    froe_task_succeed(task);
    if (*to_go > 0 && --*to_go == 0)
        froe_stop(engine, FROE_STOP_FINISH, NULL, NULL); /* froe_main returns */
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line is seen at once, through a pipe too */
    long to_go = argc > 3 ? strtol(argv[3], NULL, 10) : 0;
    froe *engine;
    froe_error error;
    froe_options options = {.size = sizeof options, .store = "sqlite:cron.db"};
    froe_workflow workflow = {
        .size = sizeof workflow,
        .name = "tick",
        .run = tick,
        .arg = &to_go,
        .cron = argc > 1 ? argv[1] : "30 6 * * *",
        .timezone = argc > 2 ? argv[2] : "Europe/Berlin",
        .flags = FROE_CATCH_UP, /* if nothing ran at half past six, it runs once when this is started */
    };
    if (froe_open(&options, &engine, &error) != FROE_OK || froe_workflow_add(engine, &workflow, &error) != FROE_OK ||
        froe_main(engine, &error) != FROE_OK) {
        fprintf(stderr, "cron: %s\n", error.text);
        return 1;
    }
    return 0;
}
