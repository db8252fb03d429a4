/* stderr_tail.h - the last bytes a program wrote to its stderr, however many they were. */
#pragma once

#include "bytes.h"
#include "handler.h"

struct stderr_tail { /* all-zero is empty */
    char *ring;      /* HANDLER_STDERR_MAX bytes, from the first byte on */
    uint64_t total;  /* bytes that ever came */
};

/* Without memory the bytes are dropped: they only explain. */
void stderr_tail_add(struct stderr_tail *tail, struct bytes data);
/* The whole lines among the last HANDLER_STDERR_MAX bytes (a longer last line is cut at its start), each printable,
 * with
 * '\n' between them, without trailing white space. -ENOMEM, -E2BIG. */
int stderr_tail_text(const struct stderr_tail *tail, struct buf *text);
void stderr_tail_free(struct stderr_tail *tail);
