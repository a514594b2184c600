/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.h - a cgroup of each hierarchy for one instance
 *
 * An instance sees its own group as the root of every hierarchy (a bind mount does that), so whatever its
 * agent makes lies below and can be removed as one with the instance.
 */
#ifndef PEERPOD_NETNS_CGROUP_H
#define PEERPOD_NETNS_CGROUP_H

#include "base/error.h"

/*
 * Makes the instance's group in each hierarchy mounted on this machine and calls visit with its folder
 * and the folder where the hierarchy is mounted. A hierarchy that cannot be written is left out.
 */
int cgroups_make(const char *token,
	int (*visit)(void *closure, const char *group, const char *mounted_at, struct error *err),
	void *closure, struct error *err);

/* Removes the groups once what ran in them has been killed; those that are gone are fine. */
void cgroups_remove(const char *token);

#endif
