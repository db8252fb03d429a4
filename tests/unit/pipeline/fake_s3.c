/* fake_s3.c - see fake_s3.h. */
#include "fake_s3.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

void fake_s3_init(struct s3_client *client) {
    *client = (struct s3_client){0};
    list_init(&client->calls);
    list_init(&client->objects);
}

void fake_s3_free(struct s3_client *client) {
    LIST_EACH_SAFE (link, following, &client->calls)
        free(LIST_ENTRY(link, struct s3_call, link));
    LIST_EACH_SAFE (link, following, &client->objects)
        free(LIST_ENTRY(link, struct fake_object, link));
}

static void copy(char *to, size_t size, struct bytes from) {
    assert_true(from.n < size);
    if (from.n)
        memcpy(to, from.p, from.n);
    to[from.n] = '\0';
}

static int call(struct s3_client *client, enum fake_op op, struct bytes bucket, struct bytes key, void *arg,
                struct s3_call **ret_call) {
    if (client->refuse > 0) {
        client->refuse--;
        return -ENOMEM;
    }
    struct s3_call *made = calloc(1, sizeof *made);
    assert_non_null(made);
    made->client = client;
    made->op = op;
    made->arg = arg;
    copy(made->bucket, sizeof made->bucket, bucket);
    copy(made->key, sizeof made->key, key);
    list_push_back(&client->calls, &made->link);
    client->sent[op]++;
    *ret_call = made;
    return 0;
}

/* ---- s3.h ---- */

int s3_list_buckets(struct s3_client *client, struct bytes prefix, struct bytes token, s3_buckets_fn *done, void *arg,
                    struct s3_call **ret_call) {
    struct s3_call *made;
    int r = call(client, FAKE_LIST_BUCKETS, BYTES_NONE, BYTES_NONE, arg, &made);
    if (r < 0)
        return r;
    copy(made->prefix, sizeof made->prefix, prefix);
    copy(made->after, sizeof made->after, token);
    made->done.buckets = done;
    if (ret_call)
        *ret_call = made;
    return 0;
}

int s3_list_objects(struct s3_client *client, struct bytes bucket, struct bytes prefix, struct bytes start_after,
                    uint32_t max_keys, s3_objects_fn *done, void *arg, struct s3_call **ret_call) {
    struct s3_call *made;
    assert_in_range(max_keys, 1, S3_LIST_MAX);
    int r = call(client, FAKE_LIST_OBJECTS, bucket, BYTES_NONE, arg, &made);
    if (r < 0)
        return r;
    copy(made->prefix, sizeof made->prefix, prefix);
    copy(made->after, sizeof made->after, start_after);
    made->max_keys = max_keys;
    made->done.objects = done;
    if (ret_call)
        *ret_call = made;
    return 0;
}

int s3_head(struct s3_client *client, struct bytes bucket, struct bytes key, struct bytes version_id, s3_info_fn *done,
            void *arg, struct s3_call **ret_call) {
    struct s3_call *made;
    int r = call(client, FAKE_HEAD, bucket, key, arg, &made);
    if (r < 0)
        return r;
    copy(made->version_id, sizeof made->version_id, version_id);
    made->done.info = done;
    if (ret_call)
        *ret_call = made;
    return 0;
}

int s3_get(struct s3_client *client, struct bytes bucket, struct bytes key, const struct s3_get_handler *handler,
           void *arg, struct s3_call **ret_call) {
    struct s3_call *made;
    int r = call(client, FAKE_GET, bucket, key, arg, &made);
    if (r < 0)
        return r;
    made->done.get = *handler;
    if (ret_call)
        *ret_call = made;
    return 0;
}

void s3_get_resume(struct s3_call *call) {
    assert_int_equal(call->op, FAKE_GET);
    call->paused = false;
}

