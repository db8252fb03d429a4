/* asking.c - see asking.h. */
#include "asking.h"

#include "mem.h"

#include <stdio.h>

_Static_assert((int)FROE_QUEUED == (int)STORE_STATE_QUEUED && (int)FROE_WAITING == (int)STORE_STATE_WAITING &&
                   (int)FROE_RUNNING == (int)STORE_STATE_LEASED && (int)FROE_PARKED == (int)STORE_STATE_PARKED &&
                   (int)FROE_SUCCEEDED == (int)STORE_STATE_DONE && (int)FROE_FAILED == (int)STORE_STATE_FAILED &&
                   (int)FROE_CANCELLED == (int)STORE_STATE_CANCELLED,
               "states are told as the store gives them");

/* ---- records ---- */

#define RUN_TEXT(member) offsetof(struct store_run_info, member)
static const size_t run_texts[] = {
    RUN_TEXT(workflow_name), RUN_TEXT(group),      RUN_TEXT(child_key), RUN_TEXT(generation), RUN_TEXT(input),
    RUN_TEXT(metadata),      RUN_TEXT(checkpoint), RUN_TEXT(error),     RUN_TEXT(result),     RUN_TEXT(worker),
};
const struct record record_run = {sizeof(struct store_run_info), run_texts, sizeof run_texts / sizeof run_texts[0]};

static struct bytes get_text(const char *record, size_t offset) {
    struct bytes text;
    memcpy(&text, record + offset, sizeof text);
    return text;
}

int record_keep(struct buf *buf, const struct record *record, const void *from) {
    size_t size = record->size, before = buf->n;
    for (size_t i = 0; i < record->n_texts; i++)
        size += get_text(from, record->texts[i]).n + 1;
    int r = buf_reserve(buf, size);
    if (r == 0)
        r = buf_add(buf, from, record->size);
    for (size_t i = 0; i < record->n_texts && r == 0; i++) {
        r = buf_add_bytes(buf, get_text(from, record->texts[i]));
        if (r == 0)
            r = buf_add_byte(buf, '\0');
    }
    if (r < 0)
        buf->n = before;
    return r;
}

void record_take(const struct buf *buf, size_t *at, const struct record *record, void *ret_to) {
    memcpy(ret_to, buf->p + *at, record->size);
    *at += record->size;
    for (size_t i = 0; i < record->n_texts; i++) {
        struct bytes text = get_text(ret_to, record->texts[i]);
        text.p = buf->p + *at;
        memcpy((char *)ret_to + record->texts[i], &text, sizeof text);
        *at += text.n + 1;
    }
}

/* ---- errors ---- */

int asking_check(const froe *engine, froe_error *error) {
    if (engine->closing)
        return engine_error(error, FROE_ERR_STATE, "the engine is closing");
    if (engine->failed)
        return engine_error_from(error, &engine->failure);
    return FROE_OK;
}

const froe_error *asking_failed(const struct request *request, froe_error *storage) {
    if (request->r == 0)
        return NULL;
    if (request->r == -ENOENT)
        engine_error(storage, FROE_ERR_NOT_FOUND, "%s", request->err.text);
    else
        engine_error_from(storage, &request->err);
    return storage;
}

/* ---- runs ---- */

int run_id_check(froe_run_id id, froe_error *error) {
    return id.page > 0 ? FROE_OK
                       : engine_error(error, FROE_ERR_INVALID, "%jd:%u is no run", (intmax_t)id.page, id.index);
}

static const char *text_or_null(struct bytes text) {
    return text.n ? text.p : NULL;
}

void run_tell(const struct store_run_info *info, char run_id[FROE_RUN_ID_MAX], froe_run *ret_run) {
    froe_run_id id = run_id_of(info->page, info->index);
    snprintf(run_id, FROE_RUN_ID_MAX, "%jd:%u", (intmax_t)id.page, id.index);
    *ret_run = (froe_run){
        .id = id,
        .run_id = run_id,
        .state = (froe_state)info->state,
        .cancel_asked = info->cancel_asked,
        .workflow = info->workflow_name.p,
        .group = info->group.p,
        .input = info->input.n ? info->input.p : "{}",
        .metadata = info->metadata.n ? info->metadata.p : "{}",
        .child_key = text_or_null(info->child_key),
        .generation = text_or_null(info->generation),
        .child_key_n = info->child_key.n,
        .generation_n = info->generation.n,
        .result = text_or_null(info->result),
        .error = text_or_null(info->error),
        .worker = text_or_null(info->worker),
        .parent = run_id_of(info->parent_page, info->parent_index),
        .priority = info->priority,
        .attempts = info->attempts,
        .created_utc_us = info->created_utc_us,
        .due_utc_us = info->due_utc_us,
        .ended_utc_us = info->ended_utc_us,
        .duration_us = info->duration_us,
    };
}

/* ---- numbers ---- */

void asking_init(froe *engine) {
    list_init(&engine->to_renumber);
}

struct numbers_request {
    struct request request;
    struct snapshot *snapshot;
    struct list who;
};

static int execute_numbers(struct request *request, struct store *store, struct err *err) {
    struct numbers_request *numbers = (struct numbers_request *)(void *)request;
    snapshot_free(numbers->snapshot);
    numbers->snapshot = NULL;
    return snapshot_take(store, &numbers->snapshot, err);
}

static void read_numbers(froe *engine);

static void tell_all(froe *engine, struct list *who) {
    struct list *link;
    while ((link = list_pop_front(who))) {
        struct renumbering *renumbering = LIST_ENTRY(link, struct renumbering, link);
        renumbering->told(renumbering, engine);
    }
}

static void finish_numbers(struct request *request, struct froe *engine) {
    struct numbers_request *numbers = (struct numbers_request *)(void *)request;
    if (request->r == 0 && snapshot_apply(engine, numbers->snapshot) < 0)
        engine_fail(engine, &(struct err){.code = -ENOMEM, .text = "out of memory"});
    else if (request->r == 0)
        snapshot_heed_pauses(engine, numbers->snapshot);
    engine->renumbering = false;
    if (!list_empty(&engine->to_renumber))
        read_numbers(engine);
    tell_all(engine, &numbers->who);
    snapshot_free(numbers->snapshot);
    mem_free(numbers);
}

static void read_numbers(froe *engine) {
    struct numbers_request *numbers = mem_zalloc(sizeof *numbers);
    if (!numbers) {
        engine_fail(engine, &(struct err){.code = -ENOMEM, .text = "out of memory"});
        tell_all(engine, &engine->to_renumber);
        return;
    }
    list_init(&numbers->who);
    list_splice_back(&numbers->who, &engine->to_renumber);
    numbers->request.execute = execute_numbers;
    numbers->request.finish = finish_numbers;
    engine->renumbering = true;
    engine_submit(engine, &numbers->request);
}

void numbers_renew(froe *engine, struct renumbering *renumbering) {
    list_push_back(&engine->to_renumber, &renumbering->link);
    if (!engine->renumbering)
        read_numbers(engine);
}
