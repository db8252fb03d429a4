/* test_config_output.c - `output` and `then`, on a command line and in a file: what is read, what is refused with its
 * place, which of them hold for a rule, and what would land in a bucket that is drained. */
#include "config_output.h"

#include "config_rules.h"
#include "doc.h"
#include "mem.h"
#include "options_table.h"
#include "same_server.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/test_config_output.XXXXXX";

static int up(void **state) {
    for (size_t o = 0; o < n_options; o++)
        if (option_table[o].variable)
            unsetenv(option_table[o].variable);
    setenv("HOME", "/home/somebody", 1);
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int down(void **state) {
    return unlink(path);
}

/* froe run --config FILE */
static int read_file(const char *text, struct options *ret_options, struct err *err) {
    static char *argv[] = {(char *)(uintptr_t) "froe", (char *)(uintptr_t) "run", (char *)(uintptr_t) "--config", path,
                           NULL};
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    return options_parse(4, argv, ret_options, err);
}

static struct options get(const char *text) {
    struct options options;
    struct err err = {0};
    if (read_file(text, &options, &err) < 0)
        fail_msg("%s", err.text);
    return options;
}

static bool same(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

static void test_texts(void **state) {
    static const struct {
        const char *text, *bucket, *directory, *key;
    } cases[] = {
        {"s3://b/{key}", "b", NULL, "{key}"},
        {"s3://b.c-d/x/{stem}.{ext}", "b.c-d", NULL, "x/{stem}.{ext}"},
        {"s3://b//{key}", "b", NULL, "/{key}"},
        {"out/{key}", NULL, "out", "{key}"},
        {"/{key}", NULL, "/", "{key}"},
        {"{bucket}/{key}", NULL, ".", "{bucket}/{key}"},
        {"/srv/out/pre-{key}/x", NULL, "/srv/out", "pre-{key}/x"},
        {"./a/../b/{key}", NULL, "./a/../b", "{key}"}, /* the user's own place may be any */
        {"S3://b/{key}", NULL, "S3://b", "{key}"},
    };
    struct config_outputs *outputs = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {0};
        if (config_output_add(&outputs, cases[i].text, "--output", &err) < 0)
            fail_msg("%s: %s", cases[i].text, err.text);
        const struct output_options *options = &outputs->items[0].options;
        if (!same(options->bucket, cases[i].bucket) || !same(options->directory, cases[i].directory) ||
            !same(options->key, cases[i].key))
            fail_msg("%s: bucket %s, directory %s, key %s", cases[i].text, options->bucket, options->directory,
                     options->key);
        assert_int_equal(outputs->n, 1);
        config_outputs_free(outputs);
        outputs = NULL;
    }
    struct err err = {0};
    assert_int_equal(config_output_add(&outputs, "none", "--output", &err), 0);
    assert_int_equal(outputs->n, 0);
    for (int i = 0; i < OUTPUTS_MAX; i++)
        assert_int_equal(config_output_add(&outputs, "s3://b/{key}", "--output", &err), 0);
    assert_int_equal(config_output_add(&outputs, "s3://b/{key}", "--output", &err), -EINVAL);
    assert_string_equal(err.text, "--output: more than 8 outputs");
    config_outputs_free(outputs);
}

static void test_texts_refused(void **state) {
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"", "names no file"},
        {"out", "names no file"},
        {"s3://", "names no key"},
        {"s3://b", "names no key"},
        {"s3://b/", "names no key"},
        {"s3:///{key}", "bucket"},
        {"s3://{bucket}/{key}", "bucket"},
        {"s3://../{key}", "bucket"},
        {"s3://b/x", "the same for all objects"},
        {"s3://b/{dir}{ext}{bucket}{date}", "the same for all objects"},
        {"s3://b/{key", "a { without its }"},
        {"s3://b/{key}}", "a } without its {"},
        {"out/{Key}", "there is no {Key}"},
        {"out/{}", "there is no {}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config_outputs *outputs = NULL;
        struct err err = {0};
        assert_int_equal(config_output_add(&outputs, cases[i].text, "--output", &err), -EINVAL);
        if (strncmp(err.text, "--output: ", 10) != 0 || !strstr(err.text, cases[i].error))
            fail_msg("'%s': %s", cases[i].text, err.text);
        config_outputs_free(outputs);
    }
}

