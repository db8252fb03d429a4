/* cel_eval.c - walking the tree. Errors travel as values; langdef.md, "Evaluation", says what absorbs them. */
#include "cel_eval.h"

#include "cel_arena.h"
#include "text.h"

#include <stdio.h>

/* Errors. */

static bool is_fatal(enum cel_code code) {
    return code == CEL_BAD_INPUT || code == CEL_TOO_MUCH || code == CEL_NO_MEMORY;
}

static struct cel_value error_value(const struct cel_error *error) {
    return (struct cel_value){.kind = CEL_ERROR, .error = error};
}

/* Evaluating is over; the first reason is kept. */
static struct cel_value end_for(struct cel_eval *eval, const struct cel_node *node, enum cel_code code,
                                const char *text) {
    if (eval->fatal == 0) {
        eval->fatal = code == CEL_NO_MEMORY ? -ENOMEM : code == CEL_TOO_MUCH ? -E2BIG : -EINVAL;
        snprintf(eval->fatal_text, sizeof eval->fatal_text, "%s", text);
        eval->fatal_error = (struct cel_error){.code = code, .at = node->at, .text = bytes_str(eval->fatal_text)};
    }
    return error_value(&eval->fatal_error);
}

static struct cel_value fail_text(struct cel_eval *eval, const struct cel_node *node, enum cel_code code,
                                  const char *text) {
    if (is_fatal(code))
        return end_for(eval, node, code, text);
    size_t n = strlen(text);
    struct cel_error *error = cel_take(eval, node, sizeof *error + n + 1);
    if (!error)
        return error_value(&eval->fatal_error);
    memcpy(error + 1, text, n + 1);
    *error = (struct cel_error){.code = code, .at = node->at, .text = bytes_of(error + 1, n)};
    return error_value(error);
}

struct cel_value cel_fail(struct cel_eval *eval, const struct cel_node *node, enum cel_code code, const char *format,
                          ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return fail_text(eval, node, code, text);
}

struct cel_value cel_fail_overload(struct cel_eval *eval, const struct cel_node *node, const char *what,
                                   const struct cel_value *args, size_t n) {
    char text[200];
    struct buf list = {.p = text, .cap = sizeof text, .max = sizeof text - 1};
    int r = buf_printf(&list, "no overload of %s for (", what);
    for (size_t i = 0; i < n && r == 0; i++)
        r = buf_printf(&list, "%s%s", i ? ", " : "", cel_kind_name((enum cel_kind)args[i].kind));
    if (r == 0)
        r = buf_add_str(&list, ")");
    (void)r; /* a text too long is cut between two words */
    return fail_text(eval, node, CEL_NO_OVERLOAD, text);
}

/* Memory and work. */

void *cel_take(struct cel_eval *eval, const struct cel_node *node, size_t n) {
    void *memory = cel_arena_alloc(eval->arena, n);
    if (memory)
        return memory;
    size_t left = eval->arena->max ? eval->arena->max - eval->arena->used : SIZE_MAX;
    if (n + 16 > left || n > SIZE_MAX / 2)
        end_for(eval, node, CEL_TOO_MUCH, "evaluating takes too much memory");
    else
        end_for(eval, node, CEL_NO_MEMORY, "out of memory");
    return NULL;
}

bool cel_charge_more(struct cel_eval *eval, const struct cel_node *node, uint64_t units) {
    eval->cost = CEL_COST_MAX;
    end_for(eval, node, CEL_TOO_MUCH, "evaluating takes too long: the limit of its cost is reached");
    return false;
}

char *cel_take_text(struct cel_eval *eval, const struct cel_node *node, size_t n) {
    return cel_charge(eval, node, CEL_BYTES_COST(n)) ? cel_take(eval, node, n) : NULL;
}

/* Selecting. */

