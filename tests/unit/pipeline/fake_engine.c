/* fake_engine.c - see fake_engine.h. Its memory never fails: only the pipeline's is put to the test. */
#include "fake_engine.h"

#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct later {
    struct list link;
    void (*run)(struct later *later);
    froe *engine;
    froe_spawned_fn *spawned;
    froe_spawned counts;
    bool failed;
    void (*got)(void *arg, const void *data, size_t n, const froe_error *error);
    void (*put)(void *arg, const froe_error *error);
    void (*group)(void *arg, const froe_group_info *group);
    froe_counted_fn *counted;
    void *arg;
    struct buf name, data, line;
};

static const froe_error store_error = {FROE_ERR_STORE, "the store failed"};

/* The fakes' own memory is malloc's: a test that makes an allocation fail means the pipeline's. */
static void set(struct buf *buf, const void *data, size_t n) {
    free(buf->p);
    *buf = (struct buf){.p = malloc(n + 1), .n = n, .cap = n + 1};
    assert_non_null(buf->p);
    if (n)
        memcpy(buf->p, data, n);
    buf->p[n] = '\0';
}

static void append(struct buf *buf, struct bytes text) {
    buf->p = realloc(buf->p, buf->n + text.n + 1);
    assert_non_null(buf->p);
    if (text.n)
        memcpy(buf->p + buf->n, text.p, text.n);
    buf->n += text.n;
    buf->p[buf->n] = '\0';
}

static bool same(const struct buf *buf, const void *data, size_t n) {
    return bytes_equal(buf_bytes(buf), bytes_of(data, n));
}

static struct later *later_new(froe *engine, void (*run)(struct later *later)) {
    struct later *later = calloc(1, sizeof *later);
    assert_non_null(later);
    later->run = run;
    later->engine = engine;
    list_push_back(&engine->later, &later->link);
    return later;
}

static void later_free(struct later *later) {
    free(later->name.p);
    free(later->data.p);
    free(later->line.p);
    free(later);
}

static void run_free(froe_task *task) {
    list_remove(&task->link);
    free(task->child_key.p);
    free(task->generation.p);
    free(task->checkpoint.p);
    free(task->input.p);
    free(task->group.p);
    free(task->error.p);
    free(task);
}

void fake_engine_init(froe *engine, const struct clock *clock) {
    *engine = (froe){.clock = clock};
    list_init(&engine->runs);
    list_init(&engine->later);
    list_init(&engine->values);
    list_init(&engine->limits);
}

void fake_engine_free(froe *engine) {
    LIST_EACH_SAFE (link, following, &engine->runs)
        run_free(LIST_ENTRY(link, froe_task, link));
    LIST_EACH_SAFE (link, following, &engine->later)
        later_free(LIST_ENTRY(link, struct later, link));
    LIST_EACH_SAFE (link, following, &engine->values) {
        struct fake_value *value = LIST_ENTRY(link, struct fake_value, link);
        free(value->name.p);
        free(value->data.p);
        free(value);
    }
    LIST_EACH_SAFE (link, following, &engine->limits) {
        struct fake_limit *limit = LIST_ENTRY(link, struct fake_limit, link);
        free(limit->group.p);
        free(limit);
    }
    free(engine->trace.p);
}

/* ---- what tests ask ---- */

static bool is_of(const froe_task *task, const char *workflow) {
    return strcmp(task->workflow->def.name, workflow) == 0;
}

froe_task *fake_run(froe *engine, const char *workflow, const char *child_key, enum fake_state state) {
    LIST_EACH (link, &engine->runs) {
        froe_task *task = LIST_ENTRY(link, froe_task, link);
        if (is_of(task, workflow) && task->state == state &&
            (!child_key || same(&task->child_key, child_key, strlen(child_key))))
            return task;
    }
    return NULL;
}

size_t fake_count(const froe *engine, const char *workflow, enum fake_state state) {
    size_t n = 0;
    LIST_EACH (link, &engine->runs) {
        const froe_task *task = LIST_ENTRY(link, froe_task, link);
        n += is_of(task, workflow) && task->state == state;
    }
    return n;
}

