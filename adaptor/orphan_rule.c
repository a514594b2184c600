/* SPDX-License-Identifier: Apache-2.0 */
/* orphan_rule.c - see orphan_rule.h */
#include "adaptor/orphan_rule.h"

#include <string.h>

bool orphan_is_ours(const struct instance *instance, const char *cluster, const char *node)
{
	return instance->id && *instance->id && instance->cluster && instance->node && *cluster &&
	       *node && !strcmp(instance->cluster, cluster) && !strcmp(instance->node, node);
}

bool orphan_is_old(const struct instance *instance, int64_t now, uint64_t known_for_ns,
	uint64_t grace_ns)
{
	uint64_t age = instance->created > 0 && instance->created < now
			       ? (uint64_t)(now - instance->created)
			       : 0;
	return known_for_ns >= grace_ns || age > grace_ns / NS_PER_S;
}
