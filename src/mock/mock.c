/* mock.c - the server's life: listening, its thread and loop, and the few calls from other threads. */
#include "mock.h"

#include "cleanup.h"
#include "conn.h"
#include "server.h"
#include "uploads.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define EVENTS_MAX 256
#define ACCEPT_MAX 64 /* a wake-up, so that those who are connected already are not kept waiting */
#define BYTES_DEFAULT (UINT64_C(4) << 30)

/* ---- the loop ---- */

static void accept_some(struct mock *mock) {
    for (int i = 0; i < ACCEPT_MAX; i++) {
        int fd = accept4(mock->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (mock->stats.connections_now >= CONNECTIONS_MAX || conn_new(mock, fd) < 0)
            close(fd);
    }
}

static void read_clocks(struct mock *mock) {
    mock->now_utc_us = clock_utc_us(&clock_system);
    mock->now_mono_us = clock_mono_us(&clock_system);
}

static void *loop(void *arg) {
    struct mock *mock = arg;
    struct epoll_event events[EVENTS_MAX];
    pthread_mutex_lock(&mock->lock);
    while (!mock->stopping) {
        int wait_ms = conn_wait_ms(mock, mock->now_mono_us);
        pthread_mutex_unlock(&mock->lock);
        int n = epoll_wait(mock->epoll, events, EVENTS_MAX, wait_ms);
        pthread_mutex_lock(&mock->lock);
        read_clocks(mock);
        for (int i = 0; i < n && !mock->stopping; i++) {
            if (events[i].data.ptr == &mock->listener)
                accept_some(mock);
            else if (events[i].data.ptr != &mock->wake)
                conn_event(events[i].data.ptr, events[i].events);
        }
        if (!mock->stopping)
            conn_run_timed(mock);
    }
    conn_free_all(mock);
    pthread_mutex_unlock(&mock->lock);
    OPENSSL_thread_stop();
    return NULL;
}

/* ---- starting ---- */

static int copy_text(char *to, size_t size, const char *text, const char *fallback, const char *what, struct err *err) {
    const char *from = text ? text : fallback;
    size_t n = strlen(from);
    if (n == 0 || n >= size)
        return err_set(err, -EINVAL, "fake S3: the %s must have 1 to %zu characters", what, size - 1);
    for (size_t i = 0; i < n; i++)
        if (from[i] <= ' ' || from[i] > '~' || from[i] == '/' || from[i] == ',')
            if (strcmp(what, "secret key") != 0)
                return err_set(err, -EINVAL, "fake S3: the %s holds a character that it cannot have", what);
    memcpy(to, from, n + 1);
    return 0;
}

static int copy_options(struct mock *mock, const struct mock_options *options, struct err *err) {
    int r = copy_text(mock->host, sizeof(mock->host), options->host, "127.0.0.1", "host", err);
    if (r == 0)
        r = copy_text(mock->access, sizeof(mock->access), options->access_key, "test", "access key", err);
    if (r == 0)
        r = copy_text(mock->secret, sizeof(mock->secret), options->secret_key, "test", "secret key", err);
    if (r == 0)
        r = copy_text(mock->region, sizeof(mock->region), options->region, "us-east-1", "region", err);
    mock->ignore_if_match = options->ignore_if_match;
    mock->default_checksum = options->default_checksum;
    return r;
}

static int parse_host(const char *host, uint16_t port, struct sockaddr_storage *ret_address, socklen_t *ret_size) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    const char *text = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    memset(ret_address, 0, sizeof(*ret_address));
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
        memcpy(ret_address, &v4, sizeof(v4));
        *ret_size = sizeof(v4);
        return ntohl(v4.sin_addr.s_addr) >> 24 == 127 ? 0 : -EACCES;
    }
    if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1) {
        memcpy(ret_address, &v6, sizeof(v6));
        *ret_size = sizeof(v6);
        return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) ? 0 : -EACCES;
    }
    return -EINVAL;
}

