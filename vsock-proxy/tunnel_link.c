/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel_link.c - the connection between agent-proxy and the pod VM
 *
 * dial -> Attach (a call that only our forwarder knows) -> session, or plain ttrpc -> the first time:
 * Health.Check until the agent answers -> up. When the connection breaks: from the start, with the
 * session resumed where there is one.
 */
#include "vsock-proxy/tunnel_private.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "base/bound.h"
#include "base/fault.h"
#include "proto/session.pb-c.h"
#include "ttrpc/message.h"

/* Quick at first: a VM that boots is waited for by somebody. */
#define BACKOFF_MIN_NS (5 * NS_PER_MS)
#define BACKOFF_MAX_NS (500 * NS_PER_MS)
#define REDIAL_AFTER_REFUSAL_NS (2 * NS_PER_S)
/* The forwarder answers Attach by itself, without the agent. */
#define GREETING_NS (10 * NS_PER_S)
#define CHECK_AGAIN_NS (250 * NS_PER_MS)
/*
 * Our forwarder says within this time why its agent does not answer, and is asked again. Upstream's
 * dials its agent within the first call only, and for no longer than that call may take: its own limit is
 * 150 s.
 */
#define CHECK_TIMEOUT_NS (5 * NS_PER_S)
#define CHECK_TIMEOUT_PLAIN_NS (150 * NS_PER_S)

#define SERVICE(text)                                     \
	{                                                 \
		(const uint8_t *)(text), sizeof(text) - 1 \
	}

static int new_session_id(struct tunnel *t)
{
	t->has_session = false;
	return RAND_bytes(t->session_id, sizeof(t->session_id)) == 1 ? 0 : -1;
}

static void link_break(struct tunnel *t, const char *why)
{
	cleanup_error err = ERROR_INIT;
	error_set(&err, ERROR_RETRY, "%s", why);
	port_break(&t->relay.back, &err);
}

static void send_attach(struct tunnel *t)
{
	Session__AttachRequest request;
	session__attach_request__init(&request);
	request.version = 1;
	request.session.data = t->session_id;
	request.session.len = sizeof(t->session_id);
	request.resume = t->has_session;
	request.received = t->has_session ? t->relay.back.received : 0;
	uint8_t payload[64]; /* 2 + 18 + 11 + 2 at most */
	struct ttrpc_request call = {
		.service = SERVICE("peerpod.Session"),
		.method = SERVICE("Attach"),
		.payload = {payload, session__attach_request__pack(&request, payload)},
	};
	cleanup(buf_free) struct buf frame = BUF_INIT;
	t->attach_stream += 2;
	if (ttrpc_request_write(&frame, t->attach_stream, 0, &call, NULL) < 0 ||
		port_send_control(&t->relay.back, frame.data, frame.len) < 0)
		link_break(t, "out of memory");
}

/* ---- the agent's first answer ----------------------------------------------------------------- */

static void send_check(void *context)
{
	struct tunnel *t = context;
	if (t->check_id || t->answered || !t->relay.back.conn || t->relay.back.greeting)
		return;
	t->check_id = relay_call(&t->relay,
		&(struct ttrpc_request){
			.service = SERVICE("grpc.Health"),
			.method = SERVICE("Check"),
			.timeout_ns = t->has_session ? (int64_t)CHECK_TIMEOUT_NS
						     : (int64_t)CHECK_TIMEOUT_PLAIN_NS,
		});
}

void link_own_reply(struct relay *relay, uint32_t id, const struct ttrpc_response *response)
{
	struct tunnel *t = relay->owner;
	if (id != t->check_id)
		return;
	t->check_id = 0;
	if (response->code == TTRPC_OK) {
		t->answered = true;
		free(take_ptr(t->check_trouble));
		tunnel_went_up(t);
		return;
	}
	free(t->check_trouble);
	if (asprintf(&t->check_trouble, "%s: %.*s", ttrpc_code_name(response->code),
		    (int)response->message.len, (const char *)response->message.data) < 0)
		t->check_trouble = NULL;
	timer_start(&t->check, CHECK_AGAIN_NS);
}

/* ---- greeting --------------------------------------------------------------------------------- */

static void greeted(struct tunnel *t)
{
	timer_stop(&t->greeting);
	dialer_forgive(t->dialer);
	fault_point("proxy-link-up");
	if (t->answered)
		tunnel_went_up(t);
	else
		send_check(t);
}

/* The peer knows nothing of what was sent before. */
static void start_over(struct tunnel *t, const char *why)
{
	size_t replayed, failed;
	char message[160];
	snprintf(message, sizeof(message), "the connection to the pod VM broke: %s", why);
	relay_restart(&t->relay, message, &replayed, &failed);
	if (replayed || failed)
		log_warn_ctx(&t->log, "%s: %zu calls sent again, %zu failed", why, replayed,
			failed);
}

