/* program_output.h - what a program wrote to its stdout, kept for whom it was made for. */
#pragma once

#include "handler.h"

struct program_output {
    struct spool spool;
    uint64_t max_bytes; /* 0: no limit */
};

void program_output_init(struct program_output *output, const struct handler_results *results);
/* One read from the pipe, which does not block. 1: something came; 0: the end, nobody can write any more; -EAGAIN:
 * there is nothing now; another code with a text: it cannot be kept, or is too much. `scratch` is for the bytes in
 * between. */
int program_output_read(struct program_output *output, int fd, char *scratch, size_t n, struct err *err);
/* When all who belong to the program are dead: the rest. 0: it is whole; else as above, and -EBUSY when somebody else
 * still holds the other end, so that nobody can tell. */
int program_output_read_rest(struct program_output *output, int fd, char *scratch, size_t n, struct err *err);
void program_output_free(struct program_output *output);
