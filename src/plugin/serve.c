/* serve.c - one object after the other: the request, the plugin's function, the answer with what it made.
 *
 * Whether a body was read to its end decides how a failure can be told: what is unread of it cannot be skipped when its
 * rest may never come, so after such an answer this process is of no more use, and ends. */
#include "host.h"

#include "cleanup.h"
#include "fd.h"
#include "text.h"

#include <inttypes.h>
#include <jansson.h>
#include <sys/mman.h>

#define NAME_BYTES_MAX 64
#define TYPE_BYTES_MAX 256
#define REASON_BYTES_MAX 2048

struct result {
    char *name, *content_type, *extension, *data;
    size_t n;
};

struct froe_plugin_call {
    struct plugin_input *input;
    uint64_t unread; /* of the body */
    bool broken;     /* the input ended before the body did */
    struct result results[FROE_PLUGIN_RESULTS_MAX];
    size_t n_results;
    char reason[REASON_BYTES_MAX];
};

/* ---- what a plugin may call ---- */

static ptrdiff_t host_read(froe_plugin_call *call, void *to, size_t n) {
    if (call->broken)
        return -1;
    if (n > call->unread)
        n = (size_t)call->unread;
    if (n == 0)
        return 0;
    ptrdiff_t got = plugin_input_read(call->input, to, n);
    if (got <= 0) {
        call->broken = true;
        return -1;
    }
    call->unread -= (uint64_t)got;
    return got;
}

static void free_result(struct result *result) {
    mem_free(result->name);
    mem_free(result->content_type);
    mem_free(result->extension);
    mem_free(result->data);
}

static char *copy_text(const char *text, size_t max) {
    if (!text)
        text = "";
    return strnlen(text, max + 1) > max || !text_is_utf8(bytes_str(text)) ? NULL : mem_strdup(text);
}

static int host_result(froe_plugin_call *call, const froe_plugin_result *given) {
    if (call->n_results == FROE_PLUGIN_RESULTS_MAX || given->size < sizeof *given)
        return -1;
    struct result result = {.name = copy_text(given->name, NAME_BYTES_MAX),
                            .content_type = copy_text(given->content_type, TYPE_BYTES_MAX),
                            .extension = copy_text(given->extension, NAME_BYTES_MAX),
                            .data = mem_alloc(given->n ? given->n : 1),
                            .n = given->n};
    if (!result.name || !result.content_type || !result.extension || !result.data) {
        free_result(&result);
        return -1;
    }
    if (given->n)
        memcpy(result.data, given->data, given->n);
    call->results[call->n_results++] = result;
    return 0;
}

static void host_reason(froe_plugin_call *call, const char *text) {
    snprintf(call->reason, sizeof call->reason, "%s", text ? text : "");
}

const froe_plugin_host plugin_host = {
    .size = sizeof plugin_host, .read = host_read, .result = host_result, .reason = host_reason};

/* ---- answers ---- */

static int add_texts(struct buf *line, const struct result *result) {
    int r = buf_add_str(line, ",\"content_type\":");
    if (r == 0)
        r = text_add_json(line, bytes_str(result->content_type));
    if (r == 0)
        r = buf_add_str(line, ",\"extension\":");
    return r < 0 ? r : text_add_json(line, bytes_str(result->extension));
}

static int add_named(struct buf *line, const struct result *result) {
    int r = buf_add_str(line, "{\"name\":");
    if (r == 0)
        r = text_add_json(line, bytes_str(result->name));
    if (r == 0)
        r = buf_printf(line, ",\"bytes\":%zu", result->n);
    if (r == 0)
        r = add_texts(line, result);
    return r < 0 ? r : buf_add_byte(line, '}');
}

static int add_results(struct buf *line, const froe_plugin_call *call) {
    int r = 0;
    if (call->n_results == 1 && !call->results[0].name[0]) {
        r = buf_printf(line, ",\"result_bytes\":%zu", call->results[0].n);
        return r < 0 ? r : add_texts(line, &call->results[0]);
    }
    for (size_t i = 0; i < call->n_results && r == 0; i++) {
        r = buf_add_str(line, i ? "," : ",\"results\":[");
        if (r == 0)
            r = add_named(line, &call->results[i]);
    }
    return r == 0 && call->n_results ? buf_add_byte(line, ']') : r;
}

