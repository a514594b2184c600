/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workers.c - see workers.h
 *
 * An idle thread waits some seconds for another job and then ends. A job is given either to an idle
 * thread or to a new one, never queued behind a running one. Threads are detached; their count
 * tells workers_free when the last has gone.
 */
#include "ttrpc/workers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "base/bound.h"
#include "base/log.h"

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
	pthread_cond_t work, gone;
	struct job *first, **last;
	size_t queued, idle, threads;
	bool ending;
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
	pthread_cond_init(&w->gone, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&w->lock, NULL);
	w->last = &w->first;
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

static void *work(void *context)
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
	if (--w->threads == 0)
		pthread_cond_broadcast(&w->gone);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* Called with the lock held. */
static int start_thread(struct workers *w)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t thread;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	/* Signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int failed = pthread_create(&thread, &attributes, work, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	if (!failed)
		w->threads++;
	return failed;
}

int workers_run(struct workers *w, void (*run)(void *context), void *context, struct error *err)
{
	struct job *job = malloc(sizeof(*job));
	if (!job)
		return error_set_errno(err, ENOMEM, "start a thread");
	*job = (struct job){.run = run, .context = context};
	pthread_mutex_lock(&w->lock);
	int failed = w->idle > w->queued ? 0 : start_thread(w);
	if (!failed) {
		*w->last = job;
		w->last = &job->next;
		w->queued++;
		pthread_cond_signal(&w->work);
	}
	pthread_mutex_unlock(&w->lock);
	if (failed) {
		free(job);
		return error_set_errno(err, failed, "start a thread");
	}
	return 0;
}

void workers_free(struct workers *w)
{
	pthread_mutex_lock(&w->lock);
	w->ending = true;
	pthread_cond_broadcast(&w->work);
	while (w->threads)
		pthread_cond_wait(&w->gone, &w->lock);
	pthread_mutex_unlock(&w->lock);
	pthread_cond_destroy(&w->work);
	pthread_cond_destroy(&w->gone);
	pthread_mutex_destroy(&w->lock);
	free(w);
}
