/* runs.c - looks at runs, live ones and those of the past, and cancels one.
 *
 * What a run is comes from three places: its page's row, its own row while it is in trouble, and the records of its
 * ended attempts; where it is now is in memory. Pages are looked at one at a time, from the newest down. */
#include "arena.h"
#include "cleanup.h"
#include "sqlite_store.h"

#define LIVE_STATES \
    (1u << STORE_STATE_QUEUED | 1u << STORE_STATE_WAITING | 1u << STORE_STATE_LEASED | 1u << STORE_STATE_PARKED)
#define PAST_STATES (1u << STORE_STATE_DONE | 1u << STORE_STATE_FAILED | 1u << STORE_STATE_CANCELLED)

/* What is known of one run of the page at hand. */
struct seen {
    bool there;
    bool in_trouble, parked, ended;
    const struct lane *lane;
    int64_t parked_utc_us;
    uint32_t attempts, highest_attempt;
    enum store_outcome outcome; /* of the newest record */
    struct store_run_info info;
};

struct looking {
    struct sqlite_store *store;
    struct bytes child_key; /* empty: all */
    unsigned char print[DB_FINGERPRINT];
    int64_t only; /* index, or -1 */
    int64_t page;
    uint32_t n; /* of `seen` that are in use */
    struct arena *arena;
    struct seen seen[STORE_PAGE_MAX];
};

static struct looking *looking_new(struct sqlite_store *store, struct bytes child_key, int64_t only) {
    struct looking *looking = mem_zalloc(sizeof *looking);
    if (looking) {
        looking->store = store;
        looking->child_key = child_key;
        looking->only = only;
        if (child_key.n)
            db_fingerprint(child_key, looking->print);
    }
    return looking;
}

static void looking_free(struct looking *looking) {
    arena_free(looking->arena);
    mem_free(looking);
}
DEFINE_CLEANUP(struct looking, looking_free)

static int start_page(struct looking *looking, int64_t page) {
    arena_free(looking->arena);
    looking->arena = arena_new();
    if (!looking->arena)
        return -ENOMEM;
    memset(looking->seen, 0, looking->n * sizeof looking->seen[0]);
    looking->n = 0;
    looking->page = page;
    return 0;
}

static bool is_wanted(const struct looking *looking, uint32_t index, struct bytes key) {
    return (looking->only < 0 || looking->only == (int64_t)index) &&
           (looking->child_key.n == 0 || bytes_equal(looking->child_key, key));
}

static struct seen *see(struct looking *looking, uint32_t index) {
    if (index >= looking->n)
        looking->n = index + 1;
    struct seen *seen = &looking->seen[index];
    if (!seen->there) {
        seen->there = true;
        seen->info.page = looking->page;
        seen->info.index = index;
    }
    return seen;
}

static int blob_copy(struct looking *looking, struct db_use *use, int column, struct bytes *ret_copy, struct err *err) {
    struct bytes value;
    int r = db_get_blob(use, column, &value, err);
    return r < 0 ? r : arena_copy(looking->arena, value, ret_copy);
}

static int damaged(struct looking *looking, struct err *err) {
    return db_corrupt(&looking->store->db, err, "what is known of page %lld is damaged", (long long)looking->page);
}

/* ---- the page's row ---- */

static int see_items(struct looking *looking, uint32_t n, struct packing_reader *reader,
                     const struct store_run_info *common, const struct lane *lane, struct err *err) {
    for (uint32_t i = 0; i < n; i++) {
        struct store_item item;
        if (packing_next(reader, &item) < 0)
            return damaged(looking, err);
        if (!is_wanted(looking, i, item.child_key))
            continue;
        struct seen *seen = see(looking, i);
        seen->info = *common;
        seen->info.index = i;
        seen->lane = lane;
        seen->info.generation = item.generation; /* these lie in the row, which stays as long as the page is at hand */
        if (item.input.n)
            seen->info.input = item.input;
        int r = arena_copy(looking->arena, item.child_key, &seen->info.child_key);
        if (r < 0)
            return r;
    }
    return 0;
}

