/* textproto.h - reads protobuf's text format (protobuf.dev/reference/protobuf/textformat-spec) into a tree, as far as
 * test vectors use it: fields with scalars or messages, repeated by writing them again or in [ ], strings in pieces. */
#pragma once

#include "bytes.h"
#include "err.h"

struct textproto {
    struct textproto *next;  /* field of the same message */
    struct textproto *first; /* of a message: its fields */
    struct bytes name;       /* an extension's or any's name without the brackets */
    struct bytes text;       /* scalar: a string's bytes, or a number or word as written, with its sign */
    bool is_message;
    bool is_string;
    unsigned line;
};

/* The fields of the text as one message. -EINVAL with the line, -ENOMEM. The tree needs `text` no longer. */
int textproto_read(struct bytes text, struct textproto **ret_root, struct err *err);
void textproto_free(struct textproto *root);

/* The first field of that name; NULL (also of NULL) when there is none. */
const struct textproto *textproto_get(const struct textproto *message, const char *name);
/* The next one of the same name. */
const struct textproto *textproto_again(const struct textproto *field);
