/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup.c - see cgroup.h */
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

#define FILE_MAX ((size_t)1 << 20)
#define CGROUPS_AT "/sys/fs/cgroup"

static int write_file(const char *folder, const char *name, const char *text)
{
	char path[4200];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	cleanup(close_fd) int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	return write(fd, text, strlen(text)) < 0 ? errno : 0;
}

static bool read_text(const char *folder, const char *name, struct buf *text)
{
	char path[4200];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return file_read(path, FILE_MAX, text, NULL) == 0;
}

static bool read_number(const char *folder, const char *name, uint64_t *value)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	if (!read_text(folder, name, &text) || !text.len || text.data[0] < '0' ||
		text.data[0] > '9')
		return false;
	*value = strtoull(buf_text(&text), NULL, 10);
	return true;
}

/* The number after "key " at the beginning of a line. */
static bool read_key(const char *folder, const char *name, const char *key, uint64_t *value)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	if (!read_text(folder, name, &text))
		return false;
	char *rest = (char *)text.data;
	size_t len = strlen(key);
	for (char *line; rest && (line = strsep(&rest, "\n"));) {
		if (!strncmp(line, key, len) && line[len] == ' ') {
			*value = strtoull(line + len + 1, NULL, 10);
			return true;
		}
	}
	return false;
}

/* ---- the machine's hierarchies --------------------------------------------------------------- */

/* Our own group in a hierarchy (/proc/self/cgroup); controllers is "" for version 2. */
static char *own_group(const char *controllers)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	if (file_read("/proc/self/cgroup", FILE_MAX, &text, NULL) < 0)
		return NULL;
	char *rest = (char *)text.data;
	for (char *line; rest && (line = strsep(&rest, "\n"));) {
		strsep(&line, ":");
		char *names = line ? strsep(&line, ":") : NULL;
		/* In mountinfo the names are among other options. */
		if (line && (*controllers ? *names && strstr(controllers, names) : !*names))
			return strdup(line);
	}
	return NULL;
}

/*
 * The folder of our own group below a mount. A mount may show only a part of its hierarchy (root):
 * what lies below that is the path.
 */
static char *base_folder(const char *mounted_at, const char *root, const char *own)
{
	size_t len = strcmp(root, "/") ? strlen(root) : 0;
	const char *below = own && !strncmp(own, root, len) ? own + len : "";
	char *base = NULL;
	/* Of this process alone: several agents may run on one machine. */
	if (asprintf(&base, "%s%s/mini-agent-%d", mounted_at, strcmp(below, "/") ? below : "",
		    (int)getpid()) < 0)
		return NULL;
	return base;
}

/* Version 2: children get a controller only if every group above passes it on. */
static void pass_controllers_on(const char *folder)
{
	static const char *const controllers[] = {"+memory", "+cpu", "+pids"};
	for (size_t i = 0; i < array_size(controllers); i++) {
		int errnum = write_file(folder, "cgroup.subtree_control", controllers[i]);
		if (errnum)
			log_debug("%s: %s: %s", folder, controllers[i], strerrordesc_np(errnum));
	}
}

static void add_hierarchy(struct cgroups *cgroups, const char *mounted_at, const char *root,
	bool version_2, const char *controllers)
{
	cleanup(free_ptr) char *own = own_group(controllers);
	cleanup(free_ptr) char *base = base_folder(mounted_at, root, own);
	if (!base || cgroups->count == HIERARCHIES_MAX)
		return;
	for (size_t i = 0; i < cgroups->count; i++)
		if (!strcmp(cgroups->hierarchies[i].base, base))
			return; /* of two mounts at one place the upper one is seen */
	if (version_2) {
		cleanup(free_ptr) char *above = strdup(base);
		if (above && strrchr(above, '/')) {
			*strrchr(above, '/') = 0;
			pass_controllers_on(above);
		}
	}
	if (mkdir(base, 0755) < 0 && errno != EEXIST) {
		log_debug("cgroup %s: %s", base, strerrordesc_np(errno));
		return;
	}
	if (version_2)
		pass_controllers_on(base);
	cgroups->hierarchies[cgroups->count].version_2 = version_2;
	cgroups->hierarchies[cgroups->count++].base = take_ptr(base);
}

static bool is_of_use(const char *options)
{
	static const char *const controllers[] = {"memory", "cpuacct", "cpu", "pids", "freezer"};
	cleanup(free_ptr) char *copy = strdup(options);
	char *rest = copy;
	for (char *word; rest && (word = strsep(&rest, ","));)
		for (size_t i = 0; i < array_size(controllers); i++)
			if (!strcmp(word, controllers[i]))
				return true;
	return false;
}

/*
 * A line of mountinfo: "id parent major:minor root mounted-at options [tags...] - type source
 * options". Hierarchies that are mounted elsewhere belong to somebody else's root.
 */
