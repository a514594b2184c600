/* SPDX-License-Identifier: Apache-2.0 */
/* proxy_process.c - see proxy_process.h */
#include "adaptor/proxy_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adaptor/proxy_client.h"
#include "base/bound.h"
#include "base/cleanup.h"
#include "base/log.h"

/* One that ends at once is not started more often than this. */
#define RESTART_NS (2 * NS_PER_S)

extern char **environ;

void proxy_process_reap(struct proxy_process *process)
{
	int status;
	if (process->pid < 0 || waitpid(process->pid, &status, WNOHANG) != process->pid)
		return;
	if (WIFSIGNALED(status))
		log_warn("agent-proxy (process %d) was killed by signal %d", (int)process->pid,
			WTERMSIG(status));
	else if (WEXITSTATUS(status))
		log_warn("agent-proxy (process %d) ended with status %d", (int)process->pid,
			WEXITSTATUS(status));
	process->pid = -1;
}

/*
 * What agent-proxy inherits of our environment, by the beginnings of names. All else stays here: the cloud's credentials
 * are in it, and agent-proxy is to hold none.
 */
static const char *const inherited[] = {"AGENT_PROXY_",
	"LD_LIBRARY_PATH=", "ASAN_OPTIONS=", "LSAN_OPTIONS=", "TSAN_OPTIONS=", "UBSAN_OPTIONS="};

static bool is_inherited(const char *variable)
{
	for (size_t i = 0; i < array_size(inherited); i++) {
		if (!strncmp(variable, inherited[i], strlen(inherited[i])))
			return true;
	}
	return false;
}

/* The strings stay the environment's. NULL: no memory. */
static char **environment_of_proxy(void)
{
	size_t count = 0;
	while (environ[count])
		count++;
	char **chosen = calloc(count + 1, sizeof(*chosen));
	for (size_t i = 0, kept = 0; chosen && i < count; i++) {
		if (is_inherited(environ[i]))
			chosen[kept++] = environ[i];
	}
	return chosen;
}

static int spawn(const struct proxy_client_settings *settings, pid_t *pid)
{
	cleanup(free_ptr) char **environment = environment_of_proxy();
	if (!environment)
		return ENOMEM;
	const char *const arguments[] = {settings->program, "-control-socket", settings->socket,
		"-log-level", settings->log_level, "-log-format", settings->log_format, NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&files, STDIN_FILENO, STDOUT_FILENO);
	posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes,
		POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	int failed = posix_spawn(pid, settings->program, &files, &attributes,
		(char *const *)arguments, environment);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&files);
	return failed;
}

void proxy_process_ensure(struct proxy_process *process,
	const struct proxy_client_settings *settings, struct error *err)
{
	proxy_process_reap(process);
	if (process->pid >= 0 || clock_ns() < process->not_before_ns)
		return;
	process->not_before_ns = deadline_in(RESTART_NS);
	pid_t pid;
	int failed = spawn(settings, &pid);
	if (failed) {
		error_set_errno(err, failed, "start agent-proxy %s", settings->program);
		return;
	}
	process->pid = pid;
	log_info("agent-proxy started: process %d", (int)pid);
}
