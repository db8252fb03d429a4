/* mock_client.c - a blocking client for the tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mock_client.h"

#include "clock.h"
#include "text.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

void client_open(struct client *client, const struct mock_options *options) {
    struct mock_options none = {0};
    struct err err = {0};
    *client = (struct client){.fd = -1, .access = "test", .secret = "test", .region = "us-east-1"};
    if (mock_start(options ? options : &none, &client->mock, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(sigv4_signer_new(&client->signer), 0);
}

void client_disconnect(struct client *client) {
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    buf_reset(&client->in);
}

void client_close(struct client *client) {
    client_disconnect(client);
    buf_free(&client->in);
    sigv4_signer_free(client->signer);
    mock_stop(client->mock);
}

int client_connect(struct client *client) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(mock_port(client->mock)), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(client->fd >= 0);
    int on = 1; /* tests send in small pieces */
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    assert_int_equal(connect(client->fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return client->fd;
}

static void chunk_body(struct bytes body, struct buf *out) {
    for (size_t at = 0; at < body.n;) { /* in pieces of 1, 2, 3 ... bytes, and then large ones */
        size_t n = at < 50 ? at % 7 + 1 : 3000;
        n = n < body.n - at ? n : body.n - at;
        buf_printf(out, "%zx\r\n", n);
        buf_add(out, body.p + at, n);
        buf_add_str(out, "\r\n");
        at += n;
    }
    buf_add_str(out, "0\r\n\r\n");
}

void client_add_request(struct client *client, const struct call *call, struct buf *out) {
    struct sigv4_header headers[24];
    struct sigv4_param params[16];
    struct buf path = {0}, query = {0}, date = {0}, authorization = {0};
    char host[32];
    size_t n = 0, n_params = 0;
    int64_t now_utc_us = clock_utc_us(&clock_system) + client->skew_us;
    snprintf(host, sizeof(host), "127.0.0.1:%u", mock_port(client->mock));
    const char *payload = call->payload ? call->payload : SIGV4_UNSIGNED_PAYLOAD;
    buf_add_byte(&path, '/');
    if (!call->host && call->bucket.n) {
        text_add_percent(&path, call->bucket, false);
        buf_add_byte(&path, '/');
    }
    text_add_percent(&path, call->key, true);
    for (const struct param *param = call->params; param && param->name; param++)
        params[n_params++] = (struct sigv4_param){bytes_str(param->name), bytes_str(param->value)};
    sigv4_add_query(&query, params, n_params);
    sigv4_add_date(&date, now_utc_us);
    headers[n++] = (struct sigv4_header){BYTES("host"), bytes_str(call->host ? call->host : host)};
    headers[n++] = (struct sigv4_header){BYTES("x-amz-content-sha256"), bytes_str(payload)};
    headers[n++] = (struct sigv4_header){BYTES("x-amz-date"), buf_bytes(&date)};
    if (client->token)
        headers[n++] = (struct sigv4_header){BYTES("x-amz-security-token"), bytes_str(client->token)};
    for (const struct field *field = call->fields; field && field->name; field++)
        headers[n++] = (struct sigv4_header){bytes_str(field->name), bytes_str(field->value)};
    struct sigv4_request request = {.method = call->method,
                                    .path = buf_bytes(&path),
                                    .params = params,
                                    .n_params = n_params,
                                    .headers = headers,
                                    .n_headers = n,
                                    .payload_hash = bytes_str(payload),
                                    .region = bytes_str(client->region),
                                    .service = BYTES("s3"),
                                    .now_utc_us = now_utc_us};
    struct credentials keys = {.access_key_id = bytes_str(client->access),
                               .secret_access_key = bytes_str(client->secret),
                               .generation = (uint64_t)(uintptr_t)client->secret};
    assert_int_equal(sigv4_sign(client->signer, &keys, &request, &authorization), 0);
    if (client->tamper)
        authorization.p[authorization.n - 1] = authorization.p[authorization.n - 1] == '0' ? '1' : '0';
    buf_printf(out, "%s %s%s%s HTTP/1.1\r\n", call->method, path.p, n_params ? "?" : "", n_params ? query.p : "");
    for (size_t i = 0; i < n; i++) {
        buf_add_bytes(out, headers[i].name);
        buf_add_str(out, ": ");
        buf_add_bytes(out, headers[i].value);
        buf_add_str(out, "\r\n");
    }
    buf_printf(out, "Authorization: %s\r\n", authorization.p);
    bool body = strcmp(call->method, "PUT") == 0 || strcmp(call->method, "POST") == 0;
    if (call->chunked)
        buf_add_str(out, "Transfer-Encoding: chunked\r\n");
    else if (body)
        buf_printf(out, "Content-Length: %zu\r\n", call->body.n);
    buf_add_str(out, "\r\n");
    if (call->chunked)
        chunk_body(call->body, out);
    else
        buf_add_bytes(out, call->body);
    buf_free(&path);
    buf_free(&query);
    buf_free(&date);
    buf_free(&authorization);
}

void client_send(struct client *client, struct bytes bytes) {
    if (client->fd < 0)
        client_connect(client);
    while (bytes.n) {
        ssize_t n = send(client->fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (n <= 0)
            return; /* the server has had enough; the answer will tell */
        bytes = bytes_of(bytes.p + n, bytes.n - (size_t)n);
    }
}

/* false: the end. */
static bool more(struct client *client) {
    char data[65536];
    struct pollfd poll_fd = {.fd = client->fd, .events = POLLIN};
    if (poll(&poll_fd, 1, 60000) != 1)
        fail_msg("no answer within a minute");
    ssize_t n = recv(client->fd, data, sizeof(data), 0);
    if (n <= 0)
        return false;
    assert_int_equal(buf_add(&client->in, data, (size_t)n), 0);
    return true;
}

void client_read(struct client *client, bool head_only, struct reply *reply) {
    char text[256];
    buf_reset(&reply->head);
    buf_reset(&reply->body);
    reply->status = 0;
    reply->cut = false;
    char *end;
    while (!(end = client->in.n ? memmem(client->in.p, client->in.n, "\r\n\r\n", 4) : NULL))
        if (!more(client)) {
            client_disconnect(client);
            return;
        }
    size_t head = (size_t)(end - client->in.p) + 4;
    buf_add(&reply->head, client->in.p, head);
    buf_consume(&client->in, head);
    assert_true(reply->head.n > 12 && memcmp(reply->head.p, "HTTP/1.1 ", 9) == 0);
    reply->status = atoi(reply->head.p + 9);
    uint64_t length = 0;
    const char *told = reply_field(reply, "Content-Length", text);
    if (told)
        assert_int_equal(text_parse_u64(bytes_str(told), &length), 0);
    if (head_only || reply->status == 100)
        length = 0;
    while (client->in.n < length)
        if (!more(client)) {
            reply->cut = true;
            break;
        }
    size_t take = client->in.n < length ? client->in.n : (size_t)length;
    buf_add(&reply->body, client->in.p ? client->in.p : "", take);
    buf_consume(&client->in, take);
    told = reply_field(reply, "Connection", text);
    if (reply->cut || (told && strcmp(told, "close") == 0))
        client_disconnect(client);
}

void client_call(struct client *client, const struct call *call, struct reply *reply) {
    struct buf out = {0};
    client_add_request(client, call, &out);
    client_send(client, buf_bytes(&out));
    buf_free(&out);
    client_read(client, strcmp(call->method, "HEAD") == 0, reply);
}

int client_do(struct client *client, const char *method, const char *bucket, const char *key, struct reply *reply) {
    struct call call = {.method = method, .bucket = bytes_str(bucket), .key = bytes_str(key)};
    client_call(client, &call, reply);
    return reply->status;
}

int client_put(struct client *client, const char *bucket, const char *key, const char *body) {
    struct reply reply = {0};
    struct call call = {.method = "PUT", .bucket = bytes_str(bucket), .key = bytes_str(key), .body = bytes_str(body)};
    client_call(client, &call, &reply);
    reply_free(&reply);
    return reply.status;
}

int client_admin(struct client *client, const char *method, const char *path, const char *body, struct reply *reply) {
    struct buf out = {0};
    buf_printf(&out, "%s /_mock/%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s", method, path,
               strlen(body), body);
    client_send(client, buf_bytes(&out));
    buf_free(&out);
    client_read(client, false, reply);
    return reply->status;
}

const char *reply_field(const struct reply *reply, const char *name, char text[256]) {
    const char *line = reply->head.p;
    while (line && (line = strstr(line, "\r\n"))) {
        line += 2;
        const char *end = strstr(line, "\r\n");
        const char *colon = end ? memchr(line, ':', (size_t)(end - line)) : NULL;
        if (!colon || !bytes_equal_nocase(bytes_of(line, (size_t)(colon - line)), bytes_str(name)))
            continue;
        struct bytes value = bytes_trim(bytes_of(colon + 1, (size_t)(end - colon) - 1));
        assert_true(value.n < 256);
        memcpy(text, value.p, value.n);
        text[value.n] = '\0';
        return text;
    }
    return NULL;
}

bool reply_has(const struct reply *reply, const char *text) {
    return reply->body.n && memmem(reply->body.p, reply->body.n, text, strlen(text)) != NULL;
}

void reply_free(struct reply *reply) {
    buf_free(&reply->head);
    buf_free(&reply->body);
}
