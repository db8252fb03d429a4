/* s3_signed.h - was what the server of s3_world.h got signed as it was sent? */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Fails the test unless the signature of the n-th request holds for its line and headers, in that region. */
void signed_check(size_t request, const char *region);
/* Does the signature of the n-th request cover the header of that name? */
bool signed_covers(size_t request, const char *name);
