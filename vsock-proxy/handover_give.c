/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handover_give.c - see handover_give.h
 *
 * Straight-line and blocking: while it runs the loop does not, so nothing of what is told can change, and when it
 * fails there is nothing to put back. Pods wait meanwhile, usually for milliseconds.
 *
 * Two decisions. Whoever serves so far grants once the successor has everything, by a byte in the life line: from then
 * on it takes back nothing unless the successor dies before it has started. The successor starts once it has read that
 * byte, or found the other end of the line closed without one.
 */
#include "vsock-proxy/handover_give.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/fault.h"
#include "ttrpc/message.h"
#include "vsock-proxy/handover_wire.h"

/* A successor that is alive needs milliseconds. A shim waits 30 s for the answer to a Check. */
#define TELL_NS (10 * NS_PER_S)
/* From the grant on the successor is in charge: whether we hear of its start changes little. */
#define START_NS (10 * NS_PER_S)

struct wire_sink {
	struct told_sink sink;
	const struct handover_giving *giving;
	const struct bound *bound;
};

static int put_item(struct told_sink *sink, const Handover__Item *item, const int *fds,
	size_t count, struct error *err)
{
	const struct wire_sink *wire = (const struct wire_sink *)sink;
	return handover_send_message(wire->giving->fd, wire->giving->stream, &item->base, fds,
		count, wire->bound, err);
}

static int tell_begin(struct wire_sink *wire, int lifeline, struct error *err)
{
	const struct handover_giving *giving = wire->giving;
	Handover__SocketFile file;
	socket_file_describe(&giving->control->identity, &file);
	Handover__Begin begin = HANDOVER__BEGIN__INIT;
	begin.format = HANDOVER_FORMAT;
	begin.version = (char *)PEERPOD_VERSION;
	begin.sandboxes = (uint32_t)giving->count;
	begin.control = &file;
	Handover__Item item = HANDOVER__ITEM__INIT;
	item.item_case = HANDOVER__ITEM__ITEM_BEGIN;
	item.begin = &begin;
	const int fds[] = {giving->control->fd, lifeline};
	return put_item(&wire->sink, &item, fds, array_size(fds), err);
}

static int tell_end(struct wire_sink *wire, struct error *err)
{
	Handover__End end = HANDOVER__END__INIT;
	end.sandboxes = (uint32_t)wire->giving->count;
	Handover__Item item = HANDOVER__ITEM__INIT;
	item.item_case = HANDOVER__ITEM__ITEM_END;
	item.end = &end;
	return put_item(&wire->sink, &item, NULL, 0, err);
}

static int tell_all(struct wire_sink *wire, int lifeline, struct error *err)
{
	const struct handover_giving *giving = wire->giving;
	if (giving->count > HANDOVER_SANDBOXES_MAX)
		return error_set(err, ERROR_QUOTA, "%zu sandboxes are too many", giving->count);
	if (tell_begin(wire, lifeline, err) < 0)
		return -1;
	fault_point("handover-begun");
	for (size_t i = 0; i < giving->count; i++) {
		if (tunnel_tell(giving->tunnels[i], &wire->sink, err) < 0)
			return -1;
		fault_point("handover-sandbox");
	}
	if (tell_end(wire, err) < 0)
		return -1;
	fault_point("handover-told");
	return 0;
}

/* What the successor says next must be this. */
static int await_reply(const struct handover_giving *giving, Handover__Reply__ReplyCase wanted,
	const struct bound *bound, struct error *err)
{
	cleanup(handover_frame_free) struct handover_frame frame = HANDOVER_FRAME_INIT;
	int got = handover_receive(giving->fd, &frame, bound, err);
	if (got < 0)
		return -1;
	if (got == 0)
		return error_set(err, ERROR_GONE, "the successor has ended");
	cleanup(message_ptr) Handover__Reply *reply = NULL;
	if (frame.header.type == TTRPC_DATA && frame.header.stream == giving->stream)
		reply = (Handover__Reply *)message_unpack(&handover__reply__descriptor,
			frame.data.data, frame.data.len, err);
	if (reply && reply->reply_case == HANDOVER__REPLY__REPLY_REFUSAL)
		return error_set(err, ERROR_UNSUPPORTED, "the successor refuses: %.300s",
			reply->refusal->why);
	if (!reply || reply->reply_case != wanted)
		return error_set(err, ERROR_INVALID, "the successor answers with something else");
	return 0;
}

static int await_ready(const struct handover_giving *giving, const struct bound *bound,
	struct error *err)
{
	return await_reply(giving, HANDOVER__REPLY__REPLY_READY, bound, err);
}

/* Writes to the life line. Nobody there: the successor has ended, which the socket tells as well. */
static void decide(int lifeline, char decision)
{
	while (write(lifeline, &decision, 1) < 0 && errno == EINTR)
		;
}

int handover_give(const struct handover_giving *giving, struct error *err)
{
	int line[2];
	if (pipe2(line, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, "pipe");
	cleanup(close_fd) int theirs = line[0];
	cleanup(close_fd) int ours = line[1];
	const struct bound bound = bound_within(&BOUND_NONE, TELL_NS);
	struct wire_sink wire = {{put_item}, giving, &bound};
	bool told = tell_all(&wire, theirs, err) == 0;
	if (!told || await_ready(giving, &bound, err) < 0) {
		/* A refusal may be the reason why it does not listen any more. */
		if (!told && err->kind == ERROR_GONE) {
			cleanup_error why = ERROR_INIT;
			await_ready(giving, &bound, &why);
			if (why.kind == ERROR_UNSUPPORTED)
				error_move(err, &why);
		}
		decide(ours, HANDOVER_CANCELED);
		return -1;
	}
	decide(ours, HANDOVER_GRANTED);
	fault_point("handover-granted");
	const struct bound start = bound_within(&BOUND_NONE, START_NS);
	cleanup_error why = ERROR_INIT;
	if (await_reply(giving, HANDOVER__REPLY__REPLY_STARTED, &start, &why) < 0 &&
		why.kind == ERROR_GONE)
		return error_move(err, &why); /* it has not moved a byte */
	fault_point("handover-started");
	return 0;
}
