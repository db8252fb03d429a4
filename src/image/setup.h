/* setup.h - libvips as all of froe-image has it. */
#pragma once

#include "err.h"
#include "format.h"

#include <vips/vips.h>

/* Once in a process, before anything else of libvips. -EINVAL with libvips's words. */
int image_vips_begin(struct err *err);
/* From now on only these are read: 1 << enum image_format, or-ed. */
void image_vips_allow(unsigned loaders);
/* Is there a reader, a writer for it? The latter writes a small image to know, and leaves libvips's words when it
 * cannot.
 */
bool image_vips_reads(enum image_format format);
bool image_vips_writes(enum image_format format);
/* libvips's words for its last error in one line, and forgets them. */
void image_vips_words(char *words, size_t size);
