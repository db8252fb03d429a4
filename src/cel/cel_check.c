/* cel_check.c - what can be known before any evaluation: what names stand for (langdef.md, "Name Resolution"), which
 * overloads are left, what is constant. */
#include "cel_arena.h"
#include "cel_eval.h"
#include "nearest.h"
#include "re2_shim.h"
#include "zone.h"

#include <stdio.h>

#define LOCALS_MAX CEL_DEPTH_MAX     /* macros inside each other */
#define CONSTANT_COST 20000          /* what computing one constant may cost, and ... */
#define CONSTANT_BYTES_MAX (8 << 10) /* ... take to keep */

struct scope {
    const struct scope *outer;
    struct bytes name;
    uint16_t slot;
};

struct checker {
    struct cel_compiler *compiler;
    struct cel_program *program;
};

static int check(struct checker *checker, struct cel_node *node, const struct scope *scope);

static bool is_strict(const struct checker *checker) {
    return !checker->compiler->options->unchecked;
}

/* Names. */

/* Does `name` read prefix.parts[0].parts[1] ...? */
static bool is_path(struct bytes name, struct bytes prefix, const struct bytes *parts, size_t n) {
    size_t at = 0;
    if (prefix.n) {
        if (name.n <= prefix.n || !bytes_starts(name, prefix) || name.p[prefix.n] != '.')
            return false;
        at = prefix.n + 1;
    }
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && (at >= name.n || name.p[at++] != '.'))
            return false;
        if (name.n - at < parts[i].n || memcmp(name.p + at, parts[i].p, parts[i].n) != 0)
            return false;
        at += parts[i].n;
    }
    return at == name.n;
}

static struct bytes parent_of(struct bytes container) {
    while (container.n && container.p[--container.n] != '.')
        ;
    return container;
}

/* Turns `node` into what the path stands for, if it stands for anything. */
static bool resolve_path(struct checker *checker, struct cel_node *node, const struct bytes *parts, size_t n,
                         bool is_absolute) {
    struct cel_program *program = checker->program;
    for (struct bytes prefix = is_absolute ? BYTES_NONE : checker->compiler->options->container;;
         prefix = parent_of(prefix)) {
        for (size_t i = 0; i < program->n_variables; i++) {
            if (!is_path(program->variables[i], prefix, parts, n))
                continue;
            program->used |= UINT64_C(1) << i;
            node->op = OP_VARIABLE;
            node->slot = (uint16_t)i;
            node->type = (uint8_t)program->kinds[i];
            node->n = 0;
            return true;
        }
        for (enum cel_kind kind = CEL_NULL; kind <= CEL_TYPE; kind++) {
            if (!is_path(bytes_str(cel_kind_name(kind)), prefix, parts, n))
                continue;
            node->op = OP_CONST;
            node->value = (struct cel_value){.kind = CEL_TYPE, .type = kind};
            node->type = CEL_TYPE;
            node->n = 0;
            return true;
        }
        if (prefix.n == 0)
            return false;
    }
}

/* The variable that was meant, perhaps; empty: none is near. */
static struct bytes nearest_variable(const struct checker *checker, struct bytes name) {
    struct bytes found = BYTES_NONE;
    size_t least = NEAREST_FAR;
    for (size_t i = 0; i < checker->program->n_variables; i++) {
        char known[NEAREST_FAR];
        struct bytes variable = checker->program->variables[i];
        struct nearest nearest = {.name = name};
        snprintf(known, sizeof known, "%.*s", variable.n < NEAREST_FAR ? (int)variable.n : 0, variable.p);
        nearest_offer(&nearest, known);
        if (nearest.found && nearest.distance < least) {
            found = variable;
            least = nearest.distance;
        }
    }
    return found;
}

static int check_unknown(struct checker *checker, struct cel_node *node) {
    node->op = OP_UNKNOWN;
    if (!is_strict(checker))
        return 0;
    char known[200];
    struct buf list = {.p = known, .cap = sizeof known, .max = sizeof known - 1};
    known[0] = '\0';
    for (size_t i = 0; i < checker->program->n_variables; i++)
        if ((i > 0 && buf_add_str(&list, i + 1 == checker->program->n_variables ? " and " : ", ") < 0) ||
            buf_add_bytes(&list, checker->program->variables[i]) < 0)
            return cel_refuse(checker->compiler, CEL_UNKNOWN_NAME, node->at, "%.*s is not known",
                              node->name.n > 80 ? 80 : (int)node->name.n, node->name.p);
    struct bytes meant = nearest_variable(checker, node->name);
    return cel_refuse(checker->compiler, CEL_UNKNOWN_NAME, node->at, "%.*s is not known; %s%s%s%.*s%s",
                      node->name.n > 80 ? 80 : (int)node->name.n, node->name.p,
                      list.n ? "the variables are " : "there are no variables", known, meant.n ? "; did you mean " : "",
                      (int)meant.n, meant.n ? meant.p : "", meant.n ? "?" : "");
}

