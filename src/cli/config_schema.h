/* config_schema.h - a JSON Schema (draft 2020-12) of the configuration file, from the tables that read it. */
#pragma once

#include <jansson.h>

/* What it accepts froe accepts, but for what only froe can know: expressions, patterns, times of a cron, rules that can
 * never match. NULL when memory is out. */
json_t *config_schema(void);
