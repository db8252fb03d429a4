/* show.c - see the header. */
#include "show.h"

#include "text.h"

#include <inttypes.h>
#include <math.h>

static int show_double(struct buf *out, double number) {
    if (isnan(number))
        return buf_add_str(out, "NaN");
    int r = buf_printf(out, "%.17g", number);
    return r == 0 && isfinite(number) && !strpbrk(out->p + (out->n > 25 ? out->n - 25 : 0), ".e")
               ? buf_add_str(out, ".0")
               : r;
}

static int show_quoted(struct buf *out, const char *prefix, struct bytes text) {
    int r = buf_add_str(out, prefix);
    if (r == 0)
        r = text_add_printable(out, text);
    return r == 0 ? buf_add_byte(out, '\'') : r;
}

int show_value(struct buf *out, const struct cel_value *value) {
    int r = 0;
    switch ((enum cel_kind)value->kind) {
    case CEL_NULL:
        return buf_add_str(out, "null");
    case CEL_BOOL:
        return buf_add_str(out, value->boolean ? "true" : "false");
    case CEL_INT:
        return buf_printf(out, "%" PRId64, value->integer);
    case CEL_UINT:
        return buf_printf(out, "%" PRIu64 "u", value->natural);
    case CEL_DOUBLE:
        return show_double(out, value->number);
    case CEL_STRING:
        return show_quoted(out, "'", value->text);
    case CEL_BYTES:
        return show_quoted(out, "b'", value->text);
    case CEL_LIST:
        r = buf_add_byte(out, '[');
        for (size_t i = 0; i < value->list->n && r == 0; i++) {
            r = i ? buf_add_str(out, ", ") : 0;
            if (r == 0)
                r = show_value(out, &value->list->items[i]);
        }
        return r == 0 ? buf_add_byte(out, ']') : r;
    case CEL_MAP:
        r = buf_add_byte(out, '{');
        for (size_t i = 0; i < value->map->n && r == 0; i++) {
            r = i ? buf_add_str(out, ", ") : 0;
            if (r == 0)
                r = show_value(out, &value->map->entries[i].key);
            if (r == 0)
                r = buf_add_str(out, ": ");
            if (r == 0)
                r = show_value(out, &value->map->entries[i].value);
        }
        return r == 0 ? buf_add_byte(out, '}') : r;
    case CEL_TIMESTAMP:
    case CEL_DURATION:
        return buf_printf(out, "<%s%" PRId64 " s %d ns>", value->kind == CEL_TIMESTAMP ? "at " : "", value->integer,
                          value->ns);
    case CEL_TYPE:
        return buf_add_str(out, cel_kind_name(value->type));
    case CEL_ERROR:
        return buf_printf(out, "error %d %u:%u %.*s", (int)value->error->code, value->error->line, value->error->column,
                          (int)value->error->text.n, value->error->text.p);
    case CEL_DYN:
        break;
    }
    return buf_add_str(out, "no value");
}
