/* answer.c - heads, bodies and S3's error documents. */
#include "answer.h"

#include "xml.h"

static void add(struct answer *answer, struct bytes text) {
    if (buf_add_bytes(&answer->out, text) < 0)
        answer->broken = true;
}

#define ADD(answer, literal) add((answer), BYTES(literal))

static void add_u64(struct answer *answer, uint64_t value) {
    char digits[20];
    size_t at = sizeof(digits);
    do
        digits[--at] = (char)('0' + value % 10);
    while (value /= 10);
    add(answer, bytes_of(digits + at, sizeof(digits) - at));
}

void answer_reset(struct objects *objects, struct answer *answer) {
    blob_unref(objects, answer->blob);
    answer->blob = NULL;
    answer->blob_at = answer->blob_end = 0;
    answer->out.n = answer->body_at = 0;
    answer->status = 0;
    answer->head_only = answer->close = answer->broken = false;
    if (answer->out.cap > 256 * 1024)
        buf_free(&answer->out);
}

void answer_free(struct objects *objects, struct answer *answer) {
    blob_unref(objects, answer->blob);
    answer->blob = NULL;
    buf_free(&answer->out);
}

static struct bytes status_line(int status) {
    switch (status) {
    case 200:
        return BYTES("HTTP/1.1 200 OK\r\n");
    case 204:
        return BYTES("HTTP/1.1 204 No Content\r\n");
    case 206:
        return BYTES("HTTP/1.1 206 Partial Content\r\n");
    case 301:
        return BYTES("HTTP/1.1 301 Moved Permanently\r\n");
    case 304:
        return BYTES("HTTP/1.1 304 Not Modified\r\n");
    case 400:
        return BYTES("HTTP/1.1 400 Bad Request\r\n");
    case 403:
        return BYTES("HTTP/1.1 403 Forbidden\r\n");
    case 404:
        return BYTES("HTTP/1.1 404 Not Found\r\n");
    case 405:
        return BYTES("HTTP/1.1 405 Method Not Allowed\r\n");
    case 409:
        return BYTES("HTTP/1.1 409 Conflict\r\n");
    case 411:
        return BYTES("HTTP/1.1 411 Length Required\r\n");
    case 412:
        return BYTES("HTTP/1.1 412 Precondition Failed\r\n");
    case 416:
        return BYTES("HTTP/1.1 416 Requested Range Not Satisfiable\r\n");
    case 500:
        return BYTES("HTTP/1.1 500 Internal Server Error\r\n");
    case 501:
        return BYTES("HTTP/1.1 501 Not Implemented\r\n");
    case 503:
        return BYTES("HTTP/1.1 503 Slow Down\r\n");
    default:
        return BYTES_NONE;
    }
}

/* 16 hex digits from the count of requests, spread so that they look like an id. */
static void request_id(uint64_t count, char ret_text[16]) {
    uint64_t x = count * UINT64_C(0x9e3779b97f4a7c15);
    for (int i = 0; i < 16; i++)
        ret_text[i] = "0123456789ABCDEF"[x >> (60 - 4 * i) & 15];
}

