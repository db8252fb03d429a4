/* old_format.h - a store's file as the first format had it, and what must be in it when it was brought to today's. */
#pragma once

#include "sqlite_files.h"

/* Writes it with the statements of that time. */
void old_format_make(struct sqlite_place *place);
/* Opens the store and fails the test unless all of it is there, and works. */
void old_format_verify(struct sqlite_place *place);
