/* SPDX-License-Identifier: Apache-2.0 */
/*
 * root.c - see root.h
 *
 * The folder is bound to itself first and made private: on a machine with shared mounts nothing of what
 * follows can then spread back. The machine's tree is bound on top of it, and the process changes its root
 * there.
 */
#include "root.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cgroup.h"

#define USER_DATA_MAX (1024 * 1024)

static int do_mount(const char *source, const char *target, const char *type, unsigned long flags,
	const char *data, struct error *err)
{
	if (mount(source, target, type, flags, data) == 0)
		return 0;
	return error_set_errno(err, errno, "mount %s on %s", source ? source : "", target);
}

/* Mounts a file system on a folder below the new root. */
static int mount_in(const char *root, const char *target, const char *type, const char *data,
	struct error *err)
{
	char path[PATH_MAX];
	snprintf(path, sizeof(path), "%s%s", root, target);
	return do_mount(type, path, type, MS_NOSUID | MS_NODEV, data, err);
}

/* The instance's own group stands where the whole hierarchy is mounted. */
static int bind_cgroup(void *closure, const char *group, const char *mounted_at, struct error *err)
{
	const char *root = closure;
	char path[PATH_MAX];
	snprintf(path, sizeof(path), "%s%s", root, mounted_at);
	return do_mount(group, path, NULL, MS_BIND, NULL, err);
}

static int copy_user_data(const char *root, const struct buf *user_data, struct error *err)
{
	char path[PATH_MAX];
	snprintf(path, sizeof(path), "%s/media/cidata", root);
	if (dir_make(path, 0755, err) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/media/cidata/user-data", root);
	return file_write(path, 0600, user_data->data, user_data->len, err);
}

int root_enter(const char *folder, const char *token, const char *user_data, struct error *err)
{
	cleanup(buf_wipe) struct buf data = BUF_INIT;
	if (file_read(user_data, USER_DATA_MAX, &data, err) < 0)
		return -1;
	/* Fails in a chroot, whose "/" is no mount point; the next two steps protect that case. */
	mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	if (do_mount(folder, folder, NULL, MS_BIND, NULL, err) < 0 ||
		do_mount(NULL, folder, NULL, MS_PRIVATE, NULL, err) < 0 ||
		do_mount("/", folder, NULL, MS_BIND | MS_REC, NULL, err) < 0 ||
		do_mount(NULL, folder, NULL, MS_REC | MS_PRIVATE, NULL, err) < 0)
		return -1;
	if (mount_in(folder, "/proc", "proc", NULL, err) < 0 ||
		mount_in(folder, "/media", "tmpfs", "mode=0755,size=16m", err) < 0 ||
		cgroups_make(token, bind_cgroup, (void *)folder, err) < 0 ||
		copy_user_data(folder, &data, err) < 0)
		return -1;
	/* Last, as the folder may itself be below /run. */
	if (chdir(folder) < 0)
		return error_set_errno(err, errno, "enter %s", folder);
	if (do_mount("tmpfs", "run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755", err) < 0)
		return -1;
	if (chroot(".") < 0)
		return error_set_errno(err, errno, "change the root to %s", folder);
	return chdir("/") < 0 ? error_set_errno(err, errno, "enter the new root") : 0;
}
