/* cel.h - expressions that make concurrency keys: compile once, evaluate for every run.
 *
 * The seam behind which the whole Common Expression Language belongs. Today it knows the part of it that concurrency
 * keys use: string literals in single or double quotes with CEL's escapes (\\ \' \" \n \t \r \xHH \uHHHH ...), field
 * selection on `input` and `additional_metadata` (input.bucket, input["bucket"], nested), the variable
 * `workflow_run_id`, string concatenation with `+`, and parentheses. Everything else is refused at compile time, at its
 * place in the text. Pure functions, no I/O; a compiled program may be used by any number of threads. */
#pragma once

#include "bytes.h"
#include "err.h"

struct cel_program;

struct cel_vars {
    struct bytes input;               /* JSON text of an object; empty: {} */
    struct bytes additional_metadata; /* JSON text of an object; empty: {} */
    struct bytes workflow_run_id;
};

#define CEL_SOURCE_MAX 4096 /* bytes of expression */
#define CEL_RESULT_MAX 1024 /* bytes of a key */

/* -EINVAL with a text that points at the place ("column 7: ..."), -E2BIG, -ENOMEM. The caller frees with cel_free. */
int cel_compile(struct bytes source, struct cel_program **ret_program, struct err *err);
void cel_free(struct cel_program *program); /* NULL is fine */

/* Appends the string that the expression gives. -EINVAL: no such key, not a string, input that is not a JSON object;
 * -E2BIG: longer than CEL_RESULT_MAX; -ENOMEM (which jansson, short of memory in the midst of a token, reports as bad
 * JSON: -EINVAL). `out` is then as it was. Input that the expression does not use is not read. */
int cel_eval_string(const struct cel_program *program, const struct cel_vars *vars, struct buf *out, struct err *err);
