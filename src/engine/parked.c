/* parked.c - looking at parked runs, queueing them again, forgetting them. */
#include "engine.h"

#include "cleanup.h"
#include "mem.h"

#define LIST_DEFAULT 1000
#define LIST_MAX 10000

struct parked_request {
    struct request request;
    struct store_parked_filter filter;
    struct buf filter_text; /* the filter's views point into it */
    void (*each)(void *arg, const froe_parked *parked);
    void (*done)(void *arg, uint64_t count, const froe_error *error);
    void *arg;
    uint64_t count;
    struct buf found; /* a struct store_parked, then its texts in the order of texts_of, each with a NUL; and so on */
    struct snapshot *snapshot;
};

static void parked_free(struct parked_request *parked) {
    buf_free(&parked->filter_text);
    buf_free(&parked->found);
    snapshot_free(parked->snapshot);
    mem_free(parked);
}

/* ---- list ---- */

static size_t texts_of(struct store_parked *parked, struct bytes *texts[5]) {
    texts[0] = &parked->workflow_name;
    texts[1] = &parked->group;
    texts[2] = &parked->error;
    texts[3] = &parked->child_key;
    texts[4] = &parked->generation;
    return 5;
}

static int keep(void *arg, const struct store_parked *given) {
    struct parked_request *parked = arg;
    struct store_parked copy = *given;
    struct bytes *texts[5];
    size_t n = texts_of(&copy, texts), size = sizeof copy;
    for (size_t i = 0; i < n; i++)
        size += texts[i]->n + 1;
    int r = buf_reserve(&parked->found, size);
    if (r < 0)
        return r;
    r = buf_add(&parked->found, &copy, sizeof copy);
    for (size_t i = 0; i < n && r == 0; i++) {
        r = buf_add_bytes(&parked->found, *texts[i]);
        if (r == 0)
            r = buf_add_byte(&parked->found, '\0');
    }
    parked->count++;
    return r;
}

static int execute_list(struct request *request, struct store *store, struct err *err) {
    struct parked_request *parked = (struct parked_request *)(void *)request;
    buf_reset(&parked->found);
    parked->count = 0;
    int r = store_parked_each(store, &parked->filter, keep, parked, err);
    return r == -ENOMEM ? err_set(err, r, "out of memory") : r;
}

static void tell_each(const struct parked_request *parked) {
    for (size_t at = 0; at < parked->found.n;) {
        struct store_parked copy;
        memcpy(&copy, parked->found.p + at, sizeof copy);
        at += sizeof copy;
        struct bytes *texts[5];
        size_t n = texts_of(&copy, texts);
        for (size_t i = 0; i < n; i++) {
            texts[i]->p = parked->found.p + at;
            at += texts[i]->n + 1;
        }
        char run_id[FROE_RUN_ID_MAX];
        froe_run_id_text((froe_run_id){copy.page, copy.index}, run_id);
        froe_parked told = {
            .run_id = run_id,
            .workflow = copy.workflow_name.p,
            .group = copy.group.p,
            .error = copy.error.p,
            .child_key = copy.child_key.n ? copy.child_key.p : NULL,
            .child_key_n = copy.child_key.n,
            .generation = copy.generation.n ? copy.generation.p : NULL,
            .generation_n = copy.generation.n,
            .attempts = copy.attempts,
            .parked_utc_us = copy.parked_utc_us,
        };
        parked->each(parked->arg, &told);
    }
}

/* ---- retry and drop ---- */

static int take_numbers(struct parked_request *parked, struct store *store, struct err *err) {
    snapshot_free(parked->snapshot);
    parked->snapshot = NULL;
    return snapshot_take(store, &parked->snapshot, err);
}

static int execute_retry(struct request *request, struct store *store, struct err *err) {
    struct parked_request *parked = (struct parked_request *)(void *)request;
    int r = store_parked_retry(store, &parked->filter, &parked->count, err);
    return r < 0 ? r : take_numbers(parked, store, err);
}

static int execute_drop(struct request *request, struct store *store, struct err *err) {
    struct parked_request *parked = (struct parked_request *)(void *)request;
    int r = store_parked_drop(store, &parked->filter, &parked->count, err);
    return r < 0 ? r : take_numbers(parked, store, err);
}

static void finish(struct request *request, struct froe *engine) {
    struct parked_request *parked = (struct parked_request *)(void *)request;
    froe_error error, *failed = NULL;
    if (request->r == 0 && parked->snapshot && snapshot_apply(engine, parked->snapshot) < 0)
        engine_fail(engine, &(struct err){.code = -ENOMEM, .text = "out of memory"});
    if (request->r < 0) {
        engine_error_from(&error, &request->err);
        failed = &error;
    } else if (parked->each) {
        tell_each(parked);
    }
    if (parked->done)
        parked->done(parked->arg, failed ? 0 : parked->count, failed);
    parked_free(parked);
}

