/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy_file.c - see copy_file.h
 *
 * Paths are opened step by step below the folder with openat2(2) RESOLVE_BENEATH: neither ".." nor
 * a link that was copied before leads out of it.
 */
#include "copy_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"

/* Larger than anything a ConfigMap, a Secret or a shared file of a pod can be. */
#define FILE_SIZE_MAX (INT64_C(1) << 30)

static int open_beneath(int folder, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC),
		.mode = mode,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	return (int)syscall(SYS_openat2, folder, path, &how, sizeof(how));
}

/* The part below COPY_FILE_FOLDER, or NULL. */
static const char *below(const char *path)
{
	size_t len = strlen(COPY_FILE_FOLDER "/");
	return strncmp(path, COPY_FILE_FOLDER "/", len) || !path[len] ? NULL : path + len;
}

/* Opens the folder that holds path's last part, making what is missing; *name is that part. */
static int open_parent(int root, char *path, mode_t mode, const char **name, struct error *err)
{
	cleanup(close_fd) int folder = open_beneath(root, ".", O_RDONLY | O_DIRECTORY, 0);
	*name = path;
	for (char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		if (folder >= 0 && mkdirat(folder, *name, mode) < 0 && errno != EEXIST)
			return error_set_errno(err, errno, "make folder %s", path);
		/*
		 * Looked up from the top each time: a link on the way may lead elsewhere, but not
		 * out.
		 */
		int next = folder < 0 ? -1 : open_beneath(root, path, O_RDONLY | O_DIRECTORY, 0);
		if (next < 0)
			return error_set_errno(err, errno, "open folder %s", path);
		close(folder);
		folder = next;
		*slash = '/';
		*name = slash + 1;
	}
	if (!**name || !strcmp(*name, ".") || !strcmp(*name, ".."))
		return error_set(err, ERROR_INVALID, "the path has no name at its end");
	return take_fd(&folder);
}

static int set_owner_and_mode(int fd, const Agent__CopyFileRequest *r, struct error *err)
{
	if (fchown(fd, (uid_t)r->uid, (gid_t)r->gid) < 0 || fchmod(fd, r->file_mode & 07777) < 0)
		return error_set_errno(err, errno, "owner and mode");
	return 0;
}

static int copy_regular(int folder, const char *name, const Agent__CopyFileRequest *r,
	struct error *err)
{
	int64_t size = r->file_size, offset = r->offset, len = (int64_t)r->data.len;
	if (size < 0 || size > FILE_SIZE_MAX || offset < 0 || offset > size || len > size - offset)
		return error_set(err, ERROR_INVALID,
			"%" PRId64 " bytes at %" PRId64 " do not fit a file of %" PRId64
			" bytes (at most %" PRId64 ")",
			len, offset, size, FILE_SIZE_MAX);
	char partial[NAME_MAX + 1];
	if ((size_t)snprintf(partial, sizeof(partial), ".%s.part", name) >= sizeof(partial))
		return error_set(err, ERROR_INVALID, "the name is too long");
	int create = offset ? 0 : O_CREAT | O_TRUNC;
	cleanup(close_fd) int fd =
		open_beneath(folder, partial, O_WRONLY | O_NOFOLLOW | create, create ? 0600 : 0);
	if (fd < 0)
		return error_set_errno(err, errno,
			offset ? "no first piece came before this one" : "create");
	for (int64_t done = 0; done < len;) {
		ssize_t n = pwrite(fd, r->data.data + done, (size_t)(len - done), offset + done);
		if (n < 0)
			return error_set_errno(err, errno, "write");
		done += n;
	}
	if (offset + len < size)
		return 0;
	if (set_owner_and_mode(fd, r, err) < 0)
		return -1;
	return renameat(folder, partial, folder, name) < 0 ? error_set_errno(err, errno, "rename")
							   : 0;
}

static int copy_directory(int folder, const char *name, const Agent__CopyFileRequest *r,
	struct error *err)
{
	if (mkdirat(folder, name, 0700) < 0 && errno != EEXIST)
		return error_set_errno(err, errno, "make the folder");
	cleanup(close_fd) int fd =
		open_beneath(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	return fd < 0 ? error_set_errno(err, errno, "open the folder")
		      : set_owner_and_mode(fd, r, err);
}

static int copy_link(int folder, const char *name, const Agent__CopyFileRequest *r,
	struct error *err)
{
	char partial[NAME_MAX + 1];
	if ((size_t)snprintf(partial, sizeof(partial), ".%s.part", name) >= sizeof(partial))
		return error_set(err, ERROR_INVALID, "the name is too long");
	if (!r->data.len || r->data.len >= PATH_MAX || memchr(r->data.data, 0, r->data.len))
		return error_set(err, ERROR_INVALID, "the link's target is not a path");
	cleanup(free_ptr) char *target = strndup((const char *)r->data.data, r->data.len);
	if (!target)
		return error_set_errno(err, ENOMEM, "link");
	if (unlinkat(folder, partial, 0) < 0 && errno != ENOENT)
		return error_set_errno(err, errno, "replace the link");
	if (symlinkat(target, folder, partial) < 0 ||
		fchownat(folder, partial, (uid_t)r->uid, (gid_t)r->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
		renameat(folder, partial, folder, name) < 0)
		return error_set_errno(err, errno, "make the link");
	return 0;
}

static int copy(const Agent__CopyFileRequest *r, struct error *err)
{
	const char *path = below(r->path);
	if (!path)
		return error_set(err, ERROR_DENIED, "not below " COPY_FILE_FOLDER);
	if (dir_make(COPY_FILE_FOLDER, 0755, err) < 0)
		return -1;
	cleanup(close_fd) int root = open(COPY_FILE_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return error_set_errno(err, errno, COPY_FILE_FOLDER);
	cleanup(free_ptr) char *parts = strdup(path);
	if (!parts)
		return error_set_errno(err, ENOMEM, "path");
	const char *name = NULL;
	mode_t mode = r->dir_mode & 07777 ? r->dir_mode & 07777 : 0755;
	cleanup(close_fd) int folder = open_parent(root, parts, mode, &name, err);
	if (folder < 0)
		return -1;
	switch (r->file_mode & S_IFMT) {
	case S_IFDIR:
		return copy_directory(folder, name, r, err);
	case S_IFLNK:
		return copy_link(folder, name, r, err);
	case S_IFREG:
	case 0:
		return copy_regular(folder, name, r, err);
	default:
		return error_set(err, ERROR_INVALID, "file mode %#o is not a file, folder or link",
			r->file_mode);
	}
}

int copy_file(const Agent__CopyFileRequest *request, struct error *err)
{
	return copy(request, err) < 0 ? error_prefix(err, "copy %.300s", request->path) : 0;
}
