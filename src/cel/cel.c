/* cel.c - a compiled expression is a list of parts that are joined: strings are all it can make, and joining strings
 * does not care how they were grouped. Literals and keys lie unescaped in one pool. */
#include "cel.h"

#include "cleanup.h"
#include "mem.h"
#include "text.h"

#include <errno.h>
#include <jansson.h>

#define DEPTH_MAX 32 /* parentheses inside each other */

enum variable { NO_VARIABLE, INPUT, METADATA, RUN_ID };

static const char *const variable_names[] = {
    [INPUT] = "input", [METADATA] = "additional_metadata", [RUN_ID] = "workflow_run_id"};

struct span { /* in the pool */
    size_t at, n;
};

struct part {
    enum variable variable;
    struct span literal; /* without a variable */
    size_t keys, keys_n; /* selected one after the other from an object */
    size_t source_at;    /* for errors while compiling */
};

struct cel_program {
    struct buf pool;
    struct part *parts;
    size_t parts_n;
    struct span *keys;
    size_t keys_n;
    bool uses[RUN_ID + 1];
};

/* Compiling. */

struct parser {
    struct bytes source;
    size_t at;
    int depth;
    struct cel_program *program;
    struct err *err;
};

#define SUPPORTED "supported are 'text', input.name, additional_metadata.name, workflow_run_id, + and ( )"

/* Columns count characters, from 1. */
static size_t column_of(const struct parser *parser, size_t at) {
    size_t column = 1;
    for (size_t i = 0; i < at; i++)
        column += ((unsigned char)parser->source.p[i] & 0xc0) != 0x80;
    return column;
}

#define REFUSE(parser_, at_, format_, ...) \
    err_set((parser_)->err, -EINVAL, "column %zu: " format_, column_of((parser_), (at_)) __VA_OPT__(, ) __VA_ARGS__)

static int out_of_memory(struct err *err) {
    return err_set(err, -ENOMEM, "out of memory");
}

static bool at_end(const struct parser *parser) {
    return parser->at == parser->source.n;
}

/* The byte `ahead` of the current one, 0 past the end. */
static char peek(const struct parser *parser, size_t ahead) {
    return ahead < parser->source.n - parser->at ? parser->source.p[parser->at + ahead] : '\0';
}

static void skip_space(struct parser *parser) {
    while (!at_end(parser) && strchr(" \t\n\r\f", peek(parser, 0)) && peek(parser, 0))
        parser->at++;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool begins_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static struct bytes take_name(struct parser *parser) {
    struct bytes name = {parser->source.p + parser->at, 0};
    while (begins_name(peek(parser, name.n)) || (name.n && is_digit(peek(parser, name.n))))
        name.n++;
    parser->at += name.n;
    return name;
}

static int add_code_point(struct buf *out, uint32_t c) {
    if (c < 0x80)
        return buf_add_byte(out, (char)c);
    if (c < 0x800)
        return buf_add(out, (char[]){(char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f))}, 2);
    if (c < 0x10000)
        return buf_add(out, (char[]){(char)(0xe0 | c >> 12), (char)(0x80 | (c >> 6 & 0x3f)), (char)(0x80 | (c & 0x3f))},
                       3);
    return buf_add(out,
                   (char[]){(char)(0xf0 | c >> 18), (char)(0x80 | (c >> 12 & 0x3f)), (char)(0x80 | (c >> 6 & 0x3f)),
                            (char)(0x80 | (c & 0x3f))},
                   4);
}

static int digit_value(char c) {
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return 16;
}

