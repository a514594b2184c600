/* SPDX-License-Identifier: Apache-2.0 */
/*
 * port_state.c - what a port holds, told to another process and made again there
 *
 * Between two rounds of the loop a port is its log with three offsets, and the bytes that were read and make
 * no whole frame yet. Frames are not looked for: both sides go on within one if need be.
 */
#include "vsock-proxy/handover.h"

#include <string.h>

int port_describe(const struct port *port, bool with_connection, Handover__Port *head,
	struct error *err)
{
	handover__port__init(head);
	head->start = port->out.start;
	head->sent = port->out.sent;
	head->end = port->out.end;
	/* Without control frames nobody has followed it; it may be anywhere before. */
	head->boundary = port->boundary < port->out.start ? port->out.start : port->boundary;
	head->received = port->received;
	head->session = port->session;
	if (with_connection) {
		head->held = port->hold_len;
		head->skip = port->skip;
		head->skipped_length = port->skipped.length;
		head->skipped_stream = port->skipped.stream;
		head->skipped_type = port->skipped.type;
		head->skipped_flags = port->skipped.flags;
	}
	if (head->end - head->start > HANDOVER_LOG_MAX || head->held > HANDOVER_HELD_MAX)
		return error_set(err, ERROR_QUOTA, "%llu bytes wait for one connection",
			(unsigned long long)(head->end - head->start));
	return 0;
}

static int put_data(struct told_sink *sink, uint8_t *bytes, size_t len, struct error *err)
{
	Handover__Item item = HANDOVER__ITEM__INIT;
	item.item_case = HANDOVER__ITEM__ITEM_DATA;
	item.data.data = bytes;
	item.data.len = len;
	return sink->put(sink, &item, NULL, 0, err);
}

static size_t piece(uint64_t left)
{
	return left < HANDOVER_CHUNK ? (size_t)left : HANDOVER_CHUNK;
}

int port_tell(const struct port *port, const Handover__Port *head, struct told_sink *sink,
	struct error *err)
{
	size_t size = piece(head->end - head->start);
	cleanup(free_ptr) uint8_t *chunk = size ? malloc(size) : NULL;
	if (size && !chunk)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	for (uint64_t at = head->start; at < head->end;) {
		size_t len = piece(head->end - at);
		if (!bytelog_peek(&port->out, at, chunk, len))
			return error_set(err, ERROR_INTERNAL, "a log ends before its end");
		if (put_data(sink, chunk, len, err) < 0)
			return -1;
		at += len;
	}
	for (size_t at = 0; at < head->held;) {
		size_t len = piece(head->held - at);
		if (put_data(sink, port->hold + at, len, err) < 0)
			return -1;
		at += len;
	}
	return 0;
}

int port_restore(struct port *port, const struct told_port *told, struct error *err)
{
	const Handover__Port *head = told->head;
	uint8_t *hold = NULL;
	if (port->conn && told->held.len) {
		hold = malloc(told->held.len);
		if (!hold)
			return error_set(err, ERROR_CAPACITY, "out of memory");
		memcpy(hold, told->held.data, told->held.len);
	}
	port->hold = hold;
	port->hold_len = port->hold_cap = hold ? told->held.len : 0;
	bytelog_reset(&port->out, head->start);
	if (!bytelog_append(&port->out, told->log.data, told->log.len, NULL, 0))
		return error_set(err, ERROR_CAPACITY, "out of memory");
	bytelog_rewind(&port->out, head->sent);
	port->boundary = head->boundary;
	port->received = port->acked = head->received;
	port->session = head->session;
	port->full = bytelog_held(&port->out) > PORT_HIGH;
	if (!port->conn)
		return 0;
	port->skip = head->skip;
	port->skipped = (struct ttrpc_header){
		.length = head->skipped_length,
		.stream = head->skipped_stream,
		.type = (uint8_t)head->skipped_type,
		.flags = (uint8_t)head->skipped_flags,
	};
	loop_defer(port->loop, &port->flush);
	loop_defer(port->loop, &port->intake);
	return 0;
}
