/* cel.h - the Common Expression Language (github.com/google/cel-spec, doc/langdef.md): compile once, evaluate often.
 *
 * The whole core language, but for protocol buffer messages and enums: all literals, operators with checked arithmetic,
 * null/bool/int/uint/double/string/bytes/list/map/timestamp/duration/type values, selection and indexing, the macros
 * has, all, exists, exists_one, map and filter, conversions, string functions, matches (RE2), time functions with time
 * zones, and errors as values that && || and the macros absorb. Beyond the core: charAt, indexOf, join, lastIndexOf,
 * lowerAscii, replace, reverse, split, substring, trim, upperAscii (as in cel-go's ext.Strings, without format and
 * quote), and checksum(string), the SHA-256 in lower-case hex.
 *
 * Pure functions: the only I/O is reading the system's time zones, while compiling where the name is a literal, else
 * when it is evaluated. A compiled program never changes: any number of threads may evaluate it at the same time, each
 * with its own arena. Nothing is remembered outside of the program.
 *
 * Where the language leaves room:
 *  - JSON numbers written without fraction and exponent that fit 64 bits are int (so that large ids stay exact and
 *    `input.n % 4` works), all others double. Of keys that stand twice in a JSON object the last one counts.
 *  - string(double) is the shortest text that reads back as the same number: "7", "0.1", "1e+21".
 *  - Any two values compare with == and !=; of different kinds only numbers can be equal. NaN equals nothing.
 *  - getMilliseconds() of a duration is the part within the second; its getHours() and kin are the whole of it.
 *  - A duration is within 315,576,000,000 seconds, a timestamp within the years 1 to 9999 (protobuf's ranges).
 *
 * Limits, all errors and never crashes. At the limit of its cost an evaluation has taken about a tenth of a second. */
#pragma once

#include "bytes.h"
#include "err.h"

#define CEL_SOURCE_MAX 4096       /* bytes of expression */
#define CEL_DEPTH_MAX 200         /* height of the expression's tree, parentheses counted */
#define CEL_NODES_MAX 2000        /* operators, operands and calls in an expression */
#define CEL_NESTING_MAX 200       /* lists and maps inside each other, in JSON too */
#define CEL_COST_MAX 1000000      /* of one evaluation: one per node, plus one per 64 bytes or 8 elements handled */
#define CEL_MEMORY_MAX (16 << 20) /* bytes that one evaluation may use beside its input */
#define CEL_PATTERN_MEMORY_MAX (1 << 20) /* bytes that one regular expression may use; matching stays linear */
#define CEL_RESULT_MAX 1024              /* bytes of a key, the result of cel_eval_string */

/* Values. */

enum cel_kind {
    CEL_DYN, /* no value: "any kind" in declarations, "not given" among the values of variables */
    CEL_NULL,
    CEL_BOOL,
    CEL_INT,
    CEL_UINT,
    CEL_DOUBLE,
    CEL_STRING, /* UTF-8 */
    CEL_BYTES,
    CEL_LIST,
    CEL_MAP,
    CEL_TIMESTAMP,
    CEL_DURATION,
    CEL_TYPE,
    CEL_ERROR,
};

/* The language's own name: "int", "null_type", "google.protobuf.Timestamp" ... */
const char *cel_kind_name(enum cel_kind kind);

enum cel_code {
    CEL_OK,
    CEL_SYNTAX,       /* compiling: not an expression */
    CEL_UNSUPPORTED,  /* compiling: protocol buffer messages */
    CEL_UNKNOWN_NAME, /* no such variable */
    CEL_UNKNOWN_FUNCTION,
    CEL_NO_OVERLOAD,  /* the operator or function is not for such values */
    CEL_NO_SUCH_KEY,  /* neither map key nor field */
    CEL_NO_VALUE,     /* the variable has none in this evaluation */
    CEL_OUT_OF_RANGE, /* overflow, index outside of the list, time outside of its range */
    CEL_DIVIDED_BY_ZERO,
    CEL_BAD_ARGUMENT, /* a text that is no number, time, zone or regular expression; a fractional index */
    CEL_BAD_KEY,      /* a map key of a kind that cannot be one, or one that stands twice */
    CEL_BAD_INPUT,    /* a variable's JSON text is not JSON. Not absorbed by && || and macros */
    CEL_TOO_MUCH,     /* one of the limits above. Not absorbed */
    CEL_NO_MEMORY,    /* not absorbed */
};

/* What went wrong, and where in the expression. */
struct cel_error {
    enum cel_code code;
    uint32_t at;           /* byte of the source */
    uint32_t line, column; /* from 1; columns count characters */
    struct bytes text;     /* one line for a person, without the place */
};

struct cel_value;
struct cel_entry;

struct cel_list {
    size_t n;
    const struct cel_value *items;
};

