/* SPDX-License-Identifier: Apache-2.0 */
/* proxy_process.c - see proxy_process.h */
#include "adaptor/proxy_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adaptor/proxy_client.h"
#include "base/bound.h"
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

static int spawn(const struct proxy_client_settings *settings, pid_t *pid)
{
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
		(char *const *)arguments, environ);
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
