/* SPDX-License-Identifier: Apache-2.0 */
/*
 * root.c - see root.h
 *
 * The full image boots this way. The kernel, this initial ramfs and the command line are one signed or
 * measured file, and the command line carries the root hash of the root partition: so everything that
 * runs later is covered by the measurement of that one file. Without a hash (images for debugging) the
 * partition is mounted as it is.
 */
#include "root.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bound.h"
#include "medium.h"
#include "modules.h"
#include "mounts.h"
#include "service.h"
#include "stage.h"

#define NEW_ROOT "/sysroot"
#define NEXT_INIT "/sbin/init"
#define HASH_SUFFIX "-verity" /* the hash tree's partition is named after the data's */
#define VERITY_DEVICE "/dev/mapper/root"

/* Cloud disks can take a while to be attached; an absent one shows on the console after this. */
#define DISK_TIMEOUT_NS (60 * NS_PER_S)

/* Empties a folder of the initial ramfs, whose files are memory; stays on this file system. */
static void empty_folder(int fd, dev_t device)
{
	DIR *folder = fdopendir(fd);
	if (!folder) {
		close(fd);
		return;
	}
	for (struct dirent *entry; (entry = readdir(folder));) {
		struct stat info;
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") ||
			fstatat(dirfd(folder), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) < 0 ||
			info.st_dev != device)
			continue;
		bool is_folder = S_ISDIR(info.st_mode);
		if (is_folder) {
			int inner = openat(dirfd(folder), entry->d_name,
				O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (inner >= 0)
				empty_folder(inner, device);
		}
		unlinkat(dirfd(folder), entry->d_name, is_folder ? AT_REMOVEDIR : 0);
	}
	closedir(folder);
}

/* A root hash is the hexadecimal SHA-256 of the top of the hash tree. */
static int check_hash(const char *hash, struct error *err)
{
	size_t len = strlen(hash);
	for (size_t i = 0; i < len; i++) {
		if (!isxdigit((unsigned char)hash[i]))
			len = 0;
	}
	if (len != 64)
		return error_set(err, ERROR_INVALID,
			"-root-hash: \"%s\" is not 64 hexadecimal digits", hash);
	return 0;
}

/* Sets up VERITY_DEVICE over the partition. */
static int open_verity(const struct settings *settings, const char *data, struct error *err)
{
	char name[64], tree[64];
	snprintf(name, sizeof(name), "%s" HASH_SUFFIX, settings->root);
	if (medium_wait_partition(name, DISK_TIMEOUT_NS, tree, sizeof(tree), err) < 0)
		return -1;
	struct service verity = {.name = "veritysetup"};
	const char *const args[] = {"/usr/sbin/veritysetup", "open", data, "root", tree,
		settings->root_hash};
	int result = 0;
	for (size_t i = 0; result == 0 && i < array_size(args); i++)
		result = service_add(&verity, args[i], err);
	/* There is no udev yet that would make the device's node. */
	if (result == 0 && setenv("DM_DISABLE_UDEV", "1", 1) < 0)
		result = error_set_errno(err, errno, "setenv");
	if (result == 0)
		result = service_start(&verity, err);
	while (result == 0 && !verity.ended) {
		if (services_wait(&verity, 1, DEADLINE_NEVER, err) == SERVICE_FAILED)
			result = -1;
	}
	unsetenv("DM_DISABLE_UDEV");
	if (result == 0 && verity.status != 0) {
		char fate[64];
		service_fate(&verity, fate, sizeof(fate));
		result = error_set(err, ERROR_DENIED,
			"veritysetup %s: %s and %s do not match the root hash", fate, data, tree);
	}
	service_free(&verity);
	return result;
}

static int enter(struct error *err)
{
	static const char *const kept[] = {"/proc", "/sys", "/dev", "/run"};
	for (size_t i = 0; i < array_size(kept); i++) {
		char target[64];
		snprintf(target, sizeof(target), NEW_ROOT "%s", kept[i]);
		if (mount(kept[i], target, NULL, MS_MOVE, NULL) < 0)
			return error_set_errno(err, errno, "move %s to %s", kept[i], target);
	}
	struct stat old;
	int old_root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (old_root < 0 || fstat(old_root, &old) < 0)
		return error_set_errno(err, errno, "open the initial ramfs");
	if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
		chdir("/") < 0)
		return error_set_errno(err, errno, "enter the root file system");
	empty_folder(old_root, old.st_dev);
	return 0;
}

int root_switch(const struct settings *settings, struct error *err)
{
	if (*settings->root_hash && check_hash(settings->root_hash, err) < 0)
		return -1;
	if (mounts_make_base(err) < 0 || services_init(err) < 0)
		return -1;
	size_t loaded;
	if (modules_load(settings->modules, MODULES_MEDIUM, &loaded, err) < 0)
		return -1;
	stage_line("modules for disks: %zu", loaded);

	char device[64];
	if (medium_wait_partition(settings->root, DISK_TIMEOUT_NS, device, sizeof(device), err) < 0)
		return -1;
	if (*settings->root_hash) {
		if (open_verity(settings, device, err) < 0)
			return -1;
		snprintf(device, sizeof(device), VERITY_DEVICE);
	}
	if (mkdir(NEW_ROOT, 0755) < 0 && errno != EEXIST)
		return error_set_errno(err, errno, "make " NEW_ROOT);
	if (mount(device, NEW_ROOT, "ext4", MS_RDONLY, NULL) < 0)
		return error_set_errno(err, errno, "mount %s as the root file system", device);
	stage_line("root file system %s%s", device, *settings->root_hash ? ", verified" : "");
	if (enter(err) < 0)
		return -1;
	services_end();
	execl(NEXT_INIT, NEXT_INIT, (char *)NULL);
	return error_set_errno(err, errno, "start " NEXT_INIT);
}
