/* body.h - the bytes of an object that is not on the standard input: in a file, or in one without a name whose
 * descriptor comes over a socket (docs/pool.md). What nobody can change or cut off any more is mapped and not copied.
 */
#pragma once

#include "bytes.h"

struct image_body {
    uint64_t size;      /* of the object, also when it is more than was allowed */
    struct bytes bytes; /* of the mapping or of `read`; nothing of what is too large */
    void *mapping;      /* NULL: none */
    struct buf read;
};

/* At most so many bytes, else only its size is told. A negative errno; then there is nothing to be freed. */
int image_body_read(const char *path, uint64_t max_bytes, struct image_body *ret_body);
/* Waits for it. It has so many bytes, though its file may be larger. -EPROTO: what came, or did not come, is no
 * descriptor, or of less. */
int image_body_receive(int channel_fd, uint64_t size, uint64_t max_bytes, struct image_body *ret_body);
void image_body_free(struct image_body *body);
