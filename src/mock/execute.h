/* execute.h - a whole request becomes an answer, with the faults that were ordered for it. */
#pragma once

#include "answer.h"

/* How many bytes of the answer go out, and what happens then. */
struct limit {
    uint64_t bytes; /* FAULT_NEVER: all of it */
    enum then { THEN_GO_ON, THEN_CLOSE, THEN_RESET, THEN_STALL } then;
};
#define LIMIT_NONE ((struct limit){FAULT_NEVER, THEN_GO_ON})

/* Checks the body against its signature and decides about faults (request->plan). */
void execute_plan(struct mock *mock, struct request *request);
/* Carries it out and writes the answer. false: no answer, the connection is to be reset. */
bool execute_request(struct mock *mock, struct request *request, struct answer *answer, struct limit *ret_limit);
