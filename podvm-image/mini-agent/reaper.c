/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reaper.c - see reaper.h
 *
 * The thread peeks at ended children (WNOWAIT) and reaps each with the lock held. So with the lock
 * held, a pid whose end has not been recorded is still that process and nothing else, and a child
 * is listed before its end can be seen.
 */
#include "reaper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"

struct unclaimed {
	struct unclaimed *next;
	pid_t pid;
	int status;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t have_children = PTHREAD_COND_INITIALIZER;
static struct child *children;
static struct unclaimed *unclaimed;
static unsigned holders;
static unsigned long starts;

static int shell_status(const siginfo_t *info)
{
	return info->si_code == CLD_EXITED ? info->si_status : 128 + info->si_status;
}

static void note_exit(struct child *child, int status)
{
	child->status = status;
	child->exited = true;
	eventfd_write(child->exit_fd, 1);
}

static void dispatch(pid_t pid, int status)
{
	for (struct child *child = children; child; child = child->next) {
		if (child->pid == pid && !child->exited) {
			note_exit(child, status);
			return;
		}
	}
	struct unclaimed *entry = holders ? malloc(sizeof(*entry)) : NULL;
	if (entry) {
		*entry = (struct unclaimed){unclaimed, pid, status};
		unclaimed = entry;
	}
}

static void *reap(void *context)
{
	(void)context;
	unsigned long seen = 0;
	for (;;) {
		siginfo_t info = {0};
		int failed = waitid(P_ALL, 0, &info, WEXITED | WNOWAIT);
		pthread_mutex_lock(&lock);
		if (failed && errno == ECHILD) {
			while (starts == seen)
				pthread_cond_wait(&have_children, &lock);
			seen = starts;
		} else if (!failed && info.si_pid) {
			pid_t pid = info.si_pid;
			info = (siginfo_t){0};
			if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG) == 0 && info.si_pid)
				dispatch(pid, shell_status(&info));
		}
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

int reaper_start(struct error *err)
{
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return error_set_errno(err, errno, "become the subreaper");
	pthread_t thread;
	int failed = thread_start(&thread, 0, reap, NULL);
	if (failed)
		return error_set_errno(err, failed, "start the reaper");
	pthread_detach(thread);
	return 0;
}

int child_init(struct child *child, struct error *err)
{
	*child = (struct child){.exit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	return child->exit_fd < 0 ? error_set_errno(err, errno, "eventfd") : 0;
}

void child_free(struct child *child)
{
	pthread_mutex_lock(&lock);
	for (struct child **at = &children; child->claimed && *at; at = &(*at)->next) {
		if (*at == child) {
			*at = child->next;
			break;
		}
	}
	pthread_mutex_unlock(&lock);
	if (child->exit_fd >= 0)
		close(child->exit_fd);
	child->exit_fd = -1;
}

static void list(struct child *child, pid_t pid)
{
	child->pid = pid;
	child->claimed = true;
	child->next = children;
	children = child;
	starts++;
	pthread_cond_signal(&have_children);
}

int child_start(struct child *child, const struct launch *launch, struct error *err)
{
	int report[2];
	if (pipe2(report, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, "start %s", launch->argv[0]);
	cleanup(close_fd) int from_child = report[0];
	pthread_mutex_lock(&lock);
	pid_t pid = fork();
	if (pid == 0) {
		int errnum = launch_become(launch);
		ssize_t ignored = write(report[1], &errnum, sizeof(errnum));
		_exit(ignored ? 127 : 126);
	}
	int fork_errno = errno;
	if (pid > 0)
		list(child, pid);
	pthread_mutex_unlock(&lock);
	close(report[1]);
	if (pid < 0)
		return error_set_errno(err, fork_errno, "start %s", launch->argv[0]);
	int errnum = 0;
	ssize_t n;
	while ((n = read(from_child, &errnum, sizeof(errnum))) < 0 && errno == EINTR)
		;
	if (n == (ssize_t)sizeof(errnum))
		return error_set_errno(err, errnum, "start %s", launch->argv[0]);
	return 0;
}

/* ---- processes that others started ----------------------------------------------------------- */

void reaper_hold(void)
{
	pthread_mutex_lock(&lock);
	holders++;
	pthread_mutex_unlock(&lock);
}

void reaper_release(void)
{
	pthread_mutex_lock(&lock);
	if (--holders == 0) {
		while (unclaimed) {
			struct unclaimed *entry = unclaimed;
			unclaimed = entry->next;
			free(entry);
		}
	}
	pthread_mutex_unlock(&lock);
}

void child_claim(struct child *child, pid_t pid)
{
	pthread_mutex_lock(&lock);
	list(child, pid);
	for (struct unclaimed *entry = unclaimed; entry; entry = entry->next) {
		if (entry->pid == pid) {
			note_exit(child, entry->status);
			break;
		}
	}
	pthread_mutex_unlock(&lock);
}

bool child_exited(struct child *child, int *status)
{
	pthread_mutex_lock(&lock);
	bool exited = child->exited;
	if (exited && status)
		*status = child->status;
	pthread_mutex_unlock(&lock);
	return exited;
}

int child_wait(struct child *child, const struct bound *bound, const char *what, struct error *err)
{
	while (!child_exited(child, NULL)) {
		if (bound_poll(bound, child->exit_fd, POLLIN, what, err) < 0)
			return -1;
	}
	return 0;
}

int child_signal(struct child *child, int number, struct error *err)
{
	pthread_mutex_lock(&lock);
	int errnum = child->exited || !child->pid ? ESRCH : 0;
	if (!errnum && kill(child->pid, number) < 0)
		errnum = errno;
	pthread_mutex_unlock(&lock);
	if (errnum == ESRCH) /* the words that shims look for */
		return error_set(err, ERROR_GONE, "signal %d: ESRCH: No such process", number);
	return errnum ? error_set_errno(err, errnum, "signal %d", number) : 0;
}
