/* config_image.h - `image:` in a configuration file. */
#pragma once

#include "err.h"

struct doc;
struct doc_node;

/* Checks it, and makes the JSON of it that froe-image takes: for mem_free. -EINVAL with "FILE:LINE:COLUMN: ...";
 * -ENOMEM. */
int config_image_parse(const struct doc *doc, const struct doc_node *node, char **ret_spec, struct err *err);
