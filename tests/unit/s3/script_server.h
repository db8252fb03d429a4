/* script_server.h - a TCP server on the test's own loop that plays canned answers, one a request, in the order given.
 */
#pragma once

#include "bytes.h"
#include "list.h"

#include <uv.h>

enum script_then { SCRIPT_KEEP, SCRIPT_CLOSE, SCRIPT_RESET, SCRIPT_HANG };

struct script_answer {
    const char *text; /* all that is sent, status line and body; NULL: nothing */
    size_t n;         /* 0: strlen(text) */
    enum script_then then;
    uint64_t wait_ms;  /* before the first byte */
    size_t piece;      /* bytes a write; 0: all at once */
    uint64_t piece_ms; /* between writes */
    bool early;        /* as soon as the request's head is there; it has to be the connection's last */
};

#define SCRIPT_REQUESTS_MAX 4096

struct script_server {
    uv_loop_t *loop;
    uv_tcp_t tcp;
    int port;
    struct list connections;
    struct script_answer *answers;
    size_t n_answers, next_answer;
    struct script_answer fallback;            /* when the script is over; text NULL: hang */
    struct buf requests[SCRIPT_REQUESTS_MAX]; /* head and body, as received */
    size_t n_requests;
    size_t n_accepted, n_open;
    bool hold_reading; /* read nothing from connections made from now on */
    char *owned[256];
    size_t n_owned;
    char url[64]; /* "http://127.0.0.1:port" */
};

struct script_server *script_server_new(uv_loop_t *loop);
/* Copies the struct, not the text. */
void script_add(struct script_server *server, struct script_answer answer);
/* An answer with a right Content-Length; `fields` are header lines, each with its CRLF. Freed with the server. */
void script_add_body(struct script_server *server, int status, const char *fields, const char *body);
/* The line `GET /x HTTP/1.1` up to the second space, e.g. "GET /x"; "" when there was no such request. */
const char *script_target(struct script_server *server, size_t request);
/* The value of a header; name with its case as sent. NULL: absent. Static storage. */
const char *script_header(struct script_server *server, size_t request, const char *name);
void script_close_connections(struct script_server *server); /* all open ones, with a FIN */
void script_server_close(struct script_server *server);      /* run the loop afterwards; frees all */
