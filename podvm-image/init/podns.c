/* SPDX-License-Identifier: Apache-2.0 */
/*
 * podns.c - see podns.h
 *
 * A child enters a new network namespace, brings its loopback up and binds the namespace to its name in
 * the file system, which keeps it alive: the caller's own namespace never changes.
 */
#include "podns.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/magic.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "interface.h"

/* What failed in the child travels to the parent as its exit status and errno by a pipe. */
struct verdict {
	int errnum;
	char step[128];
};

static void fail(int fd, int errnum, const char *step)
{
	struct verdict verdict = {.errnum = errnum};
	strncpy(verdict.step, step, sizeof(verdict.step) - 1);
	if (write(fd, &verdict, sizeof(verdict)) < 0)
		_exit(2);
	_exit(1);
}

static void make_in_child(const char *path, int fd)
{
	if (unshare(CLONE_NEWNET) < 0)
		fail(fd, errno, "make a network namespace");
	cleanup_error err = ERROR_INIT;
	if (interface_up("lo", &err) < 0)
		fail(fd, EIO, error_message(&err));
	if (mount("/proc/self/ns/net", path, NULL, MS_BIND, NULL) < 0)
		fail(fd, errno, "bind /proc/self/ns/net (is /proc mounted?)");
	_exit(0);
}

int podns_make(const char *path, struct error *err)
{
	struct statfs there;
	if (statfs(path, &there) == 0 && there.f_type == NSFS_MAGIC)
		return 0;

	cleanup(free_ptr) char *copy = strdup(path);
	if (!copy)
		return error_set(err, ERROR_CAPACITY, "make %s: out of memory", path);
	if (dir_make(dirname(copy), 0755, err) < 0)
		return -1;
	cleanup(close_fd) int target = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0444);
	if (target < 0)
		return error_set_errno(err, errno, "make %s", path);

	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, "make %s: pipe", path);
	cleanup(close_fd) int reader = ends[0];
	pid_t child = fork();
	if (child == 0)
		make_in_child(path, ends[1]);
	close(ends[1]);
	if (child < 0)
		return error_set_errno(err, errno, "make %s: fork", path);

	struct verdict verdict = {0};
	ssize_t n = read(reader, &verdict, sizeof(verdict));
	int status = 0;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (n == (ssize_t)sizeof(verdict))
		return error_set_errno(err, verdict.errnum, "make %s: %s", path, verdict.step);
	if (status != 0)
		return error_set(err, ERROR_INTERNAL, "make %s: child ended with status %d", path,
			status);
	return 0;
}
