/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unix_socket.c - listening on a path, without ever taking it from a live process
 *
 * Whether a socket file is stale is found out by connecting to it: a file whose process is gone
 * refuses. Looking and replacing happen under an exclusive flock(2) of the folder, so that two
 * processes that start at once do not take each other's fresh socket for a stale one.
 *
 * The socket is bound beside its place and renamed onto it once it listens: whoever finds the file
 * can connect, and a stale one is replaced without a moment in which there is none. Its mode is
 * never wider than 0600: Linux makes the file with the mode of the unbound socket, cut by the
 * umask.
 */
#include "ttrpc/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

static int set_address(const char *path, struct sockaddr_un *address, struct error *err)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (!*path)
		return error_set(err, ERROR_INVALID, "socket path is empty");
	size_t len = strlen(path);
	if (len >= sizeof(address->sun_path))
		return error_set(err, ERROR_INVALID, "socket path %s is longer than %zu bytes",
			path, sizeof(address->sun_path) - 1);
	memcpy(address->sun_path, path, len + 1);
	return 0;
}

/* The folder of path, opened and locked until it is closed. */
static int lock_folder(const char *path, struct error *err)
{
	char folder[sizeof(((struct sockaddr_un *)0)->sun_path)];
	const char *slash = strrchr(path, '/');
	int len = slash == path ? 1 : slash ? (int)(slash - path) : 0;
	snprintf(folder, sizeof(folder), "%.*s%s", len, path, len ? "" : ".");
	cleanup(close_fd) int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(err, errno, "folder %s", folder);
	while (flock(fd, LOCK_EX) < 0)
		if (errno != EINTR)
			return error_set_errno(err, errno, "lock folder %s", folder);
	return take_fd(&fd);
}

/* 0: there is nothing at the path, or a stale socket. */
static int check_path(const struct sockaddr_un *address, struct error *err)
{
	const char *path = address->sun_path;
	struct stat st;
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : error_set_errno(err, errno, "%s", path);
	if (!S_ISSOCK(st.st_mode))
		return error_set(err, ERROR_EXISTS, "%s exists and is not a socket", path);
	cleanup(close_fd) int probe =
		socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (probe < 0)
		return error_set_errno(err, errno, "socket");
	if (connect(probe, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
		errno == EAGAIN)
		return error_set(err, ERROR_EXISTS, "%s: another process is listening there", path);
	if (errno != ECONNREFUSED && errno != ENOENT)
		return error_set_errno(err, errno, "%s: cannot tell whether it is in use", path);
	return 0;
}

/* ".<name>.new" in the same folder; where that is too long for a socket, a shorter name. */
static int set_new_address(const char *path, struct sockaddr_un *address, struct error *err)
{
	const char *slash = strrchr(path, '/');
	int folder = slash ? (int)(slash + 1 - path) : 0;
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	size_t size = sizeof(address->sun_path);
	if ((size_t)snprintf(address->sun_path, size, "%.*s.%s.new", folder, path, path + folder) >=
			size &&
		(size_t)snprintf(address->sun_path, size, "%.*s.n", folder, path) >= size)
		return error_set(err, ERROR_INVALID, "socket path %s is too long", path);
	if (unlink(address->sun_path) < 0 && errno != ENOENT)
		return error_set_errno(err, errno, "remove %s", address->sun_path);
	return 0;
}

static void identify(const struct stat *st, struct unix_socket_identity *identity)
{
	*identity = (struct unix_socket_identity){
		.device = st->st_dev,
		.inode = st->st_ino,
		.made_ns = (uint64_t)st->st_mtim.tv_sec * NS_PER_S + (uint64_t)st->st_mtim.tv_nsec,
	};
}

/* A listening socket at address, and what its file is. */
static int listen_at(const struct sockaddr_un *address, struct stat *st, struct error *err)
{
	cleanup(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set_errno(err, errno, "socket");
	if (fchmod(fd, 0600) < 0 ||
		bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		return error_set_errno(err, errno, "bind %s", address->sun_path);
	if (chmod(address->sun_path, 0600) < 0 || listen(fd, SOMAXCONN) < 0 ||
		lstat(address->sun_path, st) < 0) {
		int errnum = errno;
		unlink(address->sun_path);
		return error_set_errno(err, errnum, "listen on %s", address->sun_path);
	}
	return take_fd(&fd);
}

int unix_socket_listen(const char *path, struct unix_socket_identity *identity, struct error *err)
{
	struct sockaddr_un address, fresh;
	struct stat st;
	if (set_address(path, &address, err) < 0)
		return -1;
	cleanup(close_fd) int folder = lock_folder(path, err);
	if (folder < 0 || check_path(&address, err) < 0 || set_new_address(path, &fresh, err) < 0)
		return -1;
	cleanup(close_fd) int fd = listen_at(&fresh, &st, err);
	if (fd < 0)
		return -1;
	if (rename(fresh.sun_path, path) < 0) {
		int errnum = errno;
		unlink(fresh.sun_path);
		return error_set_errno(err, errnum, "listen on %s", path);
	}
	if (identity)
		identify(&st, identity);
	return take_fd(&fd);
}

void unix_socket_remove(const char *path, const struct unix_socket_identity *identity)
{
	struct sockaddr_un address;
	cleanup_error err = ERROR_INIT;
	if (set_address(path, &address, &err) < 0)
		return;
	cleanup(close_fd) int folder = lock_folder(path, &err);
	struct stat st;
	if (folder < 0 || lstat(path, &st) < 0)
		return;
	struct unix_socket_identity found;
	identify(&st, &found);
	if (!S_ISSOCK(st.st_mode) || found.device != identity->device ||
		found.inode != identity->inode || found.made_ns != identity->made_ns) {
		log_debug("%s belongs to another process now: left alone", path);
		return;
	}
	if (unlink(path) < 0)
		log_warn("remove %s: %s", path, strerrordesc_np(errno));
}
