/* bytes.h - one borrowed view and one owned buffer; nothing else holds text or binary data.
 *
 * Lengths rule, NULs do not end anything: object keys may hold any byte. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A borrowed view: valid as long as whatever it was taken from. Passed by value. {NULL, 0} is the empty view. */
struct bytes {
    const char *p;
    size_t n;
};

#define BYTES(literal) ((struct bytes){("" literal), sizeof(literal) - 1})
#define BYTES_NONE ((struct bytes){NULL, 0})

static inline struct bytes bytes_of(const void *data, size_t n) {
    return (struct bytes){data, n};
}

/* NULL gives the empty view. */
static inline struct bytes bytes_str(const char *text) {
    return (struct bytes){text, text ? strlen(text) : 0};
}

static inline bool bytes_equal(struct bytes a, struct bytes b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Byte order, shorter first when one is a prefix: the order in which S3 lists keys. */
int bytes_compare(struct bytes a, struct bytes b);

static inline bool bytes_starts(struct bytes text, struct bytes prefix) {
    return text.n >= prefix.n && (prefix.n == 0 || memcmp(text.p, prefix.p, prefix.n) == 0);
}

static inline bool bytes_ends(struct bytes text, struct bytes suffix) {
    return text.n >= suffix.n && (suffix.n == 0 || memcmp(text.p + text.n - suffix.n, suffix.p, suffix.n) == 0);
}

bool bytes_equal_nocase(struct bytes a, struct bytes b); /* ASCII letters only */
struct bytes bytes_trim(struct bytes text);              /* without leading and trailing space, tab, CR, LF */
struct bytes bytes_unquoted(struct bytes etag);          /* without the quotes (") around it, if it has both */

/* A growing buffer that the holder owns. All-zero is a valid empty buffer without a limit; buf_init sets one. `p` is
 * NULL until something was appended and is then always followed by a NUL that is not counted, so that text can go to C
 * functions. Any append can fail with -ENOMEM, or with -E2BIG past `max`; the content is then as before. */
struct buf {
    char *p;
    size_t n;
    size_t cap;
    size_t max; /* 0: no limit */
};

static inline void buf_init(struct buf *buf, size_t max) {
    *buf = (struct buf){.max = max};
}

void buf_free(struct buf *buf);  /* frees and makes it empty again; keeps `max` */
void buf_reset(struct buf *buf); /* empties, keeps the memory */
int buf_reserve(struct buf *buf, size_t more);
int buf_add(struct buf *buf, const void *data, size_t n);
int buf_add_bytes(struct buf *buf, struct bytes bytes);
int buf_add_str(struct buf *buf, const char *text);
int buf_add_byte(struct buf *buf, char byte);
int buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
int buf_vprintf(struct buf *buf, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
void buf_consume(struct buf *buf, size_t n); /* drops the first n bytes (n <= buf->n) */
char *buf_detach(struct buf *buf);           /* the memory, now the caller's (mem_free); the buffer is empty. NULL if
                                                nothing was ever appended */
static inline struct bytes buf_bytes(const struct buf *buf) {
    return (struct bytes){buf->p, buf->n};
}

/* Like buf_free, but overwrites what was there first: for secrets. Growing leaves copies behind in freed memory, so
 * reserve all that a secret needs before adding it. */
void buf_wipe(struct buf *buf);

static inline void cleanup_buf(struct buf *buf) {
    buf_free(buf);
}
#define _cleanup_buf_ __attribute__((cleanup(cleanup_buf)))
