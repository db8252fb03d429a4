/* own_program.h - where the programs are that froe starts for itself: froe-plugin, froe-image. */
#pragma once

#include "err.h"

#include <limits.h>

/* In the folder of froe itself, where it is installed (libexec/froe), or in that folder of the build. -ENOENT, with a
 * text that says where it was looked for. */
int own_program_find(const char *name, const char *build_folder, char ret_path[PATH_MAX], struct err *err);
