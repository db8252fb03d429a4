/* admin.c - answers to what is asked about a store: its buckets and its parked objects. */
#include "admin.h"

#include "mem.h"
#include "text.h"

#include <unistd.h>

#define PARKED_PAGE 1000

static json_t *failure(const char *text) {
    return json_pack("{s:s}", "error", text);
}

/* JSON text cannot hold every key; one that is UTF-8 is given as it is too. */
static void set_key(json_t *object, const char *name, struct bytes key) {
    _cleanup_buf_ struct buf url = {0}, name_url = {0};
    if (text_is_utf8(key))
        json_object_set_new(object, name, json_stringn_nocheck(key.p ? key.p : "", key.n));
    else if (text_add_percent(&url, key, true) == 0 && buf_printf(&name_url, "%s_url", name) == 0)
        json_object_set_new(object, name_url.p, json_stringn_nocheck(url.p, url.n));
}

/* ---- status ---- */

struct status {
    json_t *buckets; /* name -> object, to bring engine's and pipeline's numbers together */
};

static json_t *status_bucket(struct status *status, const char *name) {
    json_t *bucket = json_object_get(status->buckets, name);
    if (!bucket) {
        bucket = json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:n, s:s, s:s, s:b, s:n, s:{}}", "bucket", name,
                           "backlog", 0, "running", 0, "waiting", 0, "parked", 0, "done", 0, "failed", 0, "cursor",
                           "listing", "none", "deletes", "unknown", "throttled", 0, "limit", "skipped");
        json_t *skipped = json_object_get(bucket, "skipped");
        for (int skip = SKIP_NOT + 1; skip < SKIP_KINDS; skip++)
            json_object_set_new(skipped, pipeline_skip_name((enum pipeline_skip)skip), json_integer(0));
        json_object_set_new(status->buckets, name, bucket);
    }
    return bucket;
}

static void add_group(void *arg, const froe_group *group) {
    json_t *bucket = status_bucket(arg, group->group);
    json_object_set_new(bucket, "backlog", json_integer((json_int_t)group->live));
    json_object_set_new(bucket, "running", json_integer((json_int_t)group->running));
    json_object_set_new(bucket, "waiting", json_integer((json_int_t)group->waiting));
    json_object_set_new(bucket, "parked", json_integer((json_int_t)group->parked));
    json_object_set_new(bucket, "done", json_integer((json_int_t)group->done));
    json_object_set_new(bucket, "failed", json_integer((json_int_t)group->failed));
}

static void add_bucket(void *arg, const struct pipeline_bucket *numbers) {
    json_t *bucket = status_bucket(arg, numbers->name.p);
    if (numbers->cursor.n > 0) {
        json_object_del(bucket, "cursor");
        set_key(bucket, "cursor", numbers->cursor);
    }
    json_object_set_new(bucket, "listing", json_string(pipeline_listing_name(numbers->listing)));
    json_object_set_new(bucket, "deletes", json_string(pipeline_guard_name(numbers->guard)));
    json_object_set_new(bucket, "throttled", json_boolean(numbers->throttled));
    if (numbers->limit != UINT32_MAX)
        json_object_set_new(bucket, "limit", json_integer(numbers->limit));
    json_t *skipped = json_object_get(bucket, "skipped");
    for (int skip = SKIP_NOT + 1; skip < SKIP_KINDS; skip++)
        json_object_set_new(skipped, pipeline_skip_name((enum pipeline_skip)skip),
                            json_integer((json_int_t)numbers->skipped[skip]));
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static json_t *sorted_values(json_t *object) {
    json_t *array = json_array();
    size_t n = json_object_size(object), i = 0;
    const char **names = mem_calloc(n, sizeof *names);
    if (!names)
        return array;
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value) names[i++] = name;
    qsort(names, n, sizeof *names, by_name);
    for (i = 0; i < n; i++)
        json_array_append(array, json_object_get(object, names[i]));
    mem_free(names);
    return array;
}

static json_t *status_answer(struct admin *admin, json_t *buckets) {
    _cleanup_buf_ struct buf printable = {0}; /* a path may be any bytes, JSON text not */
    const char *store = admin->store;
    if (!text_is_utf8(bytes_str(store)))
        store = text_add_printable(&printable, bytes_str(store)) == 0 ? printable.p : "";
    json_t *answer = json_pack("{s:s, s:s, s:b, s:n, s:n, s:o}", "version", froe_version(), "store", store, "running",
                               admin->pipeline != NULL, "pid", "slots", "buckets", sorted_values(buckets));
    if (admin->pipeline) {
        json_object_set_new(answer, "pid", json_integer(getpid()));
        json_object_set_new(answer, "slots", json_integer(admin->slots));
    }
    return answer;
}

