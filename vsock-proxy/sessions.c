/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sessions.c - tunnels that may break and come back
 *
 * A proxy of ours begins with Attach. Its session is a front of the relay that outlives its
 * connections: calls go on, answers are kept, and the next connection that names the session and shows
 * the same client certificate goes on where the last one stopped. Any other peer never says
 * Attach and is a plain front that ends with its connection.
 *
 * Bounds: a session without a connection is kept for a while (10 min) and as long as its answers fit into
 * the log of its port; there are no more sessions than there may be tunnels, and a new one of the same
 * certificate takes the place of one that is away: its proxy has been restarted and will not ask for
 * the old one again.
 */
#include "vsock-proxy/forwarder.h"

#include <openssl/crypto.h>
#include <string.h>

#include "base/bound.h"
#include "base/log.h"
#include "proto/session.pb-c.h"
#include "ttrpc/message.h"

static struct tunnel_end *end_of(const struct front *front)
{
	return front->data;
}

size_t sessions_connected(const struct forwarder *f)
{
	size_t count = 0;
	for (const struct front *front = f->relay.fronts; front; front = front->next)
		count += front->port.conn != NULL;
	return count;
}

static void expired(void *context)
{
	struct tunnel_end *end = context;
	log_warn("a session was not resumed in time and is dropped");
	relay_drop_front(end->front);
}

void sessions_admit(struct forwarder *f, struct conn *conn)
{
	struct tunnel_end *end = calloc(1, sizeof(*end));
	if (!end || conn_fingerprint(conn, end->fingerprint) < 0) {
		free(end);
		conn_free(conn);
		return;
	}
	struct front *front = relay_add_front(&f->relay, NULL);
	if (!front) {
		free(end);
		conn_free(conn);
		return;
	}
	end->front = front;
	front->data = end;
	timer_init(&end->expiry, &f->loop, expired, end);
	log_debug("tunnel connected, %zu now", sessions_connected(f) + 1);
	port_attach(&front->port, conn, false);
}

static void refuse(struct front *front, uint32_t stream, int32_t code, const char *why)
{
	log_warn("session refused: %s", why);
	relay_answer(front, stream, code, why);
}

static struct front *find(struct forwarder *f, const uint8_t *id)
{
	for (struct front *front = f->relay.fronts; front; front = front->next) {
		const struct tunnel_end *end = end_of(front);
		if (end->session && !CRYPTO_memcmp(end->session_id, id, SESSION_ID_SIZE))
			return front;
	}
	return NULL;
}

static int welcome(struct forwarder *f, struct front *front, uint32_t stream,
	uint64_t peer_received, struct error *err)
{
	Session__AttachResponse response;
	session__attach_response__init(&response);
	response.version = 1;
	response.received = front->port.received;
	response.underlay_mtu = f->underlay_mtu;
	uint8_t payload[32];
	struct ttrpc_response answer = {
		.payload = {payload, session__attach_response__pack(&response, payload)}};
	cleanup(buf_free) struct buf frame = BUF_INIT;
	if (ttrpc_response_write(&frame, stream, &answer, err) < 0 ||
		port_send_control(&front->port, frame.data, frame.len) < 0)
		return error_set(err, ERROR_INTERNAL, "out of memory");
	return port_begin_session(&front->port, peer_received, err);
}

/* Makes room for a new session: those of this certificate that are away, then whoever is away longest. */
static bool make_room(struct forwarder *f, const struct tunnel_end *newcomer)
{
	struct front *next, *longest = NULL;
	size_t count = 0;
	for (struct front *front = f->relay.fronts; front; front = next) {
		next = front->next;
		struct tunnel_end *end = end_of(front);
		if (!end->session)
			continue;
		if (!front->port.conn &&
			!memcmp(end->fingerprint, newcomer->fingerprint, FINGERPRINT_SIZE)) {
			relay_drop_front(front);
			continue;
		}
		count++;
		if (!front->port.conn &&
			(!longest || end->away_since_ns < end_of(longest)->away_since_ns))
			longest = front;
	}
	if (count < f->door.max_connections)
		return true;
	if (!longest)
		return false;
	relay_drop_front(longest);
	return true;
}

