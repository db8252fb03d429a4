/* conn.h - connections: bytes in, requests out, answers back, and what faults do to them on the way. */
#pragma once

#include "answer.h"

#define CONN_IN_MAX (64 * 1024) /* unread bytes of a connection; a head must fit, bodies are taken out as they come */
#define CONN_LINGER_US (1 * US_PER_S)

struct conn;

/* Takes over the socket. -ENOMEM or an errno; the socket is then still the caller's. */
int conn_new(struct mock *mock, int fd);
void conn_free(struct conn *conn); /* closes; out of all lists */
void conn_free_all(struct mock *mock);

/* What epoll said. The connection may be gone afterwards. */
void conn_event(struct conn *conn, uint32_t events);
/* Wakes connections whose time has come. */
void conn_run_timed(struct mock *mock);
/* Milliseconds until the next one, -1 when none waits: for epoll_wait. */
int conn_wait_ms(const struct mock *mock, int64_t now_mono_us);
