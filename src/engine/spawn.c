/* spawn.c - froe_spawn_many: checks everything, makes the keys, copies. Each distinct text is read once. */
#include "spawn.h"

#include "cleanup.h"
#include "mem.h"
#include "text.h"

/* Items with the same keys, or with the same reason for having none: then lengths[0] is the reason's. */
struct plan_set {
    size_t lengths[FROE_RULES_MAX];
    bool failed;
};

/* What is known while the items are looked at. */
struct plan {
    struct workflow *workflow;
    const froe_spawn *given;
    struct bytes input, metadata;
    struct spawn_request *spawn;
    struct buf keys; /* of all sets, key after key */
    struct plan_set *sets;
    size_t n_sets, sets_cap;
    struct map set_by_keys; /* to its number + 1 */
    uint32_t *set_of;       /* of each item */
    uint32_t shared_set;    /* of items without an input of their own */
    bool shared_is_known;
};

static struct bytes own_input(const froe_item *item) {
    return bytes_str(item->input);
}

static void plan_free(struct plan *plan) {
    spawn_free(plan->spawn);
    buf_free(&plan->keys);
    mem_free(plan->sets);
    map_free(&plan->set_by_keys);
    mem_free(plan->set_of);
}
#define _cleanup_plan_ __attribute__((cleanup(plan_free)))

static int no_memory(froe_error *error) {
    return engine_error(error, FROE_ERR_MEMORY, "out of memory");
}

static int check_text(const char *what, struct bytes text, froe_error *error) {
    if (text.n > FROE_INPUT_MAX)
        return engine_error(error, FROE_ERR_INVALID, "%s has %zu bytes; at most %d are taken", what, text.n,
                            FROE_INPUT_MAX);
    int r = json_check_object(text);
    if (r == -ENOMEM)
        return no_memory(error);
    if (r < 0)
        return engine_error(error, FROE_ERR_INVALID, "%s is not the UTF-8 JSON text of an object", what);
    return FROE_OK;
}

/* ---- keys ---- */

/* The number of the set with the keys just added from `at` on; they are dropped when it is not new. */
static int find_set(struct plan *plan, size_t at, const struct plan_set *set, uint32_t *ret_set) {
    _cleanup_buf_ struct buf name = {0};
    int r = buf_add_byte(&name, set->failed ? 'f' : 'k');
    if (r == 0)
        r = buf_add(&name, set->lengths, sizeof set->lengths);
    if (r == 0)
        r = buf_add(&name, plan->keys.p ? plan->keys.p + at : "", plan->keys.n - at);
    if (r < 0)
        return r;
    uintptr_t known = (uintptr_t)map_get(&plan->set_by_keys, buf_bytes(&name));
    if (known) {
        plan->keys.n = at;
        *ret_set = (uint32_t)(known - 1);
        return 0;
    }
    if (plan->n_sets == plan->sets_cap) {
        size_t cap = plan->sets_cap ? plan->sets_cap * 2 : 4;
        struct plan_set *grown = mem_reallocarray(plan->sets, cap, sizeof *grown);
        if (!grown)
            return -ENOMEM;
        plan->sets = grown;
        plan->sets_cap = cap;
    }
    r = map_put(&plan->set_by_keys, buf_bytes(&name), (void *)(uintptr_t)(plan->n_sets + 1));
    if (r < 0)
        return r;
    plan->sets[plan->n_sets] = *set;
    *ret_set = (uint32_t)plan->n_sets++;
    return 0;
}

static int make_keys(struct plan *plan, struct bytes input, uint32_t *ret_set) {
    if (plan->workflow->keys_need_id) { /* all in one set for now: they are made when the pages get their ids */
        *ret_set = 0;
        return 0;
    }
    struct cel_vars vars = {.input = input, .additional_metadata = plan->metadata};
    struct plan_set set = {.failed = false};
    size_t at = plan->keys.n;
    struct err err = {0};
    int r = spawn_keys(plan->workflow, &vars, &plan->keys, set.lengths, &err);
    if (r == -EINVAL) {
        set = (struct plan_set){.failed = true, .lengths = {strlen(err.text)}};
        r = buf_add_str(&plan->keys, err.text);
    }
    return r < 0 ? r : find_set(plan, at, &set, ret_set);
}

