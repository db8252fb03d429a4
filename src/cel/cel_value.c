/* cel_value.c - comparing values, maps, and values made of JSON. */
#include "cel_arena.h"
#include "cel_eval.h"
#include "cel_json.h"
#include "cel_number.h"
#include "text.h"

#include <math.h>

static const struct cel_map no_entries;

static const char *const kind_names[] = {[CEL_DYN] = "dyn",       [CEL_NULL] = "null_type",
                                         [CEL_BOOL] = "bool",     [CEL_INT] = "int",
                                         [CEL_UINT] = "uint",     [CEL_DOUBLE] = "double",
                                         [CEL_STRING] = "string", [CEL_BYTES] = "bytes",
                                         [CEL_LIST] = "list",     [CEL_MAP] = "map",
                                         [CEL_TYPE] = "type",     [CEL_TIMESTAMP] = "google.protobuf.Timestamp",
                                         [CEL_ERROR] = "error",   [CEL_DURATION] = "google.protobuf.Duration"};

const char *cel_kind_name(enum cel_kind kind) {
    return kind_names[kind];
}

const char *cel_kind_article(enum cel_kind kind) {
    static const char *const texts[] = {
        [CEL_DYN] = "a value",         [CEL_NULL] = "null",     [CEL_BOOL] = "a bool",
        [CEL_INT] = "an int",          [CEL_UINT] = "a uint",   [CEL_DOUBLE] = "a double",
        [CEL_STRING] = "a string",     [CEL_BYTES] = "bytes",   [CEL_LIST] = "a list",
        [CEL_MAP] = "a map",           [CEL_TYPE] = "a type",   [CEL_TIMESTAMP] = "a timestamp",
        [CEL_DURATION] = "a duration", [CEL_ERROR] = "an error"};
    return texts[kind];
}

struct cel_value cel_json_object(struct bytes text) {
    if (text.n == 0)
        return (struct cel_value){.kind = CEL_MAP, .map = &no_entries};
    return (struct cel_value){.kind = CEL_MAP, .is_json = true, .text = text};
}

/* Comparing. */

static int order_of(int64_t a, int64_t b) {
    return (a > b) - (a < b);
}

static int order_doubles(double a, double b) {
    return isnan(a) || isnan(b) ? 2 : (a > b) - (a < b);
}

/* Against a double the integer is converted, and so may be rounded: as in cel-go and the conformance suite. */
static int order_int_double(int64_t a, double b) {
    return order_doubles((double)a, b);
}

static int order_uint_double(uint64_t a, double b) {
    return order_doubles((double)a, b);
}

static int order_int_uint(int64_t a, uint64_t b) {
    return a < 0 || (uint64_t)a < b ? -1 : (uint64_t)a > b;
}

static int reversed(int order) {
    return order == 2 ? 2 : -order;
}

static bool is_number(const struct cel_value *value) {
    return value->kind == CEL_INT || value->kind == CEL_UINT || value->kind == CEL_DOUBLE;
}

static int order_numbers(const struct cel_value *a, const struct cel_value *b) {
    if (a->kind > b->kind)
        return reversed(order_numbers(b, a));
    if (a->kind == CEL_INT)
        return b->kind == CEL_INT    ? order_of(a->integer, b->integer)
               : b->kind == CEL_UINT ? order_int_uint(a->integer, b->natural)
                                     : order_int_double(a->integer, b->number);
    if (a->kind == CEL_UINT)
        return b->kind == CEL_UINT ? (a->natural > b->natural) - (a->natural < b->natural)
                                   : order_uint_double(a->natural, b->number);
    return order_doubles(a->number, b->number);
}

bool cel_compare(const struct cel_value *a, const struct cel_value *b, int *ret_order) {
    if (is_number(a) && is_number(b)) {
        *ret_order = order_numbers(a, b);
        return true;
    }
    if (a->kind != b->kind)
        return false;
    switch ((enum cel_kind)a->kind) {
    case CEL_BOOL:
        *ret_order = (int)a->boolean - (int)b->boolean;
        return true;
    case CEL_STRING:
    case CEL_BYTES:
        *ret_order = order_of(bytes_compare(a->text, b->text), 0);
        return true;
    case CEL_TIMESTAMP:
    case CEL_DURATION:
        *ret_order = a->integer != b->integer ? order_of(a->integer, b->integer) : order_of(a->ns, b->ns);
        return true;
    default:
        return false;
    }
}

