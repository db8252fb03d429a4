/* bytes.c - views and buffers. */
#include "bytes.h"

#include "mem.h"

#include <errno.h>
#include <stdio.h>

int bytes_compare(struct bytes a, struct bytes b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n ? memcmp(a.p, b.p, n) : 0;
    if (order)
        return order;
    return (a.n > b.n) - (a.n < b.n);
}

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool bytes_equal_nocase(struct bytes a, struct bytes b) {
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    return true;
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct bytes bytes_trim(struct bytes text) {
    while (text.n && is_space(text.p[0])) {
        text.p++;
        text.n--;
    }
    while (text.n && is_space(text.p[text.n - 1]))
        text.n--;
    return text;
}

struct bytes bytes_unquoted(struct bytes etag) {
    bool quoted = etag.n >= 2 && etag.p[0] == '"' && etag.p[etag.n - 1] == '"';
    return quoted ? bytes_of(etag.p + 1, etag.n - 2) : etag;
}

void buf_free(struct buf *buf) {
    mem_free(buf->p);
    *buf = (struct buf){.max = buf->max};
}

void buf_reset(struct buf *buf) {
    buf->n = 0;
    if (buf->p)
        buf->p[0] = '\0';
}

void buf_wipe(struct buf *buf) {
    if (buf->p)
        explicit_bzero(buf->p, buf->cap);
    buf_free(buf);
}

int buf_reserve(struct buf *buf, size_t more) {
    size_t need;
    if (__builtin_add_overflow(buf->n, more, &need))
        return -ENOMEM;
    if (buf->max && need > buf->max)
        return -E2BIG;
    if (__builtin_add_overflow(need, 1, &need)) /* the uncounted NUL */
        return -ENOMEM;
    if (need <= buf->cap)
        return 0;
    size_t cap = buf->cap ? buf->cap : 64;
    while (cap < need)
        if (__builtin_mul_overflow(cap, 2, &cap))
            return -ENOMEM;
    char *p = mem_realloc(buf->p, cap);
    if (!p)
        return -ENOMEM;
    buf->p = p;
    buf->p[buf->n] = '\0';
    buf->cap = cap;
    return 0;
}

/* Nearly every append: no memory is needed, and its limit is not passed. */
static inline bool has_room(const struct buf *buf, size_t n) {
    return n < buf->cap && buf->n < buf->cap - n && (buf->max == 0 || (n <= buf->max && buf->n <= buf->max - n));
}

int buf_add(struct buf *buf, const void *data, size_t n) {
    int r = has_room(buf, n) ? 0 : buf_reserve(buf, n);
    if (r < 0)
        return r;
    if (n)
        memcpy(buf->p + buf->n, data, n);
    buf->n += n;
    buf->p[buf->n] = '\0';
    return 0;
}

int buf_add_bytes(struct buf *buf, struct bytes bytes) {
    return buf_add(buf, bytes.p, bytes.n);
}

int buf_add_str(struct buf *buf, const char *text) {
    return buf_add(buf, text, strlen(text));
}

int buf_add_byte(struct buf *buf, char byte) {
    int r = has_room(buf, 1) ? 0 : buf_reserve(buf, 1);
    if (r < 0)
        return r;
    buf->p[buf->n++] = byte;
    buf->p[buf->n] = '\0';
    return 0;
}

int buf_vprintf(struct buf *buf, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    size_t room = buf->cap - buf->n; /* where it fits it is there at once */
    int n = vsnprintf(room ? buf->p + buf->n : NULL, room, format, args);
    bool there = n >= 0 && has_room(buf, (size_t)n);
    int r = n < 0 ? -EINVAL : there ? 0 : buf_reserve(buf, (size_t)n);
    if (r == 0 && !there)
        vsnprintf(buf->p + buf->n, (size_t)n + 1, format, again);
    if (r == 0)
        buf->n += (size_t)n;
    else if (room)
        buf->p[buf->n] = '\0';
    va_end(again);
    return r;
}

int buf_printf(struct buf *buf, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int r = buf_vprintf(buf, format, args);
    va_end(args);
    return r;
}

void buf_consume(struct buf *buf, size_t n) {
    if (n == 0)
        return;
    buf->n -= n;
    memmove(buf->p, buf->p + n, buf->n);
    buf->p[buf->n] = '\0';
}

char *buf_detach(struct buf *buf) {
    char *p = buf->p;
    *buf = (struct buf){.max = buf->max};
    return p;
}
