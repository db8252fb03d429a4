/* spawner_message.h - what froe sends to its spawner: orders as messages of spawner_wire.h. Any thread. */
#pragma once

#include "spawner_wire.h"

/* Each descriptor of a request at its place, -1 where there is none. Borrowed, as in the request. */
void spawner_message_fds(const struct spawn_request *request, int ret_fds[WIRE_FDS_MAX]);

/* A WIRE_START into `message` (what was in it is gone). `fds` come from spawner_message_fds. `basic`: the spawner is
 * confined so itself, and what its programs inherit is not sent. -ENOMEM, -E2BIG (over SPAWNER_STRINGS_MAX). */
int spawner_message_start(struct buf *message, uint32_t id, const struct spawn_request *request, bool basic,
                          const int fds[WIRE_FDS_MAX]);
/* A WIRE_BEGIN likewise; `basic` (NULL: nothing) is what is to confine the spawner itself. -ENOMEM. */
int spawner_message_begin(struct buf *message, const struct confined *basic);

/* Sends one message with the descriptors that there are in `fds` (NULL: none), at once or not at all: -EAGAIN when the
 * socket has no room now, any other -errno of sendmsg. */
int spawner_message_send(int fd, const void *data, size_t n, const int fds[WIRE_FDS_MAX]);
