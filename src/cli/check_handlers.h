/* check_handlers.h - is what the configuration's handlers run there? */
#pragma once

#include "options.h"

#include <jansson.h>

/* Of each handler, the general one last: {"handler":TEXT,"rule":N or null,"ok":BOOL,"finding":TEXT}. Nothing of the
 * user's is run. *ret_ok: all of them are. NULL when memory is out. */
json_t *check_handlers(const struct options *options, bool *ret_ok);
