/* run_id.c - the text of a run's id, "page:index". Written for each task that starts, so without printf. */
#include "engine.h"

#include "text.h"

static char *put_decimal(char *at, uint64_t value) {
    char digits[20];
    size_t n = 0;
    do
        digits[n++] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    while (n > 0)
        *at++ = digits[--n];
    return at;
}

void froe_run_id_text(froe_run_id id, char text[FROE_RUN_ID_MAX]) {
    char *at = text;
    uint64_t page = (uint64_t)id.page;
    if (id.page < 0) { /* never the store's */
        *at++ = '-';
        page = -page;
    }
    at = put_decimal(at, page);
    *at++ = ':';
    at = put_decimal(at, id.index);
    *at = '\0';
}

int froe_run_id_parse(const char *text, froe_run_id *ret_id) {
    struct bytes all = bytes_str(text);
    const char *colon = all.n ? memchr(all.p, ':', all.n) : NULL;
    uint64_t page, index;
    if (!colon || text_parse_u64(bytes_of(all.p, (size_t)(colon - all.p)), &page) < 0 || page == 0 ||
        page > INT64_MAX || text_parse_u64(bytes_of(colon + 1, all.n - (size_t)(colon - all.p) - 1), &index) < 0 ||
        index > UINT32_MAX)
        return FROE_ERR_INVALID;
    *ret_id = (froe_run_id){.page = (int64_t)page, .index = (uint32_t)index};
    return FROE_OK;
}