static int choose_set(struct plan *plan, size_t i, froe_error *error) {
    const froe_item *item = plan->given->items ? &plan->given->items[i] : NULL;
    uint32_t *set = &plan->set_of[i];
    if (!item || !item->input) {
        if (!plan->shared_is_known && make_keys(plan, plan->input, &plan->shared_set) < 0)
            return no_memory(error);
        plan->shared_is_known = true;
        *set = plan->shared_set;
    } else if (i > 0 && item[-1].input && strcmp(item->input, item[-1].input) == 0) {
        *set = set[-1];
    } else {
        int r = check_text("an item's input", own_input(item), error);
        if (r != FROE_OK)
            return r;
        if (make_keys(plan, own_input(item), set) < 0)
            return no_memory(error);
    }
    return FROE_OK;
}

/* ---- copying ---- */

static struct bytes put(char **at, struct bytes from) {
    struct bytes copy = bytes_of(*at, from.n);
    if (from.n)
        memcpy(*at, from.p, from.n);
    *at += from.n;
    return copy;
}

static size_t size_of_copies(const struct plan *plan) {
    size_t size = 1 + plan->input.n + plan->metadata.n + plan->keys.n;
    for (size_t i = 0; plan->given->items && i < plan->given->n; i++) {
        const froe_item *item = &plan->given->items[i];
        size += item->child_key_n + item->generation_n + own_input(item).n;
    }
    return size;
}

static int copy_sets(struct plan *plan, char **at) {
    struct spawn_request *spawn = plan->spawn;
    size_t n_sets = plan->workflow->keys_need_id ? 1 : plan->n_sets, from = 0;
    spawn->sets = mem_calloc(n_sets, sizeof *spawn->sets);
    if (!spawn->sets)
        return -ENOMEM;
    spawn->n_sets = n_sets;
    for (size_t i = 0; i < plan->n_sets; i++) {
        struct keyset *set = &spawn->sets[i];
        const struct plan_set *planned = &plan->sets[i];
        for (size_t j = 0; j < plan->workflow->n_rules; j++) {
            struct bytes *to = planned->failed ? &set->failed : &set->keys[j];
            size_t n = planned->lengths[j];
            if (n > 0 || !planned->failed)
                *to = put(at, bytes_of(plan->keys.p + from, n));
            from += n;
        }
        set->group = group_get(plan->workflow, spawn_group_key(plan->workflow, set), true);
        if (!set->group)
            return -ENOMEM;
        group_ref(set->group);
    }
    return 0;
}

static struct store_item copy_item(const struct plan *plan, size_t i, const struct store_item *before, char **at) {
    const froe_item *item = plan->given->items ? &plan->given->items[i] : NULL;
    struct store_item copy = {0};
    if (!item)
        return copy;
    copy.child_key = put(at, bytes_of(item->child_key, item->child_key_n));
    copy.generation = put(at, bytes_of(item->generation, item->generation_n));
    struct bytes input = own_input(item);
    copy.input = before && bytes_equal(before->input, input) ? before->input : put(at, input);
    return copy;
}

/* Puts the items in order of their sets, and in each in the order given. */
static int copy_items(struct plan *plan, char **at) {
    struct spawn_request *spawn = plan->spawn;
    size_t n = spawn->n_items = plan->given->n;
    spawn->items = mem_calloc(n, sizeof *spawn->items);
    if (!spawn->items)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        spawn->sets[plan->set_of[i]].n++;
    for (size_t i = 1; i < spawn->n_sets; i++)
        spawn->sets[i].first = spawn->sets[i - 1].first + spawn->sets[i - 1].n;
    for (size_t i = 0; i < spawn->n_sets; i++)
        spawn->sets[i].n = 0;
    for (size_t i = 0; i < n; i++) {
        struct keyset *set = &spawn->sets[plan->set_of[i]];
        size_t place = set->first + set->n;
        spawn->items[place] = copy_item(plan, i, set->n > 0 ? &spawn->items[place - 1] : NULL, at);
        if (spawn->places)
            spawn->places[place] = (uint32_t)i;
        set->n++;
    }
    return 0;
}

static int make_room_for_ids(struct plan *plan, bool wanted) {
    struct spawn_request *spawn = plan->spawn;
    size_t n = plan->given->n;
    if (!wanted)
        return 0;
    spawn->placed = mem_calloc(n, sizeof *spawn->placed);
    spawn->runs = mem_calloc(n, sizeof *spawn->runs);
    if (plan->n_sets > 1)
        spawn->places = mem_calloc(n, sizeof *spawn->places);
    return spawn->placed && spawn->runs && (spawn->places || plan->n_sets <= 1) ? 0 : -ENOMEM;
}

