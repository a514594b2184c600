/* SPDX-License-Identifier: Apache-2.0 */
/* calls.c - see calls.h */
#include "vsock-proxy/calls.h"

#include <stdlib.h>

/* A pod at rest has WaitProcess, GetOOMEvent and two reads in flight. */
#define CAPACITY_MIN 8

static size_t home(const struct calls *calls, uint32_t id)
{
	return (id >> 1) & (calls->capacity - 1);
}

static struct call *free_slot(struct calls *calls, uint32_t id)
{
	size_t at = home(calls, id);
	while (calls->slots[at].id)
		at = (at + 1) & (calls->capacity - 1);
	return &calls->slots[at];
}

static bool resize(struct calls *calls, size_t capacity)
{
	struct calls bigger = {.capacity = capacity, .count = calls->count};
	bigger.slots = calloc(capacity, sizeof(*bigger.slots));
	if (!bigger.slots)
		return false;
	for (size_t i = 0; i < calls->capacity; i++) {
		if (calls->slots[i].id)
			*free_slot(&bigger, calls->slots[i].id) = calls->slots[i];
	}
	free(calls->slots);
	*calls = bigger;
	return true;
}

struct call *calls_add(struct calls *calls, uint32_t id)
{
	/* At most three quarters full, so that a search soon meets a free slot. */
	if ((calls->count + 1) * 4 > calls->capacity * 3 &&
		!resize(calls, calls->capacity ? calls->capacity * 2 : CAPACITY_MIN))
		return NULL;
	struct call *call = free_slot(calls, id);
	*call = (struct call){.id = id};
	calls->count++;
	return call;
}

struct call *calls_find(const struct calls *calls, uint32_t id)
{
	if (calls->count == 0 || id == 0)
		return NULL;
	for (size_t at = home(calls, id); calls->slots[at].id;
		at = (at + 1) & (calls->capacity - 1)) {
		if (calls->slots[at].id == id)
			return &calls->slots[at];
	}
	return NULL;
}

struct call *calls_find_front(const struct calls *calls, const struct front *front,
	uint32_t front_id)
{
	size_t at = 0;
	struct call *call;
	while ((call = calls_next(calls, &at))) {
		if (call->front == front && call->front_id == front_id)
			return call;
	}
	return NULL;
}

void calls_remove(struct calls *calls, struct call *call)
{
	free(call->copy);
	size_t mask = calls->capacity - 1;
	size_t hole = (size_t)(call - calls->slots);
	/* Moves back whoever was pushed on by the one that leaves, so that searches still find them. */
	for (size_t at = (hole + 1) & mask; calls->slots[at].id; at = (at + 1) & mask) {
		size_t wanted = home(calls, calls->slots[at].id);
		if (((at - wanted) & mask) >= ((at - hole) & mask)) {
			calls->slots[hole] = calls->slots[at];
			hole = at;
		}
	}
	calls->slots[hole] = (struct call){0};
	calls->count--;
	/* A burst is over: give its memory back. */
	if (calls->count == 0 && calls->capacity > CAPACITY_MIN) {
		free(calls->slots);
		calls->slots = NULL;
		calls->capacity = 0;
	}
}

struct call *calls_next(const struct calls *calls, size_t *at)
{
	while (*at < calls->capacity) {
		struct call *call = &calls->slots[(*at)++];
		if (call->id)
			return call;
	}
	return NULL;
}

void calls_free(struct calls *calls)
{
	for (size_t i = 0; i < calls->capacity; i++)
		free(calls->slots[i].copy);
	free(calls->slots);
	*calls = (struct calls){0};
}
