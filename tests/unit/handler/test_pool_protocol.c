/* test_pool_protocol.c - lines for workers, and lines of theirs. */
#include "pool_support.h"

#include "cleanup.h"
#include "pool_protocol.h"
#include "text.h"

#include <jansson.h>

static json_t *request(const struct handler_object *object, enum handler_pool_body body, const char *path) {
    _cleanup_buf_ struct buf members = {0}, line = {0};
    assert_int_equal(pool_add_object(&members, object), 0);
    assert_int_equal(pool_add_request(&line, UINT64_C(7) << 40, object->size, body, path, buf_bytes(&members)), 0);
    assert_true(line.p[line.n - 1] == '\n');
    assert_ptr_equal(memchr(line.p, '\n', line.n), line.p + line.n - 1);
    json_t *json = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    assert_non_null(json);
    assert_int_equal(json_integer_value(json_object_get(json, "id")), UINT64_C(7) << 40);
    return json;
}

static void is_text(const json_t *json, const char *name, struct bytes text) {
    const json_t *value = json_object_get(json, name);
    assert_true(json_is_string(value));
    assert_int_equal(json_string_length(value), text.n);
    assert_memory_equal(json_string_value(value), text.p, text.n);
}

static void test_requests(void **state) {
    const struct handler_meta metadata[] = {
        {BYTES("color"), BYTES("dark \"green\"\n")}, {BYTES("color"), BYTES("red")}, {BYTES("b"), BYTES("\xff")}};
    struct handler_object object = {
        .bucket = BYTES("bucket-1"),
        .key = BYTES("a/\0\n\xc3\xa4"),
        .etag = BYTES("\"abc\""),
        .version_id = BYTES("v1"),
        .content_type = BYTES("text/plain"),
        .size = 5000000000,
        .attempt = 3,
        .run_id = "7:3",
        .metadata = metadata,
        .n_metadata = 3,
    };
    json_t *json = request(&object, HANDLER_POOL_INLINE, NULL);
    is_text(json, "bucket", BYTES("bucket-1"));
    is_text(json, "key", object.key);
    is_text(json, "key_url", BYTES("a%2F%00%0A%C3%A4"));
    is_text(json, "etag", BYTES("abc"));
    is_text(json, "version_id", BYTES("v1"));
    is_text(json, "content_type", BYTES("text/plain"));
    is_text(json, "run_id", BYTES("7:3"));
    assert_int_equal(json_integer_value(json_object_get(json, "body_bytes")), 5000000000);
    assert_int_equal(json_integer_value(json_object_get(json, "size")), 5000000000);
    assert_int_equal(json_integer_value(json_object_get(json, "attempt")), 3);
    const json_t *meta = json_object_get(json, "metadata");
    assert_int_equal(json_object_size(meta), 2);
    is_text(meta, "color", BYTES("dark \"green\"\n"));
    is_text(meta, "b", BYTES("\xef\xbf\xbd"));
    assert_true(!json_object_get(json, "path") && !json_object_get(json, "socket"));
    json_decref(json);
    /* A key that is no text has no text that might be another's. */
    object.key = BYTES("a\xff");
    json = request(&object, HANDLER_POOL_PATH, "/tmp/x/1");
    assert_true(json_is_null(json_object_get(json, "key")));
    is_text(json, "key_url", BYTES("a%FF"));
    is_text(json, "path", BYTES("/tmp/x/1"));
    assert_int_equal(json_integer_value(json_object_get(json, "body_bytes")), 0);
    assert_int_equal(json_integer_value(json_object_get(json, "size")), 5000000000);
    assert_null(json_object_get(json, "socket"));
    json_decref(json);
    json = request(&object, HANDLER_POOL_MEMFD, NULL);
    assert_int_equal(json_integer_value(json_object_get(json, "socket")), 3);
    assert_int_equal(json_integer_value(json_object_get(json, "body_bytes")), 0);
    assert_int_equal(json_integer_value(json_object_get(json, "size")), 5000000000);
    assert_null(json_object_get(json, "path"));
    json_decref(json);
}

