/* s3_tags.c - an object's tags: GetObjectTagging and PutObjectTagging. */
#include "s3_private.h"

#include "text.h"

#include <errno.h>

#define TAG_NAME_MAX (4 * 128) /* bytes of as many characters, AWS "Categorizing your storage using tags" */
#define TAG_VALUE_MAX (4 * 256)

/* A call with its bucket, key and parameters, with room for `more` bytes. */
static int ask(struct s3_client *client, enum s3_op op, struct bytes bucket, struct bytes key, struct bytes version_id,
               size_t more, s3_tags_fn *done, void *arg, struct s3_call **ret_call) {
    if (s3_ask_check_object(bucket, key) < 0 || version_id.n > S3_VERSION_MAX)
        return -EINVAL;
    struct s3_call *call;
    int r = s3_ask(client, op, bucket.n + key.n + version_id.n + more, 2, &call);
    if (r < 0)
        return r;
    call->to.tags = done;
    call->arg = arg;
    call->bucket = s3_ask_keep(call, bucket);
    call->key = s3_ask_keep(call, key);
    s3_ask_param(call, BYTES("tagging"), BYTES_NONE);
    if (version_id.n)
        s3_ask_param(call, BYTES("versionId"), version_id);
    *ret_call = call;
    return 0;
}

int s3_get_tags(struct s3_client *client, struct bytes bucket, struct bytes key, struct bytes version_id,
                s3_tags_fn *done, void *arg, struct s3_call **ret_call) {
    struct s3_call *call;
    int r = ask(client, S3_OP_GET_TAGS, bucket, key, version_id, 0, done, arg, &call);
    if (r < 0)
        return r;
    s3_call_start(call, true, ret_call);
    return 0;
}

static int add_element(struct buf *xml, const char *name, struct bytes text) {
    int r = buf_printf(xml, "<%s>", name);
    if (r == 0)
        r = s3_xml_add_text(xml, text);
    return r < 0 ? r : buf_printf(xml, "</%s>", name);
}

static int write_document(struct buf *xml, const struct s3_tag *tags, size_t n) {
    int r = buf_add_str(xml, "<Tagging xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><TagSet>");
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (tags[i].name.n == 0 || tags[i].name.n > TAG_NAME_MAX || tags[i].value.n > TAG_VALUE_MAX ||
            !text_is_utf8(tags[i].name) || !text_is_utf8(tags[i].value))
            return -EINVAL;
        r = buf_add_str(xml, "<Tag>");
        if (r == 0)
            r = add_element(xml, "Key", tags[i].name);
        if (r == 0)
            r = add_element(xml, "Value", tags[i].value);
        if (r == 0)
            r = buf_add_str(xml, "</Tag>");
    }
    return r < 0 ? r : buf_add_str(xml, "</TagSet></Tagging>");
}

int s3_put_tags(struct s3_client *client, struct bytes bucket, struct bytes key, struct bytes version_id,
                const struct s3_tag *tags, size_t n, s3_tags_fn *done, void *arg, struct s3_call **ret_call) {
    if (n > S3_TAGS_MAX)
        return -EINVAL;
    _cleanup_buf_ struct buf xml = {0};
    struct s3_call *call;
    int r = write_document(&xml, tags, n);
    if (r >= 0)
        r = ask(client, S3_OP_PUT_TAGS, bucket, key, version_id, xml.n, done, arg, &call);
    if (r < 0)
        return r;
    s3_ask_header(call, BYTES("content-type"), BYTES("application/xml"));
    r = s3_body_take(call, s3_ask_keep(call, buf_bytes(&xml)), true);
    if (r < 0)
        s3_call_release(call);
    else
        s3_call_start(call, true, ret_call);
    return r;
}

/* ---- of a query ---- */

static int read_pair(struct bytes pair, struct buf *text, size_t ends[2]) {
    const char *equals = pair.n ? memchr(pair.p, '=', pair.n) : NULL;
    size_t name_n = equals ? (size_t)(equals - pair.p) : pair.n, skip = equals ? name_n + 1 : name_n;
    int r = text_add_unpercent(text, bytes_of(pair.p, name_n), true);
    ends[0] = text->n;
    if (r == 0)
        r = text_add_unpercent(text, bytes_of(pair.p + skip, pair.n - skip), true);
    ends[1] = text->n;
    return r;
}

int s3_put_tags_of_query(struct s3_client *client, struct bytes bucket, struct bytes key, struct bytes version_id,
                         struct bytes query, s3_tags_fn *done, void *arg, struct s3_call **ret_call) {
    _cleanup_buf_ struct buf text = {0};
    size_t ends[S3_TAGS_MAX][2], n = 0, at = 0;
    struct s3_tag tags[S3_TAGS_MAX];
    int r = buf_reserve(&text, query.n); /* so that it stays where it is */
    while (r == 0 && query.n) {
        const char *amp = memchr(query.p, '&', query.n);
        size_t pair_n = amp ? (size_t)(amp - query.p) : query.n, skip = amp ? pair_n + 1 : pair_n;
        r = n == S3_TAGS_MAX ? -EINVAL : read_pair(bytes_of(query.p, pair_n), &text, ends[n]);
        if (r == 0)
            n++;
        query = bytes_of(query.p + skip, query.n - skip);
    }
    for (size_t i = 0; r == 0 && i < n; i++) {
        tags[i] = (struct s3_tag){bytes_of(text.p + at, ends[i][0] - at),
                                  bytes_of(text.p + ends[i][0], ends[i][1] - ends[i][0])};
        at = ends[i][1];
    }
    return r < 0 ? r : s3_put_tags(client, bucket, key, version_id, tags, n, done, arg, ret_call);
}
