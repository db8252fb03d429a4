/* wait.c - waiting for runs to be finished.
 *
 * What this engine settles itself is noticed at once (waits_settled). All else, what other workers do and what the
 * store decides, is found by asking: right at the beginning (but for runs that were made just now, of which nothing can
 * be known), and then again after intervals that grow. One question covers the runs of many waits, and takes at most a
 * tenth of the store's time. Each run that is waited for is once in a map, however many wait for it; the waits are in a
 * heap by when there is next something to do for them. */
#include "wait.h"

#include "cleanup.h"
#include "mem.h"

#define POLL_FIRST_US (50 * US_PER_MS)
#define FRESH_US (10 * US_PER_MS)
#define POLL_LAST_US (2 * US_PER_S)
#define POLL_REST 10 /* of what a question took */
#define POLL_REST_MAX_US (2 * US_PER_S)

struct awaited {
    struct list pending;
};

struct pending { /* one run of one wait */
    struct list link;
    struct wait *wait;
};

struct texts_at { /* offsets in the wait's texts, 0: none (there is a byte before the first) */
    size_t result, error;
};

struct wait {
    struct list link; /* in due, in polled or in answered, or in none */
    size_t heap_at;   /* NOT_IN_HEAP: it is answered */
    int64_t poll_at_mono_us, deadline_mono_us;
    int64_t interval_us;
    size_t gathered; /* of its runs were put into questions in this round */
    bool seen;       /* all of its runs were asked for once */
    bool expired;    /* its time was over before that */
    int code;        /* FROE_OK, or what to tell */
    size_t n, left;
    waited_fn *done;
    void *arg;
    froe_result *results;
    struct texts_at *texts_at;
    struct pending *pending;
    struct buf texts;
};

#define NOT_IN_HEAP SIZE_MAX

/* ---- the heap ---- */

static int64_t wake_at(const struct wait *wait) {
    return wait->poll_at_mono_us < wait->deadline_mono_us ? wait->poll_at_mono_us : wait->deadline_mono_us;
}

static void heap_put(struct waits *waits, size_t at, struct wait *wait) {
    waits->heap[at] = wait;
    wait->heap_at = at;
}

