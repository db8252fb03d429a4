/* cel_functions.c - the table of functions, and choosing an overload by the kinds of the arguments. */
#include "cel_eval.h"

#include <stdio.h>

#define S CEL_STRING
#define I CEL_INT

static const struct cel_function functions[] = {
    /* Standard definitions. */
    {"size", false, 1, {S}, I, cel_size},
    {"size", false, 1, {CEL_BYTES}, I, cel_size},
    {"size", false, 1, {CEL_LIST}, I, cel_size},
    {"size", false, 1, {CEL_MAP}, I, cel_size},
    {"size", true, 1, {S}, I, cel_size},
    {"size", true, 1, {CEL_BYTES}, I, cel_size},
    {"size", true, 1, {CEL_LIST}, I, cel_size},
    {"size", true, 1, {CEL_MAP}, I, cel_size},
    {"int", false, 1, {I}, I, cel_to_int},
    {"int", false, 1, {CEL_UINT}, I, cel_to_int},
    {"int", false, 1, {CEL_DOUBLE}, I, cel_to_int},
    {"int", false, 1, {S}, I, cel_to_int},
    {"int", false, 1, {CEL_TIMESTAMP}, I, cel_to_int},
    {"uint", false, 1, {CEL_UINT}, CEL_UINT, cel_to_uint},
    {"uint", false, 1, {I}, CEL_UINT, cel_to_uint},
    {"uint", false, 1, {CEL_DOUBLE}, CEL_UINT, cel_to_uint},
    {"uint", false, 1, {S}, CEL_UINT, cel_to_uint},
    {"double", false, 1, {CEL_DOUBLE}, CEL_DOUBLE, cel_to_double},
    {"double", false, 1, {I}, CEL_DOUBLE, cel_to_double},
    {"double", false, 1, {CEL_UINT}, CEL_DOUBLE, cel_to_double},
    {"double", false, 1, {S}, CEL_DOUBLE, cel_to_double},
    {"string", false, 1, {S}, S, cel_to_string},
    {"string", false, 1, {CEL_BOOL}, S, cel_to_string},
    {"string", false, 1, {I}, S, cel_to_string},
    {"string", false, 1, {CEL_UINT}, S, cel_to_string},
    {"string", false, 1, {CEL_DOUBLE}, S, cel_to_string},
    {"string", false, 1, {CEL_BYTES}, S, cel_to_string},
    {"string", false, 1, {CEL_TIMESTAMP}, S, cel_to_string},
    {"string", false, 1, {CEL_DURATION}, S, cel_to_string},
    {"bytes", false, 1, {CEL_BYTES}, CEL_BYTES, cel_to_bytes},
    {"bytes", false, 1, {S}, CEL_BYTES, cel_to_bytes},
    {"bool", false, 1, {CEL_BOOL}, CEL_BOOL, cel_to_bool},
    {"bool", false, 1, {S}, CEL_BOOL, cel_to_bool},
    {"timestamp", false, 1, {CEL_TIMESTAMP}, CEL_TIMESTAMP, cel_to_timestamp},
    {"timestamp", false, 1, {S}, CEL_TIMESTAMP, cel_to_timestamp},
    {"timestamp", false, 1, {I}, CEL_TIMESTAMP, cel_to_timestamp},
    {"duration", false, 1, {CEL_DURATION}, CEL_DURATION, cel_to_duration},
    {"duration", false, 1, {S}, CEL_DURATION, cel_to_duration},
    {"type", false, 1, {CEL_DYN}, CEL_TYPE, cel_to_type},
    {"dyn", false, 1, {CEL_DYN}, CEL_DYN, cel_to_dyn},
    {"contains", true, 2, {S, S}, CEL_BOOL, cel_contains},
    {"startsWith", true, 2, {S, S}, CEL_BOOL, cel_starts_with},
    {"endsWith", true, 2, {S, S}, CEL_BOOL, cel_ends_with},
    {"matches", true, 2, {S, S}, CEL_BOOL, cel_matches},
    {"matches", false, 2, {S, S}, CEL_BOOL, cel_matches},
    {"getFullYear", true, 1, {CEL_TIMESTAMP}, I, cel_full_year},
    {"getFullYear", true, 2, {CEL_TIMESTAMP, S}, I, cel_full_year},
    {"getMonth", true, 1, {CEL_TIMESTAMP}, I, cel_month},
    {"getMonth", true, 2, {CEL_TIMESTAMP, S}, I, cel_month},
    {"getDate", true, 1, {CEL_TIMESTAMP}, I, cel_date},
    {"getDate", true, 2, {CEL_TIMESTAMP, S}, I, cel_date},
    {"getDayOfMonth", true, 1, {CEL_TIMESTAMP}, I, cel_day_of_month},
    {"getDayOfMonth", true, 2, {CEL_TIMESTAMP, S}, I, cel_day_of_month},
    {"getDayOfWeek", true, 1, {CEL_TIMESTAMP}, I, cel_day_of_week},
    {"getDayOfWeek", true, 2, {CEL_TIMESTAMP, S}, I, cel_day_of_week},
    {"getDayOfYear", true, 1, {CEL_TIMESTAMP}, I, cel_day_of_year},
    {"getDayOfYear", true, 2, {CEL_TIMESTAMP, S}, I, cel_day_of_year},
    {"getHours", true, 1, {CEL_TIMESTAMP}, I, cel_hours},
    {"getHours", true, 2, {CEL_TIMESTAMP, S}, I, cel_hours},
    {"getHours", true, 1, {CEL_DURATION}, I, cel_hours},
    {"getMinutes", true, 1, {CEL_TIMESTAMP}, I, cel_minutes},
    {"getMinutes", true, 2, {CEL_TIMESTAMP, S}, I, cel_minutes},
    {"getMinutes", true, 1, {CEL_DURATION}, I, cel_minutes},
    {"getSeconds", true, 1, {CEL_TIMESTAMP}, I, cel_seconds},
    {"getSeconds", true, 2, {CEL_TIMESTAMP, S}, I, cel_seconds},
    {"getSeconds", true, 1, {CEL_DURATION}, I, cel_seconds},
    {"getMilliseconds", true, 1, {CEL_TIMESTAMP}, I, cel_milliseconds},
    {"getMilliseconds", true, 2, {CEL_TIMESTAMP, S}, I, cel_milliseconds},
    {"getMilliseconds", true, 1, {CEL_DURATION}, I, cel_milliseconds},
    /* Strings, as in cel-go's ext.Strings. */
    {"charAt", true, 2, {S, I}, S, cel_char_at},
    {"indexOf", true, 2, {S, S}, I, cel_index_of},
    {"indexOf", true, 3, {S, S, I}, I, cel_index_of},
    {"join", true, 1, {CEL_LIST}, S, cel_join},
    {"join", true, 2, {CEL_LIST, S}, S, cel_join},
    {"lastIndexOf", true, 2, {S, S}, I, cel_last_index_of},
    {"lastIndexOf", true, 3, {S, S, I}, I, cel_last_index_of},
    {"lowerAscii", true, 1, {S}, S, cel_lower_ascii},
    {"replace", true, 3, {S, S, S}, S, cel_replace},
    {"replace", true, 4, {S, S, S, I}, S, cel_replace},
    {"reverse", true, 1, {S}, S, cel_reverse},
    {"split", true, 2, {S, S}, CEL_LIST, cel_split},
    {"split", true, 3, {S, S, I}, CEL_LIST, cel_split},
    {"substring", true, 2, {S, I}, S, cel_substring},
    {"substring", true, 3, {S, I, I}, S, cel_substring},
    {"trim", true, 1, {S}, S, cel_trim},
    {"upperAscii", true, 1, {S}, S, cel_upper_ascii},
    /* froe's own. */
    {"checksum", false, 1, {S}, S, cel_checksum},
};