void fake_cancel(froe_task *task, froe_cancel_reason reason) {
    assert_int_equal(task->state, FAKE_RUNNING);
    task->cancelled = reason;
    task->workflow->def.cancel(task, task->workflow->def.arg);
}

void fake_retry(froe_task *task) {
    assert_int_equal(task->state, FAKE_PARKED);
    task->state = FAKE_QUEUED;
    task->attempt = 1;
}

struct bytes fake_value(const froe *engine, const char *name) {
    LIST_EACH (link, &engine->values) {
        const struct fake_value *value = LIST_ENTRY(link, struct fake_value, link);
        if (same(&value->name, name, strlen(name)))
            return buf_bytes(&value->data);
    }
    return BYTES_NONE;
}

/* ---- steps ---- */

static const struct fake_limit *limit_of(const froe *engine, const struct buf *group) {
    LIST_EACH (link, &engine->limits) {
        const struct fake_limit *limit = LIST_ENTRY(link, struct fake_limit, link);
        if (same(&limit->group, group->p, group->n))
            return limit;
    }
    return NULL;
}

static size_t running_in(const froe *engine, const froe_task *like) {
    size_t n = 0;
    LIST_EACH (link, &engine->runs) {
        const froe_task *task = LIST_ENTRY(link, froe_task, link);
        n += task->workflow == like->workflow && task->state == FAKE_RUNNING &&
             same(&task->group, like->group.p, like->group.n);
    }
    return n;
}

static bool may_start(const froe *engine, const froe_task *task) {
    int64_t now = clock_mono_us(engine->clock);
    if (task->state != FAKE_QUEUED || task->due_mono_us > now)
        return false;
    const struct fake_limit *limit = is_of(task, "process_object") ? limit_of(engine, &task->group) : NULL;
    return !limit || (limit->until_mono_us <= now && running_in(engine, task) < limit->limit);
}

bool fake_engine_step(froe *engine) {
    bool any = false;
    LIST_EACH_SAFE (link, following, &engine->runs) {
        froe_task *task = LIST_ENTRY(link, froe_task, link);
        if (task->state == FAKE_ENDED) {
            run_free(task);
            any = true;
        }
    }
    struct list now;
    list_init(&now);
    list_splice_back(&now, &engine->later);
    for (struct list *link; (link = list_pop_front(&now));) {
        struct later *later = LIST_ENTRY(link, struct later, link);
        later->run(later);
        later_free(later);
        any = true;
    }
    struct list start;
    list_init(&start);
    LIST_EACH_SAFE (link, following, &engine->runs) {
        froe_task *task = LIST_ENTRY(link, froe_task, link);
        if (!may_start(engine, task))
            continue;
        task->state = FAKE_RUNNING;
        task->end = FAKE_NOT_ENDED;
        task->cancelled = FROE_NOT_CANCELLED;
        task->data = NULL;
        task->starts++;
        task->workflow->def.run(task, task->workflow->def.arg);
        any = true;
    }
    return any;
}

/* ---- include/froe.h: definitions and spawning ---- */

int froe_workflow_add(froe *engine, const froe_workflow *workflow, froe_error *error) {
    assert_true(engine->n_workflows < 4);
    if (engine->refuse_workflows) {
        *error = (froe_error){FROE_ERR_INVALID, "no"};
        return FROE_ERR_INVALID;
    }
    engine->workflows[engine->n_workflows++] = (struct fake_workflow){.def = *workflow};
    return FROE_OK;
}

static struct fake_workflow *find_workflow(froe *engine, const char *name) {
    for (size_t i = 0; i < engine->n_workflows; i++)
        if (strcmp(engine->workflows[i].def.name, name) == 0)
            return &engine->workflows[i];
    fail_msg("no workflow %s", name);
    return NULL;
}

