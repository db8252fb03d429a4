/* test_http_body.c - framing: which one a head asks for, and what it lets through, however the bytes are cut. */
#include "http_body.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void read_head(struct http_head *head, const char *text) {
    for (const char *end; (end = strchr(text, '\n')); text = end + 1)
        assert_int_equal(http_head_add(head, bytes_of(text, (size_t)(end - text) + 1)), end[1] == '\0');
    assert_true(head->whole);
}

#define OK "HTTP/1.1 200 OK\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n"

static void heads_choose_the_framing(void **state) {
    static const struct {
        const char *head;
        bool bodiless;
        int r;
        enum http_framing framing;
        bool whole, keeps;
    } cases[] = {
        {OK "Content-Length: 5\r\n\r\n", false, 0, HTTP_FRAMING_LENGTH, false, true},
        {OK "Content-Length: 0\r\n\r\n", false, 0, HTTP_FRAMING_LENGTH, true, true},
        {OK "Content-Length: 18446744073709551615\r\n\r\n", false, 0, HTTP_FRAMING_LENGTH, false, true},
        {OK "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", false, 0, HTTP_FRAMING_LENGTH, false, true},
        {OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", false, -EBADMSG, 0, false, true},
        {OK "Content-Length: 18446744073709551616\r\n\r\n", false, -EBADMSG, 0, false, true},
        {OK "Content-Length: -1\r\n\r\n", false, -EBADMSG, 0, false, true},
        {OK "Content-Length: 5, 5\r\n\r\n", false, -EBADMSG, 0, false, true},
        {OK "Content-Length:\r\n\r\n", false, -EBADMSG, 0, false, true},
        {OK "Content-Length: 5\r\n\r\n", true, 0, HTTP_FRAMING_NONE, true, true},
        {OK CHUNKED "\r\n", true, 0, HTTP_FRAMING_NONE, true, true},
        {OK CHUNKED "\r\n", false, 0, HTTP_FRAMING_CHUNKED, false, true},
        {OK "transfer-encoding: CHUNKED\r\n\r\n", false, 0, HTTP_FRAMING_CHUNKED, false, true},
        {OK CHUNKED CHUNKED "\r\n", false, -EBADMSG, 0, false, true},
        {OK "Transfer-Encoding: gzip, chunked\r\n\r\n", false, -EBADMSG, 0, false, true},
        {OK "Transfer-Encoding: identity\r\n\r\n", false, -EBADMSG, 0, false, true},
        {OK CHUNKED "Content-Length: 5\r\n\r\n", false, 0, HTTP_FRAMING_CHUNKED, false, false},
        {OK "\r\n", false, 0, HTTP_FRAMING_CLOSE, false, false},
        {OK "Connection: close\r\nContent-Length: 5\r\n\r\n", false, 0, HTTP_FRAMING_LENGTH, false, false},
        {OK "Connection: x, Close ,y\r\nContent-Length: 5\r\n\r\n", false, 0, HTTP_FRAMING_LENGTH, false, false},
        {OK "Connection: closed\r\nContent-Length: 5\r\n\r\n", false, 0, HTTP_FRAMING_LENGTH, false, true},
        {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", false, 0, HTTP_FRAMING_LENGTH, false, false},
        {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n", false, 0, HTTP_FRAMING_LENGTH, false,
         true},
        {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" CHUNKED "\r\n", false, 0, HTTP_FRAMING_CHUNKED, false, false},
        {"HTTP/1.1 204 No Content\r\n\r\n", false, 0, HTTP_FRAMING_NONE, true, true},
        {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, 0, HTTP_FRAMING_NONE, true, true},
        {"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n", false, 0, HTTP_FRAMING_LENGTH, false, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http_head head = {0};
        struct http_body body;
        read_head(&head, cases[i].head);
        int r = http_body_begin(&body, &head, cases[i].bodiless);
        if (r != cases[i].r || (r == 0 && (body.framing != cases[i].framing || body.whole != cases[i].whole ||
                                           body.keeps != cases[i].keeps)))
            fail_msg("%s: %d, framing %d, whole %d, keeps %d", cases[i].head, r, body.framing, body.whole, body.keeps);
        http_head_free(&head);
    }
}

/* What comes of `text` when it is cut after each `step` bytes; what is left of it after the body in *ret_left. */
static int run(const char *head_text, struct bytes text, size_t step, struct buf *got, bool *ret_whole,
               size_t *ret_left) {
    struct http_head head = {0};
    struct http_body body;
    read_head(&head, head_text);
    int r = http_body_begin(&body, &head, false);
    while (r >= 0 && text.n && !body.whole) {
        struct bytes rest = bytes_of(text.p, text.n < step ? text.n : step), piece;
        text = bytes_of(text.p + rest.n, text.n - rest.n);
        while ((r = http_body_take(&body, &rest, &piece)) > 0) {
            assert_true(piece.n > 0);
            buf_add_bytes(got, piece);
        }
        assert_true(r < 0 || rest.n == 0 || body.whole);
        text = bytes_of(text.p - rest.n, text.n + rest.n);
    }
    *ret_whole = body.whole;
    *ret_left = text.n;
    http_head_free(&head);
    return r;
}

static void bodies_end_where_they_should(void **state) {
    static const struct {
        const char *head, *text, *body;
        int r;
        bool whole;
        size_t left;
    } cases[] = {
        {OK "Content-Length: 5\r\n\r\n", "helloHTTP/1.1", "hello", 0, true, 8},
        {OK "Content-Length: 9\r\n\r\n", "hello", "hello", 0, false, 0},
        {OK "\r\n", "until\r\nit ends", "until\r\nit ends", 0, false, 0},
        {OK CHUNKED "\r\n", "5\r\nhello\r\n0\r\n\r\nHTTP", "hello", 0, true, 4},
        {OK CHUNKED "\r\n", "000000000000000000005\r\nhello\r\n0\r\n\r\n", "hello", 0, true, 0},
        {OK CHUNKED "\r\n", "A;name=\"v;\"\r\n0123456789\r\n00;x\r\nTrailer: 1\r\nOther: 2\r\n\r\n", "0123456789", 0,
         true, 0},
        {OK CHUNKED "\r\n", "2\nab\n1\nc\n0\n\n", "abc", 0, true, 0},
        {OK CHUNKED "\r\n", "0\r\n\r\n", "", 0, true, 0},
        {OK CHUNKED "\r\n", "3\r\nabc\r\n", "abc", 0, false, 0},
        {OK CHUNKED "\r\n", "\r\nabc", "", -EBADMSG, false, 0},
        {OK CHUNKED "\r\n", "xyz\r\n", "", -EBADMSG, false, 0},
        {OK CHUNKED "\r\n", "-1\r\na", "", -EBADMSG, false, 0},
        {OK CHUNKED "\r\n", "2\r\nabc\r\n", "ab", -EBADMSG, false, 0},
        {OK CHUNKED "\r\n", "10000000000000000\r\n", "", -EBADMSG, false, 0},
        {OK CHUNKED "\r\n", "ffffffffffffffff\r\nabc", "abc", 0, false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t step = 1; step <= strlen(cases[i].text); step++) {
            struct buf got = {0};
            bool whole;
            size_t left;
            int r = run(cases[i].head, bytes_str(cases[i].text), step, &got, &whole, &left);
            if (r != cases[i].r || !bytes_equal(buf_bytes(&got), bytes_str(cases[i].body)) || whole != cases[i].whole ||
                (r == 0 && left != cases[i].left))
                fail_msg("case %zu, step %zu: %d, '%s', whole %d, %zu left", i, step, r, got.p ? got.p : "", whole,
                         left);
            buf_free(&got);
        }
}

/* Neither extensions nor trailers nor lines of nothing go on for ever. Chunks of a byte may. */
static void what_is_not_body_has_a_limit(void **state) {
    static const char *const begins[] = {"1;", "0\r\n", "0\r\nx: "};
    static const char *const fillers[] = {"x=y;", "a: b\r\n", "y"};
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
        struct buf text = {0}, got = {0};
        buf_add_str(&text, begins[i]);
        while (text.n <= HTTP_HEADERS_MAX)
            buf_add_str(&text, fillers[i]);
        bool whole;
        size_t left;
        assert_int_equal(run(OK CHUNKED "\r\n", buf_bytes(&text), 4096, &got, &whole, &left), -E2BIG);
        buf_free(&text);
        buf_free(&got);
    }
    struct buf text = {0}, got = {0};
    for (size_t i = 0; i < HTTP_HEADERS_MAX; i++)
        buf_add_str(&text, "1\r\nx\r\n");
    buf_add_str(&text, "0\r\n\r\n");
    bool whole;
    size_t left;
    assert_int_equal(run(OK CHUNKED "\r\n", buf_bytes(&text), 4096, &got, &whole, &left), 0);
    assert_true(whole);
    assert_int_equal(got.n, HTTP_HEADERS_MAX);
    buf_free(&text);
    buf_free(&got);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_choose_the_framing),
        cmocka_unit_test(bodies_end_where_they_should),
        cmocka_unit_test(what_is_not_body_has_a_limit),
    };
    return cmocka_run_group_tests_name("http body", tests, NULL, NULL);
}
