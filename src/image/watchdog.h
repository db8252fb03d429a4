/* watchdog.h - ends this process when one piece of work takes too long, with a last line on a descriptor.
 *
 * A decoder that loops cannot be stopped from within, so the process has to go; the answer says why. One per process,
 * as there is one timer for each (ITIMER_REAL), and hence the only state of its kind that is global. */
#pragma once

#include <stdint.h>

#define WATCHDOG_LINE_MAX 512

/* After `us` writes `line` (cut to fit) to the descriptor and exits with status 0, unless stopped before. */
void watchdog_start(int64_t us, int fd, const char *line);
/* When this returns nothing was and nothing will be written. */
void watchdog_stop(void);