static void test_then_texts(void **state) {
    static const struct {
        const char *text, *json; /* or the error */
    } cases[] = {
        {"delete", "\"delete\""},
        {"keep", "\"keep\""},
        {"move:s3://b/x/{key}", "{\"move\": {\"bucket\": \"b\", \"key\": \"x/{key}\"}}"},
        {"tag:a=b", "{\"tag\": {\"a\": \"b\"}}"},
        {"tag:a=,b=c=d,e f=\xc3\xa4", "{\"tag\": {\"a\": \"\", \"b\": \"c=d\", \"e f\": \"\xc3\xa4\"}}"},
        {"", "'' is not delete, keep, move:"},
        {"Keep", "'Keep' is not delete, keep, move:"},
        {"move:/tmp/{key}", "is no place to move to"},
        {"move:s3://b", "names no key"},
        {"move:s3://b/x", "the same for all objects"},
        {"move:s3://b/{key}{name}", "{name} is a result's"},
        {"tag:", "write tag:NAME=VALUE"},
        {"tag:a", "write tag:NAME=VALUE"},
        {"tag:a=b,c", "write tag:NAME=VALUE"},
        {"tag:=b", "a name of 1 to 128 bytes"},
        {"tag:a=\xff", "both UTF-8"},
        {"tag:aws:a=b", "are S3's own"},
        {"tag:a=b,a=c", "the tag 'a' stands twice"},
        {"tag:a=,b=,c=,d=,e=,f=,g=,h=,i=,j=,k=", "at most 10 tags"},
    };
    struct config_then *then = NULL; /* each takes the place of the one before */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {0};
        int r = config_then_set(&then, cases[i].text, "--then", &err);
        bool good = cases[i].json[0] == '"' || strncmp(cases[i].json, "{\"", 2) == 0;
        if (r != (good ? 0 : -EINVAL))
            fail_msg("'%s': %d %s", cases[i].text, r, err.text);
        if (r < 0) {
            if (strncmp(err.text, "--then: ", 8) != 0 || !strstr(err.text, cases[i].json))
                fail_msg("'%s': %s", cases[i].text, err.text);
            continue;
        }
        json_t *json = config_then_json(then);
        char *text = json_dumps(json, JSON_ENCODE_ANY | JSON_PRESERVE_ORDER);
        assert_string_equal(text, cases[i].json);
        free(text);
        json_decref(json);
    }
    config_then_free(then);
}

static void test_file(void **state) {
    struct options options =
        get("program: [cat]\n"
            "output:\n"
            "  - {bucket: b, key: 'r/{key}', region: eu-west-1, endpoint: 'http://h:1', content_type: a/b,\n"
            "     storage_class: GLACIER_IR, copy_metadata: true, copy_tags: true, part_size: 5MiB}\n"
            "  - {directory: '/a{b}', key: '{base}'}\n"
            "  - s3://c/{key}\n"
            "then: {tag: {a: 1, b: 'x y'}}\n");
    assert_int_equal(options.outputs->n, 3);
    const struct config_output *first = &options.outputs->items[0];
    assert_string_equal(first->options.bucket, "b");
    assert_string_equal(first->options.key, "r/{key}");
    assert_string_equal(first->region, "eu-west-1");
    assert_string_equal(first->endpoint, "http://h:1");
    assert_string_equal(first->options.content_type, "a/b");
    assert_string_equal(first->options.storage_class, "GLACIER_IR");
    assert_true(first->options.copy_metadata && first->options.copy_tags);
    assert_int_equal(first->options.part_bytes, 5 << 20);
    const struct config_output *second = &options.outputs->items[1];
    assert_string_equal(second->options.directory, "/a{b}");
    assert_null(second->options.bucket);
    assert_false(second->options.copy_metadata || second->options.copy_tags);
    assert_string_equal(options.outputs->items[2].options.bucket, "c");
    json_t *json = config_outputs_json(options.outputs);
    char *text = json_dumps(json_array_get(json, 1), JSON_SORT_KEYS);
    assert_string_equal(text, "{\"directory\": \"/a{b}\", \"key\": \"{base}\"}");
    assert_int_equal(json_object_size(json_array_get(json, 0)), 9);
    free(text);
    json_decref(json);
    assert_int_equal(options.then->kind, THEN_TAG);
    assert_int_equal(options.then->n_tags, 2);
    options_free(&options);
}

