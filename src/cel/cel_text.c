/* cel_text.c - functions on strings. Positions count code points; what is done inside works on bytes of valid UTF-8. */
#include "cel_arena.h"
#include "cel_eval.h"
#include "re2_shim.h"
#include "text.h"

#include <inttypes.h>
#include <openssl/evp.h>

#define PATTERN_COST 2000 /* of compiling a regular expression while evaluating */

static struct cel_value ended(const struct cel_eval *eval) {
    return (struct cel_value){.kind = CEL_ERROR, .error = &eval->fatal_error};
}

static bool goes_on(char c) {
    return ((unsigned char)c & 0xc0) == 0x80;
}

static size_t width_at(struct bytes text, size_t at) {
    size_t n = 1;
    while (at + n < text.n && goes_on(text.p[at + n]))
        n++;
    return n;
}

static size_t code_points(struct bytes text) {
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++)
        n += !goes_on(text.p[i]);
    return n;
}

/* The byte where that code point begins, text.n right behind the last one; false outside. */
static bool offset_of(struct bytes text, int64_t index, size_t *ret_at) {
    size_t at = 0;
    for (; index > 0 && at < text.n; index--)
        at += width_at(text, at);
    *ret_at = at;
    return index == 0;
}

static struct cel_value bad_index(struct cel_eval *eval, const struct cel_node *node, int64_t index) {
    return cel_fail(eval, node, CEL_OUT_OF_RANGE, "%" PRId64 " is outside of the string", index);
}

/* The first place of `part` at or after `from`, or SIZE_MAX. memmem takes linear time. */
static size_t find(struct bytes text, struct bytes part, size_t from) {
    if (part.n == 0)
        return from;
    const char *at = text.n > from ? memmem(text.p + from, text.n - from, part.p, part.n) : NULL;
    return at ? (size_t)(at - text.p) : SIZE_MAX;
}

/* Tests. */

static bool charge_texts(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args) {
    return cel_charge(eval, node, CEL_BYTES_COST(args[0].text.n) + CEL_BYTES_COST(args[1].text.n));
}

struct cel_value cel_contains(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                              size_t n) {
    if (!charge_texts(eval, node, args))
        return ended(eval);
    return cel_bool(find(args[0].text, args[1].text, 0) != SIZE_MAX);
}

struct cel_value cel_starts_with(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                                 size_t n) {
    return charge_texts(eval, node, args) ? cel_bool(bytes_starts(args[0].text, args[1].text)) : ended(eval);
}

struct cel_value cel_ends_with(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                               size_t n) {
    return charge_texts(eval, node, args) ? cel_bool(bytes_ends(args[0].text, args[1].text)) : ended(eval);
}

struct cel_value cel_matches(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                             size_t n) {
    struct bytes text = args[0].text, pattern = args[1].text;
    if (!cel_charge(eval, node, (uint64_t)text.n / 16))
        return ended(eval);
    struct re2_regex *own = NULL;
    if (!node->regex) {
        char why[160];
        if (!cel_charge(eval, node, PATTERN_COST + (uint64_t)pattern.n))
            return ended(eval);
        int r = re2_regex_compile(pattern.p, pattern.n, CEL_PATTERN_MEMORY_MAX, &own, why, sizeof why);
        if (r < 0)
            return cel_fail(eval, node,
                            r == -ENOMEM  ? CEL_NO_MEMORY
                            : r == -E2BIG ? CEL_TOO_MUCH
                                          : CEL_BAD_ARGUMENT,
                            r == -ENOMEM ? "out of memory%.0s" : "a bad regular expression: %s", why);
    }
    int r = re2_regex_matches(own ? own : node->regex, text.p, text.n);
    re2_regex_free(own);
    return r < 0 ? cel_fail(eval, node, CEL_NO_MEMORY, "out of memory") : cel_bool(r == 1);
}

/* Positions. */

struct cel_value cel_char_at(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                             size_t n) {
    struct bytes text = args[0].text;
    size_t at;
    if (!cel_charge(eval, node, CEL_BYTES_COST(text.n)))
        return ended(eval);
    if (args[1].integer < 0 || !offset_of(text, args[1].integer, &at))
        return bad_index(eval, node, args[1].integer);
    return cel_string(at < text.n ? bytes_of(text.p + at, width_at(text, at)) : BYTES_NONE);
}

struct cel_value cel_index_of(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                              size_t n) {
    struct bytes text = args[0].text;
    size_t from = 0;
    if (!charge_texts(eval, node, args))
        return ended(eval);
    if (n == 3 && (args[2].integer < 0 || !offset_of(text, args[2].integer, &from)))
        return bad_index(eval, node, args[2].integer);
    size_t at = find(text, args[1].text, from);
    return cel_int(at == SIZE_MAX ? -1 : (int64_t)code_points(bytes_of(text.p, at)));
}

