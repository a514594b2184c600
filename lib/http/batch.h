/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch.h - questions of many threads, asked of an API in one call
 *
 * Pods that start at once each wait for an instance of their own. A batch gathers what they want to know and asks
 * once for all of it, at most once in an interval.
 */
#ifndef PEERPOD_HTTP_BATCH_H
#define PEERPOD_HTTP_BATCH_H

#include <stddef.h>
#include <stdint.h>
#include "base/bound.h"
#include "base/error.h"

struct batch;

struct batch_kind {
	const char *what; /* "DescribeInstances": for messages */
	uint64_t
		interval_ns; /* from the start of one call to the next; the first waits for nothing */
	size_t keys_max;     /* keys of one call */
	/*
	 * Asks for these keys (NULL-terminated, no two alike) and gives what it finds to batch_answer. A key that gets no
	 * answer does not exist. A failure goes to everybody who was asked for.
	 */
	int (*ask)(void *with, struct batch *batch, char *const *keys, const struct bound *bound,
		struct error *err);
	/* Of an answer: one more for another asker (NULL: no memory), and its end. */
	void *(*copy)(const void *answer);
	void (*free)(void *answer);
};

/* kind and with must outlive it. NULL: no memory. */
struct batch *batch_new(const struct batch_kind *kind, void *with);
void batch_free(struct batch *batch);

/* From within ask: the answer for this key, which stays the caller's. The first one for a key counts. */
void batch_answer(struct batch *batch, const char *key, const void *answer);

/* Blocks until it is known. *answer is the caller's then. ERROR_GONE: there is none of this key. */
int batch_get(struct batch *batch, const char *key, void **answer, const struct bound *bound,
	struct error *err);

#endif
