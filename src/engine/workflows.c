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
    mem_free(workflow->cron_input);
    zone_free(workflow->zone);
    workflow->cron_text = workflow->cron_input = NULL;
    workflow->zone = NULL;
    workflow->has_cron = workflow->takes_turns = workflow->keys_need_id = workflow->rated = false;
    workflow->shares_pages = false;
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
    int r = store_workflow_put(store, bytes_str(put->workflow->name), put->rules, put->n_rules,
                               &put->workflow->store_id, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < engine->n_store_workflows; i++)
        if (engine->store_workflows[i] == put->workflow)
            return 0; /* this is done again */
    struct workflow **all =
        mem_reallocarray(engine->store_workflows, engine->n_store_workflows + 1, sizeof(struct workflow *));
    if (!all)
        return err_set(err, -ENOMEM, "out of memory");
    engine->store_workflows = all;
    all[engine->n_store_workflows++] = put->workflow;
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

static int check_rule(const froe_workflow *given, size_t i, froe_error *error) {
    const froe_rule *rule = &given->rules[i];
    const char *wrong = NULL;
    if (!rule->expression)
        wrong = "it has no expression";
    else if (rule->strategy < FROE_GROUP_ROUND_ROBIN || rule->strategy > FROE_RATE_LIMIT)
        wrong = "an unknown strategy";
    else if (rule->max_runs == 0 && rule->strategy != FROE_GROUP_ROUND_ROBIN)
        wrong = "only GROUP_ROUND_ROBIN may go without a max_runs";
    else if (rule->strategy != FROE_RATE_LIMIT && rule->period_us != 0)
        wrong = "only RATE_LIMIT has a period_us";
    else if (rule->strategy == FROE_RATE_LIMIT && (rule->period_us < US_PER_S || rule->period_us > 24 * US_PER_HOUR))
        wrong = "a period_us is between a second and a day";
    if (!wrong)
        return FROE_OK;
    return engine_error(error, FROE_ERR_INVALID, "workflow %s, rule %zu: %s", given->name, i + 1, wrong);
}

static int compile_rule(struct workflow *workflow, const froe_workflow *given, size_t i, froe_error *error) {
    static const enum store_strategy strategies[] = {
        [FROE_GROUP_ROUND_ROBIN] = STORE_GROUP_ROUND_ROBIN,
        [FROE_CANCEL_NEWEST] = STORE_CANCEL_NEWEST,
        [FROE_CANCEL_IN_PROGRESS] = STORE_CANCEL_IN_PROGRESS,
        [FROE_RATE_LIMIT] = STORE_RATE_LIMIT,
    };
    const froe_rule *rule = &given->rules[i];
    int r = check_rule(given, i, error);
    if (r != FROE_OK)
        return r;
    struct rule *to = &workflow->rules[i];
    struct err err = {0};
    r = cel_compile(bytes_str(rule->expression), &to->program, &err);
    if (r < 0) {
        err_prefix(&err, "workflow %s, rule %zu, expression \"%s\"", given->name, i + 1, rule->expression);
        if (r != -ENOMEM)
            err.code = -EINVAL;
        return engine_error_from(error, &err);
    }
    workflow->n_rules = i + 1;
    to->store = (struct store_rule){
        .strategy = strategies[rule->strategy], .max_runs = rule->max_runs, .period_us = rule->period_us};
    workflow->keys_need_id = workflow->keys_need_id || cel_uses_run_id(to->program);
    return FROE_OK;
}

static int compile(const froe *engine, struct workflow *workflow, const froe_workflow *given, froe_error *error) {
    bool round_robin = false, capped = false, singly = false, cancels = false;
    workflow->group_rule = given->n_rules;
    for (size_t i = 0; i < given->n_rules; i++) {
        int r = compile_rule(workflow, given, i, error);
        if (r != FROE_OK)
            return r;
        switch (given->rules[i].strategy) {
        case FROE_CANCEL_NEWEST:
            singly = singly || round_robin; /* decided at the claim */
            cancels = true;
            break;
        case FROE_RATE_LIMIT:
            singly = workflow->rated = true;
            break;
        case FROE_GROUP_ROUND_ROBIN:
            if (!round_robin)
                workflow->group_rule = i;
            round_robin = true;
            capped = capped || given->rules[i].max_runs > 0 || engine->max_runs_of;
            break;
        case FROE_CANCEL_IN_PROGRESS:
            capped = cancels = true;
            break;
        }
    }
    workflow->takes_turns = singly || (capped && given->n_rules > 1);
    workflow->shares_pages = !workflow->keys_need_id && !cancels;
    return FROE_OK;
}