/* A name, or selections from one (a.b.c): its longest beginning that stands for something becomes that. */
static __attribute__((noinline)) int check_name(struct checker *checker, struct cel_node *node,
                                                const struct scope *scope) {
    struct cel_node *chain[CEL_DEPTH_MAX];
    struct bytes parts[CEL_DEPTH_MAX];
    size_t n = 0;
    for (struct cel_node *at = node;; at = at->args[0]) {
        chain[n++] = at;
        if (at->op == OP_NAME)
            break;
    }
    for (size_t i = 0; i < n / 2; i++) {
        struct cel_node *swapped = chain[i];
        chain[i] = chain[n - 1 - i];
        chain[n - 1 - i] = swapped;
    }
    struct cel_node *first = chain[0];
    if (!first->is_absolute)
        for (const struct scope *at = scope; at; at = at->outer)
            if (bytes_equal(at->name, first->name)) {
                first->op = OP_LOCAL;
                first->slot = at->slot;
                return 0;
            }
    for (size_t i = 0; i < n; i++)
        parts[i] = chain[i]->name;
    for (size_t i = n; i > 0; i--)
        if (resolve_path(checker, chain[i - 1], parts, i, first->is_absolute))
            return 0;
    return check_unknown(checker, first);
}

/* The name below selections of which none stands in parentheses, or NULL. */
static bool is_name_chain(const struct cel_node *node) {
    while (node->op == OP_SELECT && !node->args[0]->in_parentheses)
        node = node->args[0];
    return node->op == OP_NAME;
}

/* Kinds. */

/* In an expression that is checked, what is surely wrong is refused. */
static int expect(struct checker *checker, const struct cel_node *node, bool fits, const char *what) {
    if (fits || node->type == CEL_DYN || !is_strict(checker))
        return 0;
    return cel_refuse(checker->compiler, CEL_NO_OVERLOAD, node->at, "%s %s",
                      cel_kind_article((enum cel_kind)node->type), what);
}

static int expect_kind(struct checker *checker, const struct cel_node *node, enum cel_kind kind, const char *what) {
    return expect(checker, node, node->type == kind, what);
}

static bool can_be_key(const struct cel_node *node) {
    return node->type == CEL_BOOL || node->type == CEL_INT || node->type == CEL_UINT || node->type == CEL_STRING;
}

static int check_operator(struct checker *checker, struct cel_node *node) {
    enum cel_kind a = (enum cel_kind)node->args[0]->type;
    enum cel_kind b = node->n > 1 ? (enum cel_kind)node->args[1]->type : CEL_DYN;
    enum cel_kind result = cel_operator_result((enum cel_op)node->op, a, b);
    if (result != CEL_ERROR) {
        node->type = (uint8_t)result;
        return 0;
    }
    if (!is_strict(checker))
        return 0;
    const char *sign = cel_operator_sign((enum cel_op)node->op);
    if (node->n == 1)
        return cel_refuse(checker->compiler, CEL_NO_OVERLOAD, node->at, "%s has no '%s'", cel_kind_article(a), sign);
    return cel_refuse(checker->compiler, CEL_NO_OVERLOAD, node->at, "'%s' is not for %s and %s", sign,
                      a == CEL_DYN ? "any value" : cel_kind_article(a),
                      b == CEL_DYN ? "any value" : cel_kind_article(b));
}

static int keep_regex(struct checker *checker, struct cel_node *node) {
    const struct cel_node *pattern = node->args[1];
    struct cel_owned_regex *owned = cel_arena_alloc(&checker->program->arena, sizeof *owned);
    if (!owned)
        return cel_refuse_memory(checker->compiler);
    char why[160];
    int r = re2_regex_compile(pattern->value.text.p, pattern->value.text.n, CEL_PATTERN_MEMORY_MAX, &owned->regex, why,
                              sizeof why);
    if (r == -ENOMEM)
        return cel_refuse_memory(checker->compiler);
    if (r < 0)
        return is_strict(checker) ? cel_refuse(checker->compiler, r == -E2BIG ? CEL_TOO_MUCH : CEL_BAD_ARGUMENT,
                                               pattern->at, "a bad regular expression: %s", why)
                                  : 0;
    owned->next = checker->program->regexes;
    checker->program->regexes = owned;
    node->regex = owned->regex;
    return 0;
}

