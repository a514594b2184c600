/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup.c - see cgroup.h. Works with version 1, version 2 and both at once. */
#include "cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE 4096

static void endmntent_ptr(FILE **f)
{
	if (*f)
		endmntent(*f);
}

/* Calls each with the mount point of each hierarchy until it returns nonzero. */
static int each_hierarchy(int (*each)(void *closure, const char *mounted_at), void *closure)
{
	cleanup(endmntent_ptr) FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent entry;
	char text[PATH_SIZE];
	while (mounts && getmntent_r(mounts, &entry, text, sizeof(text))) {
		if (strcmp(entry.mnt_type, "cgroup") && strcmp(entry.mnt_type, "cgroup2"))
			continue;
		if (strncmp(entry.mnt_dir, "/sys/fs/cgroup", 14))
			continue;
		int rc = each(closure, entry.mnt_dir);
		if (rc)
			return rc;
	}
	return 0;
}

/* Version 1 cpusets are born empty, and nothing runs in an empty one: take the parent's. */
static void inherit_cpuset(const char *parent, const char *group)
{
	static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
	for (size_t i = 0; i < array_size(files); i++) {
		char from[PATH_SIZE + 16], to[PATH_SIZE + 16], value[1024];
		snprintf(from, sizeof(from), "%s/%s", parent, files[i]);
		snprintf(to, sizeof(to), "%s/%s", group, files[i]);
		cleanup(close_fd) int in = open(from, O_RDONLY | O_CLOEXEC);
		cleanup(close_fd) int out = open(to, O_WRONLY | O_CLOEXEC);
		ssize_t n = in >= 0 && out >= 0 ? read(in, value, sizeof(value)) : 0;
		if (n > 0 && write(out, value, (size_t)n) < 0)
			return; /* the agent says what does not work without */
	}
}

static void group_path(char *path, size_t size, const char *mounted_at, const char *token)
{
	snprintf(path, size, "%s/peerpod-netns-%s", mounted_at, token);
}

struct making {
	const char *token;
	int (*visit)(void *closure, const char *group, const char *mounted_at, struct error *err);
	void *closure;
	struct error *err;
};

static int make_group(void *closure, const char *mounted_at)
{
	struct making *making = closure;
	char group[PATH_SIZE];
	group_path(group, sizeof(group), mounted_at, making->token);
	if (mkdir(group, 0755) < 0 && errno != EEXIST)
		return 0; /* read-only here: containers run without this hierarchy */
	inherit_cpuset(mounted_at, group);
	return making->visit ? making->visit(making->closure, group, mounted_at, making->err) : 0;
}

int cgroups_make(const char *token,
	int (*visit)(void *closure, const char *group, const char *mounted_at, struct error *err),
	void *closure, struct error *err)
{
	struct making making = {token, visit, closure, err};
	return each_hierarchy(make_group, &making);
}

/* Depth first: a cgroup's folder can be removed once it has no child groups and no processes. */
static void remove_group(const char *group)
{
	cleanup(closedir_ptr) DIR *dir = opendir(group);
	struct dirent *entry;
	while (dir && (entry = readdir(dir))) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		char child[PATH_SIZE];
		if ((size_t)snprintf(child, sizeof(child), "%s/%s", group, entry->d_name) <
			sizeof(child))
			remove_group(child);
	}
	/* A process that was killed leaves its group a moment after it has died. */
	for (int tries = 0; rmdir(group) < 0 && errno == EBUSY && tries < 200; tries++)
		usleep(1000);
}

static int remove_from(void *closure, const char *mounted_at)
{
	char group[PATH_SIZE];
	group_path(group, sizeof(group), mounted_at, closure);
	remove_group(group);
	return 0;
}

void cgroups_remove(const char *token)
{
	char copy[64];
	snprintf(copy, sizeof(copy), "%s", token);
	each_hierarchy(remove_from, copy);
}
