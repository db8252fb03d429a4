/* admin_status.c - the state of each bucket: the engine's numbers, the pipeline's or what the last one noted, and how
 * the store's groups stand. */
#include "admin_private.h"

#include "mem.h"
#include "text.h"

#include <unistd.h>

struct status {
    json_t *buckets; /* name -> object, to bring engine's and pipeline's numbers together */
};

static json_t *status_bucket(struct status *status, const char *name) {
    json_t *bucket = json_object_get(status->buckets, name);
    if (!bucket) {
        bucket =
            json_pack("{s:s, s:i, s:i, s:n, s:i, s:i, s:i, s:i, s:i, s:n, s:n, s:s, s:s, s:b, s:n, s:{}, s:i, s:i}",
                      "bucket", name, "backlog", 0, "admitted", 0, "max_runs", "running", 0, "waiting", 0, "parked", 0,
                      "done", 0, "failed", 0, "last_granted_at", "cursor", "listing", "none", "deletes", "unknown",
                      "throttled", 0, "limit", "skipped", "results", 0, "result_bytes", 0);
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
        json_set_key(bucket, "cursor", numbers->cursor);
    }
    json_object_set_new(bucket, "listing", json_string(pipeline_listing_name(numbers->listing)));
    json_object_set_new(bucket, "deletes", json_string(pipeline_guard_name(numbers->guard)));
    json_object_set_new(bucket, "throttled", json_boolean(numbers->throttled));
    if (numbers->limit != UINT32_MAX)
        json_object_set_new(bucket, "limit", json_integer(numbers->limit));
    json_object_set_new(bucket, "results", json_integer((json_int_t)numbers->results));
    json_object_set_new(bucket, "result_bytes", json_integer((json_int_t)numbers->result_bytes));
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

/* ---- the question's way: groups of objects and of listings in the store, workers, then the pipeline or, bucket by
 * bucket, its notes ---- */

struct status_request {
    struct question question;
    struct status status;
    json_t *groups; /* name -> what the store said of it */
    uint64_t workers, slots;
    void *at; /* of the iteration over the buckets */
};

static void status_end(struct status_request *request, json_t *answer) {
    request->question.answer(request->question.arg, answer);
    json_decref(request->status.buckets);
    json_decref(request->groups);
    mem_free(request);
}

static void status_answer(struct status_request *request) {
    const struct admin *admin = request->question.admin;
    bool here = admin->pipeline != NULL;
    json_t *answer =
        json_pack("{s:s, s:n, s:b, s:n, s:n, s:o}", "version", froe_version(), "store", "running",
                  here || request->workers > 0, "pid", "slots", "buckets", sorted_values(request->status.buckets));
    json_set_text(answer, "store", admin->store); /* a path may be any bytes, JSON text not */
    if (here)
        json_object_set_new(answer, "pid", json_integer(getpid()));
    if (here || request->workers > 0)
        json_set_count(answer, "slots", here ? admin->slots : request->slots);
    json_set_count(answer, "workers", here && !admin->shared ? 1 : request->workers);
    status_end(request, answer);
}

/* What the store knows better than the engine here: the rest of the fleet. */
static void overlay(struct status_request *request) {
    const char *name;
    json_t *group;
    json_object_foreach(request->groups, name, group) {
        json_t *bucket = status_bucket(&request->status, name);
        json_object_set(bucket, "admitted", json_object_get(group, "admitted"));
        json_object_set(bucket, "max_runs", json_object_get(group, "max_runs"));
        json_object_set(bucket, "last_granted_at", json_object_get(group, "last_granted_at"));
        if (request->question.admin->shared)
            json_object_set(bucket, "running", json_object_get(group, "leased"));
    }
}

static void add_notes(void *arg, const struct pipeline_bucket *numbers);

static void next_notes(struct status_request *request) {
    while (request->at) {
        const char *name = json_object_iter_key(request->at);
        if (pipeline_read_notes(request->question.admin->engine, name, add_notes, request) == 0)
            return;
        request->at = json_object_iter_next(request->status.buckets, request->at);
    }
    status_answer(request);
}

static void add_notes(void *arg, const struct pipeline_bucket *numbers) {
    struct status_request *request = arg;
    /* Only members of the bucket's object are set, so the iteration stays valid. */
    request->at = json_object_iter_next(request->status.buckets, request->at);
    add_bucket(&request->status, numbers);
    next_notes(request);
}

static void all_known(struct status_request *request) {
    struct admin *admin = request->question.admin;
    froe_groups_each(admin->engine, PIPELINE_PROCESS_OBJECT, add_group, &request->status);
    overlay(request);
    if (admin->pipeline) {
        pipeline_buckets_each(admin->pipeline, add_bucket, &request->status);
        status_answer(request);
        return;
    }
    request->at = json_object_iter(request->status.buckets);
    next_notes(request);
}

static void add_worker(void *arg, const froe_worker_info *worker) {
    struct status_request *request = arg;
    request->workers++;
    request->slots += worker->slots;
}

static void workers_told(void *arg, uint64_t count, const froe_error *error) {
    (void)count;
    if (error)
        status_end(arg, admin_failed(error));
    else
        all_known(arg);
}

static void add_info(void *arg, const froe_group_info *group) {
    struct status_request *request = arg;
    json_t *item = json_object();
    json_set_count(item, "leased", group->leased);
    json_set_count(item, "admitted", group->admitted);
    json_object_set_new(item, "max_runs", group->limit ? json_integer(group->limit) : json_null());
    json_set_time(item, "last_granted_at", group->last_granted_utc_us);
    json_object_set_new(request->groups, group->group, item);
}

/* Of a bucket in which all was left alone this is the only trace. */
static void add_listing(void *arg, const froe_group_info *group) {
    struct status_request *request = arg;
    status_bucket(&request->status, group->group);
}

static void listings_told(void *arg, uint64_t count, const froe_error *error) {
    struct status_request *request = arg;
    (void)count;
    froe_error storage = {0};
    if (error)
        status_end(request, admin_failed(error));
    else if (!request->question.admin->shared)
        all_known(request);
    else if (froe_workers_list(request->question.admin->engine, add_worker, workers_told, request, &storage) != FROE_OK)
        status_end(request, admin_failed(&storage));
}

static void groups_told(void *arg, uint64_t count, const froe_error *error) {
    struct status_request *request = arg;
    (void)count;
    froe_error storage = {0};
    if (error)
        status_end(request, admin_failed(error));
    else if (froe_groups_list(request->question.admin->engine, PIPELINE_FETCH_OBJECTS, add_listing, listings_told,
                              request, &storage) != FROE_OK)
        status_end(request, admin_failed(&storage));
}

bool admin_ask_status(const struct question *question, const char *op) {
    if (strcmp(op, "status") != 0)
        return false;
    struct status_request *request = mem_zalloc(sizeof *request);
    if (!request) {
        question->answer(question->arg, admin_failure("out of memory"));
        return true;
    }
    *request = (struct status_request){.question = *question, .status = {json_object()}, .groups = json_object()};
    froe_error error = {0};
    if (froe_groups_list(question->admin->engine, PIPELINE_PROCESS_OBJECT, add_info, groups_told, request, &error) !=
        FROE_OK)
        status_end(request, admin_failed(&error));
    return true;
}
