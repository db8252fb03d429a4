/* serve.h - froe-image as a worker of a pool: requests on one descriptor, answers with their results on another, one
 * image at a time. docs/pool.md is the protocol.
 *
 * One thread. Reading and writing block; what the work on one image may take is limited by a clock that ends the
 * process, with an answer, as nothing else is sure to end a decoder. */
#pragma once

#include "bytes.h"
#include "err.h"

#define IMAGE_PARTS_MAX 16
#define IMAGE_REASON_MAX 400

struct image_part {
    const char *name, *content_type, *extension; /* borrowed until the answer is freed */
    void *data;                                  /* for `free_data` */
    size_t n;
};

enum image_status { IMAGE_OK, IMAGE_RETRY, IMAGE_FAIL };

struct image_answer {
    enum image_status status;
    bool final;                    /* FAIL: it will fail each time */
    char reason[IMAGE_REASON_MAX]; /* one line */
    struct image_part parts[IMAGE_PARTS_MAX];
    size_t n_parts;
    void (*free_data)(void *data); /* NULL: they are nobody's */
};
void image_answer_free(struct image_answer *answer);
/* Makes a failure of it, of parts that it already has too. */
void image_answer_fail(struct image_answer *answer, bool final, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

struct image_server {
    int input_fd, output_fd;
    int channel_fd;      /* over which descriptors of bodies come */
    uint64_t max_bytes;  /* of a body; more is not read into memory */
    int64_t max_time_us; /* for the work on one; 0: no limit */
    /* *answer is all-zero; what it leaves there is sent and freed. */
    void (*work)(void *arg, struct bytes key, struct bytes body, struct image_answer *answer);
    void *arg;
};

/* Until the input ends, then 0. -EPROTO with a text for what is no request, or what read and write answered. */
int image_serve(const struct image_server *server, struct err *err);
