/* cel_lexer.h - the words of an expression. */
#pragma once

#include "cel_node.h"

enum cel_token {
    TOKEN_END,
    TOKEN_NAME,        /* text: as written; any word, reserved ones too */
    TOKEN_QUOTED_NAME, /* text: what stands between the backticks; only after a '.' */
    TOKEN_VALUE,       /* value: int, uint, double, string or bytes. An int of 2^63 comes as CEL_UINT with `is_min` */
    TOKEN_SIGN,        /* text: an operator or bracket */
};

struct cel_lexer {
    struct cel_compiler *compiler;
    struct bytes source;
    uint32_t next; /* first byte after the current token */
    /* The current token: */
    enum cel_token token;
    uint32_t at;
    struct bytes text;
    struct cel_value value;
    bool is_min; /* 9223372036854775808, which only a '-' before it makes an int */
};

/* Goes to the next token. 0 or the error (already set). */
int cel_lex(struct cel_lexer *lexer);
