/* settle.c - how ends of tasks gather and go to the store, with checkpoints and the log lines of the tasks.
 *
 * An end is in memory until the next flush; who asks the store for anything flushes first, so that all becomes durable
 * in the order in which it was said. */
#include "engine.h"

#include "cleanup.h"
#include "mem.h"

static const char given_back[] = "cancelled when its worker gave it back";
const struct store_settled settle_released = {.outcome = STORE_RELEASED, .error = {given_back, sizeof given_back - 1}};

struct log_line {
    struct list link;
    int64_t page;
    uint32_t index;
    froe_level level;
    size_t n;
    char text[];
};

static void free_lines(struct list *lines) {
    struct list *link;
    while ((link = list_pop_front(lines)))
        mem_free(LIST_ENTRY(link, struct log_line, link));
}

static void free_item(struct store_settled *item, struct ended *ended) {
    if (ended->own & OWN_GENERATION)
        mem_free((void *)(uintptr_t)item->generation.p);
    if (ended->own & OWN_CHECKPOINT)
        mem_free((void *)(uintptr_t)item->checkpoint.p);
    if (ended->own & OWN_ERROR)
        mem_free((void *)(uintptr_t)item->error.p);
    if (ended->own & OWN_RESULT)
        mem_free((void *)(uintptr_t)item->result.p);
    event_free(ended->event);
    group_unref(ended->group);
}

static void empty(struct settlement *settlement) {
    for (size_t i = 0; i < settlement->n; i++)
        free_item(&settlement->items[i], &settlement->ended[i]);
    settlement->n = 0;
    free_lines(&settlement->lines);
    settlement->n_lines = 0;
    settlement->ignored = 0;
}

void settlement_free(struct settlement *settlement) {
    if (!settlement)
        return;
    empty(settlement);
    mem_free(settlement->items);
    mem_free(settlement->ended);
    mem_free(settlement);
}

/* ---- to the store and back ---- */

static int execute_settlement(struct request *request, struct store *store, struct err *err) {
    struct settlement *settlement = (struct settlement *)(void *)request;
    LIST_EACH (link, &settlement->lines) {
        const struct log_line *line = LIST_ENTRY(link, struct log_line, link);
        int r = store_log_add(store, line->page, line->index, (int)line->level, bytes_of(line->text, line->n), err);
        if (r < 0)
            return r;
    }
    if (settlement->n == 0)
        return 0;
    return store_settle(store, settlement->worker, settlement->items, settlement->n, &settlement->ignored, err);
}

/* Of a shared store, others may have spawned what is settled here, and that is only known after the next reading. */
static void less(uint64_t *number) {
    if (*number > 0)
        --*number;
}

static int count(struct froe *engine, const struct store_settled *item, const struct ended *ended) {
    struct group *group = ended->group;
    engine->numbers_used = true;
    group->failed += item->failed;
    switch (item->outcome) {
    case STORE_DONE:
        less(&group->live);
        group->done++;
        return 0;
    case STORE_CANCELLED:
        group->cancelled++;
        less(&group->live);
        return 0;
    case STORE_FORGOTTEN:
    case STORE_FAILED:
        less(&group->live);
        return 0;
    case STORE_PARKED:
        less(&group->live);
        group->parked++;
        return 0;
    case STORE_RETRY:
        claims_due(engine, item->due_utc_us);
        return group_add_waiting(engine, group, ended->lane);
    case STORE_RELEASED:
        claims_stir(engine, group);
        return 0;
    case STORE_CHECKPOINT:
        return 0;
    }
    return 0;
}

static void finish_settlement(struct request *request, struct froe *engine) {
    struct settlement *settlement = (struct settlement *)(void *)request;
    engine->lines_inflight -= settlement->n_lines;
    /* When some were ignored the leases are lost: what counts is read again when the worker joins anew. */
    bool counts = request->r == 0 && settlement->ignored == 0;
    for (size_t i = 0; i < settlement->n; i++) {
        struct ended *ended = &settlement->ended[i];
        if (counts)
            waits_settled(engine, ended->lease->store->page, &settlement->items[i]);
        lease_acked(ended->lease);
        if (!counts)
            continue;
        if (count(engine, &settlement->items[i], ended) < 0)
            engine_fail(engine, &(struct err){.code = -ENOMEM, .text = "out of memory"});
        event_tell_later(engine, TAKE_PTR(ended->event));
    }
    checkpoints_told(engine, settlement,
                     request->r < 0 ? engine_public_code(request->r)
                     : counts       ? FROE_OK
                                    : FROE_ERR_STATE,
                     request->r < 0 ? request->err.text : "the lease was lost: the run is given to others");
    if (request->r == -ESTALE || settlement->ignored > 0)
        worker_lost(engine, "the store took the leases back: it had not heard of this worker for too long");
    else if (request->r < 0)
        engine_fail(engine, &request->err);
    empty(settlement);
    if (engine->spare)
        settlement_free(settlement);
    else
        engine->spare = settlement;
}

/* ---- gathering ---- */