/* Without a pipeline the rest is read from its notes, bucket by bucket. */
struct status_request {
    struct admin *admin;
    struct status status;
    void *at; /* of the iteration over the buckets */
    admin_answer_fn *answer;
    void *arg;
};

static void add_notes(void *arg, const struct pipeline_bucket *numbers);

static void next_notes(struct status_request *request) {
    while (request->at) {
        const char *name = json_object_iter_key(request->at);
        if (pipeline_read_notes(request->admin->engine, name, add_notes, request) == 0)
            return;
        request->at = json_object_iter_next(request->status.buckets, request->at);
    }
    request->answer(request->arg, status_answer(request->admin, request->status.buckets));
    json_decref(request->status.buckets);
    mem_free(request);
}

static void add_notes(void *arg, const struct pipeline_bucket *numbers) {
    struct status_request *request = arg;
    /* Only members of the bucket's object are set, so the iteration stays valid. */
    request->at = json_object_iter_next(request->status.buckets, request->at);
    add_bucket(&request->status, numbers);
    next_notes(request);
}

static void status(struct admin *admin, admin_answer_fn *answer, void *arg) {
    struct status status = {json_object()};
    froe_groups_each(admin->engine, PIPELINE_PROCESS_OBJECT, add_group, &status);
    if (admin->pipeline) {
        pipeline_buckets_each(admin->pipeline, add_bucket, &status);
        answer(arg, status_answer(admin, status.buckets));
        json_decref(status.buckets);
        return;
    }
    struct status_request *request = mem_zalloc(sizeof *request);
    if (!request) {
        json_decref(status.buckets);
        answer(arg, failure("out of memory"));
        return;
    }
    *request = (struct status_request){admin, status, json_object_iter(status.buckets), answer, arg};
    next_notes(request);
}

/* ---- parked ---- */

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
    set_key(item, "key", key);
    json_object_set_new(item, "attempts", json_integer(parked->attempts));
    struct bytes error = bytes_str(parked->error), generation = bytes_of(parked->generation, parked->generation_n);
    json_object_set_new(item, "error", json_stringn(error.p, error.n));
    if (!json_object_get(item, "error")) {
        _cleanup_buf_ struct buf printable = {0};
        text_add_printable(&printable, error);
        json_object_set_new(item, "error", json_string(printable.p ? printable.p : ""));
    }
    set_key(item, "generation", generation);
    json_object_set_new(item, "parked_at", json_string(when.p ? when.p : ""));
    json_array_append_new(request->items, item);
}

static void parked_listed(void *arg, uint64_t count, const froe_error *error) {
    struct parked_request *request = arg;
    parked_end(request, error ? failure(error->text)
                              : json_pack("{s:O, s:b}", "parked", request->items, "more", count >= PARKED_PAGE));
}

static void parked_changed(void *arg, uint64_t count, const froe_error *error) {
    parked_end(arg, error ? failure(error->text) : json_pack("{s:I}", "count", (json_int_t)count));
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
    if (!bucket)
        return -EINVAL;
    int r = buf_printf(&request->child_key, "%s/", bucket);
    r = r < 0 ? r : text_add_unpercent(&request->child_key, bytes_str(key_url), false);
    request->filter.child_key = request->child_key.p;
    request->filter.child_key_n = request->child_key.n;
    return r;
}

static void parked(struct admin *admin, const char *op, json_t *json, admin_answer_fn *answer, void *arg) {
    struct parked_request *request = mem_zalloc(sizeof *request);
    if (!request) {
        answer(arg, failure("out of memory"));
        return;
    }
    request->answer = answer;
    request->arg = arg;
    request->items = json_array();
    froe_error error = {0};
    int r = parked_filter(request, json);
    if (r < 0) {
        parked_end(request,
                   failure(r == -ENOMEM ? "out of memory" : "a key needs its bucket, and must be percent-encoded"));
        return;
    }
    if (strcmp(op, "parked_list") == 0)
        r = froe_parked_list(admin->engine, &request->filter, parked_item, parked_listed, request, &error);
    else if (strcmp(op, "parked_retry") == 0)
        r = froe_parked_retry(admin->engine, &request->filter, parked_changed, request, &error);
    else
        r = froe_parked_drop(admin->engine, &request->filter, parked_changed, request, &error);
    if (r != FROE_OK)
        parked_end(request, failure(error.text));
}

void admin_ask(struct admin *admin, json_t *request, admin_answer_fn *answer, void *arg) {
    const char *op = json_string_value(json_object_get(request, "op"));
    if (op && strcmp(op, "status") == 0)
        status(admin, answer, arg);
    else if (op &&
             (strcmp(op, "parked_list") == 0 || strcmp(op, "parked_retry") == 0 || strcmp(op, "parked_drop") == 0))
        parked(admin, op, request, answer, arg);
    else
        answer(arg, failure("unknown request"));
}
