/* key_template.c - see key_template.h. */
#include "key_template.h"

#include "cleanup.h"
#include "clock.h"
#include "nearest.h"

enum piece_kind { LITERAL, BUCKET, KEY, DIR, BASE, STEM, EXT, NAME, ETAG, VERSION, DATE, YEAR, MONTH, DAY, HOUR };

struct piece {
    enum piece_kind kind;
    struct bytes text; /* LITERAL */
};

struct key_template {
    size_t n;
    struct piece *pieces;
    char text[]; /* as given; the literals are views into it */
};

static const struct {
    const char *name;
    enum piece_kind kind;
    bool distinct; /* objects of one bucket differ in it */
} placeholders[] = {
    {"bucket", BUCKET, false},  {"key", KEY, true},    {"dir", DIR, false},   {"base", BASE, true},
    {"stem", STEM, true},       {"ext", EXT, false},   {"name", NAME, false}, {"etag", ETAG, true},
    {"version", VERSION, true}, {"date", DATE, false}, {"year", YEAR, false}, {"month", MONTH, false},
    {"day", DAY, false},        {"hour", HOUR, false},
};
#define N_PLACEHOLDERS (sizeof placeholders / sizeof placeholders[0])
#define KNOWN "bucket, key, dir, base, stem, ext, etag, version, date, year, month, day, hour"

/* ---- parts of a key ---- */

struct bytes key_base(struct bytes key) {
    const char *slash = key.n ? memrchr(key.p, '/', key.n) : NULL;
    return slash ? bytes_of(slash + 1, (size_t)(key.p + key.n - slash - 1)) : key;
}

struct bytes key_extension(struct bytes key) {
    struct bytes base = key_base(key);
    while (base.n && base.p[0] == '.')
        base = bytes_of(base.p + 1, base.n - 1);
    const char *dot = base.n ? memrchr(base.p, '.', base.n) : NULL;
    return dot ? bytes_of(dot + 1, (size_t)(base.p + base.n - dot - 1)) : BYTES_NONE;
}

static struct bytes key_stem(struct bytes key) {
    size_t extension = key_extension(key).n;
    return bytes_of(key.p, extension ? key.n - extension - 1 : key.n);
}

/* ---- compiling ---- */

static int find_placeholder(struct bytes name, bool results, size_t column, size_t *ret_at, struct err *err) {
    for (size_t i = 0; i < N_PLACEHOLDERS; i++) {
        if (!bytes_equal(name, bytes_str(placeholders[i].name)))
            continue;
        if (placeholders[i].kind == NAME && !results)
            return err_set(err, -EINVAL, "at %zu: {name} is a result's, and this is the object's own place", column);
        *ret_at = i;
        return 0;
    }
    struct nearest nearest = {.name = name};
    for (size_t i = 0; i < N_PLACEHOLDERS; i++)
        if (results || placeholders[i].kind != NAME)
            nearest_offer(&nearest, placeholders[i].name);
    return err_set(err, -EINVAL, "at %zu: there is no {%.*s}; there are %s%s, and {{ for a brace%s%s%s", column,
                   (int)(name.n < 40 ? name.n : 40), name.p, KNOWN, results ? ", name" : "",
                   nearest.found ? "; did you mean {" : "", nearest.found ? nearest.found : "",
                   nearest.found ? "}?" : "");
}

static void add_literal(struct key_template *template, const char *p, size_t n) {
    struct piece *last = template->n ? &template->pieces[template->n - 1] : NULL;
    if (last && last->kind == LITERAL && last->text.p + last->text.n == p)
        last->text.n += n;
    else
        template->pieces[template->n++] = (struct piece){LITERAL, bytes_of(p, n)};
}

static int compile(struct key_template *template, size_t n, bool results, struct err *err) {
    bool distinct = false;
    for (size_t i = 0; i < n; i++) {
        const char *p = template->text + i;
        if ((*p == '{' || *p == '}') && i + 1 < n && p[1] == *p) {
            add_literal(template, p, 1);
            i++;
        } else if (*p == '}') {
            return err_set(err, -EINVAL, "at %zu: a } without its {; write }} for the brace itself", i + 1);
        } else if (*p == '{') {
            const char *end = memchr(p, '}', n - i);
            size_t at = 0;
            if (!end)
                return err_set(err, -EINVAL, "at %zu: a { without its }; write {{ for the brace itself", i + 1);
            struct bytes name = bytes_of(p + 1, (size_t)(end - p - 1));
            int r = find_placeholder(name, results, i + 1, &at, err);
            if (r < 0)
                return r;
            template->pieces[template->n++] = (struct piece){.kind = placeholders[at].kind};
            distinct |= placeholders[at].distinct;
            i += name.n + 1;
        } else {
            add_literal(template, p, 1);
        }
    }
    return distinct ? 0
                    : err_set(err, -EINVAL,
                              "it is the same for all objects, so each would take the place of the one before: put "
                              "{key}, {stem}, {base} or {etag} into it");
}