/* "input.bucket", as far as it fits; "it" for anything but selections from a variable. */
static __attribute__((noinline)) void path_text(const struct cel_eval *eval, const struct cel_node *node,
                                                char *ret_text, size_t max) {
    const struct cel_node *chain[CEL_DEPTH_MAX];
    size_t n = 0;
    for (; node->op == OP_SELECT || node->op == OP_HAS; node = node->args[0])
        chain[n++] = node;
    struct buf out = {.p = ret_text, .cap = max, .max = max - 1};
    ret_text[0] = '\0';
    int r = 0;
    if (node->op == OP_VARIABLE && eval->program)
        r = buf_add_bytes(&out, eval->program->variables[node->slot]);
    else if (n == 0)
        r = buf_add_str(&out, "it");
    while (n > 0 && r == 0) {
        n--;
        r = out.n ? buf_add_byte(&out, '.') : 0;
        if (r == 0)
            r = text_add_printable(&out, chain[n]->name);
    }
    if (r < 0)
        memcpy(ret_text + max - 4, "...", 4);
}

static struct cel_value select_field(struct cel_eval *eval, const struct cel_node *node) {
    struct cel_value object = cel_eval_node(eval, node->args[0]);
    if (object.kind == CEL_ERROR)
        return object;
    char path[128];
    if (object.kind != CEL_MAP) {
        path_text(eval, node->args[0], path, sizeof path);
        return cel_fail(eval, node, CEL_NO_OVERLOAD, "%s is %s, which has no fields", path,
                        cel_kind_article((enum cel_kind)object.kind));
    }
    struct cel_value key = cel_string(node->name);
    struct cel_value found = cel_look_up(eval, node, &object, &key);
    if (node->op == OP_HAS)
        return found.kind == CEL_ERROR && eval->fatal ? found : cel_bool(found.kind != CEL_DYN);
    if (found.kind != CEL_DYN)
        return found;
    path_text(eval, node, path, sizeof path);
    return cel_fail(eval, node, CEL_NO_SUCH_KEY, "there is no %s", path);
}

static struct cel_value index_list(struct cel_eval *eval, const struct cel_node *node, struct cel_value list,
                                   const struct cel_value *index) {
    list = cel_open(eval, node, list);
    if (list.kind == CEL_ERROR)
        return list;
    uint64_t at = 0;
    switch ((enum cel_kind)index->kind) {
    case CEL_INT:
        at = index->integer < 0 ? UINT64_MAX : (uint64_t)index->integer;
        break;
    case CEL_UINT:
        at = index->natural;
        break;
    case CEL_DOUBLE:
        if (!(index->number >= 0 && index->number < 0x1p53 && index->number == (double)(uint64_t)index->number))
            return cel_fail(eval, node, CEL_BAD_ARGUMENT, "%g is no index of a list", index->number);
        at = (uint64_t)index->number;
        break;
    default:
        return cel_fail_overload(eval, node, "[]", (const struct cel_value[]){list, *index}, 2);
    }
    if (at >= list.list->n)
        return cel_fail(eval, node, CEL_OUT_OF_RANGE, "the index is outside of the list, which has %zu elements",
                        list.list->n);
    return list.list->items[at];
}

static struct cel_value index_value(struct cel_eval *eval, const struct cel_node *node) {
    struct cel_value object = cel_eval_node(eval, node->args[0]);
    if (object.kind == CEL_ERROR)
        return object;
    struct cel_value index = cel_eval_node(eval, node->args[1]);
    if (index.kind == CEL_ERROR)
        return index;
    if (object.kind == CEL_LIST)
        return index_list(eval, node, object, &index);
    if (object.kind != CEL_MAP)
        return cel_fail_overload(eval, node, "[]", (const struct cel_value[]){object, index}, 2);
    struct cel_value found = cel_look_up(eval, node, &object, &index);
    if (found.kind != CEL_DYN)
        return found;
    char path[100], key[48] = "", *shown = key;
    path_text(eval, node->args[0], path, sizeof path);
    struct buf out = {.p = key, .cap = sizeof key, .max = sizeof key - 1};
    if (index.kind == CEL_STRING && buf_add_byte(&out, '.') == 0 && text_add_printable(&out, index.text) == 0 &&
        strcmp(path, "it") != 0)
        return cel_fail(eval, node, CEL_NO_SUCH_KEY, "there is no %s%s", path, shown);
    return cel_fail(eval, node, CEL_NO_SUCH_KEY, "there is no such key in the map");
}

