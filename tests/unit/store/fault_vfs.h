/* fault_vfs.h - an SQLite file system that stands before the real one, counts what is done to files, and fails, kills
 * or records on order. */
#pragma once

#include "bytes.h"

#include <stdint.h>

/* Becomes the default file system of this process. */
void fault_vfs_install(void);

enum fault_kind { FAULT_NONE, FAULT_EIO, FAULT_ENOSPC, FAULT_KILL };
/* The n-th operation from now (1 is the next) fails, and with `sticky` all after it; or the process kills itself there
 * (SIGKILL). A failing write writes half of what it should. FAULT_NONE: none fails. With `reads`, reads count too. */
void fault_vfs_at(enum fault_kind kind, uint64_t n, bool sticky, bool reads);
uint64_t fault_vfs_count(void); /* operations since fault_vfs_at */
bool fault_vfs_hit(void);       /* has it failed since? */

/* ---- recording, for power cuts ---- */

void fault_vfs_record(bool on); /* on: forgets what was recorded */
void fault_vfs_mark(void);      /* notes that the caller was told "committed" */
size_t fault_vfs_recorded(void);
/* What may be on disk when the power goes right after the first n recorded operations: of each file all that was
 * synced, and of what was not yet synced a part, as `keep` says; random parts are torn at 512 bytes. Returns how many
 * marks came before. `suffix` is the file's name from the last '.' or '-' of its store ("", "-wal", "-journal"). false
 * in *ret_exists: there is no such file. */
enum fault_keep { FAULT_KEEP_NONE, FAULT_KEEP_ALL, FAULT_KEEP_SOME };
size_t fault_vfs_image(size_t n, const char *suffix, enum fault_keep keep, uint64_t seed, struct buf *ret_content,
                       bool *ret_exists);
