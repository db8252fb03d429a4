/* config_schema.c - see config_schema.h. */
#include "config_schema.h"

#include "config_output.h"
#include "config_rules.h"
#include "options_table.h"
#include "spec.h"

#define DURATION "([0-9]+(\\.[0-9]+)?(us|ms|s|m|h|d))+"
#define SIZE "^[0-9]+([kKmMgGtT][iI]?)?[bB]?$"
#define STORE "^(sqlite:.+|postgres(ql)?://.*)$"

static json_t *number(const struct option *option) {
    return json_pack("{s:s,s:I,s:I}", "type", "integer", "minimum", (json_int_t)option->least, "maximum",
                     (json_int_t)option->most);
}

static json_t *of_kind(const struct option *option) {
    switch (option->kind) {
    case KIND_FLAG:
        return json_pack("{s:s}", "type", "boolean");
    case KIND_U32:
    case KIND_U64:
        return number(option);
    case KIND_DURATION:
        return option->least == 0 ? json_pack("{s:[{s:s,s:s},{s:i}]}", "anyOf", "type", "string", "pattern",
                                              "^(0|" DURATION ")$", "const", 0)
                                  : json_pack("{s:s,s:s}", "type", "string", "pattern", "^" DURATION "$");
    case KIND_SIZE:
        return json_pack("{s:[{s:s,s:s},o]}", "anyOf", "type", "string", "pattern", SIZE, number(option));
    case KIND_STORE:
        return json_pack("{s:s,s:s}", "type", "string", "pattern", STORE);
    case KIND_GLOB:
        return json_pack("{s:s}", "$ref", "#/$defs/globs");
    case KIND_LOG:
        return json_pack("{s:[s,s]}", "enum", "text", "json");
    case KIND_POOL_BODY:
        return json_pack("{s:[s,s,s]}", "enum", "inline", "path", "memfd");
    case KIND_CONFINE: /* YAML 1.1 has other words for booleans */
        return json_pack("{s:[s,s,s,s,b,b]}", "enum", "no", "basic", "yes", "best-effort", 1, 0);
    case KIND_DIRECTORIES:
        return json_pack("{s:[{s:s,s:s},{s:s,s:i,s:i,s:{s:s,s:s}}]}", "anyOf", "type", "string", "pattern", "^/",
                         "type", "array", "minItems", 1, "maxItems", ALLOW_WRITE_MAX, "items", "type", "string",
                         "pattern", "^/");
    case KIND_LEVEL:
        return json_pack("{s:[s,s,s,s]}", "enum", "debug", "info", "warn", "error");
    case KIND_PREFIX:
        return json_pack("{s:[s,s,s],s:i,s:i}", "type", "string", "number", "boolean", "minLength", 1, "maxLength", 63);
    case KIND_OUTPUT:
        return json_loads(config_output_schema, 0, NULL);
    case KIND_THEN:
        return json_loads(config_then_schema, 0, NULL);
    case KIND_CRON:
        return json_pack("{s:s,s:i}", "type", "string", "minLength", 1);
    case KIND_TEXT: /* of the file that is the worker's name */
    case KIND_STATES:
    case KIND_META:
    case KIND_TIME:
        break;
    }
    return json_pack("{s:[s,s,s],s:i,s:i}", "type", "string", "number", "boolean", "minLength", 1, "maxLength",
                     OPTION_WORKER_MAX);
}

/* The text for people in one line, and the default where there is one. */
static int describe(json_t *schema, const struct option *option) {
    char line[400];
    size_t n = strlen(option->help);
    if (n >= sizeof line)
        n = sizeof line - 1;
    for (size_t i = 0; i < n; i++)
        line[i] = option->help[i] == '\n' ? ' ' : option->help[i];
    int r = json_object_set_new(schema, "description", json_stringn(line, n));
    if (r == 0 && option->initial) {
        bool is_number = option->kind == KIND_U32 || option->kind == KIND_U64;
        r = json_object_set_new(schema, "default",
                                is_number ? json_integer(strtoll(option->initial, NULL, 10))
                                          : json_string(option->initial));
    }
    return r;
}

