/* thread.h - starting the engine's own threads. */
#pragma once

#include <pthread.h>

/* With all signals blocked (they are the business of the program's own threads) but those of faults. 0, or a negated
 * errno. */
int thread_start(pthread_t *ret_thread, void *(*run)(void *arg), void *arg);
/* What a thread does first: it names itself, so that it is never seen without. At most 15 characters, only for who
 * looks. */
void thread_name(const char *name);
