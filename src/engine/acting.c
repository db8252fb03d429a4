/* acting.c - changing one run: cancelling it, queueing it again, replaying it. */
#include "asking.h"

#include "cleanup.h"
#include "mem.h"

/* ---- cancel ---- */

typedef void cancelled_fn(void *arg, froe_state was, const froe_error *error);

struct cancel_request {
    struct request request;
    struct renumbering renumbering;
    froe_run_id id;
    enum store_state was;
    cancelled_fn *done;
    void *arg;
};

static int not_there(struct err *err, froe_run_id id) {
    return err_set(err, -ENOENT, "there is no run %jd:%u, or its history is over", (intmax_t)id.page, id.index);
}

static int execute_cancel(struct request *request, struct store *store, struct err *err) {
    struct cancel_request *cancel = (struct cancel_request *)(void *)request;
    int r = store_run_cancel(store, cancel->id.page, cancel->id.index, &cancel->was, err);
    return r == -ENOENT ? not_there(err, cancel->id) : r;
}

static void tell_cancelled(struct cancel_request *cancel, const froe_error *failed) {
    if (cancel->done)
        cancel->done(cancel->arg, failed ? FROE_UNKNOWN : (froe_state)cancel->was, failed);
    mem_free(cancel);
}

static void cancel_renumbered(struct renumbering *renumbering, froe *engine) {
    (void)engine;
    tell_cancelled(LIST_ENTRY(renumbering, struct cancel_request, renumbering), NULL);
}

/* If it is a run of this worker, a heartbeat tells. */
static void hear_of_it(froe *engine) {
    engine->heartbeat_at_mono_us = engine_mono_us(engine);
    engine->dirty = true;
}

static void finish_cancel(struct request *request, struct froe *engine) {
    struct cancel_request *cancel = (struct cancel_request *)(void *)request;
    froe_error storage;
    const froe_error *failed = asking_failed(request, &storage);
    if (!failed && cancel->was == STORE_STATE_LEASED)
        hear_of_it(engine);
    if (failed || cancel->was == STORE_STATE_LEASED || cancel->was >= STORE_STATE_DONE) {
        tell_cancelled(cancel, failed);
        return;
    }
    waits_look(engine, cancel->id);
    claims_stir(engine, NULL); /* it may have had a place that others wait for */
    cancel->renumbering.told = cancel_renumbered;
    numbers_renew(engine, &cancel->renumbering);
}

struct cancel_call {
    froe *engine;
    froe_error *error;
    froe_run_id id;
    cancelled_fn *done;
    void *arg;
};

static int call_cancel(void *args) {
    const struct cancel_call *call = args;
    int r = run_id_check(call->id, call->error);
    if (r == FROE_OK)
        r = asking_check(call->engine, call->error);
    if (r != FROE_OK)
        return r;
    struct cancel_request *cancel = mem_zalloc(sizeof *cancel);
    if (!cancel)
        return engine_error(call->error, FROE_ERR_MEMORY, "out of memory");
    cancel->id = call->id;
    cancel->done = call->done;
    cancel->arg = call->arg;
    cancel->request.execute = execute_cancel;
    cancel->request.finish = finish_cancel;
    settle_flush(call->engine);
    engine_submit(call->engine, &cancel->request);
    return FROE_OK;
}

int froe_run_cancel(froe *engine, froe_run_id id, cancelled_fn *done, void *arg, froe_error *error) {
    struct cancel_call call = {engine, error, id, done, arg};
    return engine_call_or(engine, call_cancel, &call, error);
}

/* ---- retry ---- */

typedef void retried_fn(void *arg, const froe_error *error);

struct retry_request {
    struct request request;
    struct renumbering renumbering;
    froe_run_id id;
    enum store_state state;
    struct store_parked_filter filter; /* until the commit */
    uint64_t count;
    retried_fn *done;
    void *arg;
};

static int see_state(void *arg, const struct store_run_info *info) {
    *(enum store_state *)arg = info->state;
    return 0;
}

static int execute_retry(struct request *request, struct store *store, struct err *err) {
    struct retry_request *retry = (struct retry_request *)(void *)request;
    int r = store_run_get(store, retry->id.page, retry->id.index, see_state, &retry->state, err);
    if (r < 0)
        return r == -ENOENT ? not_there(err, retry->id) : r;
    if (retry->state != STORE_STATE_PARKED)
        return 0;
    retry->filter = (struct store_parked_filter){.run_page = retry->id.page, .run_index = retry->id.index};
    return store_parked_retry(store, &retry->filter, &retry->count, err);
}

static void tell_retried(struct retry_request *retry, const froe_error *failed) {
    if (retry->done)
        retry->done(retry->arg, failed);
    mem_free(retry);
}

