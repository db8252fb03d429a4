/* values.c - small durable values under a name. */
#include "engine.h"

#include "mem.h"

struct value_request {
    struct request request;
    struct bytes name, data; /* data: to put */
    struct buf found;        /* got */
    bool is_found;
    void (*put_done)(void *arg, const froe_error *error);
    void (*get_done)(void *arg, const void *data, size_t n, const froe_error *error);
    void *arg;
    char memory[];
};

static int execute_put(struct request *request, struct store *store, struct err *err) {
    struct value_request *value = (struct value_request *)(void *)request;
    return store_value_put(store, value->name, value->data, err);
}

static int execute_get(struct request *request, struct store *store, struct err *err) {
    struct value_request *value = (struct value_request *)(void *)request;
    return store_value_get(store, value->name, &value->found, &value->is_found, err);
}

static void finish(struct request *request, struct froe *engine) {
    struct value_request *value = (struct value_request *)(void *)request;
    froe_error error, *failed = NULL;
    if (request->r < 0) {
        engine_error_from(&error, &request->err);
        failed = &error;
    }
    if (value->put_done)
        value->put_done(value->arg, failed);
    if (value->get_done) {
        bool tell = !failed && value->is_found;
        value->get_done(value->arg, tell ? value->found.p : NULL, tell ? value->found.n : 0, failed);
    }
    buf_free(&value->found);
    mem_free(value);
}

static int make(froe *engine, const char *name, const void *data, size_t n, struct value_request **ret_value,
                froe_error *error) {
    size_t name_n = name ? strlen(name) : 0;
    if (name_n == 0 || name_n > FROE_VALUE_NAME_MAX)
        return engine_error(error, FROE_ERR_INVALID, "a value's name has 1 to %d bytes", FROE_VALUE_NAME_MAX);
    if (n > FROE_VALUE_MAX || (!data && n > 0))
        return engine_error(error, FROE_ERR_INVALID, "the value %s has %zu bytes; at most %d are kept", name, n,
                            FROE_VALUE_MAX);
    if (engine->closing)
        return engine_error(error, FROE_ERR_STATE, "the engine is closing");
    if (engine->failed)
        return engine_error_from(error, &engine->failure);
    struct value_request *value = mem_zalloc(sizeof *value + name_n + n);
    if (!value)
        return engine_error(error, FROE_ERR_MEMORY, "out of memory");
    memcpy(value->memory, name, name_n);
    if (n)
        memcpy(value->memory + name_n, data, n);
    value->name = bytes_of(value->memory, name_n);
    value->data = bytes_of(value->memory + name_n, n);
    value->request.finish = finish;
    *ret_value = value;
    return FROE_OK;
}

struct value_call {
    froe *engine;
    const char *name;
    const void *data;
    size_t n;
    void (*put_done)(void *arg, const froe_error *error);
    void (*get_done)(void *arg, const void *data, size_t n, const froe_error *error);
    void *arg;
    froe_error *error;
};

static int submit(void *arg) {
    const struct value_call *call = arg;
    froe *engine = call->engine;
    struct value_request *value;
    int r = make(engine, call->name, call->data, call->n, &value, call->error);
    if (r != FROE_OK)
        return r;
    value->put_done = call->put_done;
    value->get_done = call->get_done;
    value->arg = call->arg;
    value->request.execute = call->get_done ? execute_get : execute_put;
    if (!call->get_done)
        settle_flush(engine);
    engine_submit(engine, &value->request);
    return FROE_OK;
}

int froe_value_put(froe *engine, const char *name, const void *data, size_t n,
                   void (*done)(void *arg, const froe_error *error), void *arg, froe_error *error) {
    struct value_call call = {engine, name, data, n, done, NULL, arg, error};
    return engine_call_or(engine, submit, &call, error);
}

int froe_value_get(froe *engine, const char *name,
                   void (*done)(void *arg, const void *data, size_t n, const froe_error *error), void *arg,
                   froe_error *error) {
    if (!done)
        return engine_error(error, FROE_ERR_INVALID, "a value is got for nobody");
    struct value_call call = {engine, name, NULL, 0, NULL, done, arg, error};
    return engine_call_or(engine, submit, &call, error);
}