static void look_at_mount(struct cgroups *cgroups, char *line)
{
	char *fields[5], *rest = line;
	for (size_t i = 0; i < array_size(fields); i++)
		if (!(fields[i] = strsep(&rest, " ")))
			return;
	char *type = rest ? strstr(rest, " - ") : NULL;
	if (!type || strncmp(fields[4], CGROUPS_AT, strlen(CGROUPS_AT)) != 0)
		return;
	type += 3;
	char *options = type;
	strsep(&options, " ");
	if (options)
		strsep(&options, " ");
	if (!strcmp(type, "cgroup2"))
		add_hierarchy(cgroups, fields[4], fields[3], true, "");
	else if (!strcmp(type, "cgroup") && options && is_of_use(options))
		add_hierarchy(cgroups, fields[4], fields[3], false, options);
}

int cgroups_open(struct cgroups *cgroups, enum cgroups_use use, struct error *err)
{
	*cgroups = (struct cgroups){0};
	if (use == CGROUPS_OFF)
		return 0;
	cleanup(buf_free) struct buf text = BUF_INIT;
	if (file_read("/proc/self/mountinfo", FILE_MAX, &text, err) < 0)
		return -1;
	char *rest = (char *)text.data;
	for (char *line; rest && (line = strsep(&rest, "\n"));)
		look_at_mount(cgroups, line);
	if (cgroups->count)
		log_debug("cgroups: %zu hierarchies, the first is %s", cgroups->count,
			cgroups->hierarchies[0].base);
	else if (use == CGROUPS_ON)
		return error_set(err, ERROR_UNSUPPORTED,
			"no cgroup can be made on this machine; -cgroups=auto does without");
	else
		log_warn(
			"no cgroup can be made on this machine: there are no statistics and no limits");
	return 0;
}

void cgroups_free(struct cgroups *cgroups)
{
	for (size_t i = 0; i < cgroups->count; i++) {
		rmdir(cgroups->hierarchies[i].base);
		free(cgroups->hierarchies[i].base);
	}
	*cgroups = (struct cgroups){0};
}

/* ---- one group ------------------------------------------------------------------------------- */

int cgroup_make(const struct cgroups *cgroups, const char *id, struct cgroup *group,
	struct error *err)
{
	*group = (struct cgroup){0};
	for (size_t i = 0; i < cgroups->count; i++) {
		char **folder = &group->folders[group->count],
		     **procs = &group->procs[group->count];
		if (asprintf(folder, "%s/%s", cgroups->hierarchies[i].base, id) < 0 ||
			asprintf(procs, "%s/cgroup.procs", *folder) < 0) {
			cgroup_remove(group);
			return error_set_errno(err, ENOMEM, "cgroup %s", id);
		}
		group->count++;
		if (mkdir(*folder, 0755) < 0 && errno != EEXIST) {
			error_set_errno(err, errno, "cgroup %s", *folder);
			cgroup_remove(group);
			return -1;
		}
	}
	return 0;
}

static size_t signal_folder(const char *folder, int number, pid_t but)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	size_t count = 0;
	if (!read_text(folder, "cgroup.procs", &text))
		return 0;
	char *rest = (char *)text.data;
	for (char *line; rest && (line = strsep(&rest, "\n"));) {
		long pid = strtol(line, NULL, 10);
		if (pid > 1 && pid != but && kill((pid_t)pid, number) == 0)
			count++;
	}
	return count;
}

size_t cgroup_signal(const struct cgroup *group, int number, pid_t but)
{
	/* Every hierarchy holds the same processes. */
	return group->count ? signal_folder(group->folders[0], number, but) : 0;
}

void cgroup_remove(struct cgroup *group)
{
	/*
	 * Killed processes leave their group a moment after the signal; without them rmdir works.
	 */
	static const struct timespec moment = {.tv_nsec = 2000000};
	for (size_t i = 0; i < group->count; i++) {
		int tries = 500;
		while (rmdir(group->folders[i]) < 0 && errno == EBUSY && --tries) {
			signal_folder(group->folders[i], SIGKILL, 0);
			nanosleep(&moment, NULL);
		}
		if (!tries)
			log_warn("cgroup %s could not be removed: it is in use", group->folders[i]);
	}
	for (size_t i = 0; i < HIERARCHIES_MAX; i++) {
		free(group->folders[i]);
		free(group->procs[i]);
	}
	*group = (struct cgroup){0};
}

/* The times of version 2 are in microseconds, those of version 1 in nanoseconds. */
static void read_cpu(const char *folder, Agent__CpuUsage *usage)
{
	if (read_number(folder, "cpuacct.usage", &usage->total_usage)) {
		read_number(folder, "cpuacct.usage_user", &usage->usage_in_usermode);
		read_number(folder, "cpuacct.usage_sys", &usage->usage_in_kernelmode);
	} else if (!usage->total_usage &&
		   read_key(folder, "cpu.stat", "usage_usec", &usage->total_usage)) {
		read_key(folder, "cpu.stat", "user_usec", &usage->usage_in_usermode);
		read_key(folder, "cpu.stat", "system_usec", &usage->usage_in_kernelmode);
		usage->total_usage *= 1000;
		usage->usage_in_usermode *= 1000;
		usage->usage_in_kernelmode *= 1000;
	}
}

