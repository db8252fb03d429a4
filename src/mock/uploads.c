/* uploads.c - see uploads.h. */
#include "uploads.h"

#include "mem.h"

#include <errno.h>

int upload_new(struct objects *objects, struct bucket *bucket, struct bytes key, struct meta *meta, int64_t now_utc_us,
               struct upload **ret_upload) {
    if (bucket->n_uploads >= UPLOADS_MAX)
        return -ENOSPC;
    struct upload *upload = mem_zalloc(sizeof(*upload) + key.n);
    if (!upload)
        return -ENOMEM;
    memcpy(upload->key_text, key.p, key.n);
    upload->key = bytes_of(upload->key_text, key.n);
    upload->id = ++objects->last_id;
    upload->meta = meta;
    upload->started_utc_us = now_utc_us;
    list_push_back(&bucket->uploads, &upload->link);
    bucket->n_uploads++;
    objects->uploads++;
    *ret_upload = upload;
    return 0;
}

size_t upload_id_text(const struct objects *objects, const struct upload *upload, char ret_text[VERSION_ID_MAX]) {
    struct version version = {.id = upload->id};
    return version_id_text(objects, &version, ret_text);
}

struct upload *upload_find(const struct objects *objects, const struct bucket *bucket, struct bytes key,
                           struct bytes id) {
    uint64_t wanted;
    if (!version_id_parse(objects, id, &wanted))
        return NULL;
    LIST_EACH (link, &bucket->uploads) {
        struct upload *upload = LIST_ENTRY(link, struct upload, link);
        if (upload->id == wanted)
            return bytes_equal(upload->key, key) ? upload : NULL;
    }
    return NULL;
}

/* Where the part of that number is, or would be. */
static size_t part_place(const struct upload *upload, uint32_t number) {
    size_t from = 0, to = upload->n;
    while (from < to) {
        size_t middle = (from + to) / 2;
        if (upload->parts[middle].number < number)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

const struct part *upload_part(const struct upload *upload, uint32_t number) {
    size_t at = part_place(upload, number);
    return at < upload->n && upload->parts[at].number == number ? &upload->parts[at] : NULL;
}

int upload_put_part(struct objects *objects, struct upload *upload, const struct part *part) {
    size_t at = part_place(upload, part->number);
    if (at < upload->n && upload->parts[at].number == part->number) {
        blob_unref(objects, upload->parts[at].blob);
        upload->parts[at] = *part;
        return 0;
    }
    if (upload->n == upload->cap) {
        size_t cap = upload->cap ? 2 * upload->cap : 16;
        struct part *parts = mem_reallocarray(upload->parts, cap, sizeof(*parts));
        if (!parts)
            return -ENOMEM;
        upload->parts = parts;
        upload->cap = cap;
    }
    memmove(upload->parts + at + 1, upload->parts + at, (upload->n - at) * sizeof(*upload->parts));
    upload->parts[at] = *part;
    upload->n++;
    return 0;
}

void upload_free(struct objects *objects, struct bucket *bucket, struct upload *upload) {
    list_remove(&upload->link);
    bucket->n_uploads--;
    objects->uploads--;
    for (size_t i = 0; i < upload->n; i++)
        blob_unref(objects, upload->parts[i].blob);
    mem_free(upload->parts);
    meta_free(upload->meta);
    mem_free(upload);
}