/* Logic. */

/* The value that decides, `decides`, wins over errors; else the first error. */
static struct cel_value join_bools(struct cel_eval *eval, const struct cel_node *node, bool decides) {
    struct cel_value failed = {.kind = CEL_DYN};
    for (uint32_t i = 0; i < node->n; i++) {
        struct cel_value value = cel_eval_node(eval, node->args[i]);
        if (eval->fatal)
            return value;
        if (value.kind == CEL_BOOL && value.boolean == decides)
            return value;
        if (value.kind != CEL_BOOL && failed.kind == CEL_DYN)
            failed = value.kind == CEL_ERROR
                         ? value
                         : cel_fail_overload(eval, node->args[i], cel_operator_sign((enum cel_op)node->op), &value, 1);
    }
    return failed.kind == CEL_DYN ? cel_bool(!decides) : failed;
}

static struct cel_value choose(struct cel_eval *eval, const struct cel_node *node) {
    struct cel_value condition = cel_eval_node(eval, node->args[0]);
    if (condition.kind == CEL_ERROR)
        return condition;
    if (condition.kind != CEL_BOOL)
        return cel_fail_overload(eval, node, "?:", &condition, 1);
    return cel_eval_node(eval, node->args[condition.boolean ? 1 : 2]);
}

/* Literals. */

static struct cel_value make_list(struct cel_eval *eval, const struct cel_node *node) {
    struct cel_value *items = cel_take(eval, node, node->n * sizeof *items);
    if (!items)
        return error_value(&eval->fatal_error);
    for (uint32_t i = 0; i < node->n; i++)
        if ((items[i] = cel_eval_node(eval, node->args[i])).kind == CEL_ERROR)
            return items[i];
    return cel_make_list(eval, node, items, node->n);
}

static struct cel_value make_map(struct cel_eval *eval, const struct cel_node *node) {
    struct cel_entry *entries = cel_take(eval, node, node->n / 2 * sizeof *entries);
    if (!entries)
        return error_value(&eval->fatal_error);
    for (uint32_t i = 0; i < node->n / 2; i++) {
        struct cel_value key = cel_eval_node(eval, node->args[2 * i]);
        if (key.kind == CEL_ERROR)
            return key;
        if (key.kind != CEL_BOOL && key.kind != CEL_INT && key.kind != CEL_UINT && key.kind != CEL_STRING)
            return cel_fail(eval, node->args[2 * i], CEL_BAD_KEY, "%s cannot be a map key",
                            cel_kind_article((enum cel_kind)key.kind));
        entries[i] = (struct cel_entry){key, cel_eval_node(eval, node->args[2 * i + 1])};
        if (entries[i].value.kind == CEL_ERROR)
            return entries[i].value;
    }
    return cel_make_map(eval, node, entries, node->n / 2, false);
}

/* Macros. */

struct range {
    size_t n;
    const struct cel_value *items;
    const struct cel_entry *entries; /* of a map its keys are gone through */
};

static struct cel_value range_of(struct cel_eval *eval, const struct cel_node *node, struct range *ret_range) {
    struct cel_value value = cel_eval_node(eval, node->args[0]);
    if (value.kind != CEL_ERROR && value.kind != CEL_LIST && value.kind != CEL_MAP)
        return cel_fail(eval, node, CEL_NO_OVERLOAD, "%s cannot be gone through; only lists and maps can",
                        cel_kind_article((enum cel_kind)value.kind));
    if (value.kind != CEL_ERROR)
        value = cel_open(eval, node->args[0], value);
    if (value.kind == CEL_LIST)
        *ret_range = (struct range){value.list->n, value.list->items, NULL};
    else if (value.kind == CEL_MAP)
        *ret_range = (struct range){value.map->n, NULL, value.map->entries};
    return value;
}

