/* spawn_pages.c - spawns in pages: to the store, and what came of them. */
#include "spawn.h"

#include "cleanup.h"
#include "mem.h"

static void free_made(struct spawn_request *spawn) {
    spawn_joint_free(spawn->joint);
    spawn->joint = NULL;
    for (size_t i = 0; i < spawn->n_pages; i++) {
        mem_free(spawn->pages[i].own);
        spawn->pages[i].own = NULL;
    }
}

void spawn_free(struct spawn_request *spawn) {
    if (!spawn)
        return;
    free_made(spawn);
    mem_free(spawn->pages);
    mem_free(spawn->items);
    for (size_t i = 0; i < spawn->n_sets; i++)
        group_unref(spawn->sets[i].group);
    mem_free(spawn->sets);
    mem_free(spawn->placed);
    mem_free(spawn->places);
    mem_free(spawn->runs);
    mem_free(spawn->memory);
    mem_free(spawn);
}

/* ---- to the store ---- */

/* A run whose keys depend on its id: the id first, then the keys, in a page of its own. */
static int make_own(struct spawn_request *spawn, struct spawn_page *page, struct store *store, int64_t *ret_id,
                    struct err *err) {
    const struct workflow *workflow = spawn->workflow;
    int r = store_page_reserve(store, ret_id, err);
    if (r < 0)
        return r;
    char run_id[FROE_RUN_ID_MAX];
    froe_run_id_text((froe_run_id){.page = *ret_id}, run_id);
    const struct bytes own = spawn->items[page->first].input;
    struct cel_vars vars = {.input = own.n ? own : spawn->input,
                            .additional_metadata = spawn->metadata,
                            .workflow_run_id = bytes_str(run_id)};
    _cleanup_buf_ struct buf keys = {0};
    size_t lengths[FROE_RULES_MAX];
    struct err why = {0};
    r = spawn_keys(workflow, &vars, &keys, lengths, &why);
    if (r == -EINVAL)
        r = buf_add_str(&keys, why.text);
    bool failed = why.code != 0;
    page->own = r < 0 ? NULL : mem_zalloc(sizeof *page->own + keys.n);
    if (!page->own)
        return err_set(err, -ENOMEM, "out of memory");
    char *texts = (char *)(page->own + 1);
    if (keys.n)
        memcpy(texts, keys.p, keys.n);
    if (failed)
        page->own->failed = bytes_of(texts, keys.n);
    for (size_t i = 0; i < workflow->n_rules && !failed; i++) {
        page->own->keys[i] = bytes_of(texts, lengths[i]);
        texts += lengths[i];
    }
    return 0;
}

static int write_page(struct spawn_request *spawn, struct spawn_page *page, struct store *store, struct err *err) {
    int64_t id = 0;
    const struct keyset *set = page->set;
    if (spawn->workflow->keys_need_id) {
        int r = make_own(spawn, page, store, &id, err);
        if (r < 0)
            return r;
        set = page->own;
    }
    page->given = (struct store_page){
        .workflow = spawn->workflow->store_id,
        .keys = set->keys,
        .n_keys = set->failed.n ? 0 : spawn->workflow->n_rules,
        .input = spawn->input,
        .metadata = spawn->metadata,
        .parent_page = spawn->parent_page,
        .parent_index = spawn->parent_index,
        .not_before_utc_us = spawn->not_before_utc_us,
        .items = spawn->items + page->first,
        .n = page->n,
        .id = id,
        .priority = spawn->priority,
        .start_by_utc_us = spawn->start_by_utc_us,
        .failed = set->failed,
        .ret_runs = spawn->placed ? spawn->placed + page->first : NULL,
    };
    return store_spawn(store, &page->given, &page->spawned, err);
}

static int execute(struct request *request, struct store *store, struct err *err) {
    struct spawn_request *spawn = (struct spawn_request *)(void *)request;
    if (spawn->joined)
        return 0;
    free_made(spawn);
    bool joined;
    int r = spawn_join(spawn, store, &joined, err);
    if (r < 0 || joined)
        return r;
    if (spawn->tick_utc_us) {
        bool first;
        r = store_tick(store, spawn->workflow->store_id, spawn->tick_utc_us, &first, err);
        if (r < 0)
            return r;
        spawn->tick_was_taken = !first;
        if (!first)
            return 0;
    }
    for (size_t i = 0; i < spawn->n_pages && r == 0; i++)
        r = write_page(spawn, &spawn->pages[i], store, err);
    return r;
}

/* ---- and back ---- */

/* One event for all of a set. */
static void tell_failed(struct froe *engine, const struct spawn_request *spawn, const struct spawn_page *page,
                        const struct keyset *set, size_t *told, uint64_t *untold) {
    size_t n = page->own ? 1 : set->n;
    if (page->first != set->first && !page->own)
        return;
    if (++*told > REASONS_MAX) {
        *untold += n;
        return;
    }
    const struct store_item *item = &spawn->items[page->first];
    char run_id[FROE_RUN_ID_MAX] = "";
    if (n == 1 && page->spawned.page)
        froe_run_id_text((froe_run_id){.page = page->spawned.page}, run_id);
    froe_event event = {
        .kind = FROE_EVENT_FAILED,
        .level = FROE_ERROR,
        .workflow = spawn->workflow->name,
        .run_id = run_id,
        .child_key = n == 1 ? item->child_key.p : NULL,
        .child_key_n = n == 1 ? item->child_key.n : 0,
        .count = n,
    };
    event_tell_later(engine, event_make(&event, set->failed));
}

