/* admin_private.h - the parts of admin.c: what can be asked, by subject. */
#pragma once

#include "admin.h"
#include "json_set.h"

/* One question on its way: who asked, and where the answer goes. */
struct question {
    struct admin *admin;
    json_t *request; /* borrowed, during the call that begins it only */
    admin_answer_fn *answer;
    void *arg;
};

json_t *admin_failure(const char *text);
json_t *admin_failed(const froe_error *error); /* {"error":TEXT,"code":CODE} */

/* Each takes the operations that it knows; false: it is none of those. */
bool admin_ask_parked(const struct question *question, const char *op);
bool admin_ask_runs(const struct question *question, const char *op);
bool admin_ask_changes(const struct question *question, const char *op);
bool admin_ask_workflows(const struct question *question, const char *op);
bool admin_ask_status(const struct question *question, const char *op);

/* "succeeded" and so on. */
const char *admin_state_name(froe_state state);
/* "bucket/key" of a bucket and a percent-encoded key. -EINVAL, -ENOMEM. */
int admin_child_key(struct buf *child_key, const char *bucket, const char *key_url);
