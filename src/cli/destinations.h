/* destinations.h - where the results of each rule land, and what becomes of its objects, ready for the pipeline: the
 * templates are compiled, the directories are there, and buckets with a region or endpoint of their own have a client.
 *
 * Thread: the loop's. */
#pragma once

#include "aws.h"
#include "options.h"
#include "pipeline.h"

struct destinations;

/* Of rule 0, 1 ... and last of what there is without rules. Options and aws are borrowed until it is closed. -EINVAL
 * with a text: a directory that is not there, an endpoint that cannot be, a result that would be drained in turn;
 * -ENOMEM. */
int destinations_open(uv_loop_t *loop, const struct options *options, const struct aws *aws,
                      struct destinations **ret_destinations, struct err *err);
/* `closed` comes from the loop; it is gone then. */
void destinations_close(struct destinations *destinations, void (*closed)(void *arg), void *arg);
/* Sets outputs, n_outputs and then of the way of that rule. */
void destinations_set(const struct destinations *destinations, size_t rule, struct pipeline_way *way);
bool destinations_any(const struct destinations *destinations, size_t rule); /* has it outputs? */
