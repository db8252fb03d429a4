/* pool_protocol.c - requests written, answers read. */
#include "pool_protocol.h"

#include "cleanup.h"
#include "pool_channel.h"
#include "stderr_tail.h"
#include "text.h"

#include <inttypes.h>
#include <jansson.h>

#define SHOWN_MAX 80 /* bytes of a line that is no answer */

/* ---- requests ---- */

/* `name` with its quotes and colon: this is written for each object, and printf is slow. */
static int add_member(struct buf *text, const char *name, struct bytes value) {
    int r = buf_add_str(text, name);
    if (r == 0)
        r = text_add_json(text, value);
    return r < 0 ? r : buf_add_byte(text, ',');
}

/* The exact key, and the key as text. One that is no text is null: two that differ must not look the same. */
static int add_key(struct buf *text, struct bytes key) {
    int r = text_is_utf8(key) ? add_member(text, "\"key\":", key) : buf_add_str(text, "\"key\":null,");
    if (r == 0)
        r = buf_add_str(text, "\"key_url\":\"");
    if (r == 0)
        r = text_add_percent(text, key, false);
    return r < 0 ? r : buf_add_str(text, "\",");
}

static bool is_first_of_its_name(const struct handler_object *object, size_t at) {
    for (size_t i = 0; i < at; i++)
        if (bytes_equal(object->metadata[i].name, object->metadata[at].name))
            return false;
    return true;
}

static int add_metadata(struct buf *text, const struct handler_object *object) {
    int r = buf_add_str(text, "\"metadata\":{");
    bool any = false;
    for (size_t i = 0; r == 0 && i < object->n_metadata; i++) {
        if (!is_first_of_its_name(object, i))
            continue;
        if (any)
            r = buf_add_byte(text, ',');
        if (r == 0)
            r = text_add_json(text, object->metadata[i].name);
        if (r == 0)
            r = buf_add_byte(text, ':');
        if (r == 0)
            r = text_add_json(text, object->metadata[i].value);
        any = true;
    }
    return r < 0 ? r : buf_add_byte(text, '}');
}

static struct bytes without_quotes(struct bytes etag) {
    if (etag.n >= 2 && bytes_starts(etag, BYTES("\"")) && bytes_ends(etag, BYTES("\"")))
        return bytes_of(etag.p + 1, etag.n - 2);
    return etag;
}

int pool_add_object(struct buf *text, const struct handler_object *object) {
    int r = buf_reserve(text, 384); /* what a usual one takes */
    if (r == 0)
        r = add_member(text, "\"bucket\":", object->bucket);
    if (r == 0)
        r = add_key(text, object->key);
    if (r == 0)
        r = add_member(text, "\"etag\":", without_quotes(object->etag));
    if (r == 0)
        r = add_member(text, "\"version_id\":", object->version_id);
    if (r == 0)
        r = add_member(text, "\"content_type\":", object->content_type);
    if (r == 0)
        r = buf_printf(text, "\"attempt\":%" PRIu32 ",", object->attempt);
    if (r == 0)
        r = add_member(text, "\"run_id\":", bytes_str(object->run_id));
    if (r == 0)
        r = add_metadata(text, object);
    return r < 0 ? r : buf_add_byte(text, '}');
}

int pool_add_request(struct buf *text, uint64_t id, uint64_t size, enum handler_pool_body body, const char *path,
                     struct bytes object) {
    int r = buf_printf(text, "{\"id\":%" PRIu64 ",\"body_bytes\":%" PRIu64 ",\"size\":%" PRIu64 ",", id,
                       body == HANDLER_POOL_INLINE ? size : 0, size);
    if (r == 0 && body == HANDLER_POOL_PATH)
        r = add_member(text, "\"path\":", bytes_str(path));
    if (r == 0 && pool_sends_descriptors(body))
        r = buf_printf(text, "\"socket\":%d,", POOL_CHANNEL_FD);
    if (r == 0)
        r = buf_add_bytes(text, object);
    return r < 0 ? r : buf_add_byte(text, '\n');
}

/* ---- answers ---- */

/* The line itself is what helps to find out who wrote it. */
static int refuse(struct bytes line, struct err *err, const char *why) {
    _cleanup_buf_ struct buf shown = {0};
    struct bytes head = bytes_of(line.p, line.n < SHOWN_MAX ? line.n : SHOWN_MAX);
    if (text_add_printable(&shown, head) < 0)
        return err_set(err, -ENOMEM, "out of memory");
    return err_set(err, -EINVAL, "%s: '%s'%s", why, shown.p ? shown.p : "", head.n < line.n ? "..." : "");
}

