/* commands.h - the commands, each in a file of its own. They return an exit code (options.h) and print their own
 * errors. */
#pragma once

#include "options.h"

int command_run(const struct options *options);
int command_status(const struct options *options);
int command_parked(const struct options *options);
int command_runs(const struct options *options);
int command_workflows(const struct options *options);
int command_workers(const struct options *options);
int command_check(const struct options *options);
int command_demo(const struct options *options);
int command_cron(const struct options *options);
int command_config(const struct options *options);

/* "froe: TEXT" on stderr; returns the code. */
int command_fail(int exit_code, const char *text);
/* A log on stderr as the options say. */
void command_log_init(struct log *log, const struct options *options);

/* One question to the store of the options, see ask.h. */
struct json_t;
int command_ask(const struct options *options, struct json_t *request, struct json_t **ret_answer);