static int key_class(const struct cel_value *key) {
    return key->kind == CEL_BOOL ? 0 : key->kind == CEL_STRING ? 2 : 1;
}

int cel_compare_keys(const struct cel_value *a, const struct cel_value *b) {
    int order = key_class(a) - key_class(b);
    if (order == 0)
        cel_compare(a, b, &order);
    return order;
}

static int equal_members(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *a,
                         const struct cel_value *b);

int cel_are_equal(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *a,
                  const struct cel_value *b) {
    int order;
    if (eval && !cel_charge(eval, node,
                            1 + (a->kind == CEL_STRING && b->kind == CEL_STRING && a->text.n == b->text.n
                                     ? CEL_BYTES_COST(a->text.n)
                                     : 0)))
        return -1;
    if (cel_compare(a, b, &order))
        return order == 0;
    if (a->kind != b->kind)
        return 0;
    if (a->kind == CEL_LIST || a->kind == CEL_MAP)
        return equal_members(eval, node, a, b);
    return a->kind == CEL_NULL || (a->kind == CEL_TYPE && a->type == b->type);
}

bool cel_equal(const struct cel_value *a, const struct cel_value *b) {
    return cel_are_equal(NULL, NULL, a, b) == 1;
}

static const struct cel_value *find_entry(const struct cel_map *map, const struct cel_value *key) {
    if (!map->order) {
        for (size_t i = 0; i < map->n; i++)
            if (cel_compare_keys(&map->entries[i].key, key) == 0)
                return &map->entries[i].value;
        return NULL;
    }
    size_t from = 0, to = map->n;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        const struct cel_entry *entry = &map->entries[map->order[middle]];
        int order = cel_compare_keys(&entry->key, key);
        if (order == 0)
            return &entry->value;
        if (order < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return NULL;
}

static uint64_t find_cost(const struct cel_map *map) {
    return map->order ? 1 : 1 + CEL_ITEMS_COST(map->n);
}

static int equal_members(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *a,
                         const struct cel_value *b) {
    struct cel_value left = *a, right = *b;
    if (eval) {
        left = cel_open(eval, node, left);
        right = cel_open(eval, node, right);
        if (eval->fatal || left.kind == CEL_ERROR || right.kind == CEL_ERROR)
            return -1;
    }
    int r = 1;
    if (left.kind == CEL_LIST) {
        if (left.list->n != right.list->n)
            return 0;
        for (size_t i = 0; i < left.list->n && r == 1; i++)
            r = cel_are_equal(eval, node, &left.list->items[i], &right.list->items[i]);
        return r;
    }
    if (left.map->n != right.map->n)
        return 0;
    for (size_t i = 0; i < left.map->n && r == 1; i++) {
        if (eval && !cel_charge(eval, node, find_cost(right.map)))
            return -1;
        const struct cel_value *other = find_entry(right.map, &left.map->entries[i].key);
        r = other ? cel_are_equal(eval, node, &left.map->entries[i].value, other) : 0;
    }
    return r;
}

/* Making lists and maps. */

struct cel_value cel_make_list(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *items,
                               size_t n) {
    struct cel_list *list = cel_take(eval, node, sizeof *list);
    if (!list)
        return (struct cel_value){.kind = CEL_ERROR, .error = &eval->fatal_error};
    *list = (struct cel_list){n, items};
    return (struct cel_value){.kind = CEL_LIST, .list = list};
}

/* Merge sort, as it is stable and never worse than n log n: of equal keys the earlier one stays first. */
static void sort_order(const struct cel_entry *entries, uint32_t *order, uint32_t *spare, size_t n) {
    if (n < 2)
        return;
    size_t half = n / 2;
    sort_order(entries, order, spare, half);
    sort_order(entries, order + half, spare, n - half);
    memcpy(spare, order, n * sizeof *order);
    for (size_t i = 0, a = 0, b = half; i < n; i++) {
        bool left = b == n || (a < half && cel_compare_keys(&entries[spare[a]].key, &entries[spare[b]].key) <= 0);
        order[i] = left ? spare[a++] : spare[b++];
    }
}

/* Drops all but the last of the entries with the same key. Returns how many are left. */
static size_t drop_repeated(struct cel_entry *entries, const uint32_t *order, size_t n) {
    for (size_t i = 0; i + 1 < n; i++)
        if (cel_compare_keys(&entries[order[i]].key, &entries[order[i + 1]].key) == 0)
            entries[order[i]].value.kind = CEL_DYN; /* a mark; order[i] < order[i + 1] */
    size_t left = 0;
    for (size_t i = 0; i < n; i++)
        if (entries[i].value.kind != CEL_DYN)
            entries[left++] = entries[i];
    return left;
}

struct cel_value cel_make_map(struct cel_eval *eval, const struct cel_node *node, struct cel_entry *entries, size_t n,
                              bool last_wins) {
    struct cel_map *map = cel_take(eval, node, sizeof *map);
    uint32_t *order = map && n <= UINT32_MAX / 2 ? cel_take(eval, node, 2 * n * sizeof *order) : NULL;
    if (!order || !cel_charge(eval, node, CEL_ITEMS_COST(n)))
        return (struct cel_value){.kind = CEL_ERROR, .error = &eval->fatal_error};
    for (size_t again = 0; again < 2; again++) {
        for (size_t i = 0; i < n; i++)
            order[i] = (uint32_t)i;
        sort_order(entries, order, order + n, n);
        size_t repeated = 0;
        while (repeated + 1 < n &&
               cel_compare_keys(&entries[order[repeated]].key, &entries[order[repeated + 1]].key) != 0)
            repeated++;
        if (n == 0 || repeated + 1 >= n)
            break;
        if (!last_wins)
            return cel_fail(eval, node, CEL_BAD_KEY, "a map key stands twice");
        n = drop_repeated(entries, order, n);
    }
    *map = (struct cel_map){n, entries, order};
    return (struct cel_value){.kind = CEL_MAP, .map = map};
}

/* JSON. */

static struct cel_value bad_input(struct cel_eval *eval, const struct cel_node *node, int why, size_t at) {
    if (why == -E2BIG)
        return cel_fail(eval, node, CEL_TOO_MUCH, "JSON nested deeper than %d levels", CEL_NESTING_MAX);
    for (uint32_t i = 0; i < node->n; i++)
        if (node->args[i]->op == OP_VARIABLE) {
            node = node->args[i];
            break;
        }
    struct bytes name = BYTES("a variable");
    if (node->op == OP_VARIABLE && eval->program)
        name = eval->program->variables[node->slot];
    return cel_fail(eval, node, CEL_BAD_INPUT, "%.*s is not a JSON object: bad JSON at byte %zu",
                    name.n > 60 ? 60 : (int)name.n, name.p, at);
}

static struct cel_value number_of(struct cel_eval *eval, const struct cel_node *node, struct bytes text) {
    int64_t integer;
    if (text_parse_i64(text, &integer) == 0)
        return cel_int(integer);
    double number;
    if (!cel_parse_double(text, &number))
        return cel_fail(eval, node, CEL_OUT_OF_RANGE, "a number in the input is too large for a double");
    return (struct cel_value){.kind = CEL_DOUBLE, .number = number};
}

static struct cel_value string_of(struct cel_eval *eval, const struct cel_node *node, struct bytes text) {
    if (!cel_json_has_escapes(text))
        return cel_string(bytes_of(text.p + 1, text.n - 2));
    char *room = cel_take_text(eval, node, text.n);
    if (!room)
        return (struct cel_value){.kind = CEL_ERROR, .error = &eval->fatal_error};
    struct bytes result;
    if (cel_json_unescape(text, room, &result) < 0)
        return cel_fail(eval, node, CEL_BAD_INPUT, "half of a surrogate pair in the JSON text");
    cel_arena_shrink(eval->arena, room, text.n, result.n);
    return cel_string(result);
}

/* Of a span that was scanned. */
static struct cel_value value_of(struct cel_eval *eval, const struct cel_node *node, struct bytes text) {
    switch (text.p[0]) {
    case '"':
        return string_of(eval, node, text);
    case '{':
    case '[':
        return (struct cel_value){.kind = text.p[0] == '{' ? CEL_MAP : CEL_LIST, .is_json = true, .text = text};
    case 't':
    case 'f':
        return cel_bool(text.p[0] == 't');
    case 'n':
        return (struct cel_value){.kind = CEL_NULL};
    default:
        return number_of(eval, node, text);
    }
}

/* Another entry's room in an array that grows. */
static void *grow(struct cel_eval *eval, const struct cel_node *node, void *array, size_t n, size_t size) {
    if (n & (n - 1) || (n > 0 && n < 8))
        return array;
    size_t room = n ? 2 * n : 8;
    void *grown = cel_take(eval, node, room * size);
    if (grown && n)
        memcpy(grown, array, n * size);
    return grown;
}

struct cel_value cel_open(struct cel_eval *eval, const struct cel_node *node, struct cel_value value) {
    if (!value.is_json)
        return value;
    struct cel_value error = {.kind = CEL_ERROR, .error = &eval->fatal_error};
    if (!cel_charge(eval, node, CEL_BYTES_COST(value.text.n)))
        return error;
    struct cel_json_scan scan;
    struct bytes key, text;
    struct cel_value *items = NULL;
    struct cel_entry *entries = NULL;
    size_t n = 0;
    bool is_map = value.kind == CEL_MAP;
    int r = cel_json_begin(&scan, value.text, is_map ? '{' : '[');
    if (r == 0)
        while ((r = cel_json_next(&scan, &key, &text)) > 0) {
            if (is_map ? !(entries = grow(eval, node, entries, n, sizeof *entries))
                       : !(items = grow(eval, node, items, n, sizeof *items)))
                return error;
            struct cel_value member = value_of(eval, node, text);
            if (is_map && member.kind != CEL_ERROR) {
                entries[n] = (struct cel_entry){string_of(eval, node, key), member};
                member = entries[n].key;
            } else if (!is_map) {
                items[n] = member;
            }
            if (member.kind == CEL_ERROR)
                return member;
            n++;
        }
    if (r < 0)
        return bad_input(eval, node, r, (size_t)(scan.at - scan.start));
    if (!cel_charge(eval, node, CEL_ITEMS_COST(n)))
        return error;
    return is_map ? cel_make_map(eval, node, entries, n, true) : cel_make_list(eval, node, items, n);
}

struct cel_value cel_build(struct cel_eval *eval, const struct cel_node *node, struct cel_value value, unsigned depth) {
    value = cel_open(eval, node, value);
    if (value.kind != CEL_LIST && value.kind != CEL_MAP)
        return value;
    struct cel_value error = {.kind = CEL_ERROR, .error = &eval->fatal_error};
    if (depth == 2 * CEL_NESTING_MAX)
        return cel_fail(eval, node, CEL_TOO_MUCH, "nested deeper than %d levels", 2 * CEL_NESTING_MAX);
    size_t n = value.kind == CEL_LIST ? value.list->n : value.map->n;
    if (!cel_charge(eval, node, 1 + CEL_ITEMS_COST(n)))
        return error;
    if (value.kind == CEL_LIST) {
        struct cel_value *items = cel_take(eval, node, n * sizeof *items);
        for (size_t i = 0; i < n && items; i++)
            if ((items[i] = cel_build(eval, node, value.list->items[i], depth + 1)).kind == CEL_ERROR)
                return items[i];
        return items ? cel_make_list(eval, node, items, n) : error;
    }
    struct cel_map *map = cel_take(eval, node, sizeof *map);
    struct cel_entry *entries = map ? cel_take(eval, node, n * sizeof *entries) : NULL;
    if (!entries)
        return error;
    for (size_t i = 0; i < n; i++) {
        entries[i] = (struct cel_entry){value.map->entries[i].key,
                                        cel_build(eval, node, value.map->entries[i].value, depth + 1)};
        if (entries[i].value.kind == CEL_ERROR)
            return entries[i].value;
    }
    *map = (struct cel_map){n, entries, value.map->order};
    return (struct cel_value){.kind = CEL_MAP, .map = map};
}

/* A number that is the same as an int or a uint looks up that. */
static bool as_key(const struct cel_value *key, struct cel_value *ret_key) {
    *ret_key = *key;
    if (key->kind != CEL_DOUBLE)
        return key->kind == CEL_BOOL || key->kind == CEL_INT || key->kind == CEL_UINT || key->kind == CEL_STRING;
    if (key->number >= -0x1p63 && key->number < 0x1p63)
        *ret_key = cel_int((int64_t)key->number);
    else if (key->number >= 0 && key->number < 0x1p64)
        *ret_key = (struct cel_value){.kind = CEL_UINT, .natural = (uint64_t)key->number};
    return order_numbers(ret_key, key) == 0;
}

struct cel_value cel_look_up(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *map,
                             const struct cel_value *key) {
    struct cel_value exact;
    if (!as_key(key, &exact)) {
        if (key->kind == CEL_DOUBLE)
            return (struct cel_value){.kind = CEL_DYN};
        return cel_fail(eval, node, CEL_BAD_KEY, "%s cannot be a map key", cel_kind_article((enum cel_kind)key->kind));
    }
    if (!map->is_json) {
        if (!cel_charge(eval, node, find_cost(map->map)))
            return (struct cel_value){.kind = CEL_ERROR, .error = &eval->fatal_error};
        const struct cel_value *found = find_entry(map->map, &exact);
        return found ? *found : (struct cel_value){.kind = CEL_DYN};
    }
    if (!cel_charge(eval, node, CEL_BYTES_COST(map->text.n)))
        return (struct cel_value){.kind = CEL_ERROR, .error = &eval->fatal_error};
    struct bytes text;
    size_t bad_at;
    int r = cel_json_find(map->text, exact.kind == CEL_STRING ? exact.text : BYTES_NONE, &text, &bad_at);
    if (r < 0)
        return bad_input(eval, node, r, bad_at);
    return r == 1 && exact.kind == CEL_STRING ? value_of(eval, node, text) : (struct cel_value){.kind = CEL_DYN};
}

/* Copying. */

struct cel_value cel_copy(struct cel_arena *arena, struct cel_value value) {
    struct cel_value none = {.kind = CEL_DYN};
    if (value.kind == CEL_STRING || value.kind == CEL_BYTES) {
        char *text = cel_arena_alloc(arena, value.text.n);
        if (!text)
            return none;
        if (value.text.n)
            memcpy(text, value.text.p, value.text.n);
        value.text.p = text;
    } else if (value.kind == CEL_LIST) {
        size_t n = value.list->n;
        struct cel_list *list = cel_arena_alloc(arena, sizeof *list);
        struct cel_value *items = list ? cel_arena_alloc(arena, n * sizeof *items) : NULL;
        for (size_t i = 0; i < n && items; i++)
            if ((items[i] = cel_copy(arena, value.list->items[i])).kind == CEL_DYN)
                return none;
        if (!items)
            return none;
        *list = (struct cel_list){n, items};
        value.list = list;
    } else if (value.kind == CEL_MAP) {
        size_t n = value.map->n;
        struct cel_map *map = cel_arena_alloc(arena, sizeof *map);
        struct cel_entry *entries = map ? cel_arena_alloc(arena, n * sizeof *entries) : NULL;
        uint32_t *order = entries && value.map->order ? cel_arena_alloc(arena, n * sizeof *order) : NULL;
        if (!entries || (value.map->order && !order))
            return none;
        for (size_t i = 0; i < n; i++) {
            entries[i] = (struct cel_entry){cel_copy(arena, value.map->entries[i].key),
                                            cel_copy(arena, value.map->entries[i].value)};
            if (entries[i].key.kind == CEL_DYN || entries[i].value.kind == CEL_DYN)
                return none;
        }
        if (order && n)
            memcpy(order, value.map->order, n * sizeof *order);
        *map = (struct cel_map){n, entries, order};
        value.map = map;
    }
    return value;
}
