/* spawn_pages.c - spawns in pages: to the store, and what came of them. */
#include "spawn.h"

#include "mem.h"

void spawn_free(struct spawn_request *spawn) {
    if (!spawn)
        return;
    for (size_t i = 0; i < spawn->n_reasons; i++)
        mem_free(spawn->reasons[i].text);
    mem_free(spawn->pages);
    mem_free(spawn->items);
    mem_free(spawn->sets);
    mem_free(spawn->memory);
    mem_free(spawn);
}

static int write_page(struct spawn_request *spawn, struct spawn_page *page, struct store *store, struct err *err) {
    const struct keyset *set = &spawn->sets[page->set];
    struct store_page given = {
        .workflow = spawn->workflow->store_id,
        .keys = set->keys,
        .n_keys = spawn->workflow->n_rules,
        .input = spawn->input,
        .metadata = spawn->metadata,
        .parent_page = spawn->parent_page,
        .parent_index = spawn->parent_index,
        .not_before_utc_us = spawn->not_before_utc_us,
        .items = spawn->items + page->first,
        .n = page->n,
    };
    return store_spawn(store, &given, &page->spawned, err);
}

static int execute(struct request *request, struct store *store, struct err *err) {
    struct spawn_request *spawn = (struct spawn_request *)(void *)request;
    if (spawn->tick_utc_us) {
        bool first;
        int r = store_tick(store, spawn->workflow->store_id, spawn->tick_utc_us, &first, err);
        if (r < 0)
            return r;
        spawn->tick_was_taken = !first;
        if (!first)
            return 0;
    }
    for (size_t i = 0; i < spawn->n_pages; i++) {
        int r = write_page(spawn, &spawn->pages[i], store, err);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < spawn->n_reasons; i++) {
        int r = store_log_add(store, 0, 0, FROE_ERROR, bytes_str(spawn->reasons[i].text), err);
        if (r < 0)
            return r;
    }
    return 0;
}

static void count(struct froe *engine, const struct spawn_request *spawn, froe_spawned *total) {
    for (size_t i = 0; i < spawn->n_pages; i++) {
        const struct store_spawned *spawned = &spawn->pages[i].spawned;
        struct group *group = spawn->sets[spawn->pages[i].set].group;
        group->live += spawned->created;
        group->parked -= spawned->superseded;
        group->cancelled += spawned->cancelled;
        total->created += spawned->created;
        total->duplicates += spawned->duplicates;
        total->superseded += spawned->superseded;
        total->cancelled += spawned->cancelled;
        if (spawned->cancelled)
            event_refused(engine, spawn->workflow, group, spawned->cancelled);
        if (spawned->created && spawn->not_before_utc_us)
            claims_due(engine, spawn->not_before_utc_us);
    }
    if (spawn->tick_was_taken)
        return;
    total->failed = spawn->failed;
    for (size_t i = 0; i < spawn->n_reasons; i++)
        event_log(engine, FROE_ERROR, spawn->workflow, "%s", spawn->reasons[i].text);
}

static void finish(struct request *request, struct froe *engine) {
    struct spawn_request *spawn = (struct spawn_request *)(void *)request;
    if (request->r == 0) {
        froe_spawned total = {0};
        count(engine, spawn, &total);
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
    size_t n_pages = 0;
    for (size_t i = 0; i < spawn->n_sets; i++)
        n_pages += (spawn->sets[i].n + STORE_PAGE_MAX - 1) / STORE_PAGE_MAX;
    spawn->pages = mem_calloc(n_pages, sizeof *spawn->pages);
    if (!spawn->pages)
        return -ENOMEM;
    for (size_t i = 0; i < spawn->n_sets; i++) {
        const struct keyset *set = &spawn->sets[i];
        for (size_t at = 0; at < set->n; at += STORE_PAGE_MAX)
            spawn->pages[spawn->n_pages++] = (struct spawn_page){
                .set = i,
                .first = set->first + at,
                .n = set->n - at < STORE_PAGE_MAX ? set->n - at : STORE_PAGE_MAX,
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
