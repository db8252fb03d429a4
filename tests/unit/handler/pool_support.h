/* pool_support.h - what the tests of the pool share: pools of workers that play (pool_play.h), and objects for them. */
#pragma once

#include "pool_play.h"
#include "support.h"

/* For main(), after spawner_main_if_asked. */
void play_worker_if_asked(int argc, char **argv);

/* `options` without argv and spawner. */
void use_pool(struct world *world, struct handler_pool_options options, const char *mode);
void close_pool(struct world *world);

char *make_body(size_t n); /* mem_free */
struct handler_object object_of(const char *key, uint64_t size);
/* Hands the body over as a download would: in pieces, pausing when told to. */
void feed(struct world *world, struct attempt *attempt, struct bytes body, size_t piece);
/* Start, the whole body, finish. */
void whole(struct world *world, struct attempt *attempt, const char *key, struct bytes body);
/* The same to its end, which must be this, with a text that has `text` in it ("" for OK). */
void ends(struct world *world, const char *key, struct bytes body, enum handler_end end, const char *text);

/* Of the last object that a worker read whole. */
struct played {
    int pid;
    char key[256];
    unsigned long long n, hash;
    size_t objects; /* in all */
};
struct played last_played(const struct world *world);
void played_is(const struct world *world, const char *key, struct bytes body);
size_t count_lines(const struct world *world, const char *file);
void touch(const struct world *world, const char *file);
