/* program_command.h - which file to execute with which arguments, as given on froe's command line. */
#pragma once

#include "err.h"

struct program_command {
    char *file; /* absolute path */
    char **argv;
    char *description; /* for a person: the words given to init, then the arguments */
};

/* Copies; all-zero is an empty one. -ENOENT, -EACCES, -ENOMEM, with a text. */
int program_command_init(struct program_command *command, const char *what, const char *const *argv, struct err *err);
void program_command_free(struct program_command *command);
