/* SPDX-License-Identifier: Apache-2.0 */
/* inbox.c - see inbox.h */
#include "ttrpc/inbox.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

int inbox_init(struct inbox *box, struct error *err)
{
	*box = (struct inbox){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	if (box->fd < 0)
		return error_set_errno(err, errno, "eventfd");
	box->tail = &box->head;
	pthread_mutex_init(&box->lock, NULL);
	return 0;
}

void inbox_frame_free(struct inbox_frame *frame)
{
	buf_free(&frame->data);
	free(frame);
}

static void drop_all(struct inbox *box)
{
	while (box->head) {
		struct inbox_frame *frame = box->head;
		box->head = frame->next;
		inbox_frame_free(frame);
	}
	box->tail = &box->head;
	box->bytes = 0;
}

void inbox_free(struct inbox *box)
{
	drop_all(box);
	close(box->fd);
	pthread_mutex_destroy(&box->lock);
}

void inbox_reset(struct inbox *box)
{
	eventfd_t ignored;
	pthread_mutex_lock(&box->lock);
	drop_all(box);
	box->closed = false;
	eventfd_read(box->fd, &ignored);
	pthread_mutex_unlock(&box->lock);
}

size_t inbox_put(struct inbox *box, const struct ttrpc_header *header, bool oversized,
	struct buf *data)
{
	struct inbox_frame *frame = malloc(sizeof(*frame));
	pthread_mutex_lock(&box->lock);
	bool was_idle = !box->head && !box->closed;
	if (!frame) {
		/* A frame that cannot be kept must not go missing unseen. */
		buf_free(data);
		box->closed = true;
	} else if (box->closed) {
		buf_free(data);
		free(frame);
	} else {
		*frame = (struct inbox_frame){.header = *header,
			.oversized = oversized,
			.data = *data};
		*data = BUF_INIT;
		*box->tail = frame;
		box->tail = &frame->next;
		box->bytes += frame->data.len;
	}
	size_t unread = box->bytes;
	if (was_idle)
		eventfd_write(box->fd, 1);
	pthread_mutex_unlock(&box->lock);
	return unread;
}

void inbox_close(struct inbox *box)
{
	pthread_mutex_lock(&box->lock);
	if (!box->closed) {
		box->closed = true;
		eventfd_write(box->fd, 1);
	}
	pthread_mutex_unlock(&box->lock);
}

static bool take(struct inbox *box, struct inbox_frame **frame, bool *closed)
{
	pthread_mutex_lock(&box->lock);
	*frame = box->head;
	*closed = box->closed;
	if (*frame) {
		box->head = (*frame)->next;
		box->bytes -= (*frame)->data.len;
		if (!box->head) {
			eventfd_t ignored;
			box->tail = &box->head;
			if (!box->closed)
				eventfd_read(box->fd, &ignored);
		}
	}
	pthread_mutex_unlock(&box->lock);
	return *frame || *closed;
}

int inbox_get(struct inbox *box, const struct bound *bound, const char *what,
	struct inbox_frame **frame, struct error *err)
{
	bool closed;
	while (!take(box, frame, &closed)) {
		if (bound_poll(bound, box->fd, POLLIN, what, err) < 0)
			return -1;
	}
	return *frame ? 1 : 0;
}
