/* s3_call_text.c - how a call ended, in words: what it did, on what, and what the server said. */
#include "s3_private.h"

#include "text.h"

void s3_call_set_message(struct s3_call *call, struct bytes text) {
    buf_reset(&call->message);
    if (text.n > S3_MESSAGE_MAX)
        text.n = S3_MESSAGE_MAX;
    text_add_printable(&call->message, text); /* without memory there are just fewer words */
}

/* Letters, digits, '.', '-' and '_': what codes, ids and regions are made of. Anything else is left out whole. */
void s3_call_copy_word(char *to, size_t max, struct bytes word) {
    to[0] = '\0';
    if (word.n > max)
        return;
    for (size_t i = 0; i < word.n; i++) {
        char c = word.p[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '.' && c != '-' &&
            c != '_')
            return;
    }
    if (word.n)
        memcpy(to, word.p, word.n);
    to[word.n] = '\0';
}

void s3_call_take_error(struct s3_call *call, const struct s3_xml_error *error) {
    s3_call_copy_word(call->code, S3_CODE_MAX, error->code);
    s3_call_set_message(call, error->message);
    if (!call->request_id[0])
        s3_call_copy_word(call->request_id, S3_REQUEST_ID_MAX, error->request_id);
    if (!call->region_told[0])
        s3_call_copy_word(call->region_told, SIGV4_REGION_MAX, error->region);
}

static int add_what(struct s3_call *call, struct buf *text) {
    int r = buf_printf(text, "%s ", s3_op_verb(call->op));
    if (r >= 0)
        r = call->op == S3_OP_LIST_BUCKETS ? buf_add_str(text, "buckets") : text_add_printable(text, call->bucket);
    struct bytes key = call->op == S3_OP_LIST_OBJECTS ? call->prefix : call->key;
    if (r >= 0 && key.n)
        r = buf_add_byte(text, '/');
    if (r >= 0)
        r = text_add_printable(text, key);
    bool part = call->op == S3_OP_PUT_PART || call->op == S3_OP_COPY_PART;
    return r < 0 || !part ? r : buf_printf(text, " (part %s)", call->number);
}

const char *s3_call_text(struct s3_call *call, enum s3_status status) {
    struct buf *text = &call->text;
    buf_reset(text);
    int r = 0;
    if (call->upload && status != S3_CANCELLED) /* what the request said that failed */
        r = buf_add_bytes(text, buf_bytes(&call->message));
    else
        r = add_what(call, text);
    if (r >= 0 && status == S3_CANCELLED)
        r = buf_add_str(text, ": cancelled");
    else if (r >= 0 && !call->upload) {
        r = buf_add_str(text, ":");
        if (r >= 0 && call->http_status)
            r = buf_printf(text, " %d", call->http_status);
        if (r >= 0 && call->code[0])
            r = buf_printf(text, " %s%s", call->code, call->message.n ? ":" : "");
        if (r >= 0)
            r = buf_printf(text, " %s",
                           call->message.n ? call->message.p
                           : call->code[0] ? ""
                                           : s3_status_name(status));
        if (r >= 0 && call->request_id[0])
            r = buf_printf(text, " (request id %s)", call->request_id);
        if (r >= 0 && call->attempts > 1)
            r = buf_printf(text, " after %u attempts", call->attempts);
    }
    if (r >= 0 && call->upload)
        r = buf_add_bytes(text, s3_upload_left(call->upload));
    return r < 0 || text->n == 0 ? s3_status_name(status) : text->p;
}