static void test_file_refused(void **state) {
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"output:", ":1:8: output has no value; write none"},
        {"output: 7", ":1:9: '7' names no file"},
        {"output: []", "an empty list; write none"},
        {"output: [[a]]", "an output is s3://BUCKET/{key}"},
        {"output: ['']", "an output is s3://BUCKET/{key}"},
        {"output: ['a/{key}', 'b/{key}', 'c/{key}', 'd/{key}', 'e/{key}', 'f/{key}', 'g/{key}', 'h/{key}', 'i/{key}']",
         "output: more than 8"},
        {"output: {}", "either a bucket or a directory"},
        {"output: {bucket: b, directory: d, key: '{key}'}", "either a bucket or a directory"},
        {"output: {bucket: b}", "an output needs a key"},
        {"output: {bucket: B_!, key: '{key}'}", ":1:18: "},
        {"output: {bucket: b, key: '{nope}'}", ":1:26: '{nope}': at 1: there is no {nope}"},
        {"output: {bucket: b, key: '{key}', storage: x}", "unknown key 'storage' of an output"},
        {"output: {bucket: b, key: '{key}', endpoint: h}", "endpoint: 'h' is not http[s]://HOST[:PORT]"},
        {"output: {bucket: b, key: '{key}', content_type: \"a\\nb\"}", "content_type: up to 200 ASCII characters"},
        {"output: {bucket: b, key: '{key}', copy_tags: 'true'}", "copy_tags is true or false"},
        {"output: {bucket: b, key: '{key}', copy_metadata: yes}", "copy_metadata is true or false"},
        {"output: {bucket: b, key: '{key}', part_size: 5GB}", NULL},
        {"output: {bucket: b, key: '{key}', part_size: 6GiB}", "part_size is a size from 5MiB to 5GiB"},
        {"output: {bucket: b, key: '{key}', part_size: 1}", "part_size is a size from 5MiB to 5GiB"},
        {"output: {directory: d, key: '{key}', region: r}", "region is for an output with a bucket"},
        {"output: {directory: d, key: '{key}', part_size: 5MiB}", "part_size is for an output with a bucket"},
        {"then:", "then has no value"},
        {"then: []", "then is delete, keep, {move: s3://BUCKET/{key}} or {tag: {NAME: VALUE}}"},
        {"then: {}", "then is one of delete, keep, move and tag"},
        {"then: {moves: a}", "unknown key 'moves' of then; did you mean move?"},
        {"then: {move: {bucket: b, key: '{key}', region: r}}", "unknown key 'region' of move"},
        {"then: {move: {key: '{key}'}}", "move needs a bucket and a key"},
        {"then: {move: x}", "is no place to move to"},
        {"then: {tag: [a]}", "tag is a mapping"},
        {"then: {tag: {a: [b]}}", "a tag's value is a text"},
        {"then: {tag: {a: }}", "a tag's value is a text"},
        {"then: {tag: {'aws:x': b}}", "are S3's own"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[400];
        struct options options;
        struct err err = {0};
        snprintf(text, sizeof text, "%s\nprogram: [cat]\n", cases[i].text);
        int r = read_file(text, &options, &err);
        if (r == 0)
            options_free(&options);
        if (r != (cases[i].error ? -EINVAL : 0) || (r < 0 && !strstr(err.text, cases[i].error)))
            fail_msg("%s: %d %s", cases[i].text, r, err.text);
    }
}