static int see_row(struct looking *looking, struct db_use *row, struct err *err) {
    const struct lane *lane = lanes_lane(&looking->store->lanes, db_get_int(row, 1));
    int64_t n = db_get_int(row, 2), not_before = db_get_int(row, 3);
    struct store_run_info common = {
        .page = looking->page,
        .priority = (unsigned)db_get_int(row, 4),
        .created_utc_us = db_get_int(row, 5),
        .parent_page = db_get_int(row, 6),
        .parent_index = (uint32_t)db_get_int(row, 7),
        .due_utc_us = not_before,
    };
    struct bytes items;
    struct packing_reader reader;
    int r = db_get_blob(row, 8, &items, err);
    if (r == 0)
        r = db_get_blob(row, 9, &common.input, err);
    if (r == 0)
        r = db_get_blob(row, 10, &common.metadata, err);
    if (r < 0)
        return r;
    if (!lane || n < 1 || n > STORE_PAGE_MAX || packing_reader_init(&reader, items) < 0)
        return damaged(looking, err);
    if (looking->only >= 0 && looking->only + 1 < n)
        n = looking->only + 1;
    return see_items(looking, (uint32_t)n, &reader, &common, lane, err);
}

/* ---- rows of runs in trouble ---- */

static int see_trouble(struct looking *looking, struct db_use *use, struct err *err) {
    int64_t index = db_get_int(use, 7);
    const struct lane *lane = lanes_lane(&looking->store->lanes, db_get_int(use, 8));
    struct bytes key;
    int r = db_get_blob(use, 1, &key, err);
    if (r < 0)
        return r;
    if (!lane || index < 0 || index >= STORE_PAGE_MAX)
        return damaged(looking, err);
    if (!is_wanted(looking, (uint32_t)index, key))
        return 0;
    struct seen *seen = see(looking, (uint32_t)index);
    struct store_run_info *info = &seen->info;
    seen->lane = lane;
    seen->in_trouble = true;
    seen->attempts = (uint32_t)db_get_int(use, 0);
    seen->parked = db_get_int(use, 9) == DB_RUN_PARKED;
    info->due_utc_us = db_get_int(use, 10);
    if (seen->parked)
        info->ended_utc_us = info->due_utc_us;
    info->created_utc_us = db_get_int(use, 6);
    info->priority = (unsigned)db_get_int(use, 11);
    info->parent_page = db_get_int(use, 12);
    info->parent_index = (uint32_t)db_get_int(use, 13);
    struct bytes *const into[] = {&info->child_key, &info->generation, &info->input, &info->metadata,
                                  &info->checkpoint};
    for (int i = 0; i < 5 && r == 0; i++)
        r = blob_copy(looking, use, i + 1, into[i], err);
    return r < 0 ? r : blob_copy(looking, use, 14, &info->error, err);
}

/* What it gave to be kept while it runs. */
static int see_kept(struct looking *looking, struct db_use *use, struct err *err) {
    int64_t index = db_get_int(use, 0);
    if (index < 0 || index >= STORE_PAGE_MAX)
        return damaged(looking, err);
    struct seen *seen = &looking->seen[index];
    if (!seen->there)
        return 0;
    seen->attempts = (uint32_t)db_get_int(use, 1);
    int r = blob_copy(looking, use, 2, &seen->info.generation, err);
    return r < 0 ? r : blob_copy(looking, use, 3, &seen->info.checkpoint, err);
}

/* ---- records ---- */

static int see_own(struct looking *looking, struct seen *seen, const struct packing_own *own) {
    seen->lane = lanes_lane(&looking->store->lanes, own->lane);
    seen->info.created_utc_us = own->created_utc_us;
    seen->info.parent_page = own->parent_page;
    seen->info.parent_index = own->parent_index;
    seen->info.priority = own->priority;
    seen->info.child_key = own->child_key;
    seen->info.generation = own->generation;
    seen->info.input = own->input;
    seen->info.metadata = own->metadata;
    return seen->lane ? 0 : -EBADMSG;
}

