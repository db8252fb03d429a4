/* The published conformance suite (google/cel-spec, tests/simple/testdata), from the folder given as the argument:
 *
 *     test_cel_conformance FOLDER
 *
 * Without the folder the test is skipped and says so. Every case counts but those that need what this implementation
 * leaves out, by these rules alone:
 *
 *     message     the expression makes a protocol buffer message: a name, other than `in`, followed by '{'
 *     value       a binding or the expected value is a message (other than a timestamp or duration) or an enum
 *     check only  the case asks only what the type checker infers
 *
 * A case that expects an error has to be an expression that can be read: that it is refused is not enough. */
#include "cel.h"
#include "cleanup.h"
#include "textproto.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

#define SKIPPED 77 /* for meson */
#define VARIABLES_MAX 16

enum skip { SKIP_NONE, SKIP_MESSAGE, SKIP_VALUE, SKIP_CHECK_ONLY, SKIPS };
static const char *const skip_names[] = {"", "message", "value", "check only"};

struct counts {
    unsigned passed, failed, skipped[SKIPS];
};

/* Values from messages of type cel.expr.Value. What they are made of lives as long as the test. */

static void *take(size_t n) {
    struct held {
        struct held *next;
    };
    static struct held *all; /* what is made lives as long as the process; so no leak checker minds */
    struct held *held = calloc(1, sizeof *held + n);
    if (!held)
        abort();
    held->next = all;
    all = held;
    return held + 1;
}

static bool value_of(const struct textproto *message, struct cel_value *ret_value);

static bool list_of(const struct textproto *message, struct cel_value *ret_value) {
    size_t n = 0;
    for (const struct textproto *at = textproto_get(message, "values"); at; at = textproto_again(at))
        n++;
    struct cel_list *list = take(sizeof *list);
    struct cel_value *items = take(n * sizeof *items);
    *list = (struct cel_list){n, items};
    for (const struct textproto *at = textproto_get(message, "values"); at; at = textproto_again(at))
        if (!value_of(at, items++))
            return false;
    *ret_value = (struct cel_value){.kind = CEL_LIST, .list = list};
    return true;
}

static bool map_of(const struct textproto *message, struct cel_value *ret_value) {
    size_t n = 0;
    for (const struct textproto *at = textproto_get(message, "entries"); at; at = textproto_again(at))
        n++;
    struct cel_map *map = take(sizeof *map);
    struct cel_entry *entries = take(n * sizeof *entries);
    *map = (struct cel_map){n, entries, NULL};
    for (const struct textproto *at = textproto_get(message, "entries"); at; at = textproto_again(at), entries++)
        if (!value_of(textproto_get(at, "key"), &entries->key) ||
            !value_of(textproto_get(at, "value"), &entries->value))
            return false;
    *ret_value = (struct cel_value){.kind = CEL_MAP, .map = map};
    return true;
}

static int64_t number_in(const struct textproto *message, const char *name) {
    const struct textproto *field = textproto_get(message, name);
    return field ? strtoll(field->text.p, NULL, 10) : 0;
}

static bool object_of(const struct textproto *message, struct cel_value *ret_value) {
    const struct textproto *time = textproto_get(message, "type.googleapis.com/google.protobuf.Timestamp");
    enum cel_kind kind = time ? CEL_TIMESTAMP : CEL_DURATION;
    if (!time)
        time = textproto_get(message, "type.googleapis.com/google.protobuf.Duration");
    *ret_value = (struct cel_value){
        .kind = (uint8_t)kind, .integer = number_in(time, "seconds"), .ns = (int32_t)number_in(time, "nanos")};
    return time != NULL;
}

static bool type_of(struct bytes name, struct cel_value *ret_value) {
    for (enum cel_kind kind = CEL_NULL; kind <= CEL_TYPE; kind++)
        if (bytes_equal(name, bytes_str(cel_kind_name(kind)))) {
            *ret_value = (struct cel_value){.kind = CEL_TYPE, .type = kind};
            return true;
        }
    return false;
}

