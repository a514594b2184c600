/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h - what a cloud refused lately, as choice.c looks at it
 */
#ifndef PEERPOD_PROVIDERS_CHOICE_MEMORY_H
#define PEERPOD_PROVIDERS_CHOICE_MEMORY_H

#include "providers/choice/choice.h"

/* The kind of the refusal that still holds for this offering and what is left of it; ERROR_NONE: none. */
enum error_kind choice_memory_look(struct choice_memory *memory, const struct offering *offering,
	uint64_t *left_ns);

/* Whether one quota counts both: the family, the market and the region are the same. */
bool choice_memory_one_quota(const struct choice_memory *memory, const struct offering *a,
	const struct offering *b);

#endif
