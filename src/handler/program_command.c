/* program_command.c - see program_command.h. */
#include "program_command.h"

#include "bytes.h"
#include "cleanup.h"
#include "program_env.h"
#include "text.h"

static int copy_argv(struct program_command *command, const char *what, const char *const *argv) {
    size_t n = 0;
    while (argv[n])
        n++;
    command->argv = mem_calloc(n + 1, sizeof *command->argv);
    if (!command->argv)
        return -ENOMEM;
    _cleanup_buf_ struct buf description = {0};
    int r = buf_add_str(&description, what);
    for (size_t i = 0; r == 0 && i < n; i++) {
        command->argv[i] = mem_strdup(argv[i]);
        r = command->argv[i] ? buf_add_byte(&description, ' ') : -ENOMEM;
        if (r == 0)
            r = text_add_printable(&description, bytes_str(argv[i]));
    }
    if (r == 0)
        command->description = buf_detach(&description);
    return r;
}

int program_command_init(struct program_command *command, const char *what, const char *const *argv, struct err *err) {
    *command = (struct program_command){0};
    if (!argv[0])
        return err_set(err, -ENOENT, "no program was given");
    int r = program_find(argv[0], &command->file, err);
    if (r < 0)
        return r;
    r = copy_argv(command, what, argv);
    if (r < 0) {
        program_command_free(command);
        return err_set(err, r, "out of memory");
    }
    return 0;
}

void program_command_free(struct program_command *command) {
    for (char **text = command->argv; text && *text; text++)
        mem_free(*text);
    mem_free(command->argv);
    mem_free(command->file);
    mem_free(command->description);
    *command = (struct program_command){0};
}
