/* Compiling with any variables, errors with their places, the stated limits, bad JSON, and memory that runs out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cel.h"
#include "cleanup.h"
#include "mem.h"
#include "show.h"

#include <errno.h>

DEFINE_CLEANUP(struct cel_program, cel_free)
#define _cleanup_program_ _cleanup_(cleanup_cel_free) struct cel_program

static const struct cel_variable input_variable[] = {{{"input", 5}, CEL_MAP}};
static const struct cel_options with_input = {.variables = input_variable, .n_variables = 1};

/* Evaluates with a JSON text as `input` and shows the result; -errno and the error's text when it ended. */
static int run(const char *source, struct bytes json, struct buf *out, struct err *err) {
    _cleanup_program_ *program = NULL;
    if (cel_compile_with(bytes_str(source), &with_input, &program, NULL, err) != 0)
        fail_msg("%s: %s", source, err->text);
    struct cel_value value, input = cel_json_object(json);
    struct cel_arena arena = {0};
    int r = cel_eval(program, &input, &arena, &value, err);
    if (r == 0)
        assert_int_equal(show_value(out, &value), 0);
    cel_arena_free(&arena);
    return r;
}

static void assert_gives(const char *source, const char *json, const char *expected) {
    _cleanup_buf_ struct buf out = {0};
    struct err err;
    if (run(source, bytes_str(json), &out, &err) != 0)
        fail_msg("%s: %s", source, err.text);
    assert_string_equal(out.p, expected);
}

static void assert_ends(const char *source, struct bytes json, int code, const char *text) {
    _cleanup_buf_ struct buf out = {0};
    struct err err = {0};
    assert_int_equal(run(source, json, &out, &err), code);
    assert_int_equal(err.code, code);
    if (!strstr(err.text, text))
        fail_msg("%s says %s", source, err.text);
}

static void test_variables(void **state) {
    static const struct cel_variable variables[] = {
        {BYTES("bucket"), CEL_STRING},
        {BYTES("size"), CEL_INT},
        {BYTES("any"), CEL_DYN},
        {BYTES("tags"), CEL_LIST},
    };
    static const struct cel_value tags[] = {{.kind = CEL_STRING, .text = BYTES("a")},
                                            {.kind = CEL_STRING, .text = BYTES("b")}};
    static const struct cel_list list = {2, tags};
    const struct cel_value values[] = {{.kind = CEL_STRING, .text = BYTES("photos")},
                                       {.kind = CEL_INT, .integer = 1000},
                                       {.kind = CEL_DYN},
                                       {.kind = CEL_LIST, .list = &list}};
    static const struct {
        const char *source, *gives;
    } table[] = {
        {"bucket.startsWith('ph') && size > 999 && 'b' in tags", "true"},
        {"size(bucket) + size", "1006"}, /* the function and the variable */
        {"tags + [bucket]", "['a', 'b', 'photos']"},
        {"any", "error 7 1:1 any has no value"},
        {"any == 1 || size == 1000", "true"},
        {"{'s': size}.s", "1000"},
    };
    struct cel_options options = {.variables = variables, .n_variables = 4};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        _cleanup_program_ *program = NULL;
        _cleanup_buf_ struct buf out = {0};
        struct cel_arena arena = {0};
        struct cel_value value;
        struct err err = {0};
        if (cel_compile_with(bytes_str(table[i].source), &options, &program, NULL, &err) != 0)
            fail_msg("%s: %s", table[i].source, err.text);
        assert_int_equal(cel_eval(program, values, &arena, &value, &err), 0);
        assert_int_equal(show_value(&out, &value), 0);
        assert_string_equal(out.p, table[i].gives);
        cel_arena_free(&arena);
    }
    struct cel_program *none = NULL;
    struct err err;
    assert_int_equal(cel_compile_with(BYTES("bucket + size"), &options, &none, NULL, &err), -EINVAL);
    assert_string_equal(err.text, "column 8: '+' is not for a string and an int");
    assert_int_equal(cel_compile_with(BYTES("bukket"), &options, &none, NULL, &err), -EINVAL);
    assert_string_equal(err.text, "column 1: bukket is not known; the variables are bucket, size, any and tags; did "
                                  "you mean bucket?");
    assert_int_equal(cel_compile_with(BYTES("xyz"), &options, &none, NULL, &err), -EINVAL);
    assert_string_equal(err.text, "column 1: xyz is not known; the variables are bucket, size, any and tags");
    options.result = CEL_BOOL;
    assert_int_equal(cel_compile_with(BYTES("bucket"), &options, &none, NULL, &err), -EINVAL);
    assert_string_equal(err.text, "column 1: the expression gives a string, not a bool");
    assert_int_equal(cel_compile_with(BYTES("any"), &options, &none, NULL, &err), 0);
    cel_free(none);
    none = NULL;
    options.n_variables = 0;
    assert_int_equal(cel_compile_with(BYTES("bucket"), &options, &none, NULL, &err), -EINVAL);
    assert_string_equal(err.text, "column 1: bucket is not known; there are no variables");
    options.n_variables = CEL_VARIABLES_MAX + 1;
    assert_int_equal(cel_compile_with(BYTES("bucket"), &options, &none, NULL, &err), -E2BIG);
    assert_null(none);
}

