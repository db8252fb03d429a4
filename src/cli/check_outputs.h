/* check_outputs.h - froe check: may results and moved objects be written where they would land? That is tried, and
 * nothing is left behind: in a bucket an upload in parts is begun and aborted, in a directory a file is made that never
 * gets a name. */
#pragma once

#include "aws.h"
#include "options.h"

struct json_t;

/* Adds an object for each place to the array: "output", "finding", "ok". `done` comes from the loop, or from inside the
 * call when there is nothing to ask S3; `exit_code` is EXIT_DRAINED or that of the first place that is wrong. */
void check_outputs(uv_loop_t *loop, const struct options *options, const struct aws *aws, struct json_t *report,
                   void (*done)(void *arg, int exit_code), void *arg);
