/* Rules, the expressions that make concurrency keys: what compiles, what they give, what is refused where, limits,
 * memory that runs out, threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cel.h"
#include "cleanup.h"
#include "mem.h"
#include "rng.h"

#include <errno.h>
#include <pthread.h>

DEFINE_CLEANUP(struct cel_program, cel_free)
#define _cleanup_program_ _cleanup_(cleanup_cel_free) struct cel_program

static struct cel_program *compile(struct bytes source) {
    struct cel_program *program = NULL;
    struct err err = {0};
    if (cel_compile(source, &program, &err) != 0)
        fail_msg("%.*s was refused: %s", (int)source.n, source.p, err.text);
    return program;
}

static const struct cel_vars vars = {
    .input =
        {"{\"bucket\":\"b-1\",\"n\":7,\"r\":1.5,\"t\":true,\"z\":null,\"a\":[1],\"o\":{\"in\":\"deep\",\"p\":{\"q\":"
         "\"deeper\"}},\"empty\":\"\",\"caf\\u00e9\":\"\\u00e9\\u20ac\",\"a b\":\"spaced\",\"nul\":\"x\\u0000y\","
         "\"big\":123456789012345678901234567890}",
         0},
    .additional_metadata = {"{\"tenant\":\"t\"}", 14},
    .workflow_run_id = {"run-1", 5},
};

static struct cel_vars make_vars(void) {
    struct cel_vars made = vars;
    made.input = bytes_str(vars.input.p);
    return made;
}

static void test_results(void **state) {
    static const struct {
        const char *source;
        struct bytes result;
    } table[] = {
        {"'constant'", {"constant", 8}},
        {"\"constant\"", {"constant", 8}},
        {"''", {"", 0}},
        {"\"\"", {"", 0}},
        {" \t\r\n'x'\n ", {"x", 1}},
        {"\"it's\"", {"it's", 4}},
        {"'say \"x\"'", {"say \"x\"", 7}},
        {"'a' + 'b'", {"ab", 2}},
        {"'a'+'b'+'c'", {"abc", 3}},
        {"('a')", {"a", 1}},
        {"(('a' + ('b')) + 'c')", {"abc", 3}},
        {"'a' + ('b' + ('c' + 'd')) + 'e'", {"abcde", 5}},
        {"workflow_run_id", {"run-1", 5}},
        {"'r:' + workflow_run_id", {"r:run-1", 7}},
        {"input.bucket", {"b-1", 3}},
        {"input[\"bucket\"]", {"b-1", 3}},
        {"input['bucket']", {"b-1", 3}},
        {"input . bucket", {"b-1", 3}},
        {"input [ 'bucket' ]", {"b-1", 3}},
        {"(input).bucket", {"b-1", 3}},
        {"((input.o)).p.q", {"deeper", 6}},
        {"(input.o)['in'] + input.o.p['q']", {"deepdeeper", 10}},
        {"input['o']['in']", {"deep", 4}},
        {"input.o.p.q", {"deeper", 6}},
        {"input.empty", {"", 0}},
        {"input.empty + input.empty + 'x'", {"x", 1}},
        {"input['a b']", {"spaced", 6}},
        {"input['caf\xc3\xa9']", {"\xc3\xa9\xe2\x82\xac", 5}},
        {"input['caf\\u00e9']", {"\xc3\xa9\xe2\x82\xac", 5}},
        {"input.nul", {"x\0y", 3}},
        {"additional_metadata.tenant", {"t", 1}},
        {"input.bucket + '/' + additional_metadata.tenant", {"b-1/t", 5}},
        {"'caf\xc3\xa9'", {"caf\xc3\xa9", 5}},
        {"'\\\\ \\' \\\" \\` \\?'", {"\\ ' \" ` ?", 9}},
        {"'\\a\\b\\f\\n\\r\\t\\v'", {"\a\b\f\n\r\t\v", 7}},
        {"'\\x41\\X4a\\x00'", {"AJ\0", 3}},
        {"'\\xe9'", {"\xc3\xa9", 2}}, /* a character, not a byte */
        {"'\\101\\000\\377'", {"A\0\xc3\xbf", 4}},
        {"'\\u20AC\\uFFFF'", {"\xe2\x82\xac\xef\xbf\xbf", 6}},
        {"'\\U0001F600\\U0010ffff'", {"\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf", 8}},
        {"'\t'", {"\t", 1}},
        {"'''tri'ple'''", {"tri'ple", 7}},
        {"r'a\\n'", {"a\\n", 3}},
        {"'a' // why\n + 'b'", {"ab", 2}},
        {"string(input.n)", {"7", 1}},
        {"string(input.n % 4)", {"3", 1}},
        {"string(input.r)", {"1.5", 3}},
        {"input.t ? 'yes' : 'no'", {"yes", 3}},
        {"has(input.none) ? input.none : 'default'", {"default", 7}},
        {"'none' in input ? 'yes' : 'no'", {"no", 2}},
        {"'in' in input.o ? 'yes' : 'no'", {"yes", 3}},
        {"string(size(input.a)) + string(input.a[0])", {"11", 2}},
        {"string(size(input))", {"12", 2}},
        {"input.bucket.split('-')[1]", {"1", 1}},
        {"input.bucket.upperAscii().replace('-', '_')", {"B_1", 3}},
        {"input['buc' + 'ket']", {"b-1", 3}},
        {"checksum(input.bucket).substring(0, 8)", {"3e499e75", 8}},
        {"input.o.map(k, k).join(',')", {"in,p", 4}},
        {"input == {} ? 'empty' : 'full'", {"full", 4}},
        {"input.nope == 1 || true ? 'absorbed' : ''", {"absorbed", 8}},
        {"[additional_metadata.tenant, workflow_run_id].join('/')", {"t/run-1", 7}},
        {"dyn(input.bucket)", {"b-1", 3}},
    };
    struct cel_vars made = make_vars();
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        _cleanup_program_ *program = compile(bytes_str(table[i].source));
        _cleanup_buf_ struct buf out = {0};
        struct err err = {0};
        assert_int_equal(buf_add_str(&out, "before "), 0);
        if (cel_eval_string(program, &made, &out, &err) != 0)
            fail_msg("%s: %s", table[i].source, err.text);
        if (!bytes_equal(bytes_of(out.p + 7, out.n - 7), table[i].result))
            fail_msg("%s gave \"%s\"", table[i].source, out.p);
        assert_memory_equal(out.p, "before ", 7);
    }
}