static double double_of(struct bytes text) {
    bool negative = bytes_starts(text, BYTES("-"));
    struct bytes name = negative ? bytes_of(text.p + 1, text.n - 1) : text;
    double number = bytes_equal_nocase(name, BYTES("inf")) || bytes_equal_nocase(name, BYTES("infinity")) ? INFINITY
                    : bytes_equal_nocase(name, BYTES("nan"))                                              ? NAN
                                                             : strtod(name.p, NULL);
    return negative ? -number : number;
}

/* False for what has no value here: messages and enums. */
static bool value_of(const struct textproto *message, struct cel_value *ret_value) {
    const struct textproto *field = message ? message->first : NULL;
    struct cel_value value = {.kind = CEL_NULL};
    if (!field)
        return false;
    if (bytes_equal(field->name, BYTES("null_value")))
        ;
    else if (bytes_equal(field->name, BYTES("bool_value")))
        value = (struct cel_value){.kind = CEL_BOOL, .boolean = bytes_equal(field->text, BYTES("true"))};
    else if (bytes_equal(field->name, BYTES("int64_value")))
        value = (struct cel_value){.kind = CEL_INT, .integer = strtoll(field->text.p, NULL, 0)};
    else if (bytes_equal(field->name, BYTES("uint64_value")))
        value = (struct cel_value){.kind = CEL_UINT, .natural = strtoull(field->text.p, NULL, 0)};
    else if (bytes_equal(field->name, BYTES("double_value")))
        value = (struct cel_value){.kind = CEL_DOUBLE, .number = double_of(field->text)};
    else if (bytes_equal(field->name, BYTES("string_value")))
        value = (struct cel_value){.kind = CEL_STRING, .text = field->text};
    else if (bytes_equal(field->name, BYTES("bytes_value")))
        value = (struct cel_value){.kind = CEL_BYTES, .text = field->text};
    else if (bytes_equal(field->name, BYTES("list_value")))
        return list_of(field, ret_value);
    else if (bytes_equal(field->name, BYTES("map_value")))
        return map_of(field, ret_value);
    else if (bytes_equal(field->name, BYTES("type_value")))
        return type_of(field->text, ret_value);
    else if (bytes_equal(field->name, BYTES("object_value")))
        return object_of(field, ret_value);
    else
        return false;
    *ret_value = value;
    return true;
}

/* More than CEL's equality: kinds have to be the same, -0.0 is not 0.0, NaN is NaN. */
static bool same(const struct cel_value *a, const struct cel_value *b) {
    if (a->kind != b->kind)
        return false;
    if (a->kind == CEL_DOUBLE)
        return (isnan(a->number) && isnan(b->number)) || memcmp(&a->number, &b->number, sizeof a->number) == 0;
    if (a->kind == CEL_LIST) {
        bool equal = a->list->n == b->list->n;
        for (size_t i = 0; equal && i < a->list->n; i++)
            equal = same(&a->list->items[i], &b->list->items[i]);
        return equal;
    }
    if (a->kind != CEL_MAP)
        return cel_equal(a, b);
    bool equal = a->map->n == b->map->n;
    for (size_t i = 0; equal && i < a->map->n; i++) {
        equal = false;
        for (size_t k = 0; !equal && k < b->map->n; k++)
            equal = same(&a->map->entries[i].key, &b->map->entries[k].key) &&
                    same(&a->map->entries[i].value, &b->map->entries[k].value);
    }
    return equal;
}

