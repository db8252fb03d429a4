/* own_loop.c - for programs without a libuv loop: the engine's own, and froe_main, which runs it. */
#include "engine.h"

#include <signal.h>

void own_loop_run(froe *engine, const bool *until) {
    engine->loop_running = true;
    while (!*until && !engine->handles_closed)
        uv_run(engine->loop, UV_RUN_ONCE);
    engine->loop_running = false;
}

void own_loop_close(froe *engine) {
    static const bool never = false;
    own_loop_run(engine, &never);
    uv_run(engine->loop, UV_RUN_DEFAULT); /* what else is closing */
    uv_loop_close(engine->loop);
}

/* ---- froe_main ---- */

struct main_signal {
    uv_signal_t handle;
    struct sigaction before;
    bool taken;
};

static const int signums[] = {SIGINT, SIGTERM};
#define SIGNALS (sizeof signums / sizeof signums[0])

static void on_signal(uv_signal_t *handle, int signum) {
    froe *engine = handle->data;
    worker_stop(engine, engine->stopping ? FROE_STOP_NOW : FROE_STOP_FINISH);
}

static void take_signals(froe *engine, struct main_signal *signals) {
    for (size_t i = 0; i < SIGNALS; i++) {
        struct main_signal *at = &signals[i];
        sigaction(signums[i], NULL, &at->before);
        /* Who started this in the background of a script does not want it to hear the terminal's Ctrl-C. */
        if (at->before.sa_handler == SIG_IGN || uv_signal_init(engine->loop, &at->handle) < 0)
            continue;
        at->handle.data = engine;
        at->taken = true;
        uv_signal_start(&at->handle, on_signal, signums[i]);
    }
}

static void give_signals_back(struct main_signal *signals) {
    /* libuv leaves the default action behind, which a signal in between must not meet. */
    sigset_t ours, mask;
    sigemptyset(&ours);
    for (size_t i = 0; i < SIGNALS; i++)
        sigaddset(&ours, signums[i]);
    pthread_sigmask(SIG_BLOCK, &ours, &mask);
    for (size_t i = 0; i < SIGNALS; i++) {
        if (!signals[i].taken)
            continue;
        uv_close((uv_handle_t *)&signals[i].handle, NULL);
        sigaction(signums[i], &signals[i].before, NULL);
    }
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

int froe_main(froe *engine, froe_error *error) {
    if (engine->loop != &engine->own_loop || !engine_on_loop(engine))
        return engine_error(error, FROE_ERR_STATE, "froe_main is for a loop of the engine's own, on its thread");
    if (engine->loop_running)
        return engine_error(error, FROE_ERR_STATE, "the engine's loop is running already");
    struct main_signal signals[SIGNALS] = {0};
    int r = engine->started ? FROE_OK : froe_start(engine, error);
    if (r == FROE_OK) {
        take_signals(engine, signals);
        own_loop_run(engine, &engine->over);
        if (engine->failed)
            r = engine_error_from(error, &engine->failure);
    }
    give_signals_back(signals);
    engine_close(engine);
    return r;
}
