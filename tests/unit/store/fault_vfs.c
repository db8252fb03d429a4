/* fault_vfs.c - see fault_vfs.h. */
#include "fault_vfs.h"

#include "rng.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SUFFIXES 3

enum op_kind { OP_OPEN, OP_WRITE, OP_TRUNCATE, OP_SYNC, OP_DELETE, OP_MARK };

struct op {
    enum op_kind kind;
    int file; /* of `suffixes` */
    sqlite3_int64 at;
    struct bytes data; /* owned */
};

struct file {
    sqlite3_file base;
    int which;
    sqlite3_file *real; /* behind this struct */
};

static const char *const suffixes[SUFFIXES] = {"", "-wal", "-journal"};
static sqlite3_vfs vfs, *real_vfs;
static enum fault_kind fault;
static uint64_t fault_n, count;
static bool fault_sticky, fault_reads, hit;
static bool recording;
static struct op *ops;
static size_t n_ops, cap_ops;

void fault_vfs_at(enum fault_kind kind, uint64_t n, bool sticky, bool reads) {
    fault = kind;
    fault_n = n;
    fault_sticky = sticky;
    fault_reads = reads;
    count = 0;
    hit = false;
}

uint64_t fault_vfs_count(void) {
    return count;
}

bool fault_vfs_hit(void) {
    return hit;
}

static bool fails(void) {
    count++;
    if (fault == FAULT_NONE || !(count == fault_n || (fault_sticky && count > fault_n)))
        return false;
    hit = true;
    if (fault == FAULT_KILL)
        kill(getpid(), SIGKILL);
    return true;
}

static void record(enum op_kind kind, int which, sqlite3_int64 at, const void *data, size_t n) {
    if (!recording || which < 0)
        return;
    if (n_ops == cap_ops) {
        cap_ops = cap_ops ? cap_ops * 2 : 256;
        ops = realloc(ops, cap_ops * sizeof *ops);
        if (!ops)
            abort();
    }
    char *copy = malloc(n + 1);
    if (!copy)
        abort();
    if (n)
        memcpy(copy, data, n);
    ops[n_ops++] = (struct op){kind, which, at, bytes_of(copy, n)};
}

void fault_vfs_record(bool on) {
    if (on) {
        for (size_t i = 0; i < n_ops; i++)
            free((void *)(uintptr_t)ops[i].data.p);
        free(ops);
        ops = NULL;
        n_ops = cap_ops = 0;
    }
    recording = on;
}

void fault_vfs_mark(void) {
    record(OP_MARK, 0, 0, NULL, 0);
}

size_t fault_vfs_recorded(void) {
    return n_ops;
}

/* ---- files ---- */

static sqlite3_file *real_of(sqlite3_file *base) {
    return ((struct file *)(void *)base)->real;
}

static int which_of(sqlite3_file *base) {
    return ((struct file *)(void *)base)->which;
}

static int file_close(sqlite3_file *base) {
    return real_of(base)->pMethods->xClose(real_of(base));
}

static int file_read(sqlite3_file *base, void *into, int n, sqlite3_int64 at) {
    if (fault_reads && fails())
        return SQLITE_IOERR_READ;
    return real_of(base)->pMethods->xRead(real_of(base), into, n, at);
}

static int file_write(sqlite3_file *base, const void *data, int n, sqlite3_int64 at) {
    sqlite3_file *real = real_of(base);
    if (fails()) {
        real->pMethods->xWrite(real, data, n / 2, at);
        return fault == FAULT_ENOSPC ? SQLITE_FULL : SQLITE_IOERR_WRITE;
    }
    record(OP_WRITE, which_of(base), at, data, (size_t)n);
    return real->pMethods->xWrite(real, data, n, at);
}

static int file_truncate(sqlite3_file *base, sqlite3_int64 size) {
    if (fails())
        return SQLITE_IOERR_TRUNCATE;
    record(OP_TRUNCATE, which_of(base), size, NULL, 0);
    return real_of(base)->pMethods->xTruncate(real_of(base), size);
}

static int file_sync(sqlite3_file *base, int flags) {
    if (fails())
        return SQLITE_IOERR_FSYNC;
    record(OP_SYNC, which_of(base), 0, NULL, 0);
    return real_of(base)->pMethods->xSync(real_of(base), flags);
}

static int file_size(sqlite3_file *base, sqlite3_int64 *size) {
    return real_of(base)->pMethods->xFileSize(real_of(base), size);
}

static int file_lock(sqlite3_file *base, int level) {
    return real_of(base)->pMethods->xLock(real_of(base), level);
}

