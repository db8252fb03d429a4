/* wake.c - see wake.h. */
#include "wake.h"

#include "bytes.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void on_readable(uv_poll_t *handle, int status, int events) {
    struct wake *wake = (struct wake *)(void *)((char *)handle - offsetof(struct wake, handle));
    eventfd_t count;
    (void)status;
    (void)events;
    eventfd_read(wake->fd, &count);
    atomic_exchange(&wake->sent, false); /* whoever sends from here on wakes again */
    wake->woken(wake->arg);
}

int wake_open(struct wake *wake, uv_loop_t *loop, void (*woken)(void *arg), void *arg, struct err *err) {
    wake->woken = woken;
    wake->arg = arg;
    atomic_init(&wake->sent, false);
    wake->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (wake->fd < 0)
        return err_set(err, -errno, "no eventfd: %s", err_errno_text(-errno));
    int r = uv_poll_init(loop, &wake->handle, wake->fd);
    if (r < 0) {
        close(wake->fd);
        return err_set(err, -EIO, "the loop gives no handle: %s", uv_strerror(r));
    }
    uv_poll_start(&wake->handle, UV_READABLE, on_readable);
    return 0;
}

void wake_send(struct wake *wake) {
    if (!atomic_exchange(&wake->sent, true))
        eventfd_write(wake->fd, 1);
}

void wake_close(struct wake *wake, uv_close_cb closed) {
    uv_close((uv_handle_t *)&wake->handle, closed);
    close(wake->fd); /* the loop looks at it no more */
}
