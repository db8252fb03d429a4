/* test_xml_plain.c - what is plain is told as it is; all else is left to others, wherever it stands. */
#include "xml_plain.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* What the events told: `<name`, text, `>`. */
struct told {
    struct buf events;
    size_t stop_after; /* events; 0: never */
    size_t n;
};

static int add(struct told *told, const char *before, struct bytes text) {
    assert_int_equal(buf_add_str(&told->events, before), 0);
    assert_int_equal(buf_add(&told->events, text.p, text.n), 0);
    return ++told->n == told->stop_after ? -EBADMSG : 0;
}

static int start(void *arg, struct bytes name) {
    return add(arg, "<", name);
}

static int text(void *arg, struct bytes piece) {
    return add(arg, "", piece);
}

static int end(void *arg) {
    return add(arg, ">", BYTES_NONE);
}

static const struct xml_plain_events events = {start, text, end};

static int read_it(struct bytes document, struct told *told) {
    *told = (struct told){.stop_after = told->stop_after};
    return xml_plain_read(document, &events, told);
}

static void test_plain(void **state) {
    static const struct {
        const char *document, *told;
    } cases[] = {
        {"<a/>", "<a>"},
        {"<a></a>", "<a>"},
        {"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">x</a>\n",
         "<ax>"},
        {"<?xml version='1.0' encoding='UTF-8'?><a/>", "<a>"},
        {"<?xml version=\"1.0\"?>\n\n<a/>", "<a>"},
        {"<a><b>1</b>\n\t<c xmlns=\"\"/><b>2</b></a> \n", "<a<b1>\n\t<c><b2>>"},
        {"<A_1.x-y>it's \"here\" ]] ;#</A_1.x-y>", "<A_1.x-yit's \"here\" ]] ;#>"},
        {"<a>&quot;&amp;&lt;&gt;&apos;</a>", "<a\"&<>'>"},
        {"<a>x&#34;&#x22;&#x4A;&#x4a;&#126;&#032;y</a>", "<ax\"\"JJ~ y>"},
        {"<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a></a></a></a></a></a></a></a></a></a></a></a></a></a></a></"
         "a></a>",
         "<a<a<a<a<a<a<a<a<a<a<a<a<a<a<a<a>>>>>>>>>>>>>>>>"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct told told = {0};
        struct bytes document = bytes_str(cases[i].document);
        assert_int_equal(read_it(document, &told), 0);
        struct bytes all = buf_bytes(&told.events);
        if (!bytes_equal(all, bytes_str(cases[i].told)))
            fail_msg("'%s' was told as '%.*s'", cases[i].document, (int)all.n, all.p);
        buf_free(&told.events);
        /* No part of it is a document, but for blanks at the end. */
        size_t least = document.n;
        while (strchr(" \n", document.p[least - 1]))
            least--;
        for (size_t n = 0; n < least; n++) {
            assert_int_equal(read_it(bytes_of(document.p, n), &told), XML_NOT_PLAIN);
            buf_free(&told.events);
        }
    }
}

static void test_not_plain(void **state) {
    static const char *const cases[] = {
        /* More than plain. */
        "<a>\xc3\xa9</a>",
        "<a b=\"c\"/>",
        "<a xmlns='x'/>",
        "<a  xmlns=\"x\"/>",
        "<a xmlns:b=\"x\"/>",
        "<b:a/>",
        "<a/ >",
        "<a >x</a>",
        "<a>x</a >",
        "<!-- --><a/>",
        "<a><!-- --></a>",
        "<a/><!-- -->",
        "<a><![CDATA[x]]></a>",
        "<a><?b?></a>",
        "<?b?><a/>",
        "<!DOCTYPE a><a/>",
        "<?xml version=\"1.1\"?><a/>",
        "<?xml version=\"1.0\" encoding=\"UTF-16\"?><a/>",
        "<a>x\r\n</a>",
        "<a>1 > 0</a>",
        "<a xmlns=\"&amp;\"/>",
        "<a>&#233;</a>",
        "<a>&#10;</a>",
        "\xef\xbb\xbf<a/>",
        "<a>\x7f</a>",
        /* Not well-formed. */
        "",
        " ",
        "x",
        "<",
        "<>",
        "</a>",
        "<a>",
        "<a></b>",
        "<a></ab>",
        "<a></>",
        "<a/></a>",
        "<a/><a/>",
        "<a/>x",
        "x<a/>",
        "<a",
        "<a></a",
        "<1/>",
        "<-a/>",
        "<a><b></a></b>",
        "<a>]]></a>",
        "<a>&</a>",
        "<a>&;</a>",
        "<a>&b;</a>",
        "<a>&quot</a>",
        "<a>&#;</a>",
        "<a>&#x;</a>",
        "<a>&#X22;</a>",
        "<a>&#3a;</a>",
        "<a>&#34</a>",
        "<a>&#xg;</a>",
        "<a>&#-34;</a>",
        "<a>&#0;</a>",
        "<a>\x01</a>",
        "<a xmlns=\"x\" xmlns=\"x\"/>",
        "<a xmlns=x/>",
        "<a xmlns/>",
        "<a xmlns=\"<\"/>",
        "<a xmlns=\"x/>",
        "<axmlns=\"x\"/>",
        "<a>&#99999999999999999999;</a>",
        "<a>&#\x13\x14;</a>",
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct told told = {0};
        if (read_it(bytes_str(cases[i]), &told) != XML_NOT_PLAIN)
            fail_msg("'%s' was taken for plain", cases[i]);
        buf_free(&told.events);
    }
    struct told told = {0};
    assert_int_equal(read_it(bytes_of("<a>\0</a>", 8), &told), XML_NOT_PLAIN);
    buf_free(&told.events);
    assert_int_equal(read_it(BYTES("<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a/>"), &told), XML_NOT_PLAIN);
    assert_int_equal(told.n, XML_PLAIN_DEPTH_MAX);
    buf_free(&told.events);
}

static void test_stops_when_told(void **state) {
    struct bytes document = BYTES("<a>x&amp;<b/></a>");
    for (size_t n = 1; n <= 6; n++) {
        struct told told = {.stop_after = n};
        assert_int_equal(read_it(document, &told), -EBADMSG);
        assert_int_equal(told.n, n);
        buf_free(&told.events);
    }
    struct told told = {.stop_after = 7};
    assert_int_equal(read_it(document, &told), 0);
    buf_free(&told.events);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_not_plain),
        cmocka_unit_test(test_stops_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
