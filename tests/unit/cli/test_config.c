/* test_config.c - options from a configuration file: every key, who wins, where values come from, rules, and what is
 * said about mistakes. */
#include "options_table.h"

#include "config_rules.h"
#include "doc.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/test_config.XXXXXX";

static int up(void **state) {
    for (size_t o = 0; o < n_options; o++)
        if (option_table[o].variable)
            unsetenv(option_table[o].variable);
    setenv("HOME", "/home/somebody", 1);
    unsetenv("XDG_STATE_HOME");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int down(void **state) {
    return unlink(path);
}

static void write_file(const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* froe COMMAND ... --config FILE, with up to four more words. */
struct line {
    const char *command, *words[4];
};

static int read_file(struct line line, const char *text, struct options *ret_options, struct err *err) {
    static char *argv[9];
    int argc = 0;
    write_file(text);
    argv[argc++] = (char *)(uintptr_t) "froe";
    argv[argc++] = (char *)(uintptr_t)line.command;
    argv[argc++] = (char *)(uintptr_t) "--config";
    argv[argc++] = path;
    for (size_t i = 0; i < 4 && line.words[i]; i++)
        argv[argc++] = (char *)(uintptr_t)line.words[i];
    argv[argc] = NULL;
    return options_parse(argc, argv, ret_options, err);
}

static struct options get(struct line line, const char *text) {
    struct options options;
    struct err err = {0};
    if (read_file(line, text, &options, &err) < 0)
        fail_msg("%s", err.text);
    return options;
}

static const struct option_origin *origin(const struct options *options, const char *name) {
    for (size_t o = 0; o < n_options; o++)
        if (strcmp(option_table[o].name, name) == 0)
            return &options->origins[o];
    fail_msg("no option %s", name);
    return NULL;
}

static void test_every_option_has_a_key(void **state) {
    struct options options = get((struct line){"run", {0}}, "bucket_prefix: in-\n"
                                                            "max_pollers: 1\n"
                                                            "max_runs_per_bucket: 0\n"
                                                            "slots: 7\n"
                                                            "cron: \"*/5 * * * *\"\n"
                                                            "store: sqlite:/x\n"
                                                            "worker: w\n"
                                                            "lease: 10s\n"
                                                            "history: 1h\n"
                                                            "history_size: 64MiB\n"
                                                            "retries: 9\n"
                                                            "timeout: 2m\n"
                                                            "backoff: 2s\n"
                                                            "min_age: 0\n"
                                                            "include: ['*.a', '*.b']\n"
                                                            "exclude: x*\n"
                                                            "look_ahead: 5\n"
                                                            "once: true\n"
                                                            "dry_run: false\n"
                                                            "log: json\n"
                                                            "log_level: warn\n"
                                                            "program: [cat, -n, 5, \"\"]\n");
    assert_string_equal(options.bucket_prefix, "in-");
    assert_int_equal(options.max_pollers, 1);
    assert_int_equal(options.max_runs_per_bucket, 0);
    assert_int_equal(options.slots, 7);
    assert_string_equal(options.cron, "*/5 * * * *");
    assert_string_equal(options.store, "sqlite:/x");
    assert_string_equal(options.worker, "w");
    assert_int_equal(options.lease_us, 10000000);
    assert_int_equal(options.history_us, INT64_C(3600000000));
    assert_int_equal(options.history_bytes, 64 << 20);
    assert_int_equal(options.retries, 9);
    assert_int_equal(options.timeout_us, 120000000);
    assert_int_equal(options.backoff_us, 2000000);
    assert_int_equal(options.min_age_us, 0);
    assert_int_equal(options.n_include, 2);
    assert_string_equal(options.include[1], "*.b");
    assert_int_equal(options.n_exclude, 1);
    assert_int_equal(options.look_ahead, 5);
    assert_true(options.once);
    assert_false(options.dry_run);
    assert_int_equal(options.log_format, LOG_JSON);
    assert_int_equal(options.log_level, LOG_WARN);
    assert_string_equal(options.program[0], "cat");
    assert_string_equal(options.program[2], "5");
    assert_string_equal(options.program[3], "");
    assert_null(options.program[4]);
    assert_int_equal(options.program_origin.line, 22);
    options_free(&options);
    /* Whatever is added to the table is known as a key. */
    for (size_t o = 0; o < n_options; o++) {
        char key[OPTION_KEY_MAX], text[100];
        struct err err = {0};
        if (!option_in_file(&option_table[o]))
            continue;
        snprintf(text, sizeof text, "%s:", option_key(&option_table[o], key));
        assert_int_equal(read_file((struct line){"run", {0}}, text, &options, &err), -EINVAL);
        assert_null(strstr(err.text, "unknown"));
        assert_non_null(strstr(err.text, "value"));
    }
}

static void test_who_wins(void **state) {
    const char *text = "slots: 7\nretries: 7\ntimeout: 7s\nexclude: [a, b]\ndiscard: true\n";
    setenv("FROE_RETRIES", "8", 1);
    setenv("FROE_TIMEOUT", "8s", 1);
    struct options options = get((struct line){"run", {"--timeout", "9s", "--exclude=c"}}, text);
    unsetenv("FROE_RETRIES");
    unsetenv("FROE_TIMEOUT");
    assert_int_equal(options.slots, 7);
    assert_int_equal(origin(&options, "slots")->from, FROM_FILE);
    assert_int_equal(origin(&options, "slots")->line, 1);
    assert_string_equal(origin(&options, "slots")->given, "7");
    assert_int_equal(options.retries, 8);
    assert_int_equal(origin(&options, "retries")->from, FROM_VARIABLE);
    assert_int_equal(options.timeout_us, 9000000);
    assert_int_equal(origin(&options, "timeout")->from, FROM_COMMAND_LINE);
    assert_int_equal(options.n_exclude, 1);
    assert_string_equal(options.exclude[0], "c");
    assert_int_equal(origin(&options, "backoff")->from, FROM_DEFAULT);
    assert_int_equal(origin(&options, "worker")->from, FROM_NOWHERE);
    assert_true(options.discard);
    options_free(&options);
}

static void test_the_file_by_its_variable(void **state) {
    write_file("slots: 7\ndiscard: true");
    setenv("FROE_CONFIG", path, 1);
    char *argv[] = {(char *)(uintptr_t) "froe", (char *)(uintptr_t) "run", NULL};
    struct options options;
    struct err err = {0};
    assert_int_equal(options_parse(2, argv, &options, &err), 0);
    assert_int_equal(options.slots, 7);
    assert_string_equal(options.config, path);
    options_free(&options);
    /* Those who look take the store from it. */
    write_file("store: sqlite:/there\nslots: 7\nrules: nonsense, which is not theirs to mind");
    argv[1] = (char *)(uintptr_t) "status";
    assert_int_equal(options_parse(2, argv, &options, &err), 0);
    assert_string_equal(options.store, "sqlite:/there");
    options_free(&options);
    unsetenv("FROE_CONFIG");
}

static void test_handlers(void **state) {
    static const struct {
        struct line line;
        const char *text, *program;
        bool discard, pool;
        const char *plugin;
    } cases[] = {
        {{"run", {0}}, "plugin: [x.so, a]", NULL, false, false, "x.so"},
        {{"run", {"--plugin", "y.so"}}, "plugin: [x.so, a]", NULL, false, false, "y.so"},
        {{"run", {"--plugin", "y.so"}}, "program: [cat]\npool: true", NULL, false, false, "y.so"},
        {{"run", {"--plugin", "y.so"}}, "discard: true", NULL, false, false, "y.so"},
        {{"run", {"--", "echo"}}, "plugin: [x.so, a]", "echo", false, false, NULL},
        {{"run", {"--discard"}}, "plugin: [x.so, a]", NULL, true, false, NULL},
        {{"run", {"--", "echo"}}, "program: [cat]", "echo", false, false},
        {{"run", {"--", "echo"}}, "discard: true", "echo", false, false},
        {{"run", {"--", "echo"}}, "pool: true", "echo", false, true},
        {{"run", {"--discard"}}, "program: [cat]\npool: true", NULL, true, false},
        {{"run", {"--discard"}}, "discard: false", NULL, true, false},
        {{"run", {0}}, "program: [cat]\ndiscard: false", "cat", false, false},
        {{"run", {0}}, "program: [cat]\npool: true", "cat", false, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct options options = get(cases[i].line, cases[i].text);
        assert_int_equal(options.discard, cases[i].discard);
        assert_int_equal(options.pool, cases[i].pool);
        if (cases[i].program)
            assert_string_equal(options.program[0], cases[i].program);
        else
            assert_null(options.program);
        if (cases[i].plugin)
            assert_string_equal(options.plugin[0], cases[i].plugin);
        else
            assert_null(options.plugin);
        options_free(&options);
    }
}

static void test_rules(void **state) {
    struct options options = get((struct line){"run", {0}}, "retries: 4\n"
                                                            "program: [general]\n"
                                                            "rules:\n"
                                                            "  - buckets: [bucket-a*, '*x']\n"
                                                            "    keys: {include: '*.jpg', exclude: [a, b]}\n"
                                                            "    when: size > 10 && content_type == 'x'\n"
                                                            "    handler: {program: [own, word]}\n"
                                                            "    retries: 0\n"
                                                            "    timeout: 5m\n"
                                                            "    min_age: 1h\n"
                                                            "  - keys: '*.tmp'\n"
                                                            "    handler: discard\n"
                                                            "  - handler: {pool: [worker]}\n"
                                                            "  - {}\n");
    assert_int_equal(options.rules->n, 4);
    const struct config_rule *rule = options.rules->rules;
    const struct rule *match = options.rules->matches;
    assert_int_equal(match[0].buckets.n, 2);
    assert_string_equal(match[0].buckets.globs[1], "*x");
    assert_int_equal(match[0].include.n, 1);
    assert_int_equal(match[0].exclude.n, 2);
    assert_true(rule_when_needs_headers(match[0].when));
    assert_int_equal(rule[0].handler, CONFIG_HANDLER_PROGRAM);
    assert_string_equal(rule[0].program[1], "word");
    assert_int_equal(rule[0].retries, 0);
    assert_int_equal(rule[0].timeout_us, INT64_C(300000000));
    assert_int_equal(rule[0].min_age_us, INT64_C(3600000000));
    assert_int_equal(rule[0].node->line, 4);
    assert_int_equal(rule[1].handler, CONFIG_HANDLER_DISCARD);
    assert_int_equal(rule[1].retries, 4);
    assert_int_equal(rule[1].timeout_us, 60000000);
    assert_int_equal(rule[2].handler, CONFIG_HANDLER_POOL);
    assert_string_equal(rule[2].program[0], "worker");
    assert_int_equal(rule[3].handler, CONFIG_HANDLER_GENERAL);
    assert_null(match[3].when);
    options_free(&options);
}

static void test_caps(void **state) {
    struct options options = get((struct line){"run", {0}}, "bucket_prefix: in-\n"
                                                            "max_runs_per_bucket: 9\n"
                                                            "discard: true\n"
                                                            "rules:\n"
                                                            "  - buckets: [in-a*, in-b]\n"
                                                            "    keys: '*.jpg'\n"
                                                            "    max_runs_per_bucket: 3\n"
                                                            "  - buckets: in-abc\n"
                                                            "    max_runs_per_bucket: 4\n"
                                                            "  - buckets: in-d\n"
                                                            "    max_runs_per_bucket: 0\n"
                                                            "  - {}\n");
    static const struct {
        const char *bucket;
        uint32_t cap;
    } cases[] = {{"in-a", 3}, {"in-abc", 3}, {"in-b", 3}, {"in-bc", 9}, {"in-c", 9}, {"in-d", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(config_rules_cap(options.rules, bytes_str(cases[i].bucket), options.max_runs_per_bucket),
                         cases[i].cap);
    assert_int_equal(config_rules_cap(NULL, BYTES("in-a"), 9), 9);
    options_free(&options);
}

/* What a rule does not say is as for all. */
static void test_rules_confine(void **state) {
    struct options options = get((struct line){"run", {0}}, "confine: basic\n"
                                                            "limit_files: 30\n"
                                                            "allow_write: [/a, /b]\n"
                                                            "nice: 3\n"
                                                            "program: [general]\n"
                                                            "rules:\n"
                                                            "  - confine: best-effort\n"
                                                            "    allow_network: true\n"
                                                            "    limit_memory: 1GiB\n"
                                                            "    nice: 0\n"
                                                            "  - allow_write: /c\n"
                                                            "    limit_cpu: 5s\n"
                                                            "    handler: {plugin: [x.so, word]}\n"
                                                            "  - confine: no\n"
                                                            "    limit_files: 9\n"
                                                            "    limit_processes: 8\n"
                                                            "    limit_file_size: 7\n");
    const struct config_rule *rule = options.rules->rules;
    const struct options_confine *confine = &rule[0].confine;
    assert_true(confine->level == CONFINE_STRICT && confine->best_effort && confine->network);
    assert_true(confine->memory_bytes == 1 << 30 && confine->files == 30 && confine->nice == 0);
    assert_int_equal(confine->n_write, 2);
    assert_string_equal(confine->write[1], "/b");
    confine = &rule[1].confine;
    assert_true(confine->level == CONFINE_BASIC && !confine->network && confine->nice == 3);
    assert_int_equal(confine->n_write, 1);
    assert_string_equal(confine->write[0], "/c");
    assert_int_equal(confine->cpu_us, 5000000);
    assert_int_equal(rule[1].handler, CONFIG_HANDLER_PLUGIN);
    assert_string_equal(rule[1].program[1], "word");
    confine = &rule[2].confine;
    assert_true(confine->level == CONFINE_NO && confine->files == 9 && confine->processes == 8);
    assert_int_equal(confine->file_bytes, 7);
    options_free(&options);
}

static void test_refused(void **state) {
    static const struct {
        const char *text, *error; /* after the file's name */
    } cases[] = {
        {"slotss: 3", ":1:1: unknown key 'slotss'; did you mean slots?"},
        {"max-pollers: 3", ":1:1: unknown key 'max-pollers'; did you mean max_pollers?"},
        {"config: x", ":1:1: unknown key 'config'; "},
        {"help: true", ":1:1: unknown key 'help'; "},
        {"json: true", ":1:1: unknown key 'json'; "},
        {"slots: many", ":1:8: slots: 'many' is not a number from 1 to 10000"},
        {"slots: 0", ":1:8: slots: '0' is not a number from 1 to 10000"},
        {"slots: '3'", ":1:8: slots is a number: write it without quotes"},
        {"slots: [3]", ":1:8: slots is one value, not a list"},
        {"slots:", ":1:7: slots has no value"},
        {"once: yes", ":1:7: once is true or false"},
        {"once: 'true'", ":1:7: once is true or false"},
        {"once:", ":1:6: once is true or false; it has no value"},
        {"timeout: 60", ":1:10: timeout: '60' is not a length of time"},
        {"history_size: 3 bananas", ":1:15: history_size: '3 bananas' is not a size"},
        {"cron: often", ":1:7: cron: 'often'"},
        {"store: mysql://u:secret@h/d", ":1:8: store: 'mysql://u:***@h/d' is not a store"},
        {"log: xml", ":1:6: log: 'xml' is neither text nor json"},
        {"include: '[a'", ":1:10: include: '[a' is not a pattern"},
        {"exclude: []", ":1:10: exclude: an empty list matches nothing"},
        {"include: [a, [b]]", ":1:14: include is one value, not a list"},
        {"include: [a, ]\nexclude: {a: b}", ":2:10: exclude is one value, not a mapping"},
        {"bucket_prefix: ''", ":1:16: bucket_prefix: an empty prefix"},
        {"- a", ":1:1: a configuration file is a mapping"},
        {"text", ":1:1: a configuration file is a mapping"},
        {"program: ls", ":1:10: a program is a list of words"},
        {"program: []", ":1:10: a program is a list of words"},
        {"program: ['']", ":1:11: program: its name is empty"},
        {"program: [a, ~]", ":1:14: program: each word is a text, not nothing"},
        {"program: [a, [b]]", ":1:14: program: each word is a text, not a list"},
        {"program: [a]\ndiscard: true", ":1:10: a program and discard exclude each other"},
        {"plugin: [a]\ndiscard: true", ":1:9: a plugin excludes a program and discard"},
        {"plugin: [a]\nprogram: [b]", ":1:9: a plugin excludes a program and discard"},
        {"plugin: a", ":1:9: a program is a list of words"},
        {"confine: true", ":1:10: confine: 'true' is not no, basic, yes or best-effort"},
        {"allow_write: [/a, b]", ":1:19: allow_write: 'b' is no absolute path"},
        {"allow_write: []", ":1:14: allow_write: an empty list says nothing"},
        {"limit_cpu: 5", ":1:12: limit_cpu: '5' is not a length of time"},
        {"rules: [{confine: x}]", ":1:19: confine: 'x' is not no, basic, yes or best-effort"},
        {"rules: [{limit_memory: x}]", ":1:24: limit_memory: 'x' is not a size"},
        {"rules: {}", ":1:8: rules are a list"},
        {"rules: []", ":1:8: rules: an empty list"},
        {"rules: [a]", ":1:9: a rule is a mapping"},
        {"rules: [{bucket: x}]", ":1:10: unknown key 'bucket' of a rule; did you mean buckets?"},
        {"rules: [{buckets: []}]", ":1:19: buckets: an empty list matches nothing"},
        {"rules: [{buckets: }]", ":1:19: buckets: a pattern is a text, not nothing"},
        {"rules: [{buckets: [{}]}]", ":1:20: buckets: a pattern is a text, not a mapping"},
        {"rules: [{keys: '[a'}]", ":1:16: keys: '[a' is not a pattern"},
        {"rules: [{keys: {includes: a}}]", ":1:17: unknown key 'includes' of keys; did you mean include?"},
        {"rules: [{keys: {exclude: ['[']}}]", ":1:27: exclude: '[' is not a pattern"},
        {"rules: [{when: }]", ":1:16: when: an expression is a text, not nothing"},
        {"rules: [{when: [a]}]", ":1:16: when: an expression is a text, not a list"},
        {"rules: [{when: size}]", ":1:16: when: column 1: the expression gives an int, not a bool"},
        {"rules: [{when: sizes > 1}]",
         ":1:16: when: column 1: sizes is not known; the variables are bucket, key, size, etag, last_modified, "
         "content_type and metadata; did you mean size?"},
        {"include: 'postgres://u:pw@h/[a'", ":1:10: include: this is wrong here; it is not shown, "},
        {"output: {bucket: b, key: '{key}', endpoint: 'http://h:x'}", ":1:45: endpoint 'http://h:x' is not http"},
        {"output: {bucket: b, key: '{key}', region: 'a b'}", ":1:43: region 'a b' is not a region's name"},
        {"rules: [{when: size >}]", ":1:16: when: column 7: "},
        {"rules: [{handler: delete}]", ":1:19: handler: it is discard, {program: [WORD, ...]}, "},
        {"rules: [{handler: {image: {widht: 1}}}]", ":1:28: unknown key 'widht' of image; did you mean width?"},
        {"rules: [{handler: {image: {width: '1'}}}]", ":1:35: width is a number, without quotes, not a text"},
        {"rules: [{handler: {image: {outputs: [{name: a}, {name: b, fit: fil}]}}}]", ":1:64: fit: 'fil' is none of "},
        {"image: [a]", ":1:8: this is a mapping"},
        {"image: {width: 7}\nprogram: [a]", ":1:8: image and a program exclude each other"},
        {"image: {width: 7}\ndiscard: true", ":1:8: image and discard exclude each other"},
        {"rules: [{handler: {}}]", ":1:19: handler: it is "},
        {"rules: [{handler: {program: [a], pool: [a]}}]", ":1:19: handler: it is "},
        {"rules: [{handler: {programm: [a]}}]", ":1:20: unknown key 'programm' of a handler; did you mean program?"},
        {"rules: [{handler: {program: a}}]", ":1:29: a program is a list of words"},
        {"rules: [{retries: -1}]", ":1:19: retries: '-1' is not a number from 0 to 1000"},
        {"rules: [{timeout: 5}]", ":1:19: timeout: '5' is not a length of time"},
        {"rules: [{min_age: soon}]", ":1:19: min_age: 'soon' is not a length of time"},
        {"rules: [{max_runs_per_bucket: many}]", ":1:31: max_runs_per_bucket: 'many' is not a number"},
        {"rules: [{slots: 3}]", ":1:10: unknown key 'slots' of a rule; "},
        {"rules: [{buckets: photos-*, handler: discard}]", ":1:19: this rule's 'photos-*' can never match"},
        {"rules: [{buckets: [bucket-*, photos-*], handler: discard}]", ":1:30: this rule's 'photos-*' can never"},
        {"rules: [{buckets: bucket, handler: discard}]", ":1:19: this rule's 'bucket' can never match"},
        {"rules: [{handler: discard}, {keys: a}]", ":1:29: this rule has no handler"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct options options;
        struct err err = {0};
        assert_int_equal(read_file((struct line){"run", {0}}, cases[i].text, &options, &err), -EINVAL);
        char expected[300];
        snprintf(expected, sizeof expected, "%s%s", path, cases[i].error);
        if (strncmp(err.text, expected, strlen(expected)) != 0)
            fail_msg("'%s' gives: %s", cases[i].text, err.text);
    }
}

/* A store's URI where another value belongs, in whatever shape, and its password in no error about it. */
static void test_no_password_is_shown(void **state) {
    static const char *const uris[] = {"postgres://u:sEcReT@h/db", "postgres://h/db?password=sEcReT",
                                       "host=h password=sEcReT"};
    static const char *const texts[] = {
        "slots: '%s'",
        "slots: %s",
        "timeout: %s",
        "history_size: %s",
        "cron: %s",
        "store: 'x%s'",
        "log: %s",
        "log_level: %s",
        "include: '[%s'",
        "exclude: [a, '[%s']",
        "confine: %s",
        "pool_body: %s",
        "allow_write: %s",
        "once: %s",
        "output: %s",
        "output: {bucket: '%s', key: '{key}'}",
        "output: {bucket: b, key: '%s{kez}'}",
        "output: {bucket: b, key: '{key}', endpoint: '%s'}",
        "output: {bucket: b, key: '{key}', endpoint: 'http://%s'}",
        "output: {bucket: b, key: '{key}', region: '%s'}",
        "output: {bucket: b, key: '{key}', part_size: '%s'}",
        "then: %s",
        "then: 'move:%s'",
        "then: 'tag:,%s'",
        "then: {move: '%s'}",
        "then: ['%s']",
        "program: '%s'",
        "program: ['', '%s']",
        "image: {format: '%s'}",
        "image: {width: '%s'}",
        "image: {'%s': 3}",
        "rules: '%s'",
        "rules: ['%s']",
        "rules: [{'%s': 3}]",
        "rules: [{buckets: '%s', handler: discard}]",
        "rules: [{buckets: [bucket-a, '%s'], handler: discard}]",
        "rules: [{keys: '[%s', handler: discard}]",
        "rules: [{when: '%s', handler: discard}]",
        "rules: [{when: '\"%s\"', handler: discard}]",
        "rules: [{handler: '%s'}]",
        "rules: [{handler: {program: '%s'}}]",
        "rules: [{handler: {image: {fit: '%s'}}}]",
        "rules: [{timeout: '%s'}]",
        "'%s': 3",
        "'%s'",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        for (size_t u = 0; u < sizeof uris / sizeof uris[0]; u++) {
            struct options options;
            struct err err = {0};
            char text[200];
            const char *place = strstr(texts[i], "%s");
            snprintf(text, sizeof text, "%.*s%s%s", (int)(place - texts[i]), texts[i], uris[u], place + 2);
            int r = read_file((struct line){"run", {0}}, text, &options, &err);
            if (r != -EINVAL || strstr(err.text, "sEcReT") || strncmp(err.text, path, strlen(path)) != 0)
                fail_msg("'%s' gives %d: %s", text, r, err.text);
        }
}

/* A value that something else overrides has to be right, too. */
static void test_overridden_values_are_checked(void **state) {
    struct options options;
    struct err err = {0};
    assert_int_equal(read_file((struct line){"run", {"--discard", "--slots", "3"}}, "slots: x", &options, &err),
                     -EINVAL);
    assert_non_null(strstr(err.text, ":1:8: slots"));
}

static void test_any_allocation_may_fail(void **state) {
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        struct options options;
        struct err err = {0};
        mem_fail_at(n, 0);
        int r = read_file(
            (struct line){"run", {0}},
            "program: [a]\nstore: sqlite:/x\nrules:\n - buckets: [bucket-a, bucket-b]\n   keys: {exclude: x}\n"
            "   when: size > 1\n   handler: {program: [b]}\n   confine: no\n",
            &options, &err);
        done = mem_fail_count() < n;
        mem_fail_at(0, 0);
        if (r == 0)
            options_free(&options);
        assert_int_equal(r, done ? 0 : -ENOMEM);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_option_has_a_key),
        cmocka_unit_test(test_who_wins),
        cmocka_unit_test(test_the_file_by_its_variable),
        cmocka_unit_test(test_handlers),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_caps),
        cmocka_unit_test(test_rules_confine),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_no_password_is_shown),
        cmocka_unit_test(test_overridden_values_are_checked),
        cmocka_unit_test(test_any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, up, down);
}