static void attached(struct tunnel *t, const struct ttrpc_response *response)
{
	cleanup(message_ptr) Session__AttachResponse *answer =
		(Session__AttachResponse *)message_unpack(&session__attach_response__descriptor,
			response->payload.data, response->payload.len, NULL);
	if (!answer || answer->version != 1) {
		link_break(t, "the forwarder answered Attach with something else");
		return;
	}
	bool resumed = t->has_session;
	if (!resumed)
		start_over(t, "a new session was begun");
	cleanup_error err = ERROR_INIT;
	if (port_begin_session(&t->relay.back, answer->received, &err) < 0 ||
		(resumed && relay_resume(&t->relay) < 0)) {
		/* The two ends do not agree: begin a new session on a new connection. */
		new_session_id(t);
		link_break(t, err.kind ? error_message(&err) : "out of memory");
		return;
	}
	t->has_session = true;
	t->underlay_mtu = answer->underlay_mtu;
	if (resumed)
		log_info_ctx(&t->log, "tunnel to %s is up again, nothing was lost", t->address);
	greeted(t);
}

void link_greeting(struct relay *relay, const struct ttrpc_header *header, const uint8_t *data)
{
	struct tunnel *t = relay->owner;
	struct ttrpc_response response;
	if (header->type != TTRPC_RESPONSE || header->stream != t->attach_stream ||
		ttrpc_response_read(data, header->length, &response, NULL) < 0) {
		link_break(t, "the peer speaks before it was asked: no forwarder");
		return;
	}
	switch (response.code) {
	case TTRPC_OK:
		attached(t, &response);
		return;
	case TTRPC_NOT_FOUND:
		if (t->has_session && new_session_id(t) == 0) {
			log_warn_ctx(&t->log, "the forwarder at %s has lost the session",
				t->address);
			start_over(t, "the forwarder has lost the session");
			send_attach(t);
			return;
		}
		break;
	case TTRPC_UNIMPLEMENTED:    /* Go */
	case TTRPC_INVALID_ARGUMENT: /* Rust */
		start_over(t, "the forwarder keeps no sessions");
		t->has_session = false;
		port_begin_plain(&t->relay.back);
		greeted(t);
		return;
	}
	char why[200];
	snprintf(why, sizeof(why), "the forwarder refuses the session: %s: %.*s",
		ttrpc_code_name(response.code),
		(int)(response.message.len < 120 ? response.message.len : 120),
		(const char *)response.message.data);
	link_break(t, why);
}

static void greeting_timed_out(void *context)
{
	link_break(context, "the forwarder did not answer within 10 s of connecting");
}

/* ---- dialler ---------------------------------------------------------------------------------- */

static void link_connected(void *context, struct conn *conn)
{
	struct tunnel *t = context;
	t->refused = false;
	/* Stream ids begin anew with the connection. */
	t->attach_stream = (uint32_t)-1;
	port_attach(&t->relay.back, conn, true);
	timer_start(&t->greeting, GREETING_NS);
	send_attach(t);
}

static void link_denied(void *context, const struct error *why)
{
	struct tunnel *t = context;
	tunnel_note(t, error_message(why));
	if (!t->refused)
		log_error_ctx(&t->log, "%s: %s", t->address, error_message(why));
	t->refused = true;
	/* Kept up, slowly, for a tunnel that nobody waits for: certificates can be put right. */
	timer_start(&t->check, REDIAL_AFTER_REFUSAL_NS);
	openers_tell(t, why);
}

static void check_or_redial(void *context)
{
	struct tunnel *t = context;
	if (t->refused && !t->relay.back.conn)
		dialer_start(t->dialer, true);
	else
		send_check(t);
}

const struct dialer_ops link_dialer_ops = {
	.connected = link_connected,
	.denied = link_denied,
};

void link_lost(struct relay *relay, const struct error *why)
{
	struct tunnel *t = relay->owner;
	timer_stop(&t->greeting);
	if (t->check_id) {
		relay_forget(relay, t->check_id);
		t->check_id = 0;
	}
	tunnel_went_down(t, error_message(why));
	/* TLS 1.3: the server judges our certificate after our half of the handshake is done. */
	if (why->kind == ERROR_DENIED) {
		dialer_reject(t->dialer, why);
		return;
	}
	dialer_start(t->dialer, false);
}

int link_init(struct tunnel *t, const struct tunnel_settings *settings, struct error *err)
{
	const struct dial_settings dial = {
		.address = settings->address,
		.tls = settings->tls,
		.server_name = settings->server_name,
		.backoff_min_ns = BACKOFF_MIN_NS,
		.backoff_max_ns = BACKOFF_MAX_NS,
	};
	struct dialer *dialer = dialer_new(t->loop, &dial, &link_dialer_ops, t, err);
	if (!dialer)
		return -1;
	if (!t->dialer) {
		timer_init(&t->greeting, t->loop, greeting_timed_out, t);
		timer_init(&t->check, t->loop, check_or_redial, t);
		if (new_session_id(t) < 0) {
			dialer_free(dialer);
			return error_set(err, ERROR_INTERNAL, "no random numbers for a session id");
		}
	}
	dialer_free(t->dialer);
	t->dialer = dialer;
	return 0;
}

void link_dial(struct tunnel *t)
{
	dialer_start(t->dialer, true);
}

void link_close(struct tunnel *t)
{
	dialer_free(take_ptr(t->dialer));
	timer_stop(&t->greeting);
	timer_stop(&t->check);
	free(take_ptr(t->check_trouble));
}
