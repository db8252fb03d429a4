/* test_doc.c - configuration files: the tree, its places, and every way in which a file is refused. */
#include "doc.h"

#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct doc *parse(const char *text) {
    struct doc *doc;
    struct err err = {0};
    if (doc_parse("f.yaml", bytes_str(text), &doc, &err) < 0)
        fail_msg("%s", err.text);
    return doc;
}

static void place(const struct doc_node *node, enum doc_kind kind, uint32_t line, uint32_t column) {
    assert_non_null(node);
    assert_int_equal(node->kind, kind);
    assert_int_equal(node->line, line);
    assert_int_equal(node->column, column);
}

static void test_tree(void **state) {
    struct doc *doc = parse("# a comment\n"
                            "a: 1\n"
                            "\xc3\xa4: \"two\"   # and one here\n"
                            "list: [x, 'y',\n"
                            "       {deep: z}]\n"
                            "folded: >-\n"
                            "  one\n"
                            "  line\n"
                            "nothing:\n"
                            "null: ~\n");
    const struct doc_node *root = doc->root;
    place(root, DOC_MAP, 2, 1);
    assert_int_equal(root->n, 6);
    place(doc_get(root, "a"), DOC_TEXT, 2, 4);
    assert_true(doc_get(root, "a")->plain);
    place(doc_get(root, "\xc3\xa4"), DOC_TEXT, 3, 4); /* characters, not bytes */
    assert_false(doc_get(root, "\xc3\xa4")->plain);
    assert_string_equal(doc_get(root, "\xc3\xa4")->text.p, "two");
    const struct doc_node *list = doc_get(root, "list");
    place(list, DOC_LIST, 4, 7);
    place(list->key, DOC_TEXT, 4, 1);
    assert_int_equal(list->n, 3);
    place(list->first->next->next, DOC_MAP, 5, 8);
    assert_string_equal(doc_get(list->first->next->next, "deep")->text.p, "z");
    assert_string_equal(doc_get(root, "folded")->text.p, "one line");
    assert_false(doc_get(root, "folded")->plain);
    assert_true(doc_is_nothing(doc_get(root, "nothing")));
    assert_true(doc_is_nothing(doc_get(root, "null")));
    assert_false(doc_is_nothing(list));
    assert_null(doc_get(root, "b"));
    assert_null(doc_get(list, "b"));
    assert_null(doc_get(NULL, "b"));
    assert_string_equal(doc_what(list), "a list");
    assert_string_equal(doc_what(root), "a mapping");
    assert_string_equal(doc_what(doc_get(root, "a")), "a text");
    assert_string_equal(doc_what(doc_get(root, "nothing")), "nothing");
    doc_free(doc);
}

static void test_empty(void **state) {
    static const char *const texts[] = {"", "\n\n", "# only a comment", "\xef\xbb\xbf"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct doc *doc = parse(texts[i]);
        assert_null(doc->root);
        doc_free(doc);
    }
    struct doc *doc = parse("---\n");
    assert_true(doc_is_nothing(doc->root));
    doc_free(doc);
    doc_free(NULL);
}

