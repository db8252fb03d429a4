/* spawn.c - froe_spawn_many: checks everything, makes the keys, copies. Each distinct text is read once. */
#include "spawn.h"

#include "cleanup.h"
#include "mem.h"
#include "text.h"

#define SET_FAILED UINT32_MAX

/* What is known while the items are looked at. */
struct plan {
    struct workflow *workflow;
    const froe_spawn *given;
    struct bytes input, metadata;
    struct spawn_request *spawn;
    struct buf keys;     /* of all sets, key after key */
    size_t *key_lengths; /* n_rules per set */
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
    mem_free(plan->key_lengths);
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

static void add_reason(struct plan *plan, const struct err *err, size_t rule, size_t item) {
    struct spawn_request *spawn = plan->spawn;
    if (spawn->n_reasons == REASONS_MAX) {
        spawn->reasons[REASONS_MAX - 1].count++;
        return;
    }
    _cleanup_buf_ struct buf text = {.max = LOG_TEXT_MAX};
    const froe_item *items = plan->given->items;
    int r = buf_printf(&text, "no run of %s for item %zu", plan->workflow->name, item);
    if (r == 0 && items && items[item].child_key_n > 0) {
        r = buf_add_str(&text, " (");
        if (r == 0)
            r = text_add_printable(&text, cut_utf8(bytes_of(items[item].child_key, items[item].child_key_n), 100));
        if (r == 0)
            r = buf_add_str(&text, ")");
    }
    if (r == 0)
        r = buf_printf(&text, ": rule %zu gives no key: %.400s", rule + 1, err->text);
    char *kept = r == 0 ? buf_detach(&text) : NULL;
    if (kept)
        spawn->reasons[spawn->n_reasons++] = (struct reason){.text = kept, .count = 1};
}

/* The number of the set with the keys just added from `at` on; they are dropped when it is not new. */
static int find_set(struct plan *plan, size_t at, const size_t *lengths, uint32_t *ret_set) {
    size_t n_rules = plan->workflow->n_rules;
    _cleanup_buf_ struct buf name = {0};
    int r = buf_add(&name, lengths, n_rules * sizeof *lengths);
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
        size_t *grown = mem_reallocarray(plan->key_lengths, cap * (n_rules + 1), sizeof *grown);
        if (!grown)
            return -ENOMEM;
        plan->key_lengths = grown;
        plan->sets_cap = cap;
    }
    r = map_put(&plan->set_by_keys, buf_bytes(&name), (void *)(uintptr_t)(plan->n_sets + 1));
    if (r < 0)
        return r;
    if (n_rules)
        memcpy(plan->key_lengths + plan->n_sets * n_rules, lengths, n_rules * sizeof *lengths);
    *ret_set = (uint32_t)plan->n_sets++;
    return 0;
}

static int make_keys(struct plan *plan, struct bytes input, size_t item, uint32_t *ret_set) {
    const struct workflow *workflow = plan->workflow;
    struct cel_vars vars = {.input = input, .additional_metadata = plan->metadata};
    size_t at = plan->keys.n, lengths[FROE_RULES_MAX] = {0};
    for (size_t i = 0; i < workflow->n_rules; i++) {
        size_t before = plan->keys.n;
        struct err err = {0};
        int r = cel_eval_string(workflow->rules[i].program, &vars, &plan->keys, &err);
        if (r == -ENOMEM)
            return r;
        lengths[i] = plan->keys.n - before;
        if (r == 0 && lengths[i] > FROE_KEY_MAX)
            r = err_set(&err, -E2BIG, "it has %zu bytes; at most %d are taken", lengths[i], FROE_KEY_MAX);
        if (r == 0 && lengths[i] > 0 && memchr(plan->keys.p + before, '\0', lengths[i]))
            r = err_set(&err, -EINVAL, "it holds a NUL");
        if (r < 0) {
            plan->keys.n = at;
            add_reason(plan, &err, i, item);
            *ret_set = SET_FAILED;
            return 0;
        }
    }
    return find_set(plan, at, lengths, ret_set);
}