static void test_which_hold_for_a_rule(void **state) {
    struct options options = get("program: [cat]\noutput: s3://general/{key}\nthen: keep\n"
                                 "rules:\n"
                                 "  - {keys: a}\n"
                                 "  - {keys: b, output: 's3://own/{key}', then: delete}\n"
                                 "  - {keys: c, output: none}\n"
                                 "  - {keys: d, handler: discard}\n");
    const struct config_rule *rules = options.rules->rules;
    assert_string_equal(config_outputs_of(&options, &rules[0])->items[0].options.bucket, "general");
    assert_int_equal(config_then_of(&options, &rules[0])->kind, THEN_KEEP);
    assert_string_equal(config_outputs_of(&options, &rules[1])->items[0].options.bucket, "own");
    assert_int_equal(config_then_of(&options, &rules[1])->kind, THEN_DELETE);
    assert_null(config_outputs_of(&options, &rules[2]));
    assert_null(config_outputs_of(&options, &rules[3])); /* there is nothing to be stored */
    options_free(&options);
}

static void test_drained(void **state) {
    static const struct {
        const char *text, *endpoint;
        bool refused;
    } cases[] = {
        {"output: s3://in-b/{key}", NULL, true},
        {"output: s3://on-b/{key}", NULL, false},
        {"output: ['s3://ok/{key}', 's3://in-b/{key}']", NULL, true},
        {"output: {bucket: in-b, key: '{key}', region: eu-west-1}", NULL,
         true}, /* a name has one place in all regions */
        {"output: {bucket: in-b, key: '{key}', endpoint: 'https://s3.eu-west-1.amazonaws.com'}", NULL, true},
        {"output: {bucket: in-b, key: '{key}', endpoint: 'https://minio.example'}", NULL, false},
        {"output: {bucket: in-b, key: '{key}', endpoint: 'https://s3.amazonaws.com'}", "http://h:1", false},
        {"output: {bucket: in-b, key: '{key}', endpoint: 'http://H:1/'}", "http://h:1", true},
        {"output: {bucket: in-b, key: '{key}', endpoint: 'http://h:2'}", "http://h:1", false},
        {"then: {move: 's3://in-b/{key}'}", NULL, true},
        {"then: {move: 's3://done/{key}'}", NULL, false},
        {"rules: [{buckets: in-a, output: 's3://in-b/{key}'}]", NULL, false}, /* which no rule matches */
        {"rules: [{buckets: 'in-*', output: 's3://in-b/{key}'}]", NULL, true},
        {"rules: [{buckets: in-a, output: 's3://in-b/{key}'}, {buckets: in-b, then: keep}]", NULL, true},
        {"rules: [{buckets: in-a, then: {move: 's3://in-b/{key}'}}, {keys: '*.x'}]", NULL, true},
        {"output: s3://in-b/{key}\nrules: [{buckets: in-a}]", NULL, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[400];
        struct options options;
        struct err err = {0};
        snprintf(text, sizeof text, "bucket_prefix: in-\nprogram: [cat]\n%s\n", cases[i].text);
        int r = read_file(text, &options, &err);
        if (r == 0) {
            r = config_outputs_settle(&options, cases[i].endpoint, &err);
            options_free(&options);
        }
        if (r != (cases[i].refused ? -EINVAL : 0) || (r < 0 && !strstr(err.text, "which is drained itself")))
            fail_msg("%s: %d %s", cases[i].text, r, err.text);
    }
}

/* What each object, or some, would fail of after all the work on it. */
static void test_images(void **state) {
    static const struct {
        const char *image, *output, *words; /* NULL: fine */
    } cases[] = {
        {"{width: 9}", "none", "nothing says where they go"},
        {"{width: 9}", "/o/{key}", NULL},
        {"{outputs: [{name: a}, {name: b}]}", "/o/{key}.{ext}", ":3:9: the images 'a' and 'b' of an object could"},
        {"{outputs: [{name: a}, {name: b}]}", "/o/{name}/{key}.{ext}", NULL},
        {"{outputs: [{name: a}, {name: b}]}", "[\"/o/{key}-{name}\", \"/o/{key}\"]", ":3:29: the images"},
        {"{outputs: [{name: a, format: png}, {name: b, format: webp}]}", "/o/{stem}.{ext}", NULL},
        {"{outputs: [{name: a, format: png}, {name: b, format: webp}]}", "/o/{key}", "the images"},
        {"{outputs: [{name: a, format: png}, {name: b}]}", "/o/{stem}.{ext}", "the images"}, /* of a png */
        {"{loaders: [jpeg], outputs: [{name: a, format: png}, {name: b}]}", "/o/{stem}.{ext}", NULL},
        {"{outputs: [{name: a, format: png}, {name: b, format: gif}, {name: c, format: png}]}", "/o/{stem}.{ext}",
         "'a' and 'c'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[400];
        struct err err = {0};
        struct options options;
        snprintf(text, sizeof text, "bucket_prefix: in-\nimage: %s\noutput: %s\n", cases[i].image, cases[i].output);
        int r = read_file(text, &options, &err);
        if (r == 0) {
            r = config_outputs_settle(&options, NULL, &err);
            options_free(&options);
        }
        if ((r == 0) != !cases[i].words || (r < 0 && !strstr(err.text, cases[i].words)))
            fail_msg("%s: %s", text, r < 0 ? err.text : "fine");
    }
}

static void test_same_server(void **state) {
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        {NULL, NULL, true},
        {NULL, "https://s3.us-west-2.amazonaws.com", true},
        {NULL, "https://S3.dualstack.eu-west-1.amazonaws.com:443/", true},
        {NULL, "https://s3.cn-north-1.amazonaws.com.cn", true},
        {NULL, "https://amazonaws.com.example.org", false},
        {NULL, "", false},
        {"", "", true},
        {"http://h", "http://h/", true},
        {"http://h", "http://H:80", true},
        {"https://h", "https://h.:443", true},
        {"http://h", "https://h", true},
        {"http://h:9000", "http://h:9001", false},
        {"http://h:9000", "http://h", false},
        {"http://h:9000", "http://g:9000", false},
        {"http://localhost:9000", "http://127.0.0.1:9000", true},
        {"http://[::1]:9000", "http://s3.localhost:9000/", true},
        {"http://[::1]", "http://[::1]:80", true},
        {"http://[fe80::1]:9000", "http://[fe80::2]:9000", false},
        {"http://localhost:9000", "http://127.0.0.1:9001", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (same_server(cases[i].a, cases[i].b) != cases[i].same ||
            same_server(cases[i].b, cases[i].a) != cases[i].same)
            fail_msg("%s and %s", cases[i].a ? cases[i].a : "AWS", cases[i].b ? cases[i].b : "AWS");
}

static void test_any_allocation_may_fail(void **state) {
    static const char text[] = "program: [cat]\noutput: ['s3://a/{key}', {bucket: b, key: '{stem}'}]\nthen: keep\n"
                               "rules: [{output: 'o/{key}', then: {move: 's3://c/{key}'}}, {then: {tag: {a: b}}}]\n";
    for (uint64_t n = 1;; n++) {
        struct options options;
        struct err err = {0};
        mem_fail_at(n, 0);
        int r = read_file(text, &options, &err);
        uint64_t used = mem_fail_count();
        mem_fail_at(0, 0);
        if (r == 0)
            options_free(&options);
        if (used < n) {
            assert_int_equal(r, 0);
            break;
        }
        assert_int_equal(r, -ENOMEM);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),        cmocka_unit_test(test_texts_refused),
        cmocka_unit_test(test_then_texts),   cmocka_unit_test(test_file),
        cmocka_unit_test(test_file_refused), cmocka_unit_test(test_which_hold_for_a_rule),
        cmocka_unit_test(test_drained),      cmocka_unit_test(test_images),
        cmocka_unit_test(test_same_server),  cmocka_unit_test(test_any_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("config output", tests, up, down);
}
