/* config_output.c - see config_output.h: reading `output` and `then`. */
#include "config_output.h"

#include "cleanup.h"
#include "config_rules.h"
#include "doc.h"
#include "nearest.h"
#include "options_table.h"
#include "text.h"

#define TAG_NAME_MAX 128 /* characters, as S3 has it */
#define TAG_VALUE_MAX 256
#define HEADER_MAX 200
#define PART_BYTES_LEAST (INT64_C(5) << 20) /* S3 refuses smaller parts but for the last */
#define PART_BYTES_MOST (INT64_C(5) << 30)

/* ---- checks of parts ---- */

static int check_bucket(const char *name, struct err *err) {
    return s3_check_bucket_name(bytes_str(name), err);
}

static int check_template(const char *text, bool results, struct err *err) {
    struct key_template *template;
    int r = key_template_compile(bytes_str(text), results, &template, err);
    if (r == 0)
        key_template_free(template);
    else if (r == -EINVAL)
        err_prefix(err, "'%.100s'", text);
    return r;
}

static int check_tag(const struct config_then *then, struct bytes name, struct bytes value, struct err *err) {
    if (name.n == 0 || name.n > TAG_NAME_MAX || value.n > TAG_VALUE_MAX || !text_is_utf8(name) || !text_is_utf8(value))
        return err_set(err, -EINVAL, "a tag has a name of 1 to %d bytes and a value of at most %d, both UTF-8",
                       TAG_NAME_MAX, TAG_VALUE_MAX);
    if (bytes_starts(name, BYTES("aws:")))
        return err_set(err, -EINVAL, "names of tags that begin with aws: are S3's own");
    if (then->n_tags == S3_TAGS_MAX)
        return err_set(err, -EINVAL, "an object has at most %d tags", S3_TAGS_MAX);
    for (size_t i = 0; i < then->n_tags; i++)
        if (bytes_equal(then->tags[i].name, name))
            return err_set(err, -EINVAL, "the tag '%.*s' stands twice", (int)name.n, name.p);
    return 0;
}

/* ---- one text ---- */

/* "BUCKET/TEMPLATE", cut in two in place. */
static int cut_bucket(char *text, const char **ret_bucket, const char **ret_key, struct err *err) {
    char *slash = strchr(text, '/');
    if (!slash || !slash[1])
        return err_set(err, -EINVAL, "'s3://%.100s' names no key: write s3://BUCKET/{key}", text);
    *slash = '\0';
    *ret_bucket = text;
    *ret_key = slash + 1;
    return check_bucket(text, err);
}

/* The directory is what stands before the last '/' before the first placeholder. */
static int cut_directory(char *text, const char **ret_directory, const char **ret_key, struct err *err) {
    char *brace = strchr(text, '{'), *slash = NULL;
    if (!brace)
        return err_set(err, -EINVAL, "'%.100s' names no file: write s3://BUCKET/{key}, DIRECTORY/{key}, or none", text);
    *brace = '\0';
    slash = strrchr(text, '/');
    *brace = '{';
    *ret_directory = !slash ? "." : slash == text ? "/" : text;
    *ret_key = slash ? slash + 1 : text;
    if (slash)
        *slash = '\0';
    return 0;
}

static int read_output_text(struct config_output *output, const char *text, struct err *err) {
    output->owned = mem_strdup(text);
    if (!output->owned)
        return err_set(err, -ENOMEM, "out of memory");
    struct output_options *options = &output->options;
    bool s3 = strncmp(output->owned, "s3://", 5) == 0;
    int r = s3 ? cut_bucket(output->owned + 5, &options->bucket, &options->key, err)
               : cut_directory(output->owned, &options->directory, &options->key, err);
    return r < 0 ? r : check_template(options->key, true, err);
}

