/* SPDX-License-Identifier: Apache-2.0 */
/* progress.c - see progress.h */
#include "peerpodctl/progress.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bound.h"

struct progress {
	const char *doing;
	uint64_t first_ns, next_ns;
	pthread_t thread;
	struct cancel *over;
};

static void *tell(void *opaque)
{
	const struct progress *progress = opaque;
	struct bound bound = {.deadline_ns = DEADLINE_NEVER, .cancel = progress->over};
	uint64_t began = clock_ns(), pause = progress->first_ns;
	while (bound_sleep(&bound, pause, "progress", NULL) == 0) {
		fprintf(stderr, "peerpodctl: %s: %llu s so far\n", progress->doing,
			(unsigned long long)((clock_ns() - began) / NS_PER_S));
		pause = progress->next_ns;
	}
	return NULL;
}

struct progress *progress_begin(const char *doing, uint64_t first_ns, uint64_t next_ns)
{
	struct progress *progress = calloc(1, sizeof(*progress));
	if (!progress)
		return NULL;
	progress->doing = doing;
	progress->first_ns = first_ns;
	progress->next_ns = next_ns;
	progress->over = cancel_new();
	if (progress->over && pthread_create(&progress->thread, NULL, tell, progress) == 0)
		return progress;
	if (progress->over)
		cancel_unref(progress->over);
	free(progress);
	return NULL;
}

void progress_end(struct progress *progress)
{
	if (!progress)
		return;
	cancel_fire(progress->over);
	pthread_join(progress->thread, NULL);
	cancel_unref(progress->over);
	free(progress);
}
