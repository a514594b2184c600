/* SPDX-License-Identifier: Apache-2.0 */
/* rootfs.c - see rootfs.h */
#include "rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <dirent.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

/* The program of pause.c, made by the build. */
static const unsigned char pause_program[] = {
#include "mini-agent/pause.inc"
};

char *bundle_name(const char *image)
{
	const char *end = strchr(image, '@');
	if (!end)
		end = image + strlen(image);
	const char *start = image;
	for (const char *p = image; p < end; p++)
		if (*p == '/')
			start = p + 1;
	const char *colon = memchr(start, ':', (size_t)(end - start));
	if (colon)
		end = colon;
	size_t len = (size_t)(end - start);
	if (!len || *start == '.')
		return NULL;
	return strndup(start, len);
}

/* ---- trees ----------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	(void)st;
	(void)kind;
	(void)where;
	return remove(path) < 0 && errno != ENOENT && errno != EBUSY ? -1 : 0;
}

int tree_remove(const char *path, struct error *err)
{
	if (nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) < 0 && errno != ENOENT)
		return error_set_errno(err, errno, "remove %s", path);
	return 0;
}

static int copy_content(int from, int to)
{
	for (;;) {
		ssize_t n = copy_file_range(from, NULL, to, NULL, (size_t)1 << 30, 0);
		if (n == 0)
			return 0;
		if (n < 0)
			break;
	}
	/* Some file systems cannot copy among each other. */
	char chunk[65536];
	ssize_t n;
	while ((n = read(from, chunk, sizeof(chunk))) > 0)
		for (ssize_t done = 0, m; done < n; done += m)
			if ((m = write(to, chunk + done, (size_t)(n - done))) < 0)
				return -1;
	return n < 0 ? -1 : 0;
}

static int copy_entry(int from, int to, const char *name, const struct stat *st);

static int copy_folder(int from, int to)
{
	DIR *dir = fdopendir(dup(from));
	if (!dir)
		return -1;
	int result = 0;
	for (struct dirent *entry; result == 0 && (entry = readdir(dir));) {
		struct stat st;
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		result = fstatat(from, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0
				 ? -1
				 : copy_entry(from, to, entry->d_name, &st);
	}
	int errnum = errno;
	closedir(dir);
	errno = errnum;
	return result;
}

static int copy_subfolder(int from, int to, const char *name)
{
	if (mkdirat(to, name, 0700) < 0 && errno != EEXIST)
		return -1;
	cleanup(close_fd) int in =
		openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	cleanup(close_fd) int out =
		openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return in < 0 || out < 0 ? -1 : copy_folder(in, out);
}

static int copy_file(int from, int to, const char *name)
{
	cleanup(close_fd) int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	cleanup(close_fd) int out =
		openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return in < 0 || out < 0 ? -1 : copy_content(in, out);
}

static int copy_link(int from, int to, const char *name)
{
	char target[4096];
	ssize_t n = readlinkat(from, name, target, sizeof(target) - 1);
	if (n < 0)
		return -1;
	target[n] = 0;
	return symlinkat(target, to, name);
}

static int copy_entry(int from, int to, const char *name, const struct stat *st)
{
	int result = S_ISDIR(st->st_mode)   ? copy_subfolder(from, to, name)
		     : S_ISREG(st->st_mode) ? copy_file(from, to, name)
		     : S_ISLNK(st->st_mode) ? copy_link(from, to, name)
					    : mknodat(to, name, st->st_mode, st->st_rdev);
	if (result < 0 || fchownat(to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -1;
	return S_ISLNK(st->st_mode) ? 0 : fchmodat(to, name, st->st_mode & 07777, 0);
}

static int copy_tree(const char *source, const char *target, struct error *err)
{
	cleanup(close_fd) int from = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup(close_fd) int to = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (from < 0 || to < 0 || copy_folder(from, to) < 0)
		return error_set_errno(err, errno, "copy %s to %s", source, target);
	return 0;
}

/* ---- root file systems ----------------------------------------------------------------------- */

static int mount_overlay(struct rootfs *rootfs, const char *lower, const char *scratch,
	const char *id, struct error *err)
{
	cleanup(free_ptr) char *upper = NULL, *work = NULL, *options = NULL;
	if (asprintf(&rootfs->scratch, "%s/%s", scratch, id) < 0 ||
		asprintf(&upper, "%s/upper", rootfs->scratch) < 0 ||
		asprintf(&work, "%s/work", rootfs->scratch) < 0 ||
		asprintf(&options, "lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work) < 0)
		return error_set_errno(err, ENOMEM, "overlay");
	if (dir_make(upper, 0755, err) < 0 || dir_make(work, 0700, err) < 0)
		return -1;
	if (mount("overlay", rootfs->path, "overlay", 0, options) < 0)
		return error_set_errno(err, errno, "mount an overlay of %s on %s", lower,
			rootfs->path);
	rootfs->mounted = true;
	return 0;
}

static int make_path(struct rootfs *rootfs, const char *path, struct error *err)
{
	*rootfs = (struct rootfs){.path = strdup(path)};
	if (!rootfs->path)
		return error_set_errno(err, ENOMEM, "rootfs");
	return dir_make(path, 0755, err);
}

int rootfs_from_bundle(struct rootfs *rootfs, const char *path, const char *bundle_rootfs,
	const char *scratch, const char *id, struct error *err)
{
	if (make_path(rootfs, path, err) < 0)
		return -1;
	cleanup_error refused = ERROR_INIT;
	if (mount_overlay(rootfs, bundle_rootfs, scratch, id, &refused) == 0)
		return 0;
	log_info("%s; copying", error_message(&refused));
	return copy_tree(bundle_rootfs, path, err);
}

int rootfs_for_pause(struct rootfs *rootfs, const char *path, struct error *err)
{
	/* Mount points, because the root may be read-only when the runtime comes to it. */
	static const char *const folders[] = {"dev", "etc", "proc", "run", "sys", "tmp"};
	cleanup(free_ptr) char *program = NULL;
	if (make_path(rootfs, path, err) < 0)
		return -1;
	for (size_t i = 0; i < array_size(folders); i++) {
		cleanup(free_ptr) char *folder = NULL;
		if (asprintf(&folder, "%s/%s", path, folders[i]) < 0)
			return error_set_errno(err, ENOMEM, "rootfs");
		if (dir_make(folder, 0755, err) < 0)
			return -1;
	}
	if (asprintf(&program, "%s/pause", path) < 0)
		return error_set_errno(err, ENOMEM, "rootfs");
	return file_write(program, 0755, pause_program, sizeof(pause_program), err);
}

void rootfs_remove(struct rootfs *rootfs)
{
	cleanup_error err = ERROR_INIT;
	if (rootfs->mounted && umount2(rootfs->path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
		log_warn("unmount %s: %s", rootfs->path, strerrordesc_np(errno));
	if (rootfs->path && tree_remove(rootfs->path, &err) < 0)
		log_warn("%s", error_message(&err));
	if (rootfs->scratch && tree_remove(rootfs->scratch, &err) < 0)
		log_warn("%s", error_message(&err));
	free(rootfs->path);
	free(rootfs->scratch);
	*rootfs = (struct rootfs){0};
}
