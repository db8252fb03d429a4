/* leases.c - who has what: workers, their tokens on lanes, their leases on runs. All of it only in memory. */
#include "arena.h"
#include "cleanup.h"
#include "sqlite_store.h"

static struct bytes id_bytes(const int64_t *id) {
    return bytes_of(id, sizeof *id);
}

struct worker *leases_worker(const struct sqlite_store *store, int64_t id) {
    LIST_EACH (link, &store->workers) {
        struct worker *worker = LIST_ENTRY(link, struct worker, link);
        if (worker->id == id)
            return worker;
    }
    return NULL;
}

struct hold *leases_hold(const struct worker *worker, const struct lane *lane) {
    LIST_EACH (link, &lane->holds) {
        struct hold *hold = LIST_ENTRY(link, struct hold, of_lane);
        if (hold->worker == worker)
            return hold;
    }
    return NULL;
}

struct hold *leases_hold_new(struct worker *worker, struct lane *lane) {
    struct hold *hold = mem_zalloc(sizeof *hold);
    if (!hold)
        return NULL;
    hold->worker = worker;
    hold->lane = lane;
    list_init(&hold->leases);
    list_push_back(&worker->holds, &hold->of_worker);
    list_push_back(&lane->holds, &hold->of_lane);
    return hold;
}

void leases_hold_tokens(struct hold *hold, uint32_t tokens) {
    int64_t change = (int64_t)tokens - (int64_t)hold->tokens;
    hold->tokens = tokens;
    if (change)
        lane_tokens(hold->lane, change);
}

void leases_hold_drop_empty(struct hold *hold) {
    if (hold->leased)
        return;
    leases_hold_tokens(hold, 0);
    list_remove(&hold->of_worker);
    list_remove(&hold->of_lane);
    mem_free(hold);
}

/* Moves the first n queued bits of the page into the lease, whose bits begin at a word of the page's. */
static void take_bits(struct page *page, struct lease *lease, uint32_t n) {
    uint64_t *queued = page_queued_bits(page);
    for (uint32_t word = lease->first / 64, got = 0; got < n; word++) {
        uint64_t bits = queued[word], taken = 0;
        while (bits && got < n) {
            uint64_t lowest = bits & -bits;
            taken |= lowest;
            bits ^= lowest;
            got++;
        }
        queued[word] &= ~taken;
        lease->bits[word - lease->first / 64] = taken;
    }
}

/* They count as started from now on, whatever becomes of the lease. */
static void note_started(struct sqlite_store *store, struct page *page, const struct lease *lease) {
    for (uint32_t i = 0; i < lease->words; i++)
        page->deadline->bits[lease->first / 64 + i] |= lease->bits[i];
    page_deadline_changed(store, page);
    work_page_dirty(store, page);
}

struct lease *leases_new(struct sqlite_store *store, struct hold *hold, struct work *work, uint32_t n) {
    uint32_t first = work->index, words = 1;
    struct page *page = work->retry ? NULL : LIST_ENTRY(work, struct page, work);
    if (page) {
        const uint64_t *queued = page_queued_bits(page);
        uint32_t word = 0, seen = 0;
        while (queued[word] == 0)
            word++;
        first = word * 64;
        for (words = 0; seen < n; words++)
            seen += (uint32_t)__builtin_popcountll(queued[word + words]);
    }
    struct lease *lease = mem_zalloc(sizeof *lease + words * sizeof lease->bits[0]);
    if (!lease)
        return NULL;
    lease->id = store->next_id;
    if (map_put(&store->leases, id_bytes(&lease->id), lease) < 0) {
        mem_free(lease);
        return NULL;
    }
    store->next_id++;
    lease->hold = hold;
    lease->work = work;
    lease->left = n;
    lease->first = first;
    lease->words = words;
    list_push_back(&hold->leases, &lease->link);
    hold->leased += n;
    store->leased += n;
    lane_count(work->lane, work->retry ? LANE_RETRIES : LANE_QUEUED, -(int64_t)n);
    lane_count(work->lane, LANE_LEASED, n);
    if (page) {
        take_bits(page, lease, n);
        page->queued = (uint16_t)(page->queued - n);
        if (page->deadline)
            note_started(store, page, lease);
    } else {
        lease->bits[0] = 1;
        LIST_ENTRY(work, struct retry, work)->leased = true;
    }
    if (!page || page->queued == 0)
        work_unqueue(store, work);
    return lease;
}

static bool has_run(const struct lease *lease, uint32_t index) {
    if (lease->work->retry)
        return index == lease->first && lease->bits[0];
    return index >= lease->first && index - lease->first < lease->words * 64 &&
           bit_get(lease->bits, index - lease->first);
}