/* `digits` digits of a code point, from the current place. */
static int take_code_point(struct parser *parser, size_t start, int base, size_t digits) {
    uint32_t point = 0;
    for (size_t i = 0; i < digits; i++) {
        int value = digit_value(peek(parser, 0));
        if (value >= base)
            return REFUSE(parser, start, "this escape needs %zu %s digits", digits,
                          base == 8 ? "octal" : "hexadecimal");
        if (point > 0x10ffff)
            break;
        point = point * (uint32_t)base + (uint32_t)value;
        parser->at++;
    }
    if (point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
        return REFUSE(parser, start, "this escape is not a Unicode character");
    return add_code_point(&parser->program->pool, point) < 0 ? out_of_memory(parser->err) : 0;
}

/* An escape, with the place at its '\'. In strings \xHH and \OOO name characters, not bytes. */
static int take_escape(struct parser *parser) {
    static const char simple[][2] = {{'a', '\a'}, {'b', '\b'}, {'f', '\f'},  {'n', '\n'}, {'r', '\r'},  {'t', '\t'},
                                     {'v', '\v'}, {'?', '?'},  {'\\', '\\'}, {'"', '"'},  {'\'', '\''}, {'`', '`'}};
    size_t start = parser->at;
    char c = peek(parser, 1);
    for (size_t i = 0; i < sizeof simple / sizeof simple[0]; i++) {
        if (c != simple[i][0])
            continue;
        parser->at += 2;
        return buf_add_byte(&parser->program->pool, simple[i][1]) < 0 ? out_of_memory(parser->err) : 0;
    }
    if (c >= '0' && c <= '3') {
        parser->at += 1;
        return take_code_point(parser, start, 8, 3);
    }
    parser->at += 2;
    switch (c) {
    case 'x':
    case 'X':
        return take_code_point(parser, start, 16, 2);
    case 'u':
        return take_code_point(parser, start, 16, 4);
    case 'U':
        return take_code_point(parser, start, 16, 8);
    default:
        return REFUSE(parser, start,
                      "unknown escape; supported are \\\\ \\' \\\" \\` \\? \\a \\b \\f \\n \\r \\t \\v \\xHH \\uHHHH "
                      "\\UHHHHHHHH \\OOO");
    }
}

/* A string literal, with the place at its opening quote. */
static int take_string(struct parser *parser, struct span *ret_text) {
    struct buf *pool = &parser->program->pool;
    size_t start = parser->at, pool_at = pool->n;
    char quote = peek(parser, 0);
    if (peek(parser, 1) == quote && peek(parser, 2) == quote)
        return REFUSE(parser, start, "strings in triple quotes are not supported; use one quote");
    parser->at++;
    for (;;) {
        char c = peek(parser, 0);
        int r;
        if (at_end(parser))
            return REFUSE(parser, start, "this string has no closing %c", quote);
        if (c == '\n' || c == '\r')
            return REFUSE(parser, parser->at, "a string cannot go on in the next line; write \\n");
        if (c == quote)
            break;
        if (c == '\\') {
            r = take_escape(parser);
            if (r < 0)
                return r;
            continue;
        }
        if (buf_add_byte(pool, c) < 0)
            return out_of_memory(parser->err);
        parser->at++;
    }
    parser->at++;
    *ret_text = (struct span){pool_at, pool->n - pool_at};
    return 0;
}

static int add_part(struct parser *parser, struct part part) {
    struct cel_program *program = parser->program;
    struct part *parts = mem_reallocarray(program->parts, program->parts_n + 1, sizeof *parts);
    if (!parts)
        return out_of_memory(parser->err);
    program->parts = parts;
    parts[program->parts_n++] = part;
    program->uses[part.variable] = true;
    return 0;
}

/* Selects from the last part. Its keys lie together, as no other part can have come between them. */
static int add_key(struct parser *parser, struct span key) {
    struct cel_program *program = parser->program;
    struct part *part = &program->parts[program->parts_n - 1];
    struct span *keys = mem_reallocarray(program->keys, program->keys_n + 1, sizeof *keys);
    if (!keys)
        return out_of_memory(parser->err);
    program->keys = keys;
    if (part->keys_n++ == 0)
        part->keys = program->keys_n;
    keys[program->keys_n++] = key;
    return 0;
}

static int refuse_here(struct parser *parser, const char *wanted) {
    char c = peek(parser, 0);
    if (at_end(parser))
        return REFUSE(parser, parser->at, "the expression ends where %s is expected", wanted);
    if (c > ' ' && c < 0x7f)
        return REFUSE(parser, parser->at, "'%c' where %s is expected; " SUPPORTED, c, wanted);
    return REFUSE(parser, parser->at, "an unexpected character where %s is expected; " SUPPORTED, wanted);
}

static int take_variable(struct parser *parser) {
    size_t start = parser->at;
    struct bytes name = take_name(parser);
    if (peek(parser, 0) == '\'' || peek(parser, 0) == '"')
        return REFUSE(parser, start, "strings with a prefix (raw strings, bytes) are not supported; use plain quotes");
    for (enum variable v = INPUT; v <= RUN_ID; v++)
        if (bytes_equal(name, bytes_str(variable_names[v])))
            return add_part(parser, (struct part){.variable = v, .source_at = start});
    int shown = name.n > 40 ? 40 : (int)name.n;
    skip_space(parser);
    if (peek(parser, 0) == '(')
        return REFUSE(parser, start, "the function %.*s is not supported; " SUPPORTED, shown, name.p);
    return REFUSE(parser, start, "%.*s is not known; " SUPPORTED, shown, name.p);
}

static bool is_reserved(struct bytes name) {
    return bytes_equal(name, BYTES("in")) || bytes_equal(name, BYTES("true")) || bytes_equal(name, BYTES("false")) ||
           bytes_equal(name, BYTES("null"));
}

/* .name or ["name"], with the place at the '.' or '['. */
static int take_selection(struct parser *parser) {
    struct span key;
    bool dot = peek(parser, 0) == '.';
    parser->at++;
    skip_space(parser);
    if (dot) {
        size_t start = parser->at;
        struct bytes name = take_name(parser);
        if (name.n == 0)
            return refuse_here(parser, "the name of a field");
        if (is_reserved(name))
            return REFUSE(parser, start, "%.*s is a reserved word; write [\"%.*s\"]", (int)name.n, name.p, (int)name.n,
                          name.p);
        skip_space(parser);
        if (peek(parser, 0) == '(')
            return REFUSE(parser, start, "functions are not supported; " SUPPORTED);
        key = (struct span){parser->program->pool.n, name.n};
        if (buf_add_bytes(&parser->program->pool, name) < 0)
            return out_of_memory(parser->err);
        return add_key(parser, key);
    }
    if (peek(parser, 0) != '\'' && peek(parser, 0) != '"')
        return refuse_here(parser, "a key in quotes");
    int r = take_string(parser, &key);
    if (r < 0)
        return r;
    skip_space(parser);
    if (peek(parser, 0) != ']')
        return refuse_here(parser, "]");
    parser->at++;
    return add_key(parser, key);
}

static int take_sum(struct parser *parser);

static int take_parentheses(struct parser *parser) {
    size_t start = parser->at++;
    if (parser->depth == DEPTH_MAX)
        return REFUSE(parser, start, "more than %d parentheses inside each other", DEPTH_MAX);
    parser->depth++;
    int r = take_sum(parser);
    parser->depth--;
    if (r < 0)
        return r;
    if (at_end(parser))
        return REFUSE(parser, start, "this parenthesis is not closed");
    if (peek(parser, 0) != ')')
        return refuse_here(parser, "+ or )");
    parser->at++;
    return 0;
}

static int take_operand(struct parser *parser) {
    struct cel_program *program = parser->program;
    size_t first = program->parts_n;
    int r;
    skip_space(parser);
    char c = peek(parser, 0);
    if (c == '(') {
        r = take_parentheses(parser);
    } else if (c == '\'' || c == '"') {
        struct part part = {.source_at = parser->at};
        r = take_string(parser, &part.literal);
        if (r == 0)
            r = add_part(parser, part);
    } else if (begins_name(c)) {
        r = take_variable(parser);
    } else if (is_digit(c)) {
        r = REFUSE(parser, parser->at, "numbers are not supported, a key is a string; write it in quotes");
    } else {
        r = refuse_here(parser, "a string or a variable");
    }
    for (;;) {
        if (r < 0)
            return r;
        skip_space(parser);
        if (peek(parser, 0) != '.' && peek(parser, 0) != '[')
            return 0;
        const struct part *part = &program->parts[first];
        if (program->parts_n - first > 1 || part->variable == NO_VARIABLE || part->variable == RUN_ID)
            return REFUSE(parser, parser->at, "a string has no fields; only input and additional_metadata have");
        r = take_selection(parser);
    }
}

/* One or more operands with '+' between them; ends at the first thing that is neither. */
static int take_sum(struct parser *parser) {
    for (;;) {
        int r = take_operand(parser);
        if (r < 0 || peek(parser, 0) != '+')
            return r;
        parser->at++;
    }
}

static int parse(struct parser *parser) {
    if (!text_is_utf8(parser->source))
        return err_set(parser->err, -EINVAL, "the expression is not UTF-8");
    skip_space(parser);
    if (at_end(parser))
        return REFUSE(parser, 0, "the expression is empty; " SUPPORTED);
    int r = take_sum(parser);
    if (r < 0)
        return r;
    if (!at_end(parser))
        return refuse_here(parser, "+ or the end");
    for (size_t i = 0; i < parser->program->parts_n; i++) {
        const struct part *part = &parser->program->parts[i];
        if ((part->variable == INPUT || part->variable == METADATA) && part->keys_n == 0)
            return REFUSE(parser, part->source_at, "%s is an object, not a string; select a field of it, as in %s.name",
                          variable_names[part->variable], variable_names[part->variable]);
    }
    return 0;
}

DEFINE_CLEANUP(struct cel_program, cel_free)

int cel_compile(struct bytes source, struct cel_program **ret_program, struct err *err) {
    if (source.n > CEL_SOURCE_MAX)
        return err_set(err, -E2BIG, "the expression has %zu bytes, more than the %d allowed", source.n, CEL_SOURCE_MAX);
    _cleanup_(cleanup_cel_free) struct cel_program *program = mem_zalloc(sizeof *program);
    if (!program)
        return out_of_memory(err);
    struct parser parser = {.source = source, .program = program, .err = err};
    int r = parse(&parser);
    if (r < 0)
        return r;
    *ret_program = TAKE_PTR(program);
    return 0;
}

void cel_free(struct cel_program *program) {
    if (!program)
        return;
    buf_free(&program->pool);
    mem_free(program->parts);
    mem_free(program->keys);
    mem_free(program);
}

/* Evaluating. */

static struct bytes text_of(const struct cel_program *program, struct span span) {
    return span.n ? bytes_of(program->pool.p + span.at, span.n) : BYTES_NONE;
}

static void free_json(json_t **json) {
    json_decref(*json);
}

/* NULL in *ret_object when the text is empty: {}. */
static int parse_object(enum variable variable, struct bytes text, json_t **ret_object, struct err *err) {
    *ret_object = NULL;
    if (text.n == 0)
        return 0;
    json_error_t why;
    /* Numbers make no keys: one that no integer holds is no reason to refuse the rest. */
    json_t *json = json_loadb(text.p, text.n, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &why);
    /* jansson leaves the text empty when it ran out of memory before it found anything wrong. */
    if (!json && (json_error_code(&why) == json_error_out_of_memory || why.text[0] == '\0'))
        return out_of_memory(err);
    if (!json)
        return err_set(err, -EINVAL, "%s is not a JSON object: bad JSON at byte %d", variable_names[variable],
                       why.position);
    if (!json_is_object(json)) {
        json_decref(json);
        return err_set(err, -EINVAL, "%s is not a JSON object", variable_names[variable]);
    }
    *ret_object = json;
    return 0;
}

struct path_text {
    char text[160];
};

/* "input.bucket", as far as it fits, for errors. */
static struct path_text path_text(const struct cel_program *program, const struct part *part, size_t keys_n) {
    struct path_text path = {{0}};
    struct buf out = {.p = path.text, .cap = sizeof path.text, .max = sizeof path.text - 1};
    int r = buf_add_str(&out, variable_names[part->variable]);
    for (size_t i = 0; i < keys_n && r == 0; i++) {
        r = buf_add_byte(&out, '.');
        if (r == 0)
            r = text_add_printable(&out, text_of(program, program->keys[part->keys + i]));
    }
    if (r < 0)
        memcpy(path.text + sizeof path.text - 4, "...", 4);
    return path;
}

static const char *kind_of(const json_t *json) {
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        return "null";
    }
    return "something else";
}

