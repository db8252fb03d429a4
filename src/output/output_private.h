/* output_private.h - what output.c and writing.c share. */
#pragma once

#include "output.h"
#include "output_file.h"

struct output {
    struct s3_client *s3;               /* NULL: a directory */
    char *place;                        /* owned: the bucket, or the directory */
    char *content_type, *storage_class; /* owned; NULL: none */
    bool copy_metadata, copy_tags;
    uint64_t part_bytes;
    struct key_template *key;
    struct buf described;
};
