/* runs_show.h - what the verbs of `froe runs` share. */
#pragma once

#include "ask.h"
#include "bytes.h"

#include <jansson.h>

/* A runs_list request for the filter of the options, in these states (1 << froe_state; 0: any). */
json_t *runs_request(const struct options *options, unsigned states);
/* The next part of the list: {"runs":[...]} with at most `most`; *ret_more, and the request goes on after it. */
int runs_next(struct asker *asker, json_t *request, uint64_t most, json_t **ret_answer, bool *ret_more);

void runs_print_json(const json_t *object); /* on a line */
/* What the run is about, printable: "bucket/key", or the workflow and its child key. */
void runs_add_what(struct buf *buf, const json_t *run);
void runs_add_took(struct buf *buf, const json_t *run); /* "1.5s", or "-" */
/* Printable, at most `most` bytes of it; "" for what is not there. */
void runs_add_text(struct buf *buf, const json_t *object, const char *name, size_t most);
/* "14:20:08.123 warn  text" */
void runs_print_line(const json_t *line, bool with_run);

int runs_watch(const struct options *options, struct asker *asker);
int runs_logs(const struct options *options, struct asker *asker);
int runs_change(const struct options *options, struct asker *asker);