static int keep_zone(struct checker *checker, struct cel_node *node) {
    const struct cel_node *name = node->args[1];
    int32_t offset_s;
    if (cel_fixed_zone(name->value.text, &offset_s))
        return 0;
    struct cel_owned_zone *owned = cel_arena_alloc(&checker->program->arena, sizeof *owned);
    if (!owned)
        return cel_refuse_memory(checker->compiler);
    struct err err;
    int r = zone_load(name->value.text, &owned->zone, &err);
    if (r == -ENOMEM)
        return cel_refuse_memory(checker->compiler);
    if (r < 0)
        return is_strict(checker) ? cel_refuse(checker->compiler, CEL_BAD_ARGUMENT, name->at, "%s", err.text) : 0;
    owned->next = checker->program->zones;
    checker->program->zones = owned;
    node->zone = owned->zone;
    return 0;
}

static bool may_take(const struct cel_function *function, const struct cel_node *node) {
    if (function->n != node->n)
        return false;
    for (uint32_t i = 0; i < node->n; i++)
        if (function->kinds[i] != CEL_DYN && node->args[i]->type != CEL_DYN &&
            function->kinds[i] != node->args[i]->type)
            return false;
    return true;
}

static int refuse_call(struct checker *checker, const struct cel_node *node) {
    int shown = node->name.n > 40 ? 40 : (int)node->name.n;
    const char *dot = node->is_member ? "." : "";
    if (!node->functions) {
        if (cel_find_function(node->name, !node->is_member))
            return cel_refuse(checker->compiler, CEL_UNKNOWN_FUNCTION, node->at,
                              node->is_member ? "%.*s is no method; write %.*s(value)"
                                              : "write value.%.*s(), not %.*s(value)",
                              shown, node->name.p, shown, node->name.p);
        return cel_refuse(checker->compiler, CEL_UNKNOWN_FUNCTION, node->at, "there is no function %s%.*s()", dot,
                          shown, node->name.p);
    }
    char kinds[200];
    struct buf list = {.p = kinds, .cap = sizeof kinds, .max = sizeof kinds - 1};
    kinds[0] = '\0';
    for (uint32_t i = node->is_member; i < node->n; i++)
        if ((i > node->is_member && buf_add_str(&list, ", ") < 0) ||
            buf_add_str(&list, node->args[i]->type ? cel_kind_name((enum cel_kind)node->args[i]->type) : "any") < 0)
            break;
    if (node->is_member && node->args[0]->type != CEL_DYN)
        return cel_refuse(checker->compiler, CEL_NO_OVERLOAD, node->at, "%s has no .%.*s(%s)",
                          cel_kind_article((enum cel_kind)node->args[0]->type), shown, node->name.p, kinds);
    return cel_refuse(checker->compiler, CEL_NO_OVERLOAD, node->at, "there is no %s%.*s(%s)", dot, shown, node->name.p,
                      kinds);
}

static int check_call(struct checker *checker, struct cel_node *node) {
    node->functions = cel_find_function(node->name, node->is_member);
    size_t candidates = 0;
    uint8_t result = CEL_DYN;
    for (const struct cel_function *at = node->functions; at; at = cel_next_overload(at)) {
        if (!may_take(at, node))
            continue;
        result = candidates++ == 0 || result == at->result ? at->result : CEL_DYN;
    }
    if (candidates == 0)
        return is_strict(checker) ? refuse_call(checker, node) : 0;
    node->type = result;
    if (node->n != 2 || node->args[1]->op != OP_CONST || node->args[1]->type != CEL_STRING)
        return 0;
    if (node->functions->call == cel_matches)
        return keep_regex(checker, node);
    if (node->is_member && bytes_starts(node->name, BYTES("get")))
        return keep_zone(checker, node);
    return 0;
}

static int check_macro(struct checker *checker, struct cel_node *node, const struct scope *scope) {
    int r = check(checker, node->args[0], scope);
    if (r == 0)
        r = expect(checker, node->args[0], node->args[0]->type == CEL_LIST || node->args[0]->type == CEL_MAP,
                   "cannot be gone through; only lists and maps can");
    struct scope inner = {scope, node->name, scope ? (uint16_t)(scope->slot + 1) : 0};
    node->slot = inner.slot;
    if (checker->program->n_locals <= inner.slot)
        checker->program->n_locals = (uint16_t)(inner.slot + 1);
    for (uint32_t i = 1; i < node->n && r == 0; i++) {
        r = check(checker, node->args[i], &inner);
        if (r == 0 && (node->op != OP_TRANSFORM || (node->n == 3 && i == 1)))
            r = expect_kind(checker, node->args[i], CEL_BOOL, "where true or false is needed");
    }
    node->type = node->op == OP_TRANSFORM || node->op == OP_FILTER ? CEL_LIST : CEL_BOOL;
    return r;
}

