/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.c - see process.h
 *
 * Nothing is buffered here: what a process has written and nobody has read yet stays in its pipe,
 * which bounds it. Readers wait without holding anything, so that several may, and use a duplicate
 * of the descriptor, so that it may be closed meanwhile.
 */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ttrpc/server.h"

struct process *process_new(const char *exec_id, bool terminal, struct error *err)
{
	struct process *p = calloc(1, sizeof(*p));
	if (!p || !(p->exec_id = strdup(exec_id))) {
		free(p);
		error_set_errno(err, ENOMEM, "process");
		return NULL;
	}
	p->terminal = terminal;
	p->stdin_fd = p->stdout_fd = p->stderr_fd = -1;
	atomic_init(&p->references, 1);
	pthread_mutex_init(&p->lock, NULL);
	if (child_init(&p->child, err) < 0) {
		process_unref(p);
		return NULL;
	}
	return p;
}

struct process *process_ref(struct process *process)
{
	atomic_fetch_add(&process->references, 1);
	return process;
}

void process_unref(struct process *p)
{
	if (atomic_fetch_sub(&p->references, 1) != 1)
		return;
	child_free(&p->child);
	close_fd(&p->stdin_fd);
	close_fd(&p->stdout_fd);
	close_fd(&p->stderr_fd);
	pthread_mutex_destroy(&p->lock);
	free(p->exec_id);
	free(p);
}

static int open_pipe(int *ours, int *theirs, bool we_write, struct error *err)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, "pipe");
	*ours = ends[we_write];
	*theirs = ends[!we_write];
	/* Each end has flags of its own: the process may block, we do not. */
	return fcntl(*ours, F_SETFL, O_NONBLOCK) < 0 ? error_set_errno(err, errno, "pipe") : 0;
}

int process_open(struct process *p, const char *state_dir, struct process_ends *ends,
	struct error *err)
{
	static atomic_uint number;
	*ends = (struct process_ends){.fds = {-1, -1, -1}, .console_fd = -1};
	if (!p->terminal)
		return open_pipe(&p->stdin_fd, &ends->fds[0], true, err) < 0 ||
				       open_pipe(&p->stdout_fd, &ends->fds[1], false, err) < 0 ||
				       open_pipe(&p->stderr_fd, &ends->fds[2], false, err) < 0
			       ? -1
			       : 0;
	int len = snprintf(ends->console_path, sizeof(ends->console_path), "%s/console-%u",
		state_dir, atomic_fetch_add(&number, 1));
	if ((size_t)len >= sizeof(ends->console_path)) {
		ends->console_path[0] = 0;
		return error_set(err, ERROR_INVALID, "-state %s is too long for a console socket",
			state_dir);
	}
	ends->console_fd = unix_socket_listen(ends->console_path, NULL, err);
	return ends->console_fd < 0 ? -1 : 0;
}

