/* options_table.h - what the parts of options.c share: the table of options and that of commands. */
#pragma once

#include "options.h"

#include <stddef.h>

enum {
    FOR_RUN = 1 << COMMAND_RUN,
    FOR_STATUS = 1 << COMMAND_STATUS,
    FOR_PARKED = 1 << COMMAND_PARKED,
    FOR_RUNS = 1 << COMMAND_RUNS,
    FOR_WORKFLOWS = 1 << COMMAND_WORKFLOWS,
    FOR_WORKERS = 1 << COMMAND_WORKERS,
    FOR_CHECK = 1 << COMMAND_CHECK,
    FOR_DEMO = 1 << COMMAND_DEMO,
    FOR_CRON = 1 << COMMAND_CRON,
    FOR_CONFIG = 1 << COMMAND_CONFIG,
};
#define FOR_LOOKING (FOR_STATUS | FOR_PARKED | FOR_RUNS | FOR_WORKFLOWS | FOR_WORKERS)

enum kind {
    KIND_PREFIX,
    KIND_TEXT,
    KIND_U32,
    KIND_U64,
    KIND_SIZE,
    KIND_DURATION,
    KIND_CRON,
    KIND_STORE,
    KIND_GLOB,
    KIND_LOG,
    KIND_LEVEL,
    KIND_POOL_BODY,
    KIND_CONFINE,
    KIND_DIRECTORIES,
    KIND_STATES,
    KIND_META,
    KIND_OUTPUT,
    KIND_THEN,
    KIND_TIME,
    KIND_FLAG
};

struct option {
    const char *name;     /* without the dashes */
    const char *variable; /* NULL: none */
    const char *argument; /* in the help */
    enum kind kind;
    unsigned commands;
    size_t offset;  /* in struct options */
    uint64_t least; /* of a number, a size or a duration in microseconds */
    uint64_t most;
    const char *initial; /* in the form in which it is given; NULL: none */
    const char *help;
};

#define OPTION_AT(member) offsetof(struct options, member)

extern const struct option option_table[];
extern const size_t n_options; /* at most OPTIONS_MAX */

/* Does the command take the option? `froe config` takes all of froe run, to show what becomes of them. */
bool option_is_for(const struct option *option, enum command_id command);
/* Has it a key in the configuration file? All of froe run that mean something there. */
bool option_in_file(const struct option *option);
#define OPTION_KEY_MAX 64
#define OPTION_WORKER_MAX 128 /* bytes of a worker's name */
/* Its key: the option's name with '_' for '-'. */
const char *option_key(const struct option *option, char key[OPTION_KEY_MAX]);

struct command {
    const char *name, *usage, *summary, *text;
};
extern const struct command command_table[];
extern const size_t n_commands;

/* options_values.c. `origin` names where the value came from: "--slots" or "S3_WORKER_SLOTS". -EINVAL, -ENOMEM. */
/* The word for a level, as it is given. */
const char *option_confine_word(const struct options_confine *confine);
int option_set(struct options *options, const struct option *option, const char *value, const char *origin,
               struct err *err);
/* config_options.c: the file's value for the option, of the right shape and read by option_set. `entry` is the file's.
 */
struct doc_node;
int option_set_from_file(struct options *options, const struct option *option, const struct doc_node *entry,
                         struct err *err);
/* Reads options->config into options->doc and checks all that can be checked of it alone: keys, values, rules. */
int options_load_file(struct options *options, struct err *err);
int options_take_doc(struct options *options, struct err *err); /* the same of one that was read */
/* The program of the file, unless the command line has one. */
int options_program_from_file(struct options *options, struct err *err);
/* Puts a --plugin and its words together. -ENOMEM. */
int options_settle_plugin(struct options *options, struct err *err);
/* options_check.c: what does not go together, or is missing. -EINVAL. */
int options_check(const struct options *options, struct err *err);
/* Likewise, before the file is read: a word that froe config does not know is worth more than a file that is not there.
 */
int options_check_config_action(const struct options *options, struct err *err);