static int file_unlock(sqlite3_file *base, int level) {
    return real_of(base)->pMethods->xUnlock(real_of(base), level);
}

static int file_check_lock(sqlite3_file *base, int *reserved) {
    return real_of(base)->pMethods->xCheckReservedLock(real_of(base), reserved);
}

static int file_control(sqlite3_file *base, int op, void *arg) {
    return real_of(base)->pMethods->xFileControl(real_of(base), op, arg);
}

static int file_sector_size(sqlite3_file *base) {
    return real_of(base)->pMethods->xSectorSize(real_of(base));
}

static int file_characteristics(sqlite3_file *base) {
    return real_of(base)->pMethods->xDeviceCharacteristics(real_of(base));
}

static const sqlite3_io_methods methods = {
    .iVersion = 1, /* no shared memory and no mapping: froe needs neither */
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_lock,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_characteristics,
};

static int which_suffix(const char *name) {
    for (int i = SUFFIXES - 1; name && i > 0; i--)
        if (bytes_ends(bytes_str(name), bytes_str(suffixes[i])))
            return i;
    return name ? 0 : -1; /* temporary files have no name */
}

static int vfs_open(sqlite3_vfs *self, const char *name, sqlite3_file *base, int flags, int *ret_flags) {
    (void)self;
    struct file *file = (struct file *)(void *)base;
    *file = (struct file){.which = which_suffix(name), .real = (sqlite3_file *)(void *)(file + 1)};
    if (fails())
        return SQLITE_CANTOPEN;
    record(OP_OPEN, file->which, 0, NULL, 0);
    int rc = real_vfs->xOpen(real_vfs, name, file->real, flags, ret_flags);
    if (rc == SQLITE_OK)
        file->base.pMethods = &methods;
    return rc;
}

static int vfs_delete(sqlite3_vfs *self, const char *name, int sync) {
    (void)self;
    if (fails())
        return SQLITE_IOERR_DELETE;
    record(OP_DELETE, which_suffix(name), 0, NULL, 0);
    return real_vfs->xDelete(real_vfs, name, sync);
}

void fault_vfs_install(void) {
    real_vfs = sqlite3_vfs_find(NULL);
    vfs = *real_vfs;
    vfs.zName = "fault";
    vfs.szOsFile = (int)sizeof(struct file) + real_vfs->szOsFile;
    vfs.xOpen = vfs_open;
    vfs.xDelete = vfs_delete;
    if (sqlite3_vfs_register(&vfs, 1) != SQLITE_OK)
        abort();
}

/* ---- images ---- */

static void resize(struct buf *content, size_t n) {
    if (n > content->n) {
        if (buf_reserve(content, n - content->n) < 0)
            abort();
        memset(content->p + content->n, 0, n - content->n);
    }
    content->n = n;
}

static void apply(struct buf *content, bool *exists, const struct op *op, size_t n) {
    size_t at = (size_t)op->at;
    *exists = op->kind != OP_DELETE;
    if (op->kind == OP_DELETE)
        resize(content, 0);
    else if (op->kind == OP_TRUNCATE)
        resize(content, at);
    else if (op->kind == OP_WRITE && n) {
        if (content->n < at + n)
            resize(content, at + n);
        memcpy(content->p + at, op->data.p, n);
    }
}

size_t fault_vfs_image(size_t n, const char *suffix, enum fault_keep keep, uint64_t seed, struct buf *ret_content,
                       bool *ret_exists) {
    int which = which_suffix(suffix);
    size_t synced = 0, marks = 0;
    struct rng rng;
    rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i++) {
        marks += ops[i].kind == OP_MARK;
        if (ops[i].file == which && ops[i].kind == OP_SYNC)
            synced = i;
    }
    buf_reset(ret_content);
    *ret_exists = false;
    for (size_t i = 0; i < n; i++) {
        const struct op *op = &ops[i];
        if (op->file != which || op->kind == OP_MARK || op->kind == OP_SYNC)
            continue;
        bool whole = i < synced || keep == FAULT_KEEP_ALL || op->kind == OP_OPEN || op->kind == OP_DELETE;
        if (!whole && (keep == FAULT_KEEP_NONE || rng_below(&rng, 2)))
            continue;
        size_t size = op->data.n;
        if (!whole && rng_below(&rng, 2))
            size = size / 512 ? rng_below(&rng, size / 512) * 512 : 0;
        apply(ret_content, ret_exists, op, size);
    }
    return marks;
}
