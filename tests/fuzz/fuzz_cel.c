/* Any text either compiles or is refused at a place that is in it; what compiles gives the same for the same input,
 * whatever that is, within the stated limits. */
#include "cel.h"
#include "text.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)   \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)

static void walk(const struct cel_value *value) {
    switch ((enum cel_kind)value->kind) {
    case CEL_STRING:
        MUST(text_is_utf8(value->text));
        break;
    case CEL_LIST:
        MUST(!value->is_json);
        for (size_t i = 0; i < value->list->n; i++)
            walk(&value->list->items[i]);
        break;
    case CEL_MAP:
        MUST(!value->is_json);
        for (size_t i = 0; i < value->map->n; i++) {
            walk(&value->map->entries[i].key);
            walk(&value->map->entries[i].value);
        }
        break;
    case CEL_ERROR:
        MUST(value->error->code != CEL_OK && value->error->text.n > 0 && value->error->line > 0);
        break;
    default:
        MUST(value->kind != CEL_DYN);
    }
}

static bool has_nan(const struct cel_value *value) {
    bool found = value->kind == CEL_DOUBLE && value->number != value->number;
    if (value->kind == CEL_LIST)
        for (size_t i = 0; i < value->list->n; i++)
            found = found || has_nan(&value->list->items[i]);
    if (value->kind == CEL_MAP)
        for (size_t i = 0; i < value->map->n; i++)
            found = found || has_nan(&value->map->entries[i].value);
    return found;
}

static void evaluate(const struct cel_program *program, struct bytes json) {
    struct cel_arena arenas[2] = {{0}};
    struct cel_value results[2], values[2] = {cel_json_object(json), {.kind = CEL_DYN}};
    struct err err[2];
    int r[2];
    for (int i = 0; i < 2; i++) {
        r[i] = cel_eval(program, values, &arenas[i], &results[i], &err[i]);
        MUST(arenas[i].used <= CEL_MEMORY_MAX + 4096);
    }
    MUST(r[0] == r[1]);
    if (r[0] == 0) {
        walk(&results[0]);
        MUST(results[0].kind == results[1].kind);
        MUST(results[0].kind == CEL_ERROR ? bytes_equal(results[0].error->text, results[1].error->text)
                                          : has_nan(&results[0]) || cel_equal(&results[0], &results[1]));
    } else {
        MUST((r[0] == -EINVAL || r[0] == -E2BIG) && err[0].code == r[0] && strcmp(err[0].text, err[1].text) == 0);
    }
    cel_arena_free(&arenas[0]);
    cel_arena_free(&arenas[1]);
}

/* An expression, a NUL, and a JSON text. An expression that begins with '?' is not checked. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct cel_variable variables[] = {{BYTES("input"), CEL_MAP}, {BYTES("x"), CEL_DYN}};
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    struct bytes source = bytes_of(data, end ? (size_t)(end - data) : size);
    struct bytes json = end ? bytes_of(end + 1, size - source.n - 1) : BYTES("{\"a\":[1,{\"b\":\"c\"}]}");
    bool unchecked = source.n && source.p[0] == '?';
    if (unchecked)
        source = bytes_of(source.p + 1, source.n - 1);
    struct cel_options options = {.variables = variables, .n_variables = 2, .unchecked = unchecked};
    struct cel_program *program;
    struct cel_error error;
    struct err err = {0};
    int r = cel_compile_with(source, &options, &program, &error, &err);
    if (r < 0) {
        MUST((r == -EINVAL || r == -E2BIG) && err.code == r && error.code != CEL_OK && error.at <= source.n);
        _cleanup_buf_ struct buf excerpt = {0};
        MUST(cel_add_excerpt(&excerpt, source, error.at) == 0 && excerpt.n > 2);
        return 0;
    }
    evaluate(program, json);
    cel_free(program);

    if (cel_compile(source, &program, NULL) == 0) {
        _cleanup_buf_ struct buf out = {0};
        struct cel_vars vars = {.input = json, .workflow_run_id = BYTES("run")};
        MUST(cel_eval_string(program, &vars, &out, &err) == 0 ? out.n <= CEL_RESULT_MAX : out.n == 0);
        cel_free(program);
    }
    return 0;
}
