/* write.c - writes what a batch has changed: one statement a table, however many rows. */
#include "write.h"

#include "cleanup.h"

#define AT_ONCE_BYTES ((size_t)16 * 1024 * 1024) /* of rows with long columns, in one statement */

int pg_send_write(struct postgres_store *store, enum sql_statement statement, struct args *args) {
    if (!args)
        return -ENOMEM;
    if (store->holding)
        args->statement = (int)statement;
    else
        wire_send(&store->wire, statement, args, NULL);
    store->changed = true;
    return args->failed;
}

void pg_send_held(struct postgres_store *store) {
    for (size_t i = 0; i < store->n_sent; i++)
        wire_send(&store->wire, (enum sql_statement)store->sent[i]->statement, store->sent[i], NULL);
}

/* ---- runs in trouble ---- */

static size_t size_of(const struct trouble_row *row) {
    const struct store_settled *data = row->data;
    return data ? data->input.n + data->generation.n + data->checkpoint.n + data->error.n + data->child_key.n : 0;
}

/* The rows from `first` on up to `last`, whose data has to be written. */
static int write_data(struct postgres_store *store, bool is_new, const struct trouble_row *first,
                      const struct trouble_row *last) {
    struct args *args = pg_write(store);
    if (!args)
        return -ENOMEM;
#define EACH (const struct trouble_row *row = first; row != last; row = row->next_dirty)
#define NUMBERS(value_)                                                                           \
    do {                                                                                          \
        args_array(args, ARGS_INTS);                                                              \
        for                                                                                       \
            EACH if (row->data && row->is_new == is_new) args_array_int(args, (int64_t)(value_)); \
        args_array_end(args);                                                                     \
    } while (0)
#define DATA(value_)                                                                       \
    do {                                                                                   \
        args_array(args, ARGS_BYTES);                                                      \
        for                                                                                \
            EACH if (row->data && row->is_new == is_new) args_array_bytes(args, (value_)); \
        args_array_end(args);                                                              \
    } while (0)
    NUMBERS(row->page);
    NUMBERS(row->index);
    NUMBERS(row->state);
    NUMBERS(row->due_utc_us);
    NUMBERS(row->attempts);
    NUMBERS(row->outcome);
    NUMBERS(row->size);
    DATA(row->data->child_key);
    DATA(row->data->generation);
    DATA(row->data->input);
    DATA(row->data->checkpoint);
    DATA(row->data->error);
#undef NUMBERS
#undef DATA
#undef EACH
    return pg_send_write(store, is_new ? SQL_TROUBLE_ADD : SQL_TROUBLE_PUT, args);
}

static int write_datas(struct postgres_store *store, bool is_new) {
    int r = 0;
    size_t size = 0, n = 0;
    const struct trouble_row *first = store->rows.dirty_troubles;
    for (const struct trouble_row *row = first; row && r == 0; row = row->next_dirty) {
        if (row->data && row->is_new == is_new) {
            size += size_of(row);
            n++;
        }
        if (n && (size >= AT_ONCE_BYTES || !row->next_dirty)) {
            r = write_data(store, is_new, first, row->next_dirty);
            first = row->next_dirty;
            size = n = 0;
        }
    }
    return r;
}

static int write_states(struct postgres_store *store) {
    struct args *args = pg_write(store);
    if (!args)
        return -ENOMEM;
#define NUMBERS(value_) INTS(args, store->rows.dirty_troubles, next_dirty, struct trouble_row, !row->data, value_)
    NUMBERS(row->page);
    NUMBERS(row->index);
    NUMBERS(row->state);
    NUMBERS(row->due_utc_us);
    NUMBERS(row->attempts);
    NUMBERS(row->outcome);
    NUMBERS(row->size);
#undef NUMBERS
    return pg_send_write(store, SQL_TROUBLE_STATE, args);
}

