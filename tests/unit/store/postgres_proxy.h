/* postgres_proxy.h - a relay in front of a PostgreSQL server that cuts the connection at a place the test names.
 *
 * It knows the protocol's messages, so it can count statements: those that the client asks to be executed, and those
 * that the server says are done. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum proxy_cut {
    PROXY_NEVER,
    PROXY_BEFORE_STATEMENT, /* the n-th Execute does not reach the server any more */
    PROXY_AFTER_STATEMENT,  /* it does, but nothing after it */
    PROXY_BEFORE_ANSWER,    /* the n-th CommandComplete does not reach the client any more; the server got all */
    PROXY_BEFORE_SYNC,      /* the n-th ReadyForQuery does not: all was done */
    PROXY_STALL,            /* likewise, but the connection stays open */
};

struct proxy {
    int listen_fd, stop_fd, port, server_port;
    pthread_t thread;
    _Atomic enum proxy_cut cut;
    _Atomic uint64_t left;        /* until the cut */
    _Atomic bool happened;        /* it did */
    _Atomic int64_t away_us;      /* how long connections are refused after it */
    _Atomic uint64_t connections; /* so far */
};

void proxy_start(struct proxy *proxy, int server_port);
void proxy_stop(struct proxy *proxy);
/* Cuts once, at the n-th from now (1 is the next). */
void proxy_cut_at(struct proxy *proxy, enum proxy_cut cut, uint64_t n, int64_t away_us);
