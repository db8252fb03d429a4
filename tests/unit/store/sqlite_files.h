/* sqlite_files.h - a folder of its own for a test's SQLite store, and copies of its files. */
#pragma once

#include "store.h"

struct sqlite_place {
    char folder[64];
    char path[128]; /* of the store's file */
};

void sqlite_place_make(struct sqlite_place *place);
void sqlite_place_remove(struct sqlite_place *place);
void sqlite_place_wipe(struct sqlite_place *place);    /* removes the store's files */
void sqlite_place_save(struct sqlite_place *place);    /* copies them aside */
void sqlite_place_restore(struct sqlite_place *place); /* puts the copies in their place; others are removed */
/* Opens the store there. */
int sqlite_place_open(struct sqlite_place *place, const struct store_options *options, struct store **ret_store,
                      struct err *err);
void sqlite_place_read(struct sqlite_place *place, const char *suffix, struct buf *ret_content);
void sqlite_place_write(struct sqlite_place *place, const char *suffix, struct bytes content);