static int drop_troubles(struct postgres_store *store) {
    struct args *args = pg_write(store);
    if (!args)
        return -ENOMEM;
#define NUMBERS(value_) \
    INTS(args, store->rows.dirty_troubles, next_dirty, struct trouble_row, row->state == TROUBLE_FINISHED, value_)
    NUMBERS(row->page);
    NUMBERS(row->index);
#undef NUMBERS
    return pg_send_write(store, SQL_TROUBLE_DROP, args);
}

static int write_troubles(struct postgres_store *store) {
    bool states = false, added = false, put = false, gone = false;
    for (const struct trouble_row *row = store->rows.dirty_troubles; row; row = row->next_dirty) {
        states |= !row->data;
        added |= row->data && row->is_new;
        put |= row->data && !row->is_new;
        gone |= row->state == TROUBLE_FINISHED;
    }
    int r = added ? write_datas(store, true) : 0;
    if (r == 0 && put)
        r = write_datas(store, false);
    if (r == 0 && states)
        r = write_states(store);
    if (r == 0 && gone && store->history_us < 0)
        r = drop_troubles(store);
    for (struct trouble_row *row = store->rows.dirty_troubles; row; row = row->next_dirty) {
        row->dirty = row->is_new = false;
        row->data = NULL;
    }
    store->rows.dirty_troubles = NULL;
    return r;
}

/* ---- leases and holds ---- */

static int add_leases(struct postgres_store *store, bool is_new) {
    struct args *args = pg_write(store);
    if (!args)
        return -ENOMEM;
    const struct lease_row *leases = store->rows.dirty_leases;
#define NUMBERS(value_) INTS(args, leases, next_dirty, struct lease_row, !row->gone && row->is_new == is_new, value_)
    NUMBERS(row->id);
    if (is_new) {
        NUMBERS(row->worker);
        NUMBERS(row->lane);
        NUMBERS(row->page);
        NUMBERS(row->retry);
    }
    NUMBERS(row->n);
    if (is_new)
        NUMBERS(row->n_page);
#undef NUMBERS
#define BITS(value_) BLOBS(args, leases, next_dirty, struct lease_row, !row->gone && row->is_new == is_new, value_)
    BITS(bits_bytes(&row->bits, row->n_page));
    BITS(bits_count(&row->asked) ? bits_bytes(&row->asked, row->n_page) : BYTES_NONE);
#undef BITS
    return pg_send_write(store, is_new ? SQL_LEASE_ADD : SQL_LEASE_PUT, args);
}

static int drop_leases(struct postgres_store *store, bool asked) {
    struct args *args = pg_write(store);
    if (!args)
        return -ENOMEM;
    INTS(args, store->rows.dirty_leases, next_dirty, struct lease_row,
         row->gone && !row->is_new && (!asked || bits_count(&row->asked)), row->id);
    return pg_send_write(store, asked ? SQL_ASK_DROP_LEASES : SQL_LEASE_DROP, args);
}

static int write_leases(struct postgres_store *store) {
    bool added = false, put = false, gone = false, asked = false;
    for (const struct lease_row *row = store->rows.dirty_leases; row; row = row->next_dirty) {
        added |= row->is_new && !row->gone;
        put |= !row->is_new && !row->gone;
        gone |= !row->is_new && row->gone;
        asked |= !row->is_new && row->gone && bits_count(&row->asked);
    }
    int r = added ? add_leases(store, true) : 0;
    if (r == 0 && put)
        r = add_leases(store, false);
    if (r == 0 && gone)
        r = drop_leases(store, false);
    if (r == 0 && asked)
        r = drop_leases(store, true);
    for (struct lease_row *row = store->rows.dirty_leases; row; row = row->next_dirty)
        row->dirty = row->is_new = false;
    store->rows.dirty_leases = NULL;
    return r;
}

