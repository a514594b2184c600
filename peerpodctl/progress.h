/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.h - says on standard error that something takes its time
 */
#ifndef PEERPODCTL_PROGRESS_H
#define PEERPODCTL_PROGRESS_H

#include "base/cleanup.h"

struct progress;

/* A line after two seconds, and every five from then on, until the end of the scope. NULL: none is told. */
struct progress *progress_begin(const char *doing);
void progress_end(struct progress *progress);

static inline void progress_end_ptr(struct progress **progress)
{
	progress_end(*progress);
}
#define progress_scope(doing)                                                          \
	cleanup(progress_end_ptr) struct progress *progress_ __attribute__((unused)) = \
		progress_begin(doing)

#endif