/* Does a name stand before a '{'? Strings and comments are passed over. */
static bool makes_message(struct bytes expr) {
    struct bytes word = BYTES_NONE;
    for (size_t i = 0; i < expr.n; i++) {
        char c = expr.p[i];
        if (c == '/' && i + 1 < expr.n && expr.p[i + 1] == '/') {
            while (i < expr.n && expr.p[i] != '\n')
                i++;
        } else if (c == '"' || c == '\'') {
            bool raw = word.n && (word.p[word.n - 1] == 'r' || word.p[word.n - 1] == 'R');
            bool triple = i + 2 < expr.n && expr.p[i + 1] == c && expr.p[i + 2] == c;
            for (i += triple ? 3 : 1; i < expr.n; i++) {
                if (expr.p[i] == '\\' && !raw)
                    i++;
                else if (expr.p[i] == c && (!triple || (i + 2 < expr.n && expr.p[i + 1] == c && expr.p[i + 2] == c)))
                    break;
            }
            i += triple ? 2 : 0;
            word = BYTES_NONE;
        } else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_') {
            word = word.n && word.p + word.n == expr.p + i ? bytes_of(word.p, word.n + 1) : bytes_of(expr.p + i, 1);
        } else if (c == '{' && word.n && !bytes_equal(word, BYTES("in"))) {
            return true;
        } else if (!strchr(" \t\n\r\f", c)) {
            word = BYTES_NONE;
        }
    }
    return false;
}

static struct bytes text_in(const struct textproto *message, const char *name) {
    const struct textproto *field = textproto_get(message, name);
    return field ? field->text : BYTES_NONE;
}

static enum cel_kind declared_kind(const struct textproto *test, struct bytes name) {
    static const struct {
        const char *name;
        enum cel_kind kind;
    } primitives[] = {{"BOOL", CEL_BOOL},     {"INT64", CEL_INT},     {"UINT64", CEL_UINT},
                      {"DOUBLE", CEL_DOUBLE}, {"STRING", CEL_STRING}, {"BYTES", CEL_BYTES}};
    for (const struct textproto *at = textproto_get(test, "type_env"); at; at = textproto_again(at)) {
        if (!bytes_equal(text_in(at, "name"), name))
            continue;
        const struct textproto *type = textproto_get(textproto_get(at, "ident"), "type");
        for (size_t i = 0; i < sizeof primitives / sizeof primitives[0]; i++)
            if (bytes_equal(text_in(type, "primitive"), bytes_str(primitives[i].name)))
                return primitives[i].kind;
        return textproto_get(type, "list_type") ? CEL_LIST : textproto_get(type, "map_type") ? CEL_MAP : CEL_DYN;
    }
    return CEL_DYN;
}

static const char *result_text(const struct cel_value *value) {
    static char text[200];
    if (value->kind == CEL_ERROR)
        snprintf(text, sizeof text, "error: %.*s", (int)value->error->text.n, value->error->text.p);
    else
        snprintf(text, sizeof text, "another %s", cel_kind_name((enum cel_kind)value->kind));
    return text;
}

/* NULL when it passed, else what was wrong; *ret_skip when it is not for us. */
static const char *run_test(const struct textproto *test, enum skip *ret_skip) {
    static char problem[ERR_TEXT_MAX + 16];
    struct cel_variable variables[VARIABLES_MAX];
    struct cel_value values[VARIABLES_MAX], expected = {.kind = CEL_BOOL, .boolean = true};
    size_t n = 0;
    *ret_skip = makes_message(text_in(test, "expr"))                                                 ? SKIP_MESSAGE
                : bytes_equal(text_in(test, "check_only"), BYTES("true"))                            ? SKIP_CHECK_ONLY
                : textproto_get(test, "value") && !value_of(textproto_get(test, "value"), &expected) ? SKIP_VALUE
                                                                                                     : SKIP_NONE;
    for (const struct textproto *at = textproto_get(test, "bindings"); at && *ret_skip == SKIP_NONE;
         at = textproto_again(at), n++) {
        if (n == VARIABLES_MAX)
            return "too many bindings";
        variables[n] = (struct cel_variable){text_in(at, "key"), declared_kind(test, text_in(at, "key"))};
        if (!value_of(textproto_get(textproto_get(at, "value"), "value"), &values[n]))
            *ret_skip = SKIP_VALUE;
    }
    if (*ret_skip != SKIP_NONE)
        return NULL;
    bool expects_error = textproto_get(test, "eval_error") || textproto_get(test, "any_eval_errors");
    struct cel_options options = {.variables = variables,
                                  .n_variables = n,
                                  .container = text_in(test, "container"),
                                  .unchecked =
                                      expects_error || bytes_equal(text_in(test, "disable_check"), BYTES("true"))};
    struct cel_program *program;
    struct err err;
    if (cel_compile_with(text_in(test, "expr"), &options, &program, NULL, &err) < 0) {
        snprintf(problem, sizeof problem, "refused: %s", err.text);
        return problem;
    }
    struct cel_arena arena = {0};
    struct cel_value value = {.kind = CEL_DYN};
    const char *failed = NULL;
    if (cel_eval(program, values, &arena, &value, &err) < 0)
        failed = strcpy(problem, err.text);
    else if (expects_error ? value.kind != CEL_ERROR : !same(&value, &expected))
        failed = result_text(&value);
    cel_arena_free(&arena);
    cel_free(program);
    return failed;
}