static int see_record(void *arg, const struct packing_record *record, int64_t at_utc_us, struct bytes worker) {
    struct looking *looking = arg;
    struct seen *seen = &looking->seen[record->index];
    if (record->own && is_wanted(looking, record->index, record->own->child_key)) {
        seen = see(looking, record->index);
        int r = see_own(looking, seen, record->own);
        if (r < 0)
            return r;
    }
    if (!seen->there)
        return 0;
    seen->ended = true;
    seen->outcome = record->outcome;
    seen->info.ended_utc_us = at_utc_us;
    seen->info.duration_us = record->duration_us;
    if (!seen->in_trouble)
        seen->info.error = record->error;
    seen->info.result = record->result;
    if (worker.n)
        seen->info.worker = worker;
    if (record->attempt > seen->highest_attempt)
        seen->highest_attempt = record->attempt;
    return 0;
}

/* Goes through the records of a row of the table ended. `each` stops with 1 or less than 0. */
static int each_record(struct looking *looking, struct db_use *use,
                       int (*each)(void *arg, const struct packing_record *record, int64_t at_utc_us,
                                   struct bytes worker),
                       void *arg, struct err *err) {
    struct bytes worker, packed;
    int r = blob_copy(looking, use, 1, &worker, err);
    if (r == 0)
        r = blob_copy(looking, use, 2, &packed, err);
    if (r < 0)
        return r;
    struct packing_records records;
    struct packing_record record;
    r = packing_records_init(&records, packed);
    while (r == 0 && (r = packing_next_record(&records, &record)) > 0)
        r = each(arg, &record, db_get_int(use, 0), worker);
    return r == -EBADMSG ? damaged(looking, err) : r;
}

/* ---- a page ---- */

static int each_row_of_page(struct looking *looking, enum db_statement which,
                            int (*each)(struct looking *looking, struct db_use *use, struct err *err),
                            struct err *err) {
    struct db_use use = db_use(&looking->store->db, which);
    db_int(&use, 1, looking->page);
    int r;
    while ((r = db_row(&use, "look at a page", err)) > 0) {
        r = each(looking, &use, err);
        if (r < 0) {
            db_done(&use);
            return r;
        }
    }
    return r;
}

static int see_records(struct looking *looking, struct db_use *use, struct err *err) {
    return each_record(looking, use, see_record, looking, err);
}

/* Gathers what is known of the page's runs. `row`: the page's, or NULL when it has none. */
static int look_at(struct looking *looking, int64_t page, struct db_use *row, struct err *err) {
    int r = start_page(looking, page);
    if (r == 0 && row)
        r = see_row(looking, row, err);
    if (r < 0 || (row && looking->n == 0))
        return r;
    r = each_row_of_page(looking, DB_RUN_OF_PAGE, see_trouble, err);
    if (r == 0 && looking->store->any_kept)
        r = each_row_of_page(looking, DB_KEPT_OF_PAGE, see_kept, err);
    return r < 0 ? r : each_row_of_page(looking, DB_ENDED_OF_PAGE, see_records, err);
}

static void set_worker(struct seen *seen, const struct work *work, uint32_t index) {
    const struct lease *lease = leases_of_run(work, index);
    if (lease)
        seen->info.worker = bytes_of(lease->hold->worker->name, lease->hold->worker->name_n);
}

static enum store_state past_state(enum store_outcome outcome) {
    return outcome == STORE_DONE     ? STORE_STATE_DONE
           : outcome == STORE_FAILED ? STORE_STATE_FAILED
                                     : STORE_STATE_CANCELLED;
}

