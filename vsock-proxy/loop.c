/* SPDX-License-Identifier: Apache-2.0 */
/* loop.c - see loop.h */
#include "vsock-proxy/loop.h"

#include <openssl/rand.h>
#include <stdlib.h>

#include "base/bound.h"

int loop_init(struct loop *loop, bool with_events, struct error *err)
{
	*loop = (struct loop){0};
	loop->work_end = &loop->work;
	loop->graves_end = &loop->graves;
	loop->scratch = malloc(LOOP_SCRATCH_SIZE);
	if (!loop->scratch)
		return error_set(err, ERROR_INTERNAL, "event loop: out of memory");
	if (!with_events)
		return 0;
	/* Timers are coarse (tens of ms): reading the cheap clock once per round is enough. */
	struct event_config *config = event_config_new();
	if (config)
		event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	loop->base = config ? event_base_new_with_config(config) : NULL;
	if (config)
		event_config_free(config);
	if (!loop->base) {
		loop_free(loop);
		return error_set(err, ERROR_INTERNAL,
			"event loop: libevent offers none on this machine");
	}
	return 0;
}

void loop_free(struct loop *loop)
{
	loop_settle(loop);
	if (loop->base)
		event_base_free(loop->base);
	block_pool_drain(&loop->blocks);
	free(loop->scratch);
	*loop = (struct loop){0};
}

void loop_run(struct loop *loop)
{
	loop_settle(loop);
	while (!loop->stopping) {
		if (event_base_loop(loop->base, EVLOOP_ONCE) != 0)
			break;
		loop_settle(loop);
	}
}

void loop_stop(struct loop *loop)
{
	loop->stopping = true;
}

static void enqueue(struct deferred ***end, struct deferred *self)
{
	if (self->queued)
		return;
	self->queued = true;
	self->next = NULL;
	**end = self;
	*end = &self->next;
}

void loop_defer(struct loop *loop, struct deferred *self)
{
	enqueue(&loop->work_end, self);
}

void loop_bury(struct loop *loop, struct deferred *self)
{
	enqueue(&loop->graves_end, self);
}

static struct deferred *dequeue(struct deferred **list, struct deferred ***end)
{
	struct deferred *first = *list;
	if (!first)
		return NULL;
	*list = first->next;
	if (!*list)
		*end = list;
	first->queued = false;
	return first;
}

void loop_settle(struct loop *loop)
{
	if (!loop->work_end)
		return;
	for (;;) {
		struct deferred *next = dequeue(&loop->work, &loop->work_end);
		if (!next)
			next = dequeue(&loop->graves, &loop->graves_end);
		if (!next)
			return;
		next->run(next);
	}
}

static void timer_fired(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	struct timer *timer = context;
	timer->running = false;
	timer->fire(timer->context);
}

void timer_init(struct timer *timer, struct loop *loop, void (*fire)(void *), void *context)
{
	*timer = (struct timer){.loop = loop, .fire = fire, .context = context};
	if (loop->base)
		evtimer_assign(&timer->event, loop->base, timer_fired, timer);
}

void timer_start(struct timer *timer, uint64_t ns)
{
	timer->running = true;
	if (!timer->loop->base)
		return;
	struct timeval tv = {
		.tv_sec = (time_t)(ns / NS_PER_S),
		.tv_usec = (suseconds_t)(ns % NS_PER_S / 1000),
	};
	evtimer_add(&timer->event, &tv);
}

void timer_stop(struct timer *timer)
{
	if (timer->running && timer->loop->base)
		evtimer_del(&timer->event);
	timer->running = false;
}

uint64_t jitter_ns(uint64_t lower, uint64_t upper)
{
	uint64_t random = 0;
	if (upper <= lower || RAND_bytes((unsigned char *)&random, sizeof(random)) != 1)
		return lower;
	return lower + random % (upper - lower);
}
