/* config_output_check.c - which `output` and `then` hold for a rule, what does not go together, and how they are shown.
 */
#include "config_output.h"

#include "cleanup.h"
#include "config_rules.h"
#include "doc.h"
#include "key_template.h"
#include "same_server.h"
#include "spec.h"

#include <jansson.h>

static bool discards(const struct options *options, const struct config_rule *rule) {
    if (!rule || rule->handler == CONFIG_HANDLER_GENERAL)
        return options->discard && !options->program && !options->plugin && !options->image;
    return rule->handler == CONFIG_HANDLER_DISCARD;
}

bool config_makes_images(const struct options *options, const struct config_rule *rule) {
    if (!rule || rule->handler == CONFIG_HANDLER_GENERAL)
        return options->image && !options->program && !options->plugin && !options->discard;
    return rule->handler == CONFIG_HANDLER_IMAGE;
}

const struct config_outputs *config_outputs_of(const struct options *options, const struct config_rule *rule) {
    const struct config_outputs *outputs = rule && rule->outputs ? rule->outputs : options->outputs;
    return outputs && outputs->n > 0 && !discards(options, rule) ? outputs : NULL;
}

const struct config_then *config_then_of(const struct options *options, const struct config_rule *rule) {
    return rule && rule->then ? rule->then : options->then;
}

/* ---- what cannot be ---- */

static int refuse(const struct options *options, const struct doc_node *node, struct err *err, const char *text) {
    return node ? doc_error(options->doc, node, err, "%s", text) : err_set(err, -EINVAL, "%s", text);
}

static bool is_drained(const struct options *options, const char *bucket) {
    struct bytes name = bytes_str(bucket);
    const struct config_rules *rules = options->rules;
    return bytes_starts(name, bytes_str(options->bucket_prefix)) &&
           (!rules || rules_may_match(rules->matches, rules->n, name, NULL));
}

static int refuse_drained(const struct options *options, const struct doc_node *node, const char *what,
                          const char *bucket, struct err *err) {
    struct err text = {0};
    err_set(&text, -EINVAL,
            "%s would land in '%.100s', which is drained itself (its name begins with the bucket prefix '%s'%s): it "
            "would be processed and deleted in its turn. Name another bucket",
            what, bucket, options->bucket_prefix, options->rules ? ", and a rule matches it" : "");
    return refuse(options, node, err, text.text);
}

static int check_drained(const struct options *options, const struct config_outputs *outputs,
                         const struct config_then *then, const char *endpoint, struct err *err) {
    for (size_t i = 0; outputs && i < outputs->n; i++) {
        const struct config_output *output = &outputs->items[i];
        bool here = !output->endpoint || same_server(output->endpoint, endpoint); /* else it is another bucket */
        if (output->options.bucket && here && is_drained(options, output->options.bucket))
            return refuse_drained(options, output->node, "a result", output->options.bucket, err);
    }
    if (then && then->kind == THEN_MOVE && is_drained(options, then->bucket))
        return refuse_drained(options, then->node, "a moved object", then->bucket, err);
    return 0;
}

/* What it would be called, made of an object like any other. */
static int name_image(const struct config_output *output, const char *name, const char *extension, struct buf *key) {
    const struct key_object object = {BYTES("b"), BYTES("k"), BYTES("e"), BYTES("v"), 1};
    struct key_template *template;
    struct err err;
    int r = key_template_compile(bytes_str(output->options.key), true, &template, &err);
    if (r < 0)
        return r;
    r = key_template_expand(template, &object, bytes_str(name), bytes_str(extension), key, &err);
    key_template_free(template);
    return r;
}

/* Of some object that is read? */
static bool may_be_alike(const struct image_spec *spec, const struct image_output *a, const struct image_output *b) {
    return a->format == b->format || (a->format == IMAGE_NONE && (spec->loaders & 1u << b->format)) ||
           (b->format == IMAGE_NONE && (spec->loaders & 1u << a->format));
}

