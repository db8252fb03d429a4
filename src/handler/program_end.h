/* program_end.h - what a program's end means, and how it is told to a person. */
#pragma once

#include "handler.h"
#include "spawner.h"
#include "stderr_tail.h"

/* OK, AGAIN, FAILED, or NOT_RUN when it is not the program's doing. */
enum handler_end program_end(const struct spawn_exit *exit);

/* "exit status 3: <last lines>", "killed by signal 9 (SIGKILL)", "cannot run '/bin/x': ...". -ENOMEM, -E2BIG. */
int program_end_text(const struct spawn_exit *exit, const char *file, const struct stderr_tail *tail, struct buf *text);
