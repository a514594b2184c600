/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fallback.h - one offering after the other while the cloud has no room
 */
#ifndef PEERPOD_PROVIDERS_FALLBACK_H
#define PEERPOD_PROVIDERS_FALLBACK_H

#include "base/bound.h"
#include "providers/choice/choice.h"

/* Makes an instance of this offering: 0, or -1 with nothing left of it. */
typedef int choice_make(void *with, const struct offering *offering, const struct bound *bound,
	struct error *err);

/*
 * Tries what fits in the order of the ranking. ERROR_CAPACITY and ERROR_QUOTA are remembered and lead to the next one
 * (after a quota, to the next of another family or region); any other failure ends it. who: "aws", for log lines.
 */
int choice_try(const char *who, const struct choice *choice, struct choice_memory *memory,
	choice_make *make, void *with, const struct bound *bound, struct error *err);

/* Logs the ranking, with the nearest misses. */
void choice_log(const char *who, const struct choice *choice);

#endif
