/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control_handover.c - one agent-proxy takes the place of another: what the control socket has to do with it
 *
 * How it goes is told in handover.h. Here is who may ask, what is handed over, and what becomes of the process
 * afterwards: the old one has nothing left and ends or waits to be ended, the new one has what it was given.
 */
#include "vsock-proxy/control_private.h"

#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/bound.h"
#include "vsock-proxy/handover_give.h"
#include "vsock-proxy/handover_take.h"

/* gcc 12's analyzer loses sight of what hangs on a list and calls it leaked; LeakSanitizer does not. */
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* ---- giving ----------------------------------------------------------------------------------- */

/* Another process has it all: nothing here may move a byte any more, or remove a file. */
static void let_go(struct control *c)
{
	while (c->peers)
		control_peer_close(c->peers);
	while (c->served) {
		struct served *s = c->served;
		c->served = s->next;
		tunnel_let_go(s->tunnel);
		free(s);
	}
	listener_let_go(&c->listener);
	c->handed_over = true;
}

static int give(struct peer *peer, size_t *count, struct error *err)
{
	struct control *c = peer->control;
	*count = control_serving(c);
	cleanup(free_ptr) struct tunnel **tunnels = calloc(*count + 1, sizeof(void *));
	if (!tunnels)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	size_t i = 0;
	for (struct served *s = c->served; s; s = s->next)
		tunnels[i++] = s->tunnel;
	const struct handover_giving giving = {
		.control = &c->listener,
		.tunnels = tunnels,
		.count = *count,
		.fd = conn_descriptor(peer->port.conn),
		.stream = peer->handover_stream,
	};
	return handover_give(&giving, err);
}

/* At the end of a round of the loop: every port is at rest, and nothing is being read. */
static void run_handover(struct deferred *self)
{
	struct peer *peer = container_of(self, struct peer, handover);
	struct control *c = peer->control;
	cleanup_error err = ERROR_INIT;
	size_t count;
	uint64_t since = clock_ns();
	if (!peer->port.conn || c->handed_over)
		return;
	if (give(peer, &count, &err) < 0) {
		log_error("hand over to agent-proxy %s: %s; serving on", peer->successor,
			error_message(&err));
		control_peer_close(peer);
		return;
	}
	log_info("handed %zu sandboxes over to agent-proxy %s within %.1f ms", count,
		peer->successor, (double)(clock_ns() - since) / (double)NS_PER_MS);
	let_go(c);
	c->ended(c->ended_context);
}

/* -1: it is not done. */
static int check_asker(const struct peer *peer, const Agentproxy__HandOverRequest *request,
	struct error *err)
{
	if (peer->user != geteuid())
		return error_set(err, ERROR_DENIED, "hand over: to a process of user %u only",
			geteuid());
	if (request->newest_format < HANDOVER_FORMAT || request->oldest_format > HANDOVER_FORMAT) {
		error_set(err, ERROR_UNSUPPORTED,
			"hand over: agent-proxy %.60s reads formats %u to %u, and agent-proxy "
			"%s writes %u",
			request->version, request->oldest_format, request->newest_format,
			PEERPOD_VERSION, HANDOVER_FORMAT);
		err->status = TTRPC_FAILED_PRECONDITION;
		return -1;
	}
	if (peer->pending || peer->successor || peer->port.out.end != 0)
		return error_set(err, ERROR_INVALID,
			"hand over: asked on a connection that carries other calls");
	return 0;
}

void control_call_handover(struct peer *peer, uint32_t stream, const ProtobufCMessage *message)
{
	const Agentproxy__HandOverRequest *request = (const Agentproxy__HandOverRequest *)message;
	cleanup_error err = ERROR_INIT;
	if (check_asker(peer, request, &err) == 0) {
		peer->successor = strndup(request->version, 60);
		if (peer->successor) {
			peer->handover_stream = stream;
			peer->handover.run = run_handover;
			port_pause(&peer->port);
			loop_defer(peer->control->loop, &peer->handover);
			return;
		}
		error_set(&err, ERROR_CAPACITY, "hand over: out of memory");
	}
	log_warn("%s", error_message(&err));
	control_answer_error(peer, stream, &err);
}

/* ---- taking ----------------------------------------------------------------------------------- */

struct handover_target {
	struct control *control;
	const char *socket_path;
};

static int take_control(void *context, int fd, const struct unix_socket_identity *identity,
	struct error *err)
{
	struct handover_target *target = context;
	return listener_adopt_unix(&target->control->listener, target->control->loop, fd,
		target->socket_path, identity, control_peer_connected, target->control, err);
}

static int take_sandbox(void *context, struct told_sandbox *told, struct error *err)
{
	struct control *c = ((struct handover_target *)context)->control;
	struct tunnel_view view;
	for (struct served *s = c->served; s; s = s->next) {
		tunnel_look(s->tunnel, &view);
		if (!strcmp(view.sandbox, told->head->sandbox))
			return error_set(err, ERROR_INVALID, "hand-over: sandbox %s comes twice",
				view.sandbox);
	}
	struct served *s = calloc(1, sizeof(*s));
	if (!s)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	s->tunnel = tunnel_restore(c->loop, told, c->grace_ns, err);
	if (!s->tunnel) {
		free(s);
		return -1;
	}
	s->next = c->served;
	c->served = s;
	return 0;
}

int control_take_over(struct control *c, const char *socket_path, struct error *err)
{
	struct handover_target target = {c, socket_path};
	const struct handover_taking taking = {
		.socket_path = socket_path,
		.control = take_control,
		.sandbox = take_sandbox,
		.context = &target,
	};
	int taken = handover_take(&taking, err);
	if (taken <= 0) {
		let_go(c);
		c->handed_over = false;
		return taken;
	}
	listener_claim(&c->listener);
	for (struct served *s = c->served; s; s = s->next)
		tunnel_serve(s->tunnel);
	return 1;
}