static void tell_others_failed(struct froe *engine, const struct spawn_request *spawn, uint64_t untold) {
    if (untold == 0)
        return;
    froe_event event = {
        .kind = FROE_EVENT_FAILED, .level = FROE_ERROR, .workflow = spawn->workflow->name, .count = untold};
    event_tell_later(engine, event_make(&event, BYTES("more of the same spawn, for other reasons")));
}

static void name_runs(const struct spawn_request *spawn, const struct spawn_page *page) {
    for (size_t i = page->first; i < page->first + page->n; i++) {
        const struct store_place *placed = &spawn->placed[i];
        size_t at = spawn->places ? spawn->places[i] : i;
        spawn->runs[at] = (froe_run_id){.page = placed->page, .index = placed->index};
        if (spawn->ret_created)
            spawn->ret_created[at] = placed->created;
    }
}

static void count_page(struct froe *engine, const struct spawn_request *spawn, const struct spawn_page *page,
                       struct group *group, froe_spawned *total) {
    const struct store_spawned *spawned = &page->spawned;
    group->live += spawned->created;
    group->parked -= group->parked < spawned->superseded ? group->parked : spawned->superseded;
    group->cancelled += spawned->cancelled;
    total->created += spawned->created;
    total->duplicates += spawned->duplicates;
    total->superseded += spawned->superseded;
    total->cancelled += spawned->cancelled;
    total->driven_out += spawned->driven_out;
    if (spawned->cancelled)
        event_refused(engine, spawn->workflow, group, spawned->cancelled);
    if (spawned->created && spawn->not_before_utc_us)
        claims_due(engine, spawn->not_before_utc_us);
    if (spawned->driven_out > 0)
        groups_renew(engine); /* it does not say of which */
    if (spawned->cancels)
        worker_heartbeat_soon(engine);
}

static void count(struct froe *engine, const struct spawn_request *spawn, froe_spawned *total) {
    size_t told = 0;
    uint64_t untold = 0;
    for (size_t i = 0; i < spawn->n_pages; i++) {
        const struct spawn_page *page = &spawn->pages[i];
        const struct keyset *set = page->own ? page->own : page->set;
        struct group *group = set->group;
        if (!group)
            group = group_get(spawn->workflow, spawn_group_key(spawn->workflow, set), true);
        if (!group) {
            engine_fail(engine, &(struct err){.code = -ENOMEM, .text = "out of memory"});
            return;
        }
        if (spawn->placed)
            name_runs(spawn, page);
        if (set->failed.n > 0) {
            group->failed += page->n;
            total->failed += (uint32_t)page->n;
            tell_failed(engine, spawn, page, set, &told, &untold);
        } else {
            count_page(engine, spawn, page, group, total);
        }
    }
    tell_others_failed(engine, spawn, untold);
}

static void note_fresh(struct froe *engine, const struct spawn_request *spawn, const froe_spawned *total) {
    int64_t page = INT64_MAX;
    for (size_t i = 0; i < spawn->n_pages && total->failed == 0; i++)
        if (spawn->pages[i].spawned.created && spawn->pages[i].spawned.page < page)
            page = spawn->pages[i].spawned.page;
    waits_fresh(engine, page);
}

static void finish(struct request *request, struct froe *engine) {
    struct spawn_request *spawn = (struct spawn_request *)(void *)request;
    if (request->r == 0) {
        if (spawn->joint)
            spawn_joint_tell(spawn);
        froe_spawned total = {.runs = spawn->runs, .n = spawn->n_items};
        if (!spawn->tick_was_taken)
            count(engine, spawn, &total);
        note_fresh(engine, spawn, &total);
        if (spawn->done)
            spawn->done(spawn->arg, &total, NULL);
    } else if (spawn->done) {
        froe_error error;
        engine_error_from(&error, &request->err);
        spawn->done(spawn->arg, NULL, &error);
    }
    spawn_free(spawn);
}

int spawn_submit(froe *engine, struct spawn_request *spawn) {
    size_t n_pages = 0, most = spawn->workflow->keys_need_id ? 1 : STORE_PAGE_MAX;
    for (size_t i = 0; i < spawn->n_sets; i++)
        n_pages += (spawn->sets[i].n + most - 1) / most;
    spawn->pages = mem_calloc(n_pages, sizeof *spawn->pages);
    if (!spawn->pages)
        return -ENOMEM;
    for (size_t i = 0; i < spawn->n_sets; i++) {
        const struct keyset *set = &spawn->sets[i];
        for (size_t at = 0; at < set->n; at += most)
            spawn->pages[spawn->n_pages++] = (struct spawn_page){
                .set = set,
                .first = set->first + at,
                .n = set->n - at < most ? set->n - at : most,
            };
    }
    spawn->request.execute = execute;
    spawn->request.finish = finish;
    settle_flush(engine);
    engine_submit(engine, &spawn->request);
    /* A claim that is sent from now on finds the runs. */
    for (size_t i = 0; i < spawn->n_sets; i++)
        claims_stir(engine, spawn->sets[i].group);
    return 0;
}
