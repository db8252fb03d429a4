/* program_output.c - see program_output.h. */
#include "program_output.h"

#include "cleanup.h"
#include "text.h"

#include <sys/ioctl.h>
#include <unistd.h>

void program_output_init(struct program_output *output, const struct handler_results *results) {
    spool_init(&output->spool, results->budget, results->directory);
    output->max_bytes = results->max_bytes;
}

static int too_much(const struct program_output *output, struct err *err) {
    _cleanup_buf_ struct buf limit = {0};
    if (text_add_size(&limit, output->max_bytes) < 0)
        return err_set(err, -ENOMEM, "out of memory");
    return err_set(err, -EFBIG, "it wrote more than %s to its stdout, which is the limit of a result", limit.p);
}

int program_output_read(struct program_output *output, int fd, char *scratch, size_t n, struct err *err) {
    ssize_t got;
    do
        got = read(fd, scratch, n);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == EAGAIN ? -EAGAIN : err_set(err, -errno, "its stdout: %s", err_errno_text(-errno));
    if (got == 0)
        return 0;
    if (output->max_bytes && (uint64_t)got > output->max_bytes - output->spool.n)
        return too_much(output, err);
    int r = spool_add(&output->spool, bytes_of(scratch, (size_t)got), err);
    if (r < 0)
        err_prefix(err, "its result cannot be kept");
    return r < 0 ? r : 1;
}

/* A stranger could write for ever. No more is read than was there when the program died. */
int program_output_read_rest(struct program_output *output, int fd, char *scratch, size_t n, struct err *err) {
    int r = 1, there = 0;
    if (ioctl(fd, FIONREAD, &there) < 0 || there < 0)
        there = 0;
    const uint64_t until = output->spool.n + (uint64_t)there;
    while (r > 0 && output->spool.n < until) {
        uint64_t left = until - output->spool.n;
        r = program_output_read(output, fd, scratch, left < n ? (size_t)left : n, err);
    }
    if (r > 0)
        r = program_output_read(output, fd, scratch, n, err);
    if (r > 0 || r == -EAGAIN)
        return err_set(err, -EBUSY,
                       "somebody who left its process group still holds its stdout, so its result may not be whole "
                       "(close it there, like >/dev/null)");
    return r;
}

void program_output_free(struct program_output *output) {
    spool_free(&output->spool);
}
