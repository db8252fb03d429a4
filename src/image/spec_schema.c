/* spec_schema.c - the JSON Schema of a spec, from the table that reads it. */
#include "spec_keys.h"

static json_t *words_of(const struct image_key *key) {
    json_t *words = json_array();
    for (const struct image_word *word = key->words; word->word; word++)
        json_array_append_new(words, json_string(word->word));
    return json_pack("{s:o}", "enum", words);
}

static json_t *loaders(void) {
    json_t *names = json_array();
    for (int f = IMAGE_NONE + 1; f < IMAGE_FORMATS; f++)
        json_array_append_new(names, json_string(image_format_name((enum image_format)f)));
    return json_pack("{s:s,s:i,s:i,s:{s:o}}", "type", "array", "minItems", 1, "maxItems", IMAGE_FORMATS - 1, "items",
                     "enum", names);
}

static json_t *properties_of(unsigned of);

static json_t *mapping_of(unsigned of, const char *required) {
    json_t *schema =
        json_pack("{s:s,s:b,s:o}", "type", "object", "additionalProperties", 0, "properties", properties_of(of));
    if (schema && required)
        json_object_set_new(schema, "required", json_pack("[s]", required));
    return schema;
}

static json_t *schema_of(const struct image_key *key) {
    switch (key->kind) {
    case KEY_NUMBER:
    case KEY_BIG:
        return json_pack("{s:s,s:I,s:I}", "type", "integer", "minimum", (json_int_t)key->least, "maximum",
                         (json_int_t)key->most);
    case KEY_FRACTION:
        return json_pack("{s:s,s:f,s:f}", "type", "number", "minimum", key->least, "maximum", key->most);
    case KEY_WORD:
        return words_of(key);
    case KEY_FLAG:
        return json_pack("{s:s}", "type", "boolean");
    case KEY_FILE:
        return json_pack("{s:s,s:i}", "type", "string", "minLength", 1);
    case KEY_NAME:
        return json_pack("{s:s,s:s,s:I}", "type", "string", "pattern", "^[a-z0-9_-]+$", "maxLength",
                         (json_int_t)key->most);
    case KEY_COLOUR:
        return json_pack("{s:s,s:s}", "type", "string", "pattern", "^#[0-9a-fA-F]{6}$");
    case KEY_SIZE:
        return json_pack("{s:[{s:s,s:s},{s:s,s:i}]}", "anyOf", "type", "string", "pattern",
                         "^[0-9]+([kKmMgGtT][iI]?)?[bB]?$", "type", "integer", "minimum", 1);
    case KEY_TIME:
        return json_pack("{s:s,s:s}", "type", "string", "pattern", "^([0-9]+(\\.[0-9]+)?(us|ms|s|m|h|d))+$");
    case KEY_LOADERS:
        return loaders();
    case KEY_MARK:
        return mapping_of(OF_MARK, "file");
    case KEY_OUTPUTS:
        return json_pack("{s:s,s:i,s:i,s:o}", "type", "array", "minItems", 1, "maxItems", IMAGE_OUTPUTS_MAX, "items",
                         mapping_of(OF_OUTPUT, "name"));
    }
    return NULL;
}

static json_t *properties_of(unsigned of) {
    json_t *properties = json_object();
    for (size_t i = 0; i < n_image_keys; i++) {
        const struct image_key *key = &image_keys[i];
        json_t *schema = key->of & of ? schema_of(key) : NULL;
        if (schema && (json_object_set_new(schema, "description", json_string(key->help)) < 0 ||
                       json_object_set(properties, key->name, schema) < 0)) {
            json_decref(properties);
            properties = NULL;
        }
        json_decref(schema);
    }
    return properties;
}

json_t *image_spec_schema(void) {
    return mapping_of(OF_SPEC, NULL);
}