static void test_refused_sources(void **state) {
    static const struct {
        const char *source, *says;
    } table[] = {
        {"", "column 1: the expression is empty"},
        {" \n ", "line 1, column 1: the expression is empty"},
        {"bucket", "column 1: bucket is not known; the variables are input, additional_metadata and workflow_run_id"},
        {"'a' + inputs.bucket", "column 7: inputs is not known; the variables are input, additional_metadata and "
                                "workflow_run_id; did you mean input?"},
        {"'a' +\n  inputs.bucket", "line 2, column 3: inputs is not known"},
        {"input", "column 1: input is a map, not a string; select a field of it, as in input.name"},
        {"(additional_metadata)", "column 2: additional_metadata is a map, not a string"},
        {"'x' + (additional_metadata)", "column 5: '+' is not for a string and a map"},
        {"1", "column 1: the expression gives an int, not a string"},
        {"size(input)", "column 1: the expression gives an int, not a string"},
        {"true", "the expression gives a bool, not a string"},
        {"input.a && input.b", "column 9: the expression gives a bool, not a string"},
        {"[ 'a' ]", "the expression gives a list, not a string"},
        {"{'a': 'b'}", "the expression gives a map, not a string"},
        {"b'a'", "the expression gives bytes, not a string"},
        {"timestamp(0)", "the expression gives a timestamp, not a string"},
        {"string", "the expression gives a type, not a string"},
        {"input.", "column 7: the expression ends where the name of a field is expected"},
        {"input..a", "column 7: '.' where the name of a field is expected"},
        {"input.'a'", "column 7: a string where the name of a field"},
        {"input.1", "column 6: a double where an operator or the end is expected"},
        {"input.in", "column 7: in is a reserved word; write [\"in\"]"},
        {"input.null", "column 7: null is a reserved word"},
        {"while", "column 1: while is a reserved word"},
        {"input[", "column 7: the expression ends where a value is expected"},
        {"input['a'", "column 10: the expression ends where ']' is expected"},
        {"input.?a", "column 7: '?' where"},
        {"'a'.b", "column 1: a string has no fields; only maps have"},
        {"'a'['b']", "column 1: a string cannot be indexed; only lists and maps can"},
        {"workflow_run_id.x", "column 1: a string has no fields"},
        {"('a' + input.o).p", "column 6: a string has no fields"},
        {"input[[1]]", "column 7: a list cannot be a key"},
        {"['a']['b']", "column 7: a string is no index of a list"},
        {"'a' 'b'", "column 5: a string where an operator or the end is expected"},
        {"'a' - 'b'", "column 5: '-' is not for a string and a string"},
        {"'a' + 1", "column 5: '+' is not for a string and an int"},
        {"'a' + 1u", "column 5: '+' is not for a string and a uint"},
        {"'a' < 1 ? 'x' : 'y'", "column 5: '<' is not for a string and an int"},
        {"'a' in 'b' ? 'x' : 'y'", "column 5: 'in' is not for a string and a string"},
        {"'a' ? 'b' : 'c'", "column 1: a string where true or false is needed"},
        {"'a' && true ? 'b' : 'c'", "column 1: a string where true or false is needed"},
        {"'a' +", "column 6: the expression ends where a value is expected"},
        {"+ 'a'", "column 1: '+' where a value is expected"},
        {"'a' + + 'b'", "column 7: '+' where a value"},
        {"!'a'", "column 1: a string has no '!'"},
        {"-'a'", "column 1: a string has no '-'"},
        {"!-1", "column 2: '-' where a value is expected"},
        {"'a' = 'b'", "column 5: '=' alone means nothing; write =="},
        {"'a' & 'b'", "column 5: '&' alone means nothing; write &&"},
        {"'a' | 'b'", "column 5: '|' alone means nothing; write ||"},
        {"`a`", "column 1: 'a' where a value is expected"},
        {"input.`a", "column 9: between backticks"},
        {"'a' # b", "column 5: '#' means nothing here"},
        {"size('a', 'b')", "column 1: there is no size(string, string)"},
        {"input.a.size(1)", "column 9: there is no .size(int)"},
        {"'a'.startsWith(1) ? '' : ''", "column 5: a string has no .startsWith(int)"},
        {"contains('a', 'b') ? '' : ''", "column 1: write value.contains(), not contains(value)"},
        {"'a'.string()", "column 5: string is no method; write string(value)"},
        {"nothing('a')", "column 1: there is no function nothing()"},
        {"'a'.nothing()", "column 5: there is no function .nothing()"},
        {"has(input) ? '' : ''", "column 5: has() asks for a field"},
        {"has() ? '' : ''", "column 1: has() asks for a field"},
        {"[1].map(i, 2, 3, 4)[0]", "column 5: map() needs a name and one or two expressions, as in list.map(x, ...)"},
        {"[1].all(i) ? '' : ''", "column 5: all() needs a name and an expression, as in list.all(x, ...)"},
        {"true ? true ? '' : '' : ''", "column 13: '?' where an operator or ':' is expected"},
        {"input.all(1, true) ? '' : ''", "column 11: all() needs a plain name here"},
        {"input.all(a.b, true) ? '' : ''", "column 13: all() needs a plain name here"},
        {"'a'.map(x, x)[0]", "column 1: a string cannot be gone through; only lists and maps can"},
        {"[1].filter(x, 'a')[0]", "column 15: a string where true or false is needed"},
        {"[1].map(x, y)[0]", "column 12: y is not known"},
        {"[x].map(x, x)[0]", "column 2: x is not known"},
        {"Message{a: 1}", "column 8: protocol buffer messages are not supported"},
        {"a.b.Message{}", "column 12: protocol buffer messages are not supported"},
        {"input.a.matches('(') ? '' : ''", "column 17: a bad regular expression: missing ): ("},
        {"input.a.matches('\\\\1') ? '' : ''", "column 17: a bad regular expression: invalid escape sequence: \\1"},
        {"string(timestamp(0).getHours('Mars/Base'))", "column 30: there is no time zone \"Mars/Base\""},
        {"[1, 2", "column 6: the expression ends where ',' or ']' is expected"},
        {"size('a',)", "column 10: ')' where a value is expected"},
        {"{'a'}", "column 5: '}' where ':' is expected"},
        {"true ? 'a'", "column 11: the expression ends where an operator or ':' is expected"},
        {"string(9223372036854775808)", "column 8: this number is too large for an int"},
        {"string(18446744073709551616u)", "column 8: this number is too large for a uint"},
        {"string(1e999)", "column 8: this number is too large for a double"},
        {"string(1a)", "column 9: a number cannot go on like this"},
        {"string(1.5u)", "column 11: a number cannot go on like this"},
        {"string(0x)", "column 8: a number that begins with 0x needs hexadecimal digits"},
        {"'a", "column 1: this string has no closing '"},
        {"'a' + \"b'", "column 7: this string has no closing \""},
        {"'''a''", "column 1: this string has no closing '''"},
        {"'", "column 1: this string has no closing"},
        {"'a\\'", "column 1: this string has no closing"},
        {"'a\nb'", "line 1, column 3: a string cannot go on in the next line; write \\n"},
        {"'a\r'", "column 3: a string cannot go on"},
        {"r'a\nb'", "line 1, column 4: a string cannot go on"},
        {"'\\\n'", "line 1, column 3: a string cannot go on"},
        {"'\\", "column 1: this string has no closing"},
        {"'ab\\q'", "column 4: unknown escape; supported are"},
        {"'\\8'", "column 2: unknown escape"},
        {"'\\400'", "column 2: unknown escape"},
        {"'\\x4'", "column 2: this escape needs 2 hexadecimal digits"},
        {"'\\xg0'", "column 2: this escape needs 2 hexadecimal"},
        {"'\\u12'", "column 2: this escape needs 4 hexadecimal"},
        {"'\\U0000041'", "column 2: this escape needs 8 hexadecimal"},
        {"'\\18'", "column 2: this escape needs 3 octal digits"},
        {"'\\ud800'", "column 2: this escape is not a Unicode character"},
        {"'\\ud800\\u0041'", "column 2: this escape is not a Unicode character"},
        {"'\\uDFFF'", "column 2: this escape is not a Unicode character"},
        {"'\\U00110000'", "column 2: this escape is not a Unicode character"},
        {"'\\Uffffffff'", "column 2: this escape is not a Unicode character"},
        {"b'\\u0041'", "column 3: bytes have no \\u escapes; write \\xHH"},
        {"(", "column 2: the expression ends"},
        {"()", "column 2: ')' where a value is expected"},
        {"('a'", "column 1: this parenthesis is not closed"},
        {"('a' 'b')", "column 6: a string where an operator or ')' is expected"},
        {"'a')", "column 4: ')' where an operator or the end"},
        {"'\xc3\xa9\xe2\x82\xac' x", "column 6: 'x'"}, /* columns count characters */
        {"'a' \xc3\xa9", "column 5: an unexpected character"},
        {"'a' \x01", "column 5: an unexpected character"},
        {"'\xff'", "column 2: the expression is not UTF-8"},
        {"input.a\xc0\x80", "column 8: the expression is not UTF-8"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct cel_program *program = NULL;
        struct err err = {0};
        int r = cel_compile(bytes_str(table[i].source), &program, &err);
        if (r != -EINVAL || program)
            fail_msg("%s was not refused: %d", table[i].source, r);
        assert_int_equal(err.code, -EINVAL);
        if (!strstr(err.text, table[i].says))
            fail_msg("%s says: %s", table[i].source, err.text);
        assert_int_equal(cel_compile(bytes_str(table[i].source), &program, NULL), -EINVAL);
    }
    struct cel_program *program = NULL;
    assert_int_equal(cel_compile(bytes_of("'a'\0", 4), &program, NULL), -EINVAL);
    assert_int_equal(cel_compile(bytes_of("input\0.a", 8), &program, NULL), -EINVAL);
}

static void test_refused_values(void **state) {
    static const struct {
        const char *source, *says;
    } table[] = {
        {"input.none", "column 7: there is no input.none"},
        {"'a' + input.o.none", "column 15: there is no input.o.none"},
        {"input.o.p.none.deeper", "column 11: there is no input.o.p.none"},
        {"input['line\\nbreak']", "column 6: there is no input.line\\x0abreak"},
        {"input['bucket\\x00']", "column 6: there is no input.bucket\\x00"},
        {"input[0]", "column 6: there is no such key in the map"},
        {"additional_metadata.none", "column 21: there is no additional_metadata.none"},
        {"input.n", "the expression gives an int, not a string"},
        {"input.r", "the expression gives a double, not a string"},
        {"input.big", "the expression gives a double, not a string"},
        {"input.t", "the expression gives a bool, not a string"},
        {"input.z", "the expression gives null, not a string"},
        {"input.a", "the expression gives a list, not a string"},
        {"input.o", "the expression gives a map, not a string"},
        {"input.bucket.x", "column 14: input.bucket is a string, which has no fields"},
        {"input.a.x", "column 9: input.a is a list, which has no fields"},
        {"input.n + input.n", "the expression gives an int, not a string"},
        {"'a' + input.n", "column 5: no overload of + for (string, int)"},
        {"string(1 / 0)", "column 10: division by zero"},
        {"input.a[1]", "column 8: the index is outside of the list, which has 1 elements"},
        {"input.n.lowerAscii()", "column 9: no overload of lowerAscii() for (int)"},
        {"input.lines\n.none", "line 1, column 7: there is no input.lines"},
        {"input.bucket.matches(input.o['in'] + '(') ? '' : ''",
         "column 14: a bad regular expression: missing ): deep("},
        {"string(timestamp(0).getHours(input.bucket))", "column 21: there is no time zone \"b-1\" in "},
    };
    struct cel_vars made = make_vars();
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        _cleanup_program_ *program = compile(bytes_str(table[i].source));
        _cleanup_buf_ struct buf out = {0};
        struct err err = {0};
        assert_int_equal(cel_eval_string(program, &made, &out, &err), -EINVAL);
        assert_int_equal(out.n, 0);
        if (strncmp(err.text, table[i].says, strlen(table[i].says)) != 0)
            fail_msg("%s says: %s", table[i].source, err.text);
        assert_int_equal(buf_add_str(&out, "before"), 0);
        assert_int_equal(cel_eval_string(program, &made, &out, NULL), -EINVAL);
        assert_string_equal(out.p, "before");
    }
    /* a path too long to be shown is cut */
    _cleanup_buf_ struct buf source = {0};
    assert_int_equal(buf_add_str(&source, "input"), 0);
    for (int i = 0; i < 150; i++)
        assert_int_equal(buf_add_str(&source, ".field"), 0);
    _cleanup_program_ *program = compile(buf_bytes(&source));
    _cleanup_buf_ struct buf out = {0};
    struct err err = {0};
    assert_int_equal(cel_eval_string(program, &made, &out, &err), -EINVAL);
    assert_string_equal(err.text, "column 7: there is no input.field");
}

