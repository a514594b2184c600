/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.h - how a forked process becomes another program
 */
#ifndef PEERPOD_MINI_AGENT_LAUNCH_H
#define PEERPOD_MINI_AGENT_LAUNCH_H

#include <stdbool.h>

struct launch {
	const char *const *argv;    /* argv[0]: an absolute path */
	int stdio[3];               /* -1: /dev/null */
	const char *const *cgroups; /* files cgroup.procs to join; NULL-terminated, or NULL */
	bool own_root;              /* make our root that of a mount namespace of its own */
	bool hide_cgroups;          /* an empty /sys/fs/cgroup for it */
};

/* In the forked process; system calls only. Returns an errno when it has failed. */
int launch_become(const struct launch *launch);

/*
 * What a container runtime needs here to change its root with pivot_root(2). Found out by trying,
 * in a child of its own; folder is an empty one to try with. Before threads are started and
 * children waited for.
 */
enum pivot_need {
	PIVOT_WORKS,
	PIVOT_NEEDS_OWN_ROOT, /* struct launch, own_root */
	PIVOT_IMPOSSIBLE,
};
enum pivot_need launch_probe_pivot(const char *folder);

#endif