static int choose_set(struct plan *plan, size_t i, froe_error *error) {
    const froe_item *item = plan->given->items ? &plan->given->items[i] : NULL;
    uint32_t *set = &plan->set_of[i];
    if (!item || !item->input) {
        if (!plan->shared_is_known && make_keys(plan, plan->input, i, &plan->shared_set) < 0)
            return no_memory(error);
        plan->shared_is_known = true;
        *set = plan->shared_set;
    } else if (i > 0 && item[-1].input && strcmp(item->input, item[-1].input) == 0) {
        *set = set[-1];
    } else {
        int r = check_text("an item's input", own_input(item), error);
        if (r != FROE_OK)
            return r;
        if (make_keys(plan, own_input(item), i, set) < 0)
            return no_memory(error);
    }
    plan->spawn->failed += *set == SET_FAILED;
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
    const struct workflow *workflow = plan->workflow;
    spawn->sets = mem_calloc(plan->n_sets, sizeof *spawn->sets);
    if (!spawn->sets)
        return -ENOMEM;
    size_t from = 0;
    for (size_t i = 0; i < plan->n_sets; i++) {
        struct keyset *set = &spawn->sets[i];
        for (size_t j = 0; j < workflow->n_rules; j++) {
            size_t n = plan->key_lengths[i * workflow->n_rules + j];
            set->keys[j] = put(at, bytes_of(plan->keys.p + from, n));
            from += n;
        }
        struct bytes key = workflow->group_rule < workflow->n_rules ? set->keys[workflow->group_rule] : BYTES_NONE;
        set->group = group_get(plan->workflow, key, true);
        if (!set->group)
            return -ENOMEM;
    }
    spawn->n_sets = plan->n_sets;
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
    size_t n = plan->given->n;
    spawn->n_items = n - spawn->failed;
    spawn->items = mem_calloc(spawn->n_items, sizeof *spawn->items);
    if (!spawn->items)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        if (plan->set_of[i] != SET_FAILED)
            spawn->sets[plan->set_of[i]].n++;
    for (size_t i = 1; i < spawn->n_sets; i++)
        spawn->sets[i].first = spawn->sets[i - 1].first + spawn->sets[i - 1].n;
    for (size_t i = 0; i < spawn->n_sets; i++)
        spawn->sets[i].n = 0;
    for (size_t i = 0; i < n; i++) {
        if (plan->set_of[i] == SET_FAILED)
            continue;
        struct keyset *set = &spawn->sets[plan->set_of[i]];
        struct store_item *to = &spawn->items[set->first + set->n];
        *to = copy_item(plan, i, set->n > 0 ? to - 1 : NULL, at);
        set->n++;
    }
    return 0;
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

int spawn_make(froe *engine, const froe_spawn *given, int64_t tick_utc_us, froe_spawned_fn *done, void *arg,
               froe_error *error) {
    _cleanup_plan_ struct plan plan = {.given = given};
    _cleanup_free_ char *metadata = NULL;
    plan.workflow = given->workflow ? workflow_find(engine, given->workflow) : NULL;
    if (!plan.workflow || !plan.workflow->registered)
        return engine_error(error, FROE_ERR_NOT_FOUND, "there is no workflow \"%.80s\"",
                            given->workflow ? given->workflow : "");
    if (given->delay_us < 0)
        return engine_error(error, FROE_ERR_INVALID, "a negative delay");
    int r = check_items(given, error);
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
    if (copy_all(&plan) < 0)
        return no_memory(error);
    struct spawn_request *spawn = plan.spawn;
    spawn->workflow = plan.workflow;
    spawn->done = done;
    spawn->arg = arg;
    spawn->tick_utc_us = tick_utc_us;
    if (given->delay_us > 0 &&
        __builtin_add_overflow(engine_utc_us(engine), given->delay_us, &spawn->not_before_utc_us))
        return engine_error(error, FROE_ERR_INVALID, "a delay past the end of time");
    if (given->parent) {
        spawn->parent_page = given->parent->lease->store->page;
        spawn->parent_index = given->parent->run->index;
    }
    if (spawn_submit(engine, spawn) < 0)
        return no_memory(error);
    plan.spawn = NULL;
    return FROE_OK;
}

int froe_spawn_many(froe *engine, const froe_spawn *spawn, froe_spawned_fn *done, void *arg, froe_error *error) {
    if (!spawn || spawn->size != sizeof *spawn)
        return engine_error(error, FROE_ERR_INVALID, "the spawn's size is not that of this version");
    if (engine->closing)
        return engine_error(error, FROE_ERR_STATE, "the engine is closing");
    if (engine->failed)
        return engine_error_from(error, &engine->failure);
    return spawn_make(engine, spawn, 0, done, arg, error);
}