static void test_bad_input(void **state) {
    static const struct {
        struct bytes input;
        const char *says;
    } table[] = {
        {{"", 0}, "there is no input.bucket"},
        {{"{}", 2}, "there is no input.bucket"},
        {{"[]", 2}, "column 7: input is not a JSON object: bad JSON at byte 0"},
        {{"\"x\"", 3}, "input is not a JSON object"},
        {{"7", 1}, "input is not a JSON object"},
        {{"null", 4}, "input is not a JSON object"},
        {{"{", 1}, "input is not a JSON object: bad JSON at byte"},
        {{"{\"bucket\":\"b\"} x", 16}, "input is not a JSON object: bad JSON at byte"},
        {{"{\"bucket\":\"\xff\"}", 14}, "input is not a JSON object: bad JSON at byte"},
        {{" ", 1}, "input is not a JSON object: bad JSON at byte"},
    };
    _cleanup_program_ *program = compile(BYTES("'x' + input.bucket"));
    _cleanup_program_ *metadata = compile(BYTES("additional_metadata.bucket"));
    _cleanup_program_ *constant = compile(BYTES("'constant'"));
    _cleanup_program_ *run_id = compile(BYTES("workflow_run_id"));
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct cel_vars bad = {.input = table[i].input, .workflow_run_id = BYTES("r")};
        _cleanup_buf_ struct buf out = {0};
        struct err err = {0};
        assert_int_equal(cel_eval_string(program, &bad, &out, &err), -EINVAL);
        if (!strstr(err.text, table[i].says))
            fail_msg("%s says: %s", table[i].input.p, err.text);
        assert_int_equal(out.n, 0);
        /* What a program does not use it does not read. */
        bad.additional_metadata = BYTES("{\"bucket\":\"b\"}");
        assert_int_equal(cel_eval_string(metadata, &bad, &out, &err), 0);
        bad.additional_metadata = table[i].input;
        assert_int_equal(cel_eval_string(constant, &bad, &out, &err), 0);
        assert_int_equal(cel_eval_string(run_id, &bad, &out, &err), 0);
        assert_string_equal(out.p, "bconstantr");
    }
}

