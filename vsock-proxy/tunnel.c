/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel.c - see tunnel.h
 *
 * While the tunnel is down, requests wait in the relay's log and Health.Check is answered here, so that
 * a passing fault does not end the pod. After the grace period everything that waits fails, Check
 * included, and the shim tears the pod down.
 */
#include "vsock-proxy/tunnel_private.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/bound.h"
#include "base/fault.h"
#include "base/utf8.h"

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* HealthCheckResponse{status: SERVING} */
static const uint8_t serving[] = {0x08, 0x01};

static const char *const state_names[] = {
	[TUNNEL_DIALING] = "dialing",
	[TUNNEL_UP] = "up",
	[TUNNEL_DOWN] = "down",
};

void tunnel_note(struct tunnel *t, const char *why)
{
	free(t->last_error);
	t->last_error = strdup(why);
}

/* The message that calls get once patience is over. */
static void refusal(const struct tunnel *t, char *out, size_t size)
{
	const struct error *trouble = dialer_trouble(t->dialer, NULL, NULL);
	snprintf(out, size, "the pod VM at %s has been unreachable for %.0f s: %s", t->address,
		(double)(clock_ns() - t->down_since_ns) / (double)NS_PER_S,
		trouble         ? error_message(trouble)
		: t->last_error ? t->last_error
				: "no answer");
	utf8_repair(out); /* it may have been cut within a character */
}

static void grace_over(void *context)
{
	struct tunnel *t = context;
	if (t->state == TUNNEL_UP)
		return;
	char why[400];
	refusal(t, why, sizeof(why));
	t->patience_over = true;
	if (t->relay.calls.count || t->relay.front_count)
		log_error_ctx(&t->log, "%s; failing its calls", why);
	relay_fail_all(&t->relay, TTRPC_UNAVAILABLE, why);
	relay_unblock(&t->relay);
}

static void start_grace(struct tunnel *t)
{
	t->down_since_ns = clock_ns();
	t->patience_over = false;
	timer_start(&t->grace, t->grace_ns);
}

void tunnel_went_up(struct tunnel *t)
{
	bool first = t->state == TUNNEL_DIALING;
	if (t->state == TUNNEL_DOWN)
		t->reconnects++;
	t->state = TUNNEL_UP;
	t->patience_over = false;
	timer_stop(&t->grace);
	if (first)
		log_info_ctx(&t->log, "tunnel to %s is up after %llu ms%s", t->address,
			(unsigned long long)((clock_ns() - t->down_since_ns) / NS_PER_MS),
			t->has_session ? "" : "; the forwarder keeps no sessions");
	openers_tell(t, NULL);
}

void tunnel_went_down(struct tunnel *t, const char *why)
{
	tunnel_note(t, why);
	if (t->state != TUNNEL_UP)
		return;
	log_warn_ctx(&t->log, "tunnel to %s broke: %s; dialling again", t->address, why);
	t->state = TUNNEL_DOWN;
	start_grace(t);
	/*
	 * A dead peer is noticed after 20 s, and the shim waits 30 s for a Check: what is left is too little
	 * to wait for the tunnel.
	 */
	relay_answer_checks(&t->relay, serving, sizeof(serving));
}

static bool down_request(struct relay *relay, struct front *front,
	const struct ttrpc_header *header, const struct ttrpc_request *request)
{
	struct tunnel *t = relay->owner;
	if (t->state == TUNNEL_UP)
		return false;
	if (t->patience_over) {
		char why[400];
		refusal(t, why, sizeof(why));
		relay_answer(front, header->stream, TTRPC_UNAVAILABLE, why);
		return true;
	}
	if (!t->answered || !request_is(request, "grpc.Health", "Check"))
		return false; /* waits in the log */
	relay_answer_payload(front, header->stream, serving, sizeof(serving));
	return true;
}

static const struct relay_ops tunnel_relay_ops = {
	.request = down_request,
	.own_reply = link_own_reply,
	.greeting = link_greeting,
	.back_lost = link_lost,
};

void tunnel_shim_connected(void *context, int fd)
{
	struct tunnel *t = context;
	struct conn *conn = conn_new_fd(t->loop, fd);
	if (!conn || !relay_add_front(&t->relay, conn)) {
		log_error_ctx(&t->log, "connection of the shim: out of memory");
		return;
	}
	if (!t->first_shim_ns)
		t->first_shim_ns = clock_ns();
	log_debug_ctx(&t->log, "connection of the shim, %zu now", t->relay.front_count);
}

