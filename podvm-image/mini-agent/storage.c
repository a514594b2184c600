/* SPDX-License-Identifier: Apache-2.0 */
/* storage.c - see storage.h */
#include "storage.h"

#include <errno.h>
#include <limits.h>
#include <mntent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "rootfs.h"

int storage_check_path(const char *path, struct error *err)
{
	size_t len = strlen(path), prefix = strlen(KATA_FOLDER "/");
	if (len >= PATH_MAX / 2 || strncmp(path, KATA_FOLDER "/", prefix) || len == prefix ||
		strstr(path, "/../") || (len > 3 && !strcmp(path + len - 3, "/..")))
		return error_set(err, ERROR_INVALID, "path \"%.200s\" is not below " KATA_FOLDER,
			path);
	return 0;
}

/* Options that are mount flags; the rest is for the file system. */
static const struct {
	const char *name;
	unsigned long set, clear;
} flags[] = {
	{"ro", MS_RDONLY, 0},
	{"rw", 0, MS_RDONLY},
	{"noexec", MS_NOEXEC, 0},
	{"exec", 0, MS_NOEXEC},
	{"nosuid", MS_NOSUID, 0},
	{"suid", 0, MS_NOSUID},
	{"nodev", MS_NODEV, 0},
	{"dev", 0, MS_NODEV},
	{"noatime", MS_NOATIME, 0},
	{"relatime", MS_RELATIME, 0},
	{"sync", MS_SYNCHRONOUS, 0},
	{"defaults", 0, 0},
};

static bool take_flag(const char *option, unsigned long *set)
{
	for (size_t i = 0; i < array_size(flags); i++) {
		if (!strcmp(option, flags[i].name)) {
			*set = (*set | flags[i].set) & ~flags[i].clear;
			return true;
		}
	}
	return false;
}

static bool is_mounted(const char *path)
{
	struct stat here, above;
	cleanup(free_ptr) char *parent = NULL;
	return asprintf(&parent, "%s/..", path) > 0 && stat(path, &here) == 0 &&
	       stat(parent, &above) == 0 && here.st_dev != above.st_dev;
}

static int make_ephemeral(const Agent__Storage *storage, struct error *err)
{
	unsigned long set = 0;
	cleanup(buf_free) struct buf data = BUF_INIT;
	if (*storage->fstype && strcmp(storage->fstype, "tmpfs"))
		return error_set(err, ERROR_UNSUPPORTED, "storage %s: mini-agent mounts no %s",
			storage->mount_point, storage->fstype);
	if (dir_make(storage->mount_point, 0755, err) < 0)
		return -1;
	if (is_mounted(storage->mount_point))
		return 0;
	for (size_t i = 0; i < storage->n_options; i++)
		/* The owner is set by a chown in kata-agent, not by tmpfs. */
		if (!take_flag(storage->options[i], &set) &&
			strncmp(storage->options[i], "fsgid=", 6))
			buf_printf(&data, "%s%s", data.len ? "," : "", storage->options[i]);
	if (mount("tmpfs", storage->mount_point, "tmpfs", set, buf_text(&data)) < 0)
		return error_set_errno(err, errno, "mount tmpfs (%s) on %s", buf_text(&data),
			storage->mount_point);
	return 0;
}

static int make_local(const Agent__Storage *storage, struct error *err)
{
	/* Made for all containers of the pod, whoever they run as. */
	mode_t mode = 0777;
	for (size_t i = 0; i < storage->n_options; i++)
		if (!strncmp(storage->options[i], "mode=", 5))
			mode = (mode_t)strtoul(storage->options[i] + 5, NULL, 8) & 07777;
	if (dir_make(storage->mount_point, 0755, err) < 0)
		return -1;
	return chmod(storage->mount_point, mode) < 0
		       ? error_set_errno(err, errno, "chmod %s", storage->mount_point)
		       : 0;
}

int storages_make(Agent__Storage *const *storages, size_t count, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		const Agent__Storage *storage = storages[i];
		if (!strcmp(storage->driver, "image_guest_pull"))
			continue;
		bool ephemeral = !strcmp(storage->driver, "ephemeral");
		if (!ephemeral && strcmp(storage->driver, "local"))
			return error_set(err, ERROR_UNSUPPORTED,
				"storage %s: mini-agent has no driver \"%s\"", storage->mount_point,
				storage->driver);
		if (storage_check_path(storage->mount_point, err) < 0 ||
			(ephemeral ? make_ephemeral(storage, err) : make_local(storage, err)) < 0)
			return -1;
	}
	return 0;
}

void storages_remove(void)
{
	/*
	 * Their paths change while they are unmounted: look again after each. The last made goes
	 * first.
	 */
	for (int tries = 0; tries < 1000; tries++) {
		cleanup(free_ptr) char *last = NULL;
		FILE *mounts = setmntent("/proc/self/mounts", "re");
		for (struct mntent *entry; mounts && (entry = getmntent(mounts));) {
			if (strncmp(entry->mnt_dir, KATA_FOLDER "/sandbox/",
				    strlen(KATA_FOLDER "/sandbox/")))
				continue;
			free(last);
			last = strdup(entry->mnt_dir);
		}
		if (mounts)
			endmntent(mounts);
		if (!last || umount2(last, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
			break;
	}
	cleanup_error err = ERROR_INIT;
	static const char *const folders[] = {KATA_FOLDER "/sandbox", KATA_FOLDER "/shared"};
	for (size_t i = 0; i < array_size(folders); i++)
		if (tree_remove(folders[i], &err) < 0)
			log_warn("%s", error_message(&err));
}