static void test_answers(void **state) {
    static const struct {
        const char *line;
        enum pool_status status;
        const char *reason;
    } good[] = {
        {"{\"id\":7,\"status\":\"ok\"}", POOL_OK, ""},
        {" { \"status\" : \"ok\" , \"id\" : 7 } \r", POOL_OK, ""},
        {"{\"id\": 7, \"status\": \"ok\"}\r", POOL_OK, ""},
        {"\t{ \"id\" : 7 , \"status\" : \"ok\" } ", POOL_OK, ""},
        {"{\"id\":7,\"status\":\"ok\",\"mine\":1}", POOL_OK, ""},
        {"{\"id\":7,\"status\":\"retry\",\"reason\":\"later\"}", POOL_RETRY, "later"},
        {"{\"id\":7,\"status\":\"fail\",\"reason\":null,\"result_bytes\":0,\"mine\":{}}", POOL_FAIL, ""},
        {"{\"id\":7,\"status\":\"fail\",\"reason\":\" a\\r\\nb\\u0000\\u202e \"}", POOL_FAIL,
         "a\nb\\x00\\xe2\\x80\\xae"},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct pool_answer answer;
        struct err err = {0};
        if (pool_parse_answer(bytes_str(good[i].line), 7, &answer, &err) < 0)
            fail_msg("%s: %s", good[i].line, err.text);
        assert_int_equal(answer.status, good[i].status);
        assert_string_equal(answer.reason.n ? answer.reason.p : "", good[i].reason);
        pool_answer_free(&answer);
    }
}

/* Only a failure can be the last one. */
static void test_final(void **state) {
    static const struct {
        const char *line;
        bool final;
    } table[] = {
        {"{\"id\":7,\"status\":\"fail\"}", false},
        {"{\"id\":7,\"status\":\"fail\",\"final\":false}", false},
        {"{\"id\":7,\"status\":\"fail\",\"final\":true}", true},
        {"{\"id\":7,\"status\":\"retry\",\"final\":true}", false},
        {"{\"id\":7,\"status\":\"ok\",\"final\":true}", false},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct pool_answer answer;
        assert_int_equal(pool_parse_answer(bytes_str(table[i].line), 7, &answer, NULL), 0);
        assert_int_equal(answer.final, table[i].final);
        pool_answer_free(&answer);
    }
}

static void test_no_answers(void **state) {
    static const char *const bad[] = {
        "x",
        "[]",
        "7",
        "\"ok\"",
        "{",
        "{}",
        "{\"id\":7}",
        "{\"status\":\"ok\"}",
        "{\"id\":8,\"status\":\"ok\"}",
        "{\"id\":-7,\"status\":\"ok\"}",
        "{\"id\":7.0,\"status\":\"ok\"}",
        "{\"id\":70,\"status\":\"ok\"}",
        "{\"id\":07,\"status\":\"ok\"}",
        "{\"id\":7 0,\"status\":\"ok\"}",
        "{\"id\":7,\"status\":\"ok\",}",
        "{\"id\":7,,\"status\":\"ok\"}",
        "{\"id\":7,\"status\":\"ok\"",
        "\"id\":7,\"status\":\"ok\"}",
        "{\"id\":7\"status\":\"ok\"}",
        "{\"id\":\"7\",\"status\":\"ok\"}",
        "{\"id\":7,\"status\":\"OK\"}",
        "{\"id\":7,\"status\":\"ok\\u0000\"}",
        "{\"id\":7,\"status\":true}",
        "{\"id\":7,\"status\":\"ok\",\"status\":\"fail\"}",
        "{\"id\":7,\"status\":\"ok\"}x",
        "{\"id\":7,\"status\":\"ok\"}{\"id\":7,\"status\":\"ok\"}",
        "{\"id\":7,\"status\":\"fail\",\"reason\":5}",
        "{\"id\":7,\"status\":\"fail\",\"final\":1}",
        "{\"id\":7,\"status\":\"ok\",\"result_bytes\":\"0\"}",
        "{\"id\":7,\"status\":\"ok\",\"reason\":\"\xff\"}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct pool_answer answer;
        struct err err = {0};
        if (pool_parse_answer(bytes_str(bad[i]), 7, &answer, &err) != -EINVAL)
            fail_msg("%s was taken", bad[i]);
        assert_true(strlen(err.text) > 10 && text_is_utf8(bytes_str(err.text)));
    }
    struct pool_answer answer;
    assert_int_equal(pool_parse_answer(BYTES("{\"id\":7,\0\"status\":\"ok\"}"), 7, &answer, NULL), -EINVAL);
}

