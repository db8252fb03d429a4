/* handler.c - hands each call to the kind of handler it is for. */
#include "handler.h"

int handler_start(struct handler *handler, const struct handler_object *object, const struct handler_events *events,
                  void *arg, struct handler_job **ret_job, struct err *err) {
    return handler->ops->start(handler, object, events, arg, ret_job, err);
}

bool handler_write(struct handler_job *job, struct bytes piece) {
    return job->handler->ops->write(job, piece);
}

void handler_finish(struct handler_job *job) {
    job->handler->ops->finish(job);
}

void handler_abort(struct handler_job *job, const char *reason) {
    job->handler->ops->abort(job, reason);
}

void handler_close(struct handler *handler, void (*closed)(void *arg), void *arg) {
    if (handler)
        handler->ops->close(handler, closed, arg);
    else
        closed(arg);
}

const char *handler_describe(const struct handler *handler) {
    return handler->ops->describe(handler);
}
