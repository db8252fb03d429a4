/* plan.c - see plan.h. */
#include "plan.h"

#include "config_rules.h"
#include "image_program.h"
#include "mem.h"
#include "own_program.h"

#include <stdio.h>

#define KILL_GRACE_US (2 * US_PER_S)
#define RESULTS_MAX_BYTES \
    (UINT64_C(5) << 30) /* of one object: a program that never stops writing must not fill a disk */

static size_t n_rules_of(const struct options *options) {
    return options->rules ? options->rules->n : 0;
}

/* The general handler is shared by all rules without one of their own. */
static void set_ways(struct plan *plan) {
    const struct options *options = plan->options;
    size_t n = n_rules_of(options);
    struct handler *general = plan->handlers[n];
    for (size_t i = 0; i < n; i++) {
        const struct config_rule *rule = &options->rules->rules[i];
        plan->ways[i] = (struct pipeline_way){.handler = plan->handlers[i] ? plan->handlers[i] : general,
                                              .retries = rule->retries,
                                              .timeout_us = rule->timeout_us,
                                              .min_age_us = rule->min_age_us};
    }
    plan->pipeline.way = (struct pipeline_way){.handler = general,
                                               .retries = options->retries,
                                               .timeout_us = options->timeout_us,
                                               .min_age_us = options->min_age_us};
    for (size_t i = 0; plan->destinations && i <= n; i++)
        destinations_set(plan->destinations, i, i < n ? &plan->ways[i] : &plan->pipeline.way);
}

int plan_new(const struct options *options, struct plan **ret_plan) {
    struct plan *plan = mem_zalloc(sizeof *plan);
    if (!plan)
        return -ENOMEM;
    size_t n = n_rules_of(options);
    list_init(&plan->link);
    plan->options = options;
    plan->n_handlers = n + 1;
    plan->ways = mem_calloc(n, sizeof *plan->ways);
    plan->handlers = mem_calloc(plan->n_handlers, sizeof(struct handler *));
    if (!plan->ways || !plan->handlers || plan_confine_init(&plan->confine, options->store) < 0) {
        plan_free(plan);
        return -ENOMEM;
    }
    plan->pipeline = (struct pipeline_plan){
        .filter = {options->min_age_us, options->include, options->n_include, options->exclude, options->n_exclude},
        .rules = n ? options->rules->matches : NULL,
        .ways = plan->ways,
        .n_rules = n,
    };
    set_ways(plan);
    *ret_plan = plan;
    return 0;
}

void plan_free(struct plan *plan) {
    if (!plan)
        return;
    mem_free(plan->ways);
    mem_free(plan->handlers);
    plan_confine_free(&plan->confine);
    if (plan->owned)
        options_free(plan->owned);
    mem_free(plan->owned);
    mem_free(plan);
}

/* ---- handlers ---- */

struct wish {
    enum config_handler kind;
    char *const *words; /* the program, or the plugin, with its arguments */
    char *image;        /* of IMAGE: what froe-image is to do */
    struct confine confine;
    const struct handler_results *results;
};

static int open_program(struct plan *plan, const struct wish *wish, struct handler **ret_handler, struct err *err) {
    const struct handler_program_options options = {
        .argv = (const char *const *)wish->words,
        .confine = &wish->confine,
        .spawner = plan->plans->spawner,
        .kill_grace_us = KILL_GRACE_US,
        .results = wish->results,
    };
    return handler_program_new(plan->plans->loop, &options, ret_handler, err);
}