static void begin(struct forwarder *f, struct front *front, uint32_t stream, const uint8_t *id)
{
	struct tunnel_end *end = end_of(front);
	if (!make_room(f, end)) {
		refuse(front, stream, TTRPC_RESOURCE_EXHAUSTED, "too many sessions");
		return;
	}
	memcpy(end->session_id, id, SESSION_ID_SIZE);
	end->session = true;
	cleanup_error err = ERROR_INIT;
	if (welcome(f, front, stream, 0, &err) < 0)
		port_break(&front->port, &err);
}

static void resume(struct forwarder *f, struct front *newcomer, struct front *session,
	uint32_t stream, uint64_t peer_received)
{
	struct tunnel_end *end = end_of(session);
	if (memcmp(end->fingerprint, end_of(newcomer)->fingerprint, FINGERPRINT_SIZE) != 0) {
		refuse(newcomer, stream, TTRPC_PERMISSION_DENIED,
			"the session belongs to another client certificate");
		return;
	}
	struct conn *conn = port_detach(&newcomer->port);
	relay_drop_front(newcomer);
	timer_stop(&end->expiry);
	/* Replaces a connection that is half dead. */
	port_attach(&session->port, conn, true);
	cleanup_error err = ERROR_INIT;
	if (welcome(f, session, stream, peer_received, &err) < 0) {
		log_warn("%s; the session is dropped", error_message(&err));
		relay_drop_front(session);
		return;
	}
	log_info("session resumed, nothing was lost");
}

static void attach(struct forwarder *f, struct front *front, uint32_t stream,
	const struct ttrpc_request *request)
{
	if (end_of(front)->spoke || end_of(front)->session) {
		refuse(front, stream, TTRPC_FAILED_PRECONDITION,
			"Attach must be the first call of a connection");
		return;
	}
	cleanup(message_ptr) Session__AttachRequest *asked =
		(Session__AttachRequest *)message_unpack(&session__attach_request__descriptor,
			request->payload.data, request->payload.len, NULL);
	if (!asked || asked->version != 1 || asked->session.len != SESSION_ID_SIZE) {
		refuse(front, stream, TTRPC_INVALID_ARGUMENT,
			"Attach: version 1 with a session id of 16 bytes is spoken here");
		return;
	}
	struct front *there = find(f, asked->session.data);
	if (there)
		resume(f, front, there, stream, asked->received);
	else if (asked->resume)
		relay_answer(front, stream, TTRPC_NOT_FOUND, "there is no such session (any more)");
	else
		begin(f, front, stream, asked->session.data);
}

bool sessions_request(struct forwarder *f, struct front *front, const struct ttrpc_header *header,
	const struct ttrpc_request *request)
{
	if (end_of(front)->spoke || !ttrpc_bytes_equal(request->service, "peerpod.Session")) {
		end_of(front)->spoke = true;
		return false;
	}
	if (ttrpc_bytes_equal(request->method, "Attach"))
		attach(f, front, header->stream, request);
	else
		relay_answer(front, header->stream, TTRPC_UNIMPLEMENTED, "unknown method");
	return true;
}

bool sessions_front_lost(struct relay *relay, struct front *front, const struct error *why)
{
	struct forwarder *f = relay->owner;
	struct tunnel_end *end = end_of(front);
	if (!end->session) {
		log_debug("tunnel closed: %s", error_message(why));
		return false;
	}
	log_info("the tunnel of a session broke: %s; keeping the session", error_message(why));
	end->away_since_ns = clock_ns();
	timer_start(&end->expiry, f->session_keep_ns);
	return true;
}

void sessions_front_closed(struct relay *relay, struct front *front)
{
	(void)relay;
	struct tunnel_end *end = take_ptr(front->data);
	if (end)
		timer_stop(&end->expiry);
	free(end);
}
