/* support.h - what the tests of this layer share: a loop with a watchdog, a spawner, attempts that record what they
 * were told, and a directory for what programs write. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "handler.h"
#include "mem.h"
#include "spawner.h"

struct world {
    uv_loop_t loop;
    struct spawner *spawner;
    struct handler *handler; /* closed by world_down when set */
    char directory[64];
    unsigned down;
    bool flag; /* a test's own */
    /* What is made with keep_results. */
    struct budget budget;
    struct handler_results results;
    bool keeps;
};

/* For cmocka: a struct world in *state. */
int world_up(void **state);
int world_down(void **state);

void run_until(struct world *world, const bool *flag); /* fails the test after a minute */
void run_for_ms(struct world *world, uint64_t ms);

/* Handlers that are made from now on keep results: in a budget of so much, with files in the world's directory. */
void keep_results(struct world *world, uint64_t budget_bytes, uint64_t max_bytes);

/* sh -c with `script`, in which $D is the world's directory. */
void use_script(struct world *world, const char *script, int64_t kill_grace_us);

struct attempt {
    struct handler_job *job; /* NULL: gone */
    bool inside;             /* a handler_* call is running: no callback may */
    bool done;
    enum handler_end end;
    char *text;
    unsigned rooms, earlies;
    bool room, early, early_ended;
    /* Its results, moved out of the handler's. */
    size_t n_parts;
    struct attempt_part {
        char name[HANDLER_PART_NAME_MAX + 1], content_type[256], extension[64];
        struct spool body;
    } parts[HANDLER_PARTS_MAX];
};

extern const struct handler_object plain_object;
void attempt_start(struct world *world, struct attempt *attempt, const struct handler_object *object);
int attempt_try(struct world *world, struct attempt *attempt, const struct handler_object *object, struct err *err);
bool attempt_write(struct attempt *attempt, struct bytes piece);
void attempt_finish(struct attempt *attempt);
void attempt_abort(struct attempt *attempt, const char *reason);
/* Waits for the end and compares; the text is not freed. */
void attempt_ends(struct world *world, struct attempt *attempt, enum handler_end end);
void attempt_free(struct attempt *attempt);
/* The part is this, and its bytes are these. */
void part_is(const struct attempt *attempt, size_t i, const char *name, struct bytes body);

void file_path(const struct world *world, const char *name, char path[static 128]);
bool file_exists(const struct world *world, const char *name);
/* The content of a file in the world's directory; mem_free. */
char *file_read(const struct world *world, const char *name, size_t *ret_n);
pid_t file_pid(struct world *world, const char *name); /* waits until it holds a whole line */

char process_state(pid_t pid);             /* as /proc has it; 'X' when there is none */
bool is_dead(pid_t pid);                   /* gone, or a zombie */
bool dies(struct world *world, pid_t pid); /* runs the loop until it is dead; false: it goes on living */
/* Open descriptors of a process; 0 when they may not be seen. */
size_t count_fds(pid_t pid);
