/* SPDX-License-Identifier: Apache-2.0 */
/* descriptors.c - see descriptors.h */
#include "base/descriptors.h"

#include <sys/resource.h>

/* Thousands of pods. Not the hard limit itself, which may be 2^30: some libraries go through all there may be. */
#define MANY 65536

void descriptors_allow_many(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	rlim_t wanted = limit.rlim_max < MANY ? limit.rlim_max : MANY;
	if (limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = wanted;
	setrlimit(RLIMIT_NOFILE, &limit);
}
