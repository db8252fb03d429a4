/* test_http_text.c - URLs are cut where they should be, heads are what was asked for, and nothing else gets into them.
 */
#include "http_text.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void urls_are_cut(void **state) {
    static const struct {
        const char *url, *base, *authority, *target; /* NULL: refused */
        bool tls;
    } cases[] = {
        {"http://h/a?b#c", "http://h", "h", "/a?b", false},
        {"https://h:443/", "https://h:443", "h", "/", true},
        {"https://h:80/", "https://h:80", "h:80", "/", true},
        {"http://h:80", "http://h:80", "h", "/", false},
        {"http://h:443/x", "http://h:443", "h:443", "/x", false},
        {"http://h:8080/x", "http://h:8080", "h:8080", "/x", false},
        {"http://h:180/x", "http://h:180", "h:180", "/x", false},
        {"http://[::1]:9000/x", "http://[::1]:9000", "[::1]:9000", "/x", false},
        {"http://[fe80::80]/x", "http://[fe80::80]", "[fe80::80]", "/x", false},
        {"http://h?q=/a", "http://h", "h", "/?q=/a", false},
        {"http://h#f", "http://h", "h", "/", false},
        {"http://h//a/../b", "http://h", "h", "//a/../b", false},
        {"h/a", NULL, NULL, NULL, false},
        {"", NULL, NULL, NULL, false},
        {"http://u:p@h/a", NULL, NULL, NULL, false},
        {"http://h/a@b", "http://h", "h", "/a@b", false},
        {"http://h/a b", NULL, NULL, NULL, false},
        {"http://h/a\x7f", NULL, NULL, NULL, false},
        {"http://h/\xc3\xa9", NULL, NULL, NULL, false},
        {"http://h/a\r\nx: y", NULL, NULL, NULL, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http_url url;
        int r = http_url_cut(cases[i].url, &url);
        if (!cases[i].base) {
            assert_int_equal(r, -EINVAL);
            continue;
        }
        assert_int_equal(r, 0);
        struct buf target = {0};
        buf_add_str(&target, url.rootless ? "/" : "");
        buf_add_bytes(&target, url.target);
        if (!bytes_equal(url.base, bytes_str(cases[i].base)) ||
            !bytes_equal(url.authority, bytes_str(cases[i].authority)) ||
            !bytes_equal(buf_bytes(&target), bytes_str(cases[i].target)) || url.tls != cases[i].tls)
            fail_msg("%s: base %.*s, authority %.*s, target %s", cases[i].url, (int)url.base.n, url.base.p,
                     (int)url.authority.n, url.authority.p, target.p);
        buf_free(&target);
    }
}

static void heads_are_written_into_room_that_was_made(void **state) {
    struct http_url url;
    assert_int_equal(http_url_cut("https://h:9/k?x", &url), 0);
    struct http_field fields[] = {{BYTES("authorization"), BYTES("secret")}, {BYTES("empty"), BYTES_NONE}};
    struct http_send send = {
        .method = "PUT", .fields = fields, .n_fields = 2, .body = BYTES("12345"), .has_body = true};
    struct buf text = {0};
    assert_int_equal(http_text_head(&text, &url, &send, 100), 0);
    assert_string_equal(text.p, "PUT /k?x HTTP/1.1\r\nHost: h:9\r\nauthorization: secret\r\nempty:\r\n"
                                "Content-Length: 5\r\n\r\n");
    assert_true(text.cap > text.n + 100);
    buf_free(&text);
}

static void nothing_else_gets_into_a_head(void **state) {
    struct http_url url;
    assert_int_equal(http_url_cut("http://h/", &url), 0);
    static const char *const methods[] = {"", "get", "GET ", "GET /x HTTP/1.1\r\nx: y\r\n\r\nGET", "P-T"};
    struct buf text = {0};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        assert_int_equal(http_text_head(&text, &url, &(struct http_send){.method = methods[i]}, 0), -EINVAL);
    static const char bad[] = {'\r', '\n', '\0'};
    for (size_t i = 0; i < sizeof bad; i++) {
        const char in[] = {'a', bad[i], 'b'};
        struct http_field name = {bytes_of(in, 3), BYTES("v")}, value = {BYTES("n"), bytes_of(in, 3)};
        struct http_send send = {.method = "GET", .fields = &name, .n_fields = 1};
        assert_int_equal(http_text_head(&text, &url, &send, 0), -EINVAL);
        send.fields = &value;
        assert_int_equal(http_text_head(&text, &url, &send, 0), -EINVAL);
    }
    assert_int_equal(text.n, 0);
    buf_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_cut),
        cmocka_unit_test(heads_are_written_into_room_that_was_made),
        cmocka_unit_test(nothing_else_gets_into_a_head),
    };
    return cmocka_run_group_tests_name("http text", tests, NULL, NULL);
}
