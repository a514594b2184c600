/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay.c - see relay.h
 *
 * Back-pressure: when the back's log is full no front is read; when a front's log is full the back is
 * not read. Both start again below the low mark.
 */
#include "vsock-proxy/relay_private.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/bound.h"
#include "base/fault.h"
#include "base/log.h"
#include "vsock-proxy/splice.h"

/* Requests that may be repeated are small: WaitProcess names a container and a process. */
#define COPY_MAX ((size_t)16 * 1024)

#define PAYLOAD_FIELD 3 /* of the request envelope */

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* ---- answers ---------------------------------------------------------------------------------- */

/* A front that does not take its answers holds the back up: see front_is_full. */
static void front_is_full(struct front *front);

static void front_answer(struct front *front, uint32_t stream, const struct ttrpc_response *answer)
{
	if (port_respond(&front->port, stream, answer) < 0) {
		cleanup_error why = ERROR_INIT;
		error_set(&why, ERROR_INTERNAL, "answer: out of memory");
		port_break(&front->port, &why);
		return;
	}
	front_is_full(front);
}

void relay_answer(struct front *front, uint32_t stream, int32_t code, const char *message)
{
	front_answer(front, stream,
		&(struct ttrpc_response){
			.code = code,
			.message = {(const uint8_t *)message, strlen(message)},
		});
}

void relay_answer_payload(struct front *front, uint32_t stream, const void *payload, size_t len)
{
	front_answer(front, stream, &(struct ttrpc_response){.payload = {payload, len}});
}

static void answer_error(struct front *front, uint32_t stream, const struct error *err)
{
	relay_answer(front, stream, err->status ? err->status : (int32_t)ttrpc_code_of(err->kind),
		error_message(err));
}

static void answer_too_large(struct front *front, uint32_t stream, size_t length)
{
	char text[96];
	/* The words of both ttrpc libraries. */
	snprintf(text, sizeof(text), "message length %zu exceed maximum message size of %u", length,
		TTRPC_DATA_MAX);
	relay_answer(front, stream, TTRPC_RESOURCE_EXHAUSTED, text);
}

void relay_end_call(struct relay *relay, struct call *call, int32_t code, const char *message)
{
	struct front *front = call->front;
	uint32_t id = call->id, front_id = call->front_id;
	calls_remove(&relay->calls, call);
	if (front) {
		relay_answer(front, front_id, code, message);
	} else if (relay->ops->own_reply) {
		struct ttrpc_response response = {.code = code,
			.message = {(const uint8_t *)message, strlen(message)}};
		relay->ops->own_reply(relay, id, &response);
	}
}

/* ---- back-pressure ---------------------------------------------------------------------------- */

static void back_is_full(struct relay *relay)
{
	if (!relay->back.full || relay->fronts_paused)
		return;
	relay->fronts_paused = true;
	for (struct front *f = relay->fronts; f; f = f->next)
		port_pause(&f->port);
}

void relay_unblock(struct relay *relay)
{
	if (!relay->fronts_paused)
		return;
	relay->fronts_paused = false;
	for (struct front *f = relay->fronts; f; f = f->next)
		port_resume(&f->port);
}

static void back_drained(struct port *port)
{
	relay_unblock(port->owner);
}

static void front_is_full(struct front *front)
{
	struct relay *relay = front->relay;
	if (!front->port.full)
		return;
	/* A session whose owner is away while somebody else is being served may not hold that one up. */
	if (!front->port.conn) {
		for (struct front *f = relay->fronts; f; f = f->next) {
			if (f->port.conn) {
				relay_drop_front(front);
				return;
			}
		}
	}
	port_pause(&relay->back);
}

void relay_hold_back(struct relay *relay)
{
	back_is_full(relay);
	for (struct front *f = relay->fronts; f; f = f->next) {
		if (f->port.full)
			port_pause(&relay->back);
	}
}

static void front_drained(struct port *port)
{
	struct front *front = port->owner;
	for (struct front *f = front->relay->fronts; f; f = f->next) {
		if (f->port.full)
			return;
	}
	port_resume(&front->relay->back);
}

/* ---- from a front to the back ----------------------------------------------------------------- */

void frame_set_stream(uint8_t *frame, uint32_t stream)
{
	frame[4] = (uint8_t)(stream >> 24);
	frame[5] = (uint8_t)(stream >> 16);
	frame[6] = (uint8_t)(stream >> 8);
	frame[7] = (uint8_t)stream;
}

