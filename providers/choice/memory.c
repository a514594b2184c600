/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.c - see memory.h and choice.h
 *
 * A list: there are as many entries as refusals in three minutes. Entries whose time is over are dropped when the
 * list is walked.
 */
#include "providers/choice/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bound.h"

struct refusal {
	struct refusal *next;
	char *name; /* type, or family for a quota */
	char *zone; /* for a quota: one of the region in which it counts */
	bool spot;
	enum error_kind kind;
	uint64_t until_ns;
};

struct choice_memory {
	choice_same_region *same_region;
	pthread_mutex_t lock;
	struct refusal *first;
};

struct choice_memory *choice_memory_new(choice_same_region *same_region)
{
	struct choice_memory *memory = calloc(1, sizeof(*memory));
	if (!memory)
		return NULL;
	memory->same_region = same_region;
	pthread_mutex_init(&memory->lock, NULL);
	return memory;
}

static void refusal_free(struct refusal *refusal)
{
	free(refusal->name);
	free(refusal->zone);
	free(refusal);
}

void choice_memory_free(struct choice_memory *memory)
{
	while (memory->first) {
		struct refusal *gone = memory->first;
		memory->first = gone->next;
		refusal_free(gone);
	}
	pthread_mutex_destroy(&memory->lock);
	free(memory);
}

static bool one_region(const struct choice_memory *memory, const char *zone, const char *other)
{
	return !memory->same_region || memory->same_region(zone, other);
}

bool choice_memory_one_quota(const struct choice_memory *memory, const struct offering *a,
	const struct offering *b)
{
	return a->spot == b->spot && !strcmp(a->family, b->family) &&
	       one_region(memory, a->zone, b->zone);
}

static bool covers(const struct choice_memory *memory, const struct refusal *refusal,
	const struct offering *o)
{
	if (refusal->spot != o->spot)
		return false;
	if (refusal->kind == ERROR_QUOTA)
		return !strcmp(refusal->name, o->family) &&
		       one_region(memory, refusal->zone, o->zone);
	return !strcmp(refusal->name, o->type) && !strcmp(refusal->zone, o->zone);
}

int choice_memory_refuse(struct choice_memory *memory, const struct offering *offering,
	enum error_kind kind, uint64_t for_ns)
{
	struct refusal *refusal = calloc(1, sizeof(*refusal));
	if (!refusal)
		return -1;
	bool quota = kind == ERROR_QUOTA;
	refusal->name = strdup(quota ? offering->family : offering->type);
	refusal->zone = strdup(offering->zone);
	if (!refusal->name || !refusal->zone) {
		refusal_free(refusal);
		return -1;
	}
	refusal->spot = offering->spot;
	refusal->kind = kind;
	refusal->until_ns = deadline_in(for_ns);
	pthread_mutex_lock(&memory->lock);
	refusal->next = memory->first;
	memory->first = refusal;
	pthread_mutex_unlock(&memory->lock);
	return 0;
}

enum error_kind choice_memory_look(struct choice_memory *memory, const struct offering *offering,
	uint64_t *left_ns)
{
	enum error_kind kind = ERROR_NONE;
	uint64_t now = clock_ns();
	pthread_mutex_lock(&memory->lock);
	struct refusal **at = &memory->first;
	while (*at) {
		struct refusal *refusal = *at;
		if (refusal->until_ns <= now) {
			*at = refusal->next;
			refusal_free(refusal);
			continue;
		}
		uint64_t left = refusal->until_ns - now;
		if (covers(memory, refusal, offering) && (kind == ERROR_NONE || left > *left_ns)) {
			kind = refusal->kind;
			*left_ns = left;
		}
		at = &refusal->next;
	}
	pthread_mutex_unlock(&memory->lock);
	return kind;
}
