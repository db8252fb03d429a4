/* pool_play.h - a worker of a pool that does what the key of its object says; the test program plays it itself. */
#pragma once

#define PLAY_WORKER "play-worker"

/* Never returns. What it has read it writes down in the directory, in the file "log": a line for each object with pid,
 * key, the body's length and its hash. `mode` is "" or how it behaves whatever the objects are. */
_Noreturn void play_worker(const char *directory, const char *mode);

unsigned long long play_hash(const char *data, unsigned long n);