static json_t *of_option(const struct option *option) {
    json_t *schema = of_kind(option);
    if (schema && describe(schema, option) < 0) {
        json_decref(schema);
        return NULL;
    }
    return schema;
}

static json_t *of_rule_key(const struct config_rule_key *rule_key) {
    char key[OPTION_KEY_MAX];
    if (!rule_key->schema) {
        for (size_t o = 0; o < n_options; o++)
            if (option_in_file(&option_table[o]) && strcmp(option_key(&option_table[o], key), rule_key->name) == 0)
                return json_pack("{s:s+}", "$ref", "#/properties/", key);
        return NULL;
    }
    json_t *schema = json_loads(rule_key->schema, JSON_DECODE_ANY, NULL);
    if (schema && rule_key->help && json_object_set_new(schema, "description", json_string(rule_key->help)) < 0) {
        json_decref(schema);
        return NULL;
    }
    return schema;
}

static json_t *rules(void) {
    json_t *properties = json_object();
    for (size_t i = 0; properties && i < n_config_rule_keys; i++)
        if (json_object_set_new(properties, config_rule_keys[i].name, of_rule_key(&config_rule_keys[i])) < 0) {
            json_decref(properties);
            return NULL;
        }
    if (!properties)
        return NULL;
    return json_pack("{s:s,s:s,s:i,s:i,s:{s:s,s:b,s:o}}", "description",
                     "in order, the first one that matches an object counts; an object that none matches is left alone",
                     "type", "array", "minItems", 1, "maxItems", CONFIG_RULES_MAX, "items", "type", "object",
                     "additionalProperties", 0, "properties", properties);
}

static json_t *definitions(void) {
    json_t *glob = json_pack("{s:[s,s,s],s:i,s:i}", "type", "string", "number", "boolean", "minLength", 1, "maxLength",
                             GLOB_BYTES_MAX);
    json_t *word = json_pack("{s:[s,s,s]}", "type", "string", "number", "boolean");
    json_t *first = json_pack("{s:[s,s,s],s:i}", "type", "string", "number", "boolean", "minLength", 1);
    return json_pack("{s:o,s:o,s:{s:[{s:s},{s:s,s:i,s:i,s:{s:s}}]},s:{s:s,s:i,s:i,s:[o],s:o}}", "image",
                     image_spec_schema(), "glob", glob, "globs", "anyOf", "$ref", "#/$defs/glob", "type", "array",
                     "minItems", 1, "maxItems", GLOBS_MAX, "items", "$ref", "#/$defs/glob", "program", "type", "array",
                     "minItems", 1, "maxItems", CONFIG_PROGRAM_MAX, "prefixItems", first, "items", word);
}

json_t *config_schema(void) {
    json_t *schema = json_pack("{s:s,s:s,s:s,s:b,s:{},s:o}", "$schema", "https://json-schema.org/draft/2020-12/schema",
                               "title", "the configuration file of froe run", "type", "object", "additionalProperties",
                               0, "properties", "$defs", definitions());
    json_t *properties = json_object_get(schema, "properties");
    int r = schema ? 0 : -1;
    for (size_t o = 0; o < n_options && r == 0; o++) {
        char key[OPTION_KEY_MAX];
        if (option_in_file(&option_table[o]))
            r = json_object_set_new(properties, option_key(&option_table[o], key), of_option(&option_table[o]));
    }
    if (r == 0)
        r = json_object_set_new(properties, "program",
                                json_pack("{s:s,s:s}", "$ref", "#/$defs/program", "description",
                                          "run once per object, with the object on its standard input; its words"));
    if (r == 0)
        r = json_object_set_new(
            properties, "plugin",
            json_pack("{s:s,s:s}", "$ref", "#/$defs/program", "description",
                      "a function in a shared object, see docs/plugin.md: its file, and its words"));
    if (r == 0)
        r = json_object_set_new(properties, "image",
                                json_pack("{s:s,s:s}", "$ref", "#/$defs/image", "description",
                                          "instead of a program: work on images, docs/images.md"));
    if (r == 0)
        r = json_object_set_new(properties, "rules", rules());
    if (r == 0)
        return schema;
    json_decref(schema);
    return NULL;
}