static void test_limits(void **state) {
    static char source[CEL_SOURCE_MAX + 2];
    struct cel_program *none = NULL;
    struct err err = {0};
    memset(source, 'x', sizeof source);
    source[0] = source[CEL_SOURCE_MAX] = '\'';
    assert_int_equal(cel_compile(bytes_of(source, CEL_SOURCE_MAX + 1), &none, &err), -E2BIG);
    assert_null(none);
    assert_non_null(strstr(err.text, "4097 bytes, more than the 4096"));

    /* a result of just the limit, and of one byte more */
    for (size_t n = CEL_RESULT_MAX; n <= CEL_RESULT_MAX + 1; n++) {
        memset(source, 'x', sizeof source);
        source[0] = source[n - 7] = '\'';
        memcpy(source + n - 6, "+input.v", 8);
        _cleanup_program_ *program = compile(bytes_of(source, n + 2));
        _cleanup_buf_ struct buf out = {0};
        struct cel_vars long_value = {.input = BYTES("{\"v\":\"12345678\"}")};
        assert_int_equal(buf_add_str(&out, "before"), 0);
        int r = cel_eval_string(program, &long_value, &out, &err);
        if (n == CEL_RESULT_MAX) {
            assert_int_equal(r, 0);
            assert_int_equal(out.n, 6 + CEL_RESULT_MAX);
        } else {
            assert_int_equal(r, -E2BIG);
            assert_string_equal(out.p, "before");
            assert_non_null(strstr(err.text, "longer than 1024 bytes"));
        }
    }
    _cleanup_program_ *program = compile(BYTES("'four'"));
    _cleanup_buf_ struct buf small;
    buf_init(&small, 3);
    assert_int_equal(cel_eval_string(program, &vars, &small, &err), -E2BIG);
    assert_int_equal(small.n, 0);

    for (size_t depth = 1; depth <= 2000; depth = depth < 210 ? depth + 1 : 2000 + (depth == 2000)) {
        memset(source, '(', depth);
        memcpy(source + depth, "'a'", 3);
        memset(source + depth + 3, ')', depth);
        int r = cel_compile(bytes_of(source, 2 * depth + 3), &none, &err);
        assert_int_equal(r, depth < CEL_DEPTH_MAX ? 0 : -E2BIG);
        if (r < 0)
            assert_string_equal(err.text, "column 201: more than 200 levels inside each other");
        else
            cel_free(TAKE_PTR(none));
    }
    cel_free(NULL);
}

