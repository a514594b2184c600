/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handover_wire.h - ttrpc frames with descriptors over a Unix socket, sent and received within a bound
 *
 * Blocking code: whoever hands over or takes over does nothing else meanwhile.
 */
#ifndef PEERPOD_VSOCK_HANDOVER_WIRE_H
#define PEERPOD_VSOCK_HANDOVER_WIRE_H

#include "base/bound.h"
#include "vsock-proxy/handover.h"

/* The descriptors stay the caller's. ERROR_GONE: the other end is closed. */
int handover_send(int fd, const struct ttrpc_header *header, const struct buf *data, const int *fds,
	size_t count, const struct bound *bound, struct error *err);

/* Packs a message as a data frame of this stream and sends it. */
int handover_send_message(int fd, uint32_t stream, const ProtobufCMessage *message, const int *fds,
	size_t count, const struct bound *bound, struct error *err);

struct handover_frame {
	struct ttrpc_header header;
	struct buf data;
	int fds[HANDOVER_FDS]; /* owned */
	size_t fd_count;
};
#define HANDOVER_FRAME_INIT ((struct handover_frame){.fds = {-1, -1}})

/* 1: a frame; 0: the connection ended; -1: ERROR_INVALID, or as bound_poll. What was in *frame is freed. */
int handover_receive(int fd, struct handover_frame *frame, const struct bound *bound,
	struct error *err);
void handover_frame_free(struct handover_frame *frame);

#endif
