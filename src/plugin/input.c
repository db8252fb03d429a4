/* input.c - lines and bodies from one descriptor. */
#include "host.h"

#include <unistd.h>

/* More into the piece, which is empty. */
static int fill(struct plugin_input *input) {
    ssize_t n;
    do
        n = read(input->fd, input->piece, sizeof input->piece);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    input->at = 0;
    input->n = (size_t)n;
    return n > 0;
}

int plugin_input_line(struct plugin_input *input, struct bytes *ret_line) {
    buf_reset(&input->line);
    for (;;) {
        int r = input->n ? 1 : fill(input);
        if (r <= 0)
            return r == 0 && input->line.n ? -EPROTO : r; /* in the midst of a line */
        const char *from = input->piece + input->at, *newline = memchr(from, '\n', input->n);
        size_t n = newline ? (size_t)(newline - from) : input->n;
        if (input->line.n + n > PLUGIN_LINE_MAX)
            return -EPROTO;
        r = buf_add(&input->line, from, n);
        if (r < 0)
            return r;
        n += newline ? 1 : 0;
        input->at += n;
        input->n -= n;
        if (newline) {
            *ret_line = buf_bytes(&input->line);
            return 1;
        }
    }
}

ptrdiff_t plugin_input_read(struct plugin_input *input, void *to, size_t n) {
    int r = input->n || n == 0 ? 1 : fill(input);
    if (r <= 0)
        return r;
    if (n > input->n)
        n = input->n;
    memcpy(to, input->piece + input->at, n);
    input->at += n;
    input->n -= n;
    return (ptrdiff_t)n;
}
