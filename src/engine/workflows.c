/* workflows.c - definitions: checked, copied, made known to the store. */
#include "engine.h"

#include "cleanup.h"
#include "mem.h"

#define BACKOFF_US US_PER_S
#define BACKOFF_MAX_US (5 * US_PER_MIN)

struct put_request {
    struct request request;
    struct froe *engine;
    struct workflow *workflow;
    struct store_rule rules[FROE_RULES_MAX];
    size_t n_rules;
    int64_t id;
};

struct workflow *workflow_find(const froe *engine, const char *name) {
    for (size_t i = 0; i < engine->n_workflows; i++)
        if (strcmp(engine->workflows[i]->name, name) == 0)
            return engine->workflows[i];
    return NULL;
}

struct workflow *workflow_find_or_add(froe *engine, struct bytes name) {
    for (size_t i = 0; i < engine->n_workflows; i++)
        if (bytes_equal(bytes_str(engine->workflows[i]->name), name))
            return engine->workflows[i];
    if (name.n > FROE_NAME_MAX)
        return NULL;
    struct workflow *workflow = mem_zalloc(sizeof *workflow);
    struct workflow **workflows =
        mem_reallocarray(engine->workflows, engine->n_workflows + 1, sizeof(struct workflow *));
    if (workflows)
        engine->workflows = workflows;
    if (!workflow || !workflows) {
        mem_free(workflow);
        return NULL;
    }
    memcpy(workflow->name, name.p, name.n);
    list_init(&workflow->running);
    workflow->duration_us = DURATION_UNKNOWN;
    engine->workflows[engine->n_workflows++] = workflow;
    return workflow;
}

static void forget_definition(struct workflow *workflow) {
    for (size_t i = 0; i < FROE_RULES_MAX; i++) {
        cel_free(workflow->rules[i].program);
        workflow->rules[i].program = NULL;
    }
    workflow->n_rules = workflow->group_rule = 0;
    mem_free(workflow->cron_text);
    workflow->cron_text = NULL;
    workflow->has_cron = workflow->takes_turns = false;
}

void workflows_free(froe *engine) {
    for (size_t i = 0; i < engine->n_workflows; i++) {
        struct workflow *workflow = engine->workflows[i];
        size_t at = 0;
        struct bytes key;
        void *value;
        while (map_next(&workflow->groups, &at, &key, &value))
            group_free(value);
        map_free(&workflow->groups);
        forget_definition(workflow);
        mem_free(workflow);
    }
    mem_free(engine->workflows);
    mem_free(engine->store_workflows);
    engine->workflows = NULL;
    engine->n_workflows = 0;
}

/* ---- adding ---- */

static int execute_put(struct request *request, struct store *store, struct err *err) {
    struct put_request *put = (struct put_request *)(void *)request;
    struct froe *engine = put->engine;
    int r = store_workflow_put(store, bytes_str(put->workflow->name), put->rules, put->n_rules, &put->id, err);
    if (r < 0)
        return r;
    struct workflow **all =
        mem_reallocarray(engine->store_workflows, engine->n_store_workflows + 1, sizeof(struct workflow *));
    if (!all)
        return err_set(err, -ENOMEM, "out of memory");
    engine->store_workflows = all;
    all[engine->n_store_workflows++] = put->workflow;
    put->workflow->store_id = put->id;
    return 0;
}

static void finish_put(struct request *request, struct froe *engine) {
    if (request->r < 0)
        engine_fail(engine, &request->err);
    mem_free(request);
}