struct cel_value cel_last_index_of(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                                   size_t n) {
    struct bytes text = args[0].text, part = args[1].text;
    size_t last = text.n;
    if (!charge_texts(eval, node, args))
        return ended(eval);
    if (n == 3 && (args[2].integer < 0 || !offset_of(text, args[2].integer, &last)))
        return bad_index(eval, node, args[2].integer);
    if (part.n > text.n)
        return cel_int(-1);
    if (last > text.n - part.n)
        last = text.n - part.n;
    for (size_t at = last;; at--) {
        if (part.n == 0 || text.p[at] == part.p[0]) {
            if (!cel_charge(eval, node, CEL_BYTES_COST(part.n)))
                return ended(eval);
            if (bytes_starts(bytes_of(text.p + at, text.n - at), part))
                return cel_int((int64_t)code_points(bytes_of(text.p, at)));
        }
        if (at == 0)
            return cel_int(-1);
    }
}

struct cel_value cel_substring(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                               size_t n) {
    struct bytes text = args[0].text;
    size_t from, to = text.n;
    if (!cel_charge(eval, node, CEL_BYTES_COST(text.n)))
        return ended(eval);
    if (args[1].integer < 0 || !offset_of(text, args[1].integer, &from))
        return bad_index(eval, node, args[1].integer);
    if (n == 3 && (args[2].integer < 0 || !offset_of(text, args[2].integer, &to)))
        return bad_index(eval, node, args[2].integer);
    if (to < from)
        return cel_fail(eval, node, CEL_OUT_OF_RANGE,
                        "a substring cannot end (%" PRId64 ") before it begins (%" PRId64 ")", args[2].integer,
                        args[1].integer);
    return cel_string(bytes_of(text.p ? text.p + from : NULL, to - from));
}

/* Changes. */

static struct cel_value change_case(struct cel_eval *eval, const struct cel_node *node, struct bytes text, char first) {
    char *out = cel_take_text(eval, node, text.n);
    if (!out)
        return ended(eval);
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        out[i] = c >= first && c < first + 26 ? (char)(c ^ 0x20) : c;
    }
    return cel_string(bytes_of(out, text.n));
}

struct cel_value cel_lower_ascii(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                                 size_t n) {
    return change_case(eval, node, args[0].text, 'A');
}

struct cel_value cel_upper_ascii(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                                 size_t n) {
    return change_case(eval, node, args[0].text, 'a');
}

struct cel_value cel_reverse(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                             size_t n) {
    struct bytes text = args[0].text;
    char *out = cel_take_text(eval, node, text.n);
    if (!out)
        return ended(eval);
    for (size_t at = 0; at < text.n;) {
        size_t width = width_at(text, at);
        memcpy(out + text.n - at - width, text.p + at, width);
        at += width;
    }
    return cel_string(bytes_of(out, text.n));
}

/* The character at `at`. */
static uint32_t decode(struct bytes text, size_t at) {
    size_t width = width_at(text, at);
    uint32_t c = (unsigned char)text.p[at];
    if (width > 1)
        c &= 0x7fu >> width;
    for (size_t i = 1; i < width; i++)
        c = c << 6 | ((unsigned char)text.p[at + i] & 0x3f);
    return c;
}

