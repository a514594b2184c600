/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay_state.c - the fronts of a relay and its calls in flight, told to another process and made again there
 *
 * Calls of our own are left out: nobody of the new process waits for their answers, which are dropped.
 */
#include "vsock-proxy/relay_private.h"

#include <string.h>

#include "base/bound.h"
#include "vsock-proxy/handover.h"

/* Calls of one frame: their copies are 16 KiB at most. */
#define BATCH 32

void relay_count(const struct relay *relay, uint32_t *fronts, uint32_t *calls)
{
	size_t at = 0;
	*fronts = (uint32_t)relay->front_count;
	*calls = 0;
	for (struct call *call; (call = calls_next(&relay->calls, &at));)
		*calls += call->front != NULL;
}

static int tell_front(const struct front *front, struct told_sink *sink, struct error *err)
{
	int fd = conn_descriptor(front->port.conn);
	Handover__Port port;
	if (fd < 0)
		return error_set(err, ERROR_UNSUPPORTED, "a connection without a descriptor");
	if (port_describe(&front->port, true, &port, err) < 0)
		return -1;
	Handover__Front message = HANDOVER__FRONT__INIT;
	message.port = &port;
	Handover__Item item = HANDOVER__ITEM__INIT;
	item.item_case = HANDOVER__ITEM__ITEM_FRONT;
	item.front = &message;
	if (sink->put(sink, &item, &fd, 1, err) < 0)
		return -1;
	return port_tell(&front->port, &port, sink, err);
}

static uint32_t place_of(const struct relay *relay, const struct front *front)
{
	uint32_t place = 0;
	for (const struct front *f = relay->fronts; f && f != front; f = f->next)
		place++;
	return place;
}

static void describe_call(const struct relay *relay, const struct call *call, uint64_t now,
	Handover__Call *out)
{
	handover__call__init(out);
	out->id = call->id;
	out->front = place_of(relay, call->front);
	out->front_id = call->front_id;
	out->offset = call->offset;
	out->waits_for_ever = call->deadline_ns == DEADLINE_NEVER;
	out->wait_ns = out->waits_for_ever || call->deadline_ns < now ? 0 : call->deadline_ns - now;
	out->copy.data = call->copy;
	out->copy.len = call->copy ? call->copy_len : 0;
	out->streaming = call->streaming;
	out->check = call->check;
}

static int tell_calls(const struct relay *relay, struct told_sink *sink, struct error *err)
{
	Handover__Call calls[BATCH], *list[BATCH];
	Handover__Calls message = HANDOVER__CALLS__INIT;
	message.calls = list;
	Handover__Item item = HANDOVER__ITEM__INIT;
	item.item_case = HANDOVER__ITEM__ITEM_CALLS;
	item.calls = &message;
	size_t at = 0;
	uint64_t now = clock_ns();
	for (;;) {
		struct call *call = calls_next(&relay->calls, &at);
		if (call && call->front) {
			list[message.n_calls] = &calls[message.n_calls];
			describe_call(relay, call, now, &calls[message.n_calls++]);
		}
		if (message.n_calls == BATCH || (!call && message.n_calls)) {
			if (sink->put(sink, &item, NULL, 0, err) < 0)
				return -1;
			message.n_calls = 0;
		}
		if (!call)
			return 0;
	}
}

int relay_tell(const struct relay *relay, struct told_sink *sink, struct error *err)
{
	for (const struct front *f = relay->fronts; f; f = f->next) {
		if (tell_front(f, sink, err) < 0)
			return -1;
	}
	return tell_calls(relay, sink, err);
}

static int restore_front(struct relay *relay, struct told_front *told, struct front **front,
	struct error *err)
{
	if (!conn_fits(told->fd))
		return error_set(err, ERROR_INVALID, "a connection of the shim is no socket");
	struct conn *conn = conn_new_fd(relay->loop, take_fd(&told->fd));
	*front = conn ? relay_add_front(relay, conn) : NULL;
	if (!*front)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	return port_restore(&(*front)->port, &told->port, err);
}

static int restore_call(struct relay *relay, Handover__Call *told, struct front *const *fronts,
	struct error *err)
{
	if (calls_find(&relay->calls, told->id))
		return error_set(err, ERROR_INVALID, "two calls with the id %u", told->id);
	struct call *call = calls_add(&relay->calls, told->id);
	if (!call)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	call->front = fronts[told->front];
	call->front_id = told->front_id;
	call->offset = told->offset;
	call->deadline_ns = told->waits_for_ever ? DEADLINE_NEVER : deadline_in(told->wait_ns);
	call->streaming = told->streaming;
	call->check = told->check;
	call->copy_len = (uint32_t)told->copy.len;
	call->copy = take_ptr(told->copy.data);
	return 0;
}

int relay_restore(struct relay *relay, struct told_sandbox *told, struct error *err)
{
	cleanup(free_ptr) struct front **fronts = calloc(told->front_count + 1, sizeof(void *));
	if (!fronts)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	if (port_restore(&relay->back, &told->back, err) < 0)
		return -1;
	/* As they came: a new one is put in front of the others. */
	for (size_t i = told->front_count; i-- > 0;) {
		if (restore_front(relay, &told->fronts[i], &fronts[i], err) < 0)
			return -1;
	}
	for (size_t i = 0; i < told->call_count; i++) {
		if (restore_call(relay, &told->calls[i], fronts, err) < 0)
			return -1;
	}
	relay->next_id = told->head->next_id;
	if (calls_find(&relay->calls, relay->next_id))
		relay_take_id(relay);
	relay->call_count = told->head->call_count;
	relay_hold_back(relay);
	return 0;
}
