/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bound.h - how long a blocking call may take: a deadline and a way to cancel it
 *
 * Every call that may block takes a `const struct bound *` and every wait inside it honours both
 * halves: past the deadline it fails with ERROR_TIMEOUT, once cancelled with ERROR_CANCELED.
 * Times are nanoseconds of CLOCK_MONOTONIC.
 */
#ifndef PEERPOD_BASE_BOUND_H
#define PEERPOD_BASE_BOUND_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)
#define DEADLINE_NEVER UINT64_MAX

/* A flag that one thread sets and others wait on. Counted references. */
struct cancel;

struct bound {
	uint64_t deadline_ns;  /* DEADLINE_NEVER: none */
	struct cancel *cancel; /* NULL: cannot be cancelled. Not owned. */
};

#define BOUND_NONE ((struct bound){.deadline_ns = DEADLINE_NEVER})

uint64_t clock_ns(void);

/* now + ns, without wrapping round. */
uint64_t deadline_in(uint64_t ns);

/* The same cancel, and the earlier of its deadline and now + ns. */
struct bound bound_within(const struct bound *outer, uint64_t ns);

/* What is left, 0 when it has passed. DEADLINE_NEVER where there is none. */
uint64_t bound_left_ns(const struct bound *bound);

/* For poll(2): rounded up, -1 where there is no deadline. */
int bound_left_ms(const struct bound *bound);

/* 0, or -1 with ERROR_TIMEOUT / ERROR_CANCELED: "what" is what was waited for. */
int bound_check(const struct bound *bound, const char *what, struct error *err);

/* Sleeps ns. 0 when it slept all of it; else as bound_check. */
int bound_sleep(const struct bound *bound, uint64_t ns, const char *what, struct error *err);

/* Waits until fd shows one of poll(2)'s events (returned, > 0); -1 as bound_check. */
int bound_poll(const struct bound *bound, int fd, short events, const char *what,
	struct error *err);

struct cancel *cancel_new(void); /* NULL: no memory or descriptors */
/* One that counts as fired once it or its parent (which may be NULL) has been. NULL as cancel_new. */
struct cancel *cancel_child(struct cancel *parent);
struct cancel *cancel_ref(struct cancel *c);
void cancel_unref(struct cancel *c);
void cancel_fire(struct cancel *c);
bool cancel_fired(const struct cancel *c);
int cancel_fd(const struct cancel *c); /* readable once fired; owned by c */

DEFINE_CLEANUP(struct cancel, cancel_unref)

#endif