struct cel_map {
    size_t n;
    const struct cel_entry *entries; /* as they came; no key twice */
    const uint32_t *order;           /* by key; NULL: not made (all maps given from outside) */
};

struct cel_value {
    uint8_t kind; /* enum cel_kind */
    bool is_json; /* a list or a map that is still JSON `text`; never in a result */
    int32_t ns;   /* timestamp: 0 to 999999999; duration: of the same sign as `integer` */
    union {
        bool boolean;
        int64_t integer; /* int; timestamp: seconds since 1970; duration: seconds */
        uint64_t natural;
        double number;
        struct bytes text; /* string, bytes */
        const struct cel_list *list;
        const struct cel_map *map;
        enum cel_kind type;
        const struct cel_error *error;
    };
};

struct cel_entry {
    struct cel_value key; /* bool, int, uint or string */
    struct cel_value value;
};

/* The object of a JSON text, borrowed; looked into as far as an expression needs it. Empty text stands for {}. When it
 * is not a JSON object, evaluating what uses it fails with CEL_BAD_INPUT. */
struct cel_value cel_json_object(struct bytes text);

/* Where values live that an evaluation makes. All-zero is a valid empty arena; owned by the caller, one thread at a
 * time. Freeing gives everything back at once. */
struct cel_arena {
    struct cel_chunk *chunks;
    char *at, *end; /* free room */
    size_t used;    /* bytes taken since the start or the last cel_arena_free */
    size_t max;     /* 0: no limit */
};
void cel_arena_free(struct cel_arena *arena); /* empty again; keeps `max` */

/* Programs. */

struct cel_program;

struct cel_variable {
    struct bytes name;  /* an identifier, or several with dots: "a.b" */
    enum cel_kind kind; /* CEL_DYN: not known before evaluating */
};

#define CEL_VARIABLES_MAX 64

struct cel_options {
    const struct cel_variable *variables; /* not needed after compiling; at most CEL_VARIABLES_MAX */
    size_t n_variables;
    struct bytes container; /* names are looked up in it and its parents first: "a.b" */
    enum cel_kind result;   /* refuse what surely gives another kind; CEL_DYN: anything goes */
    /* By default names and functions that are not known, and operators and functions on operands that are surely of a
     * wrong kind, are refused. With this they are errors of the evaluation, as in a program that was not type-checked.
     */
    bool unchecked;
};

/* -EINVAL with a text that points at the place ("column 7: ..." or, in a source of several lines, "line 2, column 7:
 * ..."), -E2BIG, -ENOMEM. When `ret_error` is not NULL it gets the same in parts; its text is borrowed from `err`,
 * which is then needed. The caller frees the program with cel_free. */
int cel_compile_with(struct bytes source, const struct cel_options *options, struct cel_program **ret_program,
                     struct cel_error *ret_error, struct err *err);
void cel_free(struct cel_program *program); /* NULL is fine */

/* Evaluates with the given values, in the order of the declared variables; CEL_DYN: this variable has no value. The
 * values and their memory are borrowed until the result is not needed any more.
 *
 * 0 with a value, or with an error as a value (CEL_ERROR). A result never holds JSON text: all of it is built. It lives
 * in the arena, the program and the values given. -EINVAL for CEL_BAD_INPUT, -E2BIG for CEL_TOO_MUCH, -ENOMEM. */
int cel_eval(const struct cel_program *program, const struct cel_value *values, struct cel_arena *arena,
             struct cel_value *ret_value, struct err *err);

/* The line of the source at that place and below it a '^' under the character, each ended by a newline; a long line is
 * cut around the place. 0, or the buffer's error. */
int cel_add_excerpt(struct buf *out, struct bytes source, uint32_t at);

/* Equality of the language: numbers of different kinds compare by value, other different kinds are not equal. Neither
 * value holds an error or JSON text. */
bool cel_equal(const struct cel_value *a, const struct cel_value *b);

/* Rules: expressions that make concurrency keys. */

struct cel_vars {
    struct bytes input;               /* JSON text of an object; empty: {} */
    struct bytes additional_metadata; /* JSON text of an object; empty: {} */
    struct bytes workflow_run_id;
};

/* Compiles with exactly the variables of struct cel_vars (two maps and a string). What cannot give a string is refused.
 * Errors as in cel_compile_with. */
int cel_compile(struct bytes source, struct cel_program **ret_program, struct err *err);

/* Does the result depend on workflow_run_id? Only of programs of cel_compile. */
bool cel_uses_run_id(const struct cel_program *program);

/* Appends the string that a program of cel_compile gives. -EINVAL: evaluating ended in an error (the text says which
 * and where), the result is no string, or a variable that is used is not a JSON object; -E2BIG: longer than
 * CEL_RESULT_MAX, or another limit; -ENOMEM. `out` is then as it was. Variables that evaluating does not come to are
 * not read. */
int cel_eval_string(const struct cel_program *program, const struct cel_vars *vars, struct buf *out, struct err *err);
