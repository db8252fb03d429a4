/* cel_operators.c - arithmetic and order: which kinds, checked for overflow (langdef.md, "Overflow"). */
#include "cel_eval.h"

#include <stdio.h>

const char *cel_operator_sign(enum cel_op op) {
    static const char *const signs[] = {
        [OP_NOT] = "!",         [OP_NEGATE] = "-",   [OP_AND] = "&&",           [OP_OR] = "||",
        [OP_ADD] = "+",         [OP_SUBTRACT] = "-", [OP_MULTIPLY] = "*",       [OP_DIVIDE] = "/",
        [OP_REMAINDER] = "%",   [OP_EQUAL] = "==",   [OP_NOT_EQUAL] = "!=",     [OP_LESS] = "<",
        [OP_LESS_EQUAL] = "<=", [OP_GREATER] = ">",  [OP_GREATER_EQUAL] = ">=", [OP_IN] = "in",
        [OP_INDEX] = "[]",      [OP_CHOOSE] = "?:"};
    return op < sizeof signs / sizeof signs[0] && signs[op] ? signs[op] : "";
}

/* What may stand on both sides of the arithmetic operators, and what they give. */
static const struct {
    uint8_t op, a, b, result;
} arithmetic[] = {
    {OP_ADD, CEL_INT, CEL_INT, CEL_INT},
    {OP_ADD, CEL_UINT, CEL_UINT, CEL_UINT},
    {OP_ADD, CEL_DOUBLE, CEL_DOUBLE, CEL_DOUBLE},
    {OP_ADD, CEL_STRING, CEL_STRING, CEL_STRING},
    {OP_ADD, CEL_BYTES, CEL_BYTES, CEL_BYTES},
    {OP_ADD, CEL_LIST, CEL_LIST, CEL_LIST},
    {OP_ADD, CEL_TIMESTAMP, CEL_DURATION, CEL_TIMESTAMP},
    {OP_ADD, CEL_DURATION, CEL_TIMESTAMP, CEL_TIMESTAMP},
    {OP_ADD, CEL_DURATION, CEL_DURATION, CEL_DURATION},
    {OP_SUBTRACT, CEL_INT, CEL_INT, CEL_INT},
    {OP_SUBTRACT, CEL_UINT, CEL_UINT, CEL_UINT},
    {OP_SUBTRACT, CEL_DOUBLE, CEL_DOUBLE, CEL_DOUBLE},
    {OP_SUBTRACT, CEL_TIMESTAMP, CEL_TIMESTAMP, CEL_DURATION},
    {OP_SUBTRACT, CEL_TIMESTAMP, CEL_DURATION, CEL_TIMESTAMP},
    {OP_SUBTRACT, CEL_DURATION, CEL_DURATION, CEL_DURATION},
    {OP_MULTIPLY, CEL_INT, CEL_INT, CEL_INT},
    {OP_MULTIPLY, CEL_UINT, CEL_UINT, CEL_UINT},
    {OP_MULTIPLY, CEL_DOUBLE, CEL_DOUBLE, CEL_DOUBLE},
    {OP_DIVIDE, CEL_INT, CEL_INT, CEL_INT},
    {OP_DIVIDE, CEL_UINT, CEL_UINT, CEL_UINT},
    {OP_DIVIDE, CEL_DOUBLE, CEL_DOUBLE, CEL_DOUBLE},
    {OP_REMAINDER, CEL_INT, CEL_INT, CEL_INT},
    {OP_REMAINDER, CEL_UINT, CEL_UINT, CEL_UINT},
    {OP_NEGATE, CEL_INT, CEL_DYN, CEL_INT},
    {OP_NEGATE, CEL_DOUBLE, CEL_DYN, CEL_DOUBLE},
    {OP_NOT, CEL_BOOL, CEL_DYN, CEL_BOOL},
};

static bool is_number(enum cel_kind kind) {
    return kind == CEL_INT || kind == CEL_UINT || kind == CEL_DOUBLE;
}

static bool is_ordered(enum cel_kind kind) {
    return is_number(kind) || kind == CEL_BOOL || kind == CEL_STRING || kind == CEL_BYTES || kind == CEL_TIMESTAMP ||
           kind == CEL_DURATION;
}

static enum cel_kind order_result(enum cel_kind a, enum cel_kind b) {
    if ((a != CEL_DYN && !is_ordered(a)) || (b != CEL_DYN && !is_ordered(b)))
        return CEL_ERROR;
    return a == CEL_DYN || b == CEL_DYN || a == b || (is_number(a) && is_number(b)) ? CEL_BOOL : CEL_ERROR;
}

