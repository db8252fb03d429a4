/* wake.h - waking the loop from other threads.
 *
 * As uv_async_t, but the loop never waits for the thread that woke it. (That one's send spins on the loop's thread
 * until the sender has left the call: for long, when the two share a core and the woken one runs at once.) */
#pragma once

#include "err.h"

#include <stdatomic.h>
#include <uv.h>

struct wake {
    uv_poll_t handle;
    int fd;
    atomic_bool sent; /* and not seen yet */
    void (*woken)(void *arg);
    void *arg;
};

/* On the loop's thread. `woken` is called there after each wake_send; once for those that come together. What was
 * written before a send is seen by the call. */
int wake_open(struct wake *wake, uv_loop_t *loop, void (*woken)(void *arg), void *arg, struct err *err);
/* From any thread, until wake_close. */
void wake_send(struct wake *wake);
/* `closed` is called in the loop's next turn; the handle's `data` is the caller's. */
void wake_close(struct wake *wake, uv_close_cb closed);
