/* listen.c - a thread that waits for NOTIFY on a connection of its own, and calls options->wake.
 *
 * A hint only: whoever hears nothing polls. Behind a connection pooler nothing would come, so there it ends at once. A
 * connection that breaks is made anew, ever more slowly, and each time the owner is woken, as it may have missed one.
 */
#include "postgres_store.h"

#include "cleanup.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>

#define BACKOFF_FIRST_US (200 * US_PER_MS)
#define BACKOFF_LAST_US (30 * US_PER_S)
#define CONNECT_WITHIN_US (5 * US_PER_S)

struct listener {
    pthread_t thread;
    int stop_fd;
    const struct place *place; /* of the store, which outlives it */
    const char *session;
    struct sql sql; /* none is used */
    struct rng rng;
    void (*wake)(void *arg);
    void *wake_arg;
};

/* Whether it shall stop; else something came on fd, or the time is over. */
static bool wait_for(const struct listener *listener, int fd, int64_t us) {
    struct pollfd fds[2] = {{.fd = listener->stop_fd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    poll(fds, 2, us < 0 ? -1 : (int)(us / 1000));
    return fds[0].revents;
}

static int begin_listening(const struct listener *listener, struct wire *wire) {
    char text[128];
    struct err err;
    int r = wire_connect(wire, CONNECT_WITHIN_US, &err);
    if (r < 0 || wire->pooled)
        return r;
    snprintf(text, sizeof text, "LISTEN \"%s\"", listener->place->channel);
    return wire_script(wire, text, CONNECT_WITHIN_US, &err);
}

static void *listen_thread(void *arg) {
    struct listener *listener = arg;
    struct wire wire;
    int64_t pause_us = BACKOFF_FIRST_US;
    bool stop = false;
    wire_init(&wire, listener->place, &listener->sql);
    while (!stop) {
        int r = begin_listening(listener, &wire);
        if (r == 0 && wire.pooled)
            break;
        if (r == 0) {
            pause_us = BACKOFF_FIRST_US;
            listener->wake(listener->wake_arg);
        }
        while (r >= 0 && !stop) {
            stop = wait_for(listener, wire_fd(&wire), -1);
            r = wire_notified(&wire, listener->session);
            if (r > 0 && !stop)
                listener->wake(listener->wake_arg);
        }
        if (!stop)
            stop = wait_for(listener, -1, pause_us / 2 + (int64_t)rng_below(&listener->rng, (uint64_t)pause_us));
        pause_us = pause_us * 2 < BACKOFF_LAST_US ? pause_us * 2 : BACKOFF_LAST_US;
    }
    wire_close(&wire);
    return NULL;
}

int listener_start(struct postgres_store *store, const struct store_options *options, struct listener **ret_listener) {
    struct listener *listener = mem_zalloc(sizeof *listener);
    if (!listener)
        return -ENOMEM;
    listener->place = &store->place;
    listener->session = store->session_text;
    listener->wake = options->wake;
    listener->wake_arg = options->wake_arg;
    rng_seed_system(&listener->rng);
    listener->stop_fd = eventfd(0, EFD_CLOEXEC);
    int r = listener->stop_fd < 0 ? -errno : -pthread_create(&listener->thread, NULL, listen_thread, listener);
    if (r < 0) {
        if (listener->stop_fd >= 0)
            close(listener->stop_fd);
        mem_free(listener);
        return r;
    }
    *ret_listener = listener;
    return 0;
}

void listener_stop(struct listener *listener) {
    if (!listener)
        return;
    eventfd_write(listener->stop_fd, 1);
    pthread_join(listener->thread, NULL);
    close(listener->stop_fd);
    mem_free(listener);
}
