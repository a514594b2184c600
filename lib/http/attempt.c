/* SPDX-License-Identifier: Apache-2.0 */
/* attempt.c - see attempt.h */
#include "http/attempt.h"

#include <sys/random.h>

#include "base/cleanup.h"
#include "base/log.h"

#define FAULTS_MAX 4
#define FIRST_NS (500 * NS_PER_MS)
#define MOST_NS (20 * NS_PER_S)

/* Anything up to min(most, first * 2^n): callers that failed together do not come back together. */
static uint64_t backoff_ns(const struct attempt *a, unsigned n)
{
	uint64_t first = a->first_ns ? a->first_ns : FIRST_NS;
	uint64_t most = a->most_ns ? a->most_ns : MOST_NS;
	uint32_t random = UINT32_MAX;
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
		random = UINT32_MAX / 2;
	uint64_t limit = n < 16 && first << n < most ? first << n : most;
	return (uint64_t)((double)limit * random / UINT32_MAX);
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

bool attempt_again(struct attempt *a, uint64_t retry_after_ns, const struct bound *bound,
	const struct error *failed)
{
	if (failed->kind == ERROR_THROTTLED) {
		uint64_t pause = later(backoff_ns(a, ++a->throttled), retry_after_ns);
		log_debug("%s: %s; again in %.1f s", a->who, error_message(failed),
			(double)pause / (double)NS_PER_S);
		if (a->throttle)
			throttle_hold(a->throttle, pause);
		if (pause >= bound_left_ns(bound))
			return false;
		return a->throttle || bound_sleep(bound, pause, "repeat a call", NULL) == 0;
	}
	unsigned most = a->faults_max ? a->faults_max : FAULTS_MAX;
	if (failed->kind != ERROR_RETRY || ++a->faults >= most)
		return false;
	uint64_t pause = later(backoff_ns(a, a->faults), retry_after_ns);
	return pause < bound_left_ns(bound) &&
	       bound_sleep(bound, pause, "repeat a call", NULL) == 0;
}

uint64_t poll_pause_ns(unsigned n)
{
	static const unsigned ms[] = {250, 500, 1000, 1000, 2000, 2000};
	return (n < array_size(ms) ? ms[n] : 3000) * NS_PER_MS;
}