static int put_holds(struct postgres_store *store, bool there) {
    struct args *args = pg_write(store);
    if (!args)
        return -ENOMEM;
#define NUMBERS(value_)                                              \
    INTS(args, store->rows.dirty_holds, next_dirty, struct hold_row, \
         there ? row->leased : row->in_table && !row->leased, value_)
    NUMBERS(row->worker);
    NUMBERS(row->lane);
    if (there) {
        NUMBERS(row->tokens);
        NUMBERS(row->leased);
    }
#undef NUMBERS
    return pg_send_write(store, there ? SQL_HOLD_PUT : SQL_HOLD_DROP, args);
}

static int write_holds(struct postgres_store *store) {
    bool put = false, gone = false;
    for (const struct hold_row *row = store->rows.dirty_holds; row; row = row->next_dirty) {
        put |= row->leased > 0;
        gone |= row->leased == 0 && row->in_table;
    }
    int r = put ? put_holds(store, true) : 0;
    if (r == 0 && gone)
        r = put_holds(store, false);
    for (struct hold_row *row = store->rows.dirty_holds; row; row = row->next_dirty) {
        row->dirty = false;
        row->in_table = row->leased > 0;
    }
    store->rows.dirty_holds = NULL;
    return r;
}

/* ---- lanes, workflows, rates ---- */

int pg_lane_changed(struct postgres_store *store, int64_t lane) {
    if (store->n_changed_lanes == store->cap_changed_lanes) {
        size_t cap = store->cap_changed_lanes ? store->cap_changed_lanes * 2 : 16;
        int64_t *lanes = mem_reallocarray(store->changed_lanes, cap, sizeof *lanes);
        if (!lanes)
            return -ENOMEM;
        store->changed_lanes = lanes;
        store->cap_changed_lanes = cap;
    }
    store->changed_lanes[store->n_changed_lanes++] = lane;
    return 0;
}

static int put_lanes(struct postgres_store *store, bool is_new) {
    struct args *args = pg_write(store);
    if (!args)
        return -ENOMEM;
    const struct lane *lanes = store->sched.dirty;
#define NUMBERS(value_) INTS(args, lanes, next_dirty, struct lane, row->is_new == is_new, value_)
    NUMBERS(row->id);
    if (is_new) {
        NUMBERS(row->workflow->id);
        BLOBS(args, lanes, next_dirty, struct lane, row->is_new, bytes_of(row->packed, row->packed_n));
    }
    for (int i = 0; i < LANE_NUMBERS; i++)
        NUMBERS(row->v[i]);
#undef NUMBERS
    return pg_send_write(store, is_new ? SQL_LANE_ADD : SQL_LANE_PUT, args);
}

static int write_lanes(struct postgres_store *store) {
    bool added = false, put = false;
    int r = 0;
    for (struct lane *row = store->sched.dirty; row && r == 0; row = row->next_dirty) {
        added |= row->is_new;
        put |= !row->is_new;
        if (row->v[LN_USED] < store->now_utc_us)
            row->v[LN_USED] = store->now_utc_us;
        store->sched.woke |= row->woke && row->had_work;
        row->woke = false;
        r = pg_lane_changed(store, row->id);
    }
    if (r == 0 && added)
        r = put_lanes(store, true);
    if (r == 0 && put)
        r = put_lanes(store, false);
    for (struct lane *row = store->sched.dirty; row; row = row->next_dirty)
        row->dirty = row->is_new = false;
    store->sched.dirty = NULL;
    return r;
}

static int put_workflow(struct postgres_store *store, struct workflow *workflow) {
    struct args *args = pg_write(store);
    if (!args)
        return -ENOMEM;
    char rules[STORE_RULES_MAX * 16];
    for (size_t i = 0; i < workflow->n_rules; i++) {
        uint32_t two[2] = {workflow->rules[i].strategy, workflow->rules[i].max_runs};
        memcpy(rules + i * 16, two, sizeof two);
        memcpy(rules + i * 16 + 8, &workflow->rules[i].period_us, 8);
    }
    args_int(args, workflow->id);
    args_bytes(args, bytes_of(workflow->name, workflow->name_n));
    args_bytes(args, bytes_of(rules, workflow->n_rules * 16));
    args_bool(args, workflow->paused);
    workflow->dirty = false;
    return pg_send_write(store, SQL_WORKFLOW_PUT, args);
}

