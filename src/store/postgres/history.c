/* history.c - what became of runs: records of attempts that ended, and tidying.
 *
 * A row of `ended` has the records of one page, one worker and one batch. A record: index, attempt, outcome with flags
 * (8: an error, 16: a result), duration in microseconds, then error and result with their lengths; all numbers are
 * LEB128 varints.
 *
 * The rows of finished pages and of finished runs in trouble stay beside them, as they have what the runs were. All is
 * dropped when it is older than history_us, and the oldest also when it is more than history_bytes.
 *
 * A lane goes when it has no runs, was used last longer ago than history is kept (or there are too many), and nothing
 * of the history is as old as that: then nothing is left that is about its runs. Its numbers stay in its workflow's. */
#include "postgres_store.h"

#include "cleanup.h"

enum { HAS_ERROR = 8, HAS_RESULT = 16, OUTCOME = 7 };
#define LOOK_BACK 256        /* rows of a batch that one more record may belong to */
#define TIDY_EVERY_COMMITS 8 /* or ... */
#define TIDY_EVERY_US (200 * US_PER_MS)
#define TIDY_LEAST 32
#define TIDY_MOST 4096
#define BATCHES_KEPT_US (3 * US_PER_MIN)
#define LANES_KEPT_US (24 * US_PER_HOUR) /* when no history is kept */
#define LANES_MOST 65536                 /* with more of them idle ones go before their time */
#define LANES_AT_ONCE 8192               /* looked at by one tidying */

/* ---- records ---- */

static int add_number(struct buf *buf, uint64_t value) {
    unsigned char bytes[10];
    size_t n = 0;
    for (; value > 0x7f; value >>= 7)
        bytes[n++] = (unsigned char)(value | 0x80);
    bytes[n++] = (unsigned char)value;
    return buf_add(buf, bytes, n);
}

static int read_number(struct bytes *what, uint64_t *ret_value) {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && what->n; shift += 7) {
        unsigned char byte = (unsigned char)*what->p++;
        what->n--;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte & 0x80)
            continue;
        *ret_value = value;
        return 0;
    }
    return -EBADMSG;
}

static int read_bytes(struct bytes *what, struct bytes *ret_bytes) {
    uint64_t n;
    int r = read_number(what, &n);
    if (r < 0 || n > what->n)
        return -EBADMSG;
    *ret_bytes = bytes_of(what->p, (size_t)n);
    what->p += n;
    what->n -= (size_t)n;
    return 0;
}

bool pg_history_is_final(enum store_outcome outcome) {
    return outcome != STORE_RETRY && outcome != STORE_PARKED && outcome != STORE_RELEASED;
}

static int add_record(struct buf *buf, const struct record *record) {
    unsigned flags = (record->error.n ? HAS_ERROR : 0u) | (record->result.n ? HAS_RESULT : 0u);
    int r = buf_reserve(buf, 48 + record->error.n + record->result.n);
    if (r == 0)
        r = add_number(buf, record->index);
    if (r == 0)
        r = add_number(buf, record->attempt);
    if (r == 0)
        r = add_number(buf, (unsigned)record->outcome | flags);
    if (r == 0)
        r = add_number(buf, record->duration_us > 0 ? (uint64_t)record->duration_us : 0);
    const struct bytes both[] = {record->error, record->result};
    for (int i = 0; i < 2 && r == 0; i++)
        if (both[i].n) {
            r = add_number(buf, both[i].n);
            if (r == 0)
                r = buf_add_bytes(buf, both[i]);
        }
    return r;
}

int pg_history_next(struct bytes *what, struct record *ret_record) {
    uint64_t index, attempt, outcome, duration;
    *ret_record = (struct record){0};
    if (what->n == 0)
        return 0;
    int r = read_number(what, &index);
    if (r == 0)
        r = read_number(what, &attempt);
    if (r == 0)
        r = read_number(what, &outcome);
    if (r == 0)
        r = read_number(what, &duration);
    if (r == 0 && (outcome & HAS_ERROR))
        r = read_bytes(what, &ret_record->error);
    if (r == 0 && (outcome & HAS_RESULT))
        r = read_bytes(what, &ret_record->result);
    if (r < 0 || (outcome & OUTCOME) > STORE_FAILED || index >= STORE_PAGE_MAX)
        return -EBADMSG;
    ret_record->index = (uint32_t)index;
    ret_record->attempt = (uint32_t)attempt;
    ret_record->outcome = (enum store_outcome)(outcome & OUTCOME);
    ret_record->duration_us = (int64_t)duration;
    return 1;
}

/* Of a page and a worker in this batch. The one last asked for comes first: lanes take turns, so that ends of a few
 * dozen pages come mixed. */
static struct ended_row *row_of(struct rows *rows, int64_t page, struct bytes worker) {
    struct ended_row **at = &rows->ended, *row;
    for (int i = 0; (row = *at) && i < LOOK_BACK; at = &row->next, i++) {
        if (row->page != page || !bytes_equal(row->worker, worker))
            continue;
        *at = row->next;
        row->next = rows->ended;
        return rows->ended = row;
    }
    return NULL;
}