static int copy_all(struct plan *plan) {
    struct spawn_request *spawn = plan->spawn;
    char *at = spawn->memory = mem_alloc(size_of_copies(plan));
    if (!at)
        return -ENOMEM;
    spawn->input = put(&at, plan->input);
    spawn->metadata = put(&at, plan->metadata);
    int r = copy_sets(plan, &at);
    return r < 0 ? r : copy_items(plan, &at);
}

/* ---- checks ---- */

static int check_items(const froe_spawn *given, froe_error *error) {
    if (given->n > FROE_SPAWN_MAX)
        return engine_error(error, FROE_ERR_INVALID, "%zu items in one spawn; at most %d are taken", given->n,
                            FROE_SPAWN_MAX);
    if (!given->items && given->n > 1)
        return engine_error(error, FROE_ERR_INVALID, "without items exactly one run is spawned, not %zu", given->n);
    for (size_t i = 0; given->items && i < given->n; i++) {
        const froe_item *item = &given->items[i];
        if ((!item->child_key && item->child_key_n > 0) || (!item->generation && item->generation_n > 0))
            return engine_error(error, FROE_ERR_INVALID, "item %zu: a length without bytes", i);
        if (item->child_key_n > FROE_CHILD_KEY_MAX || item->generation_n > FROE_GENERATION_MAX)
            return engine_error(
                error, FROE_ERR_INVALID,
                "item %zu: its child key has %zu bytes and its generation %zu; at most %d and %d are taken", i,
                item->child_key_n, item->generation_n, FROE_CHILD_KEY_MAX, FROE_GENERATION_MAX);
    }
    return FROE_OK;
}

/* What the runs get: the parent's metadata, with the spawn's own on top. */
static int make_metadata(const froe_spawn *given, char **ret_owned, struct bytes *ret_metadata, froe_error *error) {
    struct bytes own = given->metadata ? bytes_str(given->metadata) : BYTES("{}");
    int r = check_text("the metadata", own, error);
    if (r != FROE_OK)
        return r;
    *ret_metadata = own;
    struct bytes parent = given->parent ? bytes_str(froe_task_metadata(given->parent)) : BYTES("{}");
    if (bytes_equal(parent, BYTES("{}")))
        return FROE_OK;
    size_t n;
    r = json_inherit(parent, own, ret_owned, &n);
    if (r == -ENOMEM)
        return no_memory(error);
    if (r < 0)
        return engine_error(error, FROE_ERR_INVALID, "the parent's metadata cannot be read");
    *ret_metadata = bytes_of(*ret_owned, n);
    return n > FROE_INPUT_MAX ? check_text("the metadata with the parent's", *ret_metadata, error) : FROE_OK;
}

/* When the runs may begin, and must have begun. */
static int set_times(const froe *engine, const froe_spawn *given, struct spawn_request *spawn, froe_error *error) {
    int64_t now = engine_utc_us(engine), from = now;
    if (given->delay_us > 0 && __builtin_add_overflow(now, given->delay_us, &from))
        return engine_error(error, FROE_ERR_INVALID, "a delay past the end of time");
    if (given->delay_us > 0)
        spawn->not_before_utc_us = from;
    int64_t timeout_us = spawn->workflow->schedule_timeout_us;
    if (timeout_us > 0 && __builtin_add_overflow(from, timeout_us, &spawn->start_by_utc_us))
        spawn->start_by_utc_us = 0; /* never */
    return FROE_OK;
}

static int check(const froe_spawn *given, struct workflow *workflow, froe_error *error) {
    if (!workflow || !workflow->registered)
        return engine_error(error, FROE_ERR_NOT_FOUND, "there is no workflow \"%.80s\"",
                            given->workflow ? given->workflow : "");
    if (given->delay_us < 0)
        return engine_error(error, FROE_ERR_INVALID, "a negative delay");
    if (given->priority > 3)
        return engine_error(error, FROE_ERR_INVALID, "a priority is 1 to 3, not %u", given->priority);
    return check_items(given, error);
}

