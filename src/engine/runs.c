/* runs.c - looking at runs: lists, one run with its attempts, log lines. What changes runs is in acting.c. */
#include "asking.h"

#include "mem.h"

#include <jansson.h>

#define LIST_DEFAULT 1000
#define LIST_MAX 10000
/* A list is read in pieces, so that neither the store's other work waits for long nor much is held in memory. */
#define PIECE_RUNS 5000
#define PIECE_BYTES ((size_t)4 * 1024 * 1024)

/* ---- lists ---- */

struct list_request {
    struct request request;
    struct store_runs_filter filter;
    struct bytes metadata_name, metadata_value;
    struct buf texts; /* what the filter's views point into */
    uint32_t left;    /* more are not wanted */
    void (*each)(void *arg, const froe_run *run);
    froe_counted_fn *done;
    void *arg;
    uint64_t count;
    /* of this piece */
    struct buf found;
    uint32_t kept, looked;
    bool whole; /* the store had no more */
    int64_t last_page;
    uint32_t last_index;
    /* Siblings share their metadata: the last one's, and whether it matches. */
    struct buf metadata;
    bool metadata_known, metadata_matches;
};

static void list_free(struct list_request *list) {
    buf_free(&list->texts);
    buf_free(&list->found);
    buf_free(&list->metadata);
    mem_free(list);
}

static int has_string(struct bytes object, struct bytes name, struct bytes value, bool *ret_has) {
    json_error_t error;
    json_t *json = json_loadb(object.n ? object.p : "{}", object.n ? object.n : 2, JSON_ALLOW_NUL, &error);
    if (!json && json_error_code(&error) == json_error_out_of_memory)
        return -ENOMEM;
    const json_t *member = json_object_getn(json, name.p, name.n);
    *ret_has =
        json_is_string(member) && bytes_equal(bytes_of(json_string_value(member), json_string_length(member)), value);
    json_decref(json);
    return 0;
}

static int metadata_matches(struct list_request *list, struct bytes metadata) {
    if (list->metadata_name.n == 0)
        return 1;
    if (list->metadata_known && bytes_equal(metadata, buf_bytes(&list->metadata)))
        return list->metadata_matches;
    buf_reset(&list->metadata);
    list->metadata_known = false;
    int r = buf_add_bytes(&list->metadata, metadata);
    if (r == 0)
        r = has_string(metadata, list->metadata_name, list->metadata_value, &list->metadata_matches);
    if (r < 0)
        return r;
    list->metadata_known = true;
    return list->metadata_matches;
}

static int keep_run(void *arg, const struct store_run_info *info) {
    struct list_request *list = arg;
    if (list->kept == list->left || list->looked == PIECE_RUNS || list->found.n >= PIECE_BYTES) {
        list->whole = false;
        return 1;
    }
    list->looked++;
    list->last_page = info->page;
    list->last_index = info->index;
    int r = metadata_matches(list, info->metadata);
    if (r > 0)
        r = record_keep(&list->found, &record_run, info);
    else
        return r;
    list->kept += r == 0;
    return r;
}

static int execute_list(struct request *request, struct store *store, struct err *err) {
    struct list_request *list = (struct list_request *)(void *)request;
    buf_reset(&list->found);
    list->kept = list->looked = 0;
    list->whole = true;
    int r = store_runs_each(store, &list->filter, keep_run, list, err);
    return r == -ENOMEM ? err_set(err, r, "out of memory") : r < 0 ? r : 0;
}

static void finish_list(struct request *request, struct froe *engine) {
    struct list_request *list = (struct list_request *)(void *)request;
    froe_error storage;
    const froe_error *failed = asking_failed(request, &storage);
    for (size_t at = 0; !failed && at < list->found.n;) {
        struct store_run_info info;
        char run_id[FROE_RUN_ID_MAX];
        froe_run run;
        record_take(&list->found, &at, &record_run, &info);
        run_tell(&info, run_id, &run);
        list->each(list->arg, &run);
    }
    if (!failed) {
        list->count += list->kept;
        list->left -= list->kept;
        if (!list->whole && list->left > 0) {
            list->filter.before_page = list->last_page;
            list->filter.before_index = list->last_index;
            engine_submit(engine, &list->request);
            return;
        }
    }
    if (list->done)
        list->done(list->arg, list->count, failed);
    list_free(list);
}

