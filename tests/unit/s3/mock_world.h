/* mock_world.h - the world of s3_world.h with the fake server in it, which is told how to misbehave, and bodies whose
 * bytes follow from their places. */
#pragma once

#include "mock.h"
#include "s3_private.h"
#include "s3_world.h"

#define PART 1000
#define SIZE 3500 /* four parts */

/* A body whose bytes follow from their places, and what came of storing it. */
struct source {
    struct seen seen; /* the first: the callbacks' one argument is both */
    uint64_t size;
    uint64_t fails_at; /* the first byte that cannot be read; 0: none */
};

extern struct mock *mock;

void mock_world_start(const char *faults);                      /* a fresh server, and a client of it */
void mock_world_start_with(const struct mock_options *options); /* min_part is PART in any case */
int mock_world_stop(void **state);
#define MOCK_TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, mock_world_stop)

s3_read_fn source_read;
int source_begin(struct source *source, const struct s3_put_options *options); /* s3_put_stream's answer */
void source_put(struct source *source, const struct s3_put_options *options);  /* and its end */

bool mock_world_exists(void);         /* KEY in BUCKET */
void mock_world_check(uint64_t size); /* it is the body of so many bytes */
void mock_world_check_tags(const char *wanted);
/* An object of SIZE bytes with a type, metadata and tags to be copied; its ETag is s->out then. */
#define COPIED_KEY BYTES("a b/\xc3\xa9+?")
void mock_world_put_copied(struct seen *s);
