/* loop.h - the same work in a bare loop over the files of a directory: what benchmarks compare froe with. */
#pragma once

#include "work.h"

/* One process for each core that this one may use; results are dropped, or written into the directory `to` when that is
 * not NULL. Prints one line of JSON. 0, or a negative errno with a text. */
int image_loop(const struct image_spec *spec, const char *from, const char *to, struct err *err);