static void retry_renumbered(struct renumbering *renumbering, froe *engine) {
    (void)engine;
    tell_retried(LIST_ENTRY(renumbering, struct retry_request, renumbering), NULL);
}

static void finish_retry(struct request *request, struct froe *engine) {
    struct retry_request *retry = (struct retry_request *)(void *)request;
    froe_error storage;
    const froe_error *failed = asking_failed(request, &storage);
    if (!failed && retry->state != STORE_STATE_PARKED)
        engine_error(&storage, FROE_ERR_STATE, "run %jd:%u is not parked", (intmax_t)retry->id.page, retry->id.index);
    else if (!failed && retry->count == 0)
        engine_error(&storage, FROE_ERR_STATE, "run %jd:%u stays parked: other runs have all places of a rule",
                     (intmax_t)retry->id.page, retry->id.index);
    else if (!failed) {
        claims_stir(engine, NULL);
        retry->renumbering.told = retry_renumbered;
        numbers_renew(engine, &retry->renumbering);
        return;
    }
    tell_retried(retry, &storage);
}

struct retry_call {
    froe *engine;
    froe_error *error;
    froe_run_id id;
    retried_fn *done;
    void *arg;
};

static int call_retry(void *args) {
    const struct retry_call *call = args;
    int r = run_id_check(call->id, call->error);
    if (r == FROE_OK)
        r = asking_check(call->engine, call->error);
    if (r != FROE_OK)
        return r;
    struct retry_request *retry = mem_zalloc(sizeof *retry);
    if (!retry)
        return engine_error(call->error, FROE_ERR_MEMORY, "out of memory");
    retry->id = call->id;
    retry->done = call->done;
    retry->arg = call->arg;
    retry->request.execute = execute_retry;
    retry->request.finish = finish_retry;
    settle_flush(call->engine);
    engine_submit(call->engine, &retry->request);
    return FROE_OK;
}

int froe_run_retry(froe *engine, froe_run_id id, retried_fn *done, void *arg, froe_error *error) {
    struct retry_call call = {engine, error, id, done, arg};
    return engine_call_or(engine, call_retry, &call, error);
}

/* ---- replay ----
 *
 * First the run is read. Then, where this program has the workflow, it is an ordinary spawn. Where it has not (a tool
 * that only looks and acts), nobody here can evaluate the rules' expressions; but the keys of a workflow without rules,
 * and of one whose only rule is the group's, are known from the run itself. */

typedef void replayed_fn(void *arg, froe_run_id replayed, const froe_error *error);

struct replay_request {
    struct request request;
    struct renumbering renumbering;
    froe_run_id id;
    replayed_fn *done;
    void *arg;
    struct buf kept;
    struct store_run_info run; /* in `kept` */
    /* the second way */
    int64_t workflow;
    bool keys_known;
    size_t n_keys;
    struct store_item item; /* these until the commit */
    struct store_page page;
    struct store_spawned spawned;
};

static int keep_run(void *arg, const struct store_run_info *info) {
    return record_keep(arg, &record_run, info);
}

static int execute_read(struct request *request, struct store *store, struct err *err) {
    struct replay_request *replay = (struct replay_request *)(void *)request;
    buf_reset(&replay->kept);
    int r = store_run_get(store, replay->id.page, replay->id.index, keep_run, &replay->kept, err);
    if (r == -ENOENT)
        return not_there(err, replay->id);
    return r == -ENOMEM ? err_set(err, r, "out of memory") : r < 0 ? r : 0;
}

static void tell_replayed(struct replay_request *replay, froe_run_id id, const froe_error *failed) {
    if (replay->done)
        replay->done(replay->arg, failed ? run_id_of(0, 0) : id, failed);
    buf_free(&replay->kept);
    mem_free(replay);
}

static void refuse(struct replay_request *replay, const char *why) {
    froe_error error;
    engine_error(&error, FROE_ERR_STATE, "run %jd:%u %s", (intmax_t)replay->id.page, replay->id.index, why);
    tell_replayed(replay, run_id_of(0, 0), &error);
}

#define KEY_IS_LIVE "is not replayed: a live or parked run has its child key"

static void replay_spawned(void *arg, const froe_spawned *spawned, const froe_error *error) {
    struct replay_request *replay = arg;
    if (error)
        tell_replayed(replay, run_id_of(0, 0), error);
    else if (spawned->duplicates > 0)
        refuse(replay, KEY_IS_LIVE);
    else if (spawned->n == 0 || spawned->runs[0].page == 0)
        refuse(replay, "is not replayed: its workflow's rules refuse it now");
    else
        tell_replayed(replay, spawned->runs[0], NULL);
}

