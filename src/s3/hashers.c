/* hashers.c - each body has two buffers: one that gathers what comes, one that a thread works on or will. A body is in
 * the queue at most once, so its pieces stay in order. */
#include "hashers.h"

#include "list.h"
#include "mem.h"

#include <uv.h>

#define PIECE_BYTES (128 * 1024)  /* so much is handed over: some 200 us of work, worth waking a thread for */
#define GATHERED_MAX (192 * 1024) /* with what curl tells at once its buffer stays below half of HASHING_BYTES_MAX */

struct hashers {
    uv_mutex_t mutex;
    uv_cond_t work, done;
    struct list queue; /* of hashings, by `link` */
    bool closing;
    unsigned n_threads;
    uv_thread_t threads[];
};

enum state { IDLE, QUEUED, RUNNING };

struct hashing {
    struct hashers *hashers;
    struct checksum *sum;
    struct buf gathering;
    /* Under the mutex; the rest of them belong to the thread while it is RUNNING. */
    enum state state;
    struct list link;
    struct buf working;
    int error;
};

static int hash(struct hashing *hashing, struct buf *data) {
    int r = hashing->error < 0 ? hashing->error : checksum_update(hashing->sum, buf_bytes(data));
    buf_reset(data);
    return r;
}

/* ---- the threads ---- */

static void run(void *arg) {
    struct hashers *hashers = arg;
    uv_mutex_lock(&hashers->mutex);
    for (;;) {
        struct list *link = list_pop_front(&hashers->queue);
        if (!link && hashers->closing)
            break;
        if (!link) {
            uv_cond_wait(&hashers->work, &hashers->mutex);
            continue;
        }
        struct hashing *hashing = LIST_ENTRY(link, struct hashing, link);
        hashing->state = RUNNING;
        uv_mutex_unlock(&hashers->mutex);
        int r = hash(hashing, &hashing->working);
        uv_mutex_lock(&hashers->mutex);
        hashing->error = r;
        hashing->state = IDLE;
        uv_cond_signal(&hashers->done); /* the loop is the only one who waits */
    }
    uv_mutex_unlock(&hashers->mutex);
}

void hashers_free(struct hashers *hashers) {
    if (!hashers)
        return;
    uv_mutex_lock(&hashers->mutex);
    hashers->closing = true;
    uv_cond_broadcast(&hashers->work);
    uv_mutex_unlock(&hashers->mutex);
    for (unsigned i = 0; i < hashers->n_threads; i++)
        uv_thread_join(&hashers->threads[i]);
    uv_cond_destroy(&hashers->done);
    uv_cond_destroy(&hashers->work);
    uv_mutex_destroy(&hashers->mutex);
    mem_free(hashers);
}

static int init_locks(struct hashers *hashers) {
    int r = uv_mutex_init(&hashers->mutex);
    if (r < 0)
        return r;
    r = uv_cond_init(&hashers->work);
    if (r == 0) {
        r = uv_cond_init(&hashers->done);
        if (r == 0)
            return 0;
        uv_cond_destroy(&hashers->work);
    }
    uv_mutex_destroy(&hashers->mutex);
    return r;
}

int hashers_new(unsigned threads, struct hashers **ret_hashers) {
    struct hashers *hashers = mem_zalloc(sizeof *hashers + threads * sizeof *hashers->threads);
    if (!hashers)
        return -ENOMEM;
    list_init(&hashers->queue);
    int r = init_locks(hashers);
    if (r < 0) {
        mem_free(hashers);
        return r;
    }
    for (; hashers->n_threads < threads; hashers->n_threads++) {
        r = uv_thread_create(&hashers->threads[hashers->n_threads], run, hashers);
        if (r < 0) {
            hashers_free(hashers);
            return r;
        }
    }
    *ret_hashers = hashers;
    return 0;
}

/* ---- a body ---- */

int hashing_new(struct hashers *hashers, struct checksum *sum, struct hashing **ret_hashing) {
    struct hashing *hashing = mem_zalloc(sizeof *hashing);
    if (!hashing)
        return -ENOMEM;
    hashing->hashers = hashers;
    hashing->sum = sum;
    list_init(&hashing->link);
    *ret_hashing = hashing;
    return 0;
}

/* With the mutex held: none has it any more, or will. What waited unbegun is still in `working`. */
static void take_back(struct hashing *hashing) {
    while (hashing->state == RUNNING)
        uv_cond_wait(&hashing->hashers->done, &hashing->hashers->mutex);
    list_remove(&hashing->link);
    hashing->state = IDLE;
}

/* With the mutex held. */
static void hand_over(struct hashing *hashing) {
    struct buf empty = hashing->working;
    hashing->working = hashing->gathering;
    hashing->gathering = empty;
    hashing->state = QUEUED;
    list_push_back(&hashing->hashers->queue, &hashing->link);
    uv_cond_signal(&hashing->hashers->work);
}

int hashing_add(struct hashing *hashing, struct bytes piece) {
    struct hashers *hashers = hashing->hashers;
    int r = buf_add_bytes(&hashing->gathering, piece);
    if (r < 0 || hashing->gathering.n < PIECE_BYTES)
        return r;
    uv_mutex_lock(&hashers->mutex);
    if (hashing->state != IDLE && hashing->gathering.n >= GATHERED_MAX) {
        take_back(hashing);
        uv_mutex_unlock(&hashers->mutex);
        hashing->error = hash(hashing, &hashing->working); /* the threads have more to do than they can */
        uv_mutex_lock(&hashers->mutex);
    }
    r = hashing->error;
    if (r == 0 && hashing->state == IDLE)
        hand_over(hashing);
    uv_mutex_unlock(&hashers->mutex);
    return r;
}

int hashing_end(struct hashing *hashing) {
    uv_mutex_lock(&hashing->hashers->mutex);
    take_back(hashing);
    uv_mutex_unlock(&hashing->hashers->mutex);
    hashing->error = hash(hashing, &hashing->working);
    hashing->error = hash(hashing, &hashing->gathering);
    return hashing->error;
}

void hashing_free(struct hashing *hashing) {
    if (!hashing)
        return;
    uv_mutex_lock(&hashing->hashers->mutex);
    take_back(hashing);
    uv_mutex_unlock(&hashing->hashers->mutex);
    buf_free(&hashing->working);
    buf_free(&hashing->gathering);
    mem_free(hashing);
}
