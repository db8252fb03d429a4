/* The same server behind TLS: many requests and large bodies on one connection, and sessions that are taken up again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mock_client.h"
#include "text.h"

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct client client;
static char directory[] = "/tmp/froe-test-tls-XXXXXX";
static char cert_path[64], key_path[64];
static SSL_CTX *context;

static void write_certificate(void) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1,
                               -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    FILE *file = fopen(cert_path, "w");
    assert_non_null(file);
    PEM_write_X509(file, cert);
    fclose(file);
    file = fopen(key_path, "w");
    assert_non_null(file);
    PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static int open_client(void **state) {
    assert_non_null(mkdtemp(directory));
    snprintf(cert_path, sizeof(cert_path), "%s/cert", directory);
    snprintf(key_path, sizeof(key_path), "%s/key", directory);
    write_certificate();
    struct mock_options options = {.tls_cert = cert_path, .tls_key = key_path};
    client_open(&client, &options);
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    return context ? 0 : -1;
}

static int close_client(void **state) {
    SSL_CTX_free(context);
    client_close(&client);
    unlink(cert_path);
    unlink(key_path);
    rmdir(directory);
    return 0;
}

static SSL *connect_tls(SSL_SESSION *session) {
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, client_connect(&client));
    if (session)
        SSL_set_session(ssl, session);
    assert_int_equal(SSL_connect(ssl), 1);
    return ssl;
}

static void disconnect_tls(SSL *ssl) {
    SSL_shutdown(ssl);
    SSL_free(ssl);
    client_disconnect(&client);
}

static void write_all(SSL *ssl, struct bytes bytes) {
    size_t n = 0;
    assert_int_equal(SSL_write_ex(ssl, bytes.p, bytes.n, &n), 1);
    assert_int_equal(n, bytes.n);
}

/* Reads one answer with a Content-Length (or 204). */
static int read_answer(SSL *ssl, struct buf *in, struct buf *body) {
    char *end;
    char data[20000];
    size_t n;
    while (!(end = in->n ? memmem(in->p, in->n, "\r\n\r\n", 4) : NULL)) {
        assert_int_equal(SSL_read_ex(ssl, data, sizeof(data), &n), 1);
        buf_add(in, data, n);
    }
    size_t head = (size_t)(end - in->p) + 4;
    int status = atoi(in->p + 9);
    const char *length_at = memmem(in->p, head, "Content-Length: ", 16);
    size_t length = length_at ? strtoul(length_at + 16, NULL, 10) : 0;
    while (in->n < head + length) {
        assert_int_equal(SSL_read_ex(ssl, data, sizeof(data), &n), 1);
        buf_add(in, data, n);
    }
    buf_reset(body);
    buf_add(body, in->p + head, length);
    buf_consume(in, head + length);
    return status;
}

static void many_on_one_connection(void **state) {
    SSL *ssl = connect_tls(NULL);
    struct buf out = {0}, in = {0}, body = {0}, large = {0};
    for (int i = 0; i < 700000; i++)
        buf_add_byte(&large, (char)(i * 31));
    struct call create = {.method = "PUT", .bucket = BYTES("tls")};
    client_add_request(&client, &create, &out);
    write_all(ssl, buf_bytes(&out));
    assert_int_equal(read_answer(ssl, &in, &body), 200);
    static const size_t sizes[] = {0, 1, 1000, 16384, 16385, 65536, 200000, 700000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct call put = {
            .method = "PUT", .bucket = BYTES("tls"), .key = BYTES("k"), .body = bytes_of(large.p, sizes[i])};
        struct call get = {.method = "GET", .bucket = BYTES("tls"), .key = BYTES("k")};
        buf_reset(&out); /* both in one go: the second waits inside the TLS layer */
        client_add_request(&client, &put, &out);
        client_add_request(&client, &get, &out);
        write_all(ssl, buf_bytes(&out));
        assert_int_equal(read_answer(ssl, &in, &body), 200);
        assert_int_equal(read_answer(ssl, &in, &body), 200);
        assert_true(bytes_equal(buf_bytes(&body), put.body));
    }
    buf_reset(&out);
    enum { N = 500 };
    struct call delete = {.method = "DELETE", .bucket = BYTES("tls"), .key = BYTES("gone")};
    for (int i = 0; i < N; i++)
        client_add_request(&client, &delete, &out);
    write_all(ssl, buf_bytes(&out));
    for (int i = 0; i < N; i++)
        assert_int_equal(read_answer(ssl, &in, &body), 204);
    disconnect_tls(ssl);
    buf_free(&out);
    buf_free(&in);
    buf_free(&body);
    buf_free(&large);
}

static void sessions_resume(void **state) {
    SSL_SESSION *session = NULL;
    for (int i = 0; i < 3; i++) {
        SSL *ssl = connect_tls(session);
        assert_int_equal(SSL_session_reused(ssl), i > 0);
        struct buf out = {0}, in = {0}, body = {0};
        struct call list = {.method = "GET"};
        client_add_request(&client, &list, &out);
        write_all(ssl, buf_bytes(&out));
        assert_int_equal(read_answer(ssl, &in, &body), 200);
        SSL_SESSION_free(session);
        session = SSL_get1_session(ssl); /* its ticket came with the answer */
        disconnect_tls(ssl);
        buf_free(&out);
        buf_free(&in);
        buf_free(&body);
    }
    SSL_SESSION_free(session);
}

static void not_tls_at_all(void **state) {
    struct reply reply = {0};
    client_send(&client, BYTES("GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
    char data[512];
    while (read(client.fd, data, sizeof(data)) > 0)
        ;
    client_disconnect(&client);
    SSL *ssl = connect_tls(NULL); /* and the server lives */
    disconnect_tls(ssl);
    reply_free(&reply);
}

/* A body that is cut must not look ended: no close_notify. */
static void cut_body(void **state) {
    SSL *ssl = connect_tls(NULL);
    struct buf out = {0}, in = {0}, body = {0};
    static const char orders[] =
        "POST /_mock/faults HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n\r\ntruncate after=5";
    write_all(ssl, bytes_str(orders));
    assert_int_equal(read_answer(ssl, &in, &body), 200);
    assert_int_equal(mock_put(client.mock, BYTES("tls"), BYTES("cut"), BYTES("0123456789"), NULL), 0);
    struct call get = {.method = "GET", .bucket = BYTES("tls"), .key = BYTES("cut")};
    client_add_request(&client, &get, &out);
    write_all(ssl, buf_bytes(&out));
    char data[2000];
    size_t n = 0, total = 0;
    int r;
    while ((r = SSL_read_ex(ssl, data + total, sizeof(data) - total, &n)) == 1)
        total += n;
    assert_int_not_equal(SSL_get_error(ssl, r), SSL_ERROR_ZERO_RETURN);
    assert_memory_equal(data + total - 5, "01234", 5);
    SSL_free(ssl);
    client_disconnect(&client);
    buf_free(&out);
    buf_free(&in);
    buf_free(&body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_on_one_connection),
        cmocka_unit_test(sessions_resume),
        cmocka_unit_test(not_tls_at_all),
        cmocka_unit_test(cut_body),
    };
    return cmocka_run_group_tests(tests, open_client, close_client);
}