static int load_zone(struct workflow *workflow, const froe_workflow *given, froe_error *error) {
    const char *named = workflow->cron.zone_name;
    if (named[0] && given->timezone && strcmp(named, given->timezone) != 0)
        return engine_error(error, FROE_ERR_INVALID, "workflow %s: its cron is in %s, its timezone is %s", given->name,
                            named, given->timezone);
    const char *name = given->timezone ? given->timezone : named;
    if (!name[0])
        return FROE_OK;
    struct err err = {0};
    int r = zone_load(bytes_str(name), &workflow->zone, &err);
    if (r == 0)
        return FROE_OK;
    err_prefix(&err, "workflow %s", given->name);
    if (r != -ENOMEM)
        err.code = -EINVAL;
    return engine_error_from(error, &err);
}

static int set_cron(struct workflow *workflow, const froe_workflow *given, froe_error *error) {
    if (!given->cron) {
        if (given->timezone || given->cron_input || (given->flags & FROE_CATCH_UP))
            return engine_error(error, FROE_ERR_INVALID,
                                "workflow %s: timezone, cron_input and FROE_CATCH_UP are for those with a cron",
                                given->name);
        return FROE_OK;
    }
    struct err err = {0};
    int r = cron_parse(bytes_str(given->cron), &workflow->cron, &err);
    if (r < 0) {
        err_prefix(&err, "workflow %s, cron \"%s\"", given->name, given->cron);
        return engine_error_from(error, &err);
    }
    r = load_zone(workflow, given, error);
    if (r != FROE_OK)
        return r;
    struct bytes input = given->cron_input ? bytes_str(given->cron_input) : BYTES("{}");
    r = input.n > FROE_INPUT_MAX ? -EINVAL : json_check_object(input);
    if (r == -EINVAL)
        return engine_error(error, FROE_ERR_INVALID,
                            "workflow %s: its cron_input is not the JSON text of an object, or "
                            "has more than %d bytes",
                            given->name, FROE_INPUT_MAX);
    workflow->cron_text = mem_strdup(given->cron);
    workflow->cron_input = mem_strdup(input.p);
    if (r < 0 || !workflow->cron_text || !workflow->cron_input)
        return engine_error(error, FROE_ERR_MEMORY, "out of memory");
    workflow->has_cron = true;
    return FROE_OK;
}

#define FLAGS (FROE_BLOCKING | FROE_CATCH_UP | FROE_NEVER_PARK)

static int check(const froe *engine, const froe_workflow *given, froe_error *error) {
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
    if (given->timeout_us < 0 || given->backoff_us < 0 || given->backoff_max_us < 0 || given->schedule_timeout_us < 0 ||
        given->retries == UINT32_MAX)
        return engine_error(error, FROE_ERR_INVALID, "workflow %s: a negative length of time, or too many retries",
                            given->name);
    if (given->flags & ~(unsigned)FLAGS)
        return engine_error(error, FROE_ERR_INVALID, "workflow %s: unknown flags", given->name);
    return FROE_OK;
}

static int add(froe *engine, const froe_workflow *given, froe_error *error) {
    int r = check(engine, given, error);
    if (r != FROE_OK)
        return r;
    struct workflow *workflow = workflow_find_or_add(engine, bytes_str(given->name));
    _cleanup_free_ struct put_request *put = mem_zalloc(sizeof *put);
    if (!workflow || !put)
        return engine_error(error, FROE_ERR_MEMORY, "out of memory");
    if (workflow->registered)
        return engine_error(error, FROE_ERR_STATE, "there is a workflow %s already", given->name);
    r = compile(engine, workflow, given, error);
    if (r == FROE_OK)
        r = set_cron(workflow, given, error);
    if (r != FROE_OK) {
        forget_definition(workflow);
        return r;
    }
    workflow->registered = true;
    engine->n_registered++;
    engine->n_rated += workflow->rated;
    workflow->run = given->run;
    workflow->cancel = given->cancel;
    workflow->arg = given->arg;
    workflow->blocking = given->flags & FROE_BLOCKING;
    workflow->never_parks = given->flags & FROE_NEVER_PARK;
    workflow->catches_up = given->flags & FROE_CATCH_UP;
    workflow->retries = given->retries;
    workflow->timeout_us = given->timeout_us;
    workflow->schedule_timeout_us = given->schedule_timeout_us;
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

struct add_call {
    froe *engine;
    const froe_workflow *given;
    froe_error *error;
};

static int call_add(void *arg) {
    const struct add_call *call = arg;
    return add(call->engine, call->given, call->error);
}

int froe_workflow_add(froe *engine, const froe_workflow *given, froe_error *error) {
    if (!given || given->size != sizeof *given)
        return engine_error(error, FROE_ERR_INVALID, "the workflow's size is not that of this version");
    struct add_call call = {engine, given, error};
    return engine_call_or(engine, call_add, &call, error);
}
