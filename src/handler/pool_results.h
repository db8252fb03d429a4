/* pool_results.h - the results that a worker's answer announces, and the bytes behind its line that they are made of.
 */
#pragma once

#include "handler.h"

#include <jansson.h>

struct pool_results;

#define POOL_CONTENT_TYPE_MAX 255
#define POOL_EXTENSION_MAX 32

/* From the members of an answer: `result_bytes`, or `results`. *ret_results is NULL when there are none. -EINVAL with a
 * text that says what is wrong; -ENOMEM. */
int pool_results_parse(const json_t *answer, struct pool_results **ret_results, struct err *err);
uint64_t pool_results_bytes(const struct pool_results *results); /* of all parts together; 0 for NULL */

/* Before anything is taken: where they go. -EFBIG with a text when they are larger than allowed. */
int pool_results_begin(struct pool_results *results, const struct handler_results *where, struct err *err);
/* Takes from the beginning of *data what belongs to them, and leaves the rest. As spool_add. */
int pool_results_take(struct pool_results *results, struct bytes *data, struct err *err);
uint64_t pool_results_taken(const struct pool_results *results);
/* Once all was taken. As handler_result wants them; valid until they are freed. */
const struct handler_part *pool_results_parts(const struct pool_results *results, size_t *ret_n);
void pool_results_free(struct pool_results *results); /* NULL is fine */