static void heap_moved(struct waits *waits, struct wait *wait) {
    size_t at = wait->heap_at;
    while (at > 0 && wake_at(waits->heap[(at - 1) / 2]) > wake_at(wait)) {
        heap_put(waits, at, waits->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (size_t child; (child = 2 * at + 1) < waits->n; at = child) {
        if (child + 1 < waits->n && wake_at(waits->heap[child + 1]) < wake_at(waits->heap[child]))
            child++;
        if (wake_at(waits->heap[child]) >= wake_at(wait))
            break;
        heap_put(waits, at, waits->heap[child]);
    }
    heap_put(waits, at, wait);
}

static int heap_add(struct waits *waits, struct wait *wait) {
    if (waits->n == waits->cap) {
        size_t cap = waits->cap ? waits->cap * 2 : 16;
        struct wait **heap = mem_reallocarray(waits->heap, cap, sizeof(struct wait *));
        if (!heap)
            return -ENOMEM;
        waits->heap = heap;
        waits->cap = cap;
    }
    heap_put(waits, waits->n++, wait);
    heap_moved(waits, wait);
    return 0;
}

static void heap_remove(struct waits *waits, struct wait *wait) {
    size_t at = wait->heap_at;
    wait->heap_at = NOT_IN_HEAP;
    struct wait *last = waits->heap[--waits->n];
    if (last == wait)
        return;
    heap_put(waits, at, last);
    heap_moved(waits, last);
}

/* ---- runs ---- */

struct run_key { /* no padding: it is hashed */
    int64_t page, index;
};

static struct bytes key_of(const struct run_key *key) {
    return bytes_of(key, sizeof *key);
}

static struct awaited *find(const struct waits *waits, int64_t page, uint32_t index) {
    const struct run_key key = {page, index};
    return map_get(&waits->runs, key_of(&key));
}

static int await(struct waits *waits, struct pending *pending, froe_run_id id) {
    struct awaited *awaited = find(waits, id.page, id.index);
    if (!awaited) {
        const struct run_key key = {id.page, id.index};
        awaited = mem_alloc(sizeof *awaited);
        if (!awaited)
            return -ENOMEM;
        list_init(&awaited->pending);
        if (map_put(&waits->runs, key_of(&key), awaited) < 0) {
            mem_free(awaited);
            return -ENOMEM;
        }
    }
    list_push_back(&awaited->pending, &pending->link);
    return 0;
}

static void forget_run(struct waits *waits, froe_run_id id) {
    const struct run_key key = {id.page, id.index};
    mem_free(map_remove(&waits->runs, key_of(&key)));
}

/* Lets go of the runs that are not known yet. */
static void forget_pending(struct waits *waits, struct wait *wait) {
    for (size_t i = 0; i < wait->n && wait->left > 0; i++) {
        struct pending *pending = &wait->pending[i];
        if (list_empty(&pending->link))
            continue;
        struct list *others = pending->link.next;
        list_remove(&pending->link);
        wait->left--;
        if (list_empty(others)) /* that was the head of the list, and nobody else is in it */
            forget_run(waits, wait->results[i].id);
    }
}

static void wait_free(struct wait *wait) {
    buf_free(&wait->texts);
    mem_free(wait);
}

/* ---- answers ---- */

static void answered(froe *engine, struct wait *wait, int code) {
    wait->code = code;
    list_remove(&wait->link);
    if (wait->heap_at != NOT_IN_HEAP)
        heap_remove(&engine->waits_for_runs.all, wait);
    list_push_back(&engine->waits_for_runs.answered, &wait->link);
    engine->dirty = true;
}

static int keep_text(struct wait *wait, struct bytes text, size_t *ret_at) {
    *ret_at = 0;
    if (text.n == 0)
        return 0;
    if (wait->texts.n == 0 && buf_add_byte(&wait->texts, '\0') < 0)
        return -ENOMEM;
    size_t at = wait->texts.n;
    if (buf_reserve(&wait->texts, text.n + 1) < 0)
        return -ENOMEM;
    buf_add_bytes(&wait->texts, text);
    buf_add_byte(&wait->texts, '\0');
    *ret_at = at;
    return 0;
}

static bool is_over(froe_state state) {
    return state == FROE_UNKNOWN || state >= FROE_PARKED;
}

static void tell_pending(froe *engine, struct pending *pending, froe_state state, struct bytes result,
                         struct bytes error) {
    struct wait *wait = pending->wait;
    size_t i = (size_t)(pending - wait->pending);
    wait->results[i].state = state;
    if (!is_over(state))
        return;
    if (keep_text(wait, result, &wait->texts_at[i].result) < 0 || keep_text(wait, error, &wait->texts_at[i].error) < 0)
        wait->code = FROE_ERR_MEMORY;
    list_remove(&pending->link);
    if (--wait->left == 0)
        answered(engine, wait, wait->code);
}

static void run_is(froe *engine, int64_t page, uint32_t index, froe_state state, struct bytes result,
                   struct bytes error) {
    struct awaited *awaited = find(&engine->waits_for_runs.all, page, index);
    if (!awaited)
        return;
    LIST_EACH_SAFE (link, following, &awaited->pending)
        tell_pending(engine, LIST_ENTRY(link, struct pending, link), state, result, error);
    if (is_over(state))
        forget_run(&engine->waits_for_runs.all, run_id_of(page, index));
}

static void ask_soon(froe *engine, int64_t page, uint32_t index) {
    const struct awaited *awaited = find(&engine->waits_for_runs.all, page, index);
    if (!awaited)
        return;
    LIST_EACH (link, &awaited->pending) {
        struct wait *wait = LIST_ENTRY(link, struct pending, link)->wait;
        wait->interval_us = POLL_FIRST_US;
        if (!list_empty(&wait->link))
            continue;
        wait->poll_at_mono_us = engine_mono_us(engine);
        heap_moved(&engine->waits_for_runs.all, wait);
    }
    engine->dirty = true;
}

void waits_look(froe *engine, froe_run_id id) {
    ask_soon(engine, id.page, id.index);
}

void waits_settled(froe *engine, int64_t page, const struct store_settled *item) {
    if (engine->waits_for_runs.all.n == 0)
        return;
    switch (item->outcome) {
    case STORE_DONE:
        run_is(engine, page, item->index, FROE_SUCCEEDED, item->result, BYTES_NONE);
        break;
    case STORE_FORGOTTEN:
    case STORE_CANCELLED:
        run_is(engine, page, item->index, FROE_CANCELLED, BYTES_NONE, item->error);
        break;
    case STORE_FAILED:
        run_is(engine, page, item->index, FROE_FAILED, BYTES_NONE, item->error);
        break;
    case STORE_PARKED:
        run_is(engine, page, item->index, FROE_PARKED, BYTES_NONE, item->error);
        break;
    case STORE_RETRY:
    case STORE_RELEASED:
        ask_soon(engine, page, item->index); /* the store may have made it a cancelled one */
        break;
    case STORE_CHECKPOINT: /* no end */
        break;
    }
}

static const char *text_of(int code) {
    switch (code) {
    case FROE_ERR_TIMEOUT:
        return "the time was over before the runs were finished";
    case FROE_ERR_MEMORY:
        return "out of memory";
    default:
        return "the engine is closing";
    }
}

/* Its memory is the caller's to free. */
static void tell(froe *engine, struct wait *wait) {
    froe_error error;
    if (wait->code == FROE_ERR_TIMEOUT && wait->left == 0)
        wait->code = FROE_OK; /* at the last moment */
    if (wait->code == FROE_ERR_STORE)
        engine_error_from(&error, &engine->failure);
    else
        engine_error(&error, wait->code, "%s", text_of(wait->code));
    for (size_t i = 0; i < wait->n; i++) {
        const struct texts_at *at = &wait->texts_at[i];
        wait->results[i].result = at->result ? wait->texts.p + at->result : NULL;
        wait->results[i].error = at->error ? wait->texts.p + at->error : NULL;
    }
    forget_pending(&engine->waits_for_runs.all, wait);
    wait->done(wait->arg, wait->results, wait->n, wait->code == FROE_OK ? NULL : &error);
}

/* ---- asking ---- */

static void asked(froe *engine, struct poll_request *poll) {
    struct waits_state *waits = &engine->waits_for_runs;
    int64_t now = engine_mono_us(engine);
    int64_t rest = poll->took_us > POLL_REST_MAX_US / POLL_REST ? POLL_REST_MAX_US : poll->took_us * POLL_REST;
    waits->asking = false;
    waits->rest_until_mono_us = now + rest;
    struct list *link;
    while ((link = list_pop_front(&waits->polled))) {
        struct wait *wait = LIST_ENTRY(link, struct wait, link);
        if (wait->gathered < wait->n) {
            list_push_back(&waits->due, link);
            continue;
        }
        wait->seen = true;
        wait->gathered = 0;
        if (wait->expired) {
            answered(engine, wait, FROE_ERR_TIMEOUT);
            continue;
        }
        int64_t half = wait->interval_us / 2;
        wait->poll_at_mono_us = now + half + (int64_t)rng_below(&engine->rng, (uint64_t)half + 1);
        wait->interval_us = wait->interval_us * 2 < POLL_LAST_US ? wait->interval_us * 2 : POLL_LAST_US;
        heap_moved(&waits->all, wait);
    }
}

static void finish_poll(struct request *request, struct froe *engine) {
    struct poll_request *poll = (struct poll_request *)(void *)request;
    if (request->r == 0) {
        for (size_t i = 0; i < poll->n; i++) {
            const struct polled *run = &poll->runs[i];
            struct bytes result = bytes_of(poll->texts.p + run->text_at, run->result_n);
            struct bytes error = bytes_of(poll->texts.p + run->text_at + run->result_n, run->error_n);
            run_is(engine, run->page, run->index, run->state, result, error);
        }
    } else {
        engine_fail(engine, &request->err);
    }
    asked(engine, poll);
    poll_free(poll);
    engine->dirty = true;
}

static void gather(struct waits_state *waits, struct poll_request *poll) {
    while (!list_empty(&waits->due) && poll->n < POLL_RUNS) {
        struct wait *wait = LIST_ENTRY(waits->due.next, struct wait, link);
        for (; wait->gathered < wait->n && poll->n < POLL_RUNS; wait->gathered++)
            if (!list_empty(&wait->pending[wait->gathered].link))
                poll_add(poll, wait->results[wait->gathered].id);
        list_move_back(&waits->polled, &wait->link);
    }
}

static void ask(froe *engine) {
    struct poll_request *poll = poll_make();
    if (!poll) {
        engine_fail(engine, &(struct err){.code = -ENOMEM, .text = "out of memory"});
        return;
    }
    gather(&engine->waits_for_runs, poll);
    poll->request.finish = finish_poll;
    engine->waits_for_runs.asking = true;
    engine_submit(engine, &poll->request);
}

/* ---- the pump ---- */

void waits_init(froe *engine) {
    list_init(&engine->waits_for_runs.due);
    list_init(&engine->waits_for_runs.polled);
    list_init(&engine->waits_for_runs.answered);
    engine->waits_for_runs.fresh_page = INT64_MAX;
}

void waits_free(froe *engine) {
    struct waits *waits = &engine->waits_for_runs.all;
    map_free(&waits->runs);
    mem_free(waits->heap);
}

static void wake(froe *engine, int64_t now) {
    struct waits *waits = &engine->waits_for_runs.all;
    while (waits->n > 0 && wake_at(waits->heap[0]) <= now) {
        struct wait *wait = waits->heap[0];
        if (wait->deadline_mono_us <= now && wait->seen) {
            answered(engine, wait, FROE_ERR_TIMEOUT);
            continue;
        }
        if (wait->deadline_mono_us <= now) {
            wait->expired = true;
            wait->deadline_mono_us = INT64_MAX;
        }
        if (wait->poll_at_mono_us <= now) {
            wait->poll_at_mono_us = INT64_MAX;
            list_push_back(&engine->waits_for_runs.due, &wait->link);
        }
        heap_moved(waits, wait);
    }
}

void waits_pump(froe *engine, int64_t now) {
    struct waits_state *waits = &engine->waits_for_runs;
    while ((engine->failed || engine->closing) && waits->all.n > 0)
        answered(engine, waits->all.heap[0], engine->failed ? FROE_ERR_STORE : FROE_ERR_STATE);
    wake(engine, now);
    if (!list_empty(&waits->due) && !waits->asking && now >= waits->rest_until_mono_us)
        ask(engine);
    /* Those that telling causes wait for the next turn. */
    struct list all;
    list_init(&all);
    list_splice_back(&all, &waits->answered);
    struct list *link;
    while ((link = list_pop_front(&all))) {
        struct wait *wait = LIST_ENTRY(link, struct wait, link);
        tell(engine, wait);
        wait_free(wait);
    }
}

int64_t waits_next_mono_us(const froe *engine) {
    const struct waits_state *waits = &engine->waits_for_runs;
    int64_t next = waits->all.n > 0 ? wake_at(waits->all.heap[0]) : INT64_MAX;
    if (!list_empty(&waits->due) && !waits->asking && waits->rest_until_mono_us < next)
        next = waits->rest_until_mono_us;
    return next;
}

/* ---- beginning and giving up ---- */

static struct wait *wait_make(const froe_run_id *runs, size_t n) {
    size_t size = sizeof(struct wait) + n * (sizeof(froe_result) + sizeof(struct texts_at) + sizeof(struct pending));
    struct wait *wait = mem_zalloc(size);
    if (!wait)
        return NULL;
    wait->heap_at = NOT_IN_HEAP;
    wait->results = (froe_result *)(wait + 1);
    wait->texts_at = (struct texts_at *)(wait->results + n);
    wait->pending = (struct pending *)(wait->texts_at + n);
    wait->n = n;
    list_init(&wait->link);
    for (size_t i = 0; i < n; i++) {
        wait->results[i].id = runs[i];
        wait->pending[i].wait = wait;
        list_init(&wait->pending[i].link);
    }
    return wait;
}

static int await_all(froe *engine, struct wait *wait) {
    struct waits *waits = &engine->waits_for_runs.all;
    for (size_t i = 0; i < wait->n; i++) {
        if (wait->results[i].id.page <= 0) /* of an item that was not created */
            continue;
        if (await(waits, &wait->pending[i], wait->results[i].id) < 0)
            return -ENOMEM;
        wait->left++;
    }
    return heap_add(waits, wait);
}

void waits_fresh(froe *engine, int64_t page) {
    engine->waits_for_runs.fresh_page = page;
    engine->waits_for_runs.fresh_mono_us = engine_mono_us(engine);
}

static bool is_fresh(const froe *engine, const struct wait *wait, int64_t now) {
    bool fresh = now - engine->waits_for_runs.fresh_mono_us < FRESH_US;
    for (size_t i = 0; i < wait->n && fresh; i++)
        fresh = wait->results[i].id.page <= 0 || wait->results[i].id.page >= engine->waits_for_runs.fresh_page;
    return fresh;
}

int wait_begin(froe *engine, const struct wait_call *call, struct wait **ret_wait) {
    if (!call->runs && call->n > 0)
        return engine_error(call->error, FROE_ERR_INVALID, "%zu runs to wait for, and no ids of them", call->n);
    if (call->n > FROE_WAIT_MAX)
        return engine_error(call->error, FROE_ERR_INVALID, "%zu runs to wait for; at most %d at once", call->n,
                            FROE_WAIT_MAX);
    if (call->timeout_us < 0 || !call->done)
        return engine_error(call->error, FROE_ERR_INVALID, "%s",
                            call->done ? "a negative time" : "a wait without somebody to tell");
    int r = asking_check(engine, call->error);
    if (r != FROE_OK)
        return r;
    struct wait *wait = wait_make(call->runs, call->n);
    if (!wait)
        return engine_error(call->error, FROE_ERR_MEMORY, "out of memory");
    int64_t now = engine_mono_us(engine);
    wait->done = call->done;
    wait->arg = call->arg;
    wait->poll_at_mono_us = is_fresh(engine, wait, now) ? now + POLL_FIRST_US : now;
    wait->interval_us = POLL_FIRST_US;
    if (call->timeout_us == 0 || __builtin_add_overflow(now, call->timeout_us, &wait->deadline_mono_us))
        wait->deadline_mono_us = INT64_MAX;
    if (await_all(engine, wait) < 0) {
        forget_pending(&engine->waits_for_runs.all, wait);
        wait_free(wait);
        return engine_error(call->error, FROE_ERR_MEMORY, "out of memory");
    }
    if (wait->left == 0)
        answered(engine, wait, FROE_OK);
    engine->dirty = true;
    if (ret_wait)
        *ret_wait = wait;
    return FROE_OK;
}

void wait_give_up(froe *engine, struct wait *wait) {
    answered(engine, wait, FROE_ERR_STATE);
    list_remove(&wait->link);
    tell(engine, wait);
    wait_free(wait);
}

static int call_wait(void *args) {
    const struct wait_call *call = args;
    return wait_begin(call->engine, call, NULL);
}

int froe_wait(froe *engine, const froe_run_id *runs, size_t n, int64_t timeout_us, waited_fn *done, void *arg,
              froe_error *error) {
    struct wait_call call = {engine, error, runs, n, timeout_us, done, arg};
    return engine_call_or(engine, call_wait, &call, error);
}
