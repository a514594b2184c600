/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workers.c - see workers.h
 *
 * An idle thread waits some seconds for another job and then ends. A job is given either to an idle
 * thread or to a new one, never queued behind a running one.
 */
#include "ttrpc/workers.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "base/bound.h"
#include "base/log.h"
#include "base/thread.h"

/*
 * Enough for straight-line handlers with name resolution and TLS (glibc's resolver takes some 64
 * KiB); instrumented frames are several times larger.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(FUZZING)
#define STACK_SIZE ((size_t)2 << 20)
#else
#define STACK_SIZE ((size_t)256 << 10)
#endif
#define IDLE_S 5
#define IDLE_MAX 16u

struct job {
	struct job *next;
	void (*run)(void *context);
	void *context;
};

struct workers {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct job *first, **last;
	size_t queued, idle;
	bool ending;
	struct threads threads;
};

struct workers *workers_new(struct error *err)
{
	struct workers *w = calloc(1, sizeof(*w));
	if (!w) {
		error_set_errno(err, ENOMEM, "workers");
		return NULL;
	}
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&w->work, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&w->lock, NULL);
	w->last = &w->first;
	w->threads = (struct threads)THREADS_INIT;
	return w;
}

/* The next job, or NULL when this thread shall end. Called with the lock held. */
static struct job *next_job(struct workers *w)
{
	uint64_t until = deadline_in(IDLE_S * NS_PER_S);
	struct timespec when = {(time_t)(until / NS_PER_S), (long)(until % NS_PER_S)};
	bool expired = w->idle >= IDLE_MAX;
	w->idle++;
	while (!w->first && !w->ending && !expired)
		expired = pthread_cond_timedwait(&w->work, &w->lock, &when) == ETIMEDOUT;
	w->idle--;
	struct job *job = w->first;
	if (job) {
		w->first = job->next;
		if (!w->first)
			w->last = &w->first;
		w->queued--;
	}
	return job;
}

static void work(void *context)
{
	struct workers *w = context;
	pthread_mutex_lock(&w->lock);
	for (struct job *job; (job = next_job(w));) {
		pthread_mutex_unlock(&w->lock);
		job->run(job->context);
		free(job);
		log_context_set((struct log_context){0});
		pthread_mutex_lock(&w->lock);
	}
	pthread_mutex_unlock(&w->lock);
}

int workers_run(struct workers *w, void (*run)(void *context), void *context, struct error *err)
{
	struct job *job = malloc(sizeof(*job));
	if (!job)
		return error_set_errno(err, ENOMEM, "start a thread");
	*job = (struct job){.run = run, .context = context};
	pthread_mutex_lock(&w->lock);
	int result = w->idle > w->queued ? 0 : threads_start(&w->threads, STACK_SIZE, work, w, err);
	if (result == 0) {
		*w->last = job;
		w->last = &job->next;
		w->queued++;
		pthread_cond_signal(&w->work);
	}
	pthread_mutex_unlock(&w->lock);
	if (result < 0)
		free(job);
	return result;
}

void workers_free(struct workers *w)
{
	pthread_mutex_lock(&w->lock);
	w->ending = true;
	pthread_cond_broadcast(&w->work);
	pthread_mutex_unlock(&w->lock);
	threads_join(&w->threads);
	pthread_cond_destroy(&w->work);
	pthread_mutex_destroy(&w->lock);
	free(w);
}