#define FUNCTIONS_END (functions + sizeof functions / sizeof functions[0])

const struct cel_function *cel_find_function(struct bytes name, bool is_member) {
    for (const struct cel_function *at = functions; at < FUNCTIONS_END; at++)
        if (at->is_member == is_member && bytes_equal(bytes_str(at->name), name))
            return at;
    return NULL;
}

const struct cel_function *cel_next_overload(const struct cel_function *function) {
    const struct cel_function *next = function + 1;
    return next < FUNCTIONS_END && next->is_member == function->is_member && strcmp(next->name, function->name) == 0
               ? next
               : NULL;
}

static bool takes(const struct cel_function *function, const struct cel_value *args, size_t n) {
    if (function->n != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (function->kinds[i] != CEL_DYN && function->kinds[i] != args[i].kind)
            return false;
    return true;
}

struct cel_value cel_call_function(struct cel_eval *eval, const struct cel_node *node, struct cel_value *args,
                                   size_t n) {
    for (const struct cel_function *at = node->functions; at; at = cel_next_overload(at)) {
        if (!takes(at, args, n))
            continue;
        for (size_t i = 0; i < n; i++)
            if (at->kinds[i] != CEL_DYN && (args[i] = cel_open(eval, node, args[i])).kind == CEL_ERROR)
                return args[i];
        return at->call(eval, node, args, n);
    }
    char name[48];
    snprintf(name, sizeof name, "%.*s()", node->name.n > 40 ? 40 : (int)node->name.n, node->name.p);
    return cel_fail_overload(eval, node, name, args, n);
}