/* Lines and printable characters are a matter that the keeper of stderr knows already. */
static int take_reason(const json_t *reason, struct buf *ret_text) {
    struct stderr_tail tail = {0};
    struct buf text = {.max = HANDLER_TEXT_MAX};
    size_t n = json_string_length(reason);
    stderr_tail_add(&tail, bytes_of(json_string_value(reason), n < POOL_REASON_MAX ? n : POOL_REASON_MAX));
    int r = stderr_tail_text(&tail, &text);
    stderr_tail_free(&tail);
    if (r < 0) {
        buf_free(&text);
        return r;
    }
    *ret_text = text;
    return 0;
}

static int take_answer(struct bytes line, const json_t *json, uint64_t id, struct pool_answer *ret_answer,
                       struct err *err) {
    static const char *const names[] = {[POOL_OK] = "ok", [POOL_RETRY] = "retry", [POOL_FAIL] = "fail"};
    const json_t *given_id = json_object_get(json, "id"), *status = json_object_get(json, "status");
    const json_t *reason = json_object_get(json, "reason");
    if (!json_is_integer(given_id) || (uint64_t)json_integer_value(given_id) != id)
        return refuse(line, err, "the answer is not for the object that it was given (\"id\")");
    const json_t *final = json_object_get(json, "final");
    if (final && !json_is_boolean(final))
        return refuse(line, err, "the answer's \"final\" is neither true nor false");
    if (reason && !json_is_string(reason) && !json_is_null(reason))
        return refuse(line, err, "the answer's \"reason\" is no text");
    size_t i = 0, n = sizeof names / sizeof names[0];
    struct bytes word = bytes_of(json_string_value(status), json_string_length(status)); /* none for what is no text */
    while (i < n && !bytes_equal(word, bytes_str(names[i])))
        i++;
    if (i == n)
        return refuse(line, err, "the answer's \"status\" is none of ok, retry and fail");
    struct pool_answer answer = {.status = (enum pool_status)i};
    answer.final = answer.status == POOL_FAIL && json_is_true(final);
    struct err why = {0};
    int r = pool_results_parse(json, &answer.results, &why);
    if (r == -EINVAL)
        return refuse(line, err, why.text);
    if (r == 0 && answer.status != POOL_OK && pool_results_bytes(answer.results)) {
        pool_answer_free(&answer);
        return refuse(line, err, "the answer has results, and its \"status\" is not ok");
    }
    if (r == 0 && json_is_string(reason))
        r = take_reason(reason, &answer.reason);
    if (r < 0) {
        pool_answer_free(&answer);
        return err_set(err, -ENOMEM, "out of memory");
    }
    *ret_answer = answer;
    return 0;
}

void pool_answer_free(struct pool_answer *answer) {
    buf_free(&answer->reason);
    pool_results_free(answer->results);
    *answer = (struct pool_answer){0};
}

static bool take(struct bytes *text, struct bytes word) {
    *text = bytes_trim(*text);
    if (!bytes_starts(*text, word))
        return false;
    *text = bytes_of(text->p + word.n, text->n - word.n);
    return true;
}

/* {"id":N,"status":"ok"}: nearly every answer, and a parser costs more than all else that is done with it. */
static bool is_plain_ok(struct bytes line, uint64_t id) {
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%" PRIu64, id);
    return take(&line, BYTES("{")) && take(&line, BYTES("\"id\"")) && take(&line, BYTES(":")) &&
           take(&line, bytes_of(digits, (size_t)n)) && take(&line, BYTES(",")) && take(&line, BYTES("\"status\"")) &&
           take(&line, BYTES(":")) && take(&line, BYTES("\"ok\"")) && take(&line, BYTES("}")) &&
           bytes_trim(line).n == 0;
}

int pool_parse_answer(struct bytes line, uint64_t id, struct pool_answer *ret_answer, struct err *err) {
    if (is_plain_ok(line, id)) {
        *ret_answer = (struct pool_answer){.status = POOL_OK};
        return 0;
    }
    json_t *json = json_loadb(line.p ? line.p : "", line.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    if (!json_is_object(json)) {
        json_decref(json);
        return refuse(line, err, "what the worker wrote to its stdout is no answer");
    }
    int r = take_answer(line, json, id, ret_answer, err);
    json_decref(json);
    return r;
}
