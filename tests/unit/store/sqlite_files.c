/* sqlite_files.c - see sqlite_files.h. Aborts when the file system does not play along: no test could go on. */
#include "sqlite_files.h"

#include "cleanup.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static const char *const suffixes[] = {"", "-wal", "-shm", "-journal", ".lock"};
#define SUFFIXES (sizeof suffixes / sizeof suffixes[0])

static void must(bool ok) {
    if (ok)
        return;
    perror("test files");
    abort();
}

static const char *name_of(const struct sqlite_place *place, const char *suffix, const char *more) {
    static char name[160];
    snprintf(name, sizeof name, "%s%s%s", place->path, suffix, more);
    return name;
}

/* In memory if it can be: these tests do much that a disk is slow at, and none depends on there being one. */
void sqlite_place_make(struct sqlite_place *place) {
    static const char *const folders[] = {"/dev/shm", "/tmp"};
    bool made = false;
    for (int i = 0; i < 2 && !made; i++) {
        snprintf(place->folder, sizeof place->folder, "%s/froe-store-XXXXXX", folders[i]);
        made = mkdtemp(place->folder) != NULL;
    }
    must(made);
    snprintf(place->path, sizeof place->path, "%s/s.db", place->folder);
}

static void remove_files(struct sqlite_place *place, const char *more) {
    for (size_t i = 0; i < SUFFIXES; i++)
        must(unlink(name_of(place, suffixes[i], more)) == 0 || errno == ENOENT);
}

void sqlite_place_wipe(struct sqlite_place *place) {
    remove_files(place, "");
}

void sqlite_place_remove(struct sqlite_place *place) {
    remove_files(place, "");
    remove_files(place, ".saved");
    must(rmdir(place->folder) == 0);
}

static bool read_file(const char *name, struct buf *content) {
    _cleanup_close_ int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return false;
    must(fd >= 0);
    buf_reset(content);
    for (;;) {
        must(buf_reserve(content, 65536) == 0);
        ssize_t n = read(fd, content->p + content->n, 65536);
        must(n >= 0);
        if (n == 0)
            return true;
        content->n += (size_t)n;
    }
}

static void write_file(const char *name, struct bytes content) {
    _cleanup_close_ int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0);
    must(write(fd, content.n ? content.p : "", content.n) == (ssize_t)content.n);
}

static void copy_files(struct sqlite_place *place, const char *from, const char *to) {
    struct buf content = {0};
    remove_files(place, to);
    for (size_t i = 0; i < SUFFIXES; i++)
        if (read_file(name_of(place, suffixes[i], from), &content))
            write_file(name_of(place, suffixes[i], to), buf_bytes(&content));
    buf_free(&content);
}

void sqlite_place_save(struct sqlite_place *place) {
    copy_files(place, "", ".saved");
}

void sqlite_place_restore(struct sqlite_place *place) {
    copy_files(place, ".saved", "");
}

int sqlite_place_open(struct sqlite_place *place, const struct store_options *options, struct store **ret_store,
                      struct err *err) {
    char uri[160];
    snprintf(uri, sizeof uri, "sqlite:%s", place->path);
    return store_open(uri, options, ret_store, err);
}

void sqlite_place_read(struct sqlite_place *place, const char *suffix, struct buf *ret_content) {
    must(read_file(name_of(place, suffix, ""), ret_content));
}

void sqlite_place_write(struct sqlite_place *place, const char *suffix, struct bytes content) {
    write_file(name_of(place, suffix, ""), content);
}