static int check_two(const struct options *options, const struct config_output *output, const struct image_spec *spec,
                     size_t a, size_t b, struct err *err) {
    const struct image_output *one = &spec->outputs[a], *two = &spec->outputs[b];
    _cleanup_buf_ struct buf key_one = {0}, key_two = {0};
    struct err text = {0};
    int r = name_image(output, one->name, "x", &key_one);
    if (r == 0)
        r = name_image(output, two->name, may_be_alike(spec, one, two) ? "x" : "y", &key_two);
    if (r == -ENOMEM)
        return err_set(err, r, "out of memory");
    if (r < 0 || !bytes_equal(buf_bytes(&key_one), buf_bytes(&key_two)))
        return 0; /* what is wrong with the template itself was said before */
    err_set(&text, -EINVAL, "the images '%s' and '%s' of an object could have the same name: put {name} into it",
            one->name, two->name);
    return refuse(options, output->node, err, text.text);
}

static int check_images_differ(const struct options *options, const struct config_outputs *outputs,
                               const struct image_spec *spec, struct err *err) {
    int r = 0;
    for (size_t i = 0; i < outputs->n && r == 0; i++)
        for (size_t a = 0; a < spec->n_outputs && r == 0; a++)
            for (size_t b = a + 1; b < spec->n_outputs && r == 0; b++)
                r = check_two(options, &outputs->items[i], spec, a, b, err);
    return r;
}

/* Each object would fail, after all the work on it. */
static int check_images_land(const struct options *options, const struct config_rule *rule, struct err *err) {
    if (!config_makes_images(options, rule))
        return 0;
    const struct config_outputs *outputs = config_outputs_of(options, rule);
    if (!outputs)
        return refuse(options, rule ? rule->node : doc_get(options->doc->root, "image"), err,
                      "images are made of the objects, and nothing says where they go: say output");
    const char *text = rule && rule->handler == CONFIG_HANDLER_IMAGE ? rule->image : options->image;
    struct image_spec *spec;
    int r = image_spec_parse(bytes_str(text), &spec, err);
    if (r < 0)
        return r;
    r = check_images_differ(options, outputs, spec, err);
    image_spec_free(spec);
    return r;
}

int config_outputs_settle(const struct options *options, const char *endpoint, struct err *err) {
    const struct config_outputs *general = options->outputs;
    const struct config_rules *rules = options->rules;
    if (general && general->n > 0 && discards(options, NULL))
        return refuse(options, general->items[0].node, err,
                      "discarding makes no results, so there is nothing for an output");
    int r = check_drained(options, general, options->then, endpoint, err);
    if (r == 0 && !rules)
        r = check_images_land(options, NULL, err);
    for (size_t i = 0; rules && i < rules->n && r == 0; i++) {
        const struct config_rule *rule = &rules->rules[i];
        if (rule->outputs && rule->outputs->n > 0 && discards(options, rule))
            return refuse(options, rule->outputs->items[0].node, err,
                          "discarding makes no results, so there is nothing for an output of this rule");
        r = check_drained(options, rule->outputs, rule->then, endpoint, err);
        if (r == 0)
            r = check_images_land(options, rule, err);
    }
    return r;
}

/* ---- showing ---- */

static json_t *output_json(const struct config_output *output) {
    const struct output_options *options = &output->options;
    json_t *object =
        json_pack("{s:s?,s:s?,s:s,s:s?,s:s?,s:s?,s:s?}", "bucket", options->bucket, "directory", options->directory,
                  "key", options->key, "region", output->region, "endpoint", output->endpoint, "content_type",
                  options->content_type, "storage_class", options->storage_class);
    const char *name;
    json_t *value;
    void *following;
    json_object_foreach_safe(object, following, name, value) if (json_is_null(value)) json_object_del(object, name);
    if (options->copy_metadata)
        json_object_set_new(object, "copy_metadata", json_true());
    if (options->copy_tags)
        json_object_set_new(object, "copy_tags", json_true());
    if (options->part_bytes)
        json_object_set_new(object, "part_size", json_integer((json_int_t)options->part_bytes));
    return object;
}

