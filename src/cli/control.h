/* control.h - the Unix socket beside the store (PATH.sock, mode 0600) through which other commands reach the froe that
 * runs on it: a connection carries one request and one answer (see admin.h), each a line of JSON. */
#pragma once

#include "admin.h"
#include "err.h"

#include <uv.h>

#define CONTROL_REQUEST_MAX (64 * 1024)

struct control;

/* Serves until control_close; `admin` is borrowed. The socket file of a froe that died is replaced: who calls this
 * holds the store. */
int control_open(uv_loop_t *loop, const char *store_path, struct admin *admin, struct control **ret_control,
                 struct err *err);
void control_close(struct control *control, void (*closed)(void *arg), void *arg); /* removes the socket file */

/* The client's side; blocks. -ECONNREFUSED: nobody runs on that store (no text); other codes with a text. */
int control_call(const char *store_path, json_t *request, json_t **ret_answer, struct err *err);