/* ---- results ---- */

#define NAME_64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde-"
#define CHARS_32 "0123456789ABCDEF0123456789abcdef"

static const char *as_line(const char *members) {
    static char line[4096];
    snprintf(line, sizeof line, "{\"id\":7,\"status\":\"ok\",%s}", members);
    return line;
}

static void test_results(void **state) {
    static const struct {
        const char *members;
        size_t n;
        uint64_t bytes;
        const char *name, *content_type, *extension; /* of the last */
    } good[] = {
        {"\"result_bytes\":null", 0, 0, "", "", ""},
        {"\"results\":[]", 0, 0, "", "", ""},
        {"\"results\":null,\"content_type\":7", 0, 0, "", "", ""}, /* about nothing */
        {"\"result_bytes\":0", 1, 0, "", "", ""},
        {"\"result_bytes\":9223372036854775807,\"name\":\"not here\"", 1, INT64_MAX, "", "", ""},
        {"\"result_bytes\":5,\"content_type\":\"text/plain; charset=utf-8\",\"extension\":\"tar.gz\"", 1, 5, "",
         "text/plain; charset=utf-8", "tar.gz"},
        {"\"result_bytes\":5,\"content_type\":null,\"extension\":\"\"", 1, 5, "", "", ""},
        {"\"results\":[{\"name\":\"a\",\"bytes\":1},{\"name\":\"" NAME_64 "\",\"bytes\":2,\"extension\":\"" CHARS_32
         "\"}]",
         2, 3, NAME_64, "", CHARS_32},
        {"\"results\":[{\"name\":\"small-2_x\",\"bytes\":0,\"content_type\":\"image/webp\",\"more\":{}}]", 1, 0,
         "small-2_x", "image/webp", ""},
    };
    struct budget budget = {.max_bytes = 1 << 20};
    const struct handler_results where = {&budget, "/tmp", 0};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct pool_answer answer;
        struct err err = {0};
        if (pool_parse_answer(bytes_str(as_line(good[i].members)), 7, &answer, &err) < 0)
            fail_msg("%s: %s", good[i].members, err.text);
        assert_int_equal(answer.results != NULL, good[i].n > 0);
        assert_int_equal(pool_results_bytes(answer.results), good[i].bytes);
        if (answer.results) {
            size_t n;
            assert_int_equal(pool_results_begin(answer.results, &where, &err), 0);
            const struct handler_part *part = pool_results_parts(answer.results, &n) + good[i].n - 1;
            assert_int_equal(n, good[i].n);
            assert_true(bytes_equal(part->name, bytes_str(good[i].name)));
            assert_true(bytes_equal(part->content_type, bytes_str(good[i].content_type)));
            assert_true(bytes_equal(part->extension, bytes_str(good[i].extension)));
            assert_int_equal(part->body->n, 0);
        }
        pool_answer_free(&answer);
    }
}

