/* postgres_proxy.c - see postgres_proxy.h. */
#include "postgres_proxy.h"

#include <arpa/inet.h>
#include <endian.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAIRS 16
#define BUFFER 65536

/* One direction of a connection: where in the stream of messages it is. */
struct way {
    bool started; /* the client's first message has no type */
    unsigned char head[5];
    size_t head_n;
    uint64_t body_left;
};

struct pair {
    int client, server; /* -1: free */
    struct way up, down;
    bool stalled;
};

static int64_t mono_us(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static bool is_counted(enum proxy_cut cut, char type, bool up) {
    if (up)
        return type == 'E' && (cut == PROXY_BEFORE_STATEMENT || cut == PROXY_AFTER_STATEMENT);
    return (type == 'C' && cut == PROXY_BEFORE_ANSWER) ||
           (type == 'Z' && (cut == PROXY_BEFORE_SYNC || cut == PROXY_STALL));
}

/* How many of the bytes may pass; less than n when the cut is there. */
static size_t passes(struct proxy *proxy, struct way *way, bool up, const unsigned char *data, size_t n) {
    enum proxy_cut cut = proxy->cut;
    bool after = false;
    for (size_t i = 0; i < n; i++) {
        if (after && way->head_n == 0 && way->body_left == 0)
            return i;
        if (way->body_left) {
            size_t skip = way->body_left < n - i ? (size_t)way->body_left : n - i;
            way->body_left -= skip;
            i += skip - 1;
            continue;
        }
        way->head[way->head_n++] = data[i];
        size_t need = way->started ? 5 : 4;
        if (way->head_n < need)
            continue;
        uint32_t size;
        memcpy(&size, way->head + (need - 4), 4);
        size = be32toh(size);
        way->body_left = size >= 4 ? size - 4 : 0;
        way->head_n = 0;
        char type = way->started ? (char)way->head[0] : '\0';
        way->started = true;
        if (!is_counted(cut, type, up) || proxy->happened || --proxy->left > 0)
            continue;
        proxy->happened = true;
        after = cut == PROXY_AFTER_STATEMENT;
        if (!after)
            return i + 1 >= need ? i + 1 - need : 0;
    }
    return after ? n + 1 : n; /* the rest of this message may be to come; it passes, and then it ends */
}

static void drop(struct pair *pair) {
    close(pair->client);
    close(pair->server);
    pair->client = pair->server = -1;
}

static bool send_all(int fd, const unsigned char *data, size_t n) {
    for (size_t at = 0; at < n;) {
        ssize_t sent = send(fd, data + at, n - at, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        at += (size_t)sent;
    }
    return true;
}

static void relay(struct proxy *proxy, struct pair *pair, bool up) {
    static unsigned char buffer[BUFFER];
    ssize_t n = recv(up ? pair->client : pair->server, buffer, sizeof buffer, 0);
    if (n <= 0) {
        drop(pair);
        return;
    }
    if (pair->stalled)
        return;
    bool before = proxy->happened;
    size_t pass = passes(proxy, up ? &pair->up : &pair->down, up, buffer, (size_t)n);
    bool cut = !before && proxy->happened;
    if (!send_all(up ? pair->server : pair->client, buffer, pass < (size_t)n ? pass : (size_t)n)) {
        drop(pair);
    } else if (cut && proxy->cut == PROXY_STALL) {
        pair->stalled = true;
    } else if (cut) {
        if (up) { /* what was sent is to be worked on: the server sees an orderly end */
            shutdown(pair->server, SHUT_WR);
            struct timespec ts = {.tv_nsec = 20 * 1000000};
            nanosleep(&ts, NULL);
        }
        drop(pair);
    }
}

static void take_client(struct proxy *proxy, struct pair *pairs, int64_t away_until_us) {
    int client = accept4(proxy->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0)
        return;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)proxy->server_port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct pair *free_pair = NULL;
    for (int i = 0; i < PAIRS && !free_pair; i++)
        if (pairs[i].client < 0)
            free_pair = &pairs[i];
    proxy->connections++;
    if (mono_us() < away_until_us || !free_pair || connect(server, (struct sockaddr *)&address, sizeof address) < 0) {
        close(client);
        close(server);
        return;
    }
    *free_pair = (struct pair){.client = client, .server = server, .down = {.started = true}};
}

static void *proxy_thread(void *arg) {
    struct proxy *proxy = arg;
    struct pair pairs[PAIRS];
    int64_t away_until_us = 0;
    bool seen = false;
    for (int i = 0; i < PAIRS; i++)
        pairs[i].client = pairs[i].server = -1;
    for (;;) {
        struct pollfd fds[2 + 2 * PAIRS] = {{.fd = proxy->stop_fd, .events = POLLIN},
                                            {.fd = proxy->listen_fd, .events = POLLIN}};
        for (int i = 0; i < PAIRS; i++) {
            fds[2 + 2 * i] = (struct pollfd){.fd = pairs[i].client, .events = POLLIN};
            fds[3 + 2 * i] = (struct pollfd){.fd = pairs[i].server, .events = POLLIN};
        }
        poll(fds, 2 + 2 * PAIRS, -1);
        if (fds[0].revents)
            break;
        for (int i = 0; i < PAIRS; i++) {
            if (pairs[i].client >= 0 && fds[2 + 2 * i].revents)
                relay(proxy, &pairs[i], true);
            if (pairs[i].client >= 0 && fds[3 + 2 * i].revents)
                relay(proxy, &pairs[i], false);
        }
        if (proxy->happened && !seen)
            away_until_us = mono_us() + proxy->away_us;
        seen = proxy->happened;
        if (fds[1].revents)
            take_client(proxy, pairs, away_until_us);
    }
    for (int i = 0; i < PAIRS; i++)
        if (pairs[i].client >= 0)
            drop(&pairs[i]);
    return NULL;
}

void proxy_start(struct proxy *proxy, int server_port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    memset(proxy, 0, sizeof *proxy);
    proxy->server_port = server_port;
    proxy->stop_fd = eventfd(0, EFD_CLOEXEC);
    proxy->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (proxy->stop_fd < 0 || proxy->listen_fd < 0 ||
        bind(proxy->listen_fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(proxy->listen_fd, 16) < 0 ||
        getsockname(proxy->listen_fd, (struct sockaddr *)&address, &size) < 0 ||
        pthread_create(&proxy->thread, NULL, proxy_thread, proxy) != 0) {
        perror("proxy");
        exit(1);
    }
    proxy->port = ntohs(address.sin_port);
}

void proxy_stop(struct proxy *proxy) {
    eventfd_write(proxy->stop_fd, 1);
    pthread_join(proxy->thread, NULL);
    close(proxy->listen_fd);
    close(proxy->stop_fd);
}

void proxy_cut_at(struct proxy *proxy, enum proxy_cut cut, uint64_t n, int64_t away_us) {
    proxy->cut = PROXY_NEVER;
    proxy->happened = false;
    proxy->away_us = away_us;
    proxy->left = n;
    proxy->cut = cut;
}
