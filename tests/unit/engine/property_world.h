/* property_world.h - a random world for test_property.c: workflows with random rules, tasks that behave at random, and
 * a bookkeeper who watches from outside what runs, and fails the test when a promise is broken. */
#pragma once

#include "fixture.h"

#include "failing.h"

#define WORKFLOWS 5
#define ENGINES_MAX 3
#define RUNS_MAX 20000 /* acknowledged ones that are remembered */

enum expression { BY_NOTHING, BY_K, BY_K_AND_J, BY_RUN, EXPRESSIONS };

struct random_rule {
    enum expression expression;
    froe_rule rule;
};

struct random_workflow {
    char name[8];
    struct random_rule rules[3];
    size_t n_rules;
    froe_workflow definition;
    bool blocking;
};

struct rate_count { /* of one key of one period */
    char key[64];
    int64_t period_us;
    uint32_t max_runs;
    int64_t window, windows;
    uint64_t started;
};

struct random_engine {
    struct world *world;
    uv_loop_t loop;
    froe *froe;
    struct failing_store *store;
    bool open, stopped, closed;
    atomic_bool frozen; /* as a process that is stopped: its loop does not run, nor does its store */
};

struct running {
    struct random_engine *engine;
    froe_task *task;
    const struct random_workflow *workflow;
    char keys[3][64], child_key[16], run_id[FROE_RUN_ID_MAX];
    bool held; /* it waits for the test to end it */
};

/* A database that several engines share, and what may happen to it. */
struct world_server {
    const char *uri;
    void (*wipe)(void);
    void (*cut)(uint64_t which); /* ends one of the connections */
    void (*restart)(void);       /* after a crash */
};

struct world {
    uint64_t seed;
    struct rng rng;
    const struct world_server *server; /* NULL: one engine on a file, and a clock that is moved; else the real clock */
    atomic_bool calm;                  /* all tasks succeed now */
    char dir[64], uri[300];
    struct moved_clock clock;
    struct store_options store_options;
    uint32_t slots;
    struct random_workflow workflows[WORKFLOWS];
    struct random_engine engines[ENGINES_MAX];
    size_t n_engines;

    pthread_mutex_t mutex; /* guards all below: blocking tasks come from threads */
    struct running running[4096];
    size_t n_running;
    struct rate_count rates[512];
    size_t n_rates;
    struct map succeeded; /* ids of runs whose function said so */
    struct map ticks;     /* scheduled time -> run id */
    uint64_t calls, ended_by_thread;

    froe_run_id runs[RUNS_MAX]; /* acknowledged as created */
    size_t n_runs;
    size_t spawns_open, pauses_open;

    pthread_t ender; /* ends tasks that are handed to it */
    froe_task *to_end[4096];
    size_t n_to_end;
    bool ender_over;
};

/* Prints the seed and ends the process: from any thread. */
#define BROKEN(world, ...)                                                        \
    do {                                                                          \
        fprintf(stderr, "\nseed %ju: ", (uintmax_t)(world)->seed);                \
        fprintf(stderr, __VA_ARGS__);                                             \
        fprintf(stderr, " (FROE_PROPERTY_SEED=%ju)\n", (uintmax_t)(world)->seed); \
        abort();                                                                  \
    } while (0)

void world_make(struct world *world, uint64_t seed, const struct world_server *server); /* NULL: a file */
void world_free(struct world *world);
void world_open(struct world *world, struct random_engine *engine);  /* adds the workflows and starts */
void world_crash(struct world *world, struct random_engine *engine); /* without a word to the store */
void world_close(struct world *world, struct random_engine *engine);
void world_move(struct world *world, int64_t us);
void world_run(struct world *world, int64_t real_us); /* the engines, for so long */
void world_freeze(struct random_engine *engine, bool freeze);
void world_spawn(struct world *world);
void world_end_held(struct world *world, bool all); /* some, or all, of the tasks that wait for it */
uint64_t world_below(struct world *world, uint64_t bound);
struct random_engine *world_any(struct world *world); /* that is open and not frozen; NULL: there was none */