static int write_workflows(struct postgres_store *store) {
    int r = 0;
    for (size_t i = 0; i < store->sched.n_workflows && r == 0; i++)
        if (store->sched.workflows[i] && store->sched.workflows[i]->dirty)
            r = put_workflow(store, store->sched.workflows[i]);
    return r;
}

static int write_rates(struct postgres_store *store) {
    struct args *args = pg_write(store);
    if (!args)
        return -ENOMEM;
    args_array(args, ARGS_UUIDS);
    for (const struct rate *row = store->sched.dirty_rates; row; row = row->next_dirty)
        args_array_bytes(args, bytes_of(&row->hash, sizeof row->hash));
    args_array_end(args);
#define NUMBERS(value_) INTS(args, store->sched.dirty_rates, next_dirty, struct rate, true, value_)
    NUMBERS(row->window_utc_us);
    NUMBERS(row->window_utc_us + row->period_us);
    NUMBERS(row->used);
#undef NUMBERS
    for (struct rate *row = store->sched.dirty_rates; row; row = row->next_dirty)
        row->dirty = false;
    store->sched.dirty_rates = NULL;
    return pg_send_write(store, SQL_RATE_PUT, args);
}

/* ---- history and cancellations ---- */

static int write_ended(struct postgres_store *store) {
    struct args *args = pg_write(store);
    if (!args)
        return -ENOMEM;
    struct ended_row *oldest = NULL; /* first, as numbers are given in the order of time */
    for (struct ended_row *row = store->rows.ended, *next; row; row = next) {
        next = row->next;
        row->next = oldest;
        oldest = row;
    }
    store->rows.ended = oldest;
    args_array(args, ARGS_INTS);
    for (const struct ended_row *row = store->rows.ended; row; row = row->next)
        args_array_int(args, pg_next_id(store));
    args_array_end(args);
    INTS(args, store->rows.ended, next, struct ended_row, true, row->page);
    args_int(args, store->now_utc_us);
    INTS(args, store->rows.ended, next, struct ended_row, true, row->runs);
    INTS(args, store->rows.ended, next, struct ended_row, true, HISTORY_ENDED_COST + row->what.n + row->worker.n);
    BLOBS(args, store->rows.ended, next, struct ended_row, true, row->worker);
    BLOBS(args, store->rows.ended, next, struct ended_row, true, buf_bytes(&row->what));
    for (struct ended_row *row = store->rows.ended, *next; row; row = next) {
        next = row->next;
        store->meta.history_bytes += (int64_t)(HISTORY_ENDED_COST + row->what.n + row->worker.n);
        store->meta.history_runs += row->runs;
        buf_free(&row->what);
        mem_free(row);
    }
    store->rows.ended = NULL;
    return pg_send_write(store, SQL_ENDED_ADD, args);
}

static void free_asks(struct ask **list) {
    for (struct ask *ask = *list, *next; ask; ask = next) {
        next = ask->next;
        mem_free(ask);
    }
    *list = NULL;
}

static int write_asks(struct postgres_store *store) {
    int r = 0;
    if (store->rows.asks) {
        struct args *args = pg_write(store);
        if (!args)
            return -ENOMEM;
        args_array(args, ARGS_INTS);
        for (const struct ask *row = store->rows.asks; row; row = row->next)
            args_array_int(args, pg_next_id(store));
        args_array_end(args);
#define NUMBERS(value_) INTS(args, store->rows.asks, next, struct ask, true, value_)
        NUMBERS(row->worker);
        NUMBERS(row->lease);
        NUMBERS(row->page);
        NUMBERS(row->index);
        NUMBERS(row->driven_out);
#undef NUMBERS
        r = pg_send_write(store, SQL_ASK_ADD, args);
        store->sched.woke = true;
    }
    if (r == 0 && store->rows.answered) {
        struct args *args = pg_write(store);
        if (!args)
            return -ENOMEM;
        INTS(args, store->rows.answered, next, struct ask, true, row->lease);
        INTS(args, store->rows.answered, next, struct ask, true, row->index);
        r = pg_send_write(store, SQL_ASK_DROP, args);
    }
    free_asks(&store->rows.asks);
    free_asks(&store->rows.answered);
    return r;
}