/* Names with dots: the longest one that is known, in the container first. */
static void test_names(void **state) {
    static const struct cel_variable variables[] = {
        {BYTES("a.b"), CEL_DYN}, {BYTES("a.b.c"), CEL_DYN}, {BYTES("x.y"), CEL_DYN},
        {BYTES("y"), CEL_DYN},   {BYTES("x.z.y"), CEL_DYN},
    };
    static const struct cel_entry entries[] = {
        {{.kind = CEL_STRING, .text = BYTES("c")}, {.kind = CEL_STRING, .text = BYTES("in a map")}},
        {{.kind = CEL_STRING, .text = BYTES("d")}, {.kind = CEL_STRING, .text = BYTES("d of a.b")}}};
    static const struct cel_map map = {2, entries, NULL};
    const struct cel_value values[] = {{.kind = CEL_MAP, .map = &map},
                                       {.kind = CEL_STRING, .text = BYTES("a.b.c")},
                                       {.kind = CEL_STRING, .text = BYTES("x.y")},
                                       {.kind = CEL_STRING, .text = BYTES("y")},
                                       {.kind = CEL_STRING, .text = BYTES("x.z.y")}};
    static const struct {
        const char *container, *source, *gives;
    } table[] = {
        {"", "a.b.c", "'a.b.c'"},
        {"", "a.b.d", "'d of a.b'"},
        {"", "(a.b).c", "'in a map'"},
        {"", "a.b['c']", "'in a map'"},
        {"", "has(a.b.c)", "true"},
        {"", "has(a.b.e)", "false"},
        {"", "y", "'y'"},
        {"x", "y", "'x.y'"},
        {"x.z", "y", "'x.z.y'"},
        {"x.w", "y", "'x.y'"},
        {"w", "y", "'y'"},
        {"x", ".y", "'y'"},
        {"x", "[1].map(y, y)", "[1]"},
        {"x", "[1].map(y, .y)", "['y']"},
        {"x", "[{'z': 'element'}].map(y, y.z)", "['element']"},
        {"a", "b.c", "'a.b.c'"},
        {"google", "protobuf.Timestamp", "google.protobuf.Timestamp"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct cel_options options = {
            .variables = variables, .n_variables = 5, .container = bytes_str(table[i].container)};
        _cleanup_program_ *program = NULL;
        _cleanup_buf_ struct buf out = {0};
        struct cel_arena arena = {0};
        struct cel_value value;
        struct err err = {0};
        if (cel_compile_with(bytes_str(table[i].source), &options, &program, NULL, &err) != 0)
            fail_msg("%s: %s", table[i].source, err.text);
        assert_int_equal(cel_eval(program, values, &arena, &value, &err), 0);
        assert_int_equal(show_value(&out, &value), 0);
        if (strcmp(out.p, table[i].gives) != 0)
            fail_msg("%s in %s gives %s", table[i].source, table[i].container, out.p);
        cel_arena_free(&arena);
    }
}

static void test_places(void **state) {
    struct cel_program *program = NULL;
    struct cel_error error;
    struct err err;
    struct bytes source = BYTES("1 +\n  '\u00e9' +\n\t\u00e9");
    assert_int_equal(cel_compile_with(source, &with_input, &program, &error, &err), -EINVAL);
    assert_string_equal(err.text, "line 3, column 2: an unexpected character");
    assert_int_equal(error.code, CEL_SYNTAX);
    assert_int_equal(error.line, 3);
    assert_int_equal(error.column, 2);
    assert_int_equal(error.at, source.n - 2);
    assert_true(bytes_equal(error.text, BYTES("an unexpected character")));

    static const struct {
        const char *source;
        uint32_t at;
        const char *excerpt;
    } table[] = {
        {"a + b", 4, "a + b\n    ^\n"},
        {"", 0, "\n^\n"},
        {"a +", 3, "a +\n   ^\n"},
        {"a +", 300, "a +\n   ^\n"},
        {"one\ntwo\nthree", 4, "two\n^\n"},
        {"one\ntwo\nthree", 7, "two\n   ^\n"},
        {"\tx\x1b\u00e9y", 5, " x \u00e9y\n    ^\n"},
        {"0123456789012345678901234567890123456789x0123456789012345678901234567890", 40,
         "0123456789012345678901234567890123456789x01234567890123456789012345678...\n                                  "
         "      ^\n"},
        {"a0123456789012345678901234567890123456789x", 41,
         "...0123456789012345678901234567890123456789x\n                                           ^\n"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        _cleanup_buf_ struct buf out = {0};
        assert_int_equal(cel_add_excerpt(&out, bytes_str(table[i].source), table[i].at), 0);
        assert_string_equal(out.p, table[i].excerpt);
        struct buf small;
        buf_init(&small, 3);
        assert_int_equal(buf_add_str(&small, "ab"), 0);
        if (out.n > 1)
            assert_int_equal(cel_add_excerpt(&small, bytes_str(table[i].source), table[i].at), -E2BIG);
        assert_string_equal(small.p, "ab");
        buf_free(&small);
    }

    /* an error as a value has its place, too */
    assert_int_equal(cel_compile_with(BYTES("[1,\n 2][input.n]"), &with_input, &program, &error, &err), 0);
    assert_int_equal(error.code, CEL_OK);
    struct cel_value value, input = cel_json_object(BYTES("{\"n\":2}"));
    struct cel_arena arena = {0};
    assert_int_equal(cel_eval(program, &input, &arena, &value, &err), 0);
    assert_int_equal(value.kind, CEL_ERROR);
    assert_int_equal(value.error->code, CEL_OUT_OF_RANGE);
    assert_int_equal(value.error->line, 2);
    assert_int_equal(value.error->column, 4);
    cel_arena_free(&arena);
    cel_free(program);
}

static void test_limits_of_source(void **state) {
    static char source[CEL_SOURCE_MAX + 2];
    struct cel_program *program = NULL;
    struct cel_error error;
    struct err err;
    /* nodes: [1,1,1 ... ] */
    for (size_t n = CEL_NODES_MAX - 1; n <= CEL_NODES_MAX; n++) {
        source[0] = '[';
        for (size_t i = 0; i < n; i++)
            memcpy(source + 1 + 2 * i, "1,", 2);
        source[1 + 2 * n] = ']';
        int r = cel_compile_with(bytes_of(source, 2 * n + 2), &with_input, &program, &error, &err);
        assert_int_equal(r, n < CEL_NODES_MAX ? 0 : -E2BIG);
        if (r < 0) {
            assert_int_equal(error.code, CEL_TOO_MUCH);
            assert_non_null(strstr(err.text, "more than 2000 operators and operands"));
        } else {
            cel_free(program);
        }
    }
    /* depth, in each of the ways to make it */
    static const struct {
        const char *before, *middle, *after;
        size_t most;
    } ways[] = {
        {"(", "1", ")", CEL_DEPTH_MAX - 1},          {"[", "1", "]", CEL_DEPTH_MAX - 1},
        {"!", "true", "", CEL_DEPTH_MAX - 1},        {"-", "input.x", "", CEL_DEPTH_MAX - 2},
        {"", "1", "+1", CEL_DEPTH_MAX - 1},          {"", "input", ".a", CEL_DEPTH_MAX - 1},
        {"", "input", "[0]", CEL_DEPTH_MAX - 1},     {"true?1:", "1", "", CEL_DEPTH_MAX - 1},
        {"{1:", "1", "}", CEL_DEPTH_MAX - 1},        {"int(", "1", ")", CEL_DEPTH_MAX - 1},
        {"[1].map(x,", "x", ")", CEL_DEPTH_MAX - 2}, {"", "''", ".trim()", CEL_DEPTH_MAX - 1},
        {"", "1", "==1", CEL_DEPTH_MAX - 1},
    };
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        for (size_t depth = ways[i].most; depth <= ways[i].most + 100; depth += depth == ways[i].most ? 1 : 99) {
            _cleanup_buf_ struct buf text = {0};
            for (size_t k = 0; k < depth; k++)
                assert_int_equal(buf_add_str(&text, ways[i].before), 0);
            assert_int_equal(buf_add_str(&text, ways[i].middle), 0);
            for (size_t k = 0; k < depth; k++)
                assert_int_equal(buf_add_str(&text, ways[i].after), 0);
            int r = cel_compile_with(buf_bytes(&text), &with_input, &program, &error, &err);
            if (r != (depth == ways[i].most ? 0 : -E2BIG))
                fail_msg("%s%s%s, %zu deep: %d, %s", ways[i].before, ways[i].middle, ways[i].after, depth, r, err.text);
            if (r < 0) {
                assert_non_null(strstr(err.text, "more than 200 levels inside each other"));
                continue;
            }
            struct cel_value value, input = cel_json_object(BYTES("{\"x\":1}"));
            struct cel_arena arena = {0};
            assert_int_equal(cel_eval(program, &input, &arena, &value, &err), 0);
            cel_arena_free(&arena);
            cel_free(program);
        }
    /* a row of || or && is not deep */
    _cleanup_buf_ struct buf row = {0};
    assert_int_equal(buf_add_str(&row, "true"), 0);
    for (int i = 0; i < 600; i++)
        assert_int_equal(buf_add_str(&row, "&&true"), 0);
    assert_int_equal(cel_compile_with(buf_bytes(&row), &with_input, &program, &error, &err), 0);
    cel_free(program);
    /* a regular expression too large */
    assert_int_equal(
        cel_compile_with(BYTES("'a'.matches('((((a{100}){100}){100}))')"), &with_input, &program, &error, &err),
        -EINVAL);
    assert_int_equal(
        cel_compile_with(BYTES("'a'.matches('((\\\\pL{500})\\\\pN{500})')"), &with_input, &program, &error, &err),
        -E2BIG);
    assert_int_equal(error.code, CEL_TOO_MUCH);
}

static void test_limits_of_evaluating(void **state) {
    _cleanup_buf_ struct buf json = {0};
    assert_int_equal(buf_add_str(&json, "{\"l\":[0"), 0);
    for (int i = 1; i < 2000; i++)
        assert_int_equal(buf_printf(&json, ",%d", i), 0);
    assert_int_equal(buf_add_str(&json, "],\"s\":\""), 0);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(buf_add_str(&json, "0123456789"), 0);
    assert_int_equal(buf_add_str(&json, "\"}"), 0);
    struct bytes input = buf_bytes(&json);
    /* Not absorbed by anything. */
    assert_ends("input.l.exists(a, input.l.exists(b, a == b + 5000)) || true", input, -E2BIG,
                "evaluating takes too long: the limit of its cost is reached");
    assert_ends("[1].all(x, input.l.map(a, input.l.map(b, a + b)) == []) && false", input, -E2BIG, "takes too");
    assert_ends("input.l.map(a, input.s + input.s) == []", input, -E2BIG, "evaluating takes too");
    assert_ends("input.s.replace('', input.s.substring(0, 200)) == ''", input, -E2BIG,
                "evaluating takes too much memory");
    assert_ends("input.s.replace('0', input.s) == ''", input, -E2BIG, "evaluating takes too");
    assert_ends("[input.s].map(s, s+s+s+s+s+s+s+s+s+s)[0].replace('', 'x').split('') == []", input, -E2BIG,
                "evaluating takes too much memory");
    assert_ends("input.l.map(a, input.s.lastIndexOf('x' + input.s.substring(50000)) ) == []", input, -E2BIG,
                "takes too long");
    assert_ends("input.l.map(a, 'x'.matches('y' + string(a))) == []", input, -E2BIG, "takes too");
    _cleanup_buf_ struct buf out = {0};
    struct err err;
    assert_int_equal(run("input.l.map(a, a * 2).filter(a, a % 1000 == 0)", input, &out, &err), 0);
    assert_string_equal(out.p, "[0, 1000, 2000, 3000]");
}

static void test_nesting_of_json(void **state) {
    for (size_t depth = CEL_NESTING_MAX - 1; depth <= 100000;
         depth = depth < CEL_NESTING_MAX ? depth + 1 : depth * 500) {
        _cleanup_buf_ struct buf json = {0};
        assert_int_equal(buf_add_str(&json, "{\"a\":"), 0);
        for (size_t i = 0; i < depth; i++)
            assert_int_equal(buf_add_byte(&json, '['), 0);
        for (size_t i = 0; i < depth; i++)
            assert_int_equal(buf_add_byte(&json, ']'), 0);
        assert_int_equal(buf_add_str(&json, ",\"b\":1}"), 0);
        _cleanup_buf_ struct buf out = {0};
        struct err err = {0};
        if (depth < CEL_NESTING_MAX) {
            assert_int_equal(run("input.b", buf_bytes(&json), &out, &err), 0);
            assert_int_equal(run("input == input", buf_bytes(&json), &out, &err), 0);
            assert_int_equal(run("input", buf_bytes(&json), &out, &err), 0);
        } else {
            assert_ends("input.b", buf_bytes(&json), -E2BIG, "column 7: JSON nested deeper than 200 levels");
            assert_ends("size(input) > 0 || true", buf_bytes(&json), -E2BIG, "JSON nested deeper than 200 levels");
        }
    }
}

static void test_json_texts(void **state) {
    static const char *const good[] = {
        "{\"a\":1}",
        " \n\t\r{ \"b\" : [ ] , \"a\" : 1 } \n",
        "{\"x\":[[],{},[{}],\"\",0,-0,1.5,1e5,1E-5,1.5e+5,true,false,null],\"a\":1}",
        "{\"x\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uABCD\\uabcd\",\"a\":1}",
        "{\"\":{\"a\":2},\"a\":1}",
        "{\"a\":2,\"a\":1}",
        "{\"\\u0061\":1}",
        "{\"x\":\"\xc3\xa9\",\"a\":1}",
        "{\"a\":1,\"ab\":2,\"\\u0061b\":2}",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_gives("input.a", good[i], "1");
        assert_gives("input['a'] + (input.exists(k, k == 'a') ? 1 : 0)", good[i], "2");
    }
    static const char *const bad[] = {
        "{",
        "}",
        "[]",
        "{}}",
        "{} x",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":01}",
        "{\"a\":-}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":1e}",
        "{\"a\":1e+}",
        "{\"a\":+1}",
        "{\"a\":0x1}",
        "{\"a\":tru}",
        "{\"a\":truex}",
        "{\"a\":nul}",
        "{\"a\":NaN}",
        "{\"a\":\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\\u123g\"}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\xff\"}",
        "{\"a\":\"\xc3\"}",
        "{\"\xc0\x80\":1}",
        "{\"a\":[1,]}",
        "{\"a\":[}",
        "{\"a\":[1}",
        "{\"a\":{]}",
        "{\"a\":[1 2]}",
        "{\"a\":1}{",
        "nul",
        "\"a\"",
        "1",
        " ",
        "{\"a\":\"\\",
        "{\"a\":\"\\u",
        "{\"a\" 1}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_ends("input.b", bytes_str(bad[i]), -EINVAL, "column 1: input is not a JSON object: bad JSON at byte ");
        assert_ends("'b' in input || true", bytes_str(bad[i]), -EINVAL, "input is not a JSON object");
        assert_ends("has(input.b) && false", bytes_str(bad[i]), -EINVAL, "input is not a JSON object");
        assert_ends("input == {}", bytes_str(bad[i]), -EINVAL, "input is not a JSON object");
        assert_ends("input", bytes_str(bad[i]), -EINVAL, "column 1: input is not a JSON object");
        assert_gives("true || input.a", bad[i], "true"); /* not looked at */
    }
    assert_ends("input.a", BYTES("{\"a\":\"\\ud800\"}"), -EINVAL, "half of a surrogate pair");
    assert_ends("input.a", BYTES("{\"a\":\"\\udc00\\ud800\"}"), -EINVAL, "half of a surrogate pair");
    assert_ends("input.a", BYTES("{\"a\":\"\\ud800x\"}"), -EINVAL, "half of a surrogate pair");
    assert_gives("input.b", "{\"\\ud800\":0,\"b\":1}", "1");
    assert_gives("input.a", "{\"a\":1e999}", "error 8 1:7 a number in the input is too large for a double");
    assert_gives("input.b", "{\"a\":1e999,\"b\":1}", "1");
    assert_gives("input.a", "{\"a\":-0}", "0");
    assert_gives("input.a", "{\"a\":-9223372036854775808}", "-9223372036854775808");
    assert_gives("input.a", "{\"a\":-9223372036854775809}", "-9.2233720368547758e+18");
    assert_gives("size(input)", "", "0");
    assert_gives("input == {}", "", "true");
}

/* A large object is searched in order of its keys, whatever order they came in; of keys that stand twice the last
 * counts. */
static void test_large_maps(void **state) {
    _cleanup_buf_ struct buf json = {0};
    assert_int_equal(buf_add_str(&json, "{"), 0);
    for (int i = 0; i < 3000; i++)
        assert_int_equal(buf_printf(&json, "%s\"k%d\":%d", i ? "," : "", i * 7919 % 1000, i), 0);
    assert_int_equal(buf_add_str(&json, "}"), 0);
    _cleanup_buf_ struct buf out = {0};
    struct err err;
    const char *source = "[size(input), input.k0, input.map(k, k)[1] == 'k919' ? 1 : 0, input == input ? 1 : 0, "
                         "[input.map(k, k)].filter(l, l.all(k, k in input)).size()]";
    assert_int_equal(run(source, buf_bytes(&json), &out, &err), 0);
    assert_string_equal(out.p, "[1000, 2000, 1, 1, 1]");
}

static void test_arenas(void **state) {
    _cleanup_program_ *program = NULL;
    struct err err;
    assert_int_equal(cel_compile_with(BYTES("input.a.map(x, x + '!').join(',')"), &with_input, &program, NULL, &err),
                     0);
    struct cel_value values[3], input = cel_json_object(BYTES("{\"a\":[\"x\",\"y\"]}"));
    struct cel_arena arena = {0};
    for (int i = 0; i < 3; i++) /* several results in one arena */
        assert_int_equal(cel_eval(program, &input, &arena, &values[i], &err), 0);
    for (int i = 0; i < 3; i++)
        assert_true(bytes_equal(values[i].text, BYTES("x!,y!")));
    size_t used = arena.used;
    cel_arena_free(&arena);
    assert_int_equal(arena.used, 0);
    arena.max = used / 3 - 1; /* a limit of the caller's own */
    assert_int_equal(cel_eval(program, &input, &arena, &values[0], &err), -E2BIG);
    assert_string_equal(err.text + strlen(err.text) - 32, "evaluating takes too much memory");
    cel_arena_free(&arena);
    arena.max = used / 3;
    assert_int_equal(cel_eval(program, &input, &arena, &values[0], &err), 0);
    assert_int_equal(arena.max, used / 3);
    cel_arena_free(&arena);
}

static void test_without_memory(void **state) {
    struct bytes source =
        BYTES("[input, input.a.map(x, {x: [x, timestamp(0), b'b', 'a' + x]}), {'k': ['folded', 1 + 1]}, "
              "input.a == ['x', 'y'], input.a + ['z'], [1 / 0 == 1 || true], "
              "{'m': matches(input.a[0], 'x' + ''), 'n': input.a[1].matches('^y')}, "
              "string(1.5), string(timestamp(1)), 'a-b'.split('-'), 'abc'.reverse().upperAscii()]");
    static const struct cel_variable variables[] = {{BYTES("input"), CEL_MAP}, {BYTES("b"), CEL_DYN}};
    struct cel_options options = {.variables = variables, .n_variables = 2};
    struct cel_value input = cel_json_object(BYTES("{\"a\":[\"x\",\"y\"],\"o\":{\"n\":[1,{\"e\":\"\\u00e9\"}]}}"));
    struct cel_program *program = NULL;
    struct cel_error error;
    uint64_t n = 1;
    for (; !program; n++) {
        struct err err = {0};
        mem_fail_at(n, (int)(n % 2));
        int r = cel_compile_with(source, &options, &program, &error, &err);
        mem_fail_at(0, 0);
        if (r != (program ? 0 : -ENOMEM))
            fail_msg("allocation %d: %d, %s", (int)n, r, err.text);
        assert_int_equal(error.code, program ? CEL_OK : CEL_NO_MEMORY);
    }
    assert_true(n > 5);
    for (n = 1;; n++) {
        struct cel_arena arena = {0};
        struct cel_value value;
        struct err err = {0};
        mem_fail_at(n, (int)(n % 2));
        int r = cel_eval(program, (struct cel_value[]){input, {.kind = CEL_DYN}}, &arena, &value, &err);
        mem_fail_at(0, 0);
        if (r == 0)
            assert_int_equal(value.kind, CEL_LIST);
        cel_arena_free(&arena);
        if (r == 0)
            break;
        assert_int_equal(r, -ENOMEM);
        assert_int_equal(err.code, -ENOMEM);
    }
    assert_true(n > 2);
    cel_free(program);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variables),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_limits_of_source),
        cmocka_unit_test(test_limits_of_evaluating),
        cmocka_unit_test(test_nesting_of_json),
        cmocka_unit_test(test_json_texts),
        cmocka_unit_test(test_large_maps),
        cmocka_unit_test(test_arenas),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