int s3_delete(struct s3_client *client, struct bytes bucket, struct bytes key, struct bytes version_id,
              struct bytes if_match, s3_delete_fn *done, void *arg, struct s3_call **ret_call) {
    struct s3_call *made;
    /* A delete that names nothing would delete whatever is there; AWS refuses both together. */
    assert_true((version_id.n > 0) != (if_match.n > 0) || client->refuses_if_match);
    int r = call(client, FAKE_DELETE, bucket, key, arg, &made);
    if (r < 0)
        return r;
    copy(made->version_id, sizeof made->version_id, version_id);
    copy(made->if_match, sizeof made->if_match, if_match);
    made->done.deleted = done;
    if (ret_call)
        *ret_call = made;
    return 0;
}

int s3_probe_conditional_delete(struct s3_client *client, struct bytes bucket, s3_delete_fn *done, void *arg,
                                struct s3_call **ret_call) {
    struct s3_call *made;
    int r = call(client, FAKE_PROBE, bucket, BYTES_NONE, arg, &made);
    if (r < 0)
        return r;
    made->done.deleted = done;
    if (ret_call)
        *ret_call = made;
    return 0;
}

static void add_pair(char *to, size_t size, struct bytes name, struct bytes value) {
    size_t n = strlen(to);
    assert_true((size_t)snprintf(to + n, size - n, "%.*s=%.*s;", (int)name.n, name.p, (int)value.n, value.p) <
                size - n);
}

int s3_put_stream(struct s3_client *client, struct bytes bucket, struct bytes key, uint64_t size, s3_read_fn *read,
                  const struct s3_put_options *options, uint64_t part_bytes, s3_put_fn *done, void *arg,
                  struct s3_call **ret_call) {
    assert_true(part_bytes > 0);
    int r = call(client, FAKE_PUT, bucket, key, arg, ret_call);
    if (r < 0)
        return r;
    struct s3_call *made = *ret_call;
    made->read = read;
    made->size = size;
    made->done.put = done;
    copy(made->content_type, sizeof made->content_type, options->content_type);
    copy(made->tagging, sizeof made->tagging, options->tagging);
    for (size_t i = 0; i < options->n_metadata; i++)
        add_pair(made->metadata, sizeof made->metadata, options->metadata[i].name, options->metadata[i].value);
    return 0;
}

int s3_copy(struct s3_client *client, const struct s3_copy_source *source, struct bytes bucket, struct bytes key,
            const struct s3_put_options *options, s3_put_fn *done, void *arg, struct s3_call **ret_call) {
    assert_null(options);
    assert_true(source->etag.n > 0);
    int r = call(client, FAKE_COPY, bucket, key, arg, ret_call);
    if (r < 0)
        return r;
    struct s3_call *made = *ret_call;
    copy(made->from_bucket, sizeof made->from_bucket, source->bucket);
    copy(made->from_key, sizeof made->from_key, source->key);
    copy(made->from_etag, sizeof made->from_etag, source->etag);
    copy(made->version_id, sizeof made->version_id, source->version_id);
    made->size = source->size;
    made->done.put = done;
    return 0;
}

int s3_get_tags(struct s3_client *client, struct bytes bucket, struct bytes key, struct bytes version_id,
                s3_tags_fn *done, void *arg, struct s3_call **ret_call) {
    int r = call(client, FAKE_GET_TAGS, bucket, key, arg, ret_call);
    if (r < 0)
        return r;
    copy((*ret_call)->version_id, sizeof(*ret_call)->version_id, version_id);
    (*ret_call)->done.tags = done;
    return 0;
}

int s3_put_tags(struct s3_client *client, struct bytes bucket, struct bytes key, struct bytes version_id,
                const struct s3_tag *tags, size_t n, s3_tags_fn *done, void *arg, struct s3_call **ret_call) {
    int r = call(client, FAKE_PUT_TAGS, bucket, key, arg, ret_call);
    if (r < 0)
        return r;
    copy((*ret_call)->version_id, sizeof(*ret_call)->version_id, version_id);
    for (size_t i = 0; i < n; i++)
        add_pair((*ret_call)->tags, sizeof(*ret_call)->tags, tags[i].name, tags[i].value);
    (*ret_call)->done.tags = done;
    return 0;
}

void s3_cancel(struct s3_call *call) {
    call->cancelled = true;
}

/* ---- answers ---- */

struct s3_call *fake_call(struct s3_client *client, enum fake_op op) {
    LIST_EACH (link, &client->calls)
        if (LIST_ENTRY(link, struct s3_call, link)->op == op)
            return LIST_ENTRY(link, struct s3_call, link);
    return NULL;
}

