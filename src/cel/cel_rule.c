/* cel_rule.c - expressions that make concurrency keys: three variables, and a string as the result. */
#include "cel_eval.h"

enum { INPUT, METADATA, RUN_ID };

static const struct cel_variable variables[] = {
    [INPUT] = {{"input", 5}, CEL_MAP},
    [METADATA] = {{"additional_metadata", 19}, CEL_MAP},
    [RUN_ID] = {{"workflow_run_id", 15}, CEL_STRING},
};

int cel_compile(struct bytes source, struct cel_program **ret_program, struct err *err) {
    static const struct cel_options options = {
        .variables = variables, .n_variables = sizeof variables / sizeof variables[0], .result = CEL_STRING};
    return cel_compile_with(source, &options, ret_program, NULL, err);
}

bool cel_uses_run_id(const struct cel_program *program) {
    return program->used >> RUN_ID & 1;
}

static int add_result(const struct cel_program *program, const struct cel_value *value, struct buf *out,
                      struct err *err) {
    if (value->kind == CEL_ERROR) {
        char place[48];
        cel_place_text(program->source, value->error->at, place);
        return err_set(err, -EINVAL, "%s%.*s", place, (int)value->error->text.n, value->error->text.p);
    }
    if (value->kind != CEL_STRING)
        return err_set(err, -EINVAL, "the expression gives %s, not a string",
                       cel_kind_article((enum cel_kind)value->kind));
    if (value->text.n > CEL_RESULT_MAX)
        return err_set(err, -E2BIG, "the result is longer than %d bytes", CEL_RESULT_MAX);
    int r = buf_add_bytes(out, value->text);
    return r < 0 ? err_set(err, r, "no room for the result: %s", err_errno_text(r)) : 0;
}

int cel_eval_string(const struct cel_program *program, const struct cel_vars *vars, struct buf *out, struct err *err) {
    const struct cel_value values[] = {
        [INPUT] = cel_json_object(vars->input),
        [METADATA] = cel_json_object(vars->additional_metadata),
        [RUN_ID] = cel_string(vars->workflow_run_id),
    };
    /* Most rules need no more than this. */
    _Alignas(16) char room[512];
    struct cel_arena arena = {.at = room, .end = room + sizeof room};
    struct cel_value value;
    int r = cel_eval(program, values, &arena, &value, err);
    if (r == 0)
        r = add_result(program, &value, out, err);
    cel_arena_free(&arena);
    return r;
}
