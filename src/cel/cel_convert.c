/* cel_convert.c - from kind to kind: int(), string() and kin, type(), dyn(); and size(). */
#include "cel_eval.h"
#include "cel_number.h"
#include "text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static struct cel_value bad_text(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *text,
                                 enum cel_kind kind) {
    char shown[200];
    struct buf out = {.p = shown, .cap = sizeof shown, .max = sizeof shown - 1};
    shown[0] = '\0';
    size_t n = text->text.n < 40 ? text->text.n : 40;
    while (n < text->text.n && n > 0 && ((unsigned char)text->text.p[n] & 0xc0) == 0x80)
        n--;
    int r = text_add_printable(&out, bytes_of(text->text.p, n));
    return cel_fail(eval, node, CEL_BAD_ARGUMENT, "\"%s%s\" is not %s", shown, r < 0 || n < text->text.n ? "..." : "",
                    cel_kind_article(kind));
}

static struct cel_value out_of_range(struct cel_eval *eval, const struct cel_node *node, enum cel_kind kind) {
    return cel_fail(eval, node, CEL_OUT_OF_RANGE, "the value is out of range for %s", cel_kind_article(kind));
}

static size_t code_points(struct bytes text) {
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++)
        n += ((unsigned char)text.p[i] & 0xc0) != 0x80;
    return n;
}

struct cel_value cel_size(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args, size_t n) {
    switch ((enum cel_kind)args[0].kind) {
    case CEL_STRING:
        if (!cel_charge(eval, node, CEL_BYTES_COST(args[0].text.n)))
            return (struct cel_value){.kind = CEL_ERROR, .error = &eval->fatal_error};
        return cel_int((int64_t)code_points(args[0].text));
    case CEL_BYTES:
        return cel_int((int64_t)args[0].text.n);
    case CEL_LIST:
        return cel_int((int64_t)args[0].list->n);
    default:
        return cel_int((int64_t)args[0].map->n);
    }
}

/* Digits with at most a sign before them. */
static bool without_plus(struct bytes text, struct bytes *ret_text) {
    *ret_text = text.n && text.p[0] == '+' ? bytes_of(text.p + 1, text.n - 1) : text;
    return ret_text->n && ret_text->p[0] != '+' && !(text.p[0] == '+' && ret_text->p[0] == '-');
}

struct cel_value cel_to_int(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                            size_t n) {
    const struct cel_value *from = &args[0];
    struct bytes digits;
    int64_t result;
    int r;
    switch ((enum cel_kind)from->kind) {
    case CEL_UINT:
        return from->natural <= INT64_MAX ? cel_int((int64_t)from->natural) : out_of_range(eval, node, CEL_INT);
    case CEL_DOUBLE: /* towards zero; both ends are left out, as rounding may have led there */
        return from->number > -0x1p63 && from->number < 0x1p63 ? cel_int((int64_t)from->number)
                                                               : out_of_range(eval, node, CEL_INT);
    case CEL_STRING:
        r = without_plus(from->text, &digits) ? text_parse_i64(digits, &result) : -EINVAL;
        if (r == 0)
            return cel_int(result);
        return r == -ERANGE ? out_of_range(eval, node, CEL_INT) : bad_text(eval, node, from, CEL_INT);
    case CEL_TIMESTAMP:
        return cel_int(from->integer);
    default:
        return *from;
    }
}

struct cel_value cel_to_uint(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                             size_t n) {
    const struct cel_value *from = &args[0];
    struct cel_value result = {.kind = CEL_UINT};
    int r = 0;
    switch ((enum cel_kind)from->kind) {
    case CEL_INT:
        if (from->integer < 0)
            return out_of_range(eval, node, CEL_UINT);
        result.natural = (uint64_t)from->integer;
        return result;
    case CEL_DOUBLE:
        if (!(from->number >= 0 && from->number < 0x1p64))
            return out_of_range(eval, node, CEL_UINT);
        result.natural = (uint64_t)from->number;
        return result;
    case CEL_STRING:
        r = text_parse_u64(from->text, &result.natural);
        if (r < 0)
            return r == -ERANGE ? out_of_range(eval, node, CEL_UINT) : bad_text(eval, node, from, CEL_UINT);
        return result;
    default:
        return *from;
    }
}

static bool parse_special(struct bytes text, double *ret_number) {
    bool has_sign = text.n && (text.p[0] == '-' || text.p[0] == '+');
    struct bytes name = has_sign ? bytes_of(text.p + 1, text.n - 1) : text;
    double number;
    if (bytes_equal_nocase(name, BYTES("inf")) || bytes_equal_nocase(name, BYTES("infinity")))
        number = INFINITY;
    else if (bytes_equal_nocase(text, BYTES("nan")))
        number = NAN;
    else
        return false;
    *ret_number = has_sign && text.p[0] == '-' ? -number : number;
    return true;
}