int spawn_make(froe *engine, const froe_spawn *given, int64_t tick_utc_us, froe_spawned_fn *done, void *arg,
               froe_error *error) {
    _cleanup_plan_ struct plan plan = {.given = given};
    _cleanup_free_ char *metadata = NULL;
    plan.workflow = given->workflow ? workflow_find(engine, given->workflow) : NULL;
    int r = check(given, plan.workflow, error);
    if (r != FROE_OK)
        return r;
    plan.input = given->input ? bytes_str(given->input) : BYTES("{}");
    r = check_text("the input", plan.input, error);
    if (r == FROE_OK)
        r = make_metadata(given, &metadata, &plan.metadata, error);
    if (r != FROE_OK)
        return r;
    plan.spawn = mem_zalloc(sizeof *plan.spawn);
    plan.set_of = mem_calloc(given->n, sizeof *plan.set_of);
    if (!plan.spawn || !plan.set_of)
        return no_memory(error);
    for (size_t i = 0; i < given->n && r == FROE_OK; i++)
        r = choose_set(&plan, i, error);
    if (r != FROE_OK)
        return r;
    struct spawn_request *spawn = plan.spawn;
    spawn->workflow = plan.workflow;
    spawn->done = done;
    spawn->arg = arg;
    spawn->ret_created = done ? given->ret_created : NULL;
    spawn->tick_utc_us = tick_utc_us;
    spawn->priority = given->priority ? given->priority : 1;
    if (given->parent) {
        froe_run_id parent = froe_task_id(given->parent);
        spawn->parent_page = parent.page;
        spawn->parent_index = parent.index;
    }
    r = set_times(engine, given, spawn, error);
    if (r != FROE_OK)
        return r;
    if (make_room_for_ids(&plan, done != NULL) < 0 || copy_all(&plan) < 0 || spawn_submit(engine, spawn) < 0)
        return no_memory(error);
    plan.spawn = NULL;
    return FROE_OK;
}

/* ---- public ---- */

struct spawn_call {
    froe *engine;
    const froe_spawn *spawn;
    froe_spawned_fn *done;
    void *arg;
    froe_error *error;
};

static int spawn_many(void *arg) {
    const struct spawn_call *call = arg;
    froe *engine = call->engine;
    if (engine->closing)
        return engine_error(call->error, FROE_ERR_STATE, "the engine is closing");
    if (engine->failed)
        return engine_error_from(call->error, &engine->failure);
    return spawn_make(engine, call->spawn, 0, call->done, call->arg, call->error);
}

int froe_spawn_many(froe *engine, const froe_spawn *spawn, froe_spawned_fn *done, void *arg, froe_error *error) {
    if (!spawn || spawn->size != sizeof *spawn)
        return engine_error(error, FROE_ERR_INVALID, "the spawn's size is not that of this version");
    struct spawn_call call = {engine, spawn, done, arg, error};
    return engine_call_or(engine, spawn_many, &call, error);
}

struct spawn_wait {
    struct engine_wait wait;
    froe_spawned *ret_spawned;
    froe_run_id *ret_runs;
    froe_error *error;
    int r;
};

static void spawned(void *arg, const froe_spawned *spawned, const froe_error *error) {
    struct spawn_wait *wait = arg;
    if (error) {
        wait->r = error->code;
        if (wait->error)
            *wait->error = *error;
    } else {
        if (wait->ret_runs && spawned->n)
            memcpy(wait->ret_runs, spawned->runs, spawned->n * sizeof *wait->ret_runs);
        if (wait->ret_spawned) {
            *wait->ret_spawned = *spawned;
            wait->ret_spawned->runs = wait->ret_runs;
        }
    }
    engine_wait_signal(&wait->wait);
}

int froe_spawn_sync(froe *engine, const froe_spawn *spawn, froe_spawned *ret_spawned, froe_run_id *ret_runs,
                    froe_error *error) {
    struct spawn_wait wait = {.ret_spawned = ret_spawned, .ret_runs = ret_runs, .error = error};
    int r = engine_wait_begin(&wait.wait, engine, NULL, error);
    if (r != FROE_OK)
        return r;
    r = froe_spawn_many(engine, spawn, spawned, &wait, error);
    if (r == FROE_OK) {
        engine_wait_for(&wait.wait);
        r = wait.r;
    }
    engine_wait_end(&wait.wait);
    return r;
}
