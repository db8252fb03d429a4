/* host.h - froe-plugin's parts: the plugin itself, and serving it as a worker of a pool.
 *
 * One thread; reading and writing block. Exits and messages are main.c's. */
#pragma once

#include "bytes.h"
#include "err.h"

#include <froe_plugin.h>

/* load.c */
struct plugin {
    const froe_plugin *table;
    void *state;
};
/* Loads the file and looks at its table. -ENOENT (no such file, or no plugin), -EINVAL, with a text. */
int plugin_load(const char *path, struct plugin *ret_plugin, struct err *err);
/* Lets it prepare. -EINVAL with its own text. */
int plugin_begin(struct plugin *plugin, int argc, char **argv, struct err *err);
void plugin_end(struct plugin *plugin);

/* serve.c: requests on one descriptor, answers on another, until the first one's end; then 0. -EPROTO and the like,
 * with a text. */
int plugin_serve(const struct plugin *plugin, int input_fd, int output_fd, struct err *err);
extern const froe_plugin_host plugin_host;

/* request.c */
struct plugin_request {
    uint64_t id;
    froe_plugin_object object; /* points into the members below */
    struct json_t *json;
    char *key; /* decoded from key_url */
    froe_plugin_meta *metadata;
};
/* -EPROTO, -ENOMEM. */
int plugin_request_parse(struct bytes line, struct plugin_request *ret_request, struct err *err);
void plugin_request_free(struct plugin_request *request);

/* input.c: a descriptor read in pieces. */
struct plugin_input {
    int fd;
    struct buf line;
    char piece[64 * 1024];
    size_t at, n; /* of the piece: what was not taken yet */
};
#define PLUGIN_LINE_MAX (256 * 1024) /* froe's requests have at most 160 KiB */
/* 1 and the line without its end, valid until the next call; 0: the input has ended; -EPROTO, -ENOMEM, or an errno. */
int plugin_input_line(struct plugin_input *input, struct bytes *ret_line);
/* Up to n bytes; 0 at the end; negative errno. */
ptrdiff_t plugin_input_read(struct plugin_input *input, void *to, size_t n);
