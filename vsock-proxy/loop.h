/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h - the one event loop of a data plane process, and what all its connections share
 *
 * libevent calls what is ready; after each round loop_settle() runs what was put off meanwhile: the
 * writing of what ports gathered (so that many frames leave in one system call) and the freeing of
 * what was closed (so that nobody finds freed memory on the way back up).
 *
 * A loop without an event base serves unit tests, which drive connections by hand.
 */
#ifndef PEERPOD_VSOCK_LOOP_H
#define PEERPOD_VSOCK_LOOP_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "vsock-proxy/bytelog.h"

/* Room for one read: several small frames, or a ReadStdout answer of 32 KiB with its neighbours. */
#define LOOP_SCRATCH_SIZE ((size_t)128 * 1024)

/* A piece of work for the end of the round. Embedded in what it works on. */
struct deferred {
	struct deferred *next;
	void (*run)(struct deferred *self);
	bool queued;
};

struct loop {
	struct event_base *base; /* NULL: driven by hand */
	struct deferred *work, **work_end;
	struct deferred *graves, **graves_end; /* run after all work */
	struct block_pool blocks;
	uint8_t *scratch; /* LOOP_SCRATCH_SIZE; whoever reads uses it until it returns */
	bool stopping;
};

int loop_init(struct loop *loop, bool with_events, struct error *err);
void loop_free(struct loop *loop);

/* Runs until loop_stop. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* Does what was put off. */
void loop_settle(struct loop *loop);

/* Runs self->run once at the end of the round; asking twice is fine. */
void loop_defer(struct loop *loop, struct deferred *self);
/* The same after all other work: for freeing. */
void loop_bury(struct loop *loop, struct deferred *self);

/* A timer that fires once after timer_start. */
struct timer {
	struct loop *loop;
	struct event event;
	void (*fire)(void *context);
	void *context;
	bool running;
};
void timer_init(struct timer *timer, struct loop *loop, void (*fire)(void *), void *context);
void timer_start(struct timer *timer, uint64_t ns); /* anew where it runs already */
void timer_stop(struct timer *timer);

/* From lower to upper nanoseconds, evenly: so that many sandboxes do not retry in step. */
uint64_t jitter_ns(uint64_t lower, uint64_t upper);

/*
 * The pause after this one while something is waited for that is being started: an eighth longer. So it is found
 * within a sixth of the time that it took, on average a twelfth; twice as long would be found only after up to twice
 * the time.
 */
static inline uint64_t backoff_longer(uint64_t pause_ns, uint64_t max_ns)
{
	uint64_t longer = pause_ns + pause_ns / 8;
	return longer < max_ns ? longer : max_ns;
}

#endif