static void spawn_again(froe *engine, struct replay_request *replay) {
    const struct store_run_info *run = &replay->run;
    const froe_item item = {
        .child_key = run->child_key.n ? run->child_key.p : NULL,
        .child_key_n = run->child_key.n,
        .generation = run->generation.n ? run->generation.p : NULL,
        .generation_n = run->generation.n,
    };
    const froe_spawn spawn = {
        .size = sizeof spawn,
        .workflow = run->workflow_name.p,
        .input = run->input.n ? run->input.p : NULL,
        .metadata = run->metadata.n ? run->metadata.p : NULL,
        .items = &item,
        .n = 1,
        .priority = run->priority,
    };
    froe_error error;
    if (froe_spawn_many(engine, &spawn, replay_spawned, replay, &error) != FROE_OK)
        tell_replayed(replay, run_id_of(0, 0), &error);
}

/* The second way. */

static int find_workflow(void *arg, const struct store_workflow_info *info) {
    struct replay_request *replay = arg;
    if (!bytes_equal(info->name, replay->run.workflow_name))
        return 0;
    replay->workflow = info->id;
    replay->n_keys = info->n_rules;
    replay->keys_known =
        info->n_rules == 0 || (info->n_rules == 1 && info->rules[0].strategy == STORE_GROUP_ROUND_ROBIN);
    return 0;
}

static int execute_spawn(struct request *request, struct store *store, struct err *err) {
    struct replay_request *replay = (struct replay_request *)(void *)request;
    replay->workflow = 0;
    replay->keys_known = false;
    replay->spawned = (struct store_spawned){0};
    int r = store_workflows_each(store, find_workflow, replay, err);
    if (r < 0 || !replay->keys_known)
        return r;
    const struct store_run_info *run = &replay->run;
    replay->item = (struct store_item){.child_key = run->child_key, .generation = run->generation};
    replay->page = (struct store_page){
        .workflow = replay->workflow,
        .keys = &run->group,
        .n_keys = replay->n_keys,
        .input = run->input,
        .metadata = run->metadata,
        .items = &replay->item,
        .n = 1,
        .priority = run->priority,
    };
    return store_spawn(store, &replay->page, &replay->spawned, err);
}

static void replay_renumbered(struct renumbering *renumbering, froe *engine) {
    struct replay_request *replay = LIST_ENTRY(renumbering, struct replay_request, renumbering);
    (void)engine;
    tell_replayed(replay, run_id_of(replay->spawned.page, 0), NULL);
}

static void finish_spawn(struct request *request, struct froe *engine) {
    struct replay_request *replay = (struct replay_request *)(void *)request;
    froe_error storage;
    const froe_error *failed = asking_failed(request, &storage);
    if (failed) {
        tell_replayed(replay, run_id_of(0, 0), failed);
    } else if (!replay->keys_known) {
        refuse(replay, "can only be replayed by a program that has its workflow: its rules decide");
    } else if (replay->spawned.created == 0) {
        refuse(replay, KEY_IS_LIVE);
    } else {
        claims_stir(engine, NULL);
        replay->renumbering.told = replay_renumbered;
        numbers_renew(engine, &replay->renumbering);
    }
}

static void finish_read(struct request *request, struct froe *engine) {
    struct replay_request *replay = (struct replay_request *)(void *)request;
    froe_error storage;
    const froe_error *failed = asking_failed(request, &storage);
    if (failed) {
        tell_replayed(replay, run_id_of(0, 0), failed);
        return;
    }
    size_t at = 0;
    record_take(&replay->kept, &at, &record_run, &replay->run);
    const struct workflow *workflow = workflow_find(engine, replay->run.workflow_name.p);
    if (replay->run.state < STORE_STATE_DONE) {
        refuse(replay, "is not finished");
    } else if (workflow && workflow->registered) {
        spawn_again(engine, replay);
    } else {
        replay->request.execute = execute_spawn;
        replay->request.finish = finish_spawn;
        engine_submit(engine, &replay->request);
    }
}

struct replay_call {
    froe *engine;
    froe_error *error;
    froe_run_id id;
    replayed_fn *done;
    void *arg;
};

static int call_replay(void *args) {
    const struct replay_call *call = args;
    int r = run_id_check(call->id, call->error);
    if (r == FROE_OK)
        r = asking_check(call->engine, call->error);
    if (r != FROE_OK)
        return r;
    struct replay_request *replay = mem_zalloc(sizeof *replay);
    if (!replay)
        return engine_error(call->error, FROE_ERR_MEMORY, "out of memory");
    replay->id = call->id;
    replay->done = call->done;
    replay->arg = call->arg;
    replay->request.execute = execute_read;
    replay->request.finish = finish_read;
    settle_flush(call->engine);
    engine_submit(call->engine, &replay->request);
    return FROE_OK;
}

int froe_run_replay(froe *engine, froe_run_id id, replayed_fn *done, void *arg, froe_error *error) {
    struct replay_call call = {engine, error, id, done, arg};
    return engine_call_or(engine, call_replay, &call, error);
}
