/* checkpoints.c - what running tasks give to be kept, so that the next attempt has it however this one ends.
 *
 * It goes to the store with the next flush: of each task what it has by then, with its generation, as that says what
 * the checkpoint is about. What a task gives more often than that is written once. */
#include "engine.h"

#include "mem.h"

/* Who waits for one; on the waiting thread's stack. */
struct saver {
    struct engine_wait wait;
    struct list link;
    const froe_task *task;
    const struct settlement *in; /* NULL: not on its way yet */
    froe_error *error;
    int r;
};

static void answer(struct saver *saver, int code, const char *text) {
    list_remove(&saver->link);
    saver->r = code == FROE_OK ? FROE_OK : engine_error(saver->error, code, "%s", text);
    engine_wait_signal(&saver->wait);
}

/* ---- to the store and back ---- */

static bool copy(struct bytes from, struct bytes *to, unsigned flag, unsigned *own) {
    char *copied = from.n ? mem_memdup(from.p, from.n) : NULL;
    if (from.n && !copied)
        return false;
    *to = bytes_of(copied, from.n);
    *own |= copied ? flag : 0;
    return true;
}

static void gather(froe *engine, froe_task *task, struct settlement *ends) {
    struct lease *lease = task->lease;
    struct store_settled *item = &ends->items[ends->n];
    struct ended *ended = &ends->ended[ends->n];
    *item = (struct store_settled){
        .lease = lease->store->id,
        .index = task->run->index,
        .outcome = STORE_CHECKPOINT,
        .checkpointed = task->checkpointed,
        .attempts = task->attempts,
        .child_key = task->run->child_key,
        .input = task->run->input,
    };
    *ended = (struct ended){.lease = lease, .group = group_ref(task->group), .lane = task->lane->id};
    ends->n++;
    lease->unacked++;
    task->checkpointed = true;
    if (!copy(task->generation, &item->generation, OWN_GENERATION, &ended->own) ||
        !copy(task->checkpoint, &item->checkpoint, OWN_CHECKPOINT, &ended->own))
        engine_fail(engine, &(struct err){.code = -ENOMEM, .text = "out of memory"});
}

void checkpoints_gather(froe *engine, struct settlement *ends) {
    for (struct list *link; (link = list_pop_front(&engine->unsaved));) {
        froe_task *task = LIST_ENTRY(link, froe_task, unsaved);
        gather(engine, task, ends);
        LIST_EACH (at, &engine->savers) {
            struct saver *saver = LIST_ENTRY(at, struct saver, link);
            if (saver->task == task && !saver->in)
                saver->in = ends;
        }
    }
}

void checkpoints_told(froe *engine, const struct settlement *ends, int code, const char *text) {
    LIST_EACH_SAFE (link, following, &engine->savers) {
        struct saver *saver = LIST_ENTRY(link, struct saver, link);
        if (saver->in == ends)
            answer(saver, code, text);
    }
}

void checkpoints_drop(froe *engine, int code, const char *text) {
    while (list_pop_front(&engine->unsaved))
        ;
    LIST_EACH_SAFE (link, following, &engine->savers)
        answer(LIST_ENTRY(link, struct saver, link), code, text);
}

void checkpoints_forget(froe_task *task) {
    list_remove(&task->unsaved);
    LIST_EACH_SAFE (link, following, &task->engine->savers) {
        struct saver *saver = LIST_ENTRY(link, struct saver, link);
        if (saver->task == task)
            answer(saver, FROE_ERR_STATE, "the task ended, or was given up");
    }
}

/* ---- what tasks say ---- */

static void mark(froe_task *task) {
    if (!list_empty(&task->unsaved))
        return;
    settle_comes(task->engine);
    list_push_back(&task->engine->unsaved, &task->unsaved);
}

/* FROE_OK: what the task gives can still reach the store as this run's. */
static int is_heard(const froe_task *task, froe_error *error) {
    const froe *engine = task->engine;
    if (atomic_load_explicit(&task->abandoned, memory_order_relaxed))
        return engine_error(error, FROE_ERR_STATE, "the task was given up");
    if (engine->failed)
        return engine_error_from(error, &engine->failure);
    if (engine->lease_lost)
        return engine_error(error, FROE_ERR_STATE, "the lease was lost: the run is given to others");
    return FROE_OK;
}

void checkpoint_changed(froe_task *task) {
    if (task->checkpointed && is_heard(task, NULL) == FROE_OK)
        mark(task);
}

struct set_call {
    froe_task *task;
    char *copy; /* the task's then; NULL: none */
    size_t n;
    struct saver *saver; /* NULL: nobody waits */
    froe_error *error;
};

static int set_on_loop(void *arg) {
    struct set_call *call = arg;
    froe_task *task = call->task;
    froe *engine = task->engine;
    int r = is_heard(task, call->error);
    if (r != FROE_OK)
        return r;
    if (task->own_checkpoint)
        mem_free((void *)(uintptr_t)task->checkpoint.p);
    task->own_checkpoint = call->copy != NULL;
    task->checkpoint = bytes_of(call->copy, call->n);
    task->touched = true;
    mark(task);
    if (!call->saver)
        return FROE_OK;
    list_push_back(&engine->savers, &call->saver->link);
    settle_flush(engine);
    return FROE_OK;
}

static int set(struct set_call *call, const void *data) {
    call->copy = call->n ? mem_memdup(data, call->n) : NULL;
    if (call->n && !call->copy)
        return engine_error(call->error, FROE_ERR_MEMORY, "out of memory");
    int r = engine_call_or(call->task->engine, set_on_loop, call, call->error);
    if (r != FROE_OK)
        mem_free(call->copy);
    return r;
}

static bool fits(const void *data, size_t n) {
    return n <= FROE_CHECKPOINT_MAX && (data || n == 0);
}

int froe_task_set_checkpoint(froe_task *task, const void *data, size_t n) {
    if (!fits(data, n))
        return FROE_ERR_INVALID;
    if (bytes_equal(bytes_of(data, n), task->checkpoint)) /* it is on its way, or there */
        return FROE_OK;
    struct set_call call = {.task = task, .n = n};
    return set(&call, data);
}

int froe_task_set_checkpoint_sync(froe_task *task, const void *data, size_t n, froe_error *error) {
    if (!fits(data, n))
        return engine_error(error, FROE_ERR_INVALID, "a checkpoint has at most %d bytes", FROE_CHECKPOINT_MAX);
    struct saver saver = {.task = task, .error = error};
    struct set_call call = {.task = task, .n = n, .saver = &saver, .error = error};
    list_init(&saver.link);
    int r = engine_wait_begin(&saver.wait, task->engine, NULL, error);
    if (r != FROE_OK)
        return r;
    r = set(&call, data);
    if (r == FROE_OK) {
        engine_wait_for(&saver.wait);
        r = saver.r;
    }
    engine_wait_end(&saver.wait);
    return r;
}
