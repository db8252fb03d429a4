/* fd.h - what calls on descriptors leave to their callers. */
#pragma once

#include "bytes.h"

/* Writes all of it to a descriptor that blocks, whatever is interrupted or cut. 0, or a negative errno: some of it may
 * have been written. */
int fd_write(int fd, struct bytes data);
