/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thread.h - threads that take no signals, alone and in groups that can be waited for
 *
 * A thread has not ended when its function returns: destructors of thread-local data follow, OpenSSL's
 * among them. A process that exits meanwhile takes the library down under them. So no thread of a group
 * is detached: the one that ends joins the one that ended before it, and threads_join joins the last.
 */
#ifndef PEERPOD_BASE_THREAD_H
#define PEERPOD_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/*
 * As pthread_create, with every signal blocked: signals are for the program's own threads. stack: bytes, 0 for the
 * system's default. 0 or an errno.
 */
int thread_start(pthread_t *thread, size_t stack, void *(*run)(void *argument), void *argument);

/* Threads that come and go by themselves. */
struct threads {
	pthread_mutex_t lock;
	pthread_cond_t none;
	size_t running;
	bool has_ended; /* ended is to be joined */
	pthread_t ended;
};

#define THREADS_INIT                                                                \
	{                                                                           \
		.lock = PTHREAD_MUTEX_INITIALIZER, .none = PTHREAD_COND_INITIALIZER \
	}

/* Adds a thread to the group. argument is run's to free; after a failure it stays the caller's. */
int threads_start(struct threads *threads, size_t stack, void (*run)(void *argument),
	void *argument, struct error *err);

/*
 * Blocks until no thread of the group is left, those included that its own threads start meanwhile. Nobody else may
 * start one any more. Not for a thread of the group.
 */
void threads_join(struct threads *threads);

#endif
