/* cel_parser.c - recursive descent over the grammar of langdef.md, "Syntax"; macros become nodes of their own. */
#include "cel_arena.h"
#include "cel_lexer.h"
#include "text.h"

struct parser {
    struct cel_compiler *compiler;
    struct cel_lexer lexer;
    unsigned depth;
};

static int parse_expression(struct parser *parser, struct cel_node **ret_node);

static bool at_sign(const struct parser *parser, const char *sign) {
    return parser->lexer.token == TOKEN_SIGN && bytes_equal(parser->lexer.text, bytes_str(sign));
}

static bool at_word(const struct parser *parser, const char *word) {
    return parser->lexer.token == TOKEN_NAME && bytes_equal(parser->lexer.text, bytes_str(word));
}

static bool is_literal_word(struct bytes name) {
    return bytes_equal(name, BYTES("true")) || bytes_equal(name, BYTES("false")) || bytes_equal(name, BYTES("null")) ||
           bytes_equal(name, BYTES("in"));
}

static bool is_reserved(struct bytes name) {
    static const char *const words[] = {"as",        "break",  "const",  "continue", "else", "for",
                                        "function",  "if",     "import", "let",      "loop", "package",
                                        "namespace", "return", "var",    "void",     "while"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (bytes_equal(name, bytes_str(words[i])))
            return true;
    return is_literal_word(name);
}

static int refuse_here(struct parser *parser, const char *wanted) {
    const struct cel_lexer *lexer = &parser->lexer;
    switch (lexer->token) {
    case TOKEN_END:
        return cel_refuse(parser->compiler, CEL_SYNTAX, lexer->at, "the expression ends where %s is expected", wanted);
    case TOKEN_VALUE:
        return cel_refuse(parser->compiler, CEL_SYNTAX, lexer->at, "a %s where %s is expected",
                          cel_kind_name(lexer->value.kind), wanted);
    case TOKEN_NAME:
    case TOKEN_QUOTED_NAME:
    case TOKEN_SIGN:
        break;
    }
    return cel_refuse(parser->compiler, CEL_SYNTAX, lexer->at, "'%.*s' where %s is expected",
                      lexer->text.n > 40 ? 40 : (int)lexer->text.n, lexer->text.p, wanted);
}

static int take_sign(struct parser *parser, const char *sign, const char *wanted) {
    return at_sign(parser, sign) ? cel_lex(&parser->lexer) : refuse_here(parser, wanted);
}

static int too_deep(struct parser *parser, uint32_t at) {
    return cel_refuse(parser->compiler, CEL_TOO_MUCH, at, "more than %d levels inside each other", CEL_DEPTH_MAX);
}

/* The array has room for 2, 4, 8 ... */
static int add_arg(struct parser *parser, struct cel_node *node, struct cel_node *arg) {
    if (node->n == 0 || (node->n > 1 && (node->n & (node->n - 1)) == 0)) {
        size_t room = node->n ? 2 * (size_t)node->n : 2;
        struct cel_node **args = cel_arena_alloc(&parser->compiler->program->arena, room * sizeof(struct cel_node *));
        if (!args)
            return cel_refuse_memory(parser->compiler);
        if (node->n)
            memcpy(args, node->args, node->n * sizeof(struct cel_node *));
        node->args = args;
    }
    node->args[node->n++] = arg;
    if (node->height <= arg->height)
        node->height = (uint16_t)(arg->height + 1);
    return node->height > CEL_DEPTH_MAX ? too_deep(parser, node->at) : 0;
}

static int new_node(struct parser *parser, enum cel_op op, uint32_t at, struct cel_node **ret_node) {
    struct cel_node *node = cel_node_new(parser->compiler, op, at);
    if (!node)
        return parser->compiler->n_nodes > CEL_NODES_MAX ? -E2BIG : -ENOMEM;
    *ret_node = node;
    return 0;
}

/* expression {"," expression} end, with the sign that opened it already taken. */
static int parse_args(struct parser *parser, struct cel_node *node, const char *end, bool trailing_comma) {
    while (!at_sign(parser, end)) {
        struct cel_node *arg;
        int r = parse_expression(parser, &arg);
        if (r == 0)
            r = add_arg(parser, node, arg);
        if (r < 0)
            return r;
        if (at_sign(parser, end))
            break;
        char wanted[16] = "',' or '?'";
        wanted[8] = end[0];
        r = take_sign(parser, ",", wanted);
        if (r < 0)
            return r;
        if (!trailing_comma && at_sign(parser, end))
            return refuse_here(parser, "a value");
    }
    return cel_lex(&parser->lexer);
}

static int parse_map(struct parser *parser, struct cel_node *node) {
    while (!at_sign(parser, "}")) {
        struct cel_node *part;
        int r = parse_expression(parser, &part);
        if (r == 0)
            r = add_arg(parser, node, part);
        if (r == 0)
            r = take_sign(parser, ":", "':'");
        if (r == 0)
            r = parse_expression(parser, &part);
        if (r == 0)
            r = add_arg(parser, node, part);
        if (r < 0)
            return r;
        if (at_sign(parser, "}"))
            break;
        r = take_sign(parser, ",", "',' or '}'");
        if (r < 0)
            return r;
    }
    return cel_lex(&parser->lexer);
}

/* has(e.f): the selection itself becomes the test. */
static int make_has(struct parser *parser, struct cel_node **node) {
    struct cel_node *arg = (*node)->n == 1 ? (*node)->args[0] : NULL;
    if (!arg || arg->op != OP_SELECT)
        return cel_refuse(parser->compiler, CEL_SYNTAX, arg ? arg->at : (*node)->at,
                          "has() asks for a field, as in has(input.name); this selects none");
    arg->op = OP_HAS;
    *node = arg;
    return 0;
}

/* range.all(x, p) and kin, which the parser has read as a call with the range as its first argument. */
static int make_macro(struct parser *parser, struct cel_node *node) {
    static const struct {
        const char *name;
        enum cel_op op;
        uint32_t least, most;
    } macros[] = {
        {"all", OP_ALL, 3, 3},       {"exists", OP_EXISTS, 3, 3}, {"exists_one", OP_EXISTS_ONE, 3, 3},
        {"map", OP_TRANSFORM, 3, 4}, {"filter", OP_FILTER, 3, 3},
    };
    for (size_t i = 0; i < sizeof macros / sizeof macros[0]; i++) {
        if (!bytes_equal(node->name, bytes_str(macros[i].name)))
            continue;
        if (node->n < macros[i].least || node->n > macros[i].most)
            return cel_refuse(parser->compiler, CEL_SYNTAX, node->at, "%s() needs a name and %s, as in list.%s(x, ...)",
                              macros[i].name,
                              macros[i].most > macros[i].least ? "one or two expressions" : "an expression",
                              macros[i].name);
        struct cel_node *variable = node->args[1];
        if (variable->op != OP_NAME || variable->is_absolute || variable->in_parentheses)
            return cel_refuse(parser->compiler, CEL_SYNTAX, variable->at,
                              "%s() needs a plain name here, for the element, as in list.%s(x, ...)", macros[i].name,
                              macros[i].name);
        node->op = (uint8_t)macros[i].op;
        node->name = variable->name;
        memmove(node->args + 1, node->args + 2, (node->n - 2) * sizeof(struct cel_node *));
        node->n--;
        break;
    }
    return 0;
}

/* [.]name or [.]name(args) */
static int parse_name(struct parser *parser, struct cel_node **ret_node) {
    bool is_absolute = at_sign(parser, ".");
    int r = is_absolute ? cel_lex(&parser->lexer) : 0;
    if (r < 0)
        return r;
    if (parser->lexer.token != TOKEN_NAME)
        return refuse_here(parser, "a name");
    struct bytes name = parser->lexer.text;
    uint32_t at = parser->lexer.at;
    if (is_reserved(name))
        return cel_refuse(parser->compiler, CEL_SYNTAX, at, "%.*s is a reserved word", (int)name.n, name.p);
    struct cel_node *node;
    r = new_node(parser, OP_NAME, at, &node);
    if (r == 0)
        r = cel_lex(&parser->lexer);
    if (r < 0)
        return r;
    node->name = name;
    node->is_absolute = is_absolute;
    if (at_sign(parser, "(")) {
        node->op = OP_CALL;
        r = cel_lex(&parser->lexer);
        if (r == 0)
            r = parse_args(parser, node, ")", false);
        if (r == 0 && !is_absolute && bytes_equal(name, BYTES("has")))
            r = make_has(parser, &node);
    }
    *ret_node = node;
    return r;
}

static int parse_parentheses(struct parser *parser, struct cel_node **ret_node) {
    uint32_t open = parser->lexer.at;
    int r = cel_lex(&parser->lexer);
    if (r == 0)
        r = parse_expression(parser, ret_node);
    if (r < 0)
        return r;
    if (parser->lexer.token == TOKEN_END)
        return cel_refuse(parser->compiler, CEL_SYNTAX, open, "this parenthesis is not closed");
    (*ret_node)->in_parentheses = true;
    return take_sign(parser, ")", "an operator or ')'");
}

static int parse_value(struct parser *parser, bool negative, struct cel_node **ret_node) {
    struct cel_lexer *lexer = &parser->lexer;
    struct cel_value value = lexer->value;
    if (lexer->is_min && !negative)
        return cel_refuse(parser->compiler, CEL_SYNTAX, lexer->at, "this number is too large for an int");
    if (negative && value.kind == CEL_INT)
        value.integer = lexer->is_min ? INT64_MIN : -value.integer;
    else if (negative)
        value.number = -value.number;
    struct cel_node *node;
    int r = new_node(parser, OP_CONST, lexer->at, &node);
    if (r < 0)
        return r;
    node->value = value;
    *ret_node = node;
    return cel_lex(lexer);
}

static int parse_word(struct parser *parser, struct cel_value value, struct cel_node **ret_node) {
    parser->lexer.value = value;
    parser->lexer.is_min = false;
    return parse_value(parser, false, ret_node);
}

static int parse_primary(struct parser *parser, struct cel_node **ret_node) {
    struct cel_lexer *lexer = &parser->lexer;
    uint32_t at = lexer->at;
    if (lexer->token == TOKEN_VALUE)
        return parse_value(parser, false, ret_node);
    if (at_word(parser, "true") || at_word(parser, "false"))
        return parse_word(parser, (struct cel_value){.kind = CEL_BOOL, .boolean = lexer->text.p[0] == 't'}, ret_node);
    if (at_word(parser, "null"))
        return parse_word(parser, (struct cel_value){.kind = CEL_NULL}, ret_node);
    if (at_word(parser, "in"))
        return refuse_here(parser, "a value");
    if (lexer->token == TOKEN_NAME || at_sign(parser, "."))
        return parse_name(parser, ret_node);
    if (at_sign(parser, "("))
        return parse_parentheses(parser, ret_node);
    bool is_list = at_sign(parser, "[");
    if (!is_list && !at_sign(parser, "{"))
        return refuse_here(parser, "a value");
    int r = new_node(parser, is_list ? OP_LIST : OP_MAP, at, ret_node);
    if (r == 0)
        r = cel_lex(lexer);
    if (r == 0)
        r = is_list ? parse_args(parser, *ret_node, "]", true) : parse_map(parser, *ret_node);
    return r;
}

/* .name, .`name` or .name(args), from the '.' on. */
static int parse_selection(struct parser *parser, struct cel_node **node) {
    struct cel_lexer *lexer = &parser->lexer;
    int r = cel_lex(lexer);
    if (r < 0)
        return r;
    struct bytes name = lexer->text;
    uint32_t at = lexer->at;
    bool is_quoted = lexer->token == TOKEN_QUOTED_NAME;
    if (lexer->token != TOKEN_NAME && !is_quoted)
        return refuse_here(parser, "the name of a field");
    if (!is_quoted && is_literal_word(name))
        return cel_refuse(parser->compiler, CEL_SYNTAX, at, "%.*s is a reserved word; write [\"%.*s\"]", (int)name.n,
                          name.p, (int)name.n, name.p);
    struct cel_node *outer;
    r = new_node(parser, OP_SELECT, at, &outer);
    if (r == 0)
        r = cel_lex(lexer);
    if (r == 0)
        r = add_arg(parser, outer, *node);
    if (r < 0)
        return r;
    outer->name = name;
    *node = outer;
    if (is_quoted || !at_sign(parser, "("))
        return 0;
    outer->op = OP_CALL;
    outer->is_member = true;
    r = cel_lex(lexer);
    if (r == 0)
        r = parse_args(parser, outer, ")", false);
    return r < 0 ? r : make_macro(parser, outer);
}

static int parse_index(struct parser *parser, struct cel_node **node) {
    struct cel_node *outer = NULL, *index;
    int r = new_node(parser, OP_INDEX, parser->lexer.at, &outer);
    if (r < 0)
        return r;
    r = cel_lex(&parser->lexer);
    if (r == 0)
        r = parse_expression(parser, &index);
    if (r == 0)
        r = add_arg(parser, outer, *node);
    if (r == 0)
        r = add_arg(parser, outer, index);
    *node = outer;
    return r < 0 ? r : take_sign(parser, "]", "']'");
}

/* A primary, or a negative number, and what is selected from it. */
static int parse_member(struct parser *parser, bool negative, struct cel_node **ret_node) {
    int r = negative ? parse_value(parser, true, ret_node) : parse_primary(parser, ret_node);
    while (r == 0) {
        if (at_sign(parser, "."))
            r = parse_selection(parser, ret_node);
        else if (at_sign(parser, "["))
            r = parse_index(parser, ret_node);
        else if (at_sign(parser, "{") && ((*ret_node)->op == OP_NAME || (*ret_node)->op == OP_SELECT))
            return cel_refuse(parser->compiler, CEL_UNSUPPORTED, parser->lexer.at,
                              "protocol buffer messages are not supported");
        else
            return 0;
    }
    return r;
}

/* Any number of '!', or any number of '-', and a member. A '-' right before a number is the number's. */
static int parse_unary(struct parser *parser, struct cel_node **ret_node) {
    struct cel_node *outermost = NULL, *innermost = NULL;
    bool negative = false;
    const char *sign = at_sign(parser, "!") ? "!" : at_sign(parser, "-") ? "-" : NULL;
    int r = 0;
    while (sign && at_sign(parser, sign)) {
        uint32_t at = parser->lexer.at;
        r = cel_lex(&parser->lexer);
        if (r < 0)
            return r;
        negative = sign[0] == '-' && parser->lexer.token == TOKEN_VALUE &&
                   (parser->lexer.value.kind == CEL_INT || parser->lexer.value.kind == CEL_DOUBLE);
        if (negative)
            break;
        struct cel_node *node;
        r = new_node(parser, sign[0] == '!' ? OP_NOT : OP_NEGATE, at, &node);
        if (r == 0 && innermost)
            r = add_arg(parser, innermost, node);
        if (r < 0)
            return r;
        if (!outermost)
            outermost = node;
        innermost = node;
    }
    struct cel_node *member;
    r = parse_member(parser, negative, &member);
    if (r < 0)
        return r;
    if (innermost)
        r = add_arg(parser, innermost, member);
    /* From the inside out: the heights are known only now. */
    unsigned height = member->height;
    for (struct cel_node *node = outermost; r == 0 && node && node != member; node = node->args[0])
        height++;
    if (r == 0 && height > CEL_DEPTH_MAX)
        return too_deep(parser, outermost->at);
    for (struct cel_node *node = outermost; r == 0 && node && node != member; node = node->args[0])
        node->height = (uint16_t)height--;
    *ret_node = outermost ? outermost : member;
    return r;
}

struct binary {
    const char *sign;
    enum cel_op op;
    int level;
};

static const struct binary *binary_here(const struct parser *parser) {
    static const struct binary binaries[] = {
        {"||", OP_OR, 1},       {"&&", OP_AND, 2},        {"==", OP_EQUAL, 3},   {"!=", OP_NOT_EQUAL, 3},
        {"<", OP_LESS, 3},      {"<=", OP_LESS_EQUAL, 3}, {">", OP_GREATER, 3},  {">=", OP_GREATER_EQUAL, 3},
        {"+", OP_ADD, 4},       {"-", OP_SUBTRACT, 4},    {"*", OP_MULTIPLY, 5}, {"/", OP_DIVIDE, 5},
        {"%", OP_REMAINDER, 5},
    };
    static const struct binary in = {"in", OP_IN, 3};
    if (at_word(parser, "in"))
        return &in;
    for (size_t i = 0; i < sizeof binaries / sizeof binaries[0]; i++)
        if (at_sign(parser, binaries[i].sign))
            return &binaries[i];
    return NULL;
}

/* Operators of at least this level, all of them left-associative. A row of || or of && is one node. */
static int parse_binary(struct parser *parser, int level, struct cel_node **ret_node) {
    int r = parse_unary(parser, ret_node);
    while (r == 0) {
        const struct binary *binary = binary_here(parser);
        if (!binary || binary->level < level)
            return 0;
        struct cel_node *node = *ret_node, *right;
        bool is_row = binary->level <= 2 && node->op == binary->op && !node->in_parentheses;
        if (!is_row) {
            r = new_node(parser, binary->op, parser->lexer.at, &node);
            if (r == 0)
                r = add_arg(parser, node, *ret_node);
        }
        if (r == 0)
            r = cel_lex(&parser->lexer);
        if (r == 0)
            r = parse_binary(parser, binary->level + 1, &right);
        if (r == 0)
            r = add_arg(parser, node, right);
        *ret_node = node;
    }
    return r;
}

static int parse_choice(struct parser *parser, struct cel_node **ret_node) {
    int r = parse_binary(parser, 1, ret_node);
    if (r < 0 || !at_sign(parser, "?"))
        return r;
    struct cel_node *node = NULL, *part;
    r = new_node(parser, OP_CHOOSE, parser->lexer.at, &node);
    if (r < 0)
        return r;
    r = add_arg(parser, node, *ret_node);
    if (r == 0)
        r = cel_lex(&parser->lexer);
    if (r == 0)
        r = parse_binary(parser, 1, &part);
    if (r == 0)
        r = add_arg(parser, node, part);
    if (r == 0)
        r = take_sign(parser, ":", "an operator or ':'");
    if (r == 0)
        r = parse_expression(parser, &part);
    if (r == 0)
        r = add_arg(parser, node, part);
    *ret_node = node;
    return r;
}

static int parse_expression(struct parser *parser, struct cel_node **ret_node) {
    if (parser->depth == CEL_DEPTH_MAX)
        return too_deep(parser, parser->lexer.at);
    parser->depth++;
    int r = parse_choice(parser, ret_node);
    parser->depth--;
    return r;
}

int cel_parse(struct cel_compiler *compiler) {
    struct parser parser = {.compiler = compiler, .lexer = {.compiler = compiler, .source = compiler->program->source}};
    struct bytes source = compiler->program->source;
    for (size_t at = 0, step; at < source.n; at += step) {
        unsigned char c = (unsigned char)source.p[at];
        step = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        if (step > source.n - at || !text_is_utf8(bytes_of(source.p + at, step)))
            return cel_refuse(compiler, CEL_SYNTAX, (uint32_t)at, "the expression is not UTF-8");
    }
    int r = cel_lex(&parser.lexer);
    if (r < 0)
        return r;
    if (parser.lexer.token == TOKEN_END)
        return cel_refuse(compiler, CEL_SYNTAX, 0, "the expression is empty");
    r = parse_expression(&parser, &compiler->program->root);
    if (r < 0)
        return r;
    return parser.lexer.token == TOKEN_END ? 0 : refuse_here(&parser, "an operator or the end");
}