static struct cel_value test(struct cel_eval *eval, const struct cel_node *node) {
    struct cel_value value = cel_eval_node(eval, node);
    return value.kind == CEL_BOOL || value.kind == CEL_ERROR
               ? value
               : cel_fail(eval, node, CEL_NO_OVERLOAD, "%s where true or false is needed",
                          cel_kind_article((enum cel_kind)value.kind));
}

/* all, exists, exists_one: like && and || over the elements, but that exists_one absorbs no error. */
static struct cel_value count_matches(struct cel_eval *eval, const struct cel_node *node, const struct range *range) {
    struct cel_value failed = {.kind = CEL_DYN};
    size_t matches = 0;
    for (size_t i = 0; i < range->n; i++) {
        eval->locals[node->slot] = range->items ? range->items[i] : range->entries[i].key;
        struct cel_value value = test(eval, node->args[1]);
        if (value.kind == CEL_ERROR) {
            if (eval->fatal || node->op == OP_EXISTS_ONE)
                return value;
            if (failed.kind == CEL_DYN)
                failed = value;
        } else if (node->op != OP_EXISTS_ONE && value.boolean == (node->op == OP_EXISTS)) {
            return value;
        } else {
            matches += value.boolean;
        }
    }
    if (failed.kind != CEL_DYN)
        return failed;
    return cel_bool(node->op == OP_EXISTS_ONE ? matches == 1 : node->op == OP_ALL);
}

/* map and filter. */
static struct cel_value gather(struct cel_eval *eval, const struct cel_node *node, const struct range *range) {
    bool filters = node->op == OP_FILTER || node->n == 3;
    struct cel_value *items = cel_take(eval, node, range->n * sizeof *items);
    size_t n = 0;
    for (size_t i = 0; i < range->n && items; i++) {
        struct cel_value element = range->items ? range->items[i] : range->entries[i].key;
        eval->locals[node->slot] = element;
        if (filters) {
            struct cel_value wanted = test(eval, node->args[1]);
            if (wanted.kind == CEL_ERROR)
                return wanted;
            if (!wanted.boolean)
                continue;
        }
        items[n] = node->op == OP_FILTER ? element : cel_eval_node(eval, node->args[node->n - 1]);
        if (items[n++].kind == CEL_ERROR)
            return items[n - 1];
    }
    return items ? cel_make_list(eval, node, items, n) : error_value(&eval->fatal_error);
}

static struct cel_value run_macro(struct cel_eval *eval, const struct cel_node *node) {
    struct range range = {0};
    struct cel_value value = range_of(eval, node, &range);
    if (value.kind == CEL_ERROR)
        return value;
    return node->op == OP_TRANSFORM || node->op == OP_FILTER ? gather(eval, node, &range)
                                                             : count_matches(eval, node, &range);
}

/* The rest. */

static struct cel_value call(struct cel_eval *eval, const struct cel_node *node) {
    struct cel_value args[CEL_ARGS_MAX];
    if (!node->functions || node->n > CEL_ARGS_MAX)
        return cel_fail(eval, node, CEL_UNKNOWN_FUNCTION, "there is no function %s%.*s()%s", node->is_member ? "." : "",
                        node->name.n > 80 ? 80 : (int)node->name.n, node->name.p,
                        node->functions ? " with so many arguments" : "");
    for (uint32_t i = 0; i < node->n; i++)
        if ((args[i] = cel_eval_node(eval, node->args[i])).kind == CEL_ERROR)
            return args[i];
    return cel_call_function(eval, node, args, node->n);
}

static struct cel_value operate(struct cel_eval *eval, const struct cel_node *node) {
    struct cel_value a = cel_eval_node(eval, node->args[0]);
    if (a.kind == CEL_ERROR)
        return a;
    struct cel_value b = cel_eval_node(eval, node->args[1]);
    return b.kind == CEL_ERROR ? b : cel_operate(eval, node, &a, &b);
}