static int make_outputs(struct config_outputs **outputs, struct err *err) {
    if (!*outputs)
        *outputs = mem_zalloc(sizeof **outputs);
    return *outputs ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int add_text(struct config_outputs *outputs, const char *text, const struct doc_node *node, struct err *err) {
    if (strcmp(text, "none") == 0)
        return 0;
    if (outputs->n == OUTPUTS_MAX)
        return err_set(err, -EINVAL, "more than %d outputs", OUTPUTS_MAX);
    struct config_output *output = &outputs->items[outputs->n++];
    output->node = node;
    return read_output_text(output, text, err);
}

int config_output_add(struct config_outputs **outputs, const char *text, const char *origin, struct err *err) {
    int r = make_outputs(outputs, err);
    if (r == 0)
        r = add_text(*outputs, text, NULL, err);
    if (r == -EINVAL)
        err_prefix(err, "%s", origin);
    return r;
}

static int add_tag(struct config_then *then, struct bytes name, struct bytes value, struct err *err) {
    int r = check_tag(then, name, value, err);
    if (r == 0)
        then->tags[then->n_tags++] = (struct s3_tag){name, value};
    return r;
}

static int read_tag_text(struct config_then *then, char *text, struct err *err) {
    int r = 0;
    for (char *word = text; word && r == 0;) {
        char *comma = strchr(word, ','), *equals = strchr(word, '=');
        if (!equals || (comma && equals > comma))
            return err_set(err, -EINVAL, "'tag:%.100s': write tag:NAME=VALUE,NAME=VALUE", text);
        size_t n = comma ? (size_t)(comma - equals - 1) : strlen(equals + 1);
        r = add_tag(then, bytes_of(word, (size_t)(equals - word)), bytes_of(equals + 1, n), err);
        word = comma ? comma + 1 : NULL;
    }
    return r;
}

static int read_move_text(struct config_then *then, char *text, struct err *err) {
    then->kind = THEN_MOVE;
    if (strncmp(text, "s3://", 5) != 0)
        return err_set(err, -EINVAL, "'%.100s' is no place to move to: write s3://BUCKET/{key}", text);
    int r = cut_bucket(text + 5, &then->bucket, &then->key, err);
    return r < 0 ? r : check_template(then->key, false, err);
}

static int read_then_text(struct config_then *then, const char *text, struct err *err) {
    mem_free(then->owned);
    then->owned = mem_strdup(text);
    if (!then->owned)
        return err_set(err, -ENOMEM, "out of memory");
    if (strcmp(text, "delete") == 0) {
        then->kind = THEN_DELETE;
    } else if (strcmp(text, "keep") == 0) {
        then->kind = THEN_KEEP;
    } else if (strncmp(text, "move:", 5) == 0) {
        return read_move_text(then, then->owned + 5, err);
    } else if (strncmp(text, "tag:", 4) == 0) {
        then->kind = THEN_TAG;
        return read_tag_text(then, then->owned + 4, err);
    } else {
        const char *meant = nearest_of(bytes_str(text), (const char *[]){"delete", "keep", NULL});
        return err_set(err, -EINVAL,
                       "'%.100s' is not delete, keep, move:s3://BUCKET/{key} or tag:NAME=VALUE,NAME=VALUE%s%s%s", text,
                       meant ? "; did you mean " : "", meant ? meant : "", meant ? "?" : "");
    }
    return 0;
}

static int make_then(struct config_then **then, struct err *err) {
    config_then_free(*then);
    *then = mem_zalloc(sizeof **then);
    return *then ? 0 : err_set(err, -ENOMEM, "out of memory");
}

int config_then_set(struct config_then **then, const char *text, const char *origin, struct err *err) {
    int r = make_then(then, err);
    if (r == 0)
        r = read_then_text(*then, text, err);
    if (r == -EINVAL)
        err_prefix(err, "%s", origin);
    return r;
}

void config_outputs_free(struct config_outputs *outputs) {
    for (size_t i = 0; outputs && i < outputs->n; i++)
        mem_free(outputs->items[i].owned);
    mem_free(outputs);
}

void config_then_free(struct config_then *then) {
    if (then)
        mem_free(then->owned);
    mem_free(then);
}

/* ---- in a file ---- */

static int take_text(const struct doc *doc, const struct doc_node *value, const char *what, const char **ret_text,
                     struct err *err) {
    if (value->kind != DOC_TEXT || doc_is_nothing(value) || value->text.n == 0)
        return doc_error(doc, value, err, "%s is a text, not %s", what,
                         value->kind == DOC_TEXT ? "nothing" : doc_what(value));
    *ret_text = value->text.p;
    return 0;
}

static int take_flag(const struct doc *doc, const struct doc_node *value, const char *what, bool *ret_flag,
                     struct err *err) {
    bool yes = bytes_equal(value->text, BYTES("true"));
    if (value->kind != DOC_TEXT || !value->plain || (!yes && !bytes_equal(value->text, BYTES("false"))))
        return doc_error(doc, value, err, "%s is true or false", what);
    *ret_flag = yes;
    return 0;
}

static int take_header(const struct doc *doc, const struct doc_node *value, const char *what, const char **ret_text,
                       struct err *err) {
    int r = take_text(doc, value, what, ret_text, err);
    for (size_t i = 0; i < value->text.n && r == 0; i++)
        if (value->text.n > HEADER_MAX || value->text.p[i] < ' ' || value->text.p[i] > '~')
            return doc_error(doc, value, err, "%s: up to %d ASCII characters", what, HEADER_MAX);
    return r;
}

static int take_part_size(const struct doc *doc, const struct doc_node *value, uint64_t *ret_bytes, struct err *err) {
    uint64_t bytes;
    if (value->kind != DOC_TEXT || text_parse_size(value->text, &bytes) < 0 || bytes < PART_BYTES_LEAST ||
        bytes > PART_BYTES_MOST)
        return doc_error(doc, value, err, "part_size is a size from 5MiB to 5GiB");
    *ret_bytes = bytes;
    return 0;
}

/* A text that was right on a command line is so here; a wrong one is told with its place. */
static int at_place(const struct doc *doc, const struct doc_node *value, int r, const struct err *why,
                    struct err *err) {
    if (r == -EINVAL)
        return doc_error(doc, value, err, "%s", why->text);
    return r < 0 ? err_set(err, r, "out of memory") : 0;
}

static int take_bucket(const struct doc *doc, const struct doc_node *value, const char **ret_text, struct err *err) {
    struct err why = {0};
    int r = take_text(doc, value, "bucket", ret_text, err);
    return r < 0 ? r : at_place(doc, value, check_bucket(*ret_text, &why), &why, err);
}

static int take_key(const struct doc *doc, const struct doc_node *value, bool results, const char **ret_text,
                    struct err *err) {
    struct err why = {0};
    int r = take_text(doc, value, "key", ret_text, err);
    return r < 0 ? r : at_place(doc, value, check_template(*ret_text, results, &why), &why, err);
}

static int take_region(const struct doc *doc, const struct doc_node *value, const char **ret_text, struct err *err) {
    struct err why = {0};
    int r = take_header(doc, value, "region", ret_text, err);
    return r < 0 ? r : at_place(doc, value, s3_check_place(NULL, *ret_text, &why), &why, err);
}

static int take_endpoint(const struct doc *doc, const struct doc_node *value, const char **ret_text, struct err *err) {
    struct err why = {0};
    int r = take_header(doc, value, "endpoint", ret_text, err);
    if (r == 0 && strncmp(*ret_text, "https://", 8) != 0 && strncmp(*ret_text, "http://", 7) != 0)
        return doc_error(doc, value, err, "endpoint: '%.100s' is not http[s]://HOST[:PORT]", *ret_text);
    return r < 0 ? r : at_place(doc, value, s3_check_place(*ret_text, NULL, &why), &why, err);
}

static int read_output_entry(const struct doc *doc, const struct doc_node *entry, struct config_output *output,
                             struct err *err) {
    struct output_options *options = &output->options;
    struct bytes key = entry->key->text;
    if (bytes_equal(key, BYTES("bucket")))
        return take_bucket(doc, entry, &options->bucket, err);
    if (bytes_equal(key, BYTES("directory")))
        return take_text(doc, entry, "directory", &options->directory, err);
    if (bytes_equal(key, BYTES("key")))
        return take_key(doc, entry, true, &options->key, err);
    if (bytes_equal(key, BYTES("region")))
        return take_region(doc, entry, &output->region, err);
    if (bytes_equal(key, BYTES("endpoint")))
        return take_endpoint(doc, entry, &output->endpoint, err);
    if (bytes_equal(key, BYTES("content_type")))
        return take_header(doc, entry, "content_type", &options->content_type, err);
    if (bytes_equal(key, BYTES("storage_class")))
        return take_header(doc, entry, "storage_class", &options->storage_class, err);
    if (bytes_equal(key, BYTES("copy_metadata")))
        return take_flag(doc, entry, "copy_metadata", &options->copy_metadata, err);
    if (bytes_equal(key, BYTES("copy_tags")))
        return take_flag(doc, entry, "copy_tags", &options->copy_tags, err);
    return take_part_size(doc, entry, &options->part_bytes, err);
}

static int read_output_map(const struct doc *doc, const struct doc_node *node, struct config_output *output,
                           struct err *err) {
    static const char *const known[] = {
        "bucket",        "directory",     "key",       "region",    "endpoint", "content_type",
        "storage_class", "copy_metadata", "copy_tags", "part_size", NULL};
    static const char *const of_bucket[] = {"region",        "endpoint",  "content_type", "storage_class",
                                            "copy_metadata", "copy_tags", "part_size"};
    int r = doc_check_keys(doc, node, known, "of an output", err);
    for (const struct doc_node *entry = node->first; entry && r == 0; entry = entry->next)
        r = read_output_entry(doc, entry, output, err);
    if (r < 0)
        return r;
    if (!output->options.bucket == !output->options.directory)
        return doc_error(doc, node, err, "an output has either a bucket or a directory");
    if (!output->options.key)
        return doc_error(doc, node, err, "an output needs a key, as in key: \"{key}\"");
    for (size_t i = 0; i < sizeof of_bucket / sizeof of_bucket[0] && output->options.directory; i++) {
        const struct doc_node *entry = doc_get(node, of_bucket[i]);
        if (entry)
            return doc_error(doc, entry->key, err, "%s is for an output with a bucket: files have none", of_bucket[i]);
    }
    return 0;
}

static int read_output_item(const struct doc *doc, const struct doc_node *item, struct config_outputs *outputs,
                            struct err *err) {
    struct err why = {0};
    if (item->kind == DOC_TEXT && !doc_is_nothing(item) && item->text.n > 0)
        return at_place(doc, item, add_text(outputs, item->text.p, item, &why), &why, err);
    if (item->kind != DOC_MAP)
        return doc_error(doc, item, err, "an output is s3://BUCKET/{key}, DIRECTORY/{key}, none, or a mapping, not %s",
                         item->kind == DOC_TEXT ? "nothing" : doc_what(item));
    struct config_output *output = &outputs->items[outputs->n++];
    output->node = item;
    return read_output_map(doc, item, output, err);
}

int config_outputs_read(const struct doc *doc, const struct doc_node *entry, struct config_outputs **outputs,
                        struct err *err) {
    config_outputs_free(*outputs);
    *outputs = NULL;
    int r = make_outputs(outputs, err);
    if (r == 0 && doc_is_nothing(entry))
        return doc_error(doc, entry, err, "output has no value; write none");
    if (r < 0 || entry->kind != DOC_LIST)
        return r < 0 ? r : read_output_item(doc, entry, *outputs, err);
    if (entry->n == 0)
        return doc_error(doc, entry, err, "output: an empty list; write none");
    if (entry->n > OUTPUTS_MAX)
        return doc_error(doc, entry, err, "output: more than %d", OUTPUTS_MAX);
    for (const struct doc_node *item = entry->first; item && r == 0; item = item->next)
        r = read_output_item(doc, item, *outputs, err);
    return r;
}

static int read_move_map(const struct doc *doc, const struct doc_node *node, struct config_then *then,
                         struct err *err) {
    static const char *const known[] = {"bucket", "key", NULL};
    int r = doc_check_keys(doc, node, known, "of move", err);
    for (const struct doc_node *entry = node->first; entry && r == 0; entry = entry->next)
        r = bytes_equal(entry->key->text, BYTES("key")) ? take_key(doc, entry, false, &then->key, err)
                                                        : take_bucket(doc, entry, &then->bucket, err);
    if (r == 0 && (!then->bucket || !then->key))
        return doc_error(doc, node, err, "move needs a bucket and a key, as in {bucket: done, key: \"{key}\"}");
    return r;
}

static int read_move(const struct doc *doc, const struct doc_node *value, struct config_then *then, struct err *err) {
    struct err why = {0};
    then->kind = THEN_MOVE;
    if (value->kind == DOC_MAP)
        return read_move_map(doc, value, then, err);
    const char *text;
    int r = take_text(doc, value, "move", &text, err);
    if (r < 0)
        return r;
    then->owned = mem_strdup(text);
    if (!then->owned)
        return err_set(err, -ENOMEM, "out of memory");
    return at_place(doc, value, read_move_text(then, then->owned, &why), &why, err);
}

static int read_tags(const struct doc *doc, const struct doc_node *value, struct config_then *then, struct err *err) {
    then->kind = THEN_TAG;
    if (value->kind != DOC_MAP || value->n == 0)
        return doc_error(doc, value, err, "tag is a mapping of names to values, as in {processed: \"yes\"}");
    for (const struct doc_node *tag = value->first; tag; tag = tag->next) {
        struct err why = {0};
        if (tag->kind != DOC_TEXT || doc_is_nothing(tag))
            return doc_error(doc, tag, err, "a tag's value is a text, not %s", doc_what(tag));
        int r = at_place(doc, tag, add_tag(then, tag->key->text, tag->text, &why), &why, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int config_then_read(const struct doc *doc, const struct doc_node *entry, struct config_then **then, struct err *err) {
    static const char *const known[] = {"move", "tag", NULL};
    struct err why = {0};
    int r = make_then(then, err);
    if (r < 0)
        return r;
    (*then)->node = entry;
    if (doc_is_nothing(entry))
        return doc_error(doc, entry, err, "then has no value");
    if (entry->kind == DOC_TEXT && !doc_is_nothing(entry))
        return at_place(doc, entry, read_then_text(*then, entry->text.p, &why), &why, err);
    if (entry->kind != DOC_MAP)
        return doc_error(doc, entry, err,
                         "then is delete, keep, {move: s3://BUCKET/{key}} or {tag: {NAME: VALUE}}, "
                         "not %s",
                         doc_what(entry));
    r = doc_check_keys(doc, entry, known, "of then", err);
    if (r == 0 && entry->n != 1)
        return doc_error(doc, entry, err, "then is one of delete, keep, move and tag");
    if (r < 0)
        return r;
    return bytes_equal(entry->first->key->text, BYTES("move")) ? read_move(doc, entry->first, *then, err)
                                                               : read_tags(doc, entry->first, *then, err);
}
