/* http_world.h - the world of the tests of http.h: a server that plays canned answers, and what a request came to. */
#pragma once

#include "clock.h"
#include "http.h"
#include "paced_clock.h"
#include "script_server.h"

#define OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

extern struct world {
    uv_loop_t loop;
    struct paced_clock pace; /* that limits go by */
    struct script_server *server;
    struct http *http;
    bool closed;
    bool busy; /* inside a function of http.h: no callback may come */
} world;

int world_setup(void **state);               /* stalled after 150 ms */
int world_setup_two(void **state);           /* at most two connections, stalled after 150 ms */
int world_setup_quick_connect(void **state); /* no connection after 100 ms; never stalled */
/* Never stalled: for tests in which another thread has its part, as the one that looks up names. */
int world_setup_patient(void **state);
int world_setup_patient_two(void **state);
int world_teardown(void **state); /* nothing is left on the loop */
#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
#define WORLD_TEST_IN(setup, name) cmocka_unit_test_setup_teardown(name, setup, world_teardown)

void world_close_http(void);       /* returns when it is closed */
void world_http_closed(void *arg); /* for http_close: sets `closed` */
int64_t world_now_us(void);        /* by the world's clock */
void world_run_ms(int64_t ms);

/* What a request came to. */
struct probe {
    int heads, pieces, dones, status;
    struct buf fields, body; /* "name=value\n" */
    enum http_end end;
    char text[512];
    struct http_request *request;
    int pause_every; /* pause after each n-th piece */
    bool paused;
    bool resume_at_once; /* inside data */
    bool cancel_in_head, cancel_in_data;
};

/* Callbacks for http.h; their arg is a struct probe. */
void probe_head(void *arg, int status, const struct http_field *fields, size_t n);
bool probe_data(void *arg, struct bytes piece);
void probe_done(void *arg, enum http_end end, const char *text);

/* Starts a request; without a URL of its own it goes to that path of the server, without a method it is a GET. Returns
 * what http_start returns. */
int probe_send(struct probe *p, struct http_send send, const char *path);
void probe_start(struct probe *p, const char *path);  /* a GET, which must start */
void probe_run(struct probe *p);                      /* runs the loop until it is done */
void probe_run_to_piece(struct probe *p);             /* until a piece has come; it must not be done before */
void probe_finish(struct probe *p, const char *path); /* starts it and runs it */
void probe_resume(struct probe *p);
void probe_free(struct probe *p); /* and zero again, for the next request */
