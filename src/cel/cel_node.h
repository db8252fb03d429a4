/* cel_node.h - the tree that a program is. Made by the parser, named and simplified by the checker, walked by the
 * evaluator; constant from then on. Nodes lie in the program's arena. */
#pragma once

#include "cel.h"

enum cel_op {
    OP_CONST,    /* value */
    OP_NAME,     /* parser only: `name` in the scope, or an absolute one */
    OP_VARIABLE, /* slot: number of the variable */
    OP_LOCAL,    /* slot: number of the macro's variable */
    OP_UNKNOWN,  /* a name that means nothing: an error when evaluated */
    OP_SELECT,   /* args[0].name */
    OP_HAS,      /* has(args[0].name) */
    OP_INDEX,    /* args[0][args[1]] */
    OP_LIST,     /* args */
    OP_MAP,      /* args: key, value, key, value ... */
    OP_NOT,
    OP_NEGATE,
    OP_AND, /* args: two or more */
    OP_OR,
    OP_CHOOSE, /* args[0] ? args[1] : args[2] */
    OP_ADD,
    OP_SUBTRACT,
    OP_MULTIPLY,
    OP_DIVIDE,
    OP_REMAINDER,
    OP_EQUAL,
    OP_NOT_EQUAL,
    OP_LESS,
    OP_LESS_EQUAL,
    OP_GREATER,
    OP_GREATER_EQUAL,
    OP_IN,
    OP_CALL, /* name(args); is_member: args[0].name(args[1] ...) */
    /* Macros: args[0] is what is gone through, args[1] what is evaluated for each; the slot holds the element. */
    OP_ALL,
    OP_EXISTS,
    OP_EXISTS_ONE,
    OP_TRANSFORM, /* map; with three args [1] is the filter and [2] the value */
    OP_FILTER,
};

struct cel_node {
    uint8_t op;          /* enum cel_op */
    uint8_t type;        /* enum cel_kind of the result; CEL_DYN: not known before evaluating */
    bool is_member;      /* call: written as args[0].name(...) */
    bool is_absolute;    /* name: written with a leading '.' */
    bool in_parentheses; /* such a name is not continued by a selection */
    uint16_t height;     /* of the tree below, this node counted */
    uint16_t slot;
    uint32_t at; /* byte of the source */
    uint32_t n;  /* of args */
    struct cel_node **args;
    struct bytes name; /* field, function, variable */
    struct cel_value value;
    const struct cel_function *functions; /* call: the first overload of that name, or NULL */
    struct re2_regex *regex;              /* matches() with a literal, owned by the program */
    struct zone *zone;                    /* time functions with a literal, owned by the program */
};

struct cel_owned_regex {
    struct cel_owned_regex *next;
    struct re2_regex *regex;
};

struct cel_owned_zone {
    struct cel_owned_zone *next;
    struct zone *zone;
};

struct cel_program {
    struct cel_arena arena;
    struct bytes source; /* a copy */
    struct cel_node *root;
    size_t n_variables;
    struct bytes *variables; /* their names */
    enum cel_kind *kinds;
    uint64_t used; /* bit by variable */
    uint16_t n_locals;
    struct cel_owned_regex *regexes;
    struct cel_owned_zone *zones;
};

/* What parser and checker work on. */
struct cel_compiler {
    struct cel_program *program;
    const struct cel_options *options;
    struct cel_error *ret_error; /* may be NULL */
    struct err *err;
    size_t n_nodes;
};

/* A zeroed node; NULL after an error was set (no memory, too many). Children are given later. */
struct cel_node *cel_node_new(struct cel_compiler *compiler, enum cel_op op, uint32_t at);

/* Sets the error at that place of the source and returns `code`'s errno: -EINVAL, -E2BIG or -ENOMEM. */
int cel_refuse(struct cel_compiler *compiler, enum cel_code code, uint32_t at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
int cel_refuse_memory(struct cel_compiler *compiler);

/* source -> tree of names and calls. 0 with program->root set, or the error. */
int cel_parse(struct cel_compiler *compiler);
/* Resolves names and functions, infers kinds, computes what is constant. 0 or the error. */
int cel_check(struct cel_compiler *compiler);

void cel_place(struct bytes source, uint32_t at, uint32_t *ret_line, uint32_t *ret_column);
/* "column 7: " or "line 2, column 7: " into a text of at least 48 bytes. */
void cel_place_text(struct bytes source, uint32_t at, char *ret_text);