static int add_answer(struct buf *line, uint64_t id, int end, const froe_plugin_call *call) {
    const char *status = end == FROE_PLUGIN_OK ? "ok" : end == FROE_PLUGIN_RETRY ? "retry" : "fail";
    int r = buf_printf(line, "{\"id\":%" PRIu64 ",\"status\":\"%s\"", id, status);
    if (r == 0 && end == FROE_PLUGIN_OK)
        r = add_results(line, call);
    if (r == 0 && end != FROE_PLUGIN_OK && call->reason[0]) {
        r = buf_add_str(line, ",\"reason\":");
        if (r == 0)
            r = text_add_json(line, bytes_str(call->reason));
    }
    return r < 0 ? r : buf_add_str(line, "}\n");
}

static int answer(int fd, uint64_t id, int end, const froe_plugin_call *call) {
    _cleanup_buf_ struct buf line = {0};
    int r = add_answer(&line, id, end, call);
    if (r == 0)
        r = fd_write(fd, buf_bytes(&line));
    for (size_t i = 0; r == 0 && end == FROE_PLUGIN_OK && i < call->n_results; i++)
        r = fd_write(fd, bytes_of(call->results[i].data, call->results[i].n));
    return r;
}

/* ---- bodies ---- */

static int read_whole(froe_plugin_call *call, char *to) {
    for (size_t at = 0; call->unread > 0;) {
        ptrdiff_t n = host_read(call, to + at, (size_t)call->unread);
        if (n < 0)
            return -EPROTO;
        at += (size_t)n;
    }
    return 0;
}

static int drop_rest(froe_plugin_call *call) {
    char piece[16 * 1024];
    while (call->unread > 0)
        if (host_read(call, piece, sizeof piece) < 0)
            return -EPROTO;
    return 0;
}

/* A mapping, so that what a large one took goes back to the system. */
static void *make_room(uint64_t n) {
    void *room =
        n < SIZE_MAX ? mmap(NULL, (size_t)n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : MAP_FAILED;
    return room == MAP_FAILED ? NULL : room;
}

/* Runs the function; what it says, or -EPROTO. */
static int call_with_body(const struct plugin *plugin, froe_plugin_call *call, froe_plugin_object *object) {
    if (plugin->table->flags & FROE_PLUGIN_STREAMS)
        return plugin->table->process(plugin->state, &plugin_host, call, object);
    if (object->body_n == 0) {
        object->body = "";
        return plugin->table->process(plugin->state, &plugin_host, call, object);
    }
    size_t n = (size_t)object->body_n;
    void *body = make_room(object->body_n);
    if (!body) {
        snprintf(call->reason, sizeof call->reason,
                 "there is no memory for a body of %" PRIu64 " bytes; a plugin that streams needs none",
                 object->body_n);
        return drop_rest(call) < 0 ? -EPROTO : FROE_PLUGIN_FAIL;
    }
    int r = read_whole(call, body);
    object->body = body;
    if (r == 0)
        r = plugin->table->process(plugin->state, &plugin_host, call, object);
    munmap(body, n);
    return r;
}

/* 1: on to the next. 0: this was the last. */
static int serve_one(const struct plugin *plugin, struct plugin_input *input, int output_fd, struct bytes line,
                     struct err *err) {
    struct plugin_request request;
    int r = plugin_request_parse(line, &request, err);
    if (r < 0)
        return r;
    froe_plugin_call call = {.input = input, .unread = request.object.body_n};
    int end = call_with_body(plugin, &call, &request.object);
    if (end == FROE_PLUGIN_OK && drop_rest(&call) < 0)
        end = -EPROTO;
    if (call.broken) {
        r = err_set(err, -EPROTO, "the input ended in the midst of a body");
    } else {
        r = answer(output_fd, request.id, end, &call);
        if (r < 0)
            err_set(err, r, "cannot answer: %s", err_errno_text(r));
    }
    for (size_t i = 0; i < call.n_results; i++)
        free_result(&call.results[i]);
    plugin_request_free(&request);
    return r < 0 ? r : call.unread == 0;
}

int plugin_serve(const struct plugin *plugin, int input_fd, int output_fd, struct err *err) {
    struct plugin_input *input = mem_zalloc(sizeof *input);
    if (!input)
        return err_set(err, -ENOMEM, "out of memory");
    input->fd = input_fd;
    struct bytes line;
    int r;
    while ((r = plugin_input_line(input, &line)) > 0)
        if ((r = serve_one(plugin, input, output_fd, line, err)) <= 0)
            break;
    if (r < 0 && err->code == 0)
        err_set(err, r, "cannot read a request: %s", err_errno_text(r));
    buf_free(&input->line);
    mem_free(input);
    return r;
}
