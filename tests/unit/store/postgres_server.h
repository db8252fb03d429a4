/* postgres_server.h - a PostgreSQL server of a test's own: Debian's, in a temporary folder, with fsync on.
 *
 * As root it is run by the user postgres or nobody, as the server refuses root. When a test ends in whatever way, the
 * server is ended, too. */
#pragma once

#include "bytes.h"

#include <stdint.h>
#include <sys/types.h>

struct postgres_server {
    char folder[64];
    char bin[64];
    int port;
    pid_t pid, pooler; /* 0: does not run */
    int pooler_port;
    uid_t uid;
    gid_t gid;
};

/* What is missing here to run one; NULL: nothing. */
const char *postgres_server_missing(void);
const char *postgres_pooler_missing(void);
/* Exits the program with what went wrong when it does not start. */
void postgres_server_start(struct postgres_server *server);
void postgres_server_stop(struct postgres_server *server);  /* and removes all of it */
void postgres_server_crash(struct postgres_server *server); /* as pg_ctl stop -m immediate: nothing is written */
void postgres_server_again(struct postgres_server *server);
/* While it does not run: keeps a copy of all its data; goes back to that copy. */
void postgres_server_save(const struct postgres_server *server);
void postgres_server_restore(const struct postgres_server *server);
/* PgBouncer in transaction mode before it. */
void postgres_pooler_start(struct postgres_server *server);

enum postgres_way { POSTGRES_SOCKET, POSTGRES_TCP, POSTGRES_POOLER };
/* The URI of a schema; `port` 0: the server's, or the pooler's. */
void postgres_server_uri(const struct postgres_server *server, enum postgres_way way, int port, const char *schema,
                         char *ret_uri, size_t size);
#define POSTGRES_PASSWORD "s3cret-pass"

/* As its superuser; the first value of the first row, or "" ("ERROR: ..." when it fails). Until the next call. */
const char *postgres_server_sql(const struct postgres_server *server, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int64_t postgres_server_number(const struct postgres_server *server, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void postgres_server_wipe(const struct postgres_server *server, const char *schema);
