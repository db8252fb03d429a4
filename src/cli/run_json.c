/* run_json.c - see run_json.h. */
#include "run_json.h"

/* What the drain's workflows are about: the child key of an object is bucket/key, that of a listing is the bucket. */
static void set_object(json_t *object, const froe_run *run) {
    struct bytes child_key = bytes_of(run->child_key, run->child_key_n), bucket = bytes_str(run->group);
    if (strcmp(run->workflow, PIPELINE_FETCH_OBJECTS) == 0) {
        json_set_key(object, "bucket", child_key);
    } else if (strcmp(run->workflow, PIPELINE_PROCESS_OBJECT) == 0 && child_key.n > bucket.n &&
               bytes_starts(child_key, bucket) && child_key.p[bucket.n] == '/') {
        json_set_key(object, "bucket", bucket);
        json_set_key(object, "key", bytes_of(child_key.p + bucket.n + 1, child_key.n - bucket.n - 1));
    }
}

static void set_times(json_t *object, int64_t ended_utc_us, int64_t duration_us, bool started) {
    json_set_time(object, "started_at", started && ended_utc_us ? ended_utc_us - duration_us : 0);
    json_set_time(object, "ended_at", ended_utc_us);
    json_set_ms(object, "duration_ms", started && ended_utc_us ? duration_us : -1);
}

json_t *run_json(const froe_run *run) {
    json_t *object = json_object();
    json_object_set_new(object, "run_id", json_string(run->run_id));
    json_set_text(object, "workflow", run->workflow);
    json_object_set_new(object, "state", json_string(admin_state_name(run->state)));
    json_object_set_new(object, "cancel_asked", json_boolean(run->cancel_asked));
    set_object(object, run);
    json_set_text(object, "group", run->group);
    if (run->child_key_n > 0)
        json_set_key(object, "child_key", bytes_of(run->child_key, run->child_key_n));
    if (run->generation_n > 0)
        json_set_key(object, "generation", bytes_of(run->generation, run->generation_n));
    json_object_set_new(object, "attempts", json_integer(run->attempts));
    json_set_text(object, "worker", run->worker);
    json_set_time(object, "created_at", run->created_utc_us);
    json_set_time(object, "due_at", run->due_utc_us);
    set_times(object, run->ended_utc_us, run->duration_us, run->attempts > 0);
    json_set_text(object, "error", run->error);
    json_object_set_new(object, "priority", json_integer(run->priority));
    char parent[FROE_RUN_ID_MAX];
    froe_run_id_text(run->parent, parent);
    json_set_text(object, "parent", run->parent.page ? parent : NULL);
    return object;
}

json_t *run_json_full(const froe_run *run, const froe_attempt *attempts, size_t n) {
    json_t *object = run_json(run), *list = json_array();
    json_set_json(object, "input", run->input);
    json_set_json(object, "metadata", run->metadata);
    json_set_json(object, "result", run->result);
    for (size_t i = 0; i < n; i++) {
        json_t *attempt = json_object();
        json_object_set_new(attempt, "attempt", json_integer(attempts[i].attempt));
        json_object_set_new(attempt, "state", json_string(admin_state_name(attempts[i].state)));
        json_set_text(attempt, "worker", attempts[i].worker);
        set_times(attempt, attempts[i].ended_utc_us, attempts[i].duration_us, attempts[i].attempt > 0);
        json_set_text(attempt, "error", attempts[i].error);
        json_set_json(attempt, "result", attempts[i].result);
        json_array_append_new(list, attempt);
    }
    json_object_set_new(object, "attempt_list", list);
    return object;
}

json_t *run_json_line(const froe_log_line *line) {
    static const char *const levels[] = {
        [FROE_DEBUG] = "debug", [FROE_INFO] = "info", [FROE_WARN] = "warn", [FROE_ERROR] = "error"};
    json_t *object = json_object();
    char run_id[FROE_RUN_ID_MAX];
    froe_run_id_text(line->id, run_id);
    json_set_text(object, "run_id", line->id.page ? run_id : NULL);
    json_set_time(object, "time", line->utc_us);
    json_object_set_new(object, "level", json_string(levels[(unsigned)line->level & 3]));
    json_set_text(object, "text", line->text);
    return object;
}