/* Completes what was gathered; false: there is no such run (any more). */
static bool complete(struct looking *looking, struct seen *seen, uint32_t index, int64_t now_utc_us) {
    const struct sqlite_store *store = looking->store;
    if (!seen->there)
        return false;
    struct store_run_info *info = &seen->info;
    struct page *page = page_find(store, looking->page);
    struct retry *retry = seen->in_trouble && !seen->parked ? retry_find(store, looking->page, index) : NULL;
    struct work *work = NULL;
    bool leased = false;
    if (retry) {
        work = &retry->work;
        leased = retry->leased;
    } else if (page && !seen->in_trouble && index < page->n && bit_get(page_live_bits(page), index)) {
        work = &page->work;
        leased = !bit_get(page_queued_bits(page), index);
    }
    info->attempts = seen->attempts;
    if (work) {
        info->state = leased                          ? STORE_STATE_LEASED
                      : work->due_utc_us > now_utc_us ? STORE_STATE_WAITING
                                                      : STORE_STATE_QUEUED;
    } else if (seen->in_trouble) {
        info->state = STORE_STATE_PARKED;
    } else if (seen->ended) {
        info->state = past_state(seen->outcome);
        info->attempts = seen->highest_attempt;
    } else {
        return false;
    }
    if (info->state != STORE_STATE_WAITING)
        info->due_utc_us = 0;
    if (leased) {
        set_worker(seen, work, index);
        info->cancel_asked = cancel_asked(store, looking->page, index);
    }
    info->workflow_name = bytes_of(seen->lane->workflow->name, seen->lane->workflow->name_n);
    info->group = lane_group_key(seen->lane);
    if (info->input.n == 0)
        info->input = BYTES("{}");
    return true;
}

/* ---- many ---- */

static bool is_within(const struct store_runs_filter *filter, int64_t utc_us) {
    return utc_us >= filter->since_utc_us && (filter->until_utc_us == 0 || utc_us < filter->until_utc_us);
}

static bool passes(const struct store_runs_filter *filter, const struct store_run_info *run) {
    return (filter->states == 0 || filter->states >> run->state & 1) &&
           (filter->workflow.n == 0 || bytes_equal(filter->workflow, run->workflow_name)) &&
           (filter->group.n == 0 || bytes_equal(filter->group, run->group)) &&
           (is_within(filter, run->created_utc_us) || (run->ended_utc_us && is_within(filter, run->ended_utc_us)));
}

/* A statement that gives pages, the newest first. */
struct source {
    struct db_use use;
    int64_t page; /* that it is at; 0: at its end */
};

static int next_page(struct source *source, struct err *err) {
    source->page = 0;
    int r = db_row(&source->use, "look for runs", err);
    if (r > 0)
        source->page = db_get_int(&source->use, 0);
    return r < 0 ? r : 0;
}

static int open_source(struct looking *looking, struct source *source, enum db_statement which, int64_t from,
                       struct err *err) {
    source->use = db_use(&looking->store->db, which);
    db_int(&source->use, 1, from);
    if (looking->child_key.n)
        db_blob(&source->use, 2, looking->child_key);
    if (which == DB_PAGE_LOOK_KEY)
        db_blob(&source->use, 3, bytes_of(looking->print, sizeof looking->print));
    return next_page(source, err);
}

enum { FROM_PAGES, FROM_TROUBLE, FROM_RECORDS, SOURCES };

static int open_sources(struct looking *looking, const struct store_runs_filter *filter, struct source *sources,
                        struct err *err) {
    bool key = filter->child_key.n, live = !filter->states || filter->states & LIVE_STATES,
         past = !filter->states || filter->states & PAST_STATES;
    int64_t from = filter->before_page ? filter->before_page : INT64_MAX;
    enum db_statement pages = key ? DB_PAGE_LOOK_KEY : past ? DB_PAGE_LOOK : DB_PAGE_LOOK_LIVE;
    int r = open_source(looking, &sources[FROM_PAGES], pages, from, err);
    if (r == 0 && live)
        r = open_source(looking, &sources[FROM_TROUBLE], key ? DB_RUN_LOOK_KEY : DB_RUN_LOOK, from, err);
    if (r == 0 && past)
        r = open_source(looking, &sources[FROM_RECORDS], key ? DB_ENDED_OWN_KEY : DB_ENDED_OWN, from, err);
    return r;
}

static void tell_page(struct looking *looking, const struct store_runs_filter *filter,
                      int (*each)(void *arg, const struct store_run_info *run), void *arg, int *ret_stop) {
    int64_t now_utc_us = clock_utc_us(looking->store->clock);
    for (uint32_t i = looking->n; i-- > 0 && *ret_stop == 0;) {
        if (looking->page == filter->before_page && i >= filter->before_index)
            continue;
        if (complete(looking, &looking->seen[i], i, now_utc_us) && passes(filter, &looking->seen[i].info))
            *ret_stop = each(arg, &looking->seen[i].info);
    }
}

