/* s3_world.h - the world of the tests of s3.h: a client whose server plays canned answers, whose keys come as the test
 * wants them, and what its calls came to. The callbacks check what is promised of every result. */
#pragma once

#include "paced_clock.h"
#include "s3.h"
#include "script_server.h"

#define SECRET "very-secret-key"
#define TOKEN "very-secret-token"
#define BUCKET BYTES("bucket-1")
#define KEY BYTES("key")
#define EMPTY_OK "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

/* Stands in for credentials.c: the client under test is linked to the functions of s3_world.c. */
struct credentials_provider {
    struct credentials keys;
    bool fails, late; /* late: kept until `waiting` is answered */
    credentials_fn *waiting;
    void *waiting_arg;
    int asked, refused;
    bool renews;
};

extern struct world {
    uv_loop_t loop;
    struct paced_clock pace; /* that limits and waits go by */
    struct script_server *server;
    struct s3_client *client;
    struct credentials_provider provider;
    int64_t utc_us; /* what the wall clock says; 0: the time that it is */
    bool closed;
    bool busy; /* inside a function of s3.h: no callback may come */
} world;

/* A fresh world with a client of world_options(), and its end: nothing is left on the loop. */
int world_setup(void **state);
int world_teardown(void **state);
#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

struct s3_options world_options(void); /* short limits, three attempts */
void world_use(struct s3_options o);   /* a new client in place of the one that there is */
void world_close_client(void);         /* returns when it is closed */
int64_t world_now_us(void);            /* by the world's clock */
void world_run_ms(int64_t ms);
void world_keys_come(void); /* answers the client that waits for late keys */
struct s3_counters world_counters(void);
/* The next answer: an error as S3 writes it, `more` inside it; `fields` as for script_add_body. */
void world_add_error(int status, const char *fields, const char *code, const char *more);

/* What a call came to. */
struct seen {
    int dones, infos, pieces;
    enum s3_status status;
    int http_status;
    char code[128], text[8192];
    uint32_t attempts, throttled;
    int64_t duration_us;
    struct buf out; /* the answer, written down */
    struct buf body;
    enum s3_versioning versioning;
    struct s3_call *call;
    int pause_every;
    bool paused, cancel_in_info, cancel_in_data, resume_in_data, close_in_done;
};

/* Callbacks for s3.h; their arg is a struct seen. */
s3_buckets_fn seen_buckets;
s3_objects_fn seen_objects;
s3_info_fn seen_info;
s3_put_fn seen_put;
s3_tags_fn seen_tags;
s3_delete_fn seen_delete;
s3_versioning_fn seen_versioning;
extern const struct s3_get_handler seen_get_handler;

void seen_run_to_piece(struct seen *s); /* runs the loop until a piece has come; it must not be done before */
void seen_finish(struct seen *s);       /* until the call is done */
void seen_free(struct seen *s);         /* and zero again, for the next call */

enum kind { LIST_BUCKETS, LIST, HEAD, GET, PUT, DELETE, VERSIONING };

void world_begin(struct seen *s, enum kind kind); /* a plain call of that kind, on BUCKET and KEY */
void world_call(struct seen *s, enum kind kind);  /* begins and finishes it */