/* ---- values, ticks, log lines ---- */

static int write_logs(struct postgres_store *store) {
    struct args *args = pg_write(store);
    if (!args)
        return -ENOMEM;
    store->meta_changed = true;
#define NUMBERS(value_) INTS(args, store->rows.notes, next, struct note, row->kind == NOTE_LOG, value_)
    NUMBERS(store->meta.next_log++);
    NUMBERS(row->page);
    NUMBERS(row->index);
    NUMBERS(row->level);
#undef NUMBERS
    args_int(args, store->now_utc_us);
    BLOBS(args, store->rows.notes, next, struct note, row->kind == NOTE_LOG, row->value);
    int r = pg_send_write(store, SQL_LOG_ADD, args);
    if (r < 0 || store->meta.next_log - store->meta.first_log <= 2 * STORE_LOG_LINES_MAX)
        return r;
    store->meta.first_log = store->meta.next_log - STORE_LOG_LINES_MAX;
    args = pg_write(store);
    if (!args)
        return -ENOMEM;
    args_int(args, store->meta.first_log);
    return pg_send_write(store, SQL_LOG_TRIM, args);
}

static int write_note(struct postgres_store *store, const struct note *note) {
    struct args *args = pg_write(store);
    if (!args)
        return -ENOMEM;
    if (note->kind == NOTE_TICK) {
        args_int(args, note->workflow);
        args_int(args, note->utc_us);
        int r = pg_send_write(store, SQL_TICK_ADD, args);
        if (r < 0 || note->oldest_utc_us == INT64_MIN)
            return r;
        args = pg_write(store);
        if (!args)
            return -ENOMEM;
        args_int(args, note->workflow);
        args_int(args, note->oldest_utc_us);
        return pg_send_write(store, SQL_TICK_TRIM, args);
    }
    struct hash128 hash = hash128(&store->sched.hash_key, note->name);
    args_uuid(args, &hash);
    if (note->value.n) {
        args_bytes(args, note->name);
        args_bytes(args, note->value);
    }
    return pg_send_write(store, note->value.n ? SQL_VALUE_PUT : SQL_VALUE_DROP, args);
}

static int write_notes(struct postgres_store *store) {
    bool logs = false;
    int r = 0;
    for (const struct note *note = store->rows.notes; note && r == 0; note = note->next) {
        logs |= note->kind == NOTE_LOG;
        if (note->kind != NOTE_LOG)
            r = write_note(store, note);
    }
    if (r == 0 && logs)
        r = write_logs(store);
    for (struct note *note = store->rows.notes, *next; note; note = next) {
        next = note->next;
        mem_free(note);
    }
    store->rows.notes = NULL;
    store->rows.notes_end = &store->rows.notes;
    return r;
}

/* ---- all of it ---- */

int pg_write_rows(struct postgres_store *store) {
    /* Questions before leases, as those of a lease that is over go with it. */
    static int (*const steps[])(struct postgres_store *) = {
        write_workflows, pg_write_pages, write_troubles, pg_write_finished_pages, pg_kept_write, write_asks,
        write_leases,    write_holds,    write_notes,
    };
    int r = 0;
    pg_look_at_rows(store, &store->known.look);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && r == 0; i++)
        r = steps[i](store);
    if (r == 0 && store->rows.ended)
        r = write_ended(store);
    if (r == 0 && store->sched.dirty)
        r = write_lanes(store);
    if (r == 0 && store->sched.dirty_rates)
        r = write_rates(store);
    return r;
}
