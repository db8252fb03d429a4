/* tags.c - see tags.h. */
#include "tags.h"

#include "mem.h"
#include "text.h"
#include "xml.h"

#include <errno.h>

/* Tags while they are read: places in a text that still grows. */
struct reading {
    struct buf text;
    struct place {
        size_t at, n;
        bool given;
    } name[TAGS_MAX], value[TAGS_MAX];
    size_t n;
    bool many;
};

static bool are_characters(struct bytes text, size_t most) {
    size_t n = 0;
    if (!text_is_utf8(text))
        return false;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c >= 128;
        n += (c & 0xc0) != 0x80;
        if (!letter && (c == '\0' || !strchr(" +-=._:/@", c)))
            return false;
    }
    return n <= most;
}

static struct fail check(const struct tags *tags) {
    for (size_t i = 0; i < tags->n; i++) {
        const struct tag *tag = &tags->tag[i];
        if (tag->name.n == 0 || !are_characters(tag->name, TAG_NAME_MAX))
            return FAIL(400, "InvalidTag", "The TagKey you have provided is invalid");
        if (!are_characters(tag->value, TAG_VALUE_MAX))
            return FAIL(400, "InvalidTag", "The TagValue you have provided is invalid");
        if (bytes_starts(tag->name, BYTES("aws:")))
            return FAIL(400, "InvalidTag", "System tags cannot be added/updated by requester");
        for (size_t other = 0; other < i; other++)
            if (bytes_equal(tag->name, tags->tag[other].name))
                return FAIL(400, "InvalidTag", "Cannot provide multiple Tags with the same key");
    }
    return FAIL_NONE;
}

static struct fail finish(const struct reading *reading, struct tags **ret_tags) {
    if (reading->many)
        return FAIL(400, "BadRequest", "Object tags cannot be greater than 10");
    *ret_tags = NULL;
    if (reading->n == 0)
        return FAIL_NONE;
    struct tags *tags = mem_zalloc(sizeof(*tags) + reading->text.n);
    if (!tags)
        return FAIL_MEMORY;
    if (reading->text.n)
        memcpy(tags->text, reading->text.p, reading->text.n);
    tags->n = reading->n;
    for (size_t i = 0; i < tags->n; i++)
        tags->tag[i] = (struct tag){bytes_of(tags->text + reading->name[i].at, reading->name[i].n),
                                    bytes_of(tags->text + reading->value[i].at, reading->value[i].n)};
    struct fail fail = check(tags);
    if (fail.status)
        mem_free(tags);
    else
        *ret_tags = tags;
    return fail;
}

static int decode(struct reading *reading, struct bytes raw, struct place *ret_place) {
    size_t at = reading->text.n;
    int r = text_add_unpercent(&reading->text, raw, true);
    *ret_place = (struct place){at, reading->text.n - at, true};
    return r;
}

struct fail tags_of_query(struct bytes query, struct tags **ret_tags) {
    struct reading reading = {0};
    struct fail fail = FAIL_NONE;
    int r = 0;
    while (r == 0 && query.n) {
        const char *end = memchr(query.p, '&', query.n);
        struct bytes pair = bytes_of(query.p, end ? (size_t)(end - query.p) : query.n);
        size_t skip = pair.n + (end ? 1 : 0);
        query = bytes_of(query.p + skip, query.n - skip);
        const char *equals = pair.n ? memchr(pair.p, '=', pair.n) : NULL;
        size_t name_n = equals ? (size_t)(equals - pair.p) : pair.n;
        reading.many = reading.n == TAGS_MAX;
        if (reading.many)
            break;
        r = decode(&reading, bytes_of(pair.p, name_n), &reading.name[reading.n]);
        if (r == 0)
            r = decode(&reading, equals ? bytes_of(equals + 1, pair.n - name_n - 1) : BYTES_NONE,
                       &reading.value[reading.n]);
        reading.n++;
    }
    if (r == -ENOMEM)
        fail = FAIL_MEMORY;
    else if (r < 0)
        fail = FAIL_ARGUMENT("The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query "
                             "parameters without tag name duplicates.");
    else
        fail = finish(&reading, ret_tags);
    buf_free(&reading.text);
    return fail;
}

static int keep(struct reading *reading, struct bytes text, struct place *place) {
    if (place->given)
        return -EINVAL;
    *place = (struct place){reading->text.n, text.n, true};
    return buf_add_bytes(&reading->text, text);
}

static int read_element(void *arg, const char *path, struct bytes text) {
    struct reading *reading = arg;
    if (!bytes_starts(bytes_str(path), BYTES("Tagging")))
        return -EINVAL;
    if (reading->n == TAGS_MAX) {
        reading->many |= strcmp(path, "Tagging/TagSet/Tag") == 0;
        return 0;
    }
    if (strcmp(path, "Tagging/TagSet/Tag/Key") == 0)
        return keep(reading, text, &reading->name[reading->n]);
    if (strcmp(path, "Tagging/TagSet/Tag/Value") == 0)
        return keep(reading, text, &reading->value[reading->n]);
    if (strcmp(path, "Tagging/TagSet/Tag") == 0) {
        if (!reading->name[reading->n].given || !reading->value[reading->n].given)
            return -EINVAL;
        reading->n++;
    }
    return 0;
}

struct fail tags_of_document(struct bytes document, struct tags **ret_tags) {
    struct reading reading = {0};
    int r = xml_read(document, read_element, &reading);
    struct fail fail = r == -ENOMEM ? FAIL_MEMORY : r < 0 ? FAIL_XML : finish(&reading, ret_tags);
    buf_free(&reading.text);
    return fail;
}

int tags_copy(const struct tags *tags, struct tags **ret_tags) {
    *ret_tags = NULL;
    if (!tags)
        return 0;
    size_t n = 0;
    for (size_t i = 0; i < tags->n; i++)
        n += tags->tag[i].name.n + tags->tag[i].value.n;
    struct tags *copy = mem_alloc(sizeof(*tags) + n);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, tags, sizeof(*tags) + n);
    for (size_t i = 0; i < copy->n; i++) {
        copy->tag[i].name.p = copy->text + (tags->tag[i].name.p - tags->text);
        copy->tag[i].value.p = copy->text + (tags->tag[i].value.p - tags->text);
    }
    *ret_tags = copy;
    return 0;
}

int tags_add_xml(const struct tags *tags, struct buf *xml) {
    int r = buf_add_str(xml, "<TagSet>");
    for (size_t i = 0; r == 0 && tags && i < tags->n; i++) {
        r = buf_add_str(xml, "<Tag>");
        if (r == 0)
            r = xml_add_element(xml, "Key", tags->tag[i].name);
        if (r == 0)
            r = xml_add_element(xml, "Value", tags->tag[i].value);
        if (r == 0)
            r = buf_add_str(xml, "</Tag>");
    }
    return r < 0 ? r : buf_add_str(xml, "</TagSet>");
}
