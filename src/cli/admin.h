/* admin.h - what can be asked of a store while froe runs on it, or while none does: one JSON request, one JSON answer.
 *
 *     {"op":"status"}
 *     {"op":"parked_list","bucket":B,"key_url":K,"after":ID}      answers at most 1000; "after" asks for more
 *     {"op":"parked_retry" or "parked_drop","bucket":B,"key_url":K}
 *
 * bucket and key_url (percent-encoded, since keys are bytes) may be absent. Answers are an object; {"error":TEXT} when
 * it failed. */
#pragma once

#include "pipeline.h"

#include <jansson.h>

struct admin {
    froe *engine;
    struct pipeline *pipeline; /* NULL: nothing runs */
    const char *store;
    uint32_t slots;
};

/* `answer` comes once, maybe at once; the JSON is the receiver's (json_decref). */
typedef void admin_answer_fn(void *arg, json_t *answer);
void admin_ask(struct admin *admin, json_t *request, admin_answer_fn *answer, void *arg);