static void read_memory(const char *folder, struct cgroup_stats *s)
{
	if (read_number(folder, "memory.usage_in_bytes", &s->memory_usage.usage)) {
		read_number(folder, "memory.max_usage_in_bytes", &s->memory_usage.max_usage);
		read_number(folder, "memory.limit_in_bytes", &s->memory_usage.limit);
		read_number(folder, "memory.failcnt", &s->memory_usage.failcnt);
		read_key(folder, "memory.stat", "total_cache", &s->memory.cache);
	} else if (read_number(folder, "memory.current", &s->memory_usage.usage)) {
		read_number(folder, "memory.peak", &s->memory_usage.max_usage);
		if (!read_number(folder, "memory.max", &s->memory_usage.limit))
			s->memory_usage.limit = UINT64_MAX; /* "max" */
		read_key(folder, "memory.events", "max", &s->memory_usage.failcnt);
		read_key(folder, "memory.stat", "file", &s->memory.cache);
	}
}

void cgroup_read_stats(const struct cgroup *group, struct cgroup_stats *s)
{
	agent__cgroup_stats__init(&s->stats);
	agent__cpu_stats__init(&s->cpu);
	agent__cpu_usage__init(&s->cpu_usage);
	agent__memory_stats__init(&s->memory);
	agent__memory_data__init(&s->memory_usage);
	agent__pids_stats__init(&s->pids);
	s->stats.cpu_stats = &s->cpu;
	s->cpu.cpu_usage = &s->cpu_usage;
	s->stats.memory_stats = &s->memory;
	s->memory.usage = &s->memory_usage;
	s->stats.pids_stats = &s->pids;
	for (size_t i = 0; i < group->count; i++) {
		read_cpu(group->folders[i], &s->cpu_usage);
		read_memory(group->folders[i], s);
		read_number(group->folders[i], "pids.current", &s->pids.current);
		read_number(group->folders[i], "pids.max", &s->pids.limit);
	}
}

int cgroup_freeze(const struct cgroup *group, bool frozen, struct error *err)
{
	for (size_t i = 0; i < group->count; i++) {
		const char *folder = group->folders[i];
		if (write_file(folder, "cgroup.freeze", frozen ? "1" : "0") == 0 ||
			write_file(folder, "freezer.state", frozen ? "FROZEN" : "THAWED") == 0)
			return 0;
	}
	return error_set(err, ERROR_UNSUPPORTED, "no cgroup of this container can be frozen");
}

uint64_t cgroup_oom_kills(const struct cgroup *group)
{
	uint64_t kills = 0;
	for (size_t i = 0; i < group->count; i++)
		if (read_key(group->folders[i], "memory.events", "oom_kill", &kills) ||
			read_key(group->folders[i], "memory.oom_control", "oom_kill", &kills))
			break;
	return kills;
}

/* Writes into whichever hierarchy has the file. */
static int write_somewhere(const struct cgroup *group, const char *v1, const char *v2,
	const char *v1_text, const char *v2_text, struct error *err)
{
	for (size_t i = 0; i < group->count; i++) {
		int errnum = write_file(group->folders[i], v2, v2_text);
		if (errnum == ENOENT)
			errnum = write_file(group->folders[i], v1, v1_text);
		if (errnum && errnum != ENOENT)
			return error_set_errno(err, errnum, "%s: set %s", group->folders[i], v2);
		if (!errnum)
			return 0;
	}
	log_debug("no cgroup has %s: the limit is not set", v2);
	return 0;
}

struct cgroup_limits cgroup_limits_of(const Agent__LinuxResources *resources)
{
	struct cgroup_limits limits = {0};
	if (resources && resources->memory)
		limits.memory = resources->memory->limit;
	if (resources && resources->cpu) {
		limits.cpu_quota = resources->cpu->quota;
		limits.cpu_period = resources->cpu->period;
	}
	return limits;
}

int cgroup_limit(const struct cgroup *group, const struct cgroup_limits *limits, struct error *err)
{
	char v1[32], v2[64];
	if (limits->memory > 0) {
		snprintf(v1, sizeof(v1), "%" PRId64, limits->memory);
		if (write_somewhere(group, "memory.limit_in_bytes", "memory.max", v1, v1, err) < 0)
			return -1;
	}
	if (limits->cpu_quota > 0) {
		uint64_t period = limits->cpu_period ? limits->cpu_period : 100000;
		snprintf(v1, sizeof(v1), "%" PRIu64, period);
		snprintf(v2, sizeof(v2), "%" PRId64 " %" PRIu64, limits->cpu_quota, period);
		if (write_somewhere(group, "cpu.cfs_period_us", "cpu.max", v1, v2, err) < 0)
			return -1;
		snprintf(v1, sizeof(v1), "%" PRId64, limits->cpu_quota);
		if (write_somewhere(group, "cpu.cfs_quota_us", "cpu.max", v1, v2, err) < 0)
			return -1;
	}
	return 0;
}
