/* args.h - the parameters of a statement, as PostgreSQL wants them: binary, arrays for the columns of many rows. */
#pragma once

#include "bytes.h"

#include <stdint.h>

#define ARGS_MAX 40

/* The first failure (no memory) is remembered and shows when they are sent. */
struct args {
    struct arg {
        unsigned type;
        struct bytes value;
        bool null, stored; /* stored: value.p is an offset in `store` */
        size_t at;
        unsigned element; /* the type of its elements; 0: no array */
        size_t elements;
    } list[ARGS_MAX];
    int n, failed;
    int statement;            /* that it is for, when it waits to be sent */
    size_t array_at, array_n; /* of the array that is being made */
    struct buf store;
};

void args_free(struct args *args);
void args_reset(struct args *args); /* as new, keeps its memory */
void args_int(struct args *args, int64_t value);
void args_bool(struct args *args, bool value);
void args_bytes(struct args *args, struct bytes value);         /* borrowed until it is sent */
void args_bytes_or_null(struct args *args, struct bytes value); /* NULL when empty */
void args_text(struct args *args, const char *value);           /* likewise */
void args_uuid(struct args *args, const void *value);           /* 16 bytes, copied */
void args_null_int(struct args *args);

enum args_array { ARGS_INTS, ARGS_BYTES, ARGS_UUIDS };
void args_array(struct args *args, enum args_array kind); /* begins one; then its elements; then args_array_end */
void args_array_int(struct args *args, int64_t value);
void args_array_bytes(struct args *args, struct bytes value); /* copied */
void args_array_end(struct args *args);
void args_ints(struct args *args, const int64_t *values, size_t n); /* a whole array */

#define _cleanup_args_ __attribute__((cleanup(args_free)))

/* ---- for libpq ---- */

#define PARAMS_MAX 160

struct params {
    const char *values[PARAMS_MAX];
    int lengths[PARAMS_MAX], formats[PARAMS_MAX];
    unsigned types[PARAMS_MAX];
    int n;
};

bool args_of_one(const struct args *args); /* Does each array have one element? */
/* Behind what there is. one: arrays as their only element. They point into args. -E2BIG: too many; -ENOMEM. */
int params_add(struct params *params, const struct args *args, bool one);
