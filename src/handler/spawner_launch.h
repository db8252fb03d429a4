/* spawner_launch.h - brings the spawner's process up. Blocks for some milliseconds; any thread. */
#pragma once

#include "spawner.h"

/* A process that has said hello, and the socket to it (close-on-exec); both are the caller's. `hold_fd` and `basic` as
 * in spawner_new. -errno with a text. */
int spawner_launch(int hold_fd, const struct confined *basic, pid_t *ret_pid, int *ret_fd, struct err *err);
/* Kills the process and reaps it. */
void spawner_end(pid_t pid);
