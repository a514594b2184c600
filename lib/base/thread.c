/* SPDX-License-Identifier: Apache-2.0 */
/* thread.c - see thread.h */
#include "base/thread.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

int thread_start(pthread_t *thread, size_t stack, void *(*run)(void *argument), void *argument)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	int failed = pthread_attr_init(&attributes);
	if (failed)
		return failed;
	if (stack)
		failed = pthread_attr_setstacksize(&attributes, stack);
	if (!failed) {
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &before);
		failed = pthread_create(thread, &attributes, run, argument);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	pthread_attr_destroy(&attributes);
	return failed;
}

struct member {
	struct threads *threads;
	void (*run)(void *argument);
	void *argument;
};

/* The last touch of the group is the unlocking: after it threads_join may return once this thread is joined. */
static void *live(void *opaque)
{
	struct member member = *(struct member *)opaque;
	free(opaque);
	member.run(member.argument);

	struct threads *threads = member.threads;
	pthread_mutex_lock(&threads->lock);
	bool join = threads->has_ended;
	pthread_t before = threads->ended;
	threads->ended = pthread_self();
	threads->has_ended = true;
	if (--threads->running == 0)
		pthread_cond_broadcast(&threads->none);
	pthread_mutex_unlock(&threads->lock);
	if (join)
		pthread_join(before, NULL);
	return NULL;
}

int threads_start(struct threads *threads, size_t stack, void (*run)(void *argument),
	void *argument, struct error *err)
{
	struct member *member = malloc(sizeof(*member));
	if (!member)
		return error_set_errno(err, ENOMEM, "start a thread");
	*member = (struct member){.threads = threads, .run = run, .argument = argument};
	pthread_mutex_lock(&threads->lock);
	threads->running++;
	pthread_mutex_unlock(&threads->lock);
	pthread_t thread;
	int failed = thread_start(&thread, stack, live, member);
	if (!failed)
		return 0;
	pthread_mutex_lock(&threads->lock);
	if (--threads->running == 0)
		pthread_cond_broadcast(&threads->none);
	pthread_mutex_unlock(&threads->lock);
	free(member);
	return error_set_errno(err, failed, "start a thread");
}

void threads_join(struct threads *threads)
{
	pthread_mutex_lock(&threads->lock);
	while (threads->running)
		pthread_cond_wait(&threads->none, &threads->lock);
	bool join = threads->has_ended;
	pthread_t last = threads->ended;
	threads->has_ended = false;
	pthread_mutex_unlock(&threads->lock);
	if (join)
		pthread_join(last, NULL);
}
