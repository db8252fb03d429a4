/* check_confine.h - what this kernel can take from programs, and what is asked for. */
#pragma once

#include "options.h"

#include <jansson.h>

/* {"ok":BOOL,"what":TEXT,"level":TEXT,"rules":[LEVEL,...],"landlock":ABI or 0,"seccomp":BOOL,"processes":BOOL}: `what`
 * is for a person, and when it is not ok says what is asked for and not to be had. */
json_t *check_confine(const struct options *options);