uint32_t relay_take_id(struct relay *relay)
{
	uint32_t id = relay->next_id;
	relay->next_id += 2; /* 2^31 calls: at 1000 a second, 24 days without a break */
	while (relay->next_id <= 1 || calls_find(&relay->calls, relay->next_id))
		relay->next_id += 2;
	return id;
}

/* Edits the request of a frame: envelope without its payload, then the new payload. */
static int rewrite(struct relay *relay, const struct ttrpc_header *header,
	const struct ttrpc_request *request, const uint8_t *data, struct buf *frame,
	struct error *err)
{
	cleanup(buf_free) struct buf payload = BUF_INIT, envelope = BUF_INIT;
	bool changed;
	if (rules_apply(relay->rules, request, &payload, &changed, err) < 0)
		return -1;
	if (!changed)
		return 0;
	size_t dropped;
	buf_append(&envelope, data, header->length);
	if (splice_drop(&envelope, PAYLOAD_FIELD, &dropped, err) < 0)
		return -1;
	splice_put_bytes(&envelope, PAYLOAD_FIELD, payload.data, payload.len);
	if (envelope.len > TTRPC_DATA_MAX) {
		error_set(err, ERROR_QUOTA, "message length %zu exceed maximum message size of %u",
			envelope.len, TTRPC_DATA_MAX);
		return -1;
	}
	struct ttrpc_header changed_header = *header;
	changed_header.length = (uint32_t)envelope.len;
	uint8_t *out = buf_reserve(frame, TTRPC_HEADER_SIZE);
	if (!out || envelope.failed)
		return error_set(err, ERROR_INTERNAL, "out of memory");
	ttrpc_header_write(out, &changed_header);
	frame->len += TTRPC_HEADER_SIZE;
	buf_append(frame, envelope.data, envelope.len);
	return frame->failed ? error_set(err, ERROR_INTERNAL, "out of memory") : 1;
}

static uint64_t waiting_deadline(const struct relay *relay, const struct ttrpc_request *request)
{
	uint64_t wait = relay->max_wait_ns ? relay->max_wait_ns : DEADLINE_NEVER;
	if (request->timeout_ns < 0)
		return clock_ns(); /* it was over when the caller sent it */
	if (request->timeout_ns > 0 && (uint64_t)request->timeout_ns < wait)
		wait = (uint64_t)request->timeout_ns;
	if (wait == DEADLINE_NEVER)
		return DEADLINE_NEVER;
	/* A little early, so that the caller learns the reason instead of running into its own limit. */
	return deadline_in(wait - (wait / 10 < NS_PER_S ? wait / 10 : NS_PER_S));
}

