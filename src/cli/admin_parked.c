/* admin_parked.c - parked objects: listing them, queueing them again, forgetting them. */
#include "admin_private.h"

#include "mem.h"
#include "text.h"

#define PARKED_PAGE 1000

struct parked_request {
    admin_answer_fn *answer;
    void *arg;
    json_t *items;
    struct buf child_key;
    char *bucket, *after;
    froe_parked_filter filter;
};

static void parked_end(struct parked_request *request, json_t *answer) {
    request->answer(request->arg, answer);
    json_decref(request->items);
    buf_free(&request->child_key);
    mem_free(request->bucket);
    mem_free(request->after);
    mem_free(request);
}

static void parked_item(void *arg, const froe_parked *parked) {
    struct parked_request *request = arg;
    const char *child_key = parked->child_key;
    size_t skip = strlen(parked->group) + 1;
    struct bytes key =
        parked->child_key_n >= skip ? bytes_of(child_key + skip, parked->child_key_n - skip) : BYTES_NONE;
    _cleanup_buf_ struct buf when = {0};
    text_add_iso8601(&when, parked->parked_utc_us, false);
    json_t *item = json_object();
    json_object_set_new(item, "run_id", json_string(parked->run_id));
    json_object_set_new(item, "bucket", json_string(parked->group));
    json_set_key(item, "key", key);
    json_object_set_new(item, "attempts", json_integer(parked->attempts));
    struct bytes generation = bytes_of(parked->generation, parked->generation_n);
    json_set_text(item, "error", parked->error);
    json_set_key(item, "generation", generation);
    json_object_set_new(item, "parked_at", json_string(when.p ? when.p : ""));
    json_array_append_new(request->items, item);
}

static void parked_listed(void *arg, uint64_t count, const froe_error *error) {
    struct parked_request *request = arg;
    parked_end(request, error ? admin_failed(error)
                              : json_pack("{s:O, s:b}", "parked", request->items, "more", count >= PARKED_PAGE));
}

static void parked_changed(void *arg, uint64_t count, const froe_error *error) {
    parked_end(arg, error ? admin_failed(error) : json_pack("{s:I}", "count", (json_int_t)count));
}

static int parked_filter(struct parked_request *request, json_t *json) {
    const char *bucket = json_string_value(json_object_get(json, "bucket"));
    const char *key_url = json_string_value(json_object_get(json, "key_url"));
    const char *after = json_string_value(json_object_get(json, "after"));
    request->filter =
        (froe_parked_filter){.size = sizeof request->filter, .workflow = PIPELINE_PROCESS_OBJECT, .limit = PARKED_PAGE};
    if (bucket && !(request->filter.group = request->bucket = mem_strdup(bucket)))
        return -ENOMEM;
    if (after && !(request->filter.after = request->after = mem_strdup(after)))
        return -ENOMEM;
    if (!key_url)
        return 0;
    int r = admin_child_key(&request->child_key, bucket, key_url);
    request->filter.child_key = request->child_key.p;
    request->filter.child_key_n = request->child_key.n;
    return r;
}

bool admin_ask_parked(const struct question *question, const char *op) {
    bool list = strcmp(op, "parked_list") == 0, retry = strcmp(op, "parked_retry") == 0;
    if (!list && !retry && strcmp(op, "parked_drop") != 0)
        return false;
    froe *engine = question->admin->engine;
    struct parked_request *request = mem_zalloc(sizeof *request);
    if (!request) {
        question->answer(question->arg, admin_failure("out of memory"));
        return true;
    }
    request->answer = question->answer;
    request->arg = question->arg;
    request->items = json_array();
    froe_error error = {0};
    int r = parked_filter(request, question->request);
    if (r < 0) {
        parked_end(request, admin_failure(r == -ENOMEM ? "out of memory"
                                                       : "a key needs its bucket, and must be percent-encoded"));
        return true;
    }
    if (list)
        r = froe_parked_list(engine, &request->filter, parked_item, parked_listed, request, &error);
    else if (retry)
        r = froe_parked_retry(engine, &request->filter, parked_changed, request, &error);
    else
        r = froe_parked_drop(engine, &request->filter, parked_changed, request, &error);
    if (r != FROE_OK)
        parked_end(request, admin_failed(&error));
    return true;
}
