/* options.h - the command line, the environment and the configuration file, from one table: parsing, defaults, help.
 *
 * Precedence: command line, variable, file, default. A value that does not parse is an error that names where it came
 * from. */
#pragma once

#include "bytes.h"
#include "confine.h"
#include "err.h"
#include "handler.h"
#include "log.h"

#include <stdio.h>

enum exit_code {
    EXIT_DRAINED = 0,
    EXIT_INTERNAL = 1,
    EXIT_USAGE = 2,
    EXIT_CREDENTIALS = 3,
    EXIT_UNREACHABLE = 4,
    EXIT_STORE = 5,
    EXIT_PARKED = 6,
    EXIT_INTERRUPTED = 7,
    EXIT_DENIED = 8,
};

enum command_id {
    COMMAND_RUN,
    COMMAND_STATUS,
    COMMAND_PARKED,
    COMMAND_RUNS,
    COMMAND_WORKFLOWS,
    COMMAND_WORKERS,
    COMMAND_CHECK,
    COMMAND_DEMO,
    COMMAND_CRON,
    COMMAND_CONFIG,
    COMMAND_VERSION,
    COMMAND_HELP
};

#define GLOBS_MAX 64
#define GLOB_BYTES_MAX 4096
#define OPTIONS_MAX 128 /* in the table */
#define ALLOW_WRITE_MAX 16

/* Where a value came from. */
struct option_origin {
    enum { FROM_NOWHERE, FROM_DEFAULT, FROM_FILE, FROM_VARIABLE, FROM_COMMAND_LINE } from;
    uint32_t line;     /* FROM_FILE */
    const char *given; /* as it was written; NULL: none, or a list */
};

/* What is taken from programs, of all or of a rule's. */
struct options_confine {
    enum confine_level level;
    bool best_effort, network;
    const char *write[ALLOW_WRITE_MAX];
    size_t n_write;
    uint64_t memory_bytes, file_bytes; /* 0 here and below: no limit */
    int64_t cpu_us;
    uint32_t files, processes, nice;
};

struct doc;
struct config_outputs;
struct config_rules;
struct config_then;

struct options {
    enum command_id command;
    const char *bucket_prefix;
    uint32_t max_pollers, max_runs_per_bucket, slots, retries;
    uint64_t look_ahead;
    int64_t timeout_us, backoff_us, min_age_us;
    const char *cron;
    char *store;       /* owned: "sqlite:PATH" or "postgres://..." */
    char *store_shown; /* owned: the same without a password: never show the other */
    const char *worker;
    int64_t lease_us;
    int64_t history_us, history_bytes; /* history_us 0: none */
    const char *include[GLOBS_MAX], *exclude[GLOBS_MAX];
    size_t n_include, n_exclude;
    struct config_outputs *outputs; /* owned, config_output.h; NULL: none were given */
    struct config_then *then;       /* likewise; NULL: delete */
    bool once, dry_run, discard, all, json, help;
    bool pool;
    enum handler_pool_body pool_body;
    uint32_t pool_workers, pool_recycle; /* 0: as many as cores; never */
    int64_t pool_memory_bytes;           /* 0: no limit */
    int64_t memory_bytes;                /* of results */
    struct options_confine confine;
    bool log_format_set;
    enum log_format log_format;
    enum log_level log_level;
    const char *bucket, *key; /* froe parked, froe runs */
    const char *workflow;     /* froe runs */
    unsigned states;          /* 1 << froe_state, or-ed; 0: any */
    char *meta_name;          /* owned */
    const char *meta_value;
    int64_t since_utc_us, until_utc_us; /* 0: open */
    uint32_t limit;                     /* 0: not given */
    bool follow, groups;
    const char **names; /* owned: runs of froe runs, workflows of froe workflows */
    size_t n_names;
    const char *tz, *from; /* froe cron */
    uint32_t count;
    const char *action; /* froe parked list|retry|drop and the like; froe help COMMAND; froe cron EXPRESSION */
    char **program;     /* after `--`, or of the file: NULL-terminated, NULL when none was given */

    const char *config;      /* the file; NULL: none */
    struct doc *doc;         /* owned: strings of the options point into it */
    char *image;             /* owned: of the file, for froe-image; NULL: none */
    char **file_program;     /* owned; its strings are the document's */
    const char *plugin_file; /* of the command line: the words of `program` are then its arguments */
    char **plugin;           /* owned, NULL-terminated: the file and its arguments, of whatever origin; NULL: none */
    struct option_origin plugin_origin, image_origin;
    struct config_rules *rules; /* owned, config_rules.h; NULL: the file has none, or there is no file */
    struct option_origin origins[OPTIONS_MAX], program_origin; /* of each entry of the table */
    int argc;                                                  /* as given, to be read again */
    char **argv;
};

/* Reads argv (argv[0] skipped) and the environment. Strings of the result point into argv and the environment. -EINVAL
 * with a text that ends in the remedy. With `--help` (or `help`) only command and action are certain. */
int options_parse(int argc, char **argv, struct options *ret_options, struct err *err);
void options_free(struct options *options);

/* Prints the help of one command, or the overview for COMMAND_HELP. */
void options_help(FILE *out, enum command_id command);
/* The command of that name, or -EINVAL. */
int options_command(const char *name, enum command_id *ret_command, struct err *err);

/* The path of the store's file ("sqlite:" cut off); NULL: the store is a server. */
const char *options_store_path(const struct options *options);
