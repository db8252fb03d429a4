/* server.h - the server's parts in one place. All of it belongs to the server's thread, which holds `lock` whenever it
 * is not waiting; other threads (mock_put, mock_count) take the lock. */
#pragma once

#include "faults.h"
#include "list.h"
#include "mock.h"
#include "objects.h"
#include "request.h"
#include "stats.h"

#include <openssl/ssl.h>
#include <pthread.h>

#define ACCESS_MAX CREDENTIALS_KEY_ID_MAX
#define HOST_MAX 64
#define CONNECTIONS_MAX 8192
#define FAULT_SEED 1

#define DATE_TEXT 29 /* bytes of an HTTP date */
struct date_memo {   /* the last one written: it is mostly asked for again */
    int64_t second;
    char text[DATE_TEXT + 3];
};

struct mock {
    pthread_t thread;
    pthread_mutex_t lock;
    int epoll, listener, wake;
    uint16_t port;
    bool stopping;
    SSL_CTX *tls; /* NULL: plain HTTP */

    char host[HOST_MAX], access[ACCESS_MAX + 1], secret[CREDENTIALS_SECRET_MAX + 1], region[REGION_MAX + 1];
    bool ignore_if_match, default_checksum;
    uint64_t part_min; /* bytes of all parts of an upload but the last */

    struct objects objects;
    struct faults faults;
    struct stats stats;

    struct sigv4_signer *signer;
    struct checksum *checksum;
    EVP_MD *sha256;

    int64_t now_utc_us, now_mono_us; /* as of the last wake-up */
    struct date_memo date, modified;
    uint64_t requests;   /* for request ids */
    uint64_t overwrites; /* by the fault, for its bodies */

    struct list conns;
    struct list timed;               /* connections that wait for a time, soonest first */
    struct buf xml, items, prefixes; /* scratch for the body of an answer */
};