struct cel_value cel_to_double(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                               size_t n) {
    const struct cel_value *from = &args[0];
    struct cel_value result = {.kind = CEL_DOUBLE};
    switch ((enum cel_kind)from->kind) {
    case CEL_INT:
        result.number = (double)from->integer;
        return result;
    case CEL_UINT:
        result.number = (double)from->natural;
        return result;
    case CEL_STRING:
        if (!cel_charge(eval, node, CEL_BYTES_COST(from->text.n)))
            return (struct cel_value){.kind = CEL_ERROR, .error = &eval->fatal_error};
        if (!parse_special(from->text, &result.number) && !cel_parse_double(from->text, &result.number))
            return bad_text(eval, node, from, CEL_DOUBLE);
        return result;
    default:
        return *from;
    }
}

static struct cel_value string_from(struct cel_eval *eval, const struct cel_node *node, const char *text, size_t n) {
    char *copy = cel_take_text(eval, node, n);
    if (!copy)
        return (struct cel_value){.kind = CEL_ERROR, .error = &eval->fatal_error};
    memcpy(copy, text, n);
    return cel_string(bytes_of(copy, n));
}

struct cel_value cel_to_string(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                               size_t n) {
    const struct cel_value *from = &args[0];
    char text[48];
    switch ((enum cel_kind)from->kind) {
    case CEL_BOOL:
        return cel_string(from->boolean ? BYTES("true") : BYTES("false"));
    case CEL_INT:
        return string_from(eval, node, text, (size_t)snprintf(text, sizeof text, "%" PRId64, from->integer));
    case CEL_UINT:
        return string_from(eval, node, text, (size_t)snprintf(text, sizeof text, "%" PRIu64, from->natural));
    case CEL_DOUBLE:
        return string_from(eval, node, text, cel_format_double(from->number, text));
    case CEL_TIMESTAMP:
        return string_from(eval, node, text, cel_format_timestamp(from, text));
    case CEL_DURATION:
        return string_from(eval, node, text, cel_format_duration(from, text));
    case CEL_BYTES:
        if (!cel_charge(eval, node, CEL_BYTES_COST(from->text.n)))
            return (struct cel_value){.kind = CEL_ERROR, .error = &eval->fatal_error};
        if (!text_is_utf8(from->text))
            return cel_fail(eval, node, CEL_BAD_ARGUMENT, "the bytes are not UTF-8");
        return cel_string(from->text);
    default:
        return *from;
    }
}

struct cel_value cel_to_bytes(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                              size_t n) {
    return (struct cel_value){.kind = CEL_BYTES, .text = args[0].text};
}

struct cel_value cel_to_bool(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                             size_t n) {
    static const char *const yes[] = {"true", "TRUE", "True", "t", "T", "1"};
    static const char *const no[] = {"false", "FALSE", "False", "f", "F", "0"};
    if (args[0].kind == CEL_BOOL)
        return args[0];
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        if (bytes_equal(args[0].text, bytes_str(yes[i])))
            return cel_bool(true);
        if (bytes_equal(args[0].text, bytes_str(no[i])))
            return cel_bool(false);
    }
    return bad_text(eval, node, &args[0], CEL_BOOL);
}

struct cel_value cel_to_timestamp(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                                  size_t n) {
    struct cel_value result = {.kind = CEL_TIMESTAMP};
    if (args[0].kind == CEL_INT) {
        result.integer = args[0].integer;
        return result.integer >= CEL_TIMESTAMP_MIN && result.integer <= CEL_TIMESTAMP_MAX
                   ? result
                   : out_of_range(eval, node, CEL_TIMESTAMP);
    }
    if (args[0].kind == CEL_STRING && !cel_parse_timestamp(args[0].text, &result))
        return bad_text(eval, node, &args[0], CEL_TIMESTAMP);
    return args[0].kind == CEL_STRING ? result : args[0];
}

struct cel_value cel_to_duration(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                                 size_t n) {
    struct cel_value result;
    if (args[0].kind == CEL_DURATION)
        return args[0];
    return cel_parse_duration(args[0].text, &result) ? result : bad_text(eval, node, &args[0], CEL_DURATION);
}

struct cel_value cel_to_type(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                             size_t n) {
    return (struct cel_value){.kind = CEL_TYPE, .type = (enum cel_kind)args[0].kind};
}

struct cel_value cel_to_dyn(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                            size_t n) {
    return args[0];
}