struct lease *leases_find(struct sqlite_store *store, int64_t worker, int64_t id, uint32_t index) {
    struct lease *lease = store->last_lease;
    if (!lease || lease->id != id)
        lease = map_get(&store->leases, id_bytes(&id));
    if (!lease)
        return NULL;
    store->last_lease = lease;
    return lease->hold->worker->id == worker && has_run(lease, index) ? lease : NULL;
}

struct lease *leases_of_run(const struct work *work, uint32_t index) {
    LIST_EACH (link, &work->lane->holds)
        LIST_EACH (at, &LIST_ENTRY(link, struct hold, of_lane)->leases) {
            struct lease *lease = LIST_ENTRY(at, struct lease, link);
            if (lease->work == work && has_run(lease, index))
                return lease;
        }
    return NULL;
}

static void free_lease(struct sqlite_store *store, struct lease *lease) {
    if (store->last_lease == lease)
        store->last_lease = NULL;
    map_remove(&store->leases, id_bytes(&lease->id));
    list_remove(&lease->link);
    mem_free(lease);
}

void leases_finish(struct sqlite_store *store, struct lease *lease, uint32_t index) {
    struct hold *hold = lease->hold;
    bit_clear(lease->bits, lease->work->retry ? 0 : index - lease->first);
    lane_count(hold->lane, LANE_LEASED, -1);
    store->leased--;
    hold->leased--;
    if (--lease->left == 0)
        free_lease(store, lease);
    leases_hold_drop_empty(hold);
}

/* ---- workers ---- */

/* Queues all that is left of the lease again. */
static void take_back(struct sqlite_store *store, struct lease *lease, int64_t now_utc_us) {
    struct work *work = lease->work;
    struct hold *hold = lease->hold;
    if (work->retry) {
        LIST_ENTRY(work, struct retry, work)->leased = false;
    } else {
        struct page *page = LIST_ENTRY(work, struct page, work);
        for (uint32_t i = 0; i < lease->words; i++)
            page_queued_bits(page)[lease->first / 64 + i] |= lease->bits[i];
        page->queued = (uint16_t)(page->queued + lease->left);
    }
    lane_count(work->lane, LANE_LEASED, -(int64_t)lease->left);
    lane_count(work->lane, work->retry ? LANE_RETRIES : LANE_QUEUED, lease->left);
    store->leased -= lease->left;
    hold->leased -= lease->left;
    if (work->place == WORK_OUT)
        work_queue(store, work, now_utc_us);
    free_lease(store, lease);
}

/* Runs that were asked to end and are queued again for a moment. */
struct strays {
    struct ask *items;
    size_t n, cap;
};

static int add_stray(struct strays *strays, const struct ask *ask) {
    if (strays->n == strays->cap) {
        size_t cap = strays->cap ? strays->cap * 2 : 8;
        struct ask *bigger = mem_reallocarray(strays->items, cap, sizeof *bigger);
        if (!bigger)
            return -ENOMEM;
        strays->items = bigger;
        strays->cap = cap;
    }
    strays->items[strays->n++] = *ask;
    return 0;
}