static int copy_texts(struct list_request *list, const froe_runs_filter *given, froe_error *error) {
    struct bytes from[] = {bytes_str(given->workflow), bytes_str(given->group),
                           bytes_of(given->child_key, given->child_key ? given->child_key_n : 0),
                           bytes_str(given->metadata_name), bytes_str(given->metadata_value)};
    struct bytes *to[] = {&list->filter.workflow, &list->filter.group, &list->filter.child_key, &list->metadata_name,
                          &list->metadata_value};
    static const size_t most[] = {FROE_NAME_MAX, FROE_KEY_MAX, FROE_CHILD_KEY_MAX, FROE_INPUT_MAX, FROE_INPUT_MAX};
    size_t n = 1;
    for (size_t i = 0; i < 5; i++) {
        if (from[i].n > most[i])
            return engine_error(error, FROE_ERR_INVALID, "a text of the filter has %zu bytes; %zu are the most",
                                from[i].n, most[i]);
        n += from[i].n;
    }
    if (buf_reserve(&list->texts, n) < 0)
        return engine_error(error, FROE_ERR_MEMORY, "out of memory");
    for (size_t i = 0; i < 5; i++) {
        *to[i] = bytes_of(list->texts.p + list->texts.n, from[i].n);
        buf_add_bytes(&list->texts, from[i]);
    }
    return FROE_OK;
}

static int fill_filter(struct list_request *list, const froe_runs_filter *given, froe_error *error) {
    const unsigned any = (2u << FROE_CANCELLED) - (1u << FROE_QUEUED);
    if (given->states & ~any)
        return engine_error(error, FROE_ERR_INVALID, "the filter asks for states that runs do not have");
    if (!given->metadata_name != !given->metadata_value || (given->metadata_name && !given->metadata_name[0]))
        return engine_error(error, FROE_ERR_INVALID, "the filter needs a metadata name and its value, or neither");
    if (given->before.page < 0 || given->since_utc_us < 0 || given->until_utc_us < 0)
        return engine_error(error, FROE_ERR_INVALID, "a negative time or run id in the filter");
    list->filter.states = given->states;
    list->filter.since_utc_us = given->since_utc_us;
    list->filter.until_utc_us = given->until_utc_us;
    list->filter.before_page = given->before.page;
    list->filter.before_index = given->before.index;
    list->left = given->limit == 0 ? LIST_DEFAULT : given->limit > LIST_MAX ? LIST_MAX : given->limit;
    return copy_texts(list, given, error);
}

struct list_call {
    froe *engine;
    froe_error *error;
    const froe_runs_filter *filter;
    void (*each)(void *arg, const froe_run *run);
    froe_counted_fn *done;
    void *arg;
};

static int call_list(void *args) {
    const struct list_call *call = args;
    froe *engine = call->engine;
    froe_error *error = call->error;
    static const froe_runs_filter any = {.size = sizeof any};
    const froe_runs_filter *filter = call->filter ? call->filter : &any;
    if (filter->size != sizeof *filter)
        return engine_error(error, FROE_ERR_INVALID, "the filter's size is not that of this version");
    if (!call->each)
        return engine_error(error, FROE_ERR_INVALID, "a list without somebody to tell it to");
    int r = asking_check(engine, error);
    if (r != FROE_OK)
        return r;
    struct list_request *list = mem_zalloc(sizeof *list);
    if (!list)
        return engine_error(error, FROE_ERR_MEMORY, "out of memory");
    list->each = call->each;
    list->done = call->done;
    list->arg = call->arg;
    list->request.execute = execute_list;
    list->request.finish = finish_list;
    r = fill_filter(list, filter, error);
    if (r != FROE_OK) {
        list_free(list);
        return r;
    }
    settle_flush(engine);
    engine_submit(engine, &list->request);
    return FROE_OK;
}

int froe_runs_list(froe *engine, const froe_runs_filter *filter, void (*each)(void *arg, const froe_run *run),
                   froe_counted_fn *done, void *arg, froe_error *error) {
    struct list_call call = {engine, error, filter, each, done, arg};
    return engine_call_or(engine, call_list, &call, error);
}

/* ---- one run ---- */

