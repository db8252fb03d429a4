/* ask.c - asks the froe that runs on a store, or opens the store when none does. */
#include "commands.h"
#include "control.h"

#include <sys/stat.h>
#include <unistd.h>

struct asking {
    json_t *answer;
    bool answered;
    froe *engine;
};

static void answered(void *arg, json_t *answer) {
    struct asking *asking = arg;
    asking->answer = answer;
    asking->answered = true;
}

static void closed(void *arg) {
    ((struct asking *)arg)->engine = NULL;
}

/* An exit code, or STORE_BUSY with a text. */
#define STORE_BUSY (-1)
static int ask_store(const struct options *options, json_t *request, json_t **ret_answer, froe_error *ret_busy) {
    struct stat st;
    if (stat(options_store_path(options), &st) < 0 && errno == ENOENT) {
        struct err err;
        err_set(&err, -ENOENT, "%s does not exist: no froe has run with this store", options_store_path(options));
        return command_fail(EXIT_STORE, err.text);
    }
    uv_loop_t loop;
    if (uv_loop_init(&loop) < 0)
        return command_fail(EXIT_INTERNAL, "no event loop");
    const froe_options opening = {.size = sizeof opening, .store = options->store, .loop = &loop, .lock_wait_us = -1};
    struct asking asking = {0};
    froe_error error = {0};
    int r = froe_open(&opening, &asking.engine, &error);
    if (r == FROE_OK) {
        struct admin admin = {.engine = asking.engine, .store = options->store};
        admin_ask(&admin, request, answered, &asking);
        while (!asking.answered && uv_run(&loop, UV_RUN_ONCE))
            ;
        froe_close(asking.engine, closed, &asking);
        uv_run(&loop, UV_RUN_DEFAULT);
    }
    uv_loop_close(&loop);
    if (r == FROE_ERR_BUSY) {
        *ret_busy = error;
        return STORE_BUSY;
    }
    if (r != FROE_OK)
        return command_fail(r == FROE_ERR_MEMORY ? EXIT_INTERNAL : EXIT_STORE, error.text);
    if (!asking.answer)
        return command_fail(EXIT_INTERNAL, "out of memory");
    *ret_answer = asking.answer;
    return 0;
}

/* A froe that is just starting or ending has the store, but no socket: soon one of the two changes. */
#define ASK_AGAIN_US (20 * US_PER_MS)
#define ASK_GIVE_UP_US (5 * US_PER_S)

int command_ask(const struct options *options, struct json_t *request, struct json_t **ret_answer) {
    struct err err = {0};
    froe_error busy = {0};
    json_t *answer = NULL;
    int64_t give_up = clock_mono_us(&clock_system) + ASK_GIVE_UP_US;
    int r;
    for (;;) {
        r = control_call(options_store_path(options), request, &answer, &err);
        if (r == -ECONNREFUSED)
            r = ask_store(options, request, &answer, &busy);
        else if (r < 0)
            r = command_fail(EXIT_STORE, err.text);
        if (r != STORE_BUSY)
            break;
        if (clock_mono_us(&clock_system) > give_up)
            return command_fail(EXIT_STORE, busy.text);
        usleep(ASK_AGAIN_US);
    }
    if (r != 0)
        return r;
    const char *failure = json_string_value(json_object_get(answer, "error"));
    if (failure) {
        r = command_fail(EXIT_STORE, failure);
        json_decref(answer);
        return r;
    }
    *ret_answer = answer;
    return 0;
}