/* The runtime sends the terminal's master as a descriptor. */
static int receive_fd(int from, int *fd, struct error *err)
{
	char byte[256];
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec io = {byte, sizeof(byte)};
	struct msghdr message = {.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(from, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	struct cmsghdr *header = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	if (!header || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof(int)))
		return error_set(err, ERROR_INTERNAL, "the runtime sent no terminal");
	memcpy(fd, CMSG_DATA(header), sizeof(int));
	return 0;
}

int process_opened(struct process *p, struct process_ends *ends, const struct bound *bound,
	struct error *err)
{
	if (!p->terminal)
		return 0;
	if (bound_poll(bound, ends->console_fd, POLLIN, "terminal", err) < 0)
		return -1;
	cleanup(close_fd) int connection = accept4(ends->console_fd, NULL, NULL, SOCK_CLOEXEC);
	if (connection < 0)
		return error_set_errno(err, errno, "terminal");
	int master;
	if (bound_poll(bound, connection, POLLIN, "terminal", err) < 0 ||
		receive_fd(connection, &master, err) < 0)
		return -1;
	p->stdin_fd = master;
	if (fcntl(master, F_SETFL, O_NONBLOCK) < 0)
		return error_set_errno(err, errno, "terminal");
	return 0;
}

void process_ends_close(struct process_ends *ends)
{
	for (int i = 0; i < 3; i++)
		close_fd(&ends->fds[i]);
	close_fd(&ends->console_fd);
	if (ends->console_path[0])
		unlink(ends->console_path);
}

static int duplicate(struct process *p, const int *fd)
{
	pthread_mutex_lock(&p->lock);
	int copy = *fd < 0 ? -1 : fcntl(*fd, F_DUPFD_CLOEXEC, 3);
	pthread_mutex_unlock(&p->lock);
	return copy;
}

/*
 * Waits until fd can be read, or the process has ended (then what others hold open counts no more).
 */
static int wait_output(struct process *p, int fd, const struct bound *bound, bool *ended,
	struct error *err)
{
	for (;;) {
		if (bound_check(bound, "read", err) < 0)
			return -1;
		struct pollfd fds[3] = {
			{.fd = fd, .events = POLLIN},
			{.fd = p->child.exit_fd, .events = POLLIN},
			{.fd = bound->cancel ? cancel_fd(bound->cancel) : -1, .events = POLLIN},
		};
		int n = poll(fds, 3, bound_left_ms(bound));
		if (n < 0 && errno != EINTR)
			return error_set_errno(err, errno, "read: poll");
		if (n > 0 && (fds[0].revents || fds[1].revents)) {
			*ended = !fds[0].revents;
			return 0;
		}
	}
}

int process_read(struct process *p, enum process_output which, size_t max, struct buf *out,
	const struct bound *bound, struct error *err)
{
	const int *end = p->terminal               ? &p->stdin_fd
			 : which == PROCESS_STDOUT ? &p->stdout_fd
						   : &p->stderr_fd;
	cleanup(close_fd) int fd = duplicate(p, end);
	if (fd < 0 || (p->terminal && which == PROCESS_STDERR))
		return error_set(err, ERROR_INVALID, "process %s has no such output", p->exec_id);
	uint8_t *space = buf_reserve(out, max);
	if (!space)
		return error_set(err, ERROR_CAPACITY, "no memory to read %zu bytes", max);
	for (bool ended = false;;) {
		ssize_t n = read(fd, space, max);
		if (n >= 0) {
			out->len += (size_t)n;
			return 0;
		}
		if (errno == EIO) /* a terminal that nobody has open any more */
			return 0;
		if (errno != EAGAIN && errno != EINTR)
			return error_set_errno(err, errno, "read");
		if (ended)
			return 0;
		if (wait_output(p, fd, bound, &ended, err) < 0)
			return -1;
	}
}

int process_write(struct process *p, const void *data, size_t len, const struct bound *bound,
	struct error *err)
{
	cleanup(close_fd) int fd = duplicate(p, &p->stdin_fd);
	if (fd < 0)
		return error_set(err, ERROR_INVALID, "the input of process %s is closed",
			p->exec_id);
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const char *)data + done, len - done);
		if (n > 0)
			done += (size_t)n;
		else if (errno == EAGAIN) {
			if (bound_poll(bound, fd, POLLOUT, "write", err) < 0)
				return -1;
		} else if (errno != EINTR)
			return error_set_errno(err, errno, "write to process %s", p->exec_id);
	}
	return 0;
}

void process_close_stdin(struct process *p)
{
	pthread_mutex_lock(&p->lock);
	if (!p->terminal) {
		close_fd(&p->stdin_fd);
		p->stdin_fd = -1;
	}
	pthread_mutex_unlock(&p->lock);
}

int process_resize(struct process *p, unsigned rows, unsigned columns, struct error *err)
{
	cleanup(close_fd) int fd = p->terminal ? duplicate(p, &p->stdin_fd) : -1;
	if (fd < 0)
		return error_set(err, ERROR_INVALID, "process %s has no terminal", p->exec_id);
	struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
	return ioctl(fd, TIOCSWINSZ, &size) < 0 ? error_set_errno(err, errno, "resize") : 0;
}