/* Nothing of a lane that is not asked for need be unpacked. */
static bool may_pass(const struct looking *looking, const struct store_runs_filter *filter, struct db_use *row) {
    const struct lane *lane = lanes_lane(&looking->store->lanes, db_get_int(row, 1));
    if (!lane) /* damaged, which see_row tells */
        return true;
    struct bytes name = bytes_of(lane->workflow->name, lane->workflow->name_n);
    return (filter->workflow.n == 0 || bytes_equal(filter->workflow, name)) &&
           (filter->group.n == 0 || bytes_equal(filter->group, lane_group_key(lane)));
}

static int walk(struct looking *looking, const struct store_runs_filter *filter, struct source *sources,
                int (*each)(void *arg, const struct store_run_info *run), void *arg, int *ret_stop, struct err *err) {
    int r = open_sources(looking, filter, sources, err);
    while (r == 0 && *ret_stop == 0) {
        int64_t page = 0;
        for (int i = 0; i < SOURCES; i++)
            page = sources[i].page > page ? sources[i].page : page;
        if (page == 0)
            return 0;
        struct db_use *row = sources[FROM_PAGES].page == page ? &sources[FROM_PAGES].use : NULL;
        if (!row || may_pass(looking, filter, row)) {
            r = look_at(looking, page, row, err);
            if (r == 0)
                tell_page(looking, filter, each, arg, ret_stop);
        }
        for (int i = 0; i < SOURCES && r == 0; i++)
            if (sources[i].page == page)
                r = next_page(&sources[i], err);
    }
    return r;
}

int runs_each(struct sqlite_store *store, const struct store_runs_filter *filter,
              int (*each)(void *arg, const struct store_run_info *run), void *arg, int *ret_stop, struct err *err) {
    _cleanup_(cleanup_looking_free) struct looking *looking = looking_new(store, filter->child_key, -1);
    if (!looking)
        return -ENOMEM;
    struct source sources[SOURCES] = {0};
    int r = walk(looking, filter, sources, each, arg, ret_stop, err);
    for (int i = 0; i < SOURCES; i++)
        if (sources[i].page)
            db_done(&sources[i].use);
    return r;
}

/* ---- one ---- */

/* Gathers what is known of one run; -ENOENT. *row is to be ended with db_done when *ret_row. */
static int look_at_one(struct looking *looking, int64_t page, struct db_use *row, bool *ret_row, struct err *err) {
    *row = db_use(&looking->store->db, DB_PAGE_LOOK);
    db_int(row, 1, page);
    int r = db_row(row, "look at a page", err);
    if (r < 0)
        return r;
    *ret_row = r > 0;
    bool has_row = r > 0 && db_get_int(row, 0) == page;
    r = look_at(looking, page, has_row ? row : NULL, err);
    if (r == 0 &&
        !complete(looking, &looking->seen[looking->only], (uint32_t)looking->only, clock_utc_us(looking->store->clock)))
        r = err_set(err, -ENOENT, "run %lld:%lld is not known", (long long)page, (long long)looking->only);
    return r;
}

static int with_one(struct sqlite_store *store, int64_t page, uint32_t index,
                    int (*each)(void *arg, const struct store_run_info *run), void *arg, int *ret_stop,
                    struct err *err) {
    if (index >= STORE_PAGE_MAX)
        return err_set(err, -ENOENT, "run %lld:%u is not known", (long long)page, index);
    _cleanup_(cleanup_looking_free) struct looking *looking = looking_new(store, BYTES_NONE, index);
    if (!looking)
        return -ENOMEM;
    struct db_use row;
    bool has_row = false;
    int r = look_at_one(looking, page, &row, &has_row, err);
    if (r == 0)
        *ret_stop = each(arg, &looking->seen[index].info);
    if (has_row)
        db_done(&row);
    return r;
}

