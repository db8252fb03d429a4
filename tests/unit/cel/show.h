/* show.h - values as text, for tests to compare. */
#pragma once

#include "cel.h"

/* As CEL would write it: 1, 1u, 1.5, 'a', b'a\xff', [1, 2], {'a': 1}, null, int; timestamps and durations in their own
 * text in angle brackets; errors as "error <code> <line>:<column> <text>". */
int show_value(struct buf *out, const struct cel_value *value);