static int open_pool(struct plan *plan, const struct wish *wish, struct handler **ret_handler, struct err *err) {
    /* Images as descriptors: a worker that waits for a download is a core that does nothing. */
    bool image = wish->kind == CONFIG_HANDLER_IMAGE;
    const struct handler_pool_options options = {
        .argv = (const char *const *)wish->words,
        .confine = &wish->confine,
        .spawner = plan->plans->spawner,
        .kill_grace_us = KILL_GRACE_US,
        .workers = plan->options->pool_workers,
        .body = image ? HANDLER_POOL_SHARED : plan->options->pool_body,
        .budget = &plan->plans->budget,
        .results = wish->results,
        .recycle_objects = plan->options->pool_recycle,
        .recycle_bytes = plan->options->pool_memory_bytes,
        .description = image ? "images" : NULL,
    };
    char host[PATH_MAX];
    if (wish->kind != CONFIG_HANDLER_PLUGIN)
        return handler_pool_new(plan->plans->loop, &options, ret_handler, err);
    int r = own_program_find("froe-plugin", "../plugin", host, err);
    return r < 0 ? r : handler_plugin_new(plan->plans->loop, host, &options, ret_handler, err);
}

static int open_image(struct plan *plan, const struct wish *wish, struct handler **ret_handler, struct err *err) {
    char path[PATH_MAX], *words[] = {path, wish->image, NULL};
    struct wish pool = *wish;
    pool.words = words;
    int r = image_program_find(path, err);
    if (r == 0)
        r = image_program_check(path, wish->image, err);
    return r < 0 ? r : open_pool(plan, &pool, ret_handler, err);
}

static int open_discard(struct plans *plans, struct handler **ret_handler, struct err *err) {
    int r = handler_discard_new(plans->loop, ret_handler);
    return r < 0 ? err_set(err, r, "out of memory") : 0;
}

static int open_handler(struct plan *plan, const struct wish *wish, struct handler **ret_handler, struct err *err) {
    switch (wish->kind) {
    case CONFIG_HANDLER_DISCARD:
        return open_discard(plan->plans, ret_handler, err);
    case CONFIG_HANDLER_PROGRAM:
        return open_program(plan, wish, ret_handler, err);
    case CONFIG_HANDLER_POOL:
    case CONFIG_HANDLER_PLUGIN:
        return open_pool(plan, wish, ret_handler, err);
    case CONFIG_HANDLER_IMAGE:
        return open_image(plan, wish, ret_handler, err);
    case CONFIG_HANDLER_GENERAL:
        break;
    }
    return 0;
}

static struct wish general_wish(const struct plan *plan) {
    const struct options *options = plan->options;
    struct wish wish = {
        .kind = options->plugin                     ? CONFIG_HANDLER_PLUGIN
                : options->program && options->pool ? CONFIG_HANDLER_POOL
                : options->program                  ? CONFIG_HANDLER_PROGRAM
                : options->discard                  ? CONFIG_HANDLER_DISCARD
                : options->image                    ? CONFIG_HANDLER_IMAGE
                                                    : CONFIG_HANDLER_GENERAL,
        .words = options->plugin ? options->plugin : options->program,
        .image = options->image,
    };
    wish.confine = plan_confine_of(&plan->confine, &options->confine, wish.kind == CONFIG_HANDLER_IMAGE);
    return wish;
}

/* Where there are rules the general handler keeps no results, and it confines as for all: a rule that wants it
 * otherwise has one like it for itself. */
static int open_handler_of(struct plan *plan, const struct config_rule *rule, struct handler **ret_handler,
                           struct err *err) {
    struct wish wish = general_wish(plan);
    if (rule->handler != CONFIG_HANDLER_GENERAL || (!rule->keeps_results && !rule->has_confine)) {
        wish.kind = rule->handler;
        wish.words = rule->program;
        wish.image = rule->image;
    }
    wish.confine = plan_confine_of(&plan->confine, &rule->confine, wish.kind == CONFIG_HANDLER_IMAGE);
    wish.results = rule->keeps_results ? &plan->plans->results : NULL;
    return open_handler(plan, &wish, ret_handler, err);
}

static int open_handlers(struct plan *plan, struct err *err) {
    const struct options *options = plan->options;
    size_t n = n_rules_of(options);
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++) {
        r = open_handler_of(plan, &options->rules->rules[i], &plan->handlers[i], err);
        if (r < 0)
            err_prefix(err, "rule %zu", i + 1);
    }
    struct wish general = general_wish(plan);
    if (n == 0 && destinations_any(plan->destinations, 0))
        general.results = &plan->plans->results;
    return r < 0 ? r : open_handler(plan, &general, &plan->handlers[n], err);
}

