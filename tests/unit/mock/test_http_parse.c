/* Request heads and the chunked coding: in pieces, at their limits, and everything that must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http_parse.h"
#include "mem.h"
#include "rng.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int parse(const char *text, size_t n, struct head *head, char **ret_copy) {
    const char *why = "";
    size_t scanned = 0;
    char *copy = malloc(n + 1); /* exactly as long, so that a sanitizer sees a read behind it */
    assert_non_null(copy);
    memcpy(copy, text, n);
    int r = head_parse(copy, n, &scanned, head, &why);
    if (r < 0)
        assert_true(strlen(why) > 0);
    *ret_copy = copy;
    return r;
}

static const char good[] = "PUT /bucket/a%20key?x=1&y HTTP/1.1\r\n"
                           "Host: localhost:1234\r\n"
                           "X-Amz-Meta-Thing:  two words \t\r\n"
                           "empty:\r\n"
                           "Content-Length: 12\r\n"
                           "Connection: keep-alive, Close\r\n"
                           "Expect: 100-continue\r\n"
                           "\r\n";

static void check_good(const struct head *head) {
    assert_int_equal(head->method, HTTP_PUT);
    assert_true(bytes_equal(head->target, BYTES("/bucket/a%20key?x=1&y")));
    assert_true(bytes_equal(head->host, BYTES("localhost:1234")));
    assert_int_equal(head->n_fields, 6);
    assert_true(bytes_equal(head_get(head, "x-amz-meta-thing"), BYTES("two words")));
    assert_non_null(head_get(head, "empty").p);
    assert_int_equal(head_get(head, "empty").n, 0);
    assert_null(head_get(head, "absent").p);
    assert_true(head->has_length && head->length == 12);
    assert_true(head->close && head->expect_continue && !head->chunked);
    assert_int_equal(head->size, sizeof(good) - 1);
}

static void whole(void **state) {
    char *copy;
    static struct head head;
    assert_int_equal(parse(good, sizeof(good) - 1, &head, &copy), 1);
    check_good(&head);
    free(copy);
    /* What follows belongs to the body. */
    char more[sizeof(good) + 20];
    snprintf(more, sizeof(more), "%sGET / HTTP/1.1\n", good);
    assert_int_equal(parse(more, strlen(more), &head, &copy), 1);
    check_good(&head);
    free(copy);
}

static void in_pieces(void **state) {
    static struct head head;
    const char *why = "";
    size_t total = sizeof(good) - 1;
    for (size_t first = 0; first <= total; first++) { /* split once, at every byte */
        char data[sizeof(good)];
        size_t scanned = 0;
        memcpy(data, good, total);
        assert_int_equal(head_parse(data, first, &scanned, &head, &why), first == total);
        if (first < total)
            assert_int_equal(head_parse(data, total, &scanned, &head, &why), 1);
        check_good(&head);
    }
    char data[sizeof(good)]; /* one byte at a time */
    size_t scanned = 0;
    for (size_t n = 1; n <= total; n++) {
        data[n - 1] = good[n - 1];
        assert_int_equal(head_parse(data, n, &scanned, &head, &why), n == total);
    }
    check_good(&head);
}

