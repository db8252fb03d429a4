/* ask.h - questions to a store (see admin.h), for commands that look or mend: to the froe that runs on a store in a
 * file, through its control socket; else by opening the store. */
#pragma once

#include "options.h"

#include <jansson.h>

struct asker;

/* Opens nothing yet. NULL: out of memory, which was printed. */
struct asker *asker_new(const struct options *options);
/* Gives a store up that is a file, so that a froe may start on it; the next question opens it again. */
void asker_rest(struct asker *asker);
void asker_free(struct asker *asker);

/* 0 and the answer, or an exit code with the error printed: EXIT_STORE, EXIT_INTERNAL; EXIT_INTERNAL too for an answer
 * that says that a run or a workflow is not there, or not in the state for it. `request` stays the caller's. */
int ask(struct asker *asker, json_t *request, json_t **ret_answer);
/* The same, but an answer that is an error is given to the caller: *ret_code is its code of froe.h, or 0. */
int ask_any(struct asker *asker, json_t *request, json_t **ret_answer, int *ret_code);
/* Prints the error of such an answer; the exit code. */
int ask_failed(json_t *answer);