static const size_t attempt_texts[] = {offsetof(struct store_attempt, worker), offsetof(struct store_attempt, error),
                                       offsetof(struct store_attempt, result)};
static const struct record record_attempt = {sizeof(struct store_attempt), attempt_texts, 3};

typedef void got_fn(void *arg, const froe_run *run, const froe_attempt *attempts, size_t n, const froe_error *error);

struct get_request {
    struct request request;
    froe_run_id id;
    struct buf run, attempts;
    size_t n_attempts;
    got_fn *done;
    void *arg;
};

static int keep_one(void *arg, const struct store_run_info *info) {
    return record_keep(&((struct get_request *)arg)->run, &record_run, info);
}

static int keep_attempt(void *arg, const struct store_attempt *attempt) {
    struct get_request *get = arg;
    int r = record_keep(&get->attempts, &record_attempt, attempt);
    get->n_attempts += r == 0;
    return r;
}

static int execute_get(struct request *request, struct store *store, struct err *err) {
    struct get_request *get = (struct get_request *)(void *)request;
    buf_reset(&get->run);
    buf_reset(&get->attempts);
    get->n_attempts = 0;
    int r = store_run_get(store, get->id.page, get->id.index, keep_one, get, err);
    if (r >= 0)
        r = store_attempts_each(store, get->id.page, get->id.index, keep_attempt, get, err);
    if (r == -ENOENT)
        return err_set(err, r, "there is no run %jd:%u, or its history is over", (intmax_t)get->id.page, get->id.index);
    return r == -ENOMEM ? err_set(err, r, "out of memory") : r < 0 ? r : 0;
}

static froe_state state_after(enum store_outcome outcome) {
    static const froe_state states[] = {
        [STORE_DONE] = FROE_SUCCEEDED, [STORE_FORGOTTEN] = FROE_CANCELLED, [STORE_RETRY] = FROE_WAITING,
        [STORE_PARKED] = FROE_PARKED,  [STORE_RELEASED] = FROE_QUEUED,     [STORE_CANCELLED] = FROE_CANCELLED,
        [STORE_FAILED] = FROE_FAILED,
    };
    return states[outcome];
}

static void tell_attempts(const struct get_request *get, froe_attempt *attempts) {
    size_t at = 0;
    for (size_t i = 0; i < get->n_attempts; i++) {
        struct store_attempt kept;
        record_take(&get->attempts, &at, &record_attempt, &kept);
        attempts[i] = (froe_attempt){
            .attempt = kept.attempt,
            .state = state_after(kept.outcome),
            .ended_utc_us = kept.ended_utc_us,
            .duration_us = kept.duration_us,
            .worker = kept.worker.n ? kept.worker.p : NULL,
            .error = kept.error.n ? kept.error.p : NULL,
            .result = kept.result.n ? kept.result.p : NULL,
        };
    }
}

static void finish_get(struct request *request, struct froe *engine) {
    struct get_request *get = (struct get_request *)(void *)request;
    (void)engine;
    froe_error storage;
    const froe_error *failed = asking_failed(request, &storage);
    froe_attempt *attempts = failed ? NULL : mem_calloc(get->n_attempts, sizeof *attempts);
    if (!failed && !attempts) {
        engine_error(&storage, FROE_ERR_MEMORY, "out of memory");
        failed = &storage;
    }
    if (failed) {
        get->done(get->arg, NULL, NULL, 0, failed);
    } else {
        struct store_run_info info;
        char run_id[FROE_RUN_ID_MAX];
        froe_run run;
        size_t at = 0;
        record_take(&get->run, &at, &record_run, &info);
        run_tell(&info, run_id, &run);
        tell_attempts(get, attempts);
        get->done(get->arg, &run, attempts, get->n_attempts, NULL);
    }
    mem_free(attempts);
    buf_free(&get->run);
    buf_free(&get->attempts);
    mem_free(get);
}

struct get_call {
    froe *engine;
    froe_error *error;
    froe_run_id id;
    got_fn *done;
    void *arg;
};

