/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crun.c - see crun.h
 *
 * A command's standard error is the container's, so crun is told to log into a file, from which the
 * reason of a failure is taken. cgroups are made and joined by us (cgroup.h), the same way on every
 * kind of machine; crun's own manager is off.
 */
#include "crun.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <linux/magic.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

#define ARGS_MAX 24
#define LOG_MAX ((size_t)64 << 10)

static char *look_up(const char *name)
{
	if (strchr(name, '/'))
		return access(name, X_OK) == 0 ? realpath(name, NULL) : NULL;
	const char *path = getenv("PATH");
	cleanup(free_ptr) char *folders =
		strdup(path && *path ? path : "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
	char *rest = folders;
	for (char *folder; folders && (folder = strsep(&rest, ":"));) {
		cleanup(free_ptr) char *file = NULL;
		if (asprintf(&file, "%s/%s", *folder ? folder : ".", name) > 0 &&
			access(file, X_OK) == 0)
			return realpath(file, NULL);
	}
	return NULL;
}

static bool cgroups_are_version_2(void)
{
	struct statfs fs;
	return statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

int crun_find(struct crun *crun, const char *name, const char *state_dir, struct error *err)
{
	*crun = (struct crun){.program = look_up(name)};
	if (!crun->program)
		return error_set(err, ERROR_GONE,
			"%s is not there: install the package crun, or give its path with -crun",
			name);
	if (asprintf(&crun->root, "%s/crun", state_dir) < 0 ||
		asprintf(&crun->logs, "%s/log", state_dir) < 0)
		return error_set_errno(err, ENOMEM, "crun");
	if (dir_make(crun->root, 0700, err) < 0 || dir_make(crun->logs, 0700, err) < 0)
		return -1;
	enum pivot_need need = launch_probe_pivot(crun->logs);
	crun->own_root = need == PIVOT_NEEDS_OWN_ROOT;
	crun->no_pivot = need == PIVOT_IMPOSSIBLE;
	crun->hide_cgroups = !cgroups_are_version_2() && access("/sys/fs/cgroup", F_OK) == 0;
	log_info("crun is %s%s%s%s", crun->program,
		crun->own_root ? "; it gets a root of its own, ours is a changed one" : "",
		crun->no_pivot ? "; pivot_root does not work here, doing without" : "",
		crun->hide_cgroups ? "; it does not get to see this machine's version 1 cgroups"
				   : "");
	return 0;
}

void crun_free(struct crun *crun)
{
	free(crun->program);
	free(crun->root);
	free(crun->logs);
}

/* ---- one command ----------------------------------------------------------------------------- */

struct command {
	const char *argv[ARGS_MAX];
	size_t count;
	char log_option[256];
	const char *log;
};

static void add(struct command *command, const char *argument)
{
	/* ARGS_MAX has room for the longest command below, and for the NULL at its end. */
	if (command->count + 1 < ARGS_MAX)
		command->argv[command->count++] = argument;
}

static void begin(struct command *command, const struct crun *crun, const char *verb)
{
	static atomic_uint_least64_t number;
	*command = (struct command){.count = 0};
	snprintf(command->log_option, sizeof(command->log_option), "--log=%s/%" PRIu64, crun->logs,
		(uint64_t)atomic_fetch_add(&number, 1));
	command->log = command->log_option + strlen("--log=");
	add(command, crun->program);
	add(command, "--root");
	add(command, crun->root);
	add(command, "--cgroup-manager=disabled");
	add(command, command->log_option);
	add(command, verb);
}

/* What the runtime says about its failure: the last line of its log, without its time stamp. */
static int failed(const struct command *command, const char *verb, int status, struct error *err)
{
	cleanup(buf_free) struct buf log = BUF_INIT;
	if (file_read(command->log, LOG_MAX, &log, NULL) == 0) {
		while (log.len && log.data[log.len - 1] == '\n')
			log.data[--log.len] = 0;
	}
	char *line = log.len ? strrchr((char *)log.data, '\n') : NULL;
	line = line ? line + 1 : (char *)log.data;
	/* 2026-01-02T03:04:05.000006Z: text */
	if (line && strlen(line) > 29 && line[4] == '-' && line[10] == 'T' && strstr(line, "Z: "))
		line = strstr(line, "Z: ") + 3;
	return error_set(err, ERROR_INTERNAL, "crun %s: %s (exit status %d)", verb,
		line && *line ? line : "no reason given", status);
}

static int run(const struct crun *crun, struct command *command, const char *verb,
	const struct crun_stdio *stdio, const struct bound *bound, struct error *err)
{
	add(command, NULL);
	struct launch launch = {
		.argv = command->argv,
		.stdio = {-1, -1, -1},
		.cgroups = stdio ? stdio->cgroups : NULL,
		.own_root = crun->own_root,
		.hide_cgroups = crun->hide_cgroups,
	};
	if (stdio)
		memcpy(launch.stdio, stdio->fds, sizeof(launch.stdio));
	struct child child;
	int status = 0;
	if (child_init(&child, err) < 0)
		return -1;
	int result = child_start(&child, &launch, err);
	if (result == 0 && child_wait(&child, bound, verb, err) < 0) {
		/* It must not go on behind our back, and never takes long to die. */
		struct bound none = BOUND_NONE;
		child_signal(&child, SIGKILL, NULL);
		child_wait(&child, &none, verb, NULL);
		result = -1;
	}
	if (result == 0 && child_exited(&child, &status) && status)
		result = failed(command, verb, status, err);
	child_free(&child);
	unlink(command->log);
	return result;
}

/* A command that leaves a process behind, whose pid it writes into a file. */
static int run_process(const struct crun *crun, struct command *command, const char *verb,
	const char *pid_file, const struct crun_stdio *stdio, struct child *child,
	const struct bound *bound, struct error *err)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	reaper_hold();
	int result = run(crun, command, verb, stdio, bound, err);
	if (result == 0)
		result = file_read(pid_file, 32, &text, err);
	unlink(pid_file);
	long pid = strtol(buf_text(&text), NULL, 10);
	if (result == 0 && pid <= 1)
		result = error_set(err, ERROR_INTERNAL, "crun %s: it told no process id", verb);
	if (result == 0)
		child_claim(child, (pid_t)pid);
	reaper_release();
	return result;
}

int crun_create(const struct crun *crun, const char *id, const char *bundle,
	const struct crun_stdio *stdio, struct child *child, const struct bound *bound,
	struct error *err)
{
	struct command command;
	begin(&command, crun, "create");
	char pid_file[300];
	snprintf(pid_file, sizeof(pid_file), "%s.pid", command.log);
	add(&command, "--bundle");
	add(&command, bundle);
	add(&command, "--pid-file");
	add(&command, pid_file);
	if (crun->no_pivot)
		add(&command, "--no-pivot");
	if (stdio->console_socket) {
		add(&command, "--console-socket");
		add(&command, stdio->console_socket);
	}
	add(&command, id);
	return run_process(crun, &command, "create", pid_file, stdio, child, bound, err);
}

int crun_start(const struct crun *crun, const char *id, const struct bound *bound,
	struct error *err)
{
	struct command command;
	begin(&command, crun, "start");
	add(&command, id);
	return run(crun, &command, "start", NULL, bound, err);
}

int crun_exec(const struct crun *crun, const char *id, const char *process_file,
	const struct crun_stdio *stdio, struct child *child, const struct bound *bound,
	struct error *err)
{
	struct command command;
	begin(&command, crun, "exec");
	char pid_file[300];
	snprintf(pid_file, sizeof(pid_file), "%s.pid", command.log);
	add(&command, "--detach");
	add(&command, "--process");
	add(&command, process_file);
	add(&command, "--pid-file");
	add(&command, pid_file);
	if (stdio->console_socket) {
		add(&command, "--console-socket");
		add(&command, stdio->console_socket);
	}
	add(&command, id);
	return run_process(crun, &command, "exec", pid_file, stdio, child, bound, err);
}

int crun_delete(const struct crun *crun, const char *id, const struct bound *bound,
	struct error *err)
{
	struct command command;
	begin(&command, crun, "delete");
	add(&command, "--force");
	add(&command, id);
	return run(crun, &command, "delete", NULL, bound, err);
}