static void two_digits(char *at, int value) {
    at[0] = (char)('0' + value / 10 % 10);
    at[1] = (char)('0' + value % 10);
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
static struct bytes date_text(struct date_memo *memo, int64_t utc_us) {
    int64_t second = utc_us / US_PER_S;
    if (memo->text[0] && memo->second == second)
        return bytes_of(memo->text, DATE_TEXT);
    struct clock_date date;
    clock_date_utc(utc_us, &date);
    memcpy(memo->text, "Sun, 06 Nov 1994 08:49:37 GMT", DATE_TEXT);
    memcpy(memo->text, &"SunMonTueWedThuFriSat"[3 * date.weekday], 3);
    two_digits(memo->text + 5, date.day);
    memcpy(memo->text + 8, &"JanFebMarAprMayJunJulAugSepOctNovDec"[3 * (date.month - 1)], 3);
    two_digits(memo->text + 12, date.year / 100);
    two_digits(memo->text + 14, date.year);
    two_digits(memo->text + 17, date.hour);
    two_digits(memo->text + 20, date.minute);
    two_digits(memo->text + 23, date.second);
    memo->second = second;
    return bytes_of(memo->text, DATE_TEXT);
}

void answer_date(struct mock *mock, struct answer *answer, const char *name, int64_t utc_us) {
    answer_field(answer, name, date_text(&mock->modified, utc_us));
}

void answer_begin(struct mock *mock, struct answer *answer, int status) {
    char id[16];
    struct bytes line = status_line(status);
    answer->out.n = 0;
    answer->status = status;
    if (line.n) {
        add(answer, line);
    } else {
        ADD(answer, "HTTP/1.1 ");
        add_u64(answer, (uint64_t)status);
        ADD(answer, " Status\r\n");
    }
    request_id(mock->requests, id);
    ADD(answer, "x-amz-request-id: ");
    add(answer, bytes_of(id, sizeof(id)));
    ADD(answer, "\r\nDate: ");
    add(answer, date_text(&mock->date, mock->now_utc_us));
    ADD(answer, "\r\nServer: froe-s3mock\r\n");
    if (answer->close)
        ADD(answer, "Connection: close\r\n");
}

void answer_raw(struct answer *answer, struct bytes lines) {
    add(answer, lines);
}

void answer_field(struct answer *answer, const char *name, struct bytes value) {
    add(answer, bytes_str(name));
    ADD(answer, ": ");
    add(answer, value);
    ADD(answer, "\r\n");
}

void answer_number(struct answer *answer, const char *name, uint64_t value) {
    add(answer, bytes_str(name));
    ADD(answer, ": ");
    add_u64(answer, value);
    ADD(answer, "\r\n");
}

static void end_head(struct answer *answer) {
    ADD(answer, "\r\n");
    answer->body_at = answer->out.n;
}

void answer_end(struct answer *answer, const char *type, struct bytes body) {
    if (type)
        answer_field(answer, "Content-Type", bytes_str(type));
    answer_number(answer, "Content-Length", body.n);
    end_head(answer);
    if (!answer->head_only)
        add(answer, body);
}

void answer_end_blob(struct answer *answer, struct blob *blob, uint64_t from, uint64_t size, bool copy) {
    answer_number(answer, "Content-Length", size);
    end_head(answer);
    if (answer->head_only)
        return;
    if (copy || size <= ANSWER_COPY_MAX) {
        add(answer, bytes_of(blob->data + from, (size_t)size));
        return;
    }
    answer->blob = blob_ref(blob);
    answer->blob_at = from;
    answer->blob_end = from + size;
}

void answer_end_empty(struct answer *answer) {
    end_head(answer);
}

static int add_error(const struct mock *mock, const struct request *request, struct fail fail, struct buf *xml) {
    char id[16];
    request_id(mock->requests, id);
    int r = buf_add_str(xml, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>");
    if (r == 0)
        r = xml_add_element(xml, "Code", bytes_str(fail.code));
    if (r == 0)
        r = xml_add_element(xml, "Message", bytes_str(fail.message));
    if (r == 0 && fail.region.n)
        r = xml_add_element(xml, "Region", fail.region);
    if (r == 0 && request->bucket.n && fail.status == 301)
        r = xml_add_element(xml, "Bucket", request->bucket);
    if (r == 0)
        r = xml_add_element(xml, "Resource", request->path);
    if (r == 0)
        r = xml_add_element(xml, "RequestId", bytes_of(id, sizeof(id)));
    return r < 0 ? r : buf_add_str(xml, "</Error>");
}

void answer_fail(struct mock *mock, const struct request *request, struct answer *answer, struct fail fail,
                 struct bytes lines) {
    buf_reset(&mock->xml);
    if (add_error(mock, request, fail, &mock->xml) < 0)
        answer->broken = true;
    answer_begin(mock, answer, fail.status);
    if (fail.region.n)
        answer_field(answer, "x-amz-bucket-region", fail.region);
    answer_raw(answer, lines);
    answer_end(answer, "application/xml", buf_bytes(&mock->xml));
}

void answer_xml(struct mock *mock, struct answer *answer, const struct buf *xml) {
    answer_begin(mock, answer, 200);
    answer_end(answer, "application/xml", buf_bytes(xml));
}
