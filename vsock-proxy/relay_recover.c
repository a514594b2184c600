/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay_recover.c - what becomes of calls when the back of a relay breaks
 *
 * The log of the back and the table of calls together know of each request whether it was sent. With a
 * session the peer says how far it got, and all goes on from there. Without one, what was never sent is
 * still in the log and goes out with the next connection; of what was sent nobody knows the fate, so only
 * calls that may be made twice are.
 */
#include "vsock-proxy/relay_private.h"

#include <string.h>

#include "base/cleanup.h"

/* Does this frame of the back's log still belong to a call that somebody waits for? */
static struct call *owner_of(struct relay *relay, const struct ttrpc_header *header)
{
	return calls_find(&relay->calls, header->stream);
}

/*
 * Writes the frames from `from` on to a new log that begins at `base`, leaving out those of calls that are
 * over. A call of which the request stays has its offset set to the new place.
 */
static int sift_log(struct relay *relay, uint64_t from, uint64_t base)
{
	struct bytelog old = relay->back.out, kept;
	bytelog_init(&kept, &relay->loop->blocks);
	bytelog_reset(&kept, base);
	cleanup(buf_free) struct buf frame = BUF_INIT;
	uint8_t bytes[TTRPC_HEADER_SIZE];
	int result = 0;
	for (uint64_t at = from; bytelog_peek(&old, at, bytes, sizeof(bytes));) {
		struct ttrpc_header header;
		ttrpc_header_read(bytes, &header);
		size_t len = TTRPC_HEADER_SIZE + header.length;
		struct call *call = owner_of(relay, &header);
		if (call) {
			frame.len = 0;
			uint8_t *to = buf_reserve(&frame, len);
			if (!to || !bytelog_peek(&old, at, to, len)) {
				result = -1;
				break;
			}
			if (header.type == TTRPC_REQUEST)
				call->offset = kept.end;
			if (!bytelog_append(&kept, to, len, NULL, 0)) {
				result = -1;
				break;
			}
		}
		at += len;
	}
	bytelog_reset(&old, 0);
	relay->back.out = kept;
	relay->back.boundary = base;
	relay->back.full = bytelog_held(&kept) > PORT_HIGH;
	return result;
}

void relay_fail_all(struct relay *relay, int32_t code, const char *message)
{
	size_t at = 0;
	struct call *call;
	while ((call = calls_next(&relay->calls, &at))) {
		relay_end_call(relay, call, code, message);
		at = 0; /* answering may have closed a front, and that may have moved calls */
	}
}

/* Takes the calls out of the table that were sent: those to repeat go to a list, the others fail. */
static struct call *take_sent(struct relay *relay, uint64_t from, const char *message,
	size_t *count, size_t *failed)
{
	struct call *again = calloc(relay->calls.count + 1, sizeof(*again));
	size_t at = 0;
	struct call *call;
	*count = 0;
	while ((call = calls_next(&relay->calls, &at))) {
		if (call->offset >= from)
			continue;
		if (again && call->copy) {
			again[*count] = *call;
			again[(*count)++].copy = take_ptr(call->copy);
			calls_remove(&relay->calls, call);
			at--;
		} else {
			(*failed)++;
			relay_end_call(relay, call, TTRPC_UNAVAILABLE, message);
			at = 0;
		}
	}
	return again;
}

static bool front_lives(const struct relay *relay, const struct front *front)
{
	for (const struct front *f = relay->fronts; f; f = f->next) {
		if (f == front)
			return true;
	}
	return false;
}

void relay_restart(struct relay *relay, const char *message, size_t *replayed, size_t *failed)
{
	size_t count, lost = 0;
	uint64_t from = port_unsent(&relay->back);
	cleanup(free_ptr) struct call *again = take_sent(relay, from, message, &count, &lost);
	int sifted = sift_log(relay, from, 0);
	relay->back.received = relay->back.acked = 0;
	relay->back.session = false;
	if (sifted < 0)
		relay_fail_all(relay, TTRPC_RESOURCE_EXHAUSTED, "out of memory");
	for (size_t i = 0; again && i < count; i++) {
		struct call *old = &again[i];
		if (!front_lives(relay, old->front)) { /* its front broke over another answer */
			free(old->copy);
			continue;
		}
		struct call *call = calls_add(&relay->calls, relay_take_id(relay));
		if (!call) {
			relay_answer(old->front, old->front_id, TTRPC_RESOURCE_EXHAUSTED,
				"out of memory");
			free(old->copy);
			continue;
		}
		uint32_t id = call->id;
		*call = *old;
		call->id = id;
		call->offset = relay->back.out.end;
		frame_set_stream(call->copy, id);
		if (port_send(&relay->back, call->copy, call->copy_len) < 0)
			relay_end_call(relay, call, TTRPC_RESOURCE_EXHAUSTED, "out of memory");
	}
	if (!relay->back.full)
		relay_unblock(relay);
	if (replayed)
		*replayed = count;
	if (failed)
		*failed = lost;
}

int relay_resume(struct relay *relay)
{
	int result = sift_log(relay, relay->back.out.start, relay->back.out.start);
	if (!relay->back.full)
		relay_unblock(relay);
	return result;
}

void relay_answer_checks(struct relay *relay, const void *payload, size_t len)
{
	size_t at = 0;
	struct call *call;
	while ((call = calls_next(&relay->calls, &at))) {
		if (!call->check || !call->front)
			continue;
		struct front *front = call->front;
		uint32_t front_id = call->front_id;
		calls_remove(&relay->calls, call);
		relay_answer_payload(front, front_id, payload, len);
		at = 0;
	}
}

void relay_expire(struct relay *relay, uint64_t now_ns, int32_t code, const char *message)
{
	size_t at = 0;
	struct call *call;
	while ((call = calls_next(&relay->calls, &at))) {
		if (call->deadline_ns > now_ns)
			continue;
		relay_end_call(relay, call, code, message);
		at = 0;
	}
}