/* Unicode's White_Space. */
static bool is_space(uint32_t c) {
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

struct cel_value cel_trim(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args, size_t n) {
    struct bytes text = args[0].text;
    if (!cel_charge(eval, node, CEL_BYTES_COST(text.n)))
        return ended(eval);
    while (text.n && is_space(decode(text, 0))) {
        size_t width = width_at(text, 0);
        text = bytes_of(text.p + width, text.n - width);
    }
    while (text.n) {
        size_t last = text.n - 1;
        while (goes_on(text.p[last]))
            last--;
        if (!is_space(decode(text, last)))
            break;
        text.n = last;
    }
    return cel_string(text);
}

/* The next place at or after `from` where `part` stands; the empty one stands before each character and at the end. */
static size_t next_match(struct bytes text, struct bytes part, size_t from, bool is_first) {
    if (part.n)
        return find(text, part, from);
    if (is_first)
        return from;
    return from < text.n ? from + width_at(text, from) : SIZE_MAX;
}

struct cel_value cel_replace(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                             size_t n) {
    struct bytes text = args[0].text, old = args[1].text, new = args[2].text;
    uint64_t limit = n == 4 && args[3].integer >= 0 ? (uint64_t)args[3].integer : UINT64_MAX, matches = 0;
    if (!charge_texts(eval, node, args))
        return ended(eval);
    for (size_t at = 0; matches < limit; matches++) {
        at = next_match(text, old, at, matches == 0);
        if (at == SIZE_MAX)
            break;
        at += old.n;
    }
    size_t size;
    if (matches == 0)
        return args[0];
    if (__builtin_mul_overflow(matches, new.n, &size) || __builtin_add_overflow(size, text.n - matches * old.n, &size))
        return cel_fail(eval, node, CEL_TOO_MUCH, "evaluating takes too much memory");
    char *out = cel_take_text(eval, node, size), *end = out;
    if (!out)
        return ended(eval);
    size_t copied = 0;
    for (uint64_t i = 0, at = 0; i < matches; i++, at += old.n) {
        at = next_match(text, old, at, i == 0);
        memcpy(end, text.p + copied, at - copied);
        end += at - copied;
        if (new.n)
            memcpy(end, new.p, new.n);
        end += new.n;
        copied = at + old.n;
    }
    if (text.n > copied)
        memcpy(end, text.p + copied, text.n - copied);
    return cel_string(bytes_of(out, size));
}

/* Lists of strings. */

struct cel_value cel_join(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args, size_t n) {
    const struct cel_list *list = args[0].list;
    struct bytes between = n == 2 ? args[1].text : BYTES_NONE;
    size_t size = 0;
    for (size_t i = 0; i < list->n; i++) {
        if (list->items[i].kind != CEL_STRING)
            return cel_fail(eval, node, CEL_NO_OVERLOAD, "join() is for lists of strings; an element is %s",
                            cel_kind_article((enum cel_kind)list->items[i].kind));
        if (__builtin_add_overflow(size, list->items[i].text.n + (i ? between.n : 0), &size))
            return cel_fail(eval, node, CEL_TOO_MUCH, "evaluating takes too much memory");
    }
    char *out = cel_charge(eval, node, CEL_ITEMS_COST(list->n)) ? cel_take_text(eval, node, size) : NULL, *end = out;
    if (!out)
        return ended(eval);
    for (size_t i = 0; i < list->n; i++) {
        if (i && between.n) {
            memcpy(end, between.p, between.n);
            end += between.n;
        }
        if (list->items[i].text.n)
            memcpy(end, list->items[i].text.p, list->items[i].text.n);
        end += list->items[i].text.n;
    }
    return cel_string(bytes_of(out, size));
}

/* The end of the first piece: where the separator stands, or behind the first character when that is empty. */
static size_t end_of_piece(struct bytes text, struct bytes separator) {
    if (separator.n)
        return find(text, separator, 0);
    size_t width = width_at(text, 0);
    return width < text.n ? width : SIZE_MAX;
}

struct cel_value cel_split(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args, size_t n) {
    struct bytes text = args[0].text, separator = args[1].text;
    uint64_t limit = n == 3 && args[2].integer >= 0 ? (uint64_t)args[2].integer : UINT64_MAX, pieces = 1;
    if (!charge_texts(eval, node, args))
        return ended(eval);
    if (limit == 0 || (text.n == 0 && separator.n == 0))
        return cel_make_list(eval, node, NULL, 0);
    struct bytes rest = text;
    for (size_t end; pieces < limit && (end = end_of_piece(rest, separator)) != SIZE_MAX; pieces++)
        rest = bytes_of(rest.p + end + separator.n, rest.n - end - separator.n);
    struct cel_value *items =
        cel_charge(eval, node, CEL_ITEMS_COST(pieces)) ? cel_take(eval, node, pieces * sizeof *items) : NULL;
    if (!items)
        return ended(eval);
    rest = text;
    for (uint64_t i = 0; i + 1 < pieces; i++) {
        size_t end = end_of_piece(rest, separator);
        items[i] = cel_string(bytes_of(rest.p, end));
        rest = bytes_of(rest.p + end + separator.n, rest.n - end - separator.n);
    }
    items[pieces - 1] = cel_string(rest);
    return cel_make_list(eval, node, items, pieces);
}

/* froe's own. */

struct cel_value cel_checksum(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                              size_t n) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (!cel_charge(eval, node, 10 + (uint64_t)args[0].text.n / 16))
        return ended(eval);
    if (EVP_Digest(args[0].text.n ? args[0].text.p : "", args[0].text.n, digest, &size, EVP_sha256(), NULL) != 1)
        return cel_fail(eval, node, CEL_NO_MEMORY, "out of memory");
    char *out = cel_take_text(eval, node, 2 * (size_t)size);
    for (unsigned i = 0; i < size && out; i++) {
        out[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    return out ? cel_string(bytes_of(out, 2 * (size_t)size)) : ended(eval);
}