/* Of a node whose args are checked. */
static int check_node(struct checker *checker, struct cel_node *node) {
    int r = 0;
    switch ((enum cel_op)node->op) {
    case OP_SELECT:
        return expect_kind(checker, node->args[0], CEL_MAP, "has no fields; only maps have");
    case OP_HAS:
        node->type = CEL_BOOL;
        return expect_kind(checker, node->args[0], CEL_MAP, "has no fields; only maps have");
    case OP_INDEX:
        r = expect(checker, node->args[0], node->args[0]->type == CEL_LIST || node->args[0]->type == CEL_MAP,
                   "cannot be indexed; only lists and maps can");
        if (r == 0 && node->args[0]->type == CEL_LIST)
            r = expect(checker, node->args[1],
                       node->args[1]->type == CEL_INT || node->args[1]->type == CEL_UINT ||
                           node->args[1]->type == CEL_DOUBLE,
                       "is no index of a list");
        else if (r == 0)
            r = expect(checker, node->args[1], can_be_key(node->args[1]) || node->args[1]->type == CEL_DOUBLE,
                       "cannot be a key");
        return r;
    case OP_LIST:
        node->type = CEL_LIST;
        return 0;
    case OP_MAP:
        node->type = CEL_MAP;
        for (uint32_t i = 0; i < node->n && r == 0; i += 2)
            r = expect(checker, node->args[i], can_be_key(node->args[i]),
                       "cannot be a key; bool, int, uint and string can");
        return r;
    case OP_AND:
    case OP_OR:
        node->type = CEL_BOOL;
        for (uint32_t i = 0; i < node->n && r == 0; i++)
            r = expect_kind(checker, node->args[i], CEL_BOOL, "where true or false is needed");
        return r;
    case OP_CHOOSE:
        if (node->args[1]->type == node->args[2]->type)
            node->type = node->args[1]->type;
        return expect_kind(checker, node->args[0], CEL_BOOL, "where true or false is needed");
    case OP_CALL:
        return check_call(checker, node);
    default:
        return check_operator(checker, node);
    }
}

/* Computes a node whose args are all constants. One that ends in an error stays: it may never be evaluated. Its kind
 * stays what was known without computing: dyn('x') may still be anything. */
static int fold(struct checker *checker, struct cel_node *node) {
    for (uint32_t i = 0; i < node->n; i++)
        if (node->args[i]->op != OP_CONST)
            return 0;
    struct cel_arena arena = {.max = 8 * CONSTANT_BYTES_MAX};
    struct cel_eval eval = {.arena = &arena, .cost = CEL_COST_MAX - CONSTANT_COST};
    struct cel_value value = cel_eval_node(&eval, node);
    int r = 0;
    if (eval.fatal == -ENOMEM) {
        r = cel_refuse_memory(checker->compiler);
    } else if (eval.fatal == 0 && value.kind != CEL_ERROR && arena.used <= CONSTANT_BYTES_MAX) {
        value = cel_copy(&checker->program->arena, value);
        if (value.kind == CEL_DYN)
            r = cel_refuse_memory(checker->compiler);
        else
            *node = (struct cel_node){.op = OP_CONST,
                                      .at = node->at,
                                      .height = node->height,
                                      .value = value,
                                      .type = node->type,
                                      .in_parentheses = node->in_parentheses};
    }
    cel_arena_free(&arena);
    return r;
}

static int check(struct checker *checker, struct cel_node *node, const struct scope *scope) {
    int r = 0;
    switch ((enum cel_op)node->op) {
    case OP_CONST:
        node->type = node->value.kind;
        return 0;
    case OP_VARIABLE: /* resolved already, as the beginning of a longer name */
    case OP_LOCAL:
    case OP_UNKNOWN:
        return 0;
    case OP_NAME:
        return check_name(checker, node, scope);
    case OP_ALL:
    case OP_EXISTS:
    case OP_EXISTS_ONE:
    case OP_TRANSFORM:
    case OP_FILTER:
        return check_macro(checker, node, scope);
    default:
        break;
    }
    if (node->op == OP_SELECT && is_name_chain(node)) {
        r = check_name(checker, node, scope);
        if (r < 0 || node->op != OP_SELECT)
            return r;
    } else if (node->op == OP_HAS && !node->args[0]->in_parentheses && is_name_chain(node->args[0])) {
        r = check_name(checker, node->args[0], scope); /* has(a.b.c) never asks for a variable a.b.c */
    }
    for (uint32_t i = 0; i < node->n && r == 0; i++)
        r = check(checker, node->args[i], scope);
    if (r == 0)
        r = check_node(checker, node);
    return r < 0 ? r : fold(checker, node);
}

int cel_check(struct cel_compiler *compiler) {
    struct checker checker = {compiler, compiler->program};
    return check(&checker, compiler->program->root, NULL);
}
