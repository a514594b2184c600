/* SPDX-License-Identifier: Apache-2.0 */
/*
 * orphan_rule.h - which instances may be taken for orphans: exactly ours, and old enough
 */
#ifndef PEERPOD_ADAPTOR_ORPHAN_RULE_H
#define PEERPOD_ADAPTOR_ORPHAN_RULE_H

#include "providers/provider.h"

/* Its tags name this cluster and this node, both, to the letter. */
bool orphan_is_ours(const struct instance *instance, const char *cluster, const char *node);

/*
 * Older than the grace period, by its own age at this Unix time; where that is not known, or is younger than what has
 * been seen, by the time for which it has been known. known_for_ns 0: seen for the first time.
 */
bool orphan_is_old(const struct instance *instance, int64_t now, uint64_t known_for_ns,
	uint64_t grace_ns);

#endif
