/* check_handlers.c - see check_handlers.h. */
#include "check_handlers.h"

#include "cleanup.h"
#include "config_rules.h"
#include "image_program.h"
#include "json_set.h"
#include "program_command.h"

#include <stdio.h>
#include <unistd.h>

/* The file that a program's first word stands for. */
static int find_program(char *const *words, struct buf *finding, struct err *err) {
    struct program_command command;
    int r = program_command_init(&command, "", (const char *const *)words, err);
    if (r == 0)
        r = buf_add_str(finding, command.file);
    program_command_free(&command);
    return r;
}

static int find_plugin(char *const *words, struct buf *finding, struct err *err) {
    if (access(words[0], R_OK) < 0)
        return err_set(err, -ENOENT, "%.200s: %s", words[0], err_errno_text(-errno));
    return buf_add_str(finding, words[0]);
}

static int find_image(const char *spec, struct buf *finding, struct err *err) {
    char path[PATH_MAX];
    int r = image_program_find(path, err);
    if (r == 0)
        r = image_program_check(path, spec, err);
    return r == 0 ? buf_add_str(finding, path) : r;
}

static int add(json_t *list, size_t rule, const char *kind, const struct buf *finding, int r, const struct err *err) {
    json_t *item = json_pack("{s:s,s:b}", "handler", kind, "ok", r >= 0);
    json_set_text(item, "finding", r >= 0 ? finding->p : err->text);
    json_object_set_new(item, "rule", rule ? json_integer((json_int_t)rule) : json_null());
    return json_array_append_new(list, item);
}

struct named {
    enum config_handler kind;
    char *const *words;
    const char *image;
};

static int check_one(json_t *list, size_t rule, const struct named *handler, bool *ok) {
    static const char *const kinds[] = {[CONFIG_HANDLER_PROGRAM] = "program",
                                        [CONFIG_HANDLER_POOL] = "pool",
                                        [CONFIG_HANDLER_PLUGIN] = "plugin",
                                        [CONFIG_HANDLER_IMAGE] = "image"};
    _cleanup_buf_ struct buf finding = {0};
    struct err err = {0};
    int r = 0;
    if (handler->kind == CONFIG_HANDLER_GENERAL || handler->kind == CONFIG_HANDLER_DISCARD)
        return 0;
    if (handler->kind == CONFIG_HANDLER_IMAGE)
        r = find_image(handler->image, &finding, &err);
    else if (handler->kind == CONFIG_HANDLER_PLUGIN)
        r = find_plugin(handler->words, &finding, &err);
    else
        r = find_program(handler->words, &finding, &err);
    if (r == -ENOMEM)
        return -1;
    *ok = *ok && r >= 0;
    return add(list, rule, kinds[handler->kind], &finding, r, &err);
}

static struct named general(const struct options *options) {
    return (struct named){
        .kind = options->plugin    ? CONFIG_HANDLER_PLUGIN
                : options->program ? (options->pool ? CONFIG_HANDLER_POOL : CONFIG_HANDLER_PROGRAM)
                : options->image   ? CONFIG_HANDLER_IMAGE
                                   : CONFIG_HANDLER_GENERAL,
        .words = options->plugin ? options->plugin : options->program,
        .image = options->image,
    };
}

json_t *check_handlers(const struct options *options, bool *ret_ok) {
    json_t *list = json_array();
    struct named all = general(options);
    *ret_ok = true;
    int r = list ? 0 : -1;
    for (size_t i = 0; options->rules && i < options->rules->n && r == 0; i++) {
        const struct config_rule *rule = &options->rules->rules[i];
        struct named handler = {rule->handler, rule->program, rule->image};
        r = check_one(list, i + 1, &handler, ret_ok);
    }
    if (r == 0)
        r = check_one(list, 0, &all, ret_ok);
    if (r == 0)
        return list;
    json_decref(list);
    return NULL;
}