struct s3_result fake_result(enum s3_status status) {
    struct s3_result result = {.status = status, .code = "", .text = status == S3_OK ? "" : "it failed", .attempts = 1};
    return result;
}

static void end(struct s3_call *call, const struct s3_result *result) {
    list_remove(&call->link);
    switch (call->op) {
    case FAKE_LIST_BUCKETS:
        call->done.buckets(call->arg, result, NULL);
        break;
    case FAKE_LIST_OBJECTS:
        call->done.objects(call->arg, result, NULL);
        break;
    case FAKE_HEAD:
        call->done.info(call->arg, result, NULL);
        break;
    case FAKE_GET:
        assert_true(!call->paused || result->status == S3_CANCELLED);
        call->done.get.done(call->arg, result);
        break;
    case FAKE_DELETE:
    case FAKE_PROBE:
        call->done.deleted(call->arg, result);
        break;
    case FAKE_PUT:
    case FAKE_COPY:
        call->done.put(call->arg, result, BYTES_NONE, BYTES_NONE);
        break;
    case FAKE_GET_TAGS:
    case FAKE_PUT_TAGS:
        call->done.tags(call->arg, result, NULL, 0);
        break;
    case FAKE_OPS:
        fail();
    }
    free(call);
}

void fake_end(struct s3_call *call, enum s3_status status) {
    fake_end_throttled(call, status, status == S3_THROTTLED);
}

void fake_end_throttled(struct s3_call *call, enum s3_status status, uint32_t throttled) {
    assert_non_null(call);
    struct s3_result result = fake_result(status);
    result.throttled = throttled;
    end(call, &result);
}

bool fake_s3_step(struct s3_client *client) {
    LIST_EACH (link, &client->calls) {
        struct s3_call *call = LIST_ENTRY(link, struct s3_call, link);
        if (call->cancelled) {
            fake_end(call, S3_CANCELLED);
            return true;
        }
    }
    return false;
}

void fake_get_info_of(struct s3_call *call, const struct s3_object_info *info) {
    assert_non_null(call);
    assert_int_equal(call->op, FAKE_GET);
    assert_false(call->begun);
    call->begun = true;
    call->done.get.info(call->arg, info);
}

void fake_get_info(struct s3_call *call, const char *etag, const char *version_id, uint64_t size) {
    const struct s3_object_info info = {
        .size = size, .etag = bytes_str(etag), .version_id = bytes_str(version_id), .content_type = BYTES("a/b")};
    fake_get_info_of(call, &info);
}

bool fake_get_data(struct s3_call *call, const char *piece) {
    assert_true(call->begun && !call->paused);
    call->paused = true; /* undone when resumed inside */
    bool more = call->done.get.data(call->arg, bytes_str(piece));
    if (more)
        call->paused = false;
    return more;
}

void fake_head(struct s3_call *call, const char *etag) {
    assert_non_null(call);
    const struct s3_object_info info = {.etag = bytes_str(etag)};
    const struct s3_result result = fake_result(S3_OK);
    list_remove(&call->link);
    call->done.info(call->arg, &result, &info);
    free(call);
}

void fake_buckets(struct s3_call *call, const char *const *names, const char *next_token) {
    struct s3_bucket buckets[16];
    size_t n = 0;
    assert_non_null(call);
    while (names[n]) {
        buckets[n] = (struct s3_bucket){.name = bytes_str(names[n])};
        n++;
    }
    const struct s3_bucket_page page = {buckets, n, bytes_str(next_token)};
    const struct s3_result result = fake_result(S3_OK);
    list_remove(&call->link);
    call->done.buckets(call->arg, &result, &page);
    free(call);
}

void fake_objects(struct s3_call *call, const char *const *keys, bool truncated) {
    struct s3_object objects[64];
    size_t n = 0;
    assert_non_null(call);
    while (keys[n]) {
        assert_true(n < 64);
        objects[n] = (struct s3_object){.key = bytes_str(keys[n]), .etag = BYTES("\"listed\""), .size = 1};
        n++;
    }
    assert_true(n <= call->max_keys);
    const struct s3_object_page page = {objects, n, truncated, n ? objects[n - 1].key : BYTES_NONE};
    const struct s3_result result = fake_result(S3_OK);
    list_remove(&call->link);
    call->done.objects(call->arg, &result, &page);
    free(call);
}

