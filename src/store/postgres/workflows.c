/* workflows.c - workflows and their rules. */
#include "postgres_store.h"

static int check_rules(struct bytes name, const struct store_rule *rules, size_t n, struct err *err) {
    if (name.n == 0 || name.n > STORE_NAME_MAX)
        return err_set(err, -EINVAL, "a workflow's name has 1 to %d bytes", STORE_NAME_MAX);
    if (n > STORE_RULES_MAX)
        return err_set(err, -EINVAL, "a workflow has at most %d rules", STORE_RULES_MAX);
    for (size_t i = 0; i < n; i++) {
        if (rules[i].strategy < STORE_GROUP_ROUND_ROBIN || rules[i].strategy > STORE_RATE_LIMIT)
            return err_set(err, -EINVAL, "rule %zu has an unknown strategy", i + 1);
        if (rules[i].strategy != STORE_GROUP_ROUND_ROBIN && rules[i].max_runs == 0)
            return err_set(err, -EINVAL, "rule %zu needs a max_runs", i + 1);
        if (rules[i].strategy == STORE_RATE_LIMIT &&
            (rules[i].period_us < US_PER_S || rules[i].period_us > 24 * US_PER_HOUR))
            return err_set(err, -EINVAL, "rule %zu: the period of a RATE_LIMIT is 1 s to 1 day", i + 1);
    }
    return 0;
}

static bool same_rules(const struct workflow *workflow, const struct store_rule *rules, size_t n) {
    bool same = workflow->n_rules == n;
    for (size_t i = 0; i < n && same; i++)
        same = workflow->rules[i].strategy == rules[i].strategy && workflow->rules[i].max_runs == rules[i].max_runs &&
               (rules[i].strategy != STORE_RATE_LIMIT || workflow->rules[i].period_us == rules[i].period_us);
    return same;
}

/* With other rules groups are others: each counts as granted when one of its lanes was last. */
static void set_group_turns(struct postgres_store *store, const struct workflow *workflow) {
    for (size_t i = 0; i < store->sched.n_lanes; i++) {
        struct lane *lane = store->sched.lanes[i];
        if (lane && lane->workflow == workflow)
            sched_set(&store->sched, lane, LN_GROUP_TURN, lane->v[LN_TURN]);
    }
}

int pg_workflow_put(struct postgres_store *store, struct bytes name, const struct store_rule *rules, size_t n_rules,
                    int64_t *ret_workflow, struct err *err) {
    int r = check_rules(name, rules, n_rules, err);
    if (r == 0)
        r = pg_run_ops(store, err);
    if (r == 0)
        r = pg_load(store, err);
    if (r < 0)
        return r;
    struct workflow *workflow = sched_workflow_named(&store->sched, name);
    if (!workflow || !same_rules(workflow, rules, n_rules)) {
        struct store_rule clean[STORE_RULES_MAX];
        for (size_t i = 0; i < n_rules; i++)
            clean[i] = (struct store_rule){rules[i].strategy, rules[i].max_runs,
                                           rules[i].strategy == STORE_RATE_LIMIT ? rules[i].period_us : 0};
        int64_t id = workflow ? workflow->id : store->meta.next_workflow++;
        if (workflow)
            set_group_turns(store, workflow);
        r = sched_workflow_put(&store->sched, id, name, clean, n_rules, workflow && workflow->paused, &workflow);
        if (r < 0)
            return r;
        workflow->dirty = store->sched.workflows_dirty = true;
        store->sched.woke = true;
    }
    *ret_workflow = workflow->id;
    return 0;
}

int pg_workflow_pause(struct postgres_store *store, struct bytes name, bool paused, struct err *err) {
    int r = pg_run_ops(store, err);
    if (r == 0)
        r = pg_load(store, err);
    if (r < 0)
        return r;
    struct workflow *workflow = sched_workflow_named(&store->sched, name);
    if (!workflow)
        return err_set(err, -ENOENT, "there is no such workflow");
    if (workflow->paused != paused) {
        workflow->paused = paused;
        workflow->dirty = store->sched.workflows_dirty = true;
        store->sched.woke |= !paused;
    }
    return 0;
}
