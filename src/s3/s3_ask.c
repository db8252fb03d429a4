/* s3_ask.c - building a call: room for its arguments, its parameters and headers, and what may be in them. */
#include "s3_private.h"

#include "mem.h"

#include <errno.h>

int s3_ask(struct s3_client *client, enum s3_op op, size_t args_n, size_t n_headers, struct s3_call **ret_call) {
    if (client->closing && op != S3_OP_ABORT_UPLOAD)
        return -ECANCELED;
    struct s3_call *call = s3_call_new(client, op);
    if (!call)
        return -ENOMEM;
    size_t cap = n_headers + S3_ADDED_HEADERS_MAX;
    if (cap > call->headers_cap) {
        struct sigv4_header *headers = mem_reallocarray(call->headers, cap, sizeof *headers);
        if (headers)
            call->headers = headers;
        struct http_field *fields = headers ? mem_reallocarray(call->fields, cap, sizeof *fields) : NULL;
        if (fields)
            call->fields = fields;
        if (!headers || !fields) {
            s3_call_release(call);
            return -ENOMEM;
        }
        call->headers_cap = cap;
    }
    if (buf_reserve(&call->args, args_n) < 0) {
        s3_call_release(call);
        return -ENOMEM;
    }
    *ret_call = call;
    return 0;
}

struct bytes s3_ask_keep(struct s3_call *call, struct bytes text) {
    size_t at = call->args.n;
    buf_add_bytes(&call->args, text);
    return bytes_of(call->args.p + at, text.n);
}

void s3_ask_param(struct s3_call *call, struct bytes name, struct bytes value) {
    call->params[call->n_params++] = (struct sigv4_param){name, s3_ask_keep(call, value)};
}

void s3_ask_header(struct s3_call *call, struct bytes name, struct bytes value) {
    call->headers[call->n_own++] = (struct sigv4_header){name, value};
}

bool s3_ask_fits_header(struct bytes value) {
    for (size_t i = 0; i < value.n; i++)
        if ((unsigned char)value.p[i] < 32 || value.p[i] == 127)
            return false;
    return true;
}

int s3_ask_check_object(struct bytes bucket, struct bytes key) {
    if (key.n == 0 || key.n > S3_KEY_MAX)
        return -EINVAL;
    return s3_check_bucket_name(bucket, NULL);
}
