/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mounts.c - see mounts.h
 *
 * Container runtimes change their root with pivot_root(2), which the kernel refuses to a process whose
 * root is the initial ramfs itself: that mount has no parent to hang the old root on. The initial
 * ramfs is therefore bound onto itself, the bound mount moved over the root and entered. The files stay
 * where the kernel unpacked them, so this costs neither time nor memory.
 */
#include "mounts.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <linux/magic.h>
#include <unistd.h>

static const struct {
	const char *source, *target, *type;
	unsigned long flags;
	const char *data;
	bool base; /* also mounted where a disk's root follows */
} table[] = {
	{"proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, true},
	{"sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, true},
	{"devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755", true},
	{"devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=0620,ptmxmode=0666"},
	{"shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777"},
	{"mqueue", "/dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
	{"run", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755", true},
	{"tmp", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777"},
	{"cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
};

static const struct {
	const char *target, *name;
} links[] = {
	{"/proc/self/fd", "/dev/fd"},
	{"/proc/self/fd/0", "/dev/stdin"},
	{"/proc/self/fd/1", "/dev/stdout"},
	{"/proc/self/fd/2", "/dev/stderr"},
	{"/run", "/var/run"},
};

static int make_root(struct error *err)
{
	struct statfs root;
	if (statfs("/", &root) < 0)
		return error_set_errno(err, errno, "look at the root file system");
	if (root.f_type != RAMFS_MAGIC && root.f_type != TMPFS_MAGIC)
		return 0; /* a disk: a root like any other */
	if (mkdir("/mnt", 0755) < 0 && errno != EEXIST)
		return error_set_errno(err, errno, "make /mnt");
	if (mount("/", "/mnt", NULL, MS_BIND, NULL) < 0)
		return error_set_errno(err, errno, "bind the root");
	if (chdir("/mnt") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
		chdir("/") < 0)
		return error_set_errno(err, errno, "enter the new root");
	return 0;
}

static int mount_table(bool only_base, struct error *err)
{
	for (size_t i = 0; i < array_size(table); i++) {
		if (only_base && !table[i].base)
			continue;
		if (mkdir(table[i].target, 0755) < 0 && errno != EEXIST)
			return error_set_errno(err, errno, "make %s", table[i].target);
		if (mount(table[i].source, table[i].target, table[i].type, table[i].flags,
			    table[i].data) < 0 &&
			errno != EBUSY)
			return error_set_errno(err, errno, "mount %s", table[i].target);
	}
	return 0;
}

int mounts_make_base(struct error *err)
{
	return mount_table(true, err);
}

int mounts_make(struct error *err)
{
	if (make_root(err) < 0 || mount_table(false, err) < 0)
		return -1;
	for (size_t i = 0; i < array_size(links); i++) {
		if (symlink(links[i].target, links[i].name) < 0 && errno != EEXIST &&
			errno != ENOENT)
			return error_set_errno(err, errno, "make %s", links[i].name);
	}
	return 0;
}
