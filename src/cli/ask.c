/* ask.c - see ask.h. */
#include "ask.h"

#include "commands.h"
#include "control.h"

#include "mem.h"

#include <sys/stat.h>
#include <unistd.h>

/* Who only looks must not make history shorter than those want who work. */
#define KEEP_ALL (INT64_MAX / 4)
#define ANSWER_WAIT_MS 120000

struct asker {
    const struct options *options;
    uv_loop_t loop;
    uv_timer_t timer;
    bool loop_open;
    froe *engine;
    json_t *answer;
    bool answered, timed_out;
    bool stuck; /* the store does not answer: nothing can be closed in order */
    char lost[FROE_ERROR_TEXT_MAX];
};

static void answered(void *arg, json_t *answer) {
    struct asker *asker = arg;
    asker->answer = answer;
    asker->answered = true;
}

static void closed(void *arg) {
    ((struct asker *)arg)->engine = NULL;
}

static void on_event(void *arg, const froe_event *event) {
    struct asker *asker = arg;
    if (event->kind == FROE_EVENT_STORE_LOST || event->kind == FROE_EVENT_STORE_FAILED)
        snprintf(asker->lost, sizeof asker->lost, "%s", event->text);
}

static void on_timer(uv_timer_t *timer) {
    ((struct asker *)timer->data)->timed_out = true;
}

struct asker *asker_new(const struct options *options) {
    struct asker *asker = mem_zalloc(sizeof *asker);
    if (!asker || uv_loop_init(&asker->loop) < 0) {
        mem_free(asker);
        command_fail(EXIT_INTERNAL, "no event loop");
        return NULL;
    }
    asker->options = options;
    uv_timer_init(&asker->loop, &asker->timer);
    asker->timer.data = asker;
    return asker;
}

static void close_engine(struct asker *asker) {
    if (!asker->engine || asker->stuck)
        return;
    froe_close(asker->engine, closed, asker);
    while (asker->engine && uv_run(&asker->loop, UV_RUN_ONCE))
        ;
}

void asker_rest(struct asker *asker) {
    if (options_store_path(asker->options))
        close_engine(asker);
}

void asker_free(struct asker *asker) {
    if (!asker)
        return;
    close_engine(asker);
    if (asker->stuck)
        return; /* the process is about to end */
    uv_close((uv_handle_t *)&asker->timer, NULL);
    uv_run(&asker->loop, UV_RUN_DEFAULT);
    uv_loop_close(&asker->loop);
    mem_free(asker);
}

/* ---- by opening the store ---- */

/* An exit code, or STORE_BUSY with a text. */
#define STORE_BUSY (-1)
static int open_engine(struct asker *asker, froe_error *ret_busy) {
    const char *path = options_store_path(asker->options);
    struct stat st;
    if (path && stat(path, &st) < 0 && errno == ENOENT) {
        struct err err;
        err_set(&err, -ENOENT, "%s does not exist: no froe has run with this store", path);
        return command_fail(EXIT_STORE, err.text);
    }
    const froe_options opening = {
        .size = sizeof opening,
        .store = asker->options->store,
        .loop = &asker->loop,
        .lock_wait_us = -1,
        .history_us = KEEP_ALL,
        .history_bytes = KEEP_ALL,
        .event = on_event,
        .event_arg = asker,
    };
    froe_error error = {0};
    int r = froe_open(&opening, &asker->engine, &error);
    if (r == FROE_OK)
        return 0;
    uv_run(&asker->loop, UV_RUN_NOWAIT); /* what the try left to close */
    if (r == FROE_ERR_BUSY) {
        *ret_busy = error;
        return STORE_BUSY;
    }
    return command_fail(r == FROE_ERR_MEMORY ? EXIT_INTERNAL : EXIT_STORE, error.text);
}

static int ask_engine(struct asker *asker, json_t *request, json_t **ret_answer) {
    struct admin admin = {
        .engine = asker->engine, .store = asker->options->store_shown, .shared = !options_store_path(asker->options)};
    asker->answered = asker->timed_out = false;
    asker->answer = NULL;
    uv_timer_start(&asker->timer, on_timer, ANSWER_WAIT_MS, 0);
    admin_ask(&admin, request, answered, asker);
    while (!asker->answered && !asker->timed_out)
        uv_run(&asker->loop, UV_RUN_ONCE);
    uv_timer_stop(&asker->timer);
    if (!asker->answered) {
        struct err err;
        asker->stuck = true;
        err_set(&err, -ETIMEDOUT, "%s does not answer%s%s", asker->options->store_shown, asker->lost[0] ? ": " : "",
                asker->lost);
        return command_fail(EXIT_STORE, err.text);
    }
    if (!asker->answer)
        return command_fail(EXIT_INTERNAL, "out of memory");
    *ret_answer = asker->answer;
    return 0;
}

/* ---- either way ---- */

/* A froe that is just starting or ending has the store, but no socket: soon one of the two changes. */
#define ASK_AGAIN_US (20 * US_PER_MS)
#define ASK_GIVE_UP_US (5 * US_PER_S)

static int ask_somebody(struct asker *asker, json_t *request, json_t **ret_answer) {
    const char *path = options_store_path(asker->options);
    int64_t give_up = clock_mono_us(&clock_system) + ASK_GIVE_UP_US;
    while (!asker->engine) {
        struct err err = {0};
        froe_error busy = {0};
        int r = path ? control_call(path, request, ret_answer, &err) : -ECONNREFUSED;
        if (r == 0)
            return 0;
        if (r != -ECONNREFUSED)
            return command_fail(EXIT_STORE, err.text);
        r = open_engine(asker, &busy);
        if (r != 0 && r != STORE_BUSY)
            return r;
        if (r == STORE_BUSY && clock_mono_us(&clock_system) > give_up)
            return command_fail(EXIT_STORE, busy.text);
        if (r == STORE_BUSY)
            usleep(ASK_AGAIN_US);
    }
    return ask_engine(asker, request, ret_answer);
}

int ask_any(struct asker *asker, json_t *request, json_t **ret_answer, int *ret_code) {
    json_t *answer = NULL;
    int r = ask_somebody(asker, request, &answer);
    if (r != 0)
        return r;
    *ret_code = (int)json_integer_value(json_object_get(answer, "code"));
    *ret_answer = answer;
    return 0;
}

int ask_failed(json_t *answer) {
    const char *text = json_string_value(json_object_get(answer, "error"));
    switch (json_integer_value(json_object_get(answer, "code"))) {
    case FROE_ERR_NOT_FOUND:
    case FROE_ERR_STATE:
    case FROE_ERR_MEMORY:
        return command_fail(EXIT_INTERNAL, text ? text : "it failed");
    case FROE_ERR_INVALID:
        return command_fail(EXIT_USAGE, text ? text : "it was refused");
    default:
        return command_fail(EXIT_STORE, text ? text : "the store failed");
    }
}

int ask(struct asker *asker, json_t *request, json_t **ret_answer) {
    json_t *answer = NULL;
    int code, r = ask_any(asker, request, &answer, &code);
    if (r != 0)
        return r;
    if (json_object_get(answer, "error")) {
        r = ask_failed(answer);
        json_decref(answer);
        return r;
    }
    *ret_answer = answer;
    return 0;
}

int command_ask(const struct options *options, struct json_t *request, struct json_t **ret_answer) {
    struct asker *asker = asker_new(options);
    int r = asker ? ask(asker, request, ret_answer) : EXIT_INTERNAL;
    asker_free(asker);
    return r;
}
