/* Any bytes are either a configuration file or are refused with a place; of what is taken every text is UTF-8 without a
 * NUL, every entry has its key, and its options and rules can be freed. */
#include "config_rules.h"
#include "doc.h"
#include "options_table.h"
#include "text.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)   \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)

static void walk(const struct doc_node *node, unsigned depth) {
    MUST(depth <= DOC_DEPTH_MAX && node->line > 0 && node->column > 0);
    if (node->kind == DOC_TEXT) {
        MUST(text_is_utf8(node->text) && strlen(node->text.p) == node->text.n);
        return;
    }
    size_t n = 0;
    for (const struct doc_node *child = node->first; child; child = child->next, n++) {
        MUST((node->kind == DOC_MAP) == (child->key != NULL));
        if (child->key)
            MUST(child->key->kind == DOC_TEXT && doc_get(node, child->key->text.p) == child);
        walk(child, depth + 1);
    }
    MUST(n == node->n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct options options = {.command = COMMAND_CONFIG, .bucket_prefix = "bucket-"};
    struct err err = {0};
    int r = doc_parse("f", bytes_of(data, size), &options.doc, &err);
    if (r < 0) {
        MUST(r == -EINVAL || r == -E2BIG);
        MUST(strncmp(err.text, "f:", 2) == 0);
        return 0;
    }
    if (options.doc->root)
        walk(options.doc->root, 0);
    r = options_take_doc(&options, &err);
    if (r == 0 && options.rules)
        r = config_rules_settle(&options, false, &err);
    MUST(r == 0 || (r == -EINVAL && strncmp(err.text, "f:", 2) == 0));
    options_free(&options);
    return 0;
}
