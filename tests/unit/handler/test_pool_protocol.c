/* test_pool_protocol.c - lines for workers, and lines of theirs. */
#include "pool_support.h"

#include "cleanup.h"
#include "pool_protocol.h"
#include "text.h"

#include <jansson.h>

static json_t *request(const struct handler_object *object, const char *path) {
    _cleanup_buf_ struct buf members = {0}, line = {0};
    assert_int_equal(pool_add_object(&members, object), 0);
    assert_int_equal(pool_add_request(&line, UINT64_C(7) << 40, object->size, path, buf_bytes(&members)), 0);
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
    json_t *json = request(&object, NULL);
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
    assert_null(json_object_get(json, "path"));
    json_decref(json);
    /* A key that is no text has no text that might be another's. */
    object.key = BYTES("a\xff");
    json = request(&object, "/tmp/x/1");
    assert_true(json_is_null(json_object_get(json, "key")));
    is_text(json, "key_url", BYTES("a%FF"));
    is_text(json, "path", BYTES("/tmp/x/1"));
    assert_int_equal(json_integer_value(json_object_get(json, "body_bytes")), 0);
    assert_int_equal(json_integer_value(json_object_get(json, "size")), 5000000000);
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
        buf_free(&answer.reason);
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
        "{\"id\":\"7\",\"status\":\"ok\"}",
        "{\"id\":7,\"status\":\"OK\"}",
        "{\"id\":7,\"status\":\"ok\\u0000\"}",
        "{\"id\":7,\"status\":true}",
        "{\"id\":7,\"status\":\"ok\",\"status\":\"fail\"}",
        "{\"id\":7,\"status\":\"ok\"}x",
        "{\"id\":7,\"status\":\"ok\"}{\"id\":7,\"status\":\"ok\"}",
        "{\"id\":7,\"status\":\"fail\",\"reason\":5}",
        "{\"id\":7,\"status\":\"ok\",\"result_bytes\":1}",
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
        buf_free(&answer.reason);
    }
}

static void test_without_memory(void **state) {
    const char line[] = "{\"id\":7,\"status\":\"fail\",\"reason\":\"why\"}";
    bool reached = true;
    for (uint64_t at = 1; reached; at++) {
        struct pool_answer answer = {0};
        mem_fail_at(at, 0);
        int r = pool_parse_answer(bytes_str(line), 7, &answer, NULL);
        reached = mem_fail_count() >= at;
        mem_fail_at(0, 0);
        assert_true(r == -ENOMEM || r == 0); /* without its reason, at worst */
        buf_free(&answer.reason);
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
        cmocka_unit_test(test_requests),  cmocka_unit_test(test_answers),        cmocka_unit_test(test_no_answers),
        cmocka_unit_test(test_long_ones), cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
