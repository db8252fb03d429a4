/* work.h - makes of the bytes of an image what a spec asks for, by libvips.
 *
 * libvips is set up for files of strangers: only loaders that the spec allows and that libvips itself trusts, one
 * thread of work, no caches, no warnings on stderr. That is the process's, so there is one tool in a process. It
 * belongs to one thread. */
#pragma once

#include "serve.h"
#include "spec.h"

struct image_tool;

/* Borrows the spec. Reads the watermarks. -EINVAL with a text: libvips cannot be begun or cannot write a format that
 * the spec names, or a watermark cannot be read. */
int image_tool_new(const struct image_spec *spec, struct image_tool **ret_tool, struct err *err);
void image_tool_free(struct image_tool *tool);

/* Fills the answer, which is all-zero: results, or a failure with a reason of one line. `key` is looked at for its
 * ending alone. */
void image_work(struct image_tool *tool, struct bytes key, struct bytes body, struct image_answer *answer);

/* What this libvips can, found by doing it: {"libvips": "8.14.1", "read": [...], "write": [...]}. NULL when it cannot
 * be begun. */
json_t *image_formats(void);
