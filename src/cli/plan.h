/* plan.h - options and rules as the pipeline wants them, with the handlers that they name; and the plans of one run,
 * of which the newest is in force while objects that were begun under older ones come to their end.
 *
 * Thread: the loop's. */
#pragma once

#include "destinations.h"
#include "handler.h"
#include "list.h"
#include "options.h"
#include "pipeline.h"
#include "spawner.h"

struct plans;

/* plan_confine.c: options for the handlers. All-zero is an empty one. */
#define PLAN_SECRETS_MAX 16
struct plan_confine {
    char *secrets[PLAN_SECRETS_MAX]; /* owned: where credentials of froe are kept */
    size_t n_secrets;
};
/* `store`: its URI, which may name files too; NULL: none. -ENOMEM. */
int plan_confine_init(struct plan_confine *confine, const char *store);
void plan_confine_free(struct plan_confine *confine);
/* As the options say. `strictest`: all that the kernel can, whatever they say, and no directory to write in: for
 * workers of froe's own that read what strangers wrote. Borrows from both. */
struct confine plan_confine_of(const struct plan_confine *confine, const struct options_confine *options,
                               bool strictest);

struct plan {
    struct pipeline_plan pipeline;
    struct list link; /* in plans.all */
    struct plans *plans;
    const struct options *options;
    struct options *owned; /* NULL: they are the caller's */
    struct pipeline_way *ways;
    struct destinations *destinations; /* NULL: a plan of a dry run */
    struct handler **handlers;         /* of each rule, then the general one; NULL: none of its own */
    size_t n_handlers, n_open;
    struct plan_confine confine;
    uv_timer_t later; /* closes it, out of the call that told that it is unused */
};

/* Without handlers, for a dry run. The options are borrowed. -ENOMEM. */
int plan_new(const struct options *options, struct plan **ret_plan);
void plan_free(struct plan *plan); /* one of plan_new; NULL is fine */

/* All-zero but for the first four. Stays where it is as long as there are plans. */
struct plans {
    uv_loop_t *loop;
    struct spawner *spawner; /* NULL: no plan has a program */
    struct log *log;
    const struct aws *aws;          /* NULL: nothing lands in a bucket */
    struct budget budget;           /* of the results of all plans together */
    struct handler_results results; /* for the handlers that keep any */
    struct plan *now;
    struct list all;
    bool begun, closing;
    char described[256];
    void (*closed)(void *arg);
    void *closed_arg;
};

/* The first plan; `options` are borrowed until the plans are closed. -ENOENT and the like for a program that cannot be
 * found, -ENOMEM. */
int plans_open(struct plans *plans, const struct options *options, struct err *err);
/* Another one in place of the newest, which the pipeline is told. Takes *options (allocated, with what is in it) on
 * success only. Errors as above; then all is as before. */
int plans_replace(struct plans *plans, struct pipeline *pipeline, struct options *options, struct err *err);
struct pipeline_plan *plans_now(struct plans *plans);
/* plan_confine.c: could all that the options ask for be taken from programs, on this kernel? What confined_new says. */
int plan_check_confine(const struct options *options, struct err *err);
/* Is every program, by whatever rule, at least held to `basic`? Then the spawner is. */
bool plan_confines_all(const struct options *options);
/* One line for a person: "discard", "3 rules, else program x". Borrowed until the next call. */
const char *plans_describe(struct plans *plans);
/* After the pipeline is closed. `closed` comes from the loop, or at once when there is nothing. */
void plans_close(struct plans *plans, void (*closed)(void *arg), void *arg);

/* reload.c: reads the configuration file again at each SIGHUP. */
struct reload;
int reload_open(uv_loop_t *loop, const struct options *options, struct plans *plans, struct pipeline *pipeline,
                struct log *log, struct reload **ret_reload, struct err *err);
void reload_close(struct reload *reload); /* it goes away with the loop's next turn */