enum cel_kind cel_operator_result(enum cel_op op, enum cel_kind a, enum cel_kind b) {
    switch (op) {
    case OP_EQUAL:
    case OP_NOT_EQUAL:
        return CEL_BOOL;
    case OP_IN:
        return b == CEL_DYN || b == CEL_LIST || b == CEL_MAP ? CEL_BOOL : CEL_ERROR;
    case OP_LESS:
    case OP_LESS_EQUAL:
    case OP_GREATER:
    case OP_GREATER_EQUAL:
        return order_result(a, b);
    default:
        break;
    }
    enum cel_kind result = CEL_ERROR;
    for (size_t i = 0; i < sizeof arithmetic / sizeof arithmetic[0]; i++) {
        if (arithmetic[i].op != op || (a != CEL_DYN && arithmetic[i].a != a) || (b != CEL_DYN && arithmetic[i].b != b))
            continue;
        enum cel_kind one = (enum cel_kind)arithmetic[i].result;
        result = result == CEL_ERROR || result == one ? one : CEL_DYN;
    }
    return result;
}

static struct cel_value overflow(struct cel_eval *eval, const struct cel_node *node) {
    return cel_fail(eval, node, CEL_OUT_OF_RANGE, "the result of '%s' is out of range",
                    cel_operator_sign((enum cel_op)node->op));
}

static struct cel_value by_zero(struct cel_eval *eval, const struct cel_node *node) {
    return cel_fail(eval, node, CEL_DIVIDED_BY_ZERO, "division by zero");
}

static struct cel_value operate_ints(struct cel_eval *eval, const struct cel_node *node, int64_t a, int64_t b) {
    int64_t result = 0;
    switch ((enum cel_op)node->op) {
    case OP_ADD:
        return __builtin_add_overflow(a, b, &result) ? overflow(eval, node) : cel_int(result);
    case OP_SUBTRACT:
        return __builtin_sub_overflow(a, b, &result) ? overflow(eval, node) : cel_int(result);
    case OP_MULTIPLY:
        return __builtin_mul_overflow(a, b, &result) ? overflow(eval, node) : cel_int(result);
    default:
        if (b == 0)
            return by_zero(eval, node);
        if (a == INT64_MIN && b == -1)
            return overflow(eval, node);
        return cel_int(node->op == OP_DIVIDE ? a / b : a % b);
    }
}

static struct cel_value operate_uints(struct cel_eval *eval, const struct cel_node *node, uint64_t a, uint64_t b) {
    struct cel_value result = {.kind = CEL_UINT};
    bool overflows = false;
    switch ((enum cel_op)node->op) {
    case OP_ADD:
        overflows = __builtin_add_overflow(a, b, &result.natural);
        break;
    case OP_SUBTRACT:
        overflows = __builtin_sub_overflow(a, b, &result.natural);
        break;
    case OP_MULTIPLY:
        overflows = __builtin_mul_overflow(a, b, &result.natural);
        break;
    default:
        if (b == 0)
            return by_zero(eval, node);
        result.natural = node->op == OP_DIVIDE ? a / b : a % b;
    }
    return overflows ? overflow(eval, node) : result;
}

/* IEEE 754: nothing overflows but to infinity. */
__attribute__((no_sanitize("float-divide-by-zero"))) static struct cel_value
operate_doubles(const struct cel_node *node, double a, double b) {
    struct cel_value result = {.kind = CEL_DOUBLE};
    result.number = node->op == OP_ADD        ? a + b
                    : node->op == OP_SUBTRACT ? a - b
                    : node->op == OP_MULTIPLY ? a * b
                                              : a / b;
    return result;
}

static struct cel_value join_texts(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *a,
                                   struct bytes b) {
    struct bytes left = a->text;
    if (left.n == 0 || b.n == 0)
        return (struct cel_value){.kind = a->kind, .text = left.n ? left : b};
    char *text = cel_take_text(eval, node, left.n + b.n);
    if (!text)
        return (struct cel_value){.kind = CEL_ERROR, .error = &eval->fatal_error};
    memcpy(text, left.p, left.n);
    memcpy(text + left.n, b.p, b.n);
    return (struct cel_value){.kind = a->kind, .text = bytes_of(text, left.n + b.n)};
}

static struct cel_value join_lists(struct cel_eval *eval, const struct cel_node *node, struct cel_value a,
                                   struct cel_value b) {
    a = cel_open(eval, node, a);
    b = cel_open(eval, node, b);
    if (a.kind == CEL_ERROR || b.kind == CEL_ERROR)
        return a.kind == CEL_ERROR ? a : b;
    size_t n = a.list->n + b.list->n;
    struct cel_value *items =
        cel_charge(eval, node, CEL_ITEMS_COST(n)) ? cel_take(eval, node, n * sizeof *items) : NULL;
    if (!items)
        return (struct cel_value){.kind = CEL_ERROR, .error = &eval->fatal_error};
    if (a.list->n)
        memcpy(items, a.list->items, a.list->n * sizeof *items);
    if (b.list->n)
        memcpy(items + a.list->n, b.list->items, b.list->n * sizeof *items);
    return cel_make_list(eval, node, items, n);
}

