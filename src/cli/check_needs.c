/* check_needs.c - see check_needs.h. */
#include "check_needs.h"

#include "config_output.h"
#include "config_rules.h"

static void add(struct check_needs *needs, const struct options *options, const struct config_rule *rule) {
    const struct config_outputs *outputs = config_outputs_of(options, rule);
    const struct config_then *then = config_then_of(options, rule);
    enum pipeline_then_kind kind = then ? then->kind : THEN_DELETE;
    needs->deletes |= kind == THEN_DELETE || kind == THEN_MOVE;
    needs->moves |= kind == THEN_MOVE;
    needs->writes_tags |= kind == THEN_TAG;
    needs->reads_tags |= kind == THEN_TAG;
    for (size_t i = 0; outputs && i < outputs->n; i++)
        needs->reads_tags |= outputs->items[i].options.copy_tags;
}

struct check_needs check_needs_of(const struct options *options, struct bytes bucket) {
    const struct config_rules *rules = options->rules;
    struct check_needs needs = {0};
    if (!rules)
        add(&needs, options, NULL);
    for (size_t i = 0; rules && i < rules->n; i++)
        if (rules_may_match(&rules->matches[i], 1, bucket, NULL))
            add(&needs, options, &rules->rules[i]);
    return needs;
}
