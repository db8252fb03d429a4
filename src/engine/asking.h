/* asking.h - what the rooms share that ask the store and tell what it said (runs.c, acting.c, looking.c, wait.c).
 *
 * What a store shows is borrowed during its callback, on the committer's thread; it travels to the loop's thread as
 * records in a buffer: the record as it was, then each of its texts followed by a NUL. A record type is described by
 * the places of its `struct bytes` members. A request may be executed more than once (see committer.h), so it empties
 * its buffers first. */
#pragma once

#include "engine.h"

struct record {
    size_t size;
    const size_t *texts; /* offsets of its struct bytes members */
    size_t n_texts;
};
extern const struct record record_run; /* struct store_run_info */

int record_keep(struct buf *buf, const struct record *record, const void *from); /* -ENOMEM */
/* The record at *at, its texts as views into the buffer; *at goes on to the next. */
void record_take(const struct buf *buf, size_t *at, const struct record *record, void *ret_to);

/* May the store be asked now? FROE_ERR_STATE when the engine closes, or the store's failure. */
int asking_check(const froe *engine, froe_error *error);

/* A request's answer as a public error: NULL when it succeeded. A run that is not there is FROE_ERR_NOT_FOUND. */
const froe_error *asking_failed(const struct request *request, froe_error *storage);

static inline froe_run_id run_id_of(int64_t page, uint32_t index) {
    return (froe_run_id){.page = page, .index = index};
}

/* FROE_ERR_INVALID for what cannot be a run's id. */
int run_id_check(froe_run_id id, froe_error *error);

/* The store's run as it is told; views stay where they are. */
void run_tell(const struct store_run_info *info, char run_id[FROE_RUN_ID_MAX], froe_run *ret_run);

/* After a change that the loop's numbers do not know: reads all groups' numbers anew. `told` is called when they are in
 * place; those that gathered while numbers were being read are told together after the next reading. */
struct renumbering {
    struct list link;
    void (*told)(struct renumbering *renumbering, froe *engine);
};
void numbers_renew(froe *engine, struct renumbering *renumbering);

/* Gives back what this worker has leased of a paused workflow (NULL: nothing) and did not start. */
void pause_put_back(froe *engine, const struct workflow *workflow);
/* Does so for what others have paused, as just read. */
void snapshot_heed_pauses(froe *engine, const struct snapshot *snapshot);
