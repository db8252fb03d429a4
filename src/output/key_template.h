/* key_template.h - names of results and of moved objects, made of the object's own: "thumbs/{stem}.{ext}".
 *
 *     {bucket}   the object's bucket
 *     {key}      its whole key
 *     {dir}      its key up to and with the last '/'; empty when there is none
 *     {base}     what follows that
 *     {stem}     its key without the extension: directories stay, so that keys that differ do not become one
 *     {ext}      the result's extension, or else the object's own, without the dot. When it is empty a '.' of the
 *                template right before it is left out as well, so "{stem}.{ext}" is "{key}" again
 *     {name}     of the result, where there are several of one object; empty otherwise
 *     {etag}     without its quotes
 *     {version}  the version id, empty without one
 *     {date}     2026-11-22, and {year} {month} {day} {hour}: when the object was last modified, in UTC
 *     {{ and }}  stand for { and }
 *
 * An extension is what follows the last dot in {base}; dots that it begins with do not count, and nothing is left
 * empty: "a/b.tar.gz" is "a/b.tar" and "gz"; ".profile", "b." and "b" have none.
 *
 * All of it is bytes, whatever their encoding. Pure functions, any thread. */
#pragma once

#include "bytes.h"
#include "err.h"

#define KEY_TEMPLATE_MAX 1024 /* bytes, of a template and of what becomes of it: S3's limit for keys */

struct key_template;

/* -EINVAL with a text that names the place: unknown placeholders, an open brace, an empty or too long one, or one that
 * is the same for all objects, so that each result would take the place of the one before. `results`: {name} is
 * allowed. -ENOMEM. The text is copied. */
int key_template_compile(struct bytes text, bool results, struct key_template **ret_template, struct err *err);
void key_template_free(struct key_template *template); /* NULL is fine */
const char *key_template_text(const struct key_template *template);

struct key_object {
    struct bytes bucket, key, etag, version_id;
    int64_t modified_utc_us; /* 0: not known */
};

/* Appends. -E2BIG: longer than KEY_TEMPLATE_MAX; -EINVAL: empty, or a date that is not known; each with a text;
 * -ENOMEM. */
int key_template_expand(const struct key_template *template, const struct key_object *object, struct bytes name,
                        struct bytes extension, struct buf *key, struct err *err);

/* The parts of a key that {base}, {ext} and {stem} are made of: views into it. */
struct bytes key_base(struct bytes key);
struct bytes key_extension(struct bytes key);
