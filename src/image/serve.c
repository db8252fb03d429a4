/* serve.c - see serve.h. */
#include "serve.h"

#include "body.h"
#include "cleanup.h"
#include "fd.h"
#include "text.h"
#include "watchdog.h"

#include <inttypes.h>
#include <jansson.h>

#define LINE_MAX_BYTES (256 * 1024) /* of a request; froe's have at most 160 KiB */
#define READ_SIZE (64 * 1024)

struct request {
    json_t *json;
    uint64_t id, body_bytes, size;
    struct bytes key;
    const char *path; /* NULL: none */
    bool socket;      /* a descriptor comes; neither: the body follows */
};

/* ---- answers ---- */

void image_answer_free(struct image_answer *answer) {
    for (size_t i = 0; i < answer->n_parts; i++)
        if (answer->free_data)
            answer->free_data(answer->parts[i].data);
    answer->n_parts = 0;
}

void image_answer_fail(struct image_answer *answer, bool final, const char *format, ...) {
    va_list args;
    image_answer_free(answer);
    answer->status = IMAGE_FAIL;
    answer->final = final;
    va_start(args, format);
    vsnprintf(answer->reason, sizeof answer->reason, format, args);
    va_end(args);
    for (char *c = answer->reason; *c; c++)
        if (*c == '\n')
            *c = ' ';
}

static int add_part(struct buf *line, const struct image_part *part, bool named) {
    int r = 0;
    if (named) {
        r = buf_add_str(line, "{\"name\":");
        if (r == 0)
            r = text_add_json(line, bytes_str(part->name));
    }
    if (r == 0)
        r = buf_printf(line, named ? ",\"bytes\":%zu" : ",\"result_bytes\":%zu", part->n);
    if (r == 0)
        r = buf_printf(line, ",\"content_type\":\"%s\",\"extension\":\"%s\"%s", part->content_type, part->extension,
                       named ? "}" : "");
    return r;
}

static int add_parts(struct buf *line, const struct image_answer *answer) {
    if (answer->n_parts == 0)
        return 0;
    if (!answer->parts[0].name[0])
        return add_part(line, &answer->parts[0], false);
    int r = buf_add_str(line, ",\"results\":[");
    for (size_t i = 0; i < answer->n_parts && r == 0; i++) {
        r = i ? buf_add_byte(line, ',') : 0;
        if (r == 0)
            r = add_part(line, &answer->parts[i], true);
    }
    return r < 0 ? r : buf_add_byte(line, ']');
}

static int add_answer(struct buf *line, uint64_t id, const struct image_answer *answer) {
    static const char *const statuses[] = {[IMAGE_OK] = "ok", [IMAGE_RETRY] = "retry", [IMAGE_FAIL] = "fail"};
    int r = buf_printf(line, "{\"id\":%" PRIu64 ",\"status\":\"%s\"", id, statuses[answer->status]);
    if (r == 0 && answer->final)
        r = buf_add_str(line, ",\"final\":true");
    if (r == 0 && answer->reason[0]) {
        r = buf_add_str(line, ",\"reason\":");
        if (r == 0)
            r = text_add_json(line, bytes_str(answer->reason));
    }
    if (r == 0)
        r = add_parts(line, answer);
    return r < 0 ? r : buf_add_str(line, "}\n");
}

static int send_answer(const struct image_server *server, uint64_t id, const struct image_answer *answer) {
    _cleanup_buf_ struct buf line = {0};
    int r = add_answer(&line, id, answer);
    if (r == 0)
        r = fd_write(server->output_fd, buf_bytes(&line));
    for (size_t i = 0; i < answer->n_parts && r == 0; i++)
        r = fd_write(server->output_fd, bytes_of(answer->parts[i].data, answer->parts[i].n));
    return r;
}

/* ---- requests ---- */

/* More into the buffer. 0 at the end of the input. */
static ssize_t read_more(const struct image_server *server, struct buf *input) {
    int r = buf_reserve(input, READ_SIZE);
    if (r < 0)
        return r;
    ssize_t n;
    do
        n = read(server->input_fd, input->p + input->n, READ_SIZE);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    input->n += (size_t)n;
    return n;
}

/* 1: *ret_n bytes of the input are a line, its end included. 0: the input has ended between two. */
static int read_line(const struct image_server *server, struct buf *input, size_t *ret_n, struct err *err) {
    size_t seen = 0;
    for (;;) {
        const char *end = input->n > seen ? memchr(input->p + seen, '\n', input->n - seen) : NULL;
        if (end) {
            *ret_n = (size_t)(end - input->p) + 1;
            return 1;
        }
        seen = input->n;
        if (seen > LINE_MAX_BYTES)
            return err_set(err, -EPROTO, "a request has more than %d bytes", LINE_MAX_BYTES);
        ssize_t n = read_more(server, input);
        if (n < 0)
            return err_set(err, (int)n, "cannot read a request: %s", err_errno_text((int)n));
        if (n == 0)
            return seen == 0 ? 0 : err_set(err, -EPROTO, "the input ended in the midst of a request");
    }
}