static void forward(struct front *front, const struct ttrpc_header *header,
	const struct ttrpc_request *request, uint8_t *frame, size_t len)
{
	struct relay *relay = front->relay;
	if (relay->calls.count >= relay->max_calls) {
		char text[64];
		snprintf(text, sizeof(text), "more than %zu calls in flight", relay->max_calls);
		relay_answer(front, header->stream, TTRPC_RESOURCE_EXHAUSTED, text);
		return;
	}
	cleanup(buf_free) struct buf edited = BUF_INIT;
	if (rules_concern(relay->rules, request)) {
		cleanup_error err = ERROR_INIT;
		int changed =
			rewrite(relay, header, request, frame + TTRPC_HEADER_SIZE, &edited, &err);
		if (changed < 0) {
			answer_error(front, header->stream, &err);
			return;
		}
		if (changed) {
			frame = edited.data;
			len = edited.len;
		}
	}
	uint32_t id = relay_take_id(relay);
	struct call *call = calls_add(&relay->calls, id);
	if (!call) {
		relay_answer(front, header->stream, TTRPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	frame_set_stream(frame, id);
	call->front = front;
	call->front_id = header->stream;
	call->offset = relay->back.out.end;
	call->streaming = header->flags & (TTRPC_FLAG_REMOTE_OPEN | TTRPC_FLAG_REMOTE_CLOSED);
	call->deadline_ns = relay->back.conn ? DEADLINE_NEVER : waiting_deadline(relay, request);
	if (relay->keep_copies && !call->streaming && len <= COPY_MAX &&
		method_repeatable(request)) {
		call->check = request_is(request, "grpc.Health", "Check");
		call->copy = malloc(len); /* without it the call cannot be repeated, no more */
		if (call->copy) {
			memcpy(call->copy, frame, len);
			call->copy_len = (uint32_t)len;
		}
	}
	if (port_send(&relay->back, frame, len) < 0) {
		calls_remove(&relay->calls, call);
		relay_answer(front, header->stream, TTRPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	relay->call_count++;
	fault_point("relay-forwarded");
	back_is_full(relay);
}

static void request_from_front(struct front *front, const struct ttrpc_header *header,
	uint8_t *frame, size_t len)
{
	struct relay *relay = front->relay;
	cleanup_error err = ERROR_INIT;
	struct ttrpc_request request;
	if (header->stream % 2 == 0) {
		relay_answer(front, header->stream, TTRPC_INVALID_ARGUMENT,
			"StreamID must be odd for client initiated streams");
		return;
	}
	if (ttrpc_request_read(frame + TTRPC_HEADER_SIZE, header->length, &request, &err) < 0) {
		error_prefix(&err, "unmarshal request error");
		answer_error(front, header->stream, &err);
		return;
	}
	if (relay->ops->request && relay->ops->request(relay, front, header, &request))
		return;
	forward(front, header, &request, frame, len);
}

static void data_from_front(struct front *front, const struct ttrpc_header *header, uint8_t *frame,
	size_t len)
{
	struct relay *relay = front->relay;
	struct call *call = calls_find_front(&relay->calls, front, header->stream);
	/* Data for a call that is over goes nowhere: some Go servers crash on it. */
	if (!call)
		return;
	frame_set_stream(frame, call->id);
	if (port_send(&relay->back, frame, len) < 0)
		relay_end_call(relay, call, TTRPC_RESOURCE_EXHAUSTED, "out of memory");
	back_is_full(relay);
}

static void front_frame(struct port *port, uint8_t *frame, size_t len)
{
	struct front *front = port->owner;
	struct ttrpc_header header;
	ttrpc_header_read(frame, &header);
	if (header.type == TTRPC_REQUEST)
		request_from_front(front, &header, frame, len);
	else if (header.type == TTRPC_DATA)
		data_from_front(front, &header, frame, len);
	/* Other types are ignored, as both libraries do. */
}

static void front_oversized(struct port *port, const struct ttrpc_header *header)
{
	struct front *front = port->owner;
	if (header->type == TTRPC_DATA) {
		struct call *call = calls_find_front(&front->relay->calls, front, header->stream);
		if (!call)
			return;
		calls_remove(&front->relay->calls, call);
	} else if (header->type != TTRPC_REQUEST) {
		return;
	}
	answer_too_large(front, header->stream, header->length);
}

/* ---- from the back to a front ----------------------------------------------------------------- */

static void back_frame(struct port *port, uint8_t *frame, size_t len)
{
	struct relay *relay = port->owner;
	struct ttrpc_header header;
	ttrpc_header_read(frame, &header);
	if (port->greeting) {
		relay->ops->greeting(relay, &header, frame + TTRPC_HEADER_SIZE);
		return;
	}
	if (header.type != TTRPC_RESPONSE && header.type != TTRPC_DATA)
		return;
	struct call *call = calls_find(&relay->calls, header.stream);
	if (!call)
		return; /* late: whoever asked has gone */
	struct front *front = call->front;
	uint32_t front_id = call->front_id;
	if (header.type == TTRPC_RESPONSE || header.flags & TTRPC_FLAG_REMOTE_CLOSED)
		calls_remove(&relay->calls, call);
	if (!front) {
		struct ttrpc_response response;
		if (ttrpc_response_read(frame + TTRPC_HEADER_SIZE, header.length, &response, NULL) <
			0)
			response = (struct ttrpc_response){.code = TTRPC_INTERNAL};
		if (relay->ops->own_reply)
			relay->ops->own_reply(relay, header.stream, &response);
		return;
	}
	frame_set_stream(frame, front_id);
	if (port_send(&front->port, frame, len) < 0) {
		cleanup_error why = ERROR_INIT;
		error_set(&why, ERROR_INTERNAL, "answer: out of memory");
		port_break(&front->port, &why);
		return;
	}
	front_is_full(front);
}

static void back_oversized(struct port *port, const struct ttrpc_header *header)
{
	struct relay *relay = port->owner;
	struct call *call = calls_find(&relay->calls, header->stream);
	if (!call)
		return;
	struct front *front = call->front;
	uint32_t front_id = call->front_id;
	if (!front) {
		relay_end_call(relay, call, TTRPC_RESOURCE_EXHAUSTED, "answer is too large");
		return;
	}
	calls_remove(&relay->calls, call);
	answer_too_large(front, front_id, header->length);
}

static void back_lost(struct port *port, const struct error *why)
{
	struct relay *relay = port->owner;
	relay->ops->back_lost(relay, why);
}

static const struct port_ops back_port_ops = {
	.frame = back_frame,
	.oversized = back_oversized,
	.lost = back_lost,
	.drained = back_drained,
};

/* ---- fronts ----------------------------------------------------------------------------------- */

static void front_lost(struct port *port, const struct error *why)
{
	struct front *front = port->owner;
	const struct relay_ops *ops = front->relay->ops;
	if (!ops->front_lost || !ops->front_lost(front->relay, front, why))
		relay_drop_front(front);
}

static const struct port_ops front_port_ops = {
	.frame = front_frame,
	.oversized = front_oversized,
	.lost = front_lost,
	.drained = front_drained,
};

static void free_front(struct deferred *self)
{
	free(container_of(self, struct front, grave));
}

struct front *relay_add_front(struct relay *relay, struct conn *conn)
{
	struct front *front = calloc(1, sizeof(*front));
	if (!front) {
		conn_free(conn);
		return NULL;
	}
	front->relay = relay;
	front->grave.run = free_front;
	front->link = &relay->fronts;
	front->next = relay->fronts;
	if (front->next)
		front->next->link = &front->next;
	relay->fronts = front;
	relay->front_count++;
	port_init(&front->port, relay->loop, &front_port_ops, front);
	if (relay->fronts_paused)
		port_pause(&front->port);
	if (conn)
		port_attach(&front->port, conn, false);
	return front;
}

void relay_drop_front(struct front *front)
{
	if (front->closing)
		return;
	front->closing = true;
	struct relay *relay = front->relay;
	size_t at = 0;
	struct call *call;
	while ((call = calls_next(&relay->calls, &at))) {
		if (call->front != front)
			continue;
		calls_remove(&relay->calls, call);
		at--;
	}
	*front->link = front->next;
	if (front->next)
		front->next->link = front->link;
	relay->front_count--;
	bool was_full = front->port.full;
	port_close(&front->port);
	if (was_full)
		front_drained(&front->port);
	if (relay->ops->front_closed)
		relay->ops->front_closed(relay, front);
	loop_bury(relay->loop, &front->grave);
}

/* ---- calls of our own ------------------------------------------------------------------------- */

uint32_t relay_call(struct relay *relay, const struct ttrpc_request *request)
{
	uint32_t id = relay_take_id(relay);
	cleanup(buf_free) struct buf frame = BUF_INIT;
	if (ttrpc_request_write(&frame, id, 0, request, NULL) < 0)
		return 0;
	struct call *call = calls_add(&relay->calls, id);
	if (!call)
		return 0;
	call->offset = relay->back.out.end;
	call->deadline_ns = DEADLINE_NEVER;
	if (port_send(&relay->back, frame.data, frame.len) < 0) {
		calls_remove(&relay->calls, call);
		return 0;
	}
	return id;
}

void relay_forget(struct relay *relay, uint32_t id)
{
	struct call *call = calls_find(&relay->calls, id);
	if (call)
		calls_remove(&relay->calls, call);
}

/* ---- life ------------------------------------------------------------------------------------- */

void relay_init(struct relay *relay, struct loop *loop, const struct relay_ops *ops,
	const struct rule_set *rules, void *owner)
{
	*relay = (struct relay){
		.loop = loop,
		.ops = ops,
		.owner = owner,
		.max_calls = 4096,
		.next_id = 101, /* below: the greeting's */
		.rules = rules,
	};
	port_init(&relay->back, loop, &back_port_ops, relay);
}

void relay_close(struct relay *relay)
{
	while (relay->fronts)
		relay_drop_front(relay->fronts);
	port_close(&relay->back);
	calls_free(&relay->calls);
}
