/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempt.h - when a call of an API that failed may be sent again
 *
 * One struct attempt per call. What is throttled is sent again until the bound ends, and slows down everybody who shares
 * the throttle; what failed in passing is sent again a few times; everything else is final.
 */
#ifndef PEERPOD_HTTP_ATTEMPT_H
#define PEERPOD_HTTP_ATTEMPT_H

#include <stdbool.h>
#include <stdint.h>
#include "base/bound.h"
#include "base/error.h"
#include "http/throttle.h"

struct attempt {
	const char *who;           /* "aws": for log lines */
	struct throttle *throttle; /* of this class of calls; NULL: none */
	unsigned faults_max;       /* tries of a call that fails in passing; 0: 4 */
	uint64_t first_ns,
		most_ns; /* pauses are random up to min(most, first * 2^n); 0: 0.5 s, 20 s */
	unsigned faults, throttled; /* counted here */
};

/*
 * After a failure: waits as long as it must and says whether to send again. ERROR_THROTTLED and ERROR_RETRY only.
 * retry_after_ns: what the peer asked for, 0: nothing. Where the pause would end after the bound: false, at once.
 */
bool attempt_again(struct attempt *attempt, uint64_t retry_after_ns, const struct bound *bound,
	const struct error *failed);

/* The wait before the n-th look at something that takes a while (n from 0): short at first, then 3 s. */
uint64_t poll_pause_ns(unsigned n);

#endif
