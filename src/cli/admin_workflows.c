/* admin_workflows.c - workflows, their groups, and the workers. */
#include "admin_private.h"

#include "mem.h"

struct list_request {
    admin_answer_fn *answer;
    void *arg;
    const char *name; /* of the list in the answer */
    json_t *items;
};

static void list_end(struct list_request *request, json_t *answer) {
    request->answer(request->arg, answer);
    json_decref(request->items);
    mem_free(request);
}

static void listed(void *arg, uint64_t count, const froe_error *error) {
    struct list_request *request = arg;
    (void)count;
    list_end(request, error ? admin_failed(error) : json_pack("{s:O}", request->name, request->items));
}

static void add_workflow(void *arg, const froe_workflow_info *workflow) {
    json_t *item = json_object();
    json_set_text(item, "workflow", workflow->name);
    json_object_set_new(item, "paused", json_boolean(workflow->paused));
    json_set_count(item, "rules", workflow->n_rules);
    json_set_count(item, "queued", workflow->queued);
    json_set_count(item, "waiting", workflow->waiting);
    json_set_count(item, "running", workflow->running);
    json_set_count(item, "parked", workflow->parked);
    json_set_count(item, "done", workflow->done);
    json_set_count(item, "failed", workflow->failed);
    json_set_count(item, "cancelled", workflow->cancelled);
    json_set_time(item, "last_tick_at", workflow->last_tick_utc_us);
    json_array_append_new(((struct list_request *)arg)->items, item);
}

static void add_group(void *arg, const froe_group_info *group) {
    json_t *item = json_object();
    json_set_text(item, "workflow", group->workflow);
    json_set_text(item, "group", group->group);
    json_set_count(item, "backlog", group->backlog);
    json_set_count(item, "leased", group->leased);
    json_set_count(item, "admitted", group->admitted);
    json_object_set_new(item, "limit", group->limit ? json_integer(group->limit) : json_null());
    json_set_count(item, "parked", group->parked);
    json_set_count(item, "done", group->done);
    json_set_count(item, "failed", group->failed);
    json_set_count(item, "cancelled", group->cancelled);
    json_set_time(item, "last_granted_at", group->last_granted_utc_us);
    json_array_append_new(((struct list_request *)arg)->items, item);
}

static void add_worker(void *arg, const froe_worker_info *worker) {
    json_t *item = json_object();
    json_set_text(item, "worker", worker->name);
    json_set_count(item, "slots", worker->slots);
    json_set_count(item, "leased", worker->leased);
    json_set_time(item, "since", worker->since_utc_us);
    json_set_time(item, "heard_at", worker->heard_utc_us);
    json_set_time(item, "expires_at", worker->expires_utc_us);
    json_array_append_new(((struct list_request *)arg)->items, item);
}

static bool list(const struct question *question, const char *op) {
    bool workflows = strcmp(op, "workflows_list") == 0, groups = strcmp(op, "groups_list") == 0;
    froe *engine = question->admin->engine;
    if (!workflows && !groups && strcmp(op, "workers_list") != 0)
        return false;
    struct list_request *request = mem_zalloc(sizeof *request);
    if (!request) {
        question->answer(question->arg, admin_failure("out of memory"));
        return true;
    }
    *request = (struct list_request){.answer = question->answer, .arg = question->arg, .items = json_array()};
    request->name = workflows ? "workflows" : groups ? "groups" : "workers";
    froe_error error = {0};
    int r;
    if (workflows)
        r = froe_workflows_list(engine, add_workflow, listed, request, &error);
    else if (groups)
        r = froe_groups_list(engine, json_string_value(json_object_get(question->request, "workflow")), add_group,
                             listed, request, &error);
    else
        r = froe_workers_list(engine, add_worker, listed, request, &error);
    if (r != FROE_OK)
        list_end(request, admin_failed(&error));
    return true;
}

struct pause_request {
    admin_answer_fn *answer;
    void *arg;
};

static void paused(void *arg, const froe_error *error) {
    struct pause_request *request = arg;
    request->answer(request->arg, error ? admin_failed(error) : json_object());
    mem_free(request);
}

static void pause_workflow(const struct question *question) {
    struct pause_request *request = mem_zalloc(sizeof *request);
    if (!request) {
        question->answer(question->arg, admin_failure("out of memory"));
        return;
    }
    *request = (struct pause_request){question->answer, question->arg};
    froe_error error = {0};
    int r =
        froe_workflow_pause(question->admin->engine, json_string_value(json_object_get(question->request, "workflow")),
                            json_is_true(json_object_get(question->request, "paused")), paused, request, &error);
    if (r != FROE_OK)
        paused(request, &error);
}

bool admin_ask_workflows(const struct question *question, const char *op) {
    if (strcmp(op, "workflow_pause") == 0) {
        pause_workflow(question);
        return true;
    }
    return list(question, op);
}