static void test_refused(void **state) {
    static const struct {
        const char *text, *error; /* its beginning */
    } cases[] = {
        {"a: &x 1", "f.yaml:1:4: anchors"},
        {"\xef\xbb\xbf"
         "a: &x 1",
         "f.yaml:1:4: anchors"},
        {"\xef\xbb\xbf"
         "a: 1\r\nb: &x 1",
         "f.yaml:2:4: anchors"},
        {"a: *x", "f.yaml:1:4: aliases"},
        {"a: *.jpg", "f.yaml:1:4: a text that begins with * or & has to be in quotes"},
        {"a: [1, *]", "f.yaml:1:8: a text that begins with * or & has to be in quotes"},
        {"a: !x 1", "f.yaml:1:4: tags"},
        {"a: !!str 1", "f.yaml:1:4: tags"},
        {"a: !<x> {b: c}", "f.yaml:1:4: tags"},
        {"a: ! 1", "f.yaml:1:4: tags"},
        {"a: &x [1]", "f.yaml:1:4: anchors"},
        {"&k a: 1", "f.yaml:1:1: anchors"},
        {"a: 1\nb: 2\na: 3", "f.yaml:3:1: the key 'a' stands twice; it was first given in line 1"},
        {"x: {a: 1, \"a\": 2}", "f.yaml:1:11: the key 'a' stands twice"},
        {"? [a]\n: b", "f.yaml:1:3: a key has to be a text, not a list"},
        {"? {a: b}\n: b", "f.yaml:1:3: a key has to be a text, not a mapping"},
        {"a: 1\n---\nb: 2", "f.yaml:2:1: a second document"},
        {"a: \"\\0\"", "f.yaml:1:4: a text with a NUL character"},
        {"a: [1", "f.yaml:2:1: not YAML: while parsing a flow sequence"},
        {"a: \"x", "f.yaml:1:6: not YAML: "},
        {"a:\n\tb: 1", "f.yaml:2:1: no text begins with this character"},
        {"a: @x", "f.yaml:1:4: no text begins with this character"},
        {"a: 1\n b: 2", "f.yaml:2:3: not YAML: mapping values are not allowed"},
        {"a: %x\n%y", "f.yaml:1:4: no text begins with this character"},
        {"a: \xff", "f.yaml:1:4: invalid leading UTF-8 octet; the file has to be UTF-8"},
        {"a: 1\nb: \xc3\xa4\xff", "f.yaml:2:5: invalid leading UTF-8 octet"},
        {"a: \x01", "f.yaml:1:4: control characters are not allowed"},
        {"[[[[[[[[[[[[[[[[[", "f.yaml:1:17: lists and mappings are nested too deeply"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct doc *doc;
        struct err err = {0};
        assert_int_equal(doc_parse("f.yaml", bytes_str(cases[i].text), &doc, &err), -EINVAL);
        if (strncmp(err.text, cases[i].error, strlen(cases[i].error)) != 0)
            fail_msg("'%s' gives: %s", cases[i].text, err.text);
    }
}

static void fill(struct buf *buf, size_t n, const char *item) {
    for (size_t i = 0; i < n; i++)
        assert_int_equal(buf_add_str(buf, item), 0);
}

static void test_limits(void **state) {
    _cleanup_buf_ struct buf text = {0};
    struct doc *doc;
    struct err err = {0};
    fill(&text, DOC_BYTES_MAX, " ");
    assert_int_equal(doc_parse("f", buf_bytes(&text), &doc, &err), 0);
    doc_free(doc);
    fill(&text, 1, " ");
    assert_int_equal(doc_parse("f", buf_bytes(&text), &doc, &err), -E2BIG);
    assert_non_null(strstr(err.text, "1024 KiB"));
    buf_reset(&text);
    fill(&text, DOC_NODES_MAX - 1, "- x\n"); /* and the list */
    assert_int_equal(doc_parse("f", buf_bytes(&text), &doc, &err), 0);
    doc_free(doc);
    fill(&text, 1, "- x\n");
    assert_int_equal(doc_parse("f", buf_bytes(&text), &doc, &err), -EINVAL);
    assert_non_null(strstr(err.text, "more than a configuration file may hold"));
    buf_reset(&text);
    fill(&text, DOC_DEPTH_MAX, "[");
    fill(&text, DOC_DEPTH_MAX, "]");
    assert_int_equal(doc_parse("f", buf_bytes(&text), &doc, &err), 0);
    doc_free(doc);
}

static void test_known_keys(void **state) {
    static const char *const known[] = {"slots", "store", NULL};
    struct err err = {0};
    struct doc *doc = parse("store: 1\nslots: 2");
    assert_int_equal(doc_check_keys(doc, doc->root, known, "", &err), 0);
    doc_free(doc);
    doc = parse("store: 1\nslot: 2");
    assert_int_equal(doc_check_keys(doc, doc->root, known, "", &err), -EINVAL);
    assert_string_equal(err.text, "f.yaml:2:1: unknown key 'slot'; did you mean slots?");
    doc_free(doc);
    doc = parse("\"\\x1b[31m\": 2");
    assert_int_equal(doc_check_keys(doc, doc->root, known, "of a rule", &err), -EINVAL);
    assert_string_equal(err.text, "f.yaml:1:1: unknown key '\\x1b[31m' of a rule; there are slots, store");
    doc_free(doc);
}

/* A store's URI that stands where a key belongs, as where "store:" was forgotten. */
static void test_no_password_is_shown(void **state) {
    static const char *const known[] = {"slots", "store", NULL};
    static const struct {
        const char *text, *shown;
    } cases[] = {
        {"postgres://u:pw@h: 3", "unknown key 'postgres://u:***@h'; there are slots, store"},
        {"? postgres://h/d?password=pw&a=b\n: 3", "unknown key 'postgres://h/d?password=***&a=b'; "},
        /* What ends the password stands behind what is shown of a key. */
        {"postgres://u:pwpwpwpwpwpwpwpwpwpwpwpwpwpwpwpwpwpwpwpwpwpwpwpwpwpwpwpwpwpw@h/d: 3",
         "unknown key 'postgres://u:***@h/d'; "},
        {"postgres://u:pw@h: 3\npostgres://u:pw@h: 4", "the key 'postgres://u:***@h' stands twice; "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct doc *doc = NULL;
        struct err err = {0};
        int r = doc_parse("f", bytes_str(cases[i].text), &doc, &err);
        if (r == 0)
            r = doc_check_keys(doc, doc->root, known, "", &err);
        assert_int_equal(r, -EINVAL);
        assert_null(strstr(err.text, "pw"));
        if (!strstr(err.text, cases[i].shown))
            fail_msg("'%s' gives: %s", cases[i].text, err.text);
        doc_free(doc);
    }
}

static void test_files(void **state) {
    char path[] = "/tmp/test_doc.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "a: 1\n", 5), 5);
    close(fd);
    struct doc *doc;
    struct err err = {0};
    assert_int_equal(doc_read(path, &doc, &err), 0);
    assert_string_equal(doc_get(doc->root, "a")->text.p, "1");
    doc_free(doc);
    unlink(path);
    assert_int_equal(doc_read(path, &doc, &err), -ENOENT);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(doc_read("/tmp", &doc, &err), -EISDIR);
    assert_int_equal(doc_read("/dev/zero", &doc, &err), -E2BIG);
}

static void test_any_allocation_may_fail(void **state) {
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        struct doc *doc = NULL;
        struct err err = {0};
        mem_fail_at(n, 0);
        int r = doc_parse("f", BYTES("a: [b, {c: d}]\n"), &doc, &err);
        done = mem_fail_count() < n;
        mem_fail_at(0, 0);
        assert_int_equal(r, done ? 0 : -ENOMEM);
        doc_free(doc);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),       cmocka_unit_test(test_empty),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_limits),
        cmocka_unit_test(test_known_keys), cmocka_unit_test(test_no_password_is_shown),
        cmocka_unit_test(test_files),      cmocka_unit_test(test_any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
