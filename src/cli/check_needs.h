/* check_needs.h - froe check: what a drain would do to the objects of a bucket, besides listing and reading them. */
#pragma once

#include "bytes.h"
#include "options.h"

struct check_needs {
    bool deletes; /* also after a move */
    bool moves;   /* which takes the tags along, of objects that have any */
    bool reads_tags, writes_tags;
};
/* By all rules that may match the bucket. */
struct check_needs check_needs_of(const struct options *options, struct bytes bucket);
