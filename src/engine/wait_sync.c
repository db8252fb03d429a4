/* wait_sync.c - waiting for runs on a thread that can do nothing else meanwhile. */
#include "wait.h"

#include "mem.h"

struct sync {
    struct engine_wait engine_wait;
    struct wait_call call;
    struct wait *wait; /* the loop's; NULL: it was told */
    froe_result *results;
    froe_error error;
    int code;
};

static size_t size_of(const char *text) {
    return text ? strlen(text) + 1 : 0;
}

static const char *put(char **at, const char *text) {
    if (!text)
        return NULL;
    char *copy = *at;
    size_t n = strlen(text) + 1;
    memcpy(copy, text, n);
    *at += n;
    return copy;
}

static froe_result *copy_results(const froe_result *results, size_t n) {
    size_t size = n * sizeof *results;
    for (size_t i = 0; i < n; i++)
        size += size_of(results[i].result) + size_of(results[i].error);
    froe_result *copies = mem_alloc(size);
    if (!copies)
        return NULL;
    char *at = (char *)(copies + n);
    for (size_t i = 0; i < n; i++) {
        copies[i] = results[i];
        copies[i].result = put(&at, results[i].result);
        copies[i].error = put(&at, results[i].error);
    }
    return copies;
}

static void told(void *arg, const froe_result *results, size_t n, const froe_error *error) {
    struct sync *sync = arg;
    sync->wait = NULL;
    sync->code = error ? error->code : FROE_OK;
    if (error)
        sync->error = *error;
    sync->results = copy_results(results, n);
    if (!sync->results)
        sync->code = engine_error(&sync->error, FROE_ERR_MEMORY, "out of memory");
    engine_wait_signal(&sync->engine_wait);
}

static int begin(void *arg) {
    struct sync *sync = arg;
    return wait_begin(sync->call.engine, &sync->call, &sync->wait);
}

static int give_up(void *arg) {
    struct sync *sync = arg;
    if (sync->wait)
        wait_give_up(sync->call.engine, sync->wait);
    return FROE_OK;
}

int froe_wait_sync(froe *engine, froe_task *task, const froe_run_id *runs, size_t n, int64_t timeout_us,
                   froe_result **ret_results, froe_error *error) {
    struct sync sync = {.call = {engine, error, runs, n, timeout_us, told, &sync}};
    int r = engine_wait_begin(&sync.engine_wait, engine, task, error);
    if (r != FROE_OK)
        return r;
    r = engine_call_or(engine, begin, &sync, error);
    bool cancelled = false;
    if (r == FROE_OK) {
        cancelled = engine_wait_for(&sync.engine_wait) == -ECANCELED;
        if (cancelled)
            engine_call(engine, give_up, &sync);
        r = sync.code;
    }
    engine_wait_end(&sync.engine_wait);
    if (sync.results)
        *ret_results = sync.results;
    if (r != FROE_OK && sync.results && error) {
        *error = sync.error;
        if (cancelled && r == FROE_ERR_STATE)
            engine_error(error, r, "the task was cancelled while it waited");
    }
    return r;
}

void froe_results_free(froe_result *results) {
    mem_free(results);
}