/* ---- its end ---- */

static void look_whether_closed(struct plans *plans) {
    if (!plans->closing || !list_empty(&plans->all))
        return;
    plans->closing = false;
    plans->closed(plans->closed_arg);
}

static void timer_closed(uv_handle_t *handle) {
    struct plan *plan = handle->data;
    struct plans *plans = plan->plans;
    list_remove(&plan->link);
    plan_free(plan);
    look_whether_closed(plans);
}

static void part_closed(void *arg) {
    struct plan *plan = arg;
    if (--plan->n_open == 0)
        uv_close((uv_handle_t *)&plan->later, timer_closed);
}

static void close_plan(uv_timer_t *timer) {
    struct plan *plan = timer->data;
    plan->n_open = 1;
    for (size_t i = 0; i < plan->n_handlers; i++) {
        struct handler *handler = plan->handlers[i];
        plan->handlers[i] = NULL;
        plan->n_open += handler != NULL;
        if (handler)
            handler_close(handler, part_closed, plan);
    }
    struct destinations *destinations = plan->destinations;
    plan->destinations = NULL;
    plan->n_open += destinations != NULL;
    if (destinations)
        destinations_close(destinations, part_closed, plan);
    part_closed(plan);
}

static void end_soon(void *arg) {
    struct plan *plan = arg;
    uv_timer_start(&plan->later, close_plan, 0, 0);
}

/* ---- all of them ---- */

static int make(struct plans *plans, const struct options *options, struct plan **ret_plan, struct err *err) {
    struct plan *plan;
    if (plan_new(options, &plan) < 0)
        return err_set(err, -ENOMEM, "out of memory");
    if (!plans->begun) {
        list_init(&plans->all);
        plans->results = (struct handler_results){&plans->budget, spool_directory(), RESULTS_MAX_BYTES};
    }
    plans->begun = true;
    plan->plans = plans;
    plan->pipeline.unused = end_soon;
    plan->pipeline.arg = plan;
    uv_timer_init(plans->loop, &plan->later);
    plan->later.data = plan;
    list_push_back(&plans->all, &plan->link);
    int r = destinations_open(plans->loop, options, plans->aws, &plan->destinations, err);
    if (r == 0)
        r = open_handlers(plan, err);
    if (r < 0) {
        end_soon(plan);
        return r;
    }
    set_ways(plan);
    plans->budget.max_bytes = (uint64_t)options->memory_bytes;
    *ret_plan = plan;
    return 0;
}

int plans_open(struct plans *plans, const struct options *options, struct err *err) {
    return make(plans, options, &plans->now, err);
}

int plans_replace(struct plans *plans, struct pipeline *pipeline, struct options *options, struct err *err) {
    struct plan *plan;
    int r = make(plans, options, &plan, err);
    if (r < 0)
        return r;
    plan->owned = options;
    plans->now = plan;
    pipeline_set_plan(pipeline, &plan->pipeline);
    return 0;
}

struct pipeline_plan *plans_now(struct plans *plans) {
    return &plans->now->pipeline;
}

const char *plans_describe(struct plans *plans) {
    const struct plan *plan = plans->now;
    const struct handler *general = plan->pipeline.way.handler;
    size_t n = plan->pipeline.n_rules;
    const char *described = general ? handler_describe(general) : "";
    if (n == 0)
        return described;
    snprintf(plans->described, sizeof plans->described, "%zu rule%s%s%s", n, n == 1 ? "" : "s",
             general ? "; general handler: " : "", described);
    return plans->described;
}

void plans_close(struct plans *plans, void (*closed)(void *arg), void *arg) {
    plans->closing = true;
    plans->closed = closed;
    plans->closed_arg = arg;
    if (!plans->begun)
        list_init(&plans->all);
    if (plans->now)
        end_soon(plans->now);
    plans->now = NULL;
    look_whether_closed(plans);
}