int run_get(struct sqlite_store *store, int64_t page, uint32_t index,
            int (*each)(void *arg, const struct store_run_info *run), void *arg, int *ret_stop, struct err *err) {
    return with_one(store, page, index, each, arg, ret_stop, err);
}

struct telling {
    struct looking *looking;
    int (*each)(void *arg, const struct store_attempt *attempt);
    void *arg;
    int *stop;
};

static int tell_attempt(void *arg, const struct packing_record *record, int64_t at_utc_us, struct bytes worker) {
    struct telling *telling = arg;
    if (record->index != telling->looking->only)
        return 0;
    struct store_attempt attempt = {.attempt = record->attempt,
                                    .outcome = record->outcome,
                                    .ended_utc_us = at_utc_us,
                                    .duration_us = record->duration_us,
                                    .worker = worker,
                                    .error = record->error,
                                    .result = record->result};
    *telling->stop = telling->each(telling->arg, &attempt);
    return *telling->stop != 0;
}

int attempts_each(struct sqlite_store *store, int64_t page, uint32_t index,
                  int (*each)(void *arg, const struct store_attempt *attempt), void *arg, int *ret_stop,
                  struct err *err) {
    _cleanup_(cleanup_looking_free) struct looking *looking = looking_new(store, BYTES_NONE, index);
    if (!looking)
        return -ENOMEM;
    struct telling telling = {looking, each, arg, ret_stop};
    int r = start_page(looking, page);
    if (r < 0)
        return r;
    struct db_use use = db_use(&store->db, DB_ENDED_OF_PAGE);
    db_int(&use, 1, page);
    while ((r = db_row(&use, "look at attempts", err)) > 0) {
        r = each_record(looking, &use, tell_attempt, &telling, err);
        if (r != 0) {
            db_done(&use);
            return r < 0 ? r : 0;
        }
    }
    return r;
}

/* ---- cancelling ---- */

static int note_state(void *arg, const struct store_run_info *run) {
    *(enum store_state *)arg = run->state;
    return 0;
}

static int cancel_in_row(struct sqlite_store *store, int64_t page, uint32_t index, struct bytes reason,
                         struct err *err) {
    struct db_use get = db_use(&store->db, DB_RUN_READ);
    db_int(&get, 1, page);
    db_int(&get, 2, index);
    int r = db_row(&get, "read a parked run", err);
    if (r < 0)
        return r;
    struct lane *lane = r ? lanes_lane(&store->lanes, db_get_int(&get, 8)) : NULL;
    if (r)
        db_done(&get);
    if (!lane)
        return db_corrupt(&store->db, err, "run %lld:%u is damaged", (long long)page, index);
    return cancel_parked(store, lane, page, index, STORE_CANCELLED, reason, err);
}

int run_cancel(struct sqlite_store *store, int64_t page, uint32_t index, enum store_state *ret_state, struct err *err) {
    static const struct bytes reason = BYTES("cancelled");
    struct page *in = page_find(store, page);
    struct retry *retry = retry_find(store, page, index);
    enum store_state state = STORE_STATE_QUEUED;
    int stop = 0, r = 0;
    if (!in || index >= in->n || !bit_get(page_queued_bits(in), index)) /* else it is known without reading */
        r = with_one(store, page, index, note_state, &state, &stop, err);
    else if (in->work.due_utc_us > clock_utc_us(store->clock))
        state = STORE_STATE_WAITING;
    if (r < 0)
        return r;
    if (state == STORE_STATE_LEASED)
        r = cancel_ask(store, leases_of_run(retry ? &retry->work : &in->work, index), index, false, err);
    else if (state == STORE_STATE_PARKED)
        r = cancel_in_row(store, page, index, reason, err);
    else if (state < STORE_STATE_PARKED)
        r = retry ? cancel_retry(store, retry, STORE_CANCELLED, reason, err)
                  : cancel_queued_one(store, in, index, reason, err);
    if (r == 0)
        r = history_write(store, BYTES_NONE, err);
    if (r == 0)
        *ret_state = state;
    return r;
}
