/* http_head.c - gathers header lines, then cuts them into fields. */
#include "http_head.h"

#include "mem.h"

#include <errno.h>

#define KEEP_BYTES 4096 /* a usual answer of S3 has some 500 */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200 OK": RFC 9112, section 4; the reason may be missing with its space. */
static int read_status(struct bytes line, int *ret_status, int *ret_minor) {
    if (line.n < 12 || memcmp(line.p, "HTTP/1.", 7) != 0 || !is_digit(line.p[7]) || line.p[8] != ' ')
        return -EBADMSG;
    const char *code = line.p + 9;
    if (!is_digit(code[0]) || !is_digit(code[1]) || !is_digit(code[2]) || (line.n > 12 && code[3] != ' '))
        return -EBADMSG;
    *ret_status = (code[0] - '0') * 100 + (code[1] - '0') * 10 + (code[2] - '0');
    *ret_minor = line.p[7] - '0';
    return *ret_status >= 100 ? 0 : -EBADMSG;
}

/* `tchar` of RFC 9110, section 5.6.2. */
static bool is_token(unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit((char)c) ||
           (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static int add_field(struct http_head *head, char *line, size_t n) {
    size_t colon = 0;
    while (colon < n && is_token((unsigned char)line[colon])) {
        if (line[colon] >= 'A' && line[colon] <= 'Z')
            line[colon] = (char)(line[colon] + ('a' - 'A'));
        colon++;
    }
    if (colon == 0 || colon == n || line[colon] != ':') /* a folded line starts with a space and ends here too */
        return -EBADMSG;
    if (head->n == head->cap) {
        size_t cap = head->cap ? head->cap * 2 : 16;
        struct http_field *fields = mem_reallocarray(head->fields, cap, sizeof *fields);
        if (!fields)
            return -ENOMEM;
        head->fields = fields;
        head->cap = cap;
    }
    head->fields[head->n++] = (struct http_field){
        .name = bytes_of(line, colon),
        .value = bytes_trim(bytes_of(line + colon + 1, n - colon - 1)),
    };
    return 0;
}

static int cut_fields(struct http_head *head) {
    char *at = head->text.p, *end = head->text.p + head->text.n;
    while (at < end) {
        char *stop = memchr(at, '\n', (size_t)(end - at)); /* each line was added with one */
        int r = add_field(head, at, (size_t)(stop - at));
        if (r < 0)
            return r;
        at = stop + 1;
    }
    return 0;
}

int http_head_add(struct http_head *head, struct bytes line) {
    if (head->whole)
        return 0;
    if (line.n && line.p[line.n - 1] == '\n')
        line.n--;
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    if (line.n && memchr(line.p, '\0', line.n))
        return -EBADMSG;
    if (!head->begun) {
        int r = read_status(line, &head->status, &head->minor);
        if (r < 0)
            return r;
        head->begun = true;
        head->seen += line.n;
        return head->seen > HTTP_HEADERS_MAX ? -E2BIG : 0;
    }
    head->seen += line.n + 1;
    if (head->seen > HTTP_HEADERS_MAX)
        return -E2BIG;
    if (line.n) {
        int r = buf_reserve(&head->text, line.n + 1);
        if (r < 0)
            return r;
        buf_add_bytes(&head->text, line);
        return buf_add_byte(&head->text, '\n');
    }
    if (head->status < 200) {
        head->begun = false;
        buf_reset(&head->text);
        return 0;
    }
    int r = cut_fields(head);
    if (r < 0)
        return r;
    head->whole = true;
    return 1;
}

void http_head_reset(struct http_head *head) {
    if (head->text.cap > KEEP_BYTES)
        buf_free(&head->text);
    if (head->cap > 64) {
        mem_free(head->fields);
        head->fields = NULL;
        head->cap = 0;
    }
    buf_reset(&head->text);
    head->n = head->seen = 0;
    head->status = 0;
    head->begun = head->whole = false;
}

void http_head_free(struct http_head *head) {
    buf_free(&head->text);
    mem_free(head->fields);
    *head = (struct http_head){0};
}