/* input.bucket, where the rules of two workflows look; the tests' names need no escapes. */
static struct bytes input_bucket(const char *input) {
    static const char head[] = "{\"bucket\":\"";
    assert_non_null(input);
    assert_memory_equal(input, head, sizeof head - 1);
    const char *name = input + sizeof head - 1, *end = strchr(name, '"');
    assert_non_null(end);
    return bytes_of(name, (size_t)(end - name));
}

static froe_task *live_with_key(froe *engine, const struct fake_workflow *workflow, const froe_item *item) {
    LIST_EACH (link, &engine->runs) {
        froe_task *task = LIST_ENTRY(link, froe_task, link);
        if (task->workflow == workflow &&
            (!item->child_key || same(&task->child_key, item->child_key, item->child_key_n)))
            return task;
    }
    return NULL;
}

static void spawn_one(froe *engine, struct fake_workflow *workflow, const froe_item *item, const char *input,
                      froe_spawned *counts) {
    bool singleton = strcmp(workflow->def.name, "fetch_s3_buckets") == 0;
    froe_task *other = item->child_key || singleton ? live_with_key(engine, workflow, item) : NULL;
    if (other && other->state == FAKE_PARKED && !same(&other->generation, item->generation, item->generation_n)) {
        run_free(other);
        other = NULL;
        counts->superseded++;
    }
    if (other) {
        *(singleton ? &counts->cancelled : &counts->duplicates) += 1;
        return;
    }
    froe_task *task = calloc(1, sizeof *task);
    assert_non_null(task);
    task->engine = engine;
    task->workflow = workflow;
    task->attempt = 1;
    snprintf(task->run_id, sizeof task->run_id, "1:%llu", (unsigned long long)engine->next_id++);
    set(&task->child_key, item->child_key, item->child_key_n);
    set(&task->generation, item->generation, item->generation_n);
    const char *own = item->input ? item->input : input ? input : "{}";
    set(&task->input, own, strlen(own));
    if (!singleton) {
        struct bytes bucket = input_bucket(own);
        set(&task->group, bucket.p, bucket.n);
    }
    list_push_back(&engine->runs, &task->link);
    counts->created++;
}

static void tell_spawned(struct later *later) {
    append(&later->engine->trace, buf_bytes(&later->line));
    if (later->spawned)
        later->spawned(later->arg, later->failed ? NULL : &later->counts, later->failed ? &store_error : NULL);
}

static bool refused(froe *engine, froe_error *error) {
    if (engine->refuse_calls == 0)
        return false;
    engine->refuse_calls--;
    if (error)
        *error = (froe_error){FROE_ERR_MEMORY, "out of memory"};
    return true;
}

int froe_spawn_many(froe *engine, const froe_spawn *spawn, froe_spawned_fn *done, void *arg, froe_error *error) {
    if (refused(engine, error))
        return FROE_ERR_MEMORY;
    struct fake_workflow *workflow = find_workflow(engine, spawn->workflow);
    struct later *later = later_new(engine, tell_spawned);
    later->spawned = done;
    later->arg = arg;
    if (engine->fail_spawns > 0) {
        engine->fail_spawns--;
        later->failed = true;
        return FROE_OK;
    }
    static const froe_item lone;
    for (size_t i = 0; i < spawn->n; i++)
        spawn_one(engine, workflow, spawn->items ? &spawn->items[i] : &lone, spawn->input, &later->counts);
    char line[128];
    int n = snprintf(line, sizeof line, "spawn %s %zu %u\n", spawn->workflow, spawn->n, later->counts.created);
    set(&later->line, line, (size_t)n);
    return FROE_OK;
}

/* ---- include/froe.h: inside a task ---- */

const char *froe_task_workflow(const froe_task *task) {
    return task->workflow->def.name;
}

const char *froe_task_run_id(const froe_task *task) {
    return task->run_id;
}

const char *froe_task_input(const froe_task *task) {
    return task->input.p;
}

const void *froe_task_child_key(const froe_task *task, size_t *ret_n) {
    *ret_n = task->child_key.n;
    return task->child_key.p;
}

const void *froe_task_checkpoint(const froe_task *task, size_t *ret_n) {
    *ret_n = task->checkpoint.n;
    return task->checkpoint.p;
}

