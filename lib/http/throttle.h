/* SPDX-License-Identifier: Apache-2.0 */
/*
 * throttle.h - a token bucket shared by all threads that call one class of an API
 */
#ifndef PEERPOD_HTTP_THROTTLE_H
#define PEERPOD_HTTP_THROTTLE_H

#include <stdint.h>
#include "base/bound.h"
#include "base/error.h"

struct throttle;

/* burst calls at once, then per_second. what: for messages, kept. NULL: no memory. */
struct throttle *throttle_new(const char *what, double per_second, unsigned burst);
void throttle_free(struct throttle *t);

/*
 * Waits for this call's turn; turns are given in the order of asking. Where the turn would come after the
 * deadline it fails at once with ERROR_THROTTLED, and the turn stays free for others.
 */
int throttle_take(struct throttle *t, const struct bound *bound, struct error *err);

/* The peer said to slow down: no turn before ns from now, and no burst then. Those who wait obey, too. */
void throttle_hold(struct throttle *t, uint64_t ns);

#endif