static void run_section(const char *file, const struct textproto *section, struct counts *counts) {
    for (const struct textproto *test = textproto_get(section, "test"); test; test = textproto_again(test)) {
        enum skip skip;
        const char *failed = run_test(test, &skip);
        counts->failed += failed != NULL;
        counts->skipped[skip] += !failed && skip != SKIP_NONE;
        counts->passed += !failed && skip == SKIP_NONE;
        if (failed)
            printf("FAILED %s:%u %s: %s\n    %s\n", file, test->line, text_in(test, "name").p,
                   text_in(test, "expr").p ? text_in(test, "expr").p : "", failed);
    }
}

static void print_counts(const char *name, const struct counts *counts) {
    unsigned skipped = 0;
    for (int i = SKIP_MESSAGE; i < SKIPS; i++)
        skipped += counts->skipped[i];
    printf("%-28s %4u passed %4u skipped %4u failed", name, counts->passed, skipped, counts->failed);
    for (int i = SKIP_MESSAGE; i < SKIPS; i++)
        if (counts->skipped[i])
            printf("%s%u %s", i == SKIP_MESSAGE || skipped == counts->skipped[i] ? "   skipped: " : ", ",
                   counts->skipped[i], skip_names[i]);
    printf("\n");
}

static int read_file(const char *path, struct buf *out) {
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    if (!file)
        return -errno;
    char block[4096];
    int r = 0;
    for (size_t n; r == 0 && (n = fread(block, 1, sizeof block, file)) > 0;)
        r = buf_add(out, block, n);
    return r;
}

static int run_file(const char *folder, const char *name, struct counts *total) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    _cleanup_buf_ struct buf text = {0};
    struct textproto *root;
    struct err err = {0};
    int r = read_file(path, &text);
    if (r == 0)
        r = textproto_read(buf_bytes(&text), &root, &err);
    if (r < 0) {
        printf("FAILED %s: cannot be read: %s\n", path, err.text[0] ? err.text : err_errno_text(r));
        total->failed++;
        return r;
    }
    struct counts counts = {0};
    for (const struct textproto *section = textproto_get(root, "section"); section; section = textproto_again(section))
        run_section(name, section, &counts);
    print_counts(name, &counts);
    total->passed += counts.passed;
    total->failed += counts.failed;
    for (int i = 0; i < SKIPS; i++)
        total->skipped[i] += counts.skipped[i];
    textproto_free(root);
    return 0;
}

static int is_vectors(const struct dirent *entry) {
    return bytes_ends(bytes_str(entry->d_name), BYTES(".textproto"));
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    struct dirent **entries;
    int n = scandir(argv[1], &entries, is_vectors, alphasort);
    if (n <= 0) {
        printf("SKIPPED: there are no conformance vectors in %s\n", argv[1]);
        return SKIPPED;
    }
    struct counts total = {0};
    for (int i = 0; i < n; i++) {
        run_file(argv[1], entries[i]->d_name, &total);
        free(entries[i]);
    }
    free(entries);
    print_counts("all", &total);
    return total.failed || total.passed == 0 ? 1 : 0;
}
