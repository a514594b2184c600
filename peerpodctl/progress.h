/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.h - says on standard error that something takes its time
 */
#ifndef PEERPODCTL_PROGRESS_H
#define PEERPODCTL_PROGRESS_H

#include "base/bound.h"
#include "base/cleanup.h"

#define PROGRESS_FIRST_NS (2 * NS_PER_S)
#define PROGRESS_NEXT_NS (5 * NS_PER_S)

struct progress;

/* A line after `first`, and one every `next` from then on, until it ends. NULL: none is told. */
struct progress *progress_begin(const char *doing, uint64_t first_ns, uint64_t next_ns);
void progress_end(struct progress *progress);

static inline void progress_end_ptr(struct progress **progress)
{
	progress_end(*progress);
}
/* For the rest of this scope. */
#define progress_scope(doing)                                                          \
	cleanup(progress_end_ptr) struct progress *progress_ __attribute__((unused)) = \
		progress_begin(doing, PROGRESS_FIRST_NS, PROGRESS_NEXT_NS)

#endif