static struct cel_value operate_one(struct cel_eval *eval, const struct cel_node *node) {
    struct cel_value a = cel_eval_node(eval, node->args[0]);
    if (a.kind == CEL_ERROR)
        return a;
    if (node->op == OP_NEGATE)
        return cel_negate(eval, node, &a);
    return a.kind == CEL_BOOL ? cel_bool(!a.boolean) : cel_fail_overload(eval, node, "!", &a, 1);
}

static struct cel_value variable(struct cel_eval *eval, const struct cel_node *node) {
    struct cel_value value = eval->values[node->slot];
    if (value.kind != CEL_DYN)
        return value;
    struct bytes name = eval->program->variables[node->slot];
    return cel_fail(eval, node, CEL_NO_VALUE, "%.*s has no value", name.n > 80 ? 80 : (int)name.n, name.p);
}

struct cel_value cel_eval_node(struct cel_eval *eval, const struct cel_node *node) {
    if (!cel_charge(eval, node, 1))
        return error_value(&eval->fatal_error);
    switch ((enum cel_op)node->op) {
    case OP_CONST:
        return node->value;
    case OP_VARIABLE:
        return variable(eval, node);
    case OP_LOCAL:
        return eval->locals[node->slot];
    case OP_SELECT:
    case OP_HAS:
        return select_field(eval, node);
    case OP_INDEX:
        return index_value(eval, node);
    case OP_LIST:
        return make_list(eval, node);
    case OP_MAP:
        return make_map(eval, node);
    case OP_NOT:
    case OP_NEGATE:
        return operate_one(eval, node);
    case OP_AND:
    case OP_OR:
        return join_bools(eval, node, node->op == OP_OR);
    case OP_CHOOSE:
        return choose(eval, node);
    case OP_CALL:
        return call(eval, node);
    case OP_ALL:
    case OP_EXISTS:
    case OP_EXISTS_ONE:
    case OP_TRANSFORM:
    case OP_FILTER:
        return run_macro(eval, node);
    case OP_NAME:
    case OP_UNKNOWN:
        return cel_fail(eval, node, CEL_UNKNOWN_NAME, "%.*s is not known", node->name.n > 80 ? 80 : (int)node->name.n,
                        node->name.p);
    default:
        return operate(eval, node);
    }
}

static struct cel_value place_error(struct cel_eval *eval, struct cel_value value) {
    const struct cel_error *error = value.error;
    struct cel_error *placed = cel_arena_alloc(eval->arena, sizeof *placed);
    if (!placed)
        return end_for(eval, eval->program->root, CEL_NO_MEMORY, "out of memory");
    *placed = *error;
    cel_place(eval->program->source, placed->at, &placed->line, &placed->column);
    return error_value(placed);
}

int cel_eval(const struct cel_program *program, const struct cel_value *values, struct cel_arena *arena,
             struct cel_value *ret_value, struct err *err) {
    size_t max = arena->max;
    if (max == 0 || max > arena->used + CEL_MEMORY_MAX)
        arena->max = arena->used + CEL_MEMORY_MAX;
    struct cel_value few_locals[4];
    struct cel_eval eval = {.program = program, .values = values, .arena = arena, .locals = few_locals};
    if (program->n_locals > sizeof few_locals / sizeof few_locals[0])
        eval.locals = cel_take(&eval, program->root, program->n_locals * sizeof *eval.locals);
    struct cel_value value = {.kind = CEL_DYN};
    if (!eval.fatal)
        value = cel_eval_node(&eval, program->root);
    if (!eval.fatal && (value.kind == CEL_LIST || value.kind == CEL_MAP))
        value = cel_build(&eval, program->root, value, 0);
    if (!eval.fatal && value.kind == CEL_ERROR)
        value = place_error(&eval, value);
    arena->max = max;
    if (eval.fatal == -ENOMEM)
        return err_set(err, -ENOMEM, "out of memory");
    if (eval.fatal) {
        char place[48];
        cel_place_text(program->source, eval.fatal_error.at, place);
        return err_set(err, eval.fatal, "%s%s", place, eval.fatal_text);
    }
    *ret_value = value;
    return 0;
}
