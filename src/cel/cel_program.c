/* cel_program.c - compiling: the parts in their order, and what all of them use to say what is wrong where. */
#include "cel_arena.h"
#include "cel_eval.h"
#include "cleanup.h"
#include "mem.h"
#include "re2_shim.h"
#include "zone.h"

#include <stdio.h>

DEFINE_CLEANUP(struct cel_program, cel_free)

/* Places. */

void cel_place(struct bytes source, uint32_t at, uint32_t *ret_line, uint32_t *ret_column) {
    uint32_t line = 1, column = 1;
    for (uint32_t i = 0; i < at && i < source.n; i++) {
        if (source.p[i] == '\n') {
            line++;
            column = 1;
        } else {
            column += ((unsigned char)source.p[i] & 0xc0) != 0x80;
        }
    }
    *ret_line = line;
    *ret_column = column;
}

void cel_place_text(struct bytes source, uint32_t at, char *ret_text) {
    uint32_t line, column;
    cel_place(source, at, &line, &column);
    if (source.n && memchr(source.p, '\n', source.n))
        snprintf(ret_text, 48, "line %u, column %u: ", line, column);
    else
        snprintf(ret_text, 48, "column %u: ", column);
}

#define EXCERPT_BEFORE 40 /* characters of a long line that are shown on either side of the place */
#define EXCERPT_AFTER 30

static bool goes_on(char c) {
    return ((unsigned char)c & 0xc0) == 0x80;
}

int cel_add_excerpt(struct buf *out, struct bytes source, uint32_t at) {
    size_t place = at < source.n ? at : source.n, from = place, to = place, before = 0;
    while (from > 0 && source.p[from - 1] != '\n' && before < EXCERPT_BEFORE) {
        from--;
        before += !goes_on(source.p[from]);
    }
    for (size_t n = 0; to < source.n && source.p[to] != '\n' && n < EXCERPT_AFTER; n++)
        for (to++; to < source.n && goes_on(source.p[to]); to++)
            ;
    bool cut_before = from > 0 && source.p[from - 1] != '\n', cut_after = to < source.n && source.p[to] != '\n';
    size_t start = out->n;
    int r = cut_before ? buf_add_str(out, "...") : 0;
    for (size_t i = from; i < to && r == 0; i++) /* one column each, and nothing that a terminal obeys */
        r = buf_add_byte(out, (unsigned char)source.p[i] < ' ' || source.p[i] == 0x7f ? ' ' : source.p[i]);
    if (r == 0 && cut_after)
        r = buf_add_str(out, "...");
    if (r == 0)
        r = buf_add_byte(out, '\n');
    for (size_t i = 0; i < before + (cut_before ? 3 : 0) && r == 0; i++)
        r = buf_add_byte(out, ' ');
    if (r == 0)
        r = buf_add_str(out, "^\n");
    if (r < 0 && out->p) {
        out->n = start;
        out->p[start] = '\0';
    }
    return r;
}

static int errno_of(enum cel_code code) {
    return code == CEL_NO_MEMORY ? -ENOMEM : code == CEL_TOO_MUCH ? -E2BIG : -EINVAL;
}

int cel_refuse(struct cel_compiler *compiler, enum cel_code code, uint32_t at, const char *format, ...) {
    struct err spare, *err = compiler->err ? compiler->err : &spare;
    struct bytes source = compiler->program ? compiler->program->source : BYTES_NONE;
    char place[48], text[ERR_TEXT_MAX - sizeof place];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cel_place_text(source, at, place);
    int r = err_set(err, errno_of(code), "%s%s", place, text);
    if (compiler->ret_error) {
        struct cel_error *error = compiler->ret_error;
        *error = (struct cel_error){.code = code, .at = at};
        cel_place(source, at, &error->line, &error->column);
        if (compiler->err)
            error->text = bytes_str(err->text + strlen(place));
    }
    return r;
}

int cel_refuse_memory(struct cel_compiler *compiler) {
    if (compiler->ret_error)
        *compiler->ret_error =
            (struct cel_error){.code = CEL_NO_MEMORY, .line = 1, .column = 1, .text = BYTES("out of memory")};
    return err_set(compiler->err, -ENOMEM, "out of memory");
}