static void test_bad_results(void **state) {
    static const struct {
        const char *members, *text;
    } bad[] = {
        {"\"result_bytes\":-1", "no length"},
        {"\"result_bytes\":1.0", "no length"},
        {"\"result_bytes\":\"1\"", "no length"},
        {"\"result_bytes\":true", "no length"},
        {"\"result_bytes\":9223372036854775808", "is no answer"},
        {"\"result_bytes\":1,\"results\":[]", "both"},
        {"\"result_bytes\":1,\"content_type\":5", "\"content_type\" is not"},
        {"\"result_bytes\":1,\"content_type\":\"a\\r\\nx-evil: 1\"", "\"content_type\" is not"},
        {"\"result_bytes\":1,\"content_type\":\"a\\u0000\"", "\"content_type\" is not"},
        {"\"result_bytes\":1,\"content_type\":\" a/b\"", "\"content_type\" is not"},
        {"\"result_bytes\":1,\"content_type\":\"\u00e4\"", "\"content_type\" is not"},
        {"\"result_bytes\":1,\"extension\":\".\"", "\"extension\" is not"},
        {"\"result_bytes\":1,\"extension\":\".webp\"", "\"extension\" is not"},
        {"\"result_bytes\":1,\"extension\":\"a.\"", "\"extension\" is not"},
        {"\"result_bytes\":1,\"extension\":\"a..b\"", "\"extension\" is not"},
        {"\"result_bytes\":1,\"extension\":\"a/b\"", "\"extension\" is not"},
        {"\"result_bytes\":1,\"extension\":\"a\\u0000\"", "\"extension\" is not"},
        {"\"result_bytes\":1,\"extension\":\"" CHARS_32 "x\"", "\"extension\" is not"},
        {"\"results\":{}", "no list"},
        {"\"results\":7", "no list"},
        {"\"results\":[7]", "has no \"name\""},
        {"\"results\":[{\"bytes\":1}]", "has no \"name\""},
        {"\"results\":[{\"name\":null,\"bytes\":1}]", "has no \"name\""},
        {"\"results\":[{\"name\":\"\",\"bytes\":1}]", "\"name\" is not"},
        {"\"results\":[{\"name\":7,\"bytes\":1}]", "\"name\" is not"},
        {"\"results\":[{\"name\":\"A\",\"bytes\":1}]", "\"name\" is not"},
        {"\"results\":[{\"name\":\"../a\",\"bytes\":1}]", "\"name\" is not"},
        {"\"results\":[{\"name\":\"a\\u0000\",\"bytes\":1}]", "\"name\" is not"},
        {"\"results\":[{\"name\":\"" NAME_64 "x\",\"bytes\":1}]", "\"name\" is not"},
        {"\"results\":[{\"name\":\"a\"}]", "\"bytes\" is no length"},
        {"\"results\":[{\"name\":\"a\",\"bytes\":-5}]", "\"bytes\" is no length"},
        {"\"results\":[{\"name\":\"a\",\"bytes\":1},{\"name\":\"a\",\"bytes\":1}]", "two results have the \"name\" a"},
        {"\"results\":[{\"name\":\"a\",\"bytes\":9223372036854775807},{\"name\":\"b\",\"bytes\":9223372036854775807},"
         "{\"name\":\"c\",\"bytes\":2}]",
         "no length"},
        {"\"results\":[{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}]", "up to 16"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct pool_answer answer;
        struct err err = {0};
        if (pool_parse_answer(bytes_str(as_line(bad[i].members)), 7, &answer, &err) != -EINVAL)
            fail_msg("%s was taken", bad[i].members);
        if (!strstr(err.text, bad[i].text))
            fail_msg("%s: '%s' is not in '%s'", bad[i].members, bad[i].text, err.text);
    }
    /* What failed has no results; but a worker may always tell their length. */
    struct pool_answer answer;
    struct err err = {0};
    assert_int_equal(pool_parse_answer(BYTES("{\"id\":7,\"status\":\"retry\",\"result_bytes\":1}"), 7, &answer, &err),
                     -EINVAL);
    assert_non_null(strstr(err.text, "not ok"));
    assert_int_equal(
        pool_parse_answer(BYTES("{\"id\":7,\"status\":\"fail\",\"results\":[{\"name\":\"a\",\"bytes\":0}]}"), 7,
                          &answer, &err),
        0);
    pool_answer_free(&answer);
}

/* Bytes come as they come; each goes to its part. */
static void test_taking(void **state) {
    const char line[] =
        "{\"id\":7,\"status\":\"ok\",\"results\":[{\"name\":\"a\",\"bytes\":0},{\"name\":\"b\",\"bytes\":3},"
        "{\"name\":\"c\",\"bytes\":0},{\"name\":\"d\",\"bytes\":4},{\"name\":\"e\",\"bytes\":0}]}";
    for (size_t piece = 1; piece < 12; piece++) {
        struct budget budget = {.max_bytes = 1 << 20};
        const struct handler_results where = {&budget, "/tmp", 7};
        struct pool_answer answer;
        struct err err = {0};
        char got[8];
        size_t n;
        assert_int_equal(pool_parse_answer(bytes_str(line), 7, &answer, &err), 0);
        assert_int_equal(pool_results_bytes(answer.results), 7);
        assert_int_equal(pool_results_begin(answer.results, &where, &err), 0);
        struct bytes all = BYTES("bbbddddmore");
        while (pool_results_taken(answer.results) < 7) {
            struct bytes some = bytes_of(all.p, piece < all.n ? piece : all.n);
            size_t before = some.n;
            assert_int_equal(pool_results_take(answer.results, &some, &err), 0);
            all = bytes_of(all.p + before - some.n, all.n - (before - some.n));
        }
        assert_true(bytes_equal(all, BYTES("more")));
        const struct handler_part *parts = pool_results_parts(answer.results, &n);
        assert_int_equal(n, 5);
        assert_int_equal(spool_read(parts[1].body, 0, got, 8), 3);
        assert_memory_equal(got, "bbb", 3);
        assert_int_equal(spool_read(parts[3].body, 0, got, 8), 4);
        assert_memory_equal(got, "dddd", 4);
        assert_true(parts[0].body->n + parts[2].body->n + parts[4].body->n == 0);
        pool_answer_free(&answer);
        assert_int_equal(budget.used_bytes, 0);
    }
    struct budget budget = {0};
    const struct handler_results where = {&budget, "/tmp", 6};
    struct pool_answer answer;
    struct err err = {0};
    assert_int_equal(pool_parse_answer(bytes_str(line), 7, &answer, &err), 0);
    assert_int_equal(pool_results_begin(answer.results, &where, &err), -EFBIG);
    assert_string_equal(err.text, "the worker has results of 7 B, and 6 B is their limit");
    pool_answer_free(&answer);
}

/* A reason of any length, and a line of any content, end in something that can be shown. */
static void test_long_ones(void **state) {
    static char line[POOL_ANSWER_MAX];
    struct pool_answer answer;
    struct err err = {0};
    memset(line, 1, sizeof line);
    assert_int_equal(pool_parse_answer(bytes_of(line, sizeof line), 7, &answer, &err), -EINVAL);
    assert_true(strlen(err.text) < ERR_TEXT_MAX - 1 && bytes_ends(bytes_str(err.text), BYTES("'...")));
    const char head[] = "{\"id\":7,\"status\":\"fail\",\"reason\":\"";
    for (size_t n = 4090; n < 4110; n++) {
        memcpy(line, head, sizeof head - 1);
        size_t at = sizeof head - 1;
        for (size_t i = 0; i < n; i++, at += 2)
            memcpy(line + at, "\xc3\xa4", 2);
        memcpy(line + at, "\"}", 2);
        assert_int_equal(pool_parse_answer(bytes_of(line, at + 2), 7, &answer, &err), 0);
        assert_true(answer.reason.n >= POOL_REASON_MAX - 4 && answer.reason.n <= HANDLER_TEXT_MAX);
        assert_true(text_is_utf8(buf_bytes(&answer.reason)));
        pool_answer_free(&answer);
    }
}

static void test_without_memory(void **state) {
    const char line[] = "{\"id\":7,\"status\":\"ok\",\"reason\":\"why\",\"result_bytes\":4}";
    bool reached = true;
    for (uint64_t at = 1; reached; at++) {
        struct pool_answer answer = {0};
        mem_fail_at(at, 0);
        int r = pool_parse_answer(bytes_str(line), 7, &answer, NULL);
        reached = mem_fail_count() >= at;
        mem_fail_at(0, 0);
        assert_true(r == -ENOMEM || r == 0); /* without its reason, at worst */
        pool_answer_free(&answer);
    }
    reached = true;
    for (uint64_t at = 1; reached; at++) {
        struct handler_meta meta = {BYTES("a"), BYTES("b")};
        struct handler_object object = object_of("k", 1);
        object.metadata = &meta;
        object.n_metadata = 1;
        _cleanup_buf_ struct buf text = {0};
        mem_fail_at(at, 0);
        int r = pool_add_object(&text, &object);
        reached = mem_fail_count() >= at;
        mem_fail_at(0, 0);
        assert_int_equal(r, reached ? -ENOMEM : 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),   cmocka_unit_test(test_answers),   cmocka_unit_test(test_final),
        cmocka_unit_test(test_no_answers), cmocka_unit_test(test_results),   cmocka_unit_test(test_bad_results),
        cmocka_unit_test(test_taking),     cmocka_unit_test(test_long_ones), cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