json_t *config_outputs_json(const struct config_outputs *outputs) {
    if (!outputs)
        return json_null();
    if (outputs->n == 0)
        return json_string("none");
    json_t *array = json_array();
    for (size_t i = 0; array && i < outputs->n; i++)
        json_array_append_new(array, output_json(&outputs->items[i]));
    return array;
}

json_t *config_then_json(const struct config_then *then) {
    if (!then || then->kind == THEN_DELETE)
        return json_string("delete");
    if (then->kind == THEN_KEEP)
        return json_string("keep");
    if (then->kind == THEN_MOVE)
        return json_pack("{s:{s:s,s:s}}", "move", "bucket", then->bucket, "key", then->key);
    json_t *tags = json_object();
    for (size_t i = 0; i < then->n_tags; i++) {
        char name[200];
        snprintf(name, sizeof name, "%.*s", (int)then->tags[i].name.n, then->tags[i].name.p);
        json_object_set_new(tags, name, json_stringn(then->tags[i].value.p, then->tags[i].value.n));
    }
    return json_pack("{s:o}", "tag", tags);
}

#define TEXT "{\"type\":[\"string\",\"number\",\"boolean\"],\"minLength\":1}"
#define HEADER "{\"type\":[\"string\",\"number\",\"boolean\"],\"pattern\":\"^[ -~]{1,200}$\"}"
#define S3_NAME "{\"type\":[\"string\",\"number\",\"boolean\"],\"pattern\":\"^[A-Za-z0-9._-]{1,255}$\"}"
#define TEMPLATE "{\"type\":\"string\",\"minLength\":1,\"maxLength\":1024}"

#define OUTPUT_MAP                                                                                                 \
    "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"key\"],\"oneOf\":[{\"required\":"         \
    "[\"bucket\"]},{\"required\":[\"directory\"],\"propertyNames\":{\"enum\":[\"directory\",\"key\"]}}],"          \
    "\"properties\":{\"bucket\":" S3_NAME ",\"directory\":" TEXT ",\"key\":" TEMPLATE ",\"region\":" HEADER        \
    ",\"endpoint\":{\"type\":\"string\",\"pattern\":\"^https?://\",\"maxLength\":200},\"content_type\":" HEADER    \
    ",\"storage_class\":" HEADER ",\"copy_metadata\":{\"type\":\"boolean\"},\"copy_tags\":{\"type\":\"boolean\"}," \
    "\"part_size\":{\"anyOf\":[{\"type\":\"string\",\"pattern\":\"^[0-9]+([kKmMgGtT][iI]?)?[bB]?$\"},{\"type\":"   \
    "\"integer\",\"minimum\":5242880,\"maximum\":5368709120}]}}}"
#define OUTPUT_ONE "{\"anyOf\":[{\"type\":\"string\",\"pattern\":\"^(none|.*\\\\{.*)$\"}," OUTPUT_MAP "]}"

const char config_output_schema[] =
    "{\"anyOf\":[" OUTPUT_ONE ",{\"type\":\"array\",\"minItems\":1,\"maxItems\":8,\"items\":" OUTPUT_ONE "}]}";
const char config_then_schema[] =
    "{\"anyOf\":[{\"type\":\"string\",\"pattern\":\"^(delete|keep|move:s3://.+/.+|tag:.+=.*)$\"},{\"type\":\"object\","
    "\"additionalProperties\":false,\"minProperties\":1,\"maxProperties\":1,\"properties\":{\"move\":{\"anyOf\":"
    "[{\"type\":\"string\",\"pattern\":\"^s3://.+/.+$\"},{\"type\":\"object\",\"additionalProperties\":false,"
    "\"required\":[\"bucket\",\"key\"],\"properties\":{\"bucket\":" S3_NAME ",\"key\":" TEMPLATE
    "}}]},\"tag\":{\"type\":\"object\",\"minProperties\":1,\"maxProperties\":10,\"propertyNames\":"
    "{\"pattern\":\"^(?!aws:)\",\"minLength\":1,\"maxLength\":128},\"additionalProperties\":"
    "{\"type\":[\"string\",\"number\",\"boolean\"],\"maxLength\":256}}}}]}";
