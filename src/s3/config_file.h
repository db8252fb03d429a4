/* config_file.h - AWS's shared config and credentials files (INI-like): sections, keys, nested values, comments.
 *
 * Source: AWS SDKs and Tools Reference Guide, "Shared config and credentials files", "Format of the config file".
 * Pure function over bytes, so that it can be fuzzed. */
#pragma once

#include "bytes.h"
#include "err.h"

#define CONFIG_FILE_MAX (1024 * 1024) /* bytes of a file */

/* Calls `item` for each `key = value` with its section ("profile x", "default"), trimmed, and the line (from 1), and
 * once for each section's own line, with an empty key. A line is
 *   - blank, or a comment: '#' or ';' as its first character that is not a space;
 *   - a section: "[name]", and nothing after it but a comment;
 *   - a key: "name = value"; the value ends before a '#' or ';' that follows a space;
 *   - indented deeper than the key above it: part of that key. Under a key without a value it is one of its keys,
 *     "subkey = value", and comes as "key.subkey". Under a key with a value it continues the value, which then holds
 *     the line breaks.
 *
 * A key or section may come again; the later one counts more, by the order of the calls. The views are good during the
 * call. `item` returns < 0 to stop with that code. -EINVAL with "line N: ..." for any other line and for a key before
 * the first section; no text holds what is in the file. -E2BIG past CONFIG_FILE_MAX; -ENOMEM. */
typedef int config_item_fn(void *arg, struct bytes section, struct bytes key, struct bytes value, unsigned line);
int config_parse(struct bytes text, config_item_fn *item, void *arg, struct err *err);