static int listen_on(struct mock *mock, uint16_t port, struct err *err) {
    struct sockaddr_storage address;
    socklen_t size = 0;
    if (parse_host(mock->host, port, &address, &size) < 0)
        return err_set(
            err, -EINVAL,
            "fake S3: \"%s\" is not a loopback address (127.0.0.1, ::1, localhost); it serves this machine only",
            mock->host);
    mock->listener = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (mock->listener < 0)
        return err_set(err, -errno, "fake S3: no socket: %s", err_errno_text(-errno));
    int on = 1;
    setsockopt(mock->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(mock->listener, (const struct sockaddr *)&address, size) < 0 || listen(mock->listener, 1024) < 0)
        return err_set(err, -errno, "fake S3: cannot listen on %s port %u: %s", mock->host, port,
                       err_errno_text(-errno));
    if (getsockname(mock->listener, (struct sockaddr *)&address, &size) < 0)
        return err_set(err, -errno, "fake S3: no port: %s", err_errno_text(-errno));
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    memcpy(&v4, &address, sizeof(v4));
    memcpy(&v6, &address, sizeof(v6));
    mock->port = ntohs(address.ss_family == AF_INET ? v4.sin_port : v6.sin6_port);
    return 0;
}

static int tls_error(struct err *err, const char *what, const char *file) {
    char text[160];
    ERR_error_string_n(ERR_peek_last_error(), text, sizeof(text));
    ERR_clear_error();
    return err_set(err, -EINVAL, "fake S3: the TLS %s %s cannot be used: %s", what, file, text);
}

static int load_tls(struct mock *mock, const struct mock_options *options, struct err *err) {
    if (!options->tls_cert && !options->tls_key)
        return 0;
    if (!options->tls_cert || !options->tls_key)
        return err_set(err, -EINVAL, "fake S3: TLS needs both a certificate and a key");
    mock->tls = SSL_CTX_new(TLS_server_method());
    if (!mock->tls)
        return err_set(err, -ENOMEM, "fake S3: out of memory");
    SSL_CTX_set_min_proto_version(mock->tls, TLS1_2_VERSION);
    SSL_CTX_set_mode(mock->tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(mock->tls, 1); /* one read a record, not two */
    static const unsigned char context[] = "froe-s3mock";
    SSL_CTX_set_session_id_context(mock->tls, context, sizeof(context) - 1);
    if (SSL_CTX_use_certificate_chain_file(mock->tls, options->tls_cert) != 1)
        return tls_error(err, "certificate", options->tls_cert);
    if (SSL_CTX_use_PrivateKey_file(mock->tls, options->tls_key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(mock->tls) != 1)
        return tls_error(err, "key", options->tls_key);
    return 0;
}

static int prepare_parts(struct mock *mock, const struct mock_options *options, struct err *err) {
    uint64_t seed;
    struct rng rng;
    rng_seed_system(&rng);
    seed = rng_next(&rng);
    read_clocks(mock);
    mock->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    mock->part_min = options->min_part ? options->min_part : PART_MIN_BYTES;
    if (objects_init(&mock->objects, options->max_bytes ? options->max_bytes : BYTES_DEFAULT, seed) < 0 ||
        stats_init(&mock->stats, mock->now_mono_us) < 0 || sigv4_signer_new(&mock->signer) < 0 ||
        checksum_new(&mock->checksum) < 0 || !mock->sha256)
        return err_set(err, -ENOMEM, "fake S3: out of memory");
    return options->faults ? faults_add(&mock->faults, bytes_str(options->faults), FAULT_SEED, err) : 0;
}

static int watch(struct mock *mock, int fd, void *mark) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = mark};
    return epoll_ctl(mock->epoll, EPOLL_CTL_ADD, fd, &event);
}

