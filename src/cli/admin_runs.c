/* admin_runs.c - looking at runs: lists, one run, log lines. */
#include "admin_private.h"
#include "run_json.h"

#include "mem.h"

#define RUNS_PAGE 1000

struct runs_request {
    admin_answer_fn *answer;
    void *arg;
    json_t *items;
    json_t *texts; /* the request, whose texts the filter points at */
    struct buf child_key;
    froe_runs_filter filter;
};

static void runs_end(struct runs_request *request, json_t *answer) {
    request->answer(request->arg, answer);
    json_decref(request->items);
    json_decref(request->texts);
    buf_free(&request->child_key);
    mem_free(request);
}

static struct runs_request *runs_begin(const struct question *question) {
    struct runs_request *request = mem_zalloc(sizeof *request);
    if (!request) {
        question->answer(question->arg, admin_failure("out of memory"));
        return NULL;
    }
    request->answer = question->answer;
    request->arg = question->arg;
    request->items = json_array();
    request->texts = json_incref(question->request);
    return request;
}

/* ---- lists ---- */

static void runs_item(void *arg, const froe_run *run) {
    json_array_append_new(((struct runs_request *)arg)->items, run_json(run));
}

static void runs_listed(void *arg, uint64_t count, const froe_error *error) {
    struct runs_request *request = arg;
    runs_end(request, error ? admin_failed(error)
                            : json_pack("{s:O, s:b}", "runs", request->items, "more", count >= request->filter.limit));
}

/* A bucket means its objects, unless a workflow is named. */
static int fill_object(struct runs_request *request, const json_t *json) {
    const char *bucket = json_string_value(json_object_get(json, "bucket"));
    const char *key_url = json_string_value(json_object_get(json, "key_url"));
    froe_runs_filter *filter = &request->filter;
    if (!bucket && !key_url)
        return 0;
    if (!filter->workflow)
        filter->workflow = PIPELINE_PROCESS_OBJECT;
    int r = 0;
    if (key_url)
        r = admin_child_key(&request->child_key, bucket, key_url);
    else if (strcmp(filter->workflow, PIPELINE_FETCH_OBJECTS) == 0)
        r = buf_add_str(&request->child_key, bucket);
    else
        filter->group = bucket;
    filter->child_key = request->child_key.p;
    filter->child_key_n = request->child_key.n;
    return r;
}

static int fill_filter(struct runs_request *request) {
    const json_t *json = request->texts;
    froe_runs_filter *filter = &request->filter;
    int64_t limit = json_number(json, "limit");
    *filter = (froe_runs_filter){
        .size = sizeof *filter,
        .workflow = json_string_value(json_object_get(json, "workflow")),
        .metadata_name = json_string_value(json_object_get(json, "meta_name")),
        .metadata_value = json_string_value(json_object_get(json, "meta_value")),
        .states = (unsigned)json_number(json, "states"),
        .since_utc_us = json_number(json, "since_us"),
        .until_utc_us = json_number(json, "until_us"),
        .limit = limit > 0 && limit < RUNS_PAGE ? (uint32_t)limit : RUNS_PAGE,
    };
    const char *before = json_string_value(json_object_get(json, "before"));
    if (before && froe_run_id_parse(before, &filter->before) != FROE_OK)
        return -EINVAL;
    return fill_object(request, json);
}

static void runs_list(const struct question *question) {
    struct runs_request *request = runs_begin(question);
    if (!request)
        return;
    froe_error error = {0};
    int r = fill_filter(request);
    if (r < 0)
        runs_end(request,
                 admin_failure(r == -ENOMEM ? "out of memory" : "a key needs its bucket, and must be percent-encoded"));
    else if (froe_runs_list(question->admin->engine, &request->filter, runs_item, runs_listed, request, &error) !=
             FROE_OK)
        runs_end(request, admin_failed(&error));
}

/* ---- log lines ---- */

static void line_item(void *arg, const froe_log_line *line) {
    json_array_append_new(((struct runs_request *)arg)->items, run_json_line(line));
}

static void lines_listed(void *arg, uint64_t count, const froe_error *error) {
    struct runs_request *request = arg;
    (void)count;
    runs_end(request, error ? admin_failed(error) : json_pack("{s:O}", "lines", request->items));
}

static bool read_id(const json_t *json, froe_run_id *ret_id) {
    const char *text = json_string_value(json_object_get(json, "run"));
    return text && froe_run_id_parse(text, ret_id) == FROE_OK;
}

static void run_logs(const struct question *question) {
    froe_run_id id = {0};
    if (json_object_get(question->request, "run") && !read_id(question->request, &id)) {
        question->answer(question->arg, admin_failure("that is no run's id"));
        return;
    }
    struct runs_request *request = runs_begin(question);
    froe_error error = {0};
    if (request && froe_run_logs(question->admin->engine, id, line_item, lines_listed, request, &error) != FROE_OK)
        runs_end(request, admin_failed(&error));
}

/* ---- one run: first itself, then its lines ---- */

struct get_request {
    struct question question;
    froe_run_id id;
    json_t *run, *lines;
};

static void get_end(struct get_request *request, json_t *answer) {
    request->question.answer(request->question.arg, answer);
    json_decref(request->run);
    json_decref(request->lines);
    mem_free(request);
}

static void get_line(void *arg, const froe_log_line *line) {
    json_array_append_new(((struct get_request *)arg)->lines, run_json_line(line));
}

static void get_lines_told(void *arg, uint64_t count, const froe_error *error) {
    struct get_request *request = arg;
    (void)count;
    if (error) {
        get_end(request, admin_failed(error));
        return;
    }
    json_object_set(request->run, "log", request->lines);
    get_end(request, json_pack("{s:O}", "run", request->run));
}

static void got(void *arg, const froe_run *run, const froe_attempt *attempts, size_t n, const froe_error *error) {
    struct get_request *request = arg;
    froe_error storage = {0};
    if (error) {
        get_end(request, admin_failed(error));
        return;
    }
    request->run = run_json_full(run, attempts, n);
    if (froe_run_logs(request->question.admin->engine, request->id, get_line, get_lines_told, request, &storage) !=
        FROE_OK)
        get_end(request, admin_failed(&storage));
}

static void run_get(const struct question *question) {
    struct get_request *request = mem_zalloc(sizeof *request);
    froe_error error = {0};
    if (!request) {
        question->answer(question->arg, admin_failure("out of memory"));
        return;
    }
    request->question = *question;
    request->lines = json_array();
    if (!read_id(question->request, &request->id))
        get_end(request, admin_failure("that is no run's id"));
    else if (froe_run_get(question->admin->engine, request->id, got, request, &error) != FROE_OK)
        get_end(request, admin_failed(&error));
}

bool admin_ask_runs(const struct question *question, const char *op) {
    if (strcmp(op, "runs_list") == 0)
        runs_list(question);
    else if (strcmp(op, "run_get") == 0)
        run_get(question);
    else if (strcmp(op, "run_logs") == 0)
        run_logs(question);
    else
        return false;
    return true;
}
