/* doc.c - the tree of a configuration file: its memory, its errors, finding things in it. */
#include "doc_private.h"

#include "cleanup.h"
#include "nearest.h"
#include "text.h"
#include "uri.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#define CHUNK_BYTES 8192

struct doc_chunk {
    struct doc_chunk *next;
    size_t used, size;
    max_align_t data[];
};

void *doc_alloc(struct doc *doc, size_t n) {
    size_t size;
    if (__builtin_add_overflow(n, sizeof(max_align_t) - 1, &size))
        return NULL;
    size -= size % sizeof(max_align_t);
    struct doc_chunk *chunk = doc->chunks;
    if (!chunk || chunk->size - chunk->used < size) {
        size_t room = size > CHUNK_BYTES ? size : CHUNK_BYTES;
        if (room > SIZE_MAX - sizeof *chunk)
            return NULL;
        chunk = mem_alloc(sizeof *chunk + room);
        if (!chunk)
            return NULL;
        *chunk = (struct doc_chunk){.next = doc->chunks, .size = room};
        doc->chunks = chunk;
    }
    void *place = (char *)chunk->data + chunk->used;
    chunk->used += size;
    return memset(place, 0, size);
}

void doc_free(struct doc *doc) {
    if (!doc)
        return;
    for (struct doc_chunk *chunk = doc->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        mem_free(chunk);
    }
    mem_free(doc->name);
    mem_free(doc);
}

static int read_all(int fd, const char *path, struct buf *bytes, struct err *err) {
    for (;;) {
        int r = buf_reserve(bytes, 65536);
        if (r < 0)
            return err_set(err, r, "out of memory");
        ssize_t n = read(fd, bytes->p + bytes->n, 65536);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            r = -errno;
            return err_set(err, r, "%s: cannot be read: %s", path, err_errno_text(r));
        }
        if (n == 0)
            return 0;
        bytes->n += (size_t)n;
        if (bytes->n > DOC_BYTES_MAX)
            return err_set(err, -E2BIG, "%s: larger than a configuration file may be (%d KiB)", path,
                           DOC_BYTES_MAX / 1024);
    }
}

int doc_read(const char *path, struct doc **ret_doc, struct err *err) {
    _cleanup_buf_ struct buf bytes = {0};
    if (uri_has_password(path))
        return err_set(err, -EINVAL,
                       "the configuration is read from a file, not from a URI (not shown: it has a password)");
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        int r = -errno;
        return err_set(err, r, "%s: cannot be opened: %s", path, err_errno_text(r));
    }
    int r = read_all(fd, path, &bytes, err);
    return r < 0 ? r : doc_parse(path, buf_bytes(&bytes), ret_doc, err);
}

static int error_at(const struct doc *doc, const struct doc_node *node, struct err *err, const char *text) {
    return err_set(err, -EINVAL, "%s:%u:%u: %s", doc->name, node->line, node->column, text);
}

static bool has_password(const struct doc_node *node) {
    if (node->kind == DOC_TEXT)
        return node->text.p && uri_has_password(node->text.p);
    bool has = false;
    for (const struct doc_node *child = node->first; child && !has; child = child->next)
        has = has_password(child) || (child->key && has_password(child->key));
    return has;
}

/* A store's URI may stand wherever it was put by mistake, and an error may show what stands there, or a part of it in
 * which a password cannot be told from the rest any more. Of a list or mapping it would show the URI from "://" on. */
static bool may_show_password(const struct doc_node *node, const char *text) {
    return has_password(node) && (node->kind == DOC_TEXT || strstr(text, "://"));
}

int doc_error(const struct doc *doc, const struct doc_node *node, struct err *err, const char *format, ...) {
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (may_show_password(node, text))
        return error_at(doc, node, err,
                        "this is wrong here; it is not shown, as it looks like a URI with a password, which only "
                        "'store' takes");
    return error_at(doc, node, err, text);
}

int doc_key_error(const struct doc *doc, const struct doc_node *key, struct err *err, const char *format, ...) {
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return error_at(doc, key, err, text);
}

bool doc_is_nothing(const struct doc_node *node) {
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; node->kind == DOC_TEXT && node->plain && i < sizeof nulls / sizeof nulls[0]; i++)
        if (bytes_equal(node->text, bytes_str(nulls[i])))
            return true;
    return false;
}

const char *doc_what(const struct doc_node *node) {
    if (doc_is_nothing(node))
        return "nothing";
    return node->kind == DOC_TEXT ? "a text" : node->kind == DOC_LIST ? "a list" : "a mapping";
}

const struct doc_node *doc_get(const struct doc_node *map, const char *key) {
    if (!map || map->kind != DOC_MAP)
        return NULL;
    for (const struct doc_node *entry = map->first; entry; entry = entry->next)
        if (bytes_equal(entry->key->text, bytes_str(key)))
            return entry;
    return NULL;
}

static bool is_known(struct bytes key, const char *const *known) {
    for (; *known; known++)
        if (bytes_equal(key, bytes_str(*known)))
            return true;
    return false;
}

int doc_add_key(struct buf *buf, const struct doc_node *key) {
    _cleanup_buf_ struct buf shown = {0};
    int r = uri_add_shown(&shown, key->text.p);
    return r < 0 ? r : text_add_printable(buf, bytes_of(shown.p, shown.n < 64 ? shown.n : 64));
}

int doc_check_keys(const struct doc *doc, const struct doc_node *map, const char *const *known, const char *where,
                   struct err *err) {
    const char *space = where[0] ? " " : "";
    for (const struct doc_node *entry = map->first; entry; entry = entry->next) {
        if (is_known(entry->key->text, known))
            continue;
        _cleanup_buf_ struct buf shown = {0};
        if (doc_add_key(&shown, entry->key) < 0)
            return err_set(err, -ENOMEM, "out of memory");
        struct nearest nearest = {.name = entry->key->text};
        for (const char *const *name = known; *name; name++)
            nearest_offer(&nearest, *name);
        if (nearest.found)
            return doc_key_error(doc, entry->key, err, "unknown key '%s'%s%s; did you mean %s?", shown.p ? shown.p : "",
                                 space, where, nearest.found);
        _cleanup_buf_ struct buf all = {0};
        for (const char *const *name = known; *name; name++)
            if (buf_printf(&all, "%s%s", all.n ? ", " : "", *name) < 0)
                return err_set(err, -ENOMEM, "out of memory");
        return doc_key_error(doc, entry->key, err, "unknown key '%s'%s%s; there are %s", shown.p ? shown.p : "", space,
                             where, all.p ? all.p : "none");
    }
    return 0;
}
