/* pool_protocol.h - the two lines of JSON between froe and a worker of a pool: docs/pool.md. Pure functions.
 *
 * A request is one line, and then exactly `body_bytes` bytes. It begins, to the letter, with {"id":N,"body_bytes":N, so
 * that a worker without a JSON parser can take it apart with scanf. */
#pragma once

#include "bytes.h"
#include "handler.h"
#include "pool_results.h"

#define POOL_REQUEST_MAX (128 * 1024) /* of a line; what the metadata may fill */
#define POOL_ANSWER_MAX (64 * 1024)   /* of a line */
#define POOL_REASON_MAX 4096          /* what is kept of a reason */

static inline bool pool_sends_descriptors(enum handler_pool_body body) {
    return body == HANDLER_POOL_MEMFD || body == HANDLER_POOL_SHARED;
}

/* Appends the members about the object, ending in '}', without a newline: what pool_add_request begins is added later,
 * when it is known. -ENOMEM, -E2BIG over the buffer's limit. */
int pool_add_object(struct buf *text, const struct handler_object *object);
/* Appends the whole line. `size` is the body's real length; a byte of it follows only with HANDLER_POOL_INLINE. `path`
 * is that of HANDLER_POOL_PATH. */
int pool_add_request(struct buf *text, uint64_t id, uint64_t size, enum handler_pool_body body, const char *path,
                     struct bytes object);

enum pool_status { POOL_OK, POOL_RETRY, POOL_FAIL };

struct pool_answer {
    enum pool_status status;
    bool final;                   /* FAIL: no other attempt is of use */
    struct buf reason;            /* as HANDLER_TEXT_MAX wants it */
    struct pool_results *results; /* NULL: none. Their bytes follow the line */
};
void pool_answer_free(struct pool_answer *answer);
/* One line, without its newline. 0, and the caller frees the answer; -EINVAL with a text when it is no answer for that
 * id; -ENOMEM. */
int pool_parse_answer(struct bytes line, uint64_t id, struct pool_answer *ret_answer, struct err *err);