uint32_t froe_task_attempt(const froe_task *task) {
    return task->attempt;
}

void *froe_task_data(const froe_task *task) {
    return task->data;
}

void froe_task_set_data(froe_task *task, void *data) {
    task->data = data;
}

froe_cancel_reason froe_task_cancelled(const froe_task *task) {
    return task->cancelled;
}

int froe_task_holds_lease(const froe_task *task) {
    return !task->engine->lost;
}

void froe_task_refresh_timeout(froe_task *task, int64_t more_us) {
    task->more_us = more_us;
}

void froe_task_log(froe_task *task, froe_level level, const char *format, ...) {
    (void)task;
    (void)level;
    (void)format;
}

int froe_task_set_checkpoint(froe_task *task, const void *data, size_t n) {
    if (n > FROE_CHECKPOINT_MAX)
        return FROE_ERR_INVALID;
    set(&task->checkpoint, data, n);
    return FROE_OK;
}

int froe_task_set_generation(froe_task *task, const void *data, size_t n) {
    if (same(&task->generation, data, n))
        return FROE_OK;
    set(&task->generation, data, n);
    set(&task->checkpoint, NULL, 0);
    task->attempt = 1;
    return FROE_OK;
}

static void end(froe_task *task, enum fake_end how, const char *text) {
    assert_int_equal(task->state, FAKE_RUNNING);
    task->end = how;
    set(&task->error, text, strlen(text));
    task->data = NULL;
}

static void failed_attempt(froe_task *task, bool last) {
    task->engine->failed_attempts++;
    if (last || task->attempt > task->workflow->def.retries) {
        task->state = FAKE_PARKED;
        task->engine->parked++;
        return;
    }
    task->attempt++;
    task->state = FAKE_QUEUED;
    task->due_mono_us = clock_mono_us(task->engine->clock) + task->workflow->def.backoff_us;
}

void froe_task_succeed(froe_task *task) {
    end(task, FAKE_SUCCEEDED, "");
    task->state = FAKE_ENDED;
    task->engine->done++;
}

void froe_task_fail(froe_task *task, int flags, const char *text) {
    end(task, flags & FROE_FAIL_FORGET ? FAKE_FORGOTTEN : FAKE_FAILED, text);
    if (flags & FROE_FAIL_FORGET) {
        task->state = FAKE_ENDED;
        task->engine->dropped++;
        return;
    }
    failed_attempt(task, flags & FROE_FAIL_FINAL);
}

void froe_task_again(froe_task *task, int64_t delay_us, const char *text) {
    end(task, FAKE_AGAIN, text);
    if (task->cancelled == FROE_CANCELLED_TIMEOUT) { /* the engine knows better */
        failed_attempt(task, false);
        return;
    }
    task->state = FAKE_QUEUED;
    task->due_mono_us = clock_mono_us(task->engine->clock) + delay_us;
}

/* ---- include/froe.h: values and groups ---- */

static void tell_put(struct later *later) {
    append(&later->engine->trace, buf_bytes(&later->line));
    if (later->put)
        later->put(later->arg, NULL);
}

int froe_value_put(froe *engine, const char *name, const void *data, size_t n,
                   void (*done)(void *arg, const froe_error *error), void *arg, froe_error *error) {
    if (refused(engine, error))
        return FROE_ERR_MEMORY;
    struct fake_value *value = NULL;
    LIST_EACH (link, &engine->values)
        if (same(&LIST_ENTRY(link, struct fake_value, link)->name, name, strlen(name)))
            value = LIST_ENTRY(link, struct fake_value, link);
    if (!value) {
        value = calloc(1, sizeof *value);
        assert_non_null(value);
        set(&value->name, name, strlen(name));
        list_push_back(&engine->values, &value->link);
    }
    set(&value->data, data, n);
    struct later *later = later_new(engine, tell_put);
    append(&later->line, BYTES("value "));
    append(&later->line, bytes_str(name));
    append(&later->line, BYTES("="));
    append(&later->line, bytes_of(data, n));
    append(&later->line, BYTES("\n"));
    later->put = done;
    later->arg = arg;
    return FROE_OK;
}

