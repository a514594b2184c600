/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handover_wire.c - see handover_wire.h
 *
 * Descriptors are sent with the first byte of their frame, and the kernel gives them with that byte. Each frame has few,
 * so that no message comes near the kernel's limit; all that are on their way may not be more than the process may have
 * open (ETOOMANYREFS), which passes as the other end reads.
 */
#include "vsock-proxy/handover_wire.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "ttrpc/message.h"

#define REFS_PAUSE_NS (5 * NS_PER_MS)

/* Room for the descriptors of a frame, aligned. */
union ancillary {
	char bytes[CMSG_SPACE(HANDOVER_FDS * sizeof(int))];
	struct cmsghdr first;
};

static bool is_gone(int errnum)
{
	return errnum == EPIPE || errnum == ECONNRESET;
}

static void attach_fds(struct msghdr *message, union ancillary *room, const int *fds, size_t count)
{
	memset(room, 0, sizeof(*room));
	message->msg_control = room->bytes;
	message->msg_controllen = CMSG_SPACE(count * sizeof(int));
	room->first.cmsg_level = SOL_SOCKET;
	room->first.cmsg_type = SCM_RIGHTS;
	room->first.cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(&room->first), fds, count * sizeof(int));
}

int handover_send(int fd, const struct ttrpc_header *header, const struct buf *data, const int *fds,
	size_t count, const struct bound *bound, struct error *err)
{
	uint8_t head[TTRPC_HEADER_SIZE];
	struct ttrpc_header h = *header;
	h.length = (uint32_t)data->len;
	ttrpc_header_write(head, &h);
	size_t sent = 0, total = sizeof(head) + data->len;
	while (sent < total) {
		size_t of_head = sent < sizeof(head) ? sizeof(head) - sent : 0;
		size_t of_data = sent < sizeof(head) ? 0 : sent - sizeof(head);
		struct iovec parts[] = {
			{head + sizeof(head) - of_head, of_head},
			{data->len ? data->data + of_data : NULL, data->len - of_data},
		};
		struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
		union ancillary room;
		if (sent == 0 && count)
			attach_fds(&message, &room, fds, count);
		ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0) {
			sent += (size_t)n;
			continue;
		}
		if (is_gone(errno))
			return error_set(err, ERROR_GONE, "the other process has ended");
		if (errno == ETOOMANYREFS) {
			if (bound_sleep(bound, REFS_PAUSE_NS, "the other process", err) < 0)
				return -1;
		} else if (errno == EAGAIN || errno == EINTR) {
			if (bound_poll(bound, fd, POLLOUT, "the other process", err) < 0)
				return -1;
		} else {
			return error_set_errno(err, errno, "send");
		}
	}
	return 0;
}

int handover_send_message(int fd, uint32_t stream, const ProtobufCMessage *message, const int *fds,
	size_t count, const struct bound *bound, struct error *err)
{
	/* Keys may be in it. */
	cleanup(buf_wipe) struct buf data = BUF_INIT;
	if (message_pack(message, &data, err) < 0)
		return -1;
	if (data.len > TTRPC_DATA_MAX)
		return error_set(err, ERROR_QUOTA, "a message of %zu bytes is too large", data.len);
	const struct ttrpc_header header = {.stream = stream, .type = TTRPC_DATA};
	return handover_send(fd, &header, &data, fds, count, bound, err);
}

void handover_frame_free(struct handover_frame *frame)
{
	for (size_t i = 0; i < frame->fd_count; i++)
		close_fd(&frame->fds[i]);
	buf_wipe(&frame->data);
	*frame = HANDOVER_FRAME_INIT;
}

static int take_fds(struct msghdr *message, struct handover_frame *frame, struct error *err)
{
	int result = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (frame->fd_count < HANDOVER_FDS) {
				frame->fds[frame->fd_count++] = fd;
			} else {
				close(fd);
				result = -1;
			}
		}
	}
	/* What found no room the kernel has closed. */
	if (result < 0 || message->msg_flags & MSG_CTRUNC)
		return error_set(err, ERROR_INVALID,
			"more descriptors came with a message than belong there, or than this "
			"process may have open");
	return 0;
}

/* 1: all len bytes, 0: the end, -1. */
static int receive_exactly(int fd, void *out, size_t len, struct handover_frame *frame,
	const struct bound *bound, struct error *err)
{
	for (size_t have = 0; have < len;) {
		struct iovec part = {(uint8_t *)out + have, len - have};
		union ancillary room;
		struct msghdr message = {.msg_iov = &part,
			.msg_iovlen = 1,
			.msg_control = room.bytes,
			.msg_controllen = sizeof(room.bytes)};
		ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n > 0) {
			if (take_fds(&message, frame, err) < 0)
				return -1;
			have += (size_t)n;
		} else if (n == 0 || is_gone(errno)) {
			return 0;
		} else if (errno != EAGAIN && errno != EINTR) {
			return error_set_errno(err, errno, "receive");
		} else if (bound_poll(bound, fd, POLLIN, "the other process", err) < 0) {
			return -1;
		}
	}
	return 1;
}

int handover_receive(int fd, struct handover_frame *frame, const struct bound *bound,
	struct error *err)
{
	handover_frame_free(frame);
	uint8_t head[TTRPC_HEADER_SIZE];
	int got = receive_exactly(fd, head, sizeof(head), frame, bound, err);
	if (got <= 0)
		return got;
	ttrpc_header_read(head, &frame->header);
	if (frame->header.length > TTRPC_DATA_MAX)
		return error_set(err, ERROR_INVALID, "a frame of %u bytes is too large",
			frame->header.length);
	uint8_t *room = buf_reserve(&frame->data, frame->header.length);
	if (!room)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	got = receive_exactly(fd, room, frame->header.length, frame, bound, err);
	frame->data.len = got > 0 ? frame->header.length : 0;
	return got;
}