static void test_without_memory(void **state) {
    struct cel_vars made = make_vars();
    struct bytes source =
        BYTES("'a\\u20ac' + input.o['p'].q + additional_metadata.tenant + workflow_run_id + "
              "(['x', 'y'].map(e, e + input.bucket).join('-').matches('^x.*1$') ? 'm' : 'n') + "
              "(timestamp(0).getHours('Europe/Berlin') == 1 ? input['caf\\u00e9'] : '') + "
              "(timestamp(input.n).getHours(input.o['in'] == 'deep' ? 'Asia/Tokyo' : 'x') == 9 ? 'T' : '') + "
              "(input.o == {'in': 'deep', 'p': {'q': 'deeper'}} ? string(size(input)) : 'unequal') + "
              "{input.bucket: checksum('x' + input.bucket)}[input.bucket].substring(0, 2) + "
              "(input.none == input.gone || true ? input.nul.split('x')[1].replace('y', 'yyyy') : '') + "
              "[1, 2].map(a, [3].map(b, [4].map(c, [5].map(d, [6].map(e, string(e))[0])[0])[0])[0]).join()");
    int compiles = 0, evaluations = 0;
    struct cel_program *program = NULL;
    for (uint64_t n = 1; !program; n++, compiles++) {
        struct err err = {0};
        mem_fail_at(n, (int)(n % 2));
        int r = cel_compile(source, &program, &err);
        mem_fail_at(0, 0);
        if (r != (program ? 0 : -ENOMEM))
            fail_msg("allocation %d: %d, %s", (int)n, r, err.text);
        assert_int_equal(err.code, r);
    }
    for (;; evaluations++) {
        _cleanup_buf_ struct buf out = {0};
        struct err err = {0};
        mem_fail_at((uint64_t)evaluations + 1, evaluations % 2);
        int r = cel_eval_string(program, &made, &out, &err);
        mem_fail_at(0, 0);
        if (r == 0) {
            assert_true(bytes_equal(buf_bytes(&out), BYTES("a\u20acdeepertrun-1m\u00e9\u20acT12dd\0yyyy66")));
            break;
        }
        if (r != -ENOMEM)
            fail_msg("allocation %d: %d, %s", evaluations + 1, r, err.text);
        assert_int_equal(err.code, r);
        assert_int_equal(out.n, 0);
    }
    cel_free(program);
    assert_true(compiles > 5 && evaluations > 5);
}

