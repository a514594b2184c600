/* SPDX-License-Identifier: Apache-2.0 */
/* file.c - see file.h */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

int file_read(const char *path, size_t max, struct buf *out, struct error *err)
{
	cleanup(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return error_set_errno(err, errno, "open %s", path);
	size_t total = 0;
	for (;;) {
		/* One byte more than allowed, so that too much can be told from just enough. */
		size_t room = max - total + 1 < 65536 ? max - total + 1 : 65536;
		uint8_t *at = buf_reserve(out, room);
		if (!at)
			return error_set(err, ERROR_CAPACITY, "read %s: out of memory", path);
		ssize_t n = read(fd, at, room);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set_errno(err, errno, "read %s", path);
		if (n == 0)
			break;
		total += (size_t)n;
		if (total > max)
			return error_set(err, ERROR_INVALID,
				"%s is larger than the limit of %zu bytes", path, max);
		out->len += (size_t)n;
	}
	if (buf_reserve(out, 0))
		out->data[out->len] = 0;
	return 0;
}

static int write_all(int fd, const char *bytes, size_t len)
{
	while (len) {
		ssize_t n = write(fd, bytes, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

static int sync_folder_of(const char *path)
{
	cleanup(free_ptr) char *copy = strdup(path);
	if (!copy)
		return -1;
	cleanup(close_fd) int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -1 : fsync(fd);
}

int file_write(const char *path, mode_t mode, const void *bytes, size_t len, struct error *err)
{
	cleanup(free_ptr) char *temporary = NULL;
	if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
		return error_set(err, ERROR_CAPACITY, "write %s: out of memory", path);
	cleanup(close_fd) int fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(err, errno, "write %s: make a temporary file", path);
	if (fchmod(fd, mode) < 0 || write_all(fd, bytes, len) < 0 || fsync(fd) < 0 ||
		rename(temporary, path) < 0) {
		int saved = errno;
		unlink(temporary);
		return error_set_errno(err, saved, "write %s", path);
	}
	if (sync_folder_of(path) < 0)
		return error_set_errno(err, errno, "write %s: fsync of its folder", path);
	return 0;
}

int dir_make(const char *path, mode_t mode, struct error *err)
{
	cleanup(free_ptr) char *copy = strdup(path);
	if (!copy)
		return error_set(err, ERROR_CAPACITY, "make folder %s: out of memory", path);
	for (char *slash = copy + 1;; slash++) {
		if (*slash && *slash != '/')
			continue;
		char kept = *slash;
		*slash = 0;
		if (mkdir(copy, mode) < 0 && errno != EEXIST)
			return error_set_errno(err, errno, "make folder %s", copy);
		*slash = kept;
		if (!kept)
			break;
	}
	struct stat st;
	if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return error_set(err, ERROR_INVALID, "make folder %s: it is there and is no folder",
			path);
	return 0;
}

int dir_remove(const char *path, struct error *err)
{
	cleanup(closedir_ptr) DIR *dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? 0 : error_set_errno(err, errno, "open %s", path);
	struct dirent *entry;
	while ((entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (unlinkat(dirfd(dir), entry->d_name, 0) < 0 && errno != ENOENT)
			return error_set_errno(err, errno, "remove %s/%s", path, entry->d_name);
	}
	if (rmdir(path) < 0 && errno != ENOENT)
		return error_set_errno(err, errno, "remove %s", path);
	return 0;
}

int file_identity(const char *path, char out[FILE_IDENTITY_SIZE], struct error *err)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return error_set_errno(err, errno, "%s", path);
	snprintf(out, FILE_IDENTITY_SIZE, "%llx:%llu %lld %lld.%09ld",
		(unsigned long long)st.st_dev, (unsigned long long)st.st_ino, (long long)st.st_size,
		(long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	return 0;
}

int file_remove(const char *path, struct error *err)
{
	if (unlink(path) < 0 && errno != ENOENT)
		return error_set_errno(err, errno, "remove %s", path);
	return 0;
}
