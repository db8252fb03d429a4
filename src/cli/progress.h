/* progress.h - how a drain is going, for people: live on a terminal, a line every few seconds elsewhere, and a summary
 * at the end. */
#pragma once

#include "err.h"
#include "log.h"
#include "pipeline.h"

struct progress;

struct progress_options {
    struct pipeline *pipeline; /* borrowed */
    froe *engine;
    struct log *log; /* lines go there; on a terminal its sink is taken over, so that lines and picture do not mix */
    int terminal_fd; /* draw there; -1: not a terminal, a log line "progress" every 5 s instead */
    const struct clock *clock; /* NULL: the system's */
};

int progress_new(uv_loop_t *loop, const struct progress_options *options, struct progress **ret_progress,
                 struct err *err);
/* Draws or logs once more, gives the log back, writes the summary (log line "drained", or "stopped" when not drained),
 * and closes its handles; gone when the loop has come round. Pipeline and engine must still be there. NULL is fine. */
void progress_end(struct progress *progress, bool drained);