static void tell_got(struct later *later) {
    struct bytes value = fake_value(later->engine, later->name.p);
    later->got(later->arg, value.n ? value.p : NULL, value.n, later->failed ? &store_error : NULL);
}

int froe_value_get(froe *engine, const char *name,
                   void (*done)(void *arg, const void *data, size_t n, const froe_error *error), void *arg,
                   froe_error *error) {
    if (refused(engine, error))
        return FROE_ERR_MEMORY;
    struct later *later = later_new(engine, tell_got);
    set(&later->name, name, strlen(name));
    later->got = done;
    later->arg = arg;
    return FROE_OK;
}

static void count(const froe *engine, const char *workflow, const struct buf *group, froe_group *ret) {
    LIST_EACH (link, &engine->runs) {
        const froe_task *task = LIST_ENTRY(link, froe_task, link);
        if (!is_of(task, workflow) || !same(&task->group, group->p, group->n))
            continue;
        ret->live += task->state != FAKE_PARKED;
        ret->running += task->state == FAKE_RUNNING;
        ret->parked += task->state == FAKE_PARKED;
    }
}

void froe_group_get(froe *engine, const char *workflow, const char *group, froe_group *ret_group) {
    struct buf name = {0};
    set(&name, group, strlen(group));
    *ret_group = (froe_group){.workflow = workflow, .group = group};
    count(engine, workflow, &name, ret_group);
    free(name.p);
}

void froe_groups_each(froe *engine, const char *workflow, void (*each)(void *arg, const froe_group *group), void *arg) {
    /* One "group" a run gives the same sums. */
    LIST_EACH (link, &engine->runs) {
        const froe_task *task = LIST_ENTRY(link, froe_task, link);
        if (workflow && !is_of(task, workflow))
            continue;
        const froe_group group = {.workflow = task->workflow->def.name,
                                  .group = task->group.p ? task->group.p : "",
                                  .live = task->state != FAKE_PARKED,
                                  .running = task->state == FAKE_RUNNING,
                                  .parked = task->state == FAKE_PARKED};
        each(arg, &group);
    }
}

static void tell_groups(struct later *later) {
    uint64_t n = 0;
    LIST_EACH (link, &later->engine->runs) {
        const froe_task *task = LIST_ENTRY(link, froe_task, link);
        const froe_group_info group = {.workflow = task->workflow->def.name,
                                       .group = task->group.p ? task->group.p : "",
                                       .backlog = task->state == FAKE_QUEUED,
                                       .leased = task->state == FAKE_RUNNING || task->state == FAKE_ENDED,
                                       .parked = task->state == FAKE_PARKED};
        later->group(later->arg, &group);
        n++;
    }
    later->counted(later->arg, n, NULL);
}

int froe_groups_list(froe *engine, const char *workflow, void (*each)(void *arg, const froe_group_info *group),
                     froe_counted_fn *done, void *arg, froe_error *error) {
    assert_null(workflow);
    if (refused(engine, error))
        return FROE_ERR_MEMORY;
    struct later *later = later_new(engine, tell_groups);
    later->group = each;
    later->counted = done;
    later->arg = arg;
    return FROE_OK;
}

int froe_group_limit(froe *engine, const char *workflow, const char *group, uint32_t max_running, int64_t pause_us) {
    find_workflow(engine, workflow)->limit_calls++;
    struct fake_limit *limit = NULL;
    LIST_EACH (link, &engine->limits)
        if (same(&LIST_ENTRY(link, struct fake_limit, link)->group, group, strlen(group)))
            limit = LIST_ENTRY(link, struct fake_limit, link);
    if (!limit) {
        limit = calloc(1, sizeof *limit);
        assert_non_null(limit);
        set(&limit->group, group, strlen(group));
        list_push_back(&engine->limits, &limit->link);
    }
    limit->limit = max_running;
    limit->until_mono_us = clock_mono_us(engine->clock) + pause_us;
    limit->calls++;
    return FROE_OK;
}
