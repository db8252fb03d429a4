/* Any bytes are a config file or refused by line; the views given are inside the text. The same bytes are also tried as
 * a process's command line and as its output. */
#include "config_file.h"
#include "credential_json.h"
#include "credential_process.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)   \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)

struct check {
    struct bytes text;
    unsigned line, lines;
    size_t items;
};

static bool inside(const struct check *check, struct bytes view) {
    return view.n == 0 || (view.p >= check->text.p && view.p + view.n <= check->text.p + check->text.n);
}

static bool trimmed(struct bytes text) {
    return bytes_trim(text).n == text.n;
}

static int check_item(void *arg, struct bytes section, struct bytes key, struct bytes value, unsigned line) {
    struct check *check = arg;
    MUST(section.n > 0 && inside(check, section) && inside(check, value));
    MUST(trimmed(section) && trimmed(key) && trimmed(value));
    MUST(key.n > 0 || value.n == 0);
    MUST(inside(check, key) || memchr(key.p, '.', key.n));
    MUST(line > 0 && line >= check->line && line <= check->lines);
    check->line = line;
    check->items++;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct check check = {.text = bytes_of(data, size), .lines = 1};
    for (size_t i = 0; i < size; i++)
        check.lines += data[i] == '\n';
    struct err err = {0};
    int r = config_parse(check.text, check_item, &check, &err);
    MUST(r == 0 || ((r == -EINVAL || r == -E2BIG) && err.code == r && err.text[0]));

    struct command_words words;
    r = command_words_split(check.text, &words, &err);
    MUST(r == 0 || r == -EINVAL);
    if (r == 0) {
        size_t total = 0;
        MUST(words.n > 0 && words.n <= CREDENTIAL_PROCESS_WORDS_MAX && !words.argv[words.n]);
        for (size_t i = 0; i < words.n; i++)
            total += strlen(words.argv[i]);
        MUST(total <= size);
        command_words_free(&words);
    }

    struct credential_keys keys = {0};
    r = credential_process_read(check.text, 0, &keys, &err);
    MUST(r == 0 || ((r == -EBADMSG || r == -EINVAL) && err.code == r));
    MUST(r < 0 ? keys.memory.n == 0 : keys.keys.access_key_id.n > 0 && keys.keys.secret_access_key.n > 0);
    credential_keys_free(&keys);
    return 0;
}
