/* memory.h - how much memory the work on one image may take, and what is kept of it for the next.
 *
 * A header may lie: of AVIF and HEIF what is coded can be many times as large as what the header says, and only
 * decoding shows it. So this process may take what images of the size that the header tells do take, and no more; what
 * fails for that is the decoder's allocation, or the process. RLIMIT_DATA, the soft limit: never above the hard one,
 * which is froe's limit_memory. It is the process's. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Before there are threads: what one image leaves behind serves the next. */
void image_memory_begin(void);
/* What images in general take, and so many bytes. */
void image_memory_limit(uint64_t bytes);
/* As much as the hard limit allows. */
void image_memory_unlimit(void);
/* Is there a hard limit? */
bool image_memory_is_bounded(void);