int key_template_compile(struct bytes text, bool results, struct key_template **ret_template, struct err *err) {
    if (text.n == 0 || text.n > KEY_TEMPLATE_MAX)
        return err_set(err, -EINVAL, text.n ? "it is longer than %d bytes" : "it is empty", KEY_TEMPLATE_MAX);
    struct key_template *template = mem_zalloc(sizeof *template + text.n + 1);
    if (template)
        template->pieces = mem_calloc(text.n, sizeof *template->pieces);
    int r = template && template->pieces ? 0 : err_set(err, -ENOMEM, "out of memory");
    if (r == 0) {
        memcpy(template->text, text.p, text.n);
        r = compile(template, text.n, results, err);
    }
    if (r < 0) {
        key_template_free(template);
        return r;
    }
    *ret_template = template;
    return 0;
}

void key_template_free(struct key_template *template) {
    if (template)
        mem_free(template->pieces);
    mem_free(template);
}

const char *key_template_text(const struct key_template *template) {
    return template->text;
}

/* ---- expanding ---- */

static int add_date(enum piece_kind kind, int64_t utc_us, struct buf *key, struct err *err) {
    if (utc_us == 0)
        return err_set(err, -EINVAL, "the server does not say when the object was last modified, so it has no date");
    struct clock_date date;
    clock_date_utc(utc_us, &date);
    switch (kind) {
    case YEAR:
        return buf_printf(key, "%04d", date.year);
    case MONTH:
        return buf_printf(key, "%02d", date.month);
    case DAY:
        return buf_printf(key, "%02d", date.day);
    case HOUR:
        return buf_printf(key, "%02d", date.hour);
    default:
        return buf_printf(key, "%04d-%02d-%02d", date.year, date.month, date.day);
    }
}

static int add_extension(const struct piece *piece, struct bytes extension, bool first, struct buf *key) {
    if (extension.n > 0)
        return buf_add_bytes(key, extension);
    if (!first && piece[-1].kind == LITERAL && bytes_ends(piece[-1].text, BYTES(".")))
        key->p[--key->n] = '\0';
    return 0;
}

static int add_piece(const struct piece *piece, bool first, const struct key_object *object, struct bytes name,
                     struct bytes extension, struct buf *key, struct err *err) {
    struct bytes base = key_base(object->key);
    switch (piece->kind) {
    case LITERAL:
        return buf_add_bytes(key, piece->text);
    case BUCKET:
        return buf_add_bytes(key, object->bucket);
    case KEY:
        return buf_add_bytes(key, object->key);
    case DIR:
        return buf_add(key, object->key.p, object->key.n - base.n);
    case BASE:
        return buf_add_bytes(key, base);
    case STEM:
        return buf_add_bytes(key, key_stem(object->key));
    case EXT:
        return add_extension(piece, extension.n ? extension : key_extension(object->key), first, key);
    case NAME:
        return buf_add_bytes(key, name);
    case ETAG:
        return buf_add_bytes(key, bytes_unquoted(object->etag));
    case VERSION:
        return buf_add_bytes(key, object->version_id);
    case DATE:
    case YEAR:
    case MONTH:
    case DAY:
    case HOUR:
        break;
    }
    return add_date(piece->kind, object->modified_utc_us, key, err);
}

int key_template_expand(const struct key_template *template, const struct key_object *object, struct bytes name,
                        struct bytes extension, struct buf *key, struct err *err) {
    size_t at = key->n;
    struct err why = {0};
    int r = 0;
    for (size_t i = 0; i < template->n && r == 0; i++)
        r = add_piece(&template->pieces[i], i == 0, object, name, extension, key, &why);
    if (r == 0 && key->n == at)
        r = err_set(&why, -EINVAL, "nothing is left of it");
    if (r == 0 && key->n - at > KEY_TEMPLATE_MAX)
        r = err_set(&why, -E2BIG, "that has %zu bytes, and a key has at most %d", key->n - at, KEY_TEMPLATE_MAX);
    if (r == 0)
        return 0;
    key->n = at;
    if (!why.text[0])
        return err_set(err, r, "out of memory");
    return err_set(err, r, "'%.100s': %s", template->text, why.text);
}
