/* same_server.h - do two endpoints mean one S3 server, whose buckets are then the same? */
#pragma once

#include <stdbool.h>

/* "http[s]://HOST[:PORT]"; NULL: AWS. Told by their names alone, whatever case, default port or slash they are written
 * with: all endpoints of AWS are one, as are all names of this machine's loopback with one port, and the plain and the
 * TLS port of one host. Two other names of one server are not found out. */
bool same_server(const char *a, const char *b);
