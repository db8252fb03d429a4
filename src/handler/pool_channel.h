/* pool_channel.h - the socket over which descriptors of bodies come to a worker: docs/pool.md.
 *
 * A SOCK_SEQPACKET pair, of which the worker has one end as its descriptor POOL_CHANNEL_FD. Each message is one byte
 * and one descriptor. Nothing blocks. */
#pragma once

#include <stdbool.h>

#define POOL_CHANNEL_FD 3

/* Both close-on-exec. -errno. */
int pool_channel_open(int *ret_ours, int *ret_theirs);
/* `fd` is borrowed. -EPIPE: nobody has the other end any more. -EAGAIN, -EMFILE, -ENOMEM: the machine cannot now. */
int pool_channel_send(int channel_fd, int fd);
/* Has every descriptor been received, or been lost with the other end? */
bool pool_channel_is_empty(int channel_fd);
