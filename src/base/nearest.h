/* nearest.h - "did you mean ...?": the known name that a mistyped one is closest to. Pure. */
#pragma once

#include "bytes.h"

/* Insertions, deletions and replacements of a byte that make one of the other; NEAREST_FAR when `b` has as many bytes
 * or more. */
#define NEAREST_FAR 64
size_t nearest_distance(struct bytes a, struct bytes b);

/* The search: all-zero but for `name`, then offer each known name. */
struct nearest {
    struct bytes name;
    const char *found; /* NULL: none is near enough to be of help (more than 3 changes, or half of the name) */
    size_t distance;
};
void nearest_offer(struct nearest *nearest, const char *known);
/* Of words that end with NULL: the one that is meant, or NULL. */
const char *nearest_of(struct bytes name, const char *const *words);
