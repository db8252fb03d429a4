/* notes.c - what of a bucket's state is worth knowing after the process has ended, kept as values of the store:
 *
 *     cursor/<bucket>    the key after which the next listing goes on (fetch_objects.c)
 *     listing/<bucket>   how the last pass ended and what it skipped: "complete marker=2 archived=0 excluded=0
 *                        too_young=0 no_rule=0 kept=0"
 *     guard/<bucket>     how its deletes are protected: "guarded"
 *
 * (records.c has values of its own.) */
#include "private.h"

#include "text.h"

static const char *const listing_names[] = {
    [LISTING_NONE] = "none", [LISTING_PARTIAL] = "partial", [LISTING_COMPLETE] = "complete"};

const char *pipeline_listing_name(enum pipeline_listing listing) {
    return listing_names[listing];
}

static int put(const struct bucket *bucket, const char *kind, struct bytes value) {
    _cleanup_buf_ struct buf name = {0};
    int r = buf_printf(&name, "%s/%s", kind, bucket->name);
    return r < 0 ? r : froe_value_put(bucket->pipeline->options.engine, name.p, value.p, value.n, NULL, NULL, NULL);
}

void bucket_set_skipped(struct bucket *bucket, const uint64_t listed[SKIP_KINDS]) {
    for (int skip = 0; skip < SKIP_KINDS; skip++)
        bucket->stats.skipped[skip] = listed[skip] + bucket->late_skipped[skip];
}

void bucket_skip_late(struct bucket *bucket, enum pipeline_skip skip) {
    bucket->late_skipped[skip]++;
    bucket->stats.skipped[skip]++;
    bucket->late_unnoted[skip]++;
}

/* Notes are for people: one that cannot be kept is no reason to stop. */
static void put_listing(struct bucket *bucket, const struct pipeline_bucket *numbers) {
    memset(bucket->late_unnoted, 0, sizeof bucket->late_unnoted);
    _cleanup_buf_ struct buf value = {0};
    int r = buf_add_str(&value, listing_names[numbers->listing]);
    for (int skip = SKIP_NOT + 1; skip < SKIP_KINDS && r == 0; skip++)
        r = buf_printf(&value, " %s=%llu", pipeline_skip_name((enum pipeline_skip)skip),
                       (unsigned long long)numbers->skipped[skip]);
    if (r == 0)
        put(bucket, "listing", buf_bytes(&value));
}

void bucket_note_listing(struct bucket *bucket) {
    put_listing(bucket, &bucket->stats);
}

static void add_late(void *arg, const struct pipeline_bucket *noted) {
    struct bucket *bucket = arg;
    struct pipeline_bucket sum = *noted;
    for (int skip = 0; skip < SKIP_KINDS; skip++)
        sum.skipped[skip] += bucket->late_unnoted[skip];
    bucket->late_noting = false;
    put_listing(bucket, &sum);
}

/* In a fleet it may have been another host that listed the bucket, and what it counted must stay. */
void bucket_note_late(struct bucket *bucket) {
    struct pipeline *pipeline = bucket->pipeline;
    uint64_t n = 0;
    for (int skip = 0; skip < SKIP_KINDS; skip++)
        n += bucket->late_unnoted[skip];
    if (n == 0 || bucket->late_noting)
        return;
    if (pipeline->options.fleet)
        bucket->late_noting = pipeline_read_notes(pipeline->options.engine, bucket->name, add_late, bucket) == 0;
    else
        bucket_note_listing(bucket);
}

void bucket_set_guard(struct bucket *bucket, enum pipeline_guard guard) {
    if (bucket->stats.guard == guard)
        return;
    bucket->stats.guard = guard;
    put(bucket, "guard", bytes_str(pipeline_guard_name(guard)));
}

/* ---- reading them without a pipeline ---- */

struct reading {
    froe *engine;
    struct buf name, cursor;
    struct pipeline_bucket bucket;
    void (*done)(void *arg, const struct pipeline_bucket *bucket);
    void *arg;
};

static int get(struct reading *reading, const char *kind,
               void (*got)(void *arg, const void *data, size_t n, const froe_error *error)) {
    _cleanup_buf_ struct buf name = {0};
    int r = buf_printf(&name, "%s/%s", kind, reading->name.p);
    return r < 0 ? r : froe_value_get(reading->engine, name.p, got, reading, NULL);
}

/* What could not be read is shown as not known. */
static void finish(struct reading *reading) {
    reading->bucket.cursor = buf_bytes(&reading->cursor);
    reading->done(reading->arg, &reading->bucket);
    buf_free(&reading->name);
    buf_free(&reading->cursor);
    mem_free(reading);
}

static void guard_read(void *arg, const void *data, size_t n, const froe_error *error) {
    struct reading *reading = arg;
    for (int guard = GUARD_UNKNOWN; guard <= GUARD_UNGUARDED && !error; guard++)
        if (bytes_equal(bytes_of(data, n), bytes_str(pipeline_guard_name((enum pipeline_guard)guard))))
            reading->bucket.guard = (enum pipeline_guard)guard;
    finish(reading);
}

/* The next word of a text whose words are separated by one space each. */
static struct bytes next_word(struct bytes *text) {
    const char *space = text->n ? memchr(text->p, ' ', text->n) : NULL;
    struct bytes word = {text->p, space ? (size_t)(space - text->p) : text->n};
    size_t used = word.n + (space != NULL);
    *text = used ? bytes_of(text->p + used, text->n - used) : BYTES_NONE;
    return word;
}

static void listing_read(void *arg, const void *data, size_t n, const froe_error *error) {
    struct reading *reading = arg;
    struct bytes text = error ? BYTES_NONE : bytes_of(data, n), state = next_word(&text);
    for (int listing = LISTING_NONE; listing <= LISTING_COMPLETE; listing++)
        if (bytes_equal(state, bytes_str(listing_names[listing])))
            reading->bucket.listing = (enum pipeline_listing)listing;
    while (text.n) {
        struct bytes word = next_word(&text);
        const char *equals = word.n ? memchr(word.p, '=', word.n) : NULL;
        uint64_t count;
        if (!equals || text_parse_u64(bytes_of(equals + 1, (size_t)(word.p + word.n - equals - 1)), &count) < 0)
            continue;
        for (int skip = SKIP_NOT + 1; skip < SKIP_KINDS; skip++)
            if (bytes_equal(bytes_of(word.p, (size_t)(equals - word.p)),
                            bytes_str(pipeline_skip_name((enum pipeline_skip)skip))))
                reading->bucket.skipped[skip] = count;
    }
    if (get(reading, "guard", guard_read) != FROE_OK)
        finish(reading);
}

static void cursor_read(void *arg, const void *data, size_t n, const froe_error *error) {
    struct reading *reading = arg;
    if (!error)
        buf_add(&reading->cursor, data, n);
    if (get(reading, "listing", listing_read) != FROE_OK)
        finish(reading);
}

int pipeline_read_notes(froe *engine, const char *bucket, void (*done)(void *arg, const struct pipeline_bucket *bucket),
                        void *arg) {
    struct reading *reading = mem_zalloc(sizeof *reading);
    if (!reading)
        return -ENOMEM;
    *reading = (struct reading){.engine = engine, .bucket = {.limit = UINT32_MAX}, .done = done, .arg = arg};
    int r = buf_add_str(&reading->name, bucket);
    reading->bucket.name = buf_bytes(&reading->name);
    if (r == 0)
        r = get(reading, "cursor", cursor_read);
    if (r < 0) {
        buf_free(&reading->name);
        mem_free(reading);
    }
    return r;
}