struct cel_node *cel_node_new(struct cel_compiler *compiler, enum cel_op op, uint32_t at) {
    if (++compiler->n_nodes > CEL_NODES_MAX) {
        cel_refuse(compiler, CEL_TOO_MUCH, at, "more than %d operators and operands in one expression", CEL_NODES_MAX);
        return NULL;
    }
    struct cel_node *node = cel_arena_alloc(&compiler->program->arena, sizeof *node);
    if (!node) {
        cel_refuse_memory(compiler);
        return NULL;
    }
    *node = (struct cel_node){.op = (uint8_t)op, .at = at, .height = 1};
    return node;
}

static int copy_bytes(struct cel_compiler *compiler, struct bytes from, struct bytes *ret_copy) {
    char *copy = cel_arena_alloc(&compiler->program->arena, from.n);
    if (!copy)
        return cel_refuse_memory(compiler);
    if (from.n)
        memcpy(copy, from.p, from.n);
    *ret_copy = bytes_of(copy, from.n);
    return 0;
}

static int copy_variables(struct cel_compiler *compiler) {
    struct cel_program *program = compiler->program;
    size_t n = compiler->options->n_variables;
    program->variables = cel_arena_alloc(&program->arena, n * sizeof *program->variables);
    program->kinds = cel_arena_alloc(&program->arena, n * sizeof *program->kinds);
    if (!program->variables || !program->kinds)
        return cel_refuse_memory(compiler);
    program->n_variables = n;
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++) {
        program->kinds[i] = compiler->options->variables[i].kind;
        r = copy_bytes(compiler, compiler->options->variables[i].name, &program->variables[i]);
    }
    return r;
}

static int check_result(struct cel_compiler *compiler) {
    const struct cel_node *root = compiler->program->root;
    enum cel_kind wanted = compiler->options->result;
    if (wanted == CEL_DYN || root->type == CEL_DYN || root->type == wanted)
        return 0;
    if (root->op == OP_VARIABLE && root->type == CEL_MAP) {
        struct bytes name = compiler->program->variables[root->slot];
        return cel_refuse(compiler, CEL_NO_OVERLOAD, root->at,
                          "%.*s is a map, not %s; select a field of it, as in %.*s.name", (int)name.n, name.p,
                          cel_kind_article(wanted), (int)name.n, name.p);
    }
    return cel_refuse(compiler, CEL_NO_OVERLOAD, root->at, "the expression gives %s, not %s",
                      cel_kind_article((enum cel_kind)root->type), cel_kind_article(wanted));
}

int cel_compile_with(struct bytes source, const struct cel_options *options, struct cel_program **ret_program,
                     struct cel_error *ret_error, struct err *err) {
    struct cel_compiler compiler = {.options = options, .ret_error = ret_error, .err = err};
    if (source.n > CEL_SOURCE_MAX)
        return cel_refuse(&compiler, CEL_TOO_MUCH, 0, "the expression has %zu bytes, more than the %d allowed",
                          source.n, CEL_SOURCE_MAX);
    if (options->n_variables > CEL_VARIABLES_MAX)
        return cel_refuse(&compiler, CEL_TOO_MUCH, 0, "%zu variables, more than the %d allowed", options->n_variables,
                          CEL_VARIABLES_MAX);
    _cleanup_(cleanup_cel_free) struct cel_program *program = compiler.program = mem_zalloc(sizeof *program);
    if (!program)
        return cel_refuse_memory(&compiler);
    int r = copy_bytes(&compiler, source, &program->source);
    if (r == 0)
        r = copy_variables(&compiler);
    if (r == 0)
        r = cel_parse(&compiler);
    if (r == 0)
        r = cel_check(&compiler);
    if (r == 0)
        r = check_result(&compiler);
    if (r < 0)
        return r;
    if (ret_error)
        *ret_error = (struct cel_error){.code = CEL_OK};
    *ret_program = TAKE_PTR(program);
    return 0;
}

void cel_free(struct cel_program *program) {
    if (!program)
        return;
    for (struct cel_owned_regex *owned = program->regexes; owned; owned = owned->next)
        re2_regex_free(owned->regex);
    for (struct cel_owned_zone *owned = program->zones; owned; owned = owned->next)
        zone_free(owned->zone);
    cel_arena_free(&program->arena);
    mem_free(program);
}