int pg_history_add(struct postgres_store *store, int64_t page, struct bytes worker, const struct record *record) {
    if (store->history_us < 0)
        return 0;
    struct ended_row *row = row_of(&store->rows, page, worker);
    if (!row) {
        row = mem_zalloc(sizeof *row + worker.n);
        if (!row)
            return -ENOMEM;
        row->page = page;
        if (worker.n)
            memcpy(row->name, worker.p, worker.n);
        row->worker = bytes_of(row->name, worker.n);
        row->next = store->rows.ended;
        store->rows.ended = row;
    }
    row->runs += pg_history_is_final(record->outcome);
    return add_record(&row->what, record);
}

/* ---- tidying ---- */

struct past {
    int64_t *ids, n, runs, bytes;
    size_t cap;
};

static int past_add(struct past *past, int64_t id, int64_t bytes, int64_t runs) {
    if ((size_t)past->n == past->cap) {
        size_t cap = past->cap ? past->cap * 2 : 64;
        int64_t *ids = mem_reallocarray(past->ids, cap, sizeof *ids);
        if (!ids)
            return -ENOMEM;
        past->ids = ids;
        past->cap = cap;
    }
    past->ids[past->n++] = id;
    past->bytes += bytes;
    past->runs += runs;
    return 0;
}

static bool is_over(const struct postgres_store *store, const struct past *gone, int64_t at_utc_us) {
    return store->history_us < 0 || at_utc_us <= store->now_utc_us - store->history_us ||
           store->meta.history_bytes - gone->bytes > store->history_bytes;
}

struct tidying {
    struct past pages, troubles, ended;
    int64_t *trouble_indexes;
    int64_t limit, oldest_utc_us; /* the oldest that was left; 0: more may be over */
    bool more_lanes;              /* that were not looked at */
};

/* After a table was gone through, the oldest first: `first_left` is the time of the first row that is not over. */
static void note_oldest(struct tidying *tidying, int rows, int64_t first_left) {
    int64_t oldest = first_left ? first_left : rows >= tidying->limit ? 0 : INT64_MAX;
    tidying->oldest_utc_us = oldest < tidying->oldest_utc_us ? oldest : tidying->oldest_utc_us;
}

static int find_pages(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    (void)err;
    struct tidying *tidying = arg;
    int64_t left = 0;
    int r = 0;
    for (int row = 0; row < wire_rows(answer) && r == 0 && !left; row++)
        if (is_over(store, &tidying->pages, wire_int(answer, row, 1)))
            r = past_add(&tidying->pages, wire_int(answer, row, 0), wire_int(answer, row, 2), 0);
        else
            left = wire_int(answer, row, 1);
    note_oldest(tidying, wire_rows(answer), left);
    return r;
}

static int find_troubles(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    (void)err;
    struct tidying *tidying = arg;
    tidying->trouble_indexes = mem_calloc((size_t)wire_rows(answer) + 1, sizeof *tidying->trouble_indexes);
    int r = tidying->trouble_indexes ? 0 : -ENOMEM;
    int64_t left = 0;
    for (int row = 0; row < wire_rows(answer) && r == 0 && !left; row++) {
        struct past both = {.bytes = tidying->pages.bytes + tidying->troubles.bytes};
        if (!is_over(store, &both, wire_int(answer, row, 2))) {
            left = wire_int(answer, row, 2);
            break;
        }
        tidying->trouble_indexes[tidying->troubles.n] = wire_int(answer, row, 1);
        r = past_add(&tidying->troubles, wire_int(answer, row, 0), wire_int(answer, row, 3), 0);
    }
    note_oldest(tidying, wire_rows(answer), left);
    return r;
}

/* Records of pages that go, and those that are too old or, as nothing else is left, too many. */
static int find_ended(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    (void)err;
    struct tidying *tidying = arg;
    int64_t left = 0;
    int r = 0;
    for (int row = 0; row < wire_rows(answer) && r == 0; row++) {
        struct past all = {.bytes = tidying->pages.bytes + tidying->troubles.bytes + tidying->ended.bytes};
        if (wire_int(answer, row, 4) || is_over(store, &all, wire_int(answer, row, 1)))
            r = past_add(&tidying->ended, wire_int(answer, row, 0), wire_int(answer, row, 2), wire_int(answer, row, 3));
        else if (!left)
            left = wire_int(answer, row, 1);
    }
    note_oldest(tidying, wire_rows(answer), left);
    return r;
}

static int drop(struct postgres_store *store, enum sql_statement statement, const struct past *past,
                const int64_t *indexes) {
    if (past->n == 0)
        return 0;
    struct args *args = pg_write(store);
    if (!args)
        return -ENOMEM;
    args_ints(args, past->ids, (size_t)past->n);
    if (indexes)
        args_ints(args, indexes, (size_t)past->n);
    wire_send(&store->wire, statement, args, NULL);
    store->changed = true;
    store->meta.history_bytes -= past->bytes;
    store->meta.history_runs -= past->runs;
    return args->failed;
}

