/* results.c - what a handler made of an object, taken over from it until it is durable elsewhere. */
#include "private.h"

struct results *results_new(const struct output_source *source) {
    struct results *results = mem_zalloc(sizeof *results);
    if (results)
        results->source = output_source_copy(source);
    if (results && !results->source)
        mem_free(TAKE_PTR(results));
    return results;
}

static struct bytes put(char **at, struct bytes text) {
    if (text.n)
        memcpy(*at, text.p, text.n);
    struct bytes copy = bytes_of(*at, text.n);
    *at += text.n;
    return copy;
}

int results_take(struct results *results, const struct handler_result *from) {
    for (size_t i = 0; i < from->n_parts && i < HANDLER_PARTS_MAX; i++) {
        const struct handler_part *part = &from->parts[i];
        char *at = mem_alloc(part->name.n + part->content_type.n + part->extension.n);
        if (!at)
            return -ENOMEM; /* those that were not taken go with the job */
        results->names[i] = at;
        results->bodies[i] = *part->body;
        spool_init(part->body, part->body->budget, part->body->directory);
        results->parts[i] = (struct handler_part){
            .name = put(&at, part->name),
            .content_type = put(&at, part->content_type),
            .extension = put(&at, part->extension),
            .body = &results->bodies[i],
        };
        results->n = i + 1;
    }
    return 0;
}

void results_free(struct results *results) {
    if (!results)
        return;
    for (size_t i = 0; i < results->n; i++) {
        spool_free(&results->bodies[i]);
        mem_free(results->names[i]);
    }
    mem_free(results->source);
    mem_free(results);
}
