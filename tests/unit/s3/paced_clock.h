/* paced_clock.h - time that only passes while the loop turns: what a turn of the loop took counts, but not more than
 * PACED_TURN_US of it.
 *
 * A server that hangs is waited for as long as ever. A machine that has no time for the test is not taken for such a
 * server: before a limit of 150 ms is over the loop has turned, and looked at every socket, thirty times. */
#pragma once

#include "clock.h"

#include <uv.h>

#define PACED_TURN_US (5 * US_PER_MS)

struct paced_clock {
    struct clock clock; /* monotonic; the wall clock is the system's */
    uv_check_t turn;
    uv_timer_t tick; /* so that a loop with nothing to do turns, too */
    int64_t mono_us, seen_us;
};

void paced_clock_init(struct paced_clock *paced, uv_loop_t *loop); /* does not keep the loop alive */
void paced_clock_close(struct paced_clock *paced); /* it stays readable; the loop has to turn once more */
int64_t paced_clock_us(const struct paced_clock *paced);
void paced_clock_run(struct paced_clock *paced, int64_t us); /* turns the loop for so long */
