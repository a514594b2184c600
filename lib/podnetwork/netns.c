/* SPDX-License-Identifier: Apache-2.0 */
/* netns.c - see netns.h */
#include "podnetwork/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

int netns_open_own(struct error *err)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		error_set_errno(err, errno, "open /proc/thread-self/ns/net");
	return fd;
}

/* Is it a namespace at all, of the network kind, and not our own? */
static int check(int fd, const char *path, struct error *err)
{
	struct statfs fs;
	struct stat there, own;
	if (fstatfs(fd, &fs) < 0 || fstat(fd, &there) < 0)
		return error_set_errno(err, errno, "netns %s", path);
	if (fs.f_type != NSFS_MAGIC)
		return error_set(err, S_ISREG(there.st_mode) ? ERROR_GONE : ERROR_INVALID,
			"netns %s: a plain file, not a network namespace: it was unmounted, or %s is not "
			"mounted into this container with mountPropagation HostToContainer",
			path, NETNS_DIR);
	if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET)
		return error_set(err, ERROR_INVALID,
			"netns %s: a namespace, but not of the network", path);
	cleanup(close_fd) int own_fd = netns_open_own(err);
	if (own_fd < 0)
		return -1;
	if (fstat(own_fd, &own) < 0)
		return error_set_errno(err, errno, "netns of this process");
	if (own.st_ino == there.st_ino && own.st_dev == there.st_dev)
		return error_set(err, ERROR_INVALID,
			"netns %s: is the network namespace of this process itself; a pod needs one of its "
			"own (pods with hostNetwork cannot be peer pods)",
			path);
	return 0;
}

int netns_open(const char *path, struct error *err)
{
	if (!path || !*path)
		return error_set(err, ERROR_INVALID,
			"the path of the pod's network namespace is empty");
	cleanup(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		int errnum = errno;
		error_set_errno(err, errnum, "netns %s", path);
		if (errnum == ENOENT)
			error_append(err,
				"; is it on this node, and %s mounted with mountPropagation "
				"HostToContainer?",
				NETNS_DIR);
		return -1;
	}
	if (check(fd, path, err))
		return -1;
	return take_fd(&fd);
}

int netns_open_known(const char *path, uint64_t inode, struct error *err)
{
	struct stat st;
	cleanup(close_fd) int fd = netns_open(path, err);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0)
		return error_set_errno(err, errno, "netns %s", path);
	/* All namespaces are on one nsfs: the inode alone tells. */
	if (inode && st.st_ino != inode)
		return error_set(err, ERROR_GONE,
			"netns %s: the network namespace there (inode %llu) is another one than when the pod was "
			"created (inode %llu)",
			path, (unsigned long long)st.st_ino, (unsigned long long)inode);
	return take_fd(&fd);
}

struct visit {
	int netns_fd;
	void (*function)(void *);
	void *arg;
	int errnum;
};

static void *visit_netns(void *arg)
{
	struct visit *visit = arg;
	if (setns(visit->netns_fd, CLONE_NEWNET) < 0)
		visit->errnum = errno;
	else
		visit->function(visit->arg);
	return NULL;
}

int netns_run(int netns_fd, void (*function)(void *), void *arg, struct error *err)
{
	if (netns_fd < 0) {
		function(arg);
		return 0;
	}
	struct visit visit = {netns_fd, function, arg, 0};
	pthread_t thread;
	int errnum = pthread_create(&thread, NULL, visit_netns, &visit);
	if (errnum)
		return error_set_errno(err, errnum, "start a thread for the network namespace");
	pthread_join(thread, NULL);
	if (!visit.errnum)
		return 0;
	error_set_errno(err, visit.errnum, "enter the network namespace");
	return visit.errnum == EPERM ? error_append(err, "; CAP_SYS_ADMIN is needed") : -1;
}

struct sysctl {
	const char *path, *value;
	int errnum;
};

static void write_sysctl(void *arg)
{
	struct sysctl *sysctl = arg;
	cleanup(close_fd) int fd = open(sysctl->path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, sysctl->value, strlen(sysctl->value)) < 0)
		sysctl->errnum = errno;
}

int netns_write_sysctl(int netns_fd, const char *name, const char *value, struct error *err)
{
	char path[256];
	snprintf(path, sizeof(path), "/proc/sys/%s", name);
	struct sysctl sysctl = {path, value, 0};
	if (netns_run(netns_fd, write_sysctl, &sysctl, err))
		return -1;
	return sysctl.errnum ? error_set_errno(err, sysctl.errnum, "write %s to %s", value, path)
			     : 0;
}
