/* pool_crew.c - see pool_crew.h. */
#include "pool_crew.h"

#define RESTART_MS 50 /* after a first worker that died at once; doubles */
#define RESTART_MAX_MS 1000

void pool_crew_init(struct pool_crew *crew) {
    list_init(&crew->all);
    list_init(&crew->idle);
}

void pool_crew_begin(struct pool_crew *crew) {
    uv_timer_init(crew->kind.loop, &crew->restart); /* cannot fail */
    crew->restart.data = crew;
}

static struct pool_worker *take_idle(struct pool_crew *crew) {
    for (struct list *link; (link = list_pop_front(&crew->idle));) {
        struct pool_worker *worker = LIST_ENTRY(link, struct pool_worker, idle);
        if (pool_worker_usable(worker))
            return worker;
    }
    return NULL;
}

/* Those that are on their way out have their place taken, but only once over. */
static bool has_place(const struct pool_crew *crew) {
    size_t active = 0;
    LIST_EACH (link, &crew->all)
        active += !LIST_ENTRY(link, struct pool_worker, all)->ending;
    return active < crew->max_workers && crew->n_workers < 2 * (size_t)crew->max_workers;
}

static void on_restart(uv_timer_t *timer) {
    struct pool_crew *crew = timer->data;
    crew->again(crew->arg);
}

static struct pool_worker *start_worker(struct pool_crew *crew, int *ret_error) {
    if (!has_place(crew))
        return NULL;
    uint64_t now_ms = uv_now(crew->kind.loop);
    if (now_ms < crew->not_before_ms) {
        uv_timer_start(&crew->restart, on_restart, crew->not_before_ms - now_ms, 0);
        return NULL;
    }
    struct pool_worker *worker;
    int r = pool_worker_new(&crew->kind, crew->arg, &worker);
    if (r < 0) {
        crew->lost = r == -EPIPE;
        *ret_error = crew->n_workers > 0 && !crew->lost ? 0 : r; /* those that there are will do for now */
        return NULL;
    }
    list_push_back(&crew->all, &worker->all);
    crew->n_workers++;
    return worker;
}

struct pool_worker *pool_crew_take(struct pool_crew *crew, int *ret_error) {
    *ret_error = 0;
    struct pool_worker *worker = take_idle(crew);
    return worker ? worker : start_worker(crew, ret_error);
}

void pool_crew_put_back(struct pool_crew *crew, struct pool_worker *worker) {
    list_push_front(&crew->idle, &worker->idle);
}

static bool worn_out(const struct pool_crew *crew, const struct pool_worker *worker) {
    if (crew->recycle_objects && worker->answers >= crew->recycle_objects)
        return true;
    return crew->recycle_bytes && pool_worker_resident(worker) > crew->recycle_bytes;
}

void pool_crew_answered(struct pool_crew *crew, struct pool_worker *worker) {
    if (worn_out(crew, worker))
        pool_worker_retire(worker);
    else if (pool_worker_usable(worker))
        pool_crew_put_back(crew, worker);
}

static void after_early_death(struct pool_crew *crew) {
    uint64_t wait_ms = RESTART_MS;
    for (unsigned i = 0; i < crew->deaths && wait_ms < RESTART_MAX_MS; i++)
        wait_ms *= 2;
    crew->deaths++;
    crew->not_before_ms = uv_now(crew->kind.loop) + (wait_ms < RESTART_MAX_MS ? wait_ms : RESTART_MAX_MS);
}

void pool_crew_ended(struct pool_crew *crew, struct pool_worker *worker, const struct pool_worker_exit *exit) {
    list_remove(&worker->all);
    list_remove(&worker->idle);
    crew->n_workers--;
    crew->lost = crew->lost || exit->lost;
    if (exit->young)
        after_early_death(crew);
}

void pool_crew_retire(struct pool_crew *crew) {
    LIST_EACH (link, &crew->all)
        pool_worker_retire(LIST_ENTRY(link, struct pool_worker, all));
}
