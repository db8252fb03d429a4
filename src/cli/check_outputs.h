/* check_outputs.h - froe check: are the places there where results and moved objects would land? Nothing is written, so
 * of a bucket it can only be told that it exists. */
#pragma once

#include "aws.h"
#include "options.h"

struct json_t;

/* Adds an object for each place to the array: "output", "finding", "ok". `done` comes from the loop, or from inside the
 * call when there is nothing to ask S3; `exit_code` is EXIT_DRAINED or that of the first place that is wrong. */
void check_outputs(uv_loop_t *loop, const struct options *options, const struct aws *aws, struct json_t *report,
                   void (*done)(void *arg, int exit_code), void *arg);
