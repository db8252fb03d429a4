/* args.c - see args.h. */
#include "args.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

enum { OID_BOOL = 16, OID_BYTEA = 17, OID_INT8 = 20, OID_TEXT = 25, OID_UUID = 2950 };
enum { OID_BYTEA_ARRAY = 1001, OID_INT8_ARRAY = 1016, OID_UUID_ARRAY = 2951 };

void args_free(struct args *args) {
    buf_free(&args->store);
    *args = (struct args){0};
}

void args_reset(struct args *args) {
    struct buf store = args->store;
    *args = (struct args){.store = store};
    buf_reset(&args->store);
}

static struct arg *next_arg(struct args *args, unsigned type) {
    static struct arg nowhere;
    if (args->n == ARGS_MAX) {
        args->failed = -EINVAL; /* a statement of ours has fewer */
        nowhere = (struct arg){0};
        return &nowhere;
    }
    struct arg *arg = &args->list[args->n++];
    *arg = (struct arg){.type = type};
    return arg;
}

static void store_bytes(struct args *args, const void *data, size_t n) {
    int r = buf_add(&args->store, data, n);
    if (r < 0)
        args->failed = r;
}

static void put32(struct args *args, uint32_t value) {
    uint32_t big = htobe32(value);
    store_bytes(args, &big, sizeof big);
}

static void put64(struct args *args, int64_t value) {
    uint64_t big = htobe64((uint64_t)value);
    store_bytes(args, &big, sizeof big);
}

void args_int(struct args *args, int64_t value) {
    struct arg *arg = next_arg(args, OID_INT8);
    arg->stored = true;
    arg->at = args->store.n;
    arg->value.n = sizeof value;
    put64(args, value);
}

void args_null_int(struct args *args) {
    next_arg(args, OID_INT8)->null = true;
}

void args_bool(struct args *args, bool value) {
    struct arg *arg = next_arg(args, OID_BOOL);
    arg->stored = true;
    arg->at = args->store.n;
    arg->value.n = 1;
    store_bytes(args, value ? "\1" : "\0", 1);
}

void args_bytes(struct args *args, struct bytes value) {
    next_arg(args, OID_BYTEA)->value = value;
}

void args_bytes_or_null(struct args *args, struct bytes value) {
    struct arg *arg = next_arg(args, OID_BYTEA);
    arg->value = value;
    arg->null = value.n == 0;
}

void args_text(struct args *args, const char *value) {
    next_arg(args, OID_TEXT)->value = bytes_str(value);
}

void args_uuid(struct args *args, const void *value) {
    struct arg *arg = next_arg(args, OID_UUID);
    arg->stored = true;
    arg->at = args->store.n;
    arg->value.n = 16;
    store_bytes(args, value, 16);
}

/* An array is: dimensions, whether there are NULLs, the elements' type; size and lower bound of each dimension; then
 * each element with its length. */
void args_array(struct args *args, enum args_array kind) {
    static const unsigned array_oids[] = {OID_INT8_ARRAY, OID_BYTEA_ARRAY, OID_UUID_ARRAY};
    static const unsigned oids[] = {OID_INT8, OID_BYTEA, OID_UUID};
    struct arg *arg = next_arg(args, array_oids[kind]);
    arg->stored = true;
    arg->at = args->array_at = args->store.n;
    arg->element = oids[kind];
    args->array_n = 0;
    put32(args, 1);
    put32(args, 1);
    put32(args, oids[kind]);
    put32(args, 0);
    put32(args, 1);
}

void args_array_int(struct args *args, int64_t value) {
    args->array_n++;
    put32(args, sizeof value);
    put64(args, value);
}

void args_array_bytes(struct args *args, struct bytes value) {
    args->array_n++;
    put32(args, (uint32_t)value.n);
    store_bytes(args, value.p, value.n);
}

void args_array_end(struct args *args) {
    if (args->failed < 0 || args->n == 0)
        return;
    struct arg *arg = &args->list[args->n - 1];
    arg->value.n = args->store.n - args->array_at;
    arg->elements = args->array_n;
    uint32_t big = htobe32((uint32_t)args->array_n);
    memcpy(args->store.p + args->array_at + 12, &big, sizeof big);
}

void args_ints(struct args *args, const int64_t *values, size_t n) {
    args_array(args, ARGS_INTS);
    for (size_t i = 0; i < n; i++)
        args_array_int(args, values[i]);
    args_array_end(args);
}

/* ---- for libpq ---- */

#define ARRAY_HEAD 20 /* bytes before its first element, whose length comes first */

bool args_of_one(const struct args *args) {
    for (int i = 0; i < args->n; i++)
        if (args->list[i].element && args->list[i].elements != 1)
            return false;
    return true;
}

int params_add(struct params *params, const struct args *args, bool one) {
    if (args->failed)
        return args->failed;
    if (args->n > PARAMS_MAX - params->n)
        return -E2BIG;
    for (int i = 0; i < args->n; i++) {
        const struct arg *arg = &args->list[i];
        size_t skipped = one && arg->element ? ARRAY_HEAD + sizeof(uint32_t) : 0;
        if (arg->value.n > INT32_MAX)
            return -ENOMEM;
        const char *value = arg->stored ? args->store.p + arg->at : arg->value.p;
        params->values[params->n] = arg->null ? NULL : value ? value + skipped : "";
        params->lengths[params->n] = (int)(arg->value.n - skipped);
        params->formats[params->n] = 1;
        params->types[params->n++] = skipped ? arg->element : arg->type;
    }
    return 0;
}