static int reserve(struct settlement *settlement, size_t cap) {
    if (cap <= settlement->cap)
        return 0;
    cap = cap < 64 ? 64 : cap + cap / 2;
    struct store_settled *items = mem_reallocarray(settlement->items, cap, sizeof *items);
    if (!items)
        return -ENOMEM;
    settlement->items = items;
    struct ended *ended = mem_reallocarray(settlement->ended, cap, sizeof *ended);
    if (!ended)
        return -ENOMEM;
    settlement->ended = ended;
    settlement->cap = cap;
    return 0;
}

static struct settlement *settlement_make(struct froe *engine, size_t cap) {
    struct settlement *settlement = TAKE_PTR(engine->spare);
    if (!settlement) {
        settlement = mem_zalloc(sizeof *settlement);
        if (!settlement)
            return NULL;
        list_init(&settlement->lines);
    }
    if (reserve(settlement, cap) < 0) {
        settlement_free(settlement);
        return NULL;
    }
    settlement->request.execute = execute_settlement;
    settlement->request.finish = finish_settlement;
    return settlement;
}

int settle_reserve(froe *engine, size_t more) {
    if (!engine->ends) {
        engine->ends = settlement_make(engine, engine->n_tasks + more);
        return engine->ends ? 0 : -ENOMEM;
    }
    return reserve(engine->ends, engine->ends->n + engine->n_tasks + more);
}

static bool is_empty(const struct froe *engine) {
    return !engine->ends || (engine->ends->n + engine->ends->n_lines == 0 && list_empty(&engine->unsaved));
}

void settle_comes(froe *engine) {
    if (is_empty(engine))
        engine->ends->first_mono_us = engine_mono_us(engine);
    engine->dirty = true;
}

void settle_add(froe *engine, struct lane *lane, struct lease *lease, uint32_t at, const struct store_settled *item,
                unsigned own, struct event_node *event) {
    struct settlement *ends = engine->ends;
    settle_comes(engine);
    const struct store_run *run = &lease->store->runs[at];
    struct store_settled *to = &ends->items[ends->n];
    *to = *item;
    to->lease = lease->store->id;
    to->index = run->index;
    to->child_key = run->child_key;
    to->input = run->input;
    ends->ended[ends->n] =
        (struct ended){.lease = lease, .group = group_ref(lane->group), .lane = lane->id, .event = event, .own = own};
    ends->n++;
    held_run_settled(engine, lane);
}

void settle_line(froe *engine, int64_t page, uint32_t index, froe_level level, struct bytes text) {
    /* More than the store keeps need not get there; what ends tasks must not wait for talk. */
    size_t pending = engine->lines_inflight + (engine->ends ? engine->ends->n_lines : 0);
    if (engine->failed || pending >= LOG_PENDING_MAX || settle_reserve(engine, 0) < 0)
        return;
    struct log_line *line = mem_alloc(sizeof *line + text.n);
    if (!line)
        return;
    settle_comes(engine);
    *line = (struct log_line){.page = page, .index = index, .level = level, .n = text.n};
    if (text.n)
        memcpy(line->text, text.p, text.n);
    list_push_back(&engine->ends->lines, &line->link);
    engine->ends->n_lines++;
}

void settle_flush(froe *engine) {
    struct settlement *ends = engine->ends;
    if (is_empty(engine) || engine->failed)
        return;
    /* What runs must be able to end after this, whatever happens to memory. */
    struct settlement *next = settlement_make(engine, engine->n_tasks);
    if (!next) {
        engine_fail(engine, &(struct err){.code = -ENOMEM, .text = "out of memory"});
        return;
    }
    engine->ends = next;
    checkpoints_gather(engine, ends);
    ends->worker = engine->worker;
    engine->lines_inflight += ends->n_lines;
    engine->flushed_mono_us = engine_mono_us(engine);
    engine->lane_ended = false;
    engine_submit(engine, &ends->request);
}

void settle_discard(froe *engine) {
    struct settlement *ends = engine->ends;
    checkpoints_drop(engine, engine_public_code(engine->failure.code), engine->failure.text);
    if (!ends)
        return;
    for (size_t i = 0; i < ends->n; i++)
        lease_acked(ends->ended[i].lease);
    empty(ends);
}

/* Is it time? At once when the store has nothing to do and was left alone for a while, so that a lone run is not held
 * up; a lane that ended holds up others when slots wait. */
static int64_t flush_at(const struct froe *engine) {
    const struct settlement *ends = engine->ends;
    if (is_empty(engine) || engine->failed)
        return INT64_MAX;
    int64_t latest = ends->first_mono_us + FLUSH_US;
    if (ends->n >= FLUSH_RUNS)
        return 0;
    if (engine->inflight > 0)
        return latest;
    if (engine->state != WORKER_RUNNING && engine->running == 0)
        return 0;
    if (engine->lane_ended && tasks_slot_free(engine) && list_empty(&engine->rotation))
        return 0;
    int64_t quiet = engine->flushed_mono_us + FLUSH_US;
    return quiet < latest ? quiet : latest;
}

void settle_pump(froe *engine, int64_t now_mono_us) {
    if (flush_at(engine) <= now_mono_us)
        settle_flush(engine);
}

int64_t settle_next_mono_us(const froe *engine) {
    return flush_at(engine);
}