/* Any text at all either compiles or is refused with a reason; from the pieces of the language more of it compiles. */
static void test_random_sources(void **state) {
    static const char *const pieces[] = {"'",    "\"",       "a",       "input", ".b",      "['b']", "+",
                                         "(",    ")",        " ",       "\\",    "\\n",     "u20ac", "workflow_run_id",
                                         "'x'",  "\xc3\xa9", "[",       "]",     "\n",      "0",     "?",
                                         ":",    ",",        "{",       "}",     "string(", "==",    "&&",
                                         "has(", ".all(x,",  ".map(x,", "x",     "-",       "/",     "1.5",
                                         "r'",   "'''",      "//"};
    struct rng rng;
    rng_seed(&rng, 8);
    int compiled = 0;
    for (int i = 0; i < 50000; i++) {
        _cleanup_buf_ struct buf source = {0};
        for (uint64_t n = rng_below(&rng, 10); n > 0; n--)
            assert_int_equal(buf_add_str(&source, pieces[rng_below(&rng, sizeof pieces / sizeof pieces[0])]), 0);
        struct cel_program *program = NULL;
        struct err err = {0};
        int r = cel_compile(buf_bytes(&source), &program, &err);
        assert_true(r == 0 ? program != NULL : (r == -EINVAL || r == -E2BIG) && err.text[0] && !program);
        if (program) {
            _cleanup_buf_ struct buf out = {0};
            struct cel_vars values = {.input = BYTES("{\"b\":\"v\"}"), .workflow_run_id = BYTES("r")};
            r = cel_eval_string(program, &values, &out, &err);
            assert_true(r == 0 || r == -EINVAL);
            compiled++;
        }
        cel_free(program);
    }
    assert_true(compiled > 300);
}

static void *evaluate_often(void *program) {
    struct cel_vars made = make_vars();
    for (int i = 0; i < 500; i++) {
        _cleanup_buf_ struct buf out = {0};
        if (cel_eval_string(program, &made, &out, NULL) != 0 || !bytes_equal(buf_bytes(&out), BYTES("b-1/t")))
            return program;
    }
    return NULL;
}

static void test_threads(void **state) {
    _cleanup_program_ *program = compile(BYTES("input.bucket + '/' + additional_metadata.tenant"));
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, evaluate_often, program), 0);
    for (int i = 0; i < 4; i++) {
        void *failed = program;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_results),        cmocka_unit_test(test_refused_sources),
        cmocka_unit_test(test_refused_values), cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_limits),         cmocka_unit_test(test_without_memory),
        cmocka_unit_test(test_random_sources), cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