/* ---- the little server ---- */

static struct fake_object *add(struct s3_client *client, const char *bucket, const char *key) {
    struct fake_object *object = calloc(1, sizeof *object);
    assert_non_null(object);
    copy(object->bucket, sizeof object->bucket, bytes_str(bucket));
    copy(object->key, sizeof object->key, bytes_str(key));
    struct list *at = &client->objects;
    LIST_EACH (link, &client->objects) {
        const struct fake_object *other = LIST_ENTRY(link, struct fake_object, link);
        int order = strcmp(other->bucket, bucket);
        if (order > 0 || (order == 0 && strcmp(other->key, key) > 0)) {
            at = link;
            break;
        }
    }
    list_insert_before(at, &object->link);
    for (size_t i = 0; i < client->n_buckets; i++)
        if (strcmp(client->buckets[i], bucket) == 0)
            return object;
    assert_true(client->n_buckets < 8);
    copy(client->buckets[client->n_buckets++], 64, bytes_str(bucket));
    return object;
}

struct fake_object *fake_find(struct s3_client *client, const char *bucket, const char *key) {
    LIST_EACH (link, &client->objects) {
        struct fake_object *object = LIST_ENTRY(link, struct fake_object, link);
        if (strcmp(object->bucket, bucket) == 0 && strcmp(object->key, key) == 0)
            return object;
    }
    return NULL;
}

struct fake_object *fake_put(struct s3_client *client, const char *bucket, const char *key, const char *body) {
    struct fake_object *object = fake_find(client, bucket, key);
    if (!object)
        object = add(client, bucket, key);
    snprintf(object->etag, sizeof object->etag, "\"e%llu\"", (unsigned long long)++client->etags);
    if (client->versioned)
        snprintf(object->version_id, sizeof object->version_id, "v%llu", (unsigned long long)client->etags);
    copy(object->body, sizeof object->body, bytes_str(body));
    return object;
}

size_t fake_objects_left(struct s3_client *client) {
    size_t n = 0;
    LIST_EACH (link, &client->objects)
        n++;
    return n;
}

static void serve_buckets(struct s3_client *client, struct s3_call *call) {
    const char *names[9] = {0};
    size_t from = (size_t)strtoul(call->after, NULL, 10), n = 0;
    size_t page = client->page ? client->page : 8;
    for (size_t i = from; i < client->n_buckets && n < page; i++)
        names[n++] = client->buckets[i];
    char next[24] = "";
    if (from + n < client->n_buckets)
        snprintf(next, sizeof next, "%zu", from + n);
    fake_buckets(call, names, next);
}

static void serve_objects(struct s3_client *client, struct s3_call *call) {
    const char *keys[64] = {0};
    size_t n = 0, most = call->max_keys < 63 ? call->max_keys : 63;
    bool truncated = false;
    LIST_EACH (link, &client->objects) {
        const struct fake_object *object = LIST_ENTRY(link, struct fake_object, link);
        if (strcmp(object->bucket, call->bucket) != 0 || strcmp(object->key, call->after) <= 0)
            continue;
        truncated = n == most;
        if (truncated)
            break;
        keys[n++] = object->key;
    }
    fake_objects(call, keys, truncated);
}

static void serve_get(struct s3_client *client, struct s3_call *call) {
    const struct fake_object *object = fake_find(client, call->bucket, call->key);
    if (!object) {
        fake_end(call, S3_NO_KEY);
        return;
    }
    if (!call->begun) {
        fake_get_info(call, object->etag, object->version_id, strlen(object->body));
        if (!call->cancelled && object->body[0])
            fake_get_data(call, object->body);
    }
    if (!call->paused)
        fake_end(call, call->cancelled ? S3_CANCELLED : S3_OK);
}

