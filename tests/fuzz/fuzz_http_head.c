/* The head of an HTTP answer, fed line by line, several answers one after the other. */
#include "http_head.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct http_head head = {0};
    struct bytes rest = bytes_of(data, size);
    while (rest.n) {
        const char *newline = memchr(rest.p, '\n', rest.n);
        size_t n = newline ? (size_t)(newline - rest.p) + 1 : rest.n;
        int r = http_head_add(&head, bytes_of(rest.p, n));
        MUST(r == 0 || r == 1 || r == -EBADMSG || r == -E2BIG);
        if (r == 1)
            check_whole(&head);
        if (r != 0)
            http_head_reset(&head);
        rest = bytes_of(rest.p + n, rest.n - n);
    }
    http_head_free(&head);
    return 0;
}
