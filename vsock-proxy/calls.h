/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls.h - the table of calls in flight on the back of a relay
 *
 * Keyed by the stream id on the back, which grows by two with every call: a ring with linear probing
 * finds nearly every call at the first look. Empty tables hold no memory.
 */
#ifndef PEERPOD_VSOCK_CALLS_H
#define PEERPOD_VSOCK_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct front;

struct call {
	uint32_t id;          /* stream on the back, odd; 0: a free slot */
	uint32_t front_id;    /* stream on the front */
	struct front *front;  /* whose call it is; NULL: our own */
	uint64_t offset;      /* where its request begins in the log of the back */
	uint64_t deadline_ns; /* until when it may wait for the back to be there */
	uint8_t *copy;        /* its request frame, where it may be sent again; owned */
	uint32_t copy_len;
	bool streaming; /* data frames belong to it */
	bool check;     /* a Health.Check */
};

struct calls {
	struct call *slots;
	size_t capacity; /* a power of two, or 0 */
	size_t count;
};

/* A new call; NULL: no memory. Valid until the next add or remove. */
struct call *calls_add(struct calls *calls, uint32_t id);

struct call *calls_find(const struct calls *calls, uint32_t id);

/* The call that a front knows by this id. Looks at all: for streaming calls only. */
struct call *calls_find_front(const struct calls *calls, const struct front *front,
	uint32_t front_id);

/* Forgets it. The copy is freed. */
void calls_remove(struct calls *calls, struct call *call);

/*
 * Goes through all calls: start with *at = 0; NULL at the end. A call that was just returned may be
 * removed: then decrement *at, so that the one that took its place is seen as well.
 */
struct call *calls_next(const struct calls *calls, size_t *at);

void calls_free(struct calls *calls);

#endif
