/* plugin_program.h - where froe's program for plugins is. */
#pragma once

#include "err.h"

#include <limits.h>

/* In the folder of froe itself, where it is installed, or where it is built. -ENOENT with a text. */
int plugin_program_find(char ret_path[PATH_MAX], struct err *err);
