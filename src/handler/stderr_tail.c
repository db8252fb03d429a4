/* stderr_tail.c - a ring, unrolled at the end. */
#include "stderr_tail.h"

#include "mem.h"
#include "text.h"

void stderr_tail_add(struct stderr_tail *tail, struct bytes data) {
    if (!tail->ring && !(tail->ring = mem_alloc(HANDLER_STDERR_MAX)))
        return;
    size_t skip = data.n > HANDLER_STDERR_MAX ? data.n - HANDLER_STDERR_MAX : 0;
    tail->total += skip;
    data = bytes_of(data.p + skip, data.n - skip);
    while (data.n) {
        size_t at = (size_t)(tail->total % HANDLER_STDERR_MAX), n = HANDLER_STDERR_MAX - at;
        n = n < data.n ? n : data.n;
        memcpy(tail->ring + at, data.p, n);
        tail->total += n;
        data = bytes_of(data.p + n, data.n - n);
    }
}

/* Begins at a line's start, or for want of one at a character's. */
static struct bytes without_cut_line(struct bytes text) {
    const char *newline = memchr(text.p, '\n', text.n);
    if (newline && newline + 1 < text.p + text.n) {
        size_t n = (size_t)(newline + 1 - text.p);
        return bytes_of(text.p + n, text.n - n);
    }
    while (text.n && ((unsigned char)text.p[0] & 0xc0) == 0x80)
        text = bytes_of(text.p + 1, text.n - 1);
    return text;
}

int stderr_tail_text(const struct stderr_tail *tail, struct buf *text) {
    char flat[HANDLER_STDERR_MAX];
    struct bytes rest = BYTES_NONE;
    if (tail->ring && tail->total <= HANDLER_STDERR_MAX) {
        rest = bytes_of(tail->ring, (size_t)tail->total);
    } else if (tail->ring) {
        size_t at = (size_t)(tail->total % HANDLER_STDERR_MAX);
        memcpy(flat, tail->ring + at, HANDLER_STDERR_MAX - at);
        memcpy(flat + HANDLER_STDERR_MAX - at, tail->ring, at);
        size_t end = HANDLER_STDERR_MAX;
        while (end && flat[end - 1] == '\n') /* so that a last line alone counts as cut, not as absent */
            end--;
        rest = without_cut_line(bytes_of(flat, end));
    }
    rest = bytes_trim(rest);
    int r = 0;
    while (r == 0 && rest.n) {
        const char *newline = memchr(rest.p, '\n', rest.n);
        size_t n = newline ? (size_t)(newline - rest.p) : rest.n;
        struct bytes line = bytes_of(rest.p, n);
        if (bytes_ends(line, BYTES("\r")))
            line.n--;
        r = text_add_printable(text, line);
        if (r == 0 && newline)
            r = buf_add_byte(text, '\n');
        n += newline ? 1 : 0;
        rest = bytes_of(rest.p + n, rest.n - n);
    }
    return r;
}

void stderr_tail_free(struct stderr_tail *tail) {
    mem_free(tail->ring);
    *tail = (struct stderr_tail){0};
}
