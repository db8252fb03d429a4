/* thread.h - starting the engine's own threads. */
#pragma once

#include <pthread.h>

/* With all signals blocked (they are the business of the program's own threads) but those of faults. `name`: at most
 * 15 characters, only for who looks. 0, or a negated errno. */
int thread_start(pthread_t *ret_thread, const char *name, void *(*run)(void *arg), void *arg);