static int find_strays(struct sqlite_store *store, const struct lease *lease, struct strays *strays) {
    for (uint32_t i = 0; store->asks.count && i < lease->words * 64; i++) {
        const struct ask *ask =
            bit_get(lease->bits, i) ? cancel_asked(store, lease->work->page, lease->first + i) : NULL;
        int r = ask ? add_stray(strays, ask) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

/* They do not run again. */
static int cancel_strays(struct sqlite_store *store, const struct strays *strays, struct err *err) {
    int r = strays->n ? batch_need(store, err) : 0;
    for (size_t i = 0; i < strays->n && r == 0; i++) {
        const struct ask *ask = &strays->items[i];
        struct page *page = page_find(store, ask->page);
        struct retry *retry = retry_find(store, ask->page, ask->index);
        bool asked;
        r = cancel_unask(store, retry ? retry->work.lane : page->work.lane, ask->page, ask->index, &asked, err);
        if (r == 0)
            r = cancel_asked_one(store, ask->page, ask->index, ask->driven_out, err);
    }
    return r < 0 || !strays->n ? r : history_write(store, BYTES_NONE, err);
}

static int remove_worker(struct sqlite_store *store, struct worker *worker, struct err *err) {
    int64_t now_utc_us = clock_utc_us(store->clock);
    struct strays strays = {0};
    int r = 0;
    LIST_EACH (link, &worker->holds)
        LIST_EACH (lease, &LIST_ENTRY(link, struct hold, of_worker)->leases)
            if (r == 0)
                r = find_strays(store, LIST_ENTRY(lease, struct lease, link), &strays);
    if (r == 0) {
        LIST_EACH_SAFE (link, next, &worker->holds) {
            struct hold *hold = LIST_ENTRY(link, struct hold, of_worker);
            LIST_EACH_SAFE (lease, next_lease, &hold->leases)
                take_back(store, LIST_ENTRY(lease, struct lease, link), now_utc_us);
            leases_hold_drop_empty(hold);
        }
        r = cancel_strays(store, &strays, err);
    }
    mem_free(strays.items);
    if (r == 0)
        r = kept_requeue(store, err);
    if (r < 0)
        return r;
    list_remove(&worker->link);
    mem_free(worker);
    return 0;
}

int leases_expire(struct sqlite_store *store, struct err *err) {
    int64_t now_mono_us = clock_mono_us(store->clock);
    int r = 0;
    LIST_EACH_SAFE (link, next, &store->workers) {
        struct worker *worker = LIST_ENTRY(link, struct worker, link);
        if (r == 0 && now_mono_us >= worker->expires_mono_us)
            r = remove_worker(store, worker, err);
    }
    return r;
}

static void hear(struct sqlite_store *store, struct worker *worker) {
    worker->expires_mono_us = clock_mono_us(store->clock) + store->lease_us;
    worker->heard_utc_us = clock_utc_us(store->clock);
}

int leases_worker_add(struct sqlite_store *store, struct bytes name, uint32_t slots, int64_t *ret_worker,
                      struct err *err) {
    if (name.n > STORE_NAME_MAX)
        return err_set(err, -EINVAL, "a worker's name is longer than %d bytes", STORE_NAME_MAX);
    struct worker *worker = mem_zalloc(sizeof *worker + name.n);
    if (!worker)
        return -ENOMEM;
    worker->id = store->next_id++;
    worker->slots = slots;
    worker->since_utc_us = clock_utc_us(store->clock);
    worker->name_n = name.n;
    if (name.n)
        memcpy(worker->name, name.p, name.n);
    hear(store, worker);
    list_init(&worker->holds);
    list_init(&worker->asks);
    list_push_back(&store->workers, &worker->link);
    *ret_worker = worker->id;
    return 0;
}

static int tell_asks(struct worker *worker, struct store_cancels *ret_cancels) {
    size_t n = 0;
    LIST_EACH (link, &worker->asks)
        n++;
    if (n == 0)
        return 0;
    struct arena *arena = arena_new();
    struct store_cancel *items = arena ? arena_alloc(arena, n * sizeof *items) : NULL;
    if (!items) {
        arena_free(arena);
        return -ENOMEM;
    }
    n = 0;
    for (struct list *link; (link = list_pop_front(&worker->asks));) {
        const struct ask *ask = LIST_ENTRY(link, struct ask, link);
        items[n++] = (struct store_cancel){
            .lease = ask->lease, .page = ask->page, .index = ask->index, .driven_out = ask->driven_out};
    }
    *ret_cancels = (struct store_cancels){.items = items, .n = n, .arena = arena};
    return 0;
}

int leases_heartbeat(struct sqlite_store *store, int64_t id, struct store_cancels *ret_cancels, struct err *err) {
    int r = leases_expire(store, err);
    if (r < 0)
        return r;
    struct worker *worker = leases_worker(store, id);
    if (!worker)
        return err_set(err, -ESTALE, "the leases of worker %lld ran out and were taken back", (long long)id);
    hear(store, worker);
    return ret_cancels ? tell_asks(worker, ret_cancels) : 0;
}

int leases_worker_remove(struct sqlite_store *store, int64_t id, struct err *err) {
    struct worker *worker = leases_worker(store, id);
    return worker ? remove_worker(store, worker, err) : 0;
}

void leases_free(struct sqlite_store *store) {
    LIST_EACH_SAFE (link, next, &store->workers) {
        struct worker *worker = LIST_ENTRY(link, struct worker, link);
        LIST_EACH_SAFE (at, following, &worker->holds) {
            struct hold *hold = LIST_ENTRY(at, struct hold, of_worker);
            LIST_EACH_SAFE (lease, next_lease, &hold->leases)
                mem_free(LIST_ENTRY(lease, struct lease, link));
            mem_free(hold);
        }
        mem_free(worker);
    }
    list_init(&store->workers);
    map_free(&store->leases);
}
