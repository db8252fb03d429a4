/* cel_eval.h - one evaluation, and what its parts need of each other. */
#pragma once

#include "cel_node.h"

#define CEL_ARGS_MAX 4

struct cel_eval {
    const struct cel_program *program; /* NULL while compiling */
    const struct cel_value *values;    /* of the variables */
    struct cel_value *locals;          /* of the macros' variables */
    struct cel_arena *arena;
    uint64_t cost;
    int fatal; /* -EINVAL, -E2BIG or -ENOMEM: evaluating is over, nothing absorbs it */
    struct cel_error fatal_error;
    char fatal_text[160];
};

static inline struct cel_value cel_bool(bool value) {
    return (struct cel_value){.kind = CEL_BOOL, .boolean = value};
}

static inline struct cel_value cel_int(int64_t value) {
    return (struct cel_value){.kind = CEL_INT, .integer = value};
}

static inline struct cel_value cel_string(struct bytes text) {
    return (struct cel_value){.kind = CEL_STRING, .text = text};
}

/* An error as a value. For CEL_BAD_INPUT, CEL_TOO_MUCH and CEL_NO_MEMORY evaluating is over. */
struct cel_value cel_fail(struct cel_eval *eval, const struct cel_node *node, enum cel_code code, const char *format,
                          ...) __attribute__((format(printf, 4, 5)));
/* "no overload of <what> for (int, string)" */
struct cel_value cel_fail_overload(struct cel_eval *eval, const struct cel_node *node, const char *what,
                                   const struct cel_value *args, size_t n);

/* Memory for a value; NULL after evaluating was ended. */
void *cel_take(struct cel_eval *eval, const struct cel_node *node, size_t n);
/* Counts work; false after evaluating was ended for it. */
bool cel_charge_more(struct cel_eval *eval, const struct cel_node *node, uint64_t units);
static inline bool cel_charge(struct cel_eval *eval, const struct cel_node *node, uint64_t units) {
    return __builtin_expect(eval->cost + units <= CEL_COST_MAX, 1) ? (eval->cost += units, true)
                                                                   : cel_charge_more(eval, node, units);
}
#define CEL_BYTES_COST(n) ((uint64_t)(n) / 64)
#define CEL_ITEMS_COST(n) ((uint64_t)(n) / 8)
/* A string or bytes of `n` bytes to be filled in by the caller; .text.p is NULL after evaluating was ended. */
char *cel_take_text(struct cel_eval *eval, const struct cel_node *node, size_t n);

struct cel_value cel_eval_node(struct cel_eval *eval, const struct cel_node *node);

/* cel_value.c */

/* A list or a map that is still JSON becomes one whose members are values (which may be JSON again). Others stay. */
struct cel_value cel_open(struct cel_eval *eval, const struct cel_node *node, struct cel_value value);
/* All of it, so that no JSON is left. */
struct cel_value cel_build(struct cel_eval *eval, const struct cel_node *node, struct cel_value value, unsigned depth);
/* 1 or 0; -1 after evaluating was ended. */
int cel_are_equal(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *a,
                  const struct cel_value *b);
/* Of numbers of any kind, or of two values of the same ordered kind: sets -1, 0, 1, or 2 when a NaN is involved. False
 * when there is no order. */
bool cel_compare(const struct cel_value *a, const struct cel_value *b, int *ret_order);
/* The order in which maps are searched: bool, numbers, strings. */
int cel_compare_keys(const struct cel_value *a, const struct cel_value *b);
/* A map's value under a key, in a map that is still JSON, too. CEL_DYN: there is none; may be an error. */
struct cel_value cel_look_up(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *map,
                             const struct cel_value *key);
/* From entries in the arena; later ones replace earlier ones with the same key if `last_wins`, else that is an error.
 */
struct cel_value cel_make_map(struct cel_eval *eval, const struct cel_node *node, struct cel_entry *entries, size_t n,
                              bool last_wins);
struct cel_value cel_make_list(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *items,
                               size_t n);
/* A copy that needs nothing but the arena; kind CEL_DYN when memory ran out. No JSON inside. */
struct cel_value cel_copy(struct cel_arena *arena, struct cel_value value);
const char *cel_kind_article(enum cel_kind kind); /* "an int" */

/* cel_operators.c */

struct cel_value cel_operate(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *a,
                             const struct cel_value *b);
struct cel_value cel_negate(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *a);
const char *cel_operator_sign(enum cel_op op);
/* What an operator gives for operands of these kinds (CEL_DYN: not known): CEL_DYN if that depends, CEL_ERROR if there
 * is no overload. `b` is CEL_DYN for the unary ones. */
enum cel_kind cel_operator_result(enum cel_op op, enum cel_kind a, enum cel_kind b);

/* Functions. Overloads of a name stand beside each other in the table. */

typedef struct cel_value cel_call(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                                  size_t n);

struct cel_function {
    const char *name;
    bool is_member; /* args[0].name(...), not name(args[0], ...) */
    uint8_t n;
    uint8_t kinds[CEL_ARGS_MAX]; /* CEL_DYN: any */
    uint8_t result;
    cel_call *call;
};

const struct cel_function *cel_find_function(struct bytes name, bool is_member);   /* the first, or NULL */
const struct cel_function *cel_next_overload(const struct cel_function *function); /* or NULL */
struct cel_value cel_call_function(struct cel_eval *eval, const struct cel_node *node, struct cel_value *args,
                                   size_t n);

/* cel_convert.c, cel_text.c, cel_time.c */

cel_call cel_size, cel_to_int, cel_to_uint, cel_to_double, cel_to_string, cel_to_bytes, cel_to_bool, cel_to_timestamp,
    cel_to_duration, cel_to_type, cel_to_dyn;
cel_call cel_contains, cel_starts_with, cel_ends_with, cel_matches, cel_char_at, cel_index_of, cel_last_index_of,
    cel_join, cel_lower_ascii, cel_upper_ascii, cel_replace, cel_reverse, cel_split, cel_substring, cel_trim,
    cel_checksum;
cel_call cel_full_year, cel_month, cel_date, cel_day_of_month, cel_day_of_week, cel_day_of_year, cel_hours, cel_minutes,
    cel_seconds, cel_milliseconds;

/* Time. */

#define CEL_TIMESTAMP_MIN INT64_C(-62135596800) /* 0001-01-01T00:00:00Z */
#define CEL_TIMESTAMP_MAX INT64_C(253402300799) /* 9999-12-31T23:59:59Z */
#define CEL_DURATION_MAX INT64_C(315576000000)  /* seconds, as in protobuf */

bool cel_parse_timestamp(struct bytes text, struct cel_value *ret_value); /* RFC 3339; false: it is none */
bool cel_parse_duration(struct bytes text, struct cel_value *ret_value);  /* "1h30m", "-1.5s"; false: it is none */
size_t cel_format_timestamp(const struct cel_value *value, char ret_text[48]);
size_t cel_format_duration(const struct cel_value *value, char ret_text[48]);
/* a + sign * b, at least one of which is a duration, or the duration between two timestamps; false: out of range. */
bool cel_add_times(const struct cel_value *a, const struct cel_value *b, int sign, enum cel_kind kind,
                   struct cel_value *ret_value);
/* "UTC", "+02:00" and kin; false when it is another name. */
bool cel_fixed_zone(struct bytes name, int32_t *ret_offset_s);
