/* mock_client.h - the smallest client that can talk to the server over a real socket: signs, sends, reads one answer.
 */
#pragma once

#include "bytes.h"
#include "mock.h"
#include "sigv4.h"

#include <stdint.h>

struct client {
    struct mock *mock;
    struct sigv4_signer *signer;
    int fd; /* -1: connects for the next request */
    const char *access, *secret, *token, *region;
    int64_t skew_us; /* of the client's clock */
    bool tamper;     /* spoil the signature */
    struct buf in;   /* unread bytes of the connection */
};

struct reply {
    int status; /* 0: the connection ended without an answer */
    bool cut;   /* it ended inside the body */
    struct buf head, body;
};

struct param {
    const char *name, *value;
};
struct field {
    const char *name, *value; /* name in lower case */
};

struct call {
    const char *method;
    struct bytes bucket, key;   /* key raw; both may be empty */
    const struct param *params; /* ended by a NULL name; NULL: none */
    const struct field *fields; /* signed too; ended by a NULL name; NULL: none */
    struct bytes body;
    const char *payload; /* x-amz-content-sha256; NULL: UNSIGNED-PAYLOAD */
    const char *host;    /* NULL: the address; then path style */
    bool chunked;        /* send the body with the chunked coding */
};

void client_open(struct client *client, const struct mock_options *options); /* starts a server of its own */
void client_close(struct client *client);
void client_disconnect(struct client *client);
int client_connect(struct client *client);

/* The bytes of the request. */
void client_add_request(struct client *client, const struct call *call, struct buf *out);
void client_send(struct client *client, struct bytes bytes);
/* Waits up to 5 s for an answer. `head_only`: to a HEAD. */
void client_read(struct client *client, bool head_only, struct reply *reply);
void client_call(struct client *client, const struct call *call, struct reply *reply);

/* For the common ones: the status. */
int client_do(struct client *client, const char *method, const char *bucket, const char *key, struct reply *reply);
int client_put(struct client *client, const char *bucket, const char *key, const char *body);
/* POST/GET/DELETE under /_mock/, unsigned. */
int client_admin(struct client *client, const char *method, const char *path, const char *body, struct reply *reply);

/* The value of a field of the answer, in `text` (NUL-terminated); NULL when there is none. */
const char *reply_field(const struct reply *reply, const char *name, char text[256]);
/* Does the body hold the text? */
bool reply_has(const struct reply *reply, const char *text);
void reply_free(struct reply *reply);
