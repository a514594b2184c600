/* SPDX-License-Identifier: Apache-2.0 */
/* outbox.c - see outbox.h */
#include "ttrpc/outbox.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* An empty buffer larger than this is given back. */
#define KEEP_MAX ((size_t)64 << 10)

int outbox_init(struct outbox *box, int fd, void (*want_write)(void *), void *context,
	struct error *err)
{
	*box = (struct outbox){.fd = fd, .want_write = want_write, .context = context};
	box->room_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	if (box->room_fd < 0)
		return error_set_errno(err, errno, "eventfd");
	pthread_mutex_init(&box->lock, NULL);
	return 0;
}

void outbox_free(struct outbox *box)
{
	buf_free(&box->pending);
	close(box->room_fd);
	pthread_mutex_destroy(&box->lock);
}

/* How much of the bytes the socket takes now; -1: broken. */
static ssize_t write_some(int fd, const uint8_t *bytes, size_t len)
{
	size_t done = 0;
	while (done < len) {
		ssize_t n = send(fd, bytes + done, len - done, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (n < 0)
			return -1;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static void note_level(struct outbox *box)
{
	size_t waiting = box->pending.len - box->sent;
	atomic_store(&box->waits, waiting > 0);
	if (!box->full && waiting >= OUTBOX_FULL) {
		eventfd_t ignored;
		atomic_store(&box->full, true);
		eventfd_read(box->room_fd, &ignored);
	} else if (box->full && waiting < OUTBOX_FULL / 2) {
		atomic_store(&box->full, false);
		eventfd_write(box->room_fd, 1);
	}
}

static int send_locked(struct outbox *box, const uint8_t *frame, size_t len)
{
	if (box->fd < 0)
		return -1;
	size_t done = 0;
	if (box->pending.len == box->sent) {
		ssize_t n = write_some(box->fd, frame, len);
		if (n < 0)
			return -1;
		done = (size_t)n;
	}
	if (done == len)
		return 0;
	if (box->sent > box->pending.len / 2 && box->sent > KEEP_MAX) {
		buf_consume(&box->pending, box->sent);
		box->sent = 0;
	}
	size_t before = box->pending.len;
	buf_append(&box->pending, frame + done, len - done);
	if (box->pending.failed) {
		/* Part of the frame may be out: this stream of bytes cannot be mended. */
		box->pending.len = before;
		shutdown(box->fd, SHUT_RDWR);
		return -1;
	}
	note_level(box);
	box->want_write(box->context);
	return 0;
}

int outbox_send(struct outbox *box, const void *frame, size_t len)
{
	pthread_mutex_lock(&box->lock);
	int result = send_locked(box, frame, len);
	pthread_mutex_unlock(&box->lock);
	return result;
}

int outbox_wait(struct outbox *box, const struct bound *bound, const char *what, struct error *err)
{
	while (atomic_load(&box->full)) {
		if (bound_poll(bound, box->room_fd, POLLIN, what, err) < 0)
			return -1;
	}
	return 0;
}

static int flush_locked(struct outbox *box)
{
	if (box->fd < 0)
		return -1;
	if (box->pending.len > box->sent) {
		ssize_t n = write_some(box->fd, box->pending.data + box->sent,
			box->pending.len - box->sent);
		if (n < 0)
			return -1;
		box->sent += (size_t)n;
	}
	if (box->pending.len == box->sent) {
		box->sent = box->pending.len = 0;
		if (box->pending.cap > KEEP_MAX)
			buf_free(&box->pending);
	}
	note_level(box);
	return box->pending.len == 0;
}

int outbox_flush(struct outbox *box)
{
	pthread_mutex_lock(&box->lock);
	int result = flush_locked(box);
	pthread_mutex_unlock(&box->lock);
	return result;
}

void outbox_close(struct outbox *box)
{
	pthread_mutex_lock(&box->lock);
	box->fd = -1;
	box->sent = 0;
	buf_free(&box->pending);
	note_level(box);
	pthread_mutex_unlock(&box->lock);
}
