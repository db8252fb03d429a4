/* committer.c - group commit: one transaction for all that gathered while the last one ran. */
#include "committer.h"

#include "clock.h"
#include "mem.h"
#include "thread.h"

#include <sched.h>
#include <stdatomic.h>
#include <time.h>

struct committer {
    struct store *store; /* the thread's */
    struct wake *wake;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t more;
    struct list todo, done;
    bool closing, closed, waiting;
    atomic_bool gone; /* committer_go was called for what is in todo */
    bool fatal;
    bool lost, give_up;
    struct err why_lost;
};

#define LINGER_US 50
#define PAUSE_LEAST_US (50 * US_PER_MS) /* before the first repetition; doubles */
#define PAUSE_MOST_US US_PER_S

static bool concerns_the_request_alone(int r) {
    return r == -EINVAL || r == -ESTALE || r == -ENOENT;
}

static void chain(struct list *batch) {
    struct request *before = NULL;
    LIST_EACH (link, batch) {
        struct request *request = LIST_ENTRY(link, struct request, link);
        request->next = NULL;
        if (before)
            before->next = request;
        before = request;
    }
}

static int execute_all(struct store *store, struct list *batch, struct err *err) {
    int r = store_begin(store, err);
    if (r < 0)
        return r;
    LIST_EACH (link, batch) {
        struct request *request = LIST_ENTRY(link, struct request, link);
        request->err = (struct err){0};
        r = request->execute(request, store, &request->err);
        if (r < 0 && !concerns_the_request_alone(r)) {
            *err = request->err;
            return r;
        }
        request->r = r < 0 ? r : 0;
    }
    return store_commit(store, err);
}

static void fail_all(struct list *batch, int r, const struct err *err) {
    LIST_EACH (link, batch) {
        struct request *request = LIST_ENTRY(link, struct request, link);
        request->r = r;
        request->err = *err;
    }
}

/* With the mutex. */
static void set_lost(struct committer *committer, bool lost, const struct err *err) {
    if (lost)
        committer->why_lost = *err;
    if (committer->lost != lost)
        wake_send(committer->wake);
    committer->lost = lost;
}

static void pause_for(struct committer *committer, int64_t length_us) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until); /* a jump of it makes one pause longer or shorter, no more */
    int64_t ns = until.tv_nsec + length_us * 1000;
    until.tv_sec += ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    int r = 0;
    while (!committer->give_up && r == 0)
        r = pthread_cond_timedwait(&committer->more, &committer->mutex, &until);
}

static int execute_until_known(struct committer *committer, struct list *batch, struct err *err) {
    for (int64_t pause_us = PAUSE_LEAST_US;; pause_us = pause_us < PAUSE_MOST_US / 2 ? pause_us * 2 : PAUSE_MOST_US) {
        *err = (struct err){0};
        int r = execute_all(committer->store, batch, err);
        pthread_mutex_lock(&committer->mutex);
        set_lost(committer, r == STORE_ERR_LOST, err);
        bool lost = r == STORE_ERR_LOST && !committer->give_up;
        if (lost)
            pause_for(committer, pause_us);
        pthread_mutex_unlock(&committer->mutex);
        if (!lost && r != STORE_ERR_AGAIN)
            return r;
    }
}

/* What a client asks for when it has its answer mostly comes within microseconds: to fall asleep and be woken would
 * take longer. It gives way to the loop's thread, which may want to run here. */
static void linger(struct committer *committer) {
    int64_t until = clock_mono_us(&clock_system) + LINGER_US;
    while (!atomic_load(&committer->gone) && clock_mono_us(&clock_system) < until)
        sched_yield();
}

