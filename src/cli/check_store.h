/* check_store.h - can the store be worked on? */
#pragma once

#include "options.h"

#include <jansson.h>

/* {"uri","ok":BOOL,"what":TEXT}: what it is (for a server: its version, the schema, how it wakes workers), or what is
 * wrong. A store in a file that is not there yet is not made. */
json_t *check_store(const struct options *options);
