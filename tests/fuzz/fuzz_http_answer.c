/* HTTP answers one after the other: heads, fed line by line, and bodies, in pieces of any length. */
#include "http_body.h"

#include <errno.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)   \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)

static bool is_within(struct bytes part, const struct buf *whole) {
    return part.n == 0 || (part.p >= whole->p && part.p + part.n <= whole->p + whole->n);
}

static void check_whole(const struct http_head *head) {
    MUST(head->status >= 200 && head->status <= 999);
    MUST(head->seen <= HTTP_HEADERS_MAX);
    for (size_t i = 0; i < head->n; i++) {
        struct bytes name = head->fields[i].name, value = head->fields[i].value;
        MUST(name.n > 0 && is_within(name, &head->text) && is_within(value, &head->text));
        for (size_t j = 0; j < name.n; j++)
            MUST((name.p[j] < 'A' || name.p[j] > 'Z') && name.p[j] != ':' && name.p[j] != '\n');
        MUST(bytes_equal(bytes_trim(value), value));
    }
}

/* What follows a head that is whole, cut at places that the bytes themselves choose; what is left of it. */
static struct bytes run_body(const struct http_head *head, struct bytes all) {
    struct http_body body;
    if (http_body_begin(&body, head, head->status == 299) < 0)
        return all;
    while (all.n && !body.whole) {
        size_t n = 1 + (unsigned char)all.p[0] % 7;
        struct bytes rest = bytes_of(all.p, n < all.n ? n : all.n), piece;
        const char *end = rest.p + rest.n;
        int r;
        while ((r = http_body_take(&body, &rest, &piece)) > 0)
            MUST(piece.n > 0 && piece.p >= all.p && piece.p + piece.n <= rest.p);
        MUST(rest.p + rest.n == end && (r < 0 || rest.n == 0 || body.whole));
        all = bytes_of(rest.p, all.n - (size_t)(rest.p - all.p));
        if (r < 0) {
            MUST(r == -EBADMSG || r == -E2BIG);
            return BYTES_NONE;
        }
    }
    return all;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct http_head head = {0};
    struct bytes rest = bytes_of(data, size);
    while (rest.n) {
        const char *newline = memchr(rest.p, '\n', rest.n);
        size_t n = newline ? (size_t)(newline - rest.p) + 1 : rest.n;
        int r = http_head_add(&head, bytes_of(rest.p, n));
        MUST(r == 0 || r == 1 || r == -EBADMSG || r == -E2BIG);
        rest = bytes_of(rest.p + n, rest.n - n);
        if (r == 1) {
            check_whole(&head);
            rest = run_body(&head, rest);
        }
        if (r != 0)
            http_head_reset(&head);
    }
    http_head_free(&head);
    return 0;
}
