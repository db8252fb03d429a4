/* commands.h - the commands, each in a file of its own. They return an exit code (options.h) and print their own
 * errors. */
#pragma once

#include "options.h"

int command_run(const struct options *options);
int command_status(const struct options *options);
int command_parked(const struct options *options);
int command_check(const struct options *options);
int command_demo(const struct options *options);
int command_cron(const struct options *options);

/* "froe: TEXT" on stderr; returns the code. */
int command_fail(int exit_code, const char *text);
/* A log on stderr as the options say. */
void command_log_init(struct log *log, const struct options *options);

/* The engine on the store of the options without starting it, for commands that look or mend: asks the froe that runs
 * on it, or opens the store itself. 0 and the answer, or an exit code with the error printed. `request` stays the
 * caller's. */
struct json_t;
int command_ask(const struct options *options, struct json_t *request, struct json_t **ret_answer);