static int call_get(void *args) {
    const struct get_call *call = args;
    froe *engine = call->engine;
    froe_error *error = call->error;
    int r = run_id_check(call->id, error);
    if (r == FROE_OK && !call->done)
        r = engine_error(error, FROE_ERR_INVALID, "a question without somebody to answer to");
    if (r == FROE_OK)
        r = asking_check(engine, error);
    if (r != FROE_OK)
        return r;
    struct get_request *get = mem_zalloc(sizeof *get);
    if (!get)
        return engine_error(error, FROE_ERR_MEMORY, "out of memory");
    get->id = call->id;
    get->done = call->done;
    get->arg = call->arg;
    get->request.execute = execute_get;
    get->request.finish = finish_get;
    settle_flush(engine);
    engine_submit(engine, &get->request);
    return FROE_OK;
}

int froe_run_get(froe *engine, froe_run_id id, got_fn *done, void *arg, froe_error *error) {
    struct get_call call = {engine, error, id, done, arg};
    return engine_call_or(engine, call_get, &call, error);
}

/* ---- log lines ---- */

struct kept_line {
    froe_run_id id;
    int64_t utc_us;
    int level;
    struct bytes text;
};
static const size_t line_texts[] = {offsetof(struct kept_line, text)};
static const struct record record_line = {sizeof(struct kept_line), line_texts, 1};

struct logs_request {
    struct request request;
    froe_run_id id;
    struct buf lines;
    uint64_t count;
    void (*each)(void *arg, const froe_log_line *line);
    froe_counted_fn *done;
    void *arg;
};

static int keep_line(void *arg, int64_t page, uint32_t index, int64_t utc_us, int level, struct bytes text) {
    struct logs_request *logs = arg;
    struct kept_line line = {.id = run_id_of(page, index), .utc_us = utc_us, .level = level, .text = text};
    int r = record_keep(&logs->lines, &record_line, &line);
    logs->count += r == 0;
    return r;
}

static int execute_logs(struct request *request, struct store *store, struct err *err) {
    struct logs_request *logs = (struct logs_request *)(void *)request;
    buf_reset(&logs->lines);
    logs->count = 0;
    int r = store_log_each(store, logs->id.page, logs->id.index, keep_line, logs, err);
    return r == -ENOMEM ? err_set(err, r, "out of memory") : r < 0 ? r : 0;
}

static void finish_logs(struct request *request, struct froe *engine) {
    struct logs_request *logs = (struct logs_request *)(void *)request;
    (void)engine;
    froe_error storage;
    const froe_error *failed = asking_failed(request, &storage);
    for (size_t at = 0; !failed && at < logs->lines.n;) {
        struct kept_line kept;
        record_take(&logs->lines, &at, &record_line, &kept);
        froe_log_line line = {
            .id = kept.id, .utc_us = kept.utc_us, .level = (froe_level)kept.level, .text = kept.text.p};
        logs->each(logs->arg, &line);
    }
    if (logs->done)
        logs->done(logs->arg, failed ? 0 : logs->count, failed);
    buf_free(&logs->lines);
    mem_free(logs);
}

struct logs_call {
    froe *engine;
    froe_error *error;
    froe_run_id id;
    void (*each)(void *arg, const froe_log_line *line);
    froe_counted_fn *done;
    void *arg;
};

static int call_logs(void *args) {
    const struct logs_call *call = args;
    froe *engine = call->engine;
    froe_error *error = call->error;
    int r = call->id.page == 0 ? FROE_OK : run_id_check(call->id, error);
    if (r == FROE_OK && !call->each)
        r = engine_error(error, FROE_ERR_INVALID, "a list without somebody to tell it to");
    if (r == FROE_OK)
        r = asking_check(engine, error);
    if (r != FROE_OK)
        return r;
    struct logs_request *logs = mem_zalloc(sizeof *logs);
    if (!logs)
        return engine_error(error, FROE_ERR_MEMORY, "out of memory");
    logs->id = call->id;
    logs->each = call->each;
    logs->done = call->done;
    logs->arg = call->arg;
    logs->request.execute = execute_logs;
    logs->request.finish = finish_logs;
    settle_flush(engine);
    engine_submit(engine, &logs->request);
    return FROE_OK;
}

int froe_run_logs(froe *engine, froe_run_id id, void (*each)(void *arg, const froe_log_line *line),
                  froe_counted_fn *done, void *arg, froe_error *error) {
    struct logs_call call = {engine, error, id, each, done, arg};
    return engine_call_or(engine, call_logs, &call, error);
}