static bool name_is_fine(const char *name) {
    if (!name || name[0] == '\0')
        return false;
    size_t n = 0;
    for (; name[n]; n++) {
        char c = name[n];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (n == FROE_NAME_MAX || !(letter || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.'))
            return false;
    }
    return true;
}

static int compile(struct workflow *workflow, const froe_workflow *given, froe_error *error) {
    bool round_robin = false, capped = false, late_cancel = false;
    workflow->group_rule = given->n_rules;
    for (size_t i = 0; i < given->n_rules; i++) {
        const froe_rule *rule = &given->rules[i];
        struct rule *to = &workflow->rules[i];
        if (rule->strategy != FROE_GROUP_ROUND_ROBIN && rule->strategy != FROE_CANCEL_NEWEST)
            return engine_error(error, FROE_ERR_INVALID, "workflow %s, rule %zu: unknown strategy %d", given->name,
                                i + 1, (int)rule->strategy);
        if (rule->strategy == FROE_CANCEL_NEWEST && rule->max_runs == 0)
            return engine_error(error, FROE_ERR_INVALID, "workflow %s, rule %zu: CANCEL_NEWEST needs a max_runs",
                                given->name, i + 1);
        /* Which run it will be is known only after the keys have decided on its page. */
        if (!rule->expression || strstr(rule->expression, "workflow_run_id"))
            return engine_error(error, FROE_ERR_INVALID, "workflow %s, rule %zu: %s", given->name, i + 1,
                                rule->expression ? "workflow_run_id is not known yet when the key is made"
                                                 : "it has no expression");
        struct err err = {0};
        int r = cel_compile(bytes_str(rule->expression), &to->program, &err);
        if (r < 0) {
            err_prefix(&err, "workflow %s, rule %zu, expression \"%s\"", given->name, i + 1, rule->expression);
            if (r != -ENOMEM)
                err.code = -EINVAL;
            return engine_error_from(error, &err);
        }
        workflow->n_rules = i + 1;
        to->store = (struct store_rule){.max_runs = rule->max_runs};
        if (rule->strategy == FROE_CANCEL_NEWEST) {
            to->store.strategy = STORE_CANCEL_NEWEST;
            late_cancel = late_cancel || round_robin;
            continue;
        }
        to->store.strategy = STORE_GROUP_ROUND_ROBIN;
        if (!round_robin)
            workflow->group_rule = i;
        round_robin = true;
        capped = capped || rule->max_runs > 0;
    }
    workflow->takes_turns = late_cancel || (capped && given->n_rules > 1);
    return FROE_OK;
}

static int set_cron(struct workflow *workflow, const froe_workflow *given, froe_error *error) {
    if (!given->cron)
        return FROE_OK;
    struct err err = {0};
    int r = cron_parse(bytes_str(given->cron), &workflow->cron, &err);
    if (r < 0) {
        err_prefix(&err, "workflow %s, cron \"%s\"", given->name, given->cron);
        return engine_error_from(error, &err);
    }
    workflow->cron_text = mem_strdup(given->cron);
    if (!workflow->cron_text)
        return engine_error(error, FROE_ERR_MEMORY, "out of memory");
    workflow->has_cron = true;
    return FROE_OK;
}

int froe_workflow_add(froe *engine, const froe_workflow *given, froe_error *error) {
    if (!given || given->size != sizeof *given)
        return engine_error(error, FROE_ERR_INVALID, "the workflow's size is not that of this version");
    if (engine->started || engine->stopping || engine->closing)
        return engine_error(error, FROE_ERR_STATE, "workflows can only be added before the start");
    if (engine->failed)
        return engine_error_from(error, &engine->failure);
    if (!name_is_fine(given->name))
        return engine_error(error, FROE_ERR_INVALID,
                            "a workflow's name has 1 to %d letters, digits, '_', '-' and '.': not \"%.80s\"",
                            FROE_NAME_MAX, given->name ? given->name : "");
    if (!given->run)
        return engine_error(error, FROE_ERR_INVALID, "workflow %s has no task function", given->name);
    if (given->n_rules > FROE_RULES_MAX || (given->n_rules > 0 && !given->rules))
        return engine_error(error, FROE_ERR_INVALID, "workflow %s: at most %d rules", given->name, FROE_RULES_MAX);
    if (given->timeout_us < 0 || given->backoff_us < 0 || given->backoff_max_us < 0 || given->retries == UINT32_MAX)
        return engine_error(error, FROE_ERR_INVALID, "workflow %s: a negative length of time, or too many retries",
                            given->name);
    struct workflow *workflow = workflow_find_or_add(engine, bytes_str(given->name));
    _cleanup_free_ struct put_request *put = mem_zalloc(sizeof *put);
    if (!workflow || !put)
        return engine_error(error, FROE_ERR_MEMORY, "out of memory");
    if (workflow->registered)
        return engine_error(error, FROE_ERR_STATE, "there is a workflow %s already", given->name);
    int r = compile(workflow, given, error);
    if (r == FROE_OK)
        r = set_cron(workflow, given, error);
    if (r != FROE_OK) {
        forget_definition(workflow);
        return r;
    }
    workflow->registered = true;
    workflow->run = given->run;
    workflow->cancel = given->cancel;
    workflow->arg = given->arg;
    workflow->blocking = given->flags & FROE_BLOCKING;
    workflow->never_parks = given->flags & FROE_NEVER_PARK;
    workflow->catches_up = given->flags & FROE_CATCH_UP;
    workflow->retries = given->retries;
    workflow->timeout_us = given->timeout_us;
    workflow->backoff_us = given->backoff_us ? given->backoff_us : BACKOFF_US;
    workflow->backoff_max_us = given->backoff_max_us ? given->backoff_max_us : BACKOFF_MAX_US;
    put->request.execute = execute_put;
    put->request.finish = finish_put;
    put->engine = engine;
    put->workflow = workflow;
    put->n_rules = workflow->n_rules;
    for (size_t i = 0; i < workflow->n_rules; i++)
        put->rules[i] = workflow->rules[i].store;
    engine_submit(engine, &TAKE_PTR(put)->request);
    return FROE_OK;
}
