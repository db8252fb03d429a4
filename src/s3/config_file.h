/* config_file.h - AWS's shared config and credentials files (INI-like): sections, keys, nested values, comments.
 *
 * Source: AWS SDKs and Tools Reference Guide, "Shared config and credentials files", "Format of the config file".
 * Pure function over bytes, so that it can be fuzzed. */
#pragma once

#include "bytes.h"
#include "err.h"

#define CONFIG_FILE_MAX (1024 * 1024) /* bytes of a file */

/* Calls `item` for each `key = value` with its section ("profile x", "default"), trimmed, and the line (from 1). Lines that
 * belong to a nested block (indented under a key without value) come as "key.subkey". `item` returns < 0 to stop with that code.
 * -EINVAL with "line N: ..." for a line that is none of section, key, comment, blank; -E2BIG past CONFIG_FILE_MAX. */
typedef int config_item_fn(void *arg, struct bytes section, struct bytes key, struct bytes value, unsigned line);
int config_parse(struct bytes text, config_item_fn *item, void *arg, struct err *err);
