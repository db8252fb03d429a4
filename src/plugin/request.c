/* request.c - a pool's request as the object of a plugin's call. */
#include "host.h"

#include "mem.h"
#include "text.h"

#include <jansson.h>

static int refuse(struct err *err) {
    return err_set(err, -EPROTO, "what came is no request of a pool of this froe");
}

/* The exact key, whatever its bytes are. */
static int decode(const char *url, char **ret_key, size_t *ret_n) {
    struct buf key = {0};
    int r = text_add_unpercent(&key, bytes_str(url), false);
    if (r < 0) {
        buf_free(&key);
        return r == -ENOMEM ? r : -EPROTO;
    }
    *ret_n = key.n;
    *ret_key = buf_detach(&key);
    return 0;
}

static int take_metadata(struct plugin_request *request, json_t *metadata) {
    size_t n = json_object_size(metadata), at = 0;
    const char *name;
    json_t *value;
    request->metadata = mem_calloc(n, sizeof *request->metadata);
    if (!request->metadata)
        return -ENOMEM;
    json_object_foreach(metadata, name, value) {
        if (!json_is_string(value))
            return -EPROTO;
        request->metadata[at++] = (froe_plugin_meta){name, json_string_value(value)};
    }
    request->object.metadata = request->metadata;
    request->object.n_metadata = (uint32_t)n;
    return 0;
}

static int take(struct plugin_request *request, json_t *json) {
    froe_plugin_object *object = &request->object;
    json_int_t id, body_n, attempt;
    const char *key_url;
    json_t *metadata;
    object->size = sizeof *object;
    if (json_unpack(json, "{s:I,s:I,s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:o}", "id", &id, "body_bytes", &body_n, "bucket",
                    &object->bucket, "key_url", &key_url, "etag", &object->etag, "version_id", &object->version_id,
                    "content_type", &object->content_type, "run_id", &object->run_id, "attempt", &attempt, "metadata",
                    &metadata) < 0 ||
        body_n < 0 || attempt < 0 || attempt > UINT32_MAX || json_object_get(json, "path"))
        return -EPROTO;
    request->id = (uint64_t)id;
    object->body_n = (uint64_t)body_n;
    object->attempt = (uint32_t)attempt;
    object->key_url = key_url;
    int r = decode(key_url, &request->key, &object->key_n);
    object->key = request->key;
    return r < 0 ? r : take_metadata(request, metadata);
}

int plugin_request_parse(struct bytes line, struct plugin_request *ret_request, struct err *err) {
    struct plugin_request request = {.json = json_loadb(line.p ? line.p : "", line.n, JSON_ALLOW_NUL, NULL)};
    if (!request.json)
        return refuse(err);
    int r = take(&request, request.json);
    if (r < 0) {
        plugin_request_free(&request);
        return r == -ENOMEM ? err_set(err, r, "out of memory") : refuse(err);
    }
    *ret_request = request;
    return 0;
}

void plugin_request_free(struct plugin_request *request) {
    json_decref(request->json);
    mem_free(request->key);
    mem_free(request->metadata);
    *request = (struct plugin_request){0};
}