static bool lane_is_over(const struct postgres_store *store, const struct lane *lane, int64_t oldest_utc_us) {
    int64_t kept_us = store->history_us > 0 ? store->history_us : LANES_KEPT_US, used = lane->v[LN_USED];
    if (!sched_is_idle(lane) || lane->dirty || used >= oldest_utc_us || used >= store->now_utc_us)
        return false;
    return store->sched.n_known > LANES_MOST || store->now_utc_us - used >= kept_us;
}

/* All lanes are looked at, some with each tidying, as long as there are more of them tidying stays due. */
static int tidy_lanes(struct postgres_store *store, struct tidying *tidying) {
    struct sched *sched = &store->sched;
    if (tidying->oldest_utc_us == 0)
        return 0; /* not known yet how old what is left is */
    struct past gone = {0};
    int r = 0;
    if (store->next_idle >= sched->n_lanes)
        store->next_idle = 0;
    for (int i = 0; i < LANES_AT_ONCE && store->next_idle < sched->n_lanes && r == 0; i++) {
        struct lane *lane = sched->lanes[store->next_idle++];
        if (!lane || !lane_is_over(store, lane, tidying->oldest_utc_us))
            continue;
        r = past_add(&gone, lane->id, 0, 0);
        if (r == 0)
            r = pg_lane_changed(store, lane->id);
        if (r == 0)
            sched_lane_drop(sched, lane);
    }
    if (r == 0)
        r = drop(store, SQL_LANE_DROP, &gone, NULL);
    mem_free(gone.ids);
    tidying->more_lanes = store->next_idle < sched->n_lanes;
    return r;
}

static int tidy_steps(struct postgres_store *store, struct tidying *tidying, struct err *err) {
    args_int(pg_want(store, SQL_PAST_PAGES, find_pages, tidying), tidying->limit);
    args_int(pg_want(store, SQL_PAST_TROUBLES, find_troubles, tidying), tidying->limit);
    int r = pg_load(store, err);
    if (r < 0)
        return r;
    struct args *args = pg_want(store, SQL_PAST_ENDED, find_ended, tidying);
    args_ints(args, tidying->pages.ids, (size_t)tidying->pages.n);
    args_int(args, tidying->limit);
    r = pg_load(store, err);
    if (r == 0)
        r = drop(store, SQL_PAGE_DROP, &tidying->pages, NULL);
    if (r == 0)
        r = drop(store, SQL_TROUBLE_DROP, &tidying->troubles, tidying->trouble_indexes);
    if (r == 0)
        r = drop(store, SQL_PAST_DROP, &tidying->ended, NULL);
    if (r == 0)
        r = tidy_lanes(store, tidying);
    return r < 0 ? r : pg_commit(store, err);
}

/* Without the lock: rows of batches that nobody asks for any more, and used-up windows. */
static int trim(struct postgres_store *store, struct err *err) {
    int64_t before = store->trim_batch;
    store->trim_batch = store->synced;
    if (before <= 0)
        return 0;
    args_int(pg_want(store, SQL_BATCHES_TRIM, NULL, NULL), before);
    pg_args_now(store, pg_want(store, SQL_RATES_TRIM, NULL, NULL));
    return pg_look(store, err);
}

/* Is it worth looking? More often than now and then only when a lot is over. */
static bool is_due(struct postgres_store *store, int64_t now_mono_us) {
    int64_t history_us = store->history_us > 0 ? store->history_us : 0;
    bool over =
        store->meta.history_bytes > store->history_bytes || store->oldest_past_utc_us + history_us <= store->now_utc_us;
    if (store->history_us < 0 && store->oldest_past_utc_us) /* all of before is gone, and nothing is added */
        over = store->meta.history_bytes > 0 || store->oldest_past_utc_us + LANES_KEPT_US / 8 <= store->now_utc_us;
    store->commits++;
    return over && (store->commits >= TIDY_EVERY_COMMITS || now_mono_us - store->tidied_mono_us > TIDY_EVERY_US);
}

int pg_tidy(struct postgres_store *store, struct err *err) {
    int64_t now_mono_us = clock_mono_us(&clock_system);
    int r = 0;
    if (now_mono_us - store->trimmed_mono_us > BATCHES_KEPT_US) {
        store->trimmed_mono_us = now_mono_us;
        r = trim(store, err);
    }
    if (r < 0 || !is_due(store, now_mono_us))
        return r;
    int64_t limit = (int64_t)store->finished_pages * 3 + TIDY_LEAST;
    struct tidying tidying = {.limit = limit < TIDY_MOST ? limit : TIDY_MOST, .oldest_utc_us = INT64_MAX};
    r = tidy_steps(store, &tidying, err);
    store->tidied_mono_us = now_mono_us;
    store->finished_pages = store->commits = 0;
    if (r == 0 && tidying.more_lanes)
        store->oldest_past_utc_us = 0;
    else if (r == 0)
        store->oldest_past_utc_us =
            tidying.oldest_utc_us < store->now_utc_us ? tidying.oldest_utc_us : store->now_utc_us;
    mem_free(tidying.pages.ids);
    mem_free(tidying.troubles.ids);
    mem_free(tidying.ended.ids);
    mem_free(tidying.trouble_indexes);
    return r;
}
