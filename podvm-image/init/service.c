/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service.c - see service.h
 *
 * Signals are blocked and read from a descriptor, so nothing runs in a signal handler. Children get
 * the default signal mask back before they run their program.
 */
#include "service.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bound.h"

static int signals = -1;

int service_add(struct service *service, const char *arg, struct error *err)
{
	if (service->argc + 1 >= SERVICE_ARGS_MAX)
		return error_set(err, ERROR_INVALID, "%s: more than %d arguments", service->name,
			SERVICE_ARGS_MAX - 1);
	char *copy = strdup(arg);
	if (!copy)
		return error_set(err, ERROR_CAPACITY, "%s: out of memory", service->name);
	service->argv[service->argc++] = copy;
	return 0;
}

int service_add_words(struct service *service, const char *text, struct error *err)
{
	cleanup(free_ptr) char *copy = strdup(text);
	if (!copy)
		return error_set(err, ERROR_CAPACITY, "%s: out of memory", service->name);
	char *rest = NULL;
	for (char *word = strtok_r(copy, " \t", &rest); word; word = strtok_r(NULL, " \t", &rest)) {
		if (service_add(service, word, err) < 0)
			return -1;
	}
	return 0;
}

int service_start(struct service *service, struct error *err)
{
	/* The child tells by this pipe, which closes on exec, when its program could not be started. */
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, "start %s: pipe", service->name);
	cleanup(close_fd) int reader = ends[0];
	pid_t pid = fork();
	if (pid == 0) {
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		setsid();
		execv(service->argv[0], service->argv);
		int errnum = errno;
		if (write(ends[1], &errnum, sizeof(errnum)) < 0)
			_exit(126);
		_exit(127);
	}
	int fork_errno = errno;
	close(ends[1]);
	if (pid < 0)
		return error_set_errno(err, fork_errno, "start %s: fork", service->name);

	int errnum = 0;
	ssize_t n;
	while ((n = read(reader, &errnum, sizeof(errnum))) < 0 && errno == EINTR)
		;
	if (n == (ssize_t)sizeof(errnum)) {
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		return error_set_errno(err, errnum, "start %s: %s", service->name,
			service->argv[0]);
	}
	service->pid = pid;
	service->started_ns = clock_ns();
	service->ended = false;
	return 0;
}

void service_signal(const struct service *service, int signum)
{
	if (service->pid > 0)
		kill(service->pid, signum);
}

void service_fate(const struct service *service, char *text, size_t size)
{
	if (WIFSIGNALED(service->status))
		snprintf(text, size, "was killed by signal %d", WTERMSIG(service->status));
	else
		snprintf(text, size, "ended with status %d", WEXITSTATUS(service->status));
}

void service_free(struct service *service)
{
	for (int i = 0; i < service->argc; i++)
		free(service->argv[i]);
	*service = (struct service){0};
}

int services_init(struct error *err)
{
	static const int numbers[] = {SIGCHLD, SIGTERM, SIGINT, SIGUSR1};
	sigset_t set;
	sigemptyset(&set);
	for (size_t i = 0; i < array_size(numbers); i++)
		sigaddset(&set, numbers[i]);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return error_set_errno(err, errno, "block signals");
	signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0)
		return error_set_errno(err, errno, "signalfd");
	return 0;
}

void services_end(void)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (signals >= 0)
		close(signals);
	signals = -1;
}

static bool reap(struct service *services, size_t count)
{
	bool ours = false;
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
		for (size_t i = 0; i < count; i++) {
			if (services[i].pid != pid)
				continue;
			services[i].pid = 0;
			services[i].status = status;
			services[i].ended = true;
			ours = true;
		}
	}
	return ours;
}

enum service_event services_wait(struct service *services, size_t count, uint64_t deadline_ns,
	struct error *err)
{
	struct bound bound = {.deadline_ns = deadline_ns};
	for (;;) {
		struct signalfd_siginfo info;
		ssize_t n = read(signals, &info, sizeof(info));
		if (n == (ssize_t)sizeof(info)) {
			switch (info.ssi_signo) {
			case SIGCHLD:
				if (reap(services, count))
					return SERVICE_ENDED;
				continue;
			case SIGUSR1:
				return SERVICE_NETWORK;
			default:
				return SERVICE_STOP;
			}
		}
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			error_set_errno(err, errno, "read signals");
			return SERVICE_FAILED;
		}
		struct pollfd wait = {.fd = signals, .events = POLLIN};
		int ready = poll(&wait, 1, bound_left_ms(&bound));
		if (ready == 0)
			return SERVICE_TIMEOUT;
		if (ready < 0 && errno != EINTR) {
			error_set_errno(err, errno, "wait for signals");
			return SERVICE_FAILED;
		}
	}
}