static void *run(void *arg) {
    struct committer *committer = arg;
    int failed = 0;
    bool more = false; /* came while the last transaction ran */
    struct err failure = {0};
    thread_name("froe-store");
    pthread_mutex_lock(&committer->mutex);
    for (;;) {
        while (!more && !committer->gone && !committer->closing) {
            committer->waiting = true;
            pthread_cond_wait(&committer->more, &committer->mutex);
            committer->waiting = false;
        }
        if (list_empty(&committer->todo))
            break;
        struct list batch;
        list_init(&batch);
        list_splice_back(&batch, &committer->todo);
        atomic_store(&committer->gone, false);
        pthread_mutex_unlock(&committer->mutex);

        chain(&batch);
        if (failed == 0)
            failed = execute_until_known(committer, &batch, &failure);
        if (failed < 0) {
            if (failure.code == 0)
                err_set(&failure, failed, "the store failed: %s", err_errno_text(failed));
            fail_all(&batch, failed, &failure);
        }

        pthread_mutex_lock(&committer->mutex);
        committer->fatal = failed < 0;
        list_splice_back(&committer->done, &batch);
        more = !list_empty(&committer->todo);
        pthread_mutex_unlock(&committer->mutex);
        wake_send(committer->wake); /* without the mutex: the loop may run at once, here, and would wait for it */
        if (!more)
            linger(committer);
        pthread_mutex_lock(&committer->mutex);
    }
    pthread_mutex_unlock(&committer->mutex);
    store_close(committer->store);
    pthread_mutex_lock(&committer->mutex);
    committer->closed = true;
    wake_send(committer->wake); /* under the mutex: the handle lives until the loop saw `closed` */
    pthread_mutex_unlock(&committer->mutex);
    return NULL;
}

int committer_start(struct store *store, struct wake *wake, struct committer **ret_committer, struct err *err) {
    struct committer *committer = mem_zalloc(sizeof *committer);
    if (!committer)
        return err_set(err, -ENOMEM, "out of memory");
    committer->store = store;
    committer->wake = wake;
    list_init(&committer->todo);
    list_init(&committer->done);
    pthread_mutex_init(&committer->mutex, NULL);
    pthread_cond_init(&committer->more, NULL);
    int r = thread_start(&committer->thread, run, committer);
    if (r < 0) {
        pthread_cond_destroy(&committer->more);
        pthread_mutex_destroy(&committer->mutex);
        mem_free(committer);
        return err_set(err, r, "cannot start the store's thread: %s", err_errno_text(r));
    }
    *ret_committer = committer;
    return 0;
}

void committer_submit(struct committer *committer, struct request *request) {
    pthread_mutex_lock(&committer->mutex);
    list_push_back(&committer->todo, &request->link);
    pthread_mutex_unlock(&committer->mutex);
}

void committer_go(struct committer *committer) {
    pthread_mutex_lock(&committer->mutex);
    bool some = !list_empty(&committer->todo), waiting = committer->waiting && some;
    if (some)
        atomic_store(&committer->gone, true);
    pthread_mutex_unlock(&committer->mutex);
    if (waiting)
        pthread_cond_signal(&committer->more);
}

void committer_collect(struct committer *committer, struct list *done, bool *ret_fatal) {
    pthread_mutex_lock(&committer->mutex);
    list_splice_back(done, &committer->done);
    *ret_fatal = committer->fatal;
    pthread_mutex_unlock(&committer->mutex);
}

bool committer_lost(struct committer *committer, struct err *ret_err) {
    pthread_mutex_lock(&committer->mutex);
    bool lost = committer->lost;
    if (lost)
        *ret_err = committer->why_lost;
    pthread_mutex_unlock(&committer->mutex);
    return lost;
}

void committer_give_up(struct committer *committer) {
    pthread_mutex_lock(&committer->mutex);
    committer->give_up = true;
    pthread_mutex_unlock(&committer->mutex);
    pthread_cond_signal(&committer->more);
}

void committer_close(struct committer *committer) {
    pthread_mutex_lock(&committer->mutex);
    committer->closing = true;
    pthread_mutex_unlock(&committer->mutex);
    pthread_cond_signal(&committer->more);
}

bool committer_closed(struct committer *committer) {
    pthread_mutex_lock(&committer->mutex);
    bool closed = committer->closed;
    pthread_mutex_unlock(&committer->mutex);
    return closed;
}

void committer_free(struct committer *committer) {
    if (!committer)
        return;
    pthread_join(committer->thread, NULL);
    pthread_cond_destroy(&committer->more);
    pthread_mutex_destroy(&committer->mutex);
    mem_free(committer);
}