static void serve_delete(struct s3_client *client, struct s3_call *call) {
    struct fake_object *object = fake_find(client, call->bucket, call->key);
    bool other_version = object && call->version_id[0] && strcmp(call->version_id, object->version_id) != 0;
    if (!object || other_version) {
        fake_end(call, object || call->version_id[0] ? S3_OK : S3_NO_KEY);
        return;
    }
    if (call->if_match[0] && !client->ignores_if_match && strcmp(call->if_match, object->etag) != 0) {
        fake_end(call, S3_PRECONDITION);
        return;
    }
    if (client->deleting)
        client->deleting(client->arg, object);
    list_remove(&object->link);
    free(object);
    fake_end(call, S3_OK);
}

static void serve_put(struct s3_client *client, struct s3_call *call) {
    char body[64] = {0};
    assert_true(call->size < sizeof body);
    assert_int_equal(call->read(call->arg, 0, body, call->size), call->size);
    struct fake_object *object = fake_put(client, call->bucket, call->key, body);
    copy(object->content_type, sizeof object->content_type, bytes_str(call->content_type));
    fake_end(call, S3_OK);
}

static void serve_copy(struct s3_client *client, struct s3_call *call) {
    const struct fake_object *from = fake_find(client, call->from_bucket, call->from_key);
    if (from && strcmp(from->etag, call->from_etag) == 0)
        fake_put(client, call->bucket, call->key, from->body);
    fake_end(call, !from ? S3_NO_KEY : strcmp(from->etag, call->from_etag) == 0 ? S3_OK : S3_PRECONDITION);
}

static void serve_get_tags(struct s3_client *client, struct s3_call *call) {
    const struct fake_object *object = fake_find(client, call->bucket, call->key);
    struct s3_tag tags[S3_TAGS_MAX + 10];
    size_t n = 0;
    for (const char *at = object ? object->tags : ""; *at; n++) {
        const char *equals = strchr(at, '='), *end = strchr(at, ';');
        tags[n] =
            (struct s3_tag){bytes_of(at, (size_t)(equals - at)), bytes_of(equals + 1, (size_t)(end - equals - 1))};
        at = end + 1;
    }
    const struct s3_result result = fake_result(object ? S3_OK : S3_NO_KEY);
    list_remove(&call->link);
    call->done.tags(call->arg, &result, tags, n);
    free(call);
}

static void serve_put_tags(struct s3_client *client, struct s3_call *call) {
    struct fake_object *object = fake_find(client, call->bucket, call->key);
    if (object)
        copy(object->tags, sizeof object->tags, bytes_str(call->tags));
    fake_end(call, object ? S3_OK : S3_NO_KEY);
}

bool fake_serve(struct s3_client *client) {
    struct s3_call *call = NULL;
    LIST_EACH (link, &client->calls) {
        call = LIST_ENTRY(link, struct s3_call, link);
        if (call->op != FAKE_GET || !call->paused)
            break;
        call = NULL;
    }
    if (!call)
        return false;
    if (client->fail_n[call->op] > 0) {
        client->fail_n[call->op]--;
        fake_end(call, client->fail[call->op]);
        return true;
    }
    const struct fake_object *object;
    switch (call->op) {
    case FAKE_LIST_BUCKETS:
        serve_buckets(client, call);
        break;
    case FAKE_LIST_OBJECTS:
        serve_objects(client, call);
        break;
    case FAKE_GET:
        serve_get(client, call);
        break;
    case FAKE_HEAD:
        object = fake_find(client, call->bucket, call->key);
        if (object)
            fake_head(call, object->etag);
        else
            fake_end(call, S3_NO_KEY);
        break;
    case FAKE_DELETE:
        serve_delete(client, call);
        break;
    case FAKE_PROBE:
        fake_end(call, client->ignores_if_match ? S3_OK : S3_NO_KEY);
        break;
    case FAKE_PUT:
        serve_put(client, call);
        break;
    case FAKE_COPY:
        serve_copy(client, call);
        break;
    case FAKE_GET_TAGS:
        serve_get_tags(client, call);
        break;
    case FAKE_PUT_TAGS:
        serve_put_tags(client, call);
        break;
    case FAKE_OPS:
        fail();
    }
    return true;
}