static void refusals(void **state) {
    static const struct {
        int status;
        const char *text;
    } cases[] = {
        {400, "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET / HTTP/1.1\nHost: h\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\n\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost : h\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n: h\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nA\x01: b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nA: b\x01\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nA: b\x7f\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\ncontent-length: 2\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x1\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551616\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {501, "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"},
        {501, "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n"},
        {501, "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0b"
              "chunked\r\n\r\n"},
        {417, "GET / HTTP/1.1\r\nHost: h\r\nExpect: magic\r\n\r\n"},
        {505, "GET / HTTP/1.0\r\nHost: h\r\n\r\n"},
        {505, "GET / HTTP/2.0\r\nHost: h\r\n\r\n"},
        {400, "GET / HTTP/1.1 \r\nHost: h\r\n\r\n"},
        {400, "GET /\r\nHost: h\r\n\r\n"},
        {400, "GET\r\nHost: h\r\n\r\n"},
        {400, " GET / HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET  / HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "G@T / HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET * HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /\x80 HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /\t HTTP/1.1\r\nHost: h\r\n\r\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        static struct head head;
        char *copy;
        int r = parse(cases[i].text, strlen(cases[i].text), &head, &copy);
        bool vertical_tab = strchr(cases[i].text, '\x0b') != NULL;
        if (r != (vertical_tab ? -400 : -cases[i].status))
            fail_msg("%s: %d", cases[i].text, r);
        free(copy);
    }
    /* A NUL ends nothing. */
    static const char nul[] = "GET / HTTP/1.1\r\nHost: h\r\nA: b\0c\r\n\r\n";
    static struct head head;
    char *copy;
    assert_int_equal(parse(nul, sizeof(nul) - 1, &head, &copy), -400);
    free(copy);
}

static void limits(void **state) {
    static struct head head;
    struct buf text = {0};
    char *copy;
    /* As many fields as there may be, and one more. */
    for (int extra = 0; extra < 2; extra++) {
        buf_reset(&text);
        buf_add_str(&text, "GET / HTTP/1.1\r\nHost: h\r\n");
        for (int i = 1; i < HEAD_FIELDS_MAX + extra; i++)
            buf_printf(&text, "f%d: v\r\n", i);
        buf_add_str(&text, "\r\n");
        assert_int_equal(parse(text.p, text.n, &head, &copy), extra ? -431 : 1);
        free(copy);
    }
    for (int extra = 0; extra < 2; extra++) { /* the longest target */
        buf_reset(&text);
        buf_add_str(&text, "GET /");
        for (int i = 1; i < HEAD_TARGET_MAX + extra; i++)
            buf_add_byte(&text, 'a');
        buf_add_str(&text, " HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_int_equal(parse(text.p, text.n, &head, &copy), extra ? -414 : 1);
        free(copy);
    }
    for (int extra = -1; extra < 2; extra++) { /* the longest head; and one without an end */
        buf_reset(&text);
        buf_add_str(&text, "GET / HTTP/1.1\r\nHost: h\r\nlong: ");
        while (text.n < (size_t)(HEAD_SIZE_MAX - 4 + extra))
            buf_add_byte(&text, 'a');
        assert_int_equal(parse(text.p, text.n, &head, &copy), 0);
        free(copy);
        buf_add_str(&text, "\r\n\r\n");
        assert_int_equal(parse(text.p, text.n, &head, &copy), extra == 1 ? -431 : 1);
        free(copy);
    }
    while (text.n < HEAD_SIZE_MAX + 100)
        buf_add_byte(&text, 'a');
    text.n = HEAD_SIZE_MAX;
    memset(text.p, 'a', text.n);
    assert_int_equal(parse(text.p, text.n, &head, &copy), -431);
    free(copy);
    buf_free(&text);
}

/* Damaged heads are refused or read, but nothing is read behind them, and what is accepted is framed in one way only.
 */
static void damage(void **state) {
    struct rng rng;
    rng_seed(&rng, 11);
    static const char letters[] = "\r\n\t :;,/?=a0\x7f\x80%H";
    for (int i = 0; i < 60000; i++) {
        char text[sizeof(good)];
        size_t n = sizeof(good) - 1;
        memcpy(text, good, n);
        for (uint64_t changes = 1 + rng_below(&rng, 3); changes; changes--)
            text[rng_below(&rng, n)] = letters[rng_below(&rng, sizeof(letters))];
        static struct head head;
        char *copy;
        int r = parse(text, n, &head, &copy);
        if (r == 1) {
            assert_true(head.size <= n && head.host.n > 0 && !(head.chunked && head.has_length));
            assert_true(copy[head.size - 1] == '\n' && copy[head.size - 2] == '\r');
            for (size_t at = 1; at < head.size; at++)
                assert_true((copy[at] == '\n') == (copy[at - 1] == '\r'));
        }
        free(copy);
    }
}

/* ---- chunked ---- */

static int collect(void *arg, struct bytes piece) {
    return buf_add_bytes(arg, piece);
}

static const char stream[] = "4\r\nWiki\r\n"
                             "A;chunk-signature=abc\r\n0123456789\r\n"
                             "0a\r\n\r\n\r\n\r\n\r\n\r\n\r\n"
                             "0\r\nX-Amz-Checksum-CRC32: abcd==\r\nother:1\r\n\r\nnext";
static const char content[] = "Wiki0123456789\r\n\r\n\r\n\r\n\r\n";

static void chunks_in_pieces(void **state) {
    size_t total = sizeof(stream) - 1;
    for (size_t first = 0; first <= total; first++) {
        struct chunked chunked;
        struct buf out = {0};
        size_t used = 0, sum = 0;
        chunked_init(&chunked);
        int r = chunked_feed(&chunked, bytes_of(stream, first), &used, collect, &out);
        assert_true(r == (first >= total - 4));
        sum += used;
        if (r == 0) {
            assert_int_equal(used, first);
            r = chunked_feed(&chunked, bytes_of(stream + first, total - first), &used, collect, &out);
            sum += used;
        }
        assert_int_equal(r, 1);
        assert_int_equal(sum, total - 4);
        assert_true(bytes_equal(buf_bytes(&out), bytes_str(content)));
        assert_true(bytes_equal(chunked_trailer(&chunked, BYTES("x-amz-checksum-crc32")), BYTES("abcd==")));
        assert_true(bytes_equal(chunked_trailer(&chunked, BYTES("other")), BYTES("1")));
        assert_null(chunked_trailer(&chunked, BYTES("oth")).p);
        chunked_free(&chunked);
        buf_free(&out);
    }
}

static int feed_text(const char *text, size_t n) {
    struct chunked chunked;
    struct buf out = {0};
    size_t used = 0;
    chunked_init(&chunked);
    int r = chunked_feed(&chunked, bytes_of(text, n), &used, collect, &out);
    chunked_free(&chunked);
    buf_free(&out);
    return r;
}

static void chunk_refusals(void **state) {
    static const char *const cases[] = {
        "\r\n",         "g\r\n",
        "-1\r\n",       "1\n",
        "1 \r\nx",      "1;a\nx",
        "1\r\nxy",      "1\r\nx\n",
        "1\r\nx\r\r",   "0\r\n\n",
        "0\r\na\r\r",   "0\r\n a: b\r\n\r\n",
        "0x1\r\nx\r\n", "1000000000000000\r\n",
        ";a\r\n",       "1;\x01\r\nx\r\n",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (feed_text(cases[i], strlen(cases[i])) != -EINVAL)
            fail_msg("%s", cases[i]);
    /* Extensions and trailers have limits. */
    struct buf text = {0};
    buf_add_str(&text, "1;");
    for (int i = 0; i < CHUNK_LINE_MAX + 1; i++)
        buf_add_byte(&text, 'e');
    assert_int_equal(feed_text(text.p, text.n), -EINVAL);
    buf_reset(&text);
    buf_add_str(&text, "0\r\nt:");
    for (int i = 0; i < CHUNK_TRAILERS_MAX; i++)
        buf_add_byte(&text, 'e');
    assert_int_equal(feed_text(text.p, text.n), -EINVAL);
    buf_free(&text);
}

static int refuse_piece(void *arg, struct bytes piece) {
    return -E2BIG;
}

static void sink_refuses(void **state) {
    struct chunked chunked;
    size_t used = 0;
    chunked_init(&chunked);
    assert_int_equal(chunked_feed(&chunked, BYTES("1\r\nx\r\n0\r\n\r\n"), &used, refuse_piece, NULL), -E2BIG);
    chunked_free(&chunked);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),          cmocka_unit_test(in_pieces),    cmocka_unit_test(refusals),
        cmocka_unit_test(limits),         cmocka_unit_test(damage),       cmocka_unit_test(chunks_in_pieces),
        cmocka_unit_test(chunk_refusals), cmocka_unit_test(sink_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
