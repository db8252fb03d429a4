/* filter.c - which objects of a listing are taken. */
#include "pipeline.h"

#include "text.h"

const char *pipeline_skip_name(enum pipeline_skip skip) {
    static const char *const names[SKIP_KINDS] = {"taken",     "marker",  "archived", "excluded",
                                                  "too_young", "no_rule", "kept"};
    return names[skip];
}

static bool any_matches(const char *const *globs, size_t n, struct bytes key) {
    for (size_t i = 0; i < n; i++)
        if (text_glob(bytes_str(globs[i]), key))
            return true;
    return false;
}

bool pipeline_filter_key(const struct pipeline_filter *filter, struct bytes key) {
    return (filter->n_include == 0 || any_matches(filter->include, filter->n_include, key)) &&
           !any_matches(filter->exclude, filter->n_exclude, key);
}

enum pipeline_skip pipeline_filter_object(const struct pipeline_filter *filter, const struct s3_object *object,
                                          int64_t now_utc_us) {
    if (object->size == 0 && bytes_ends(object->key, BYTES("/")))
        return SKIP_MARKER;
    /* GLACIER_IR is read at once; the archive tiers of INTELLIGENT_TIERING show only when read. */
    if (!object->restored && (bytes_equal(object->storage_class, BYTES("GLACIER")) ||
                              bytes_equal(object->storage_class, BYTES("DEEP_ARCHIVE"))))
        return SKIP_ARCHIVED;
    if (!pipeline_filter_key(filter, object->key))
        return SKIP_EXCLUDED;
    if (filter->min_age_us > 0 && object->modified_utc_us > now_utc_us - filter->min_age_us)
        return SKIP_TOO_YOUNG;
    return SKIP_NOT;
}