static int start_thread(struct mock *mock, struct err *err) {
    mock->epoll = epoll_create1(EPOLL_CLOEXEC);
    mock->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (mock->epoll < 0 || mock->wake < 0 || watch(mock, mock->wake, &mock->wake) < 0 ||
        watch(mock, mock->listener, &mock->listener) < 0)
        return err_set(err, -errno, "fake S3: no event loop: %s", err_errno_text(-errno));
    /* Signals are for the program's own threads; and a broken pipe is an error here, never a signal. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&mock->thread, NULL, loop, mock);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r ? err_set(err, -r, "fake S3: no thread: %s", err_errno_text(-r)) : 0;
}

static void close_fd(int fd) {
    if (fd >= 0)
        close(fd);
}

static void free_parts(struct mock *mock) {
    close_fd(mock->listener);
    close_fd(mock->epoll);
    close_fd(mock->wake);
    SSL_CTX_free(mock->tls);
    faults_clear(&mock->faults);
    objects_free(&mock->objects);
    stats_free(&mock->stats);
    sigv4_signer_free(mock->signer);
    checksum_free(mock->checksum);
    EVP_MD_free(mock->sha256);
    buf_free(&mock->xml);
    buf_free(&mock->items);
    buf_free(&mock->prefixes);
    pthread_mutex_destroy(&mock->lock);
    explicit_bzero(mock->secret, sizeof(mock->secret));
    mem_free(mock);
}

int mock_start(const struct mock_options *options, struct mock **ret_mock, struct err *err) {
    struct mock *mock = mem_zalloc(sizeof(*mock));
    if (!mock)
        return err_set(err, -ENOMEM, "fake S3: out of memory");
    mock->epoll = mock->listener = mock->wake = -1;
    list_init(&mock->conns);
    list_init(&mock->timed);
    pthread_mutex_init(&mock->lock, NULL);
    int r = copy_options(mock, options, err);
    if (r == 0)
        r = prepare_parts(mock, options, err);
    if (r == 0)
        r = load_tls(mock, options, err);
    if (r == 0)
        r = listen_on(mock, options->port, err);
    if (r == 0)
        r = start_thread(mock, err);
    if (r < 0) {
        free_parts(mock);
        return r;
    }
    *ret_mock = mock;
    return 0;
}

void mock_stop(struct mock *mock) {
    if (!mock)
        return;
    uint64_t one = 1;
    pthread_mutex_lock(&mock->lock);
    mock->stopping = true;
    pthread_mutex_unlock(&mock->lock);
    while (write(mock->wake, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
    pthread_join(mock->thread, NULL);
    free_parts(mock);
}

/* ---- from other threads ---- */

uint16_t mock_port(const struct mock *mock) {
    return mock->port;
}

static int make_meta(const char *content_type, struct meta **ret_meta) {
    *ret_meta = NULL;
    if (!content_type)
        return 0;
    for (const char *c = content_type; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            return -EINVAL;
    _cleanup_buf_ struct buf lines = {0};
    int r = buf_printf(&lines, "Content-Type: %s\r\n", content_type);
    if (r == 0)
        *ret_meta = meta_new(buf_bytes(&lines), NULL, BYTES_NONE);
    return r == 0 && !*ret_meta ? -ENOMEM : r;
}

static int put_locked(struct mock *mock, struct bytes name, struct bytes key, struct bytes body, struct meta *meta) {
    int64_t now_utc_us = clock_utc_us(&clock_system);
    struct bucket *bucket = bucket_find(&mock->objects, name);
    if (!bucket) {
        int r = bucket_make(&mock->objects, name, bytes_str(mock->region), now_utc_us, &bucket);
        if (r < 0)
            return r;
        bucket->stats = stats_bucket(&mock->stats, name);
    }
    struct blob *blob;
    int r = blob_new(&mock->objects, body, &blob);
    if (r < 0)
        return r;
    r = object_put(&mock->objects, bucket, key, blob, meta, STORAGE_STANDARD, now_utc_us, NULL);
    if (r < 0)
        blob_unref(&mock->objects, blob);
    return r;
}

int mock_put(struct mock *mock, struct bytes bucket, struct bytes key, struct bytes body, const char *content_type) {
    struct meta *meta;
    int r = make_meta(content_type, &meta);
    if (r < 0)
        return r;
    pthread_mutex_lock(&mock->lock);
    r = put_locked(mock, bucket, key, body, meta);
    pthread_mutex_unlock(&mock->lock);
    if (r < 0)
        meta_free(meta);
    return r;
}

uint64_t mock_uploads(struct mock *mock) {
    pthread_mutex_lock(&mock->lock);
    uint64_t count = mock->objects.uploads;
    pthread_mutex_unlock(&mock->lock);
    return count;
}

uint64_t mock_count(struct mock *mock, struct bytes name) {
    pthread_mutex_lock(&mock->lock);
    const struct bucket *bucket = bucket_find(&mock->objects, name);
    uint64_t count = bucket ? bucket->live : 0;
    pthread_mutex_unlock(&mock->lock);
    return count;
}
