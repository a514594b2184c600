/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.h - one cgroup per container, on version 1, version 2 or both
 *
 * Made by us and joined by crun before it makes the container's process, so that statistics,
 * freezing and killing work the same on every machine. Lies below the group that mini-agent itself
 * is in.
 */
#ifndef PEERPOD_MINI_AGENT_CGROUP_H
#define PEERPOD_MINI_AGENT_CGROUP_H

#include <stdbool.h>
#include <sys/types.h>
#include "proto/agent.pb-c.h"
#include "base/error.h"

enum cgroups_use { CGROUPS_AUTO, CGROUPS_ON, CGROUPS_OFF };

#define HIERARCHIES_MAX 12

/* The hierarchies of this machine that are of use. */
struct cgroups {
	struct {
		char *base; /* the folder in which the groups of containers are made */
		bool version_2;
	} hierarchies[HIERARCHIES_MAX];
	size_t count;
};

/* CGROUPS_AUTO takes what there is, also nothing; CGROUPS_ON fails where there is nothing. */
int cgroups_open(struct cgroups *cgroups, enum cgroups_use use, struct error *err);
void cgroups_free(struct cgroups *cgroups);

struct cgroup {
	char *folders[HIERARCHIES_MAX];
	char *procs[HIERARCHIES_MAX + 1]; /* their cgroup.procs; NULL-terminated */
	size_t count;
};

int cgroup_make(const struct cgroups *cgroups, const char *id, struct cgroup *group,
	struct error *err);
/* Kills what is left in it, removes it, frees. */
void cgroup_remove(struct cgroup *group);

/* Points into *stats; what the machine does not tell stays zero. */
struct cgroup_stats {
	Agent__CgroupStats stats;
	Agent__CpuStats cpu;
	Agent__CpuUsage cpu_usage;
	Agent__MemoryStats memory;
	Agent__MemoryData memory_usage;
	Agent__PidsStats pids;
};
void cgroup_read_stats(const struct cgroup *group, struct cgroup_stats *stats);

/* A signal to every process in it but one (0: to all). How many there were. */
size_t cgroup_signal(const struct cgroup *group, int number, pid_t but);

int cgroup_freeze(const struct cgroup *group, bool frozen, struct error *err);

/* How many processes the kernel has killed in it for want of memory. */
uint64_t cgroup_oom_kills(const struct cgroup *group);

/* 0 or negative: no limit asked for. */
struct cgroup_limits {
	int64_t memory;    /* bytes */
	int64_t cpu_quota; /* microseconds in each period */
	uint64_t cpu_period;
};
struct cgroup_limits cgroup_limits_of(const Agent__LinuxResources *resources); /* may be NULL */
int cgroup_limit(const struct cgroup *group, const struct cgroup_limits *limits, struct error *err);

#endif
