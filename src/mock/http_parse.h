/* http_parse.h - the head of an HTTP/1.1 request and the chunked coding, strictly (RFC 9112).
 *
 * What could be read in two ways is refused, never repaired: bare LF or CR, folded lines, space before a colon, a
 * second Content-Length, Content-Length beside Transfer-Encoding, codings other than "chunked". */
#pragma once

#include "bytes.h"

#define HEAD_SIZE_MAX (16 * 1024) /* request line and fields */
#define HEAD_TARGET_MAX (8 * 1024)
#define HEAD_FIELDS_MAX 64

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_PUT, HTTP_POST, HTTP_DELETE, HTTP_OTHER };

struct head_field {
    struct bytes name, value; /* name in lower case, value trimmed */
};

struct head {
    enum http_method method;
    struct bytes method_text, target; /* the target in origin form, as sent */
    struct head_field fields[HEAD_FIELDS_MAX];
    size_t n_fields;
    struct bytes host;
    bool close;           /* the client wants the connection closed afterwards */
    bool expect_continue; /* waits for a 100 before it sends the body */
    bool chunked;
    bool has_length;
    uint64_t length;
    size_t size; /* bytes of the head in the input, the empty line included */
};

/* Reads a head from the start of `data`, lower-casing field names in place. `*scanned` says how much was looked at
 * before (0 at first), so that a head coming in small pieces is scanned once. 1: `ret_head` is filled with views into
 * `data`; 0: more bytes are needed; negative: the status to answer with, negated (-400, -414, -417, -431, -501, -505),
 * `*ret_why` says why (static). */
int head_parse(char *data, size_t n, size_t *scanned, struct head *ret_head, const char **ret_why);

/* The first field of that (lower-case) name; empty view with NULL when there is none. */
struct bytes head_get(const struct head *head, const char *name);

/* The chunked transfer coding, fed piecewise; aws-chunked has the same grammar, with its signatures as extensions. */
#define CHUNK_LINE_MAX 512 /* of a size line with extensions */
#define CHUNK_TRAILERS_MAX (4 * 1024)

struct chunked {
    int state;
    uint64_t left;
    uint32_t digits, line;
    struct buf trailers; /* "name: value\r\n" lines as they came */
};

void chunked_init(struct chunked *chunked);
void chunked_free(struct chunked *chunked);
/* Decodes `data` and hands pieces of the content to `sink`. 1: the end was seen, `*ret_used` bytes belong to the body;
 * 0: more is needed, all was used; negative: -EINVAL for bad coding, or what `sink` returned when negative. */
int chunked_feed(struct chunked *chunked, struct bytes data, size_t *ret_used,
                 int (*sink)(void *arg, struct bytes piece), void *arg);
/* The value of a trailer field (name compared without case), trimmed; empty view when there is none. */
struct bytes chunked_trailer(const struct chunked *chunked, struct bytes name);