static int make(froe *engine, const froe_parked_filter *filter, struct parked_request **ret_parked, froe_error *error) {
    static const froe_parked_filter any = {.size = sizeof any};
    if (!filter)
        filter = &any;
    if (filter->size != sizeof *filter)
        return engine_error(error, FROE_ERR_INVALID, "the filter's size is not that of this version");
    struct bytes workflow = bytes_str(filter->workflow), group = bytes_str(filter->group);
    struct bytes child_key = bytes_of(filter->child_key, filter->child_key ? filter->child_key_n : 0);
    if (workflow.n > FROE_NAME_MAX || group.n > FROE_KEY_MAX || child_key.n > FROE_CHILD_KEY_MAX)
        return engine_error(error, FROE_ERR_INVALID, "the filter's workflow, group or child key is too long");
    if (engine->closing)
        return engine_error(error, FROE_ERR_STATE, "the engine is closing");
    if (engine->failed)
        return engine_error_from(error, &engine->failure);
    struct parked_request *parked = mem_zalloc(sizeof *parked);
    if (!parked)
        return engine_error(error, FROE_ERR_MEMORY, "out of memory");
    struct store_parked_filter *to = &parked->filter;
    froe_run_id after = {0};
    if (filter->after && froe_run_id_parse(filter->after, &after) < 0) {
        parked_free(parked);
        return engine_error(error, FROE_ERR_INVALID, "\"%.40s\" is not a run id", filter->after);
    }
    to->after_page = after.page;
    to->after_index = after.index;
    if (buf_reserve(&parked->filter_text, workflow.n + group.n + child_key.n + 1) < 0) {
        parked_free(parked);
        return engine_error(error, FROE_ERR_MEMORY, "out of memory");
    }
    struct bytes from[] = {workflow, group, child_key}, *views[] = {&to->workflow, &to->group, &to->child_key};
    for (size_t i = 0; i < 3; i++) {
        *views[i] = bytes_of(parked->filter_text.p + parked->filter_text.n, from[i].n);
        buf_add_bytes(&parked->filter_text, from[i]);
    }
    to->limit = filter->limit == 0 ? LIST_DEFAULT : filter->limit > LIST_MAX ? LIST_MAX : filter->limit;
    parked->request.finish = finish;
    *ret_parked = parked;
    return FROE_OK;
}

enum what { LIST, RETRY, DROP };

struct parked_call {
    froe *engine;
    const froe_parked_filter *filter;
    enum what what;
    void (*each)(void *arg, const froe_parked *parked);
    void (*done)(void *arg, uint64_t count, const froe_error *error);
    void *arg;
    froe_error *error;
};

static int submit(void *arg) {
    const struct parked_call *call = arg;
    froe *engine = call->engine;
    struct parked_request *parked;
    int r = make(engine, call->filter, &parked, call->error);
    if (r != FROE_OK)
        return r;
    static int (*const executes[])(struct request * request, struct store * store, struct err * err) = {
        [LIST] = execute_list, [RETRY] = execute_retry, [DROP] = execute_drop};
    parked->request.execute = executes[call->what];
    parked->each = call->each;
    parked->done = call->done;
    parked->arg = call->arg;
    settle_flush(engine);
    engine_submit(engine, &parked->request);
    if (call->what == RETRY)
        claims_stir(engine, NULL);
    return FROE_OK;
}

int froe_parked_list(froe *engine, const froe_parked_filter *filter, void (*each)(void *arg, const froe_parked *parked),
                     void (*done)(void *arg, uint64_t count, const froe_error *error), void *arg, froe_error *error) {
    struct parked_call call = {engine, filter, LIST, each, done, arg, error};
    return engine_call_or(engine, submit, &call, error);
}

int froe_parked_retry(froe *engine, const froe_parked_filter *filter,
                      void (*done)(void *arg, uint64_t count, const froe_error *error), void *arg, froe_error *error) {
    struct parked_call call = {engine, filter, RETRY, NULL, done, arg, error};
    return engine_call_or(engine, submit, &call, error);
}

int froe_parked_drop(froe *engine, const froe_parked_filter *filter,
                     void (*done)(void *arg, uint64_t count, const froe_error *error), void *arg, froe_error *error) {
    struct parked_call call = {engine, filter, DROP, NULL, done, arg, error};
    return engine_call_or(engine, submit, &call, error);
}
