/* hashers.c - each body has two buffers: one that gathers what comes, one that a thread works on or will. A body is in
 * the queue at most once, so its pieces stay in order.
 *
 * A thread takes several bodies from the queue and works on them side by side, as that costs much less (md5.h). So none
 * is woken for the first few, unless one of them goes on coming: then there are no others, or those are slow. */
#include "hashers.h"

#include "list.h"
#include "mem.h"

#include <uv.h>

#define PIECE_BYTES (128 * 1024)       /* so much is handed over: worth waking a thread for */
#define GATHERED_MAX (192 * 1024)      /* with what comes at once its buffer stays below half of HASHING_BYTES_MAX */
#define URGENT_BYTES (64 * 1024)       /* gathered while the last piece is not even begun: it should be soon */
#define ENOUGH (CHECKSUM_MANY_MAX / 2) /* bodies, to wake a thread for */

struct hashers {
    uv_mutex_t mutex;
    uv_cond_t work, done;
    struct list queue; /* of hashings, by `link` */
    size_t n_queued;
    bool urgent; /* what is queued should not wait for more */
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

static void hash(struct hashing *hashing, struct buf *data) {
    if (hashing->error == 0)
        hashing->error = checksum_update(hashing->sum, buf_bytes(data));
    buf_reset(data);
}

static void hash_many(struct hashing *const batch[], size_t n, int ret_results[]) {
    struct checksum *sums[CHECKSUM_MANY_MAX];
    struct bytes data[CHECKSUM_MANY_MAX];
    for (size_t i = 0; i < n; i++) {
        sums[i] = batch[i]->sum;
        data[i] = buf_bytes(&batch[i]->working);
    }
    checksum_update_many(sums, data, n, ret_results);
    for (size_t i = 0; i < n; i++)
        buf_reset(&batch[i]->working);
}

/* With the mutex held. */
static struct hashing *pop(struct hashers *hashers) {
    struct list *link = list_pop_front(&hashers->queue);
    if (!link)
        return NULL;
    hashers->n_queued--;
    return LIST_ENTRY(link, struct hashing, link);
}

/* With the mutex held: works on what waits, as many as are done at once. */
static void work(struct hashers *hashers) {
    struct hashing *batch[CHECKSUM_MANY_MAX];
    int results[CHECKSUM_MANY_MAX];
    size_t n = 0;
    for (; n < CHECKSUM_MANY_MAX && (batch[n] = pop(hashers)); n++)
        batch[n]->state = RUNNING;
    if (hashers->n_queued == 0)
        hashers->urgent = false;
    uv_mutex_unlock(&hashers->mutex);
    hash_many(batch, n, results);
    uv_mutex_lock(&hashers->mutex);
    for (size_t i = 0; i < n; i++) {
        batch[i]->state = IDLE;
        if (batch[i]->error == 0)
            batch[i]->error = results[i];
    }
    uv_cond_signal(&hashers->done); /* the loop is the only one who waits */
}

/* ---- the threads ---- */

static void run(void *arg) {
    struct hashers *hashers = arg;
    uv_mutex_lock(&hashers->mutex);
    while (!hashers->closing)
        if (hashers->n_queued >= ENOUGH || hashers->urgent)
            work(hashers);
        else
            uv_cond_wait(&hashers->work, &hashers->mutex);
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
    checksum_of_many(sum);
    list_init(&hashing->link);
    *ret_hashing = hashing;
    return 0;
}

/* With the mutex held: none has it any more, or will. What waited unbegun is still in `working`. */
static void take_back(struct hashing *hashing) {
    while (hashing->state == RUNNING)
        uv_cond_wait(&hashing->hashers->done, &hashing->hashers->mutex);
    if (hashing->state == QUEUED)
        hashing->hashers->n_queued--;
    list_remove(&hashing->link);
    hashing->state = IDLE;
}

/* With the mutex held. */
static void enqueue(struct hashing *hashing, bool first) {
    struct hashers *hashers = hashing->hashers;
    hashing->state = QUEUED;
    hashers->n_queued++;
    if (first)
        list_push_front(&hashers->queue, &hashing->link);
    else
        list_push_back(&hashers->queue, &hashing->link);
}

/* With the mutex held. */
static void hand_over(struct hashing *hashing) {
    struct buf empty = hashing->working;
    hashing->working = hashing->gathering;
    hashing->gathering = empty;
    enqueue(hashing, false);
    if (hashing->hashers->n_queued >= ENOUGH)
        uv_cond_signal(&hashing->hashers->work);
}

/* With the mutex held. The threads have more to do than they can: the loop helps them. */
static void help(struct hashing *hashing) {
    take_back(hashing);
    if (hashing->working.n == 0)
        return;
    enqueue(hashing, true);
    work(hashing->hashers);
}

int hashing_add(struct hashing *hashing, struct bytes piece) {
    struct hashers *hashers = hashing->hashers;
    int r = buf_add_bytes(&hashing->gathering, piece);
    if (r < 0 || hashing->gathering.n < URGENT_BYTES)
        return r;
    uv_mutex_lock(&hashers->mutex);
    if (hashing->gathering.n >= GATHERED_MAX)
        help(hashing);
    r = hashing->error;
    if (r == 0 && hashing->state == IDLE && hashing->gathering.n >= PIECE_BYTES) {
        hand_over(hashing);
    } else if (hashing->state == QUEUED && !hashers->urgent) {
        hashers->urgent = true;
        uv_cond_signal(&hashers->work);
    }
    uv_mutex_unlock(&hashers->mutex);
    return r;
}

int hashing_end(struct hashing *hashing) {
    uv_mutex_lock(&hashing->hashers->mutex);
    take_back(hashing);
    uv_mutex_unlock(&hashing->hashers->mutex);
    hash(hashing, &hashing->working);
    hash(hashing, &hashing->gathering);
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