static bool is_length(const json_t *value) {
    return json_is_integer(value) && json_integer_value(value) >= 0;
}

static int parse_request(struct bytes line, struct request *ret_request, struct err *err) {
    json_error_t why;
    json_t *json = json_loadb(line.p, line.n, JSON_ALLOW_NUL, &why);
    const json_t *id = json_object_get(json, "id"), *body = json_object_get(json, "body_bytes"),
                 *size = json_object_get(json, "size"), *key = json_object_get(json, "key"),
                 *path = json_object_get(json, "path"), *socket = json_object_get(json, "socket");
    if (!json_is_integer(id) || !is_length(body) || (socket && !is_length(size))) {
        json_decref(json);
        return err_set(err, -EPROTO,
                       "what came is no request of a pool: no JSON with an \"id\" and \"body_bytes\", or with a "
                       "\"socket\" but no \"size\"");
    }
    *ret_request = (struct request){
        .json = json,
        .id = (uint64_t)json_integer_value(id),
        .body_bytes = (uint64_t)json_integer_value(body),
        .size = (uint64_t)json_integer_value(size),
        .key = bytes_of(json_string_value(key), json_string_length(key)),
        .path = json_string_value(path),
        .socket = json_is_integer(socket),
    };
    return 0;
}

/* ---- bodies ---- */

/* Takes the body out of the input, into *body unless that is NULL. */
static int take_body(const struct image_server *server, struct buf *input, uint64_t n, struct buf *body) {
    while (n > 0) {
        size_t piece = input->n < n ? input->n : (size_t)n;
        int r = body ? buf_add(body, input->p, piece) : 0;
        if (r < 0)
            return r;
        buf_consume(input, piece);
        n -= piece;
        ssize_t more = n > 0 ? read_more(server, input) : 1;
        if (more <= 0)
            return more == 0 ? -EPROTO : (int)more;
    }
    return 0;
}

static void answer_with_body(const struct image_server *server, const struct request *request, struct bytes body,
                             struct image_answer *answer) {
    char line[WATCHDOG_LINE_MAX];
    if (server->max_time_us > 0) {
        _cleanup_buf_ struct buf limit = {0};
        text_add_duration(&limit, server->max_time_us);
        snprintf(line, sizeof line,
                 "{\"id\":%" PRIu64 ",\"status\":\"fail\",\"reason\":\"the work took longer than max_time, %s\"}\n",
                 request->id, limit.p ? limit.p : "");
        watchdog_start(server->max_time_us, server->output_fd, line);
    }
    server->work(server->arg, request->key, body, answer);
    if (server->max_time_us > 0)
        watchdog_stop();
}

static void refuse_size(const struct image_server *server, uint64_t size, struct image_answer *answer) {
    image_answer_fail(answer, true, "the object has %" PRIu64 " bytes, more than max_bytes, %" PRIu64, size,
                      server->max_bytes);
}

static void answer_with_file(const struct image_server *server, const struct request *request,
                             struct image_answer *answer) {
    struct image_body body = {0};
    int r = request->path ? image_body_read(request->path, server->max_bytes, &body)
                          : image_body_receive(server->channel_fd, request->size, server->max_bytes, &body);
    if (r < 0) {
        image_answer_fail(answer, false, "cannot read the object's file: %s", err_errno_text(r));
        answer->status = IMAGE_RETRY;
    } else if (body.size > server->max_bytes) {
        refuse_size(server, body.size, answer);
    } else {
        answer_with_body(server, request, body.bytes, answer);
    }
    image_body_free(&body);
}

static int serve_inline(const struct image_server *server, const struct request *request, struct buf *input,
                        struct image_answer *answer) {
    _cleanup_buf_ struct buf body = {0};
    bool too_large = request->body_bytes > server->max_bytes;
    int r = take_body(server, input, request->body_bytes, too_large ? NULL : &body);
    if (r < 0)
        return r;
    if (too_large)
        refuse_size(server, request->body_bytes, answer);
    else
        answer_with_body(server, request, buf_bytes(&body), answer);
    return 0;
}

static int serve_one(const struct image_server *server, struct buf *input, size_t n, struct err *err) {
    struct request request;
    struct image_answer answer = {0};
    int r = parse_request(bytes_of(input->p, n), &request, err);
    if (r < 0)
        return r;
    buf_consume(input, n);
    if (request.path || request.socket)
        answer_with_file(server, &request, &answer);
    else
        r = serve_inline(server, &request, input, &answer);
    if (r < 0)
        err_set(err, r, "cannot read an object: %s", err_errno_text(r));
    else if ((r = send_answer(server, request.id, &answer)) < 0)
        err_set(err, r, "cannot write an answer: %s", err_errno_text(r));
    image_answer_free(&answer);
    json_decref(request.json);
    return r;
}

int image_serve(const struct image_server *server, struct err *err) {
    _cleanup_buf_ struct buf input = {0};
    for (;;) {
        size_t n = 0;
        int r = read_line(server, &input, &n, err);
        if (r == 1)
            r = serve_one(server, &input, n, err);
        else if (r == 0)
            return 0;
        if (r < 0)
            return r;
    }
}
