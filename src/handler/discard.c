/* discard.c - the handler that accepts every object and keeps nothing: `--discard`. */
#include "handler.h"

#include "cleanup.h"
#include "later.h"

struct discard {
    struct handler handler;
    struct later later;
    void (*closed)(void *arg);
    void *closed_arg;
};

struct discard_job {
    struct handler_job job;
    struct handler_events events;
    void *arg;
    struct later_item later;
    bool aborted;
    char *reason; /* NULL also when there was no memory for it */
};

static void settle(struct later_item *item) {
    struct discard_job *job = LIST_ENTRY(item, struct discard_job, later);
    struct handler_result result = {.end = HANDLER_OK, .text = ""};
    if (job->aborted)
        result = (struct handler_result){.end = HANDLER_ABORTED, .text = job->reason ? job->reason : "aborted"};
    job->events.done(job->arg, &result);
    mem_free(job->reason);
    mem_free(job);
}

static int discard_start(struct handler *handler, const struct handler_object *object,
                         const struct handler_events *events, void *arg, struct handler_job **ret_job,
                         struct err *err) {
    struct discard_job *job = mem_alloc(sizeof *job);
    if (!job)
        return err_set(err, -ENOMEM, "out of memory");
    *job = (struct discard_job){.job = {handler}, .events = *events, .arg = arg};
    later_item_init(&job->later, settle);
    *ret_job = &job->job;
    return 0;
}

static bool discard_write(struct handler_job *handler_job, struct bytes piece) {
    return true;
}

static void discard_finish(struct handler_job *handler_job) {
    struct discard *discard = (struct discard *)handler_job->handler;
    later_add(&discard->later, &((struct discard_job *)handler_job)->later);
}

static void discard_abort(struct handler_job *handler_job, const char *reason) {
    struct discard *discard = (struct discard *)handler_job->handler;
    struct discard_job *job = (struct discard_job *)handler_job;
    if (!job->aborted)
        job->reason = mem_strdup(reason);
    job->aborted = true;
    later_add(&discard->later, &job->later);
}

static void on_later_closed(void *arg) {
    struct discard *discard = arg;
    void (*closed)(void *arg) = discard->closed;
    void *closed_arg = discard->closed_arg;
    mem_free(discard);
    closed(closed_arg);
}

static void discard_close(struct handler *handler, void (*closed)(void *arg), void *arg) {
    struct discard *discard = (struct discard *)handler;
    discard->closed = closed;
    discard->closed_arg = arg;
    later_close(&discard->later, on_later_closed, discard);
}

static const char *discard_describe(const struct handler *handler) {
    return "discard";
}

int handler_discard_new(uv_loop_t *loop, struct handler **ret_handler) {
    static const struct handler_ops ops = {
        .start = discard_start,
        .write = discard_write,
        .finish = discard_finish,
        .abort = discard_abort,
        .close = discard_close,
        .describe = discard_describe,
    };
    struct discard *discard = mem_alloc(sizeof *discard);
    if (!discard)
        return -ENOMEM;
    *discard = (struct discard){.handler = {&ops}};
    later_init(&discard->later, loop);
    *ret_handler = &discard->handler;
    return 0;
}
