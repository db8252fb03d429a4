/* image_program.h - froe-image, the program that the image handler keeps workers of. */
#pragma once

#include "err.h"

#include <limits.h>

/* Where it is: beside froe, where it is installed for it, or in the folder of its build. -ENOENT with a text. */
int image_program_find(char path[PATH_MAX], struct err *err);
/* Asks it whether it can do what the spec says: write those formats, read the watermark. Takes a tenth of a second.
 * -EINVAL with its own words. */
int image_program_check(const char *path, const char *spec, struct err *err);
