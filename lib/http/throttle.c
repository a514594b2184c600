/* SPDX-License-Identifier: Apache-2.0 */
/*
 * throttle.c - see throttle.h
 *
 * The bucket is one number: when the next call would be due if calls came evenly (`due`). A call may be
 * early by burst - 1 intervals. A hold moves it and starts a new epoch; whoever slept through the change
 * asks again.
 */
#include "http/throttle.h"

#include <pthread.h>
#include <stdlib.h>

struct throttle {
	pthread_mutex_t lock;
	const char *what;
	uint64_t interval_ns, early_ns;
	uint64_t due_ns;
	uint64_t held_until_ns;
	unsigned epoch;
};

struct throttle *throttle_new(const char *what, double per_second, unsigned burst)
{
	struct throttle *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	pthread_mutex_init(&t->lock, NULL);
	t->what = what;
	t->interval_ns = (uint64_t)((double)NS_PER_S / per_second);
	t->early_ns = t->interval_ns * (burst ? burst - 1 : 0);
	return t;
}

void throttle_free(struct throttle *t)
{
	if (!t)
		return;
	pthread_mutex_destroy(&t->lock);
	free(t);
}

int throttle_take(struct throttle *t, const struct bound *bound, struct error *err)
{
	for (;;) {
		/* Whose time is over has not been too fast. */
		if (bound_check(bound, t->what, err) < 0)
			return -1;
		uint64_t now = clock_ns();
		pthread_mutex_lock(&t->lock);
		uint64_t due = t->due_ns > now ? t->due_ns : now;
		uint64_t turn = due > t->early_ns ? due - t->early_ns : 0;
		turn = turn > now ? turn : now;
		turn = turn > t->held_until_ns ? turn : t->held_until_ns;
		unsigned epoch = t->epoch;
		bool late = bound->deadline_ns != DEADLINE_NEVER && turn > bound->deadline_ns;
		if (!late)
			t->due_ns = due + t->interval_ns;
		pthread_mutex_unlock(&t->lock);
		if (late)
			return error_set(err, ERROR_THROTTLED,
				"%s: the rate limit has a turn in %.1f s only, which is too late",
				t->what, (double)(turn - now) / (double)NS_PER_S);
		if (turn > now && bound_sleep(bound, turn - now, t->what, err) < 0)
			return -1;
		pthread_mutex_lock(&t->lock);
		bool changed = t->epoch != epoch;
		pthread_mutex_unlock(&t->lock);
		if (!changed)
			return 0;
	}
}

void throttle_hold(struct throttle *t, uint64_t ns)
{
	uint64_t until = deadline_in(ns);
	pthread_mutex_lock(&t->lock);
	if (until > t->held_until_ns) {
		t->held_until_ns = until;
		/* All turns given so far are void; from then on one after the other. */
		t->due_ns = until + t->early_ns;
		t->epoch++;
	}
	pthread_mutex_unlock(&t->lock);
}
