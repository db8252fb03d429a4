/* wait_poll.c - one question to the store about many runs. Siblings are read together. */
#include "wait.h"

#include "mem.h"

#define SPARSE 8 /* of so many runs of a page one is wanted, or fewer: they are read one by one */

static int newest_first(const void *a, const void *b) {
    const struct polled *x = a, *y = b;
    if (x->page != y->page)
        return x->page < y->page ? 1 : -1;
    return x->index < y->index ? 1 : x->index > y->index ? -1 : 0;
}

static int see(struct poll_request *poll, struct polled *run, const struct store_run_info *info) {
    run->state = (froe_state)info->state;
    if (info->state < STORE_STATE_PARKED)
        return 0;
    run->text_at = poll->texts.n;
    run->result_n = info->result.n;
    run->error_n = info->error.n;
    int r = buf_add_bytes(&poll->texts, info->result);
    return r < 0 ? r : buf_add_bytes(&poll->texts, info->error);
}

struct siblings {
    struct poll_request *poll;
    size_t at, end; /* of the runs */
};

static int see_sibling(void *arg, const struct store_run_info *info) {
    struct siblings *siblings = arg;
    struct polled *runs = siblings->poll->runs;
    if (info->page != runs[siblings->at].page)
        return 1;
    /* What was passed over is not known to the store. */
    while (siblings->at < siblings->end && runs[siblings->at].index > info->index)
        siblings->at++;
    for (; siblings->at < siblings->end && runs[siblings->at].index == info->index; siblings->at++) {
        int r = see(siblings->poll, &runs[siblings->at], info);
        if (r < 0)
            return r;
    }
    return siblings->at == siblings->end;
}

static int read_page(struct poll_request *poll, size_t at, size_t end, struct store *store, struct err *err) {
    struct siblings siblings = {poll, at, end};
    const struct store_runs_filter filter = {.before_page = poll->runs[at].page,
                                             .before_index = poll->runs[at].index + 1};
    return store_runs_each(store, &filter, see_sibling, &siblings, err);
}

static int read_singly(struct poll_request *poll, size_t at, size_t end, struct store *store, struct err *err) {
    for (; at < end; at++) {
        struct siblings siblings = {poll, at, at + 1};
        int r = store_run_get(store, poll->runs[at].page, poll->runs[at].index, see_sibling, &siblings, err);
        if (r < 0 && r != -ENOENT)
            return r;
    }
    return 0;
}

/* Many may wait for the same run. */
static void sort(struct poll_request *poll) {
    struct polled *runs = poll->runs;
    qsort(runs, poll->n, sizeof *runs, newest_first);
    size_t n = 0;
    for (size_t i = 0; i < poll->n; i++) {
        if (n > 0 && newest_first(&runs[n - 1], &runs[i]) == 0)
            continue;
        runs[n++] = (struct polled){.page = runs[i].page, .index = runs[i].index};
    }
    poll->n = n;
}

static int execute(struct request *request, struct store *store, struct err *err) {
    struct poll_request *poll = (struct poll_request *)(void *)request;
    int64_t began = clock_mono_us(&clock_system);
    buf_reset(&poll->texts);
    sort(poll);
    int r = 0;
    for (size_t at = 0, end; at < poll->n && r >= 0; at = end) {
        const struct polled *first = &poll->runs[at];
        for (end = at + 1; end < poll->n && poll->runs[end].page == first->page;)
            end++;
        size_t span = (size_t)first->index - poll->runs[end - 1].index + 1;
        bool singly = end - at < 4 || span / SPARSE > end - at || first->index == UINT32_MAX;
        r = singly ? read_singly(poll, at, end, store, err) : read_page(poll, at, end, store, err);
    }
    poll->took_us = clock_mono_us(&clock_system) - began;
    return r == -ENOMEM ? err_set(err, r, "out of memory") : r < 0 ? r : 0;
}

struct poll_request *poll_make(void) {
    struct poll_request *poll = mem_zalloc(sizeof *poll);
    struct polled *runs = mem_calloc(POLL_RUNS, sizeof *runs);
    if (!poll || !runs) {
        mem_free(poll);
        mem_free(runs);
        return NULL;
    }
    poll->runs = runs;
    poll->request.execute = execute;
    return poll;
}

void poll_add(struct poll_request *poll, froe_run_id id) {
    poll->runs[poll->n++] = (struct polled){.page = id.page, .index = id.index};
}

void poll_free(struct poll_request *poll) {
    mem_free(poll->runs);
    buf_free(&poll->texts);
    mem_free(poll);
}
