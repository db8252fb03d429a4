/* wants.c - statements on their way, with their parameters: questions that the next pg_load answers, and writes. */
#include "postgres_store.h"

#include "mem.h"

struct args *pg_want(struct postgres_store *store, enum sql_statement statement, pg_absorb_fn *absorb, void *arg) {
    static struct args nowhere;
    struct want *want = mem_zalloc(sizeof *want);
    if (!want) {
        store->want_failed = true;
        args_reset(&nowhere);
        buf_free(&nowhere.store);
        return &nowhere;
    }
    want->statement = statement;
    want->absorb = absorb;
    want->arg = arg;
    *store->wants_end = want;
    store->wants_end = &want->next;
    store->last_want = want;
    return &want->args;
}

void pg_want_keep(struct postgres_store *store, PGresult **keep) {
    if (!store->want_failed)
        store->last_want->keep = keep;
}

void pg_free_wants(struct postgres_store *store) {
    for (struct want *want = store->wants, *next; want; want = next) {
        next = want->next;
        args_free(&want->args);
        PQclear(want->answer);
        mem_free(want);
    }
    store->wants = NULL;
    store->wants_end = &store->wants;
    store->want_failed = false;
}

/* The parameters of a write, alive until the next answer. */
struct args *pg_write(struct postgres_store *store) {
    if (store->n_sent == store->cap_sent) {
        size_t cap = store->cap_sent ? store->cap_sent * 2 : 16;
        struct args **sent = mem_reallocarray(store->sent, cap, sizeof *sent);
        if (!sent)
            return NULL;
        memset(sent + store->cap_sent, 0, (cap - store->cap_sent) * sizeof *sent);
        store->sent = sent;
        store->cap_sent = cap;
    }
    struct args **at = &store->sent[store->n_sent];
    if (!*at)
        *at = mem_zalloc(sizeof **at);
    else
        args_reset(*at);
    if (*at)
        store->n_sent++;
    return *at;
}

void pg_forget_sent(struct postgres_store *store) {
    for (size_t i = 0; i < store->n_sent; i++)
        if (store->sent[i]->store.cap > 65536)
            buf_free(&store->sent[i]->store);
    store->n_sent = 0;
}