static struct cel_value compare(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *a,
                                const struct cel_value *b) {
    int order;
    if (!cel_compare(a, b, &order))
        return cel_fail_overload(eval, node, cel_operator_sign((enum cel_op)node->op),
                                 (const struct cel_value[]){*a, *b}, 2);
    if (a->kind == CEL_STRING || a->kind == CEL_BYTES)
        if (!cel_charge(eval, node, CEL_BYTES_COST(a->text.n < b->text.n ? a->text.n : b->text.n)))
            return (struct cel_value){.kind = CEL_ERROR, .error = &eval->fatal_error};
    switch ((enum cel_op)node->op) {
    case OP_LESS:
        return cel_bool(order == -1);
    case OP_LESS_EQUAL:
        return cel_bool(order == -1 || order == 0);
    case OP_GREATER:
        return cel_bool(order == 1);
    default:
        return cel_bool(order == 1 || order == 0);
    }
}

static struct cel_value is_in(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *a,
                              const struct cel_value *b) {
    if (b->kind == CEL_MAP) {
        struct cel_value found = cel_look_up(eval, node, b, a);
        if (found.kind != CEL_ERROR || eval->fatal)
            return found.kind == CEL_ERROR ? found : cel_bool(found.kind != CEL_DYN);
        return cel_bool(found.error->code != CEL_BAD_KEY); /* a list is in no map; a number too large still has a key */
    }
    if (b->kind != CEL_LIST)
        return cel_fail_overload(eval, node, "in", (const struct cel_value[]){*a, *b}, 2);
    struct cel_value list = cel_open(eval, node, *b);
    if (list.kind == CEL_ERROR)
        return list;
    for (size_t i = 0; i < list.list->n; i++) {
        int same = cel_are_equal(eval, node, a, &list.list->items[i]);
        if (same)
            return same < 0 ? (struct cel_value){.kind = CEL_ERROR, .error = &eval->fatal_error} : cel_bool(true);
    }
    return cel_bool(false);
}

static struct cel_value operate_times(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *a,
                                      const struct cel_value *b, enum cel_kind kind) {
    struct cel_value result;
    if (!cel_add_times(a, b, node->op == OP_ADD ? 1 : -1, kind, &result))
        return overflow(eval, node);
    return result;
}

struct cel_value cel_operate(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *a,
                             const struct cel_value *b) {
    int same;
    switch ((enum cel_op)node->op) {
    case OP_EQUAL:
    case OP_NOT_EQUAL:
        same = cel_are_equal(eval, node, a, b);
        if (same < 0)
            return (struct cel_value){.kind = CEL_ERROR, .error = &eval->fatal_error};
        return cel_bool((same == 1) == (node->op == OP_EQUAL));
    case OP_IN:
        return is_in(eval, node, a, b);
    case OP_LESS:
    case OP_LESS_EQUAL:
    case OP_GREATER:
    case OP_GREATER_EQUAL:
        return compare(eval, node, a, b);
    default:
        break;
    }
    enum cel_kind result = cel_operator_result((enum cel_op)node->op, (enum cel_kind)a->kind, (enum cel_kind)b->kind);
    switch (result) {
    case CEL_INT:
        return operate_ints(eval, node, a->integer, b->integer);
    case CEL_UINT:
        return operate_uints(eval, node, a->natural, b->natural);
    case CEL_DOUBLE:
        return operate_doubles(node, a->number, b->number);
    case CEL_STRING:
    case CEL_BYTES:
        return join_texts(eval, node, a, b->text);
    case CEL_LIST:
        return join_lists(eval, node, *a, *b);
    case CEL_TIMESTAMP:
    case CEL_DURATION:
        return operate_times(eval, node, a, b, result);
    default:
        return cel_fail_overload(eval, node, cel_operator_sign((enum cel_op)node->op),
                                 (const struct cel_value[]){*a, *b}, 2);
    }
}

struct cel_value cel_negate(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *a) {
    if (a->kind == CEL_DOUBLE)
        return (struct cel_value){.kind = CEL_DOUBLE, .number = -a->number};
    if (a->kind != CEL_INT)
        return cel_fail_overload(eval, node, "-", a, 1);
    return a->integer == INT64_MIN ? overflow(eval, node) : cel_int(-a->integer);
}