static int select_string(const struct cel_program *program, const struct part *part, const json_t *object,
                         struct bytes *ret_text, struct err *err) {
    const json_t *at = object;
    for (size_t i = 0; i < part->keys_n; i++) {
        struct bytes key = text_of(program, program->keys[part->keys + i]);
        if (at && !json_is_object(at))
            return err_set(err, -EINVAL, "%s is %s, not an object", path_text(program, part, i).text, kind_of(at));
        at = at ? json_object_getn(at, key.p, key.n) : NULL;
        if (!at)
            return err_set(err, -EINVAL, "there is no %s", path_text(program, part, i + 1).text);
    }
    if (!json_is_string(at))
        return err_set(err, -EINVAL, "%s is %s, not a string", path_text(program, part, part->keys_n).text,
                       kind_of(at));
    *ret_text = bytes_of(json_string_value(at), json_string_length(at));
    return 0;
}

static int evaluate(const struct cel_program *program, const struct cel_vars *vars, const json_t *input,
                    const json_t *metadata, struct buf *out, struct err *err) {
    size_t total = 0;
    for (size_t i = 0; i < program->parts_n; i++) {
        const struct part *part = &program->parts[i];
        struct bytes text = BYTES_NONE;
        int r = 0;
        switch (part->variable) {
        case NO_VARIABLE:
            text = text_of(program, part->literal);
            break;
        case RUN_ID:
            text = vars->workflow_run_id;
            break;
        case INPUT:
        case METADATA:
            r = select_string(program, part, part->variable == INPUT ? input : metadata, &text, err);
            break;
        }
        if (r < 0)
            return r;
        if (text.n > CEL_RESULT_MAX - total)
            return err_set(err, -E2BIG, "the result is longer than %d bytes", CEL_RESULT_MAX);
        total += text.n;
        r = buf_add_bytes(out, text);
        if (r < 0)
            return err_set(err, r, "no room for the result: %s", err_errno_text(r));
    }
    return 0;
}

int cel_eval_string(const struct cel_program *program, const struct cel_vars *vars, struct buf *out, struct err *err) {
    _cleanup_(free_json) json_t *input = NULL;
    _cleanup_(free_json) json_t *metadata = NULL;
    int r = 0;
    if (program->uses[INPUT])
        r = parse_object(INPUT, vars->input, &input, err);
    if (r == 0 && program->uses[METADATA])
        r = parse_object(METADATA, vars->additional_metadata, &metadata, err);
    if (r < 0)
        return r;
    size_t before = out->n;
    r = evaluate(program, vars, input, metadata, out, err);
    if (r < 0 && out->p) {
        out->n = before;
        out->p[before] = '\0';
    }
    return r;
}
