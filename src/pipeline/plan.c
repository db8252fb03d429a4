/* plan.c - what is done with which object: the rules that hold now, and those under which an object was begun. */
#include "private.h"

static struct rule_object listed_object(struct bytes bucket, const struct s3_object *object) {
    return (struct rule_object){.bucket = bucket,
                                .key = object->key,
                                .etag = object->etag,
                                .size = object->size,
                                .modified_utc_us = object->modified_utc_us};
}

enum pipeline_skip pipeline_plan_object(const struct pipeline_plan *plan, struct bytes bucket,
                                        const struct s3_object *object, int64_t now_utc_us) {
    struct pipeline_filter filter = plan->filter;
    if (plan->n_rules == 0)
        return pipeline_filter_object(&filter, object, now_utc_us);
    filter.min_age_us = 0; /* the rule's is what counts */
    enum pipeline_skip skip = pipeline_filter_object(&filter, object, now_utc_us);
    if (skip != SKIP_NOT)
        return skip;
    struct rule_object listed = listed_object(bucket, object);
    size_t at;
    switch (rules_find(plan->rules, plan->n_rules, &listed, &at, NULL)) {
    case RULES_NONE:
        return SKIP_NO_RULE;
    case RULES_FOUND:
        filter.min_age_us = plan->ways[at].min_age_us;
        return pipeline_filter_object(&filter, object, now_utc_us);
    case RULES_LATER:
    case RULES_FAILED: /* to be told with the object, when it is read */
        break;
    }
    return SKIP_NOT;
}

bool plan_may_keep(const struct pipeline_plan *plan, struct bytes bucket, const struct s3_object *object) {
    const struct pipeline_way *way = &plan->way;
    if (!plan->keeps)
        return false;
    if (plan->n_rules > 0) {
        struct rule_object listed = listed_object(bucket, object);
        size_t at;
        enum rules_found found = rules_find(plan->rules, plan->n_rules, &listed, &at, NULL);
        if (found != RULES_FOUND)
            return found == RULES_LATER;
        way = &plan->ways[at];
    }
    return way->then.kind == THEN_KEEP || way->then.kind == THEN_TAG;
}

void plan_settle(struct pipeline_plan *plan) {
    plan->keeps = false;
    for (size_t i = 0; i <= plan->n_rules; i++) {
        const struct pipeline_then *then = &(i < plan->n_rules ? &plan->ways[i] : &plan->way)->then;
        plan->keeps |= then->kind == THEN_KEEP || then->kind == THEN_TAG;
    }
}

bool pipeline_plan_wants(const struct pipeline_plan *plan, struct bytes bucket, const struct bytes *key) {
    return (!key || pipeline_filter_key(&plan->filter, *key)) &&
           (plan->n_rules == 0 || rules_may_match(plan->rules, plan->n_rules, bucket, key));
}

void plan_begin(struct pipeline_plan *plan) {
    plan->objects++;
}

void plan_end(struct pipeline *pipeline, struct pipeline_plan *plan) {
    if (--plan->objects == 0 && plan != pipeline->options.plan)
        plan->unused(plan->arg);
}

void pipeline_set_plan(struct pipeline *pipeline, struct pipeline_plan *plan) {
    struct pipeline_plan *old = pipeline->options.plan;
    plan_settle(plan);
    pipeline->options.plan = plan;
    if (old->keeps && pipeline->records == RECORDS_NONE)
        pipeline->records = RECORDS_MAYBE; /* in a fleet others may have left some meanwhile */
    pipeline->left_alone = false;          /* what the new one leaves out is worth a line again */
    pipeline->unwanted_buckets = 0;
    if (old->objects == 0)
        old->unused(old->arg);
}

static struct rule_object read_object(const struct bucket *bucket, struct bytes key, const struct s3_object_info *info,
                                      const struct rule_meta *metadata) {
    return (struct rule_object){.bucket = bucket->stats.name,
                                .key = key,
                                .etag = info->etag,
                                .size = info->size == S3_SIZE_UNKNOWN ? RULE_SIZE_UNKNOWN : info->size,
                                .modified_utc_us = info->modified_utc_us,
                                .headers = true,
                                .content_type = info->content_type,
                                .metadata = metadata,
                                .n_metadata = info->n_metadata};
}

int plan_choose(const struct pipeline *pipeline, const struct pipeline_plan *plan, const struct bucket *bucket,
                struct bytes key, const struct s3_object_info *info, struct pipeline_way *ret_way,
                enum pipeline_skip *ret_skip, struct err *err) {
    *ret_skip = SKIP_NOT;
    *ret_way = plan->way;
    if (plan->n_rules == 0)
        return 0;
    _cleanup_free_ struct rule_meta *metadata = mem_calloc(info->n_metadata, sizeof *metadata);
    if (!metadata)
        return err_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; i < info->n_metadata; i++)
        metadata[i] = (struct rule_meta){info->metadata[i].name, info->metadata[i].value};
    struct rule_object object = read_object(bucket, key, info, metadata);
    struct err why = {0};
    size_t at;
    switch (rules_find(plan->rules, plan->n_rules, &object, &at, &why)) {
    case RULES_FOUND:
        break;
    case RULES_NONE:
    case RULES_LATER: /* cannot be: the headers are there */
        *ret_skip = SKIP_NO_RULE;
        return 0;
    case RULES_FAILED:
        return err_set(err, why.code == -ENOMEM ? -ENOMEM : -EINVAL, "rule %zu: %s", at + 1, why.text);
    }
    *ret_way = plan->ways[at];
    int64_t now = clock_utc_us(pipeline->options.clock);
    if (ret_way->min_age_us > 0 && info->modified_utc_us > now - ret_way->min_age_us)
        *ret_skip = SKIP_TOO_YOUNG;
    return 0;
}
