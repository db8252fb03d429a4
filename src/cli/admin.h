/* admin.h - what can be asked of a store while froe runs on it, or while none does: one JSON request, one JSON answer.
 *
 *     {"op":"status"}
 *     {"op":"parked_list","bucket":B,"key_url":K,"after":ID}      answers at most 1000; "after" asks for more
 *     {"op":"parked_retry" or "parked_drop","bucket":B,"key_url":K}
 *     {"op":"runs_list","workflow":W,"bucket":B,"key_url":K,"states":MASK,"meta_name":N,"meta_value":V,
 *      "since_us":T,"until_us":T,"before":ID,"limit":N}           answers {"runs":[...],"more":BOOL}, at most 1000,
 *                                                                 the newest first; "before" asks for more
 *     {"op":"run_get","run":ID}                                   {"run":{..., "attempt_list":[...],"log":[...]}}
 *     {"op":"run_logs","run":ID}                                  {"lines":[...]}, the oldest first
 *     {"op":"runs_cancel" or "runs_retry" or "runs_replay","runs":[ID...]}
 *                                                                 {"results":[{"run_id":ID, ...}]}, in order
 *     {"op":"workflows_list"}, {"op":"groups_list","workflow":W}, {"op":"workers_list"}
 *     {"op":"workflow_pause","workflow":W,"paused":BOOL}
 *
 * bucket and key_url (percent-encoded, since keys are bytes) and all filters may be absent. Answers are an object;
 * {"error":TEXT,"code":CODE} when it failed, with the code of froe.h where there is one. */
#pragma once

#include "pipeline.h"

#include <jansson.h>

struct admin {
    froe *engine;
    struct pipeline *pipeline; /* NULL: nothing runs */
    const char *store;         /* as it may be shown */
    bool shared;               /* a server that other hosts use too */
    uint32_t slots;
};

/* `answer` comes once, maybe at once; the JSON is the receiver's (json_decref). */
typedef void admin_answer_fn(void *arg, json_t *answer);
void admin_ask(struct admin *admin, json_t *request, admin_answer_fn *answer, void *arg);