static void free_tunnel(struct deferred *self)
{
	struct tunnel *t = container_of(self, struct tunnel, grave);
	free(t->sandbox);
	free(t->pod);
	free(t->pod_namespace);
	free(t->socket_path);
	free(t->address);
	free(t->last_error);
	free(t);
}

void tunnel_close(struct tunnel *t)
{
	cleanup_error canceled = ERROR_INIT;
	error_set(&canceled, ERROR_CANCELED, "the sandbox was closed meanwhile");
	openers_tell(t, &canceled);
	timer_stop(&t->grace);
	listener_close(&t->listener);
	link_close(t);
	relay_close(&t->relay);
	loop_bury(t->loop, &t->grave);
}

struct tunnel *tunnel_make(struct loop *loop, const struct tunnel_settings *settings,
	struct error *err)
{
	struct tunnel *t = calloc(1, sizeof(*t));
	if (!t) {
		error_set(err, ERROR_INTERNAL, "out of memory");
		return NULL;
	}
	t->loop = loop;
	t->grave.run = free_tunnel;
	t->grace_ns = settings->grace_ns;
	t->rules = (struct rule_set){.rules = proxy_rules,
		.count = proxy_rule_count,
		.disabled = settings->rules_disabled};
	memcpy(t->digest, settings->digest, sizeof(t->digest));
	relay_init(&t->relay, loop, &tunnel_relay_ops, &t->rules, t);
	t->relay.keep_copies = true;
	timer_init(&t->grace, loop, grace_over, t);
	t->sandbox = strdup(settings->sandbox);
	t->pod = strdup(settings->pod);
	t->pod_namespace = strdup(settings->pod_namespace);
	t->socket_path = strdup(settings->socket_path);
	t->address = strdup(settings->address);
	if (!t->sandbox || !t->pod || !t->pod_namespace || !t->socket_path || !t->address) {
		error_set(err, ERROR_INTERNAL, "out of memory");
		tunnel_close(t);
		return NULL;
	}
	t->log = (struct log_context){t->sandbox, t->pod, t->pod_namespace};
	return t;
}

struct tunnel *tunnel_new(struct loop *loop, const struct tunnel_settings *settings,
	struct error *err)
{
	struct tunnel *t = tunnel_make(loop, settings, err);
	if (!t)
		return NULL;
	start_grace(t);
	/* Listening first: a shim of a pod that runs already may be waiting for this socket. */
	if (listener_open_unix(&t->listener, loop, settings->socket_path, tunnel_shim_connected, t,
		    err) < 0 ||
		link_init(t, settings, err) < 0) {
		tunnel_close(t);
		return NULL;
	}
	link_dial(t);
	fault_point("proxy-tunnel-open");
	return t;
}

bool tunnel_same(const struct tunnel *t, const struct tunnel_settings *settings)
{
	return !strcmp(t->address, settings->address) &&
	       !memcmp(t->digest, settings->digest, sizeof(t->digest));
}

int tunnel_redirect(struct tunnel *t, const struct tunnel_settings *settings, struct error *err)
{
	char *address = strdup(settings->address);
	if (!address)
		return error_set(err, ERROR_INTERNAL, "out of memory");
	cleanup_error why = ERROR_INIT;
	error_set(&why, ERROR_RETRY, "the adaptor named another address or other certificates");
	port_break(&t->relay.back, &why);
	if (link_init(t, settings, err) < 0) {
		free(address);
		return -1;
	}
	link_dial(t);
	free(t->address);
	t->address = address;
	memcpy(t->digest, settings->digest, sizeof(t->digest));
	return 0;
}

void tunnel_look(struct tunnel *t, struct tunnel_view *view)
{
	const struct error *trouble = dialer_trouble(t->dialer, NULL, NULL);
	*view = (struct tunnel_view){
		.log = &t->log,
		.sandbox = t->sandbox,
		.state = state_names[t->state],
		.address = t->address,
		.last_error = t->state == TUNNEL_UP ? ""
			      : trouble             ? error_message(trouble)
			      : t->last_error       ? t->last_error
						    : "",
		.socket_path = t->socket_path,
		.ever_up = t->answered,
		.resumable = t->has_session,
		.underlay_mtu = t->underlay_mtu,
		.shim_connections = (uint32_t)t->relay.front_count,
		.reconnects = t->reconnects,
		.calls = t->relay.call_count,
		.connected_ns_ago = t->first_shim_ns ? clock_ns() - t->first_shim_ns : 0,
	};
}
