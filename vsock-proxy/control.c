/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.c - see control.h
 *
 * Calls are answered at once, except Open, which is answered when its tunnel is up or cannot be. The
 * adaptor may go away meanwhile: the tunnel is opened all the same, and the next adaptor's Open of the
 * same sandbox finds it.
 */
#include "vsock-proxy/control_private.h"

#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bound.h"
#include "base/fault.h"
#include "base/file.h"
#include "ttrpc/message.h"

/* gcc 12's analyzer loses sight of what hangs on a list and calls it leaked; LeakSanitizer does not. */
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Adaptor, its predecessor on the way out, peerpodctl, a few more. */
#define PEERS_MAX 64

/* An Open that waits. */
struct pending {
	struct peer *peer; /* NULL: gone */
	struct pending *next;
	struct opener *opener;
	uint32_t stream;
};

/* ---- answers ---------------------------------------------------------------------------------- */

static void answer(struct peer *peer, uint32_t stream, const struct ttrpc_response *response)
{
	if (port_respond(&peer->port, stream, response) < 0) {
		cleanup_error why = ERROR_INIT;
		error_set(&why, ERROR_INTERNAL, "out of memory");
		port_break(&peer->port, &why);
	}
}

static void answer_message(struct peer *peer, uint32_t stream, const ProtobufCMessage *message)
{
	cleanup(buf_free) struct buf payload = BUF_INIT;
	cleanup_error err = ERROR_INIT;
	message_pack(message, &payload, &err);
	answer(peer, stream, &(struct ttrpc_response){.payload = {payload.data, payload.len}});
}

void control_answer_error(struct peer *peer, uint32_t stream, const struct error *err)
{
	const char *text = error_message(err);
	answer(peer, stream,
		&(struct ttrpc_response){
			.code = err->status ? err->status : (int32_t)ttrpc_code_of(err->kind),
			.message = {(const uint8_t *)text, strlen(text)},
		});
}

static void answer_code(struct peer *peer, uint32_t stream, int32_t code, const char *text)
{
	answer(peer, stream,
		&(struct ttrpc_response){.code = code,
			.message = {(const uint8_t *)text, strlen(text)}});
}

/* ---- sandboxes -------------------------------------------------------------------------------- */

static struct served **find(struct control *c, const char *sandbox)
{
	struct tunnel_view view;
	struct served **link = &c->served;
	for (; *link; link = &(*link)->next) {
		tunnel_look((*link)->tunnel, &view);
		if (!strcmp(view.sandbox, sandbox))
			break;
	}
	return link;
}

static void drop(struct control *c, struct served **link)
{
	struct served *s = *link;
	*link = s->next;
	struct tunnel *tunnel = s->tunnel;
	free(s);
	tunnel_close(tunnel);
	if (c->end_when_idle && !c->served)
		c->ended(c->ended_context);
}

/* ---- Open ------------------------------------------------------------------------------------- */

static void answer_open(struct peer *peer, uint32_t stream, const struct tunnel_view *view)
{
	Agentproxy__OpenResponse response;
	agentproxy__open_response__init(&response);
	response.resumable = view->resumable;
	response.underlay_mtu = view->underlay_mtu;
	answer_message(peer, stream, &response.base);
}

static void pending_end(struct pending *p)
{
	for (struct pending **link = &p->peer->pending; *link; link = &(*link)->next) {
		if (*link == p) {
			*link = p->next;
			break;
		}
	}
	free(p);
}

static void opened(void *context, struct tunnel *tunnel, const struct error *err)
{
	struct pending *p = context;
	struct peer *peer = p->peer;
	struct control *c = peer->control;
	uint32_t stream = p->stream;
	pending_end(p);
	fault_point("proxy-opened");
	struct tunnel_view view;
	tunnel_look(tunnel, &view);
	if (!err) {
		answer_open(peer, stream, &view);
		return;
	}
	control_answer_error(peer, stream, err);
	log_error_ctx(view.log, "open: %s", error_message(err));
	/* A tunnel that never was up is of no use to anybody; one that serves a pod is kept. */
	if (view.ever_up || err->kind == ERROR_CANCELED)
		return;
	struct served **link = find(c, view.sandbox);
	if (*link && (*link)->tunnel == tunnel)
		drop(c, link);
}

static struct tunnel *open_tunnel(struct control *c, const struct tunnel_settings *settings,
	struct error *err)
{
	struct served **link = find(c, settings->sandbox);
	if (*link) {
		struct tunnel *there = (*link)->tunnel;
		struct tunnel_view view;
		tunnel_look(there, &view);
		if (strcmp(view.socket_path, settings->socket_path) != 0) {
			error_set(err, ERROR_EXISTS, "open: sandbox %s is served on %s already",
				settings->sandbox, view.socket_path);
			return NULL;
		}
		if (!tunnel_same(there, settings) && tunnel_redirect(there, settings, err) < 0)
			return NULL;
		return there;
	}
	struct served *s = calloc(1, sizeof(*s));
	if (!s) {
		error_set(err, ERROR_INTERNAL, "out of memory");
		return NULL;
	}
	s->tunnel = tunnel_new(c->loop, settings, err);
	if (!s->tunnel) {
		free(s);
		error_prefix(err, "open sandbox %s", settings->sandbox);
		return NULL;
	}
	s->next = c->served;
	c->served = s;
	return s->tunnel;
}

static void wait_for(struct peer *peer, uint32_t stream, struct tunnel *tunnel, uint64_t timeout_ns)
{
	struct pending *p = calloc(1, sizeof(*p));
	if (p) {
		*p = (struct pending){.peer = peer, .next = peer->pending, .stream = stream};
		p->opener = tunnel_wait(tunnel, timeout_ns, opened, p);
	}
	if (!p || !p->opener) {
		free(p);
		answer_code(peer, stream, TTRPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	peer->pending = p;
}

static void call_open(struct peer *peer, uint32_t stream, const ProtobufCMessage *message)
{
	const Agentproxy__OpenRequest *request = (const Agentproxy__OpenRequest *)message;
	log_scope(((struct log_context){request->sandbox, request->pod, request->pod_namespace}));
	cleanup_error err = ERROR_INIT;
	struct tunnel_settings settings = {0};
	struct tunnel *tunnel = NULL;
	if (open_settings(request, &settings, &err) == 0) {
		settings.grace_ns = peer->control->grace_ns;
		tunnel = open_tunnel(peer->control, &settings, &err);
	}
	tls_client_free(settings.tls);
	if (!tunnel) {
		log_error("%s", error_message(&err));
		control_answer_error(peer, stream, &err);
		return;
	}
	struct tunnel_view view;
	tunnel_look(tunnel, &view);
	if (!strcmp(view.state, "up") || request->timeout_ns == 0)
		answer_open(peer, stream, &view);
	else
		wait_for(peer, stream, tunnel, request->timeout_ns);
}

/* ---- Close, List, Quit ------------------------------------------------------------------------ */

static void call_close(struct peer *peer, uint32_t stream, const ProtobufCMessage *message)
{
	const Agentproxy__CloseRequest *request = (const Agentproxy__CloseRequest *)message;
	struct served **link = find(peer->control, request->sandbox);
	if (*link) {
		struct tunnel_view view;
		tunnel_look((*link)->tunnel, &view);
		log_info_ctx(view.log, "closing");
		drop(peer->control, link);
	}
	Agentproxy__CloseResponse response;
	agentproxy__close_response__init(&response);
	answer_message(peer, stream, &response.base);
}

static void call_list(struct peer *peer, uint32_t stream, const ProtobufCMessage *message)
{
	(void)message;
	size_t count = control_serving(peer->control), i = 0;
	cleanup(free_ptr) Agentproxy__SandboxState *states = calloc(count + 1, sizeof(*states));
	cleanup(free_ptr) Agentproxy__SandboxState **list = calloc(count + 1, sizeof(void *));
	if (!states || !list) {
		answer_code(peer, stream, TTRPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	for (struct served *s = peer->control->served; s; s = s->next, i++) {
		struct tunnel_view view;
		tunnel_look(s->tunnel, &view);
		agentproxy__sandbox_state__init(&states[i]);
		/* Packing only reads them. */
		states[i].sandbox = (char *)view.sandbox;
		states[i].state = (char *)view.state;
		states[i].address = (char *)view.address;
		states[i].last_error = (char *)view.last_error;
		states[i].shim_connections = view.shim_connections;
		states[i].connected_ns_ago = view.connected_ns_ago;
		states[i].calls = view.calls;
		states[i].reconnects = view.reconnects;
		list[i] = &states[i];
	}
	Agentproxy__ListResponse response;
	agentproxy__list_response__init(&response);
	response.sandboxes = list;
	response.n_sandboxes = count;
	response.version = (char *)PEERPOD_VERSION;
	response.program = peer->control->program;
	answer_message(peer, stream, &response.base);
}

static void call_quit(struct peer *peer, uint32_t stream, const ProtobufCMessage *message)
{
	(void)message;
	Agentproxy__QuitResponse response;
	agentproxy__quit_response__init(&response);
	response.serving = (uint32_t)control_serving(peer->control);
	answer_message(peer, stream, &response.base);
	if (response.serving == 0)
		loop_stop(peer->control->loop);
}

static const struct {
	const char *name;
	const ProtobufCMessageDescriptor *request;
	void (*call)(struct peer *peer, uint32_t stream, const ProtobufCMessage *message);
} methods[] = {
	{"Open", &agentproxy__open_request__descriptor, call_open},
	{"Close", &agentproxy__close_request__descriptor, call_close},
	{"List", &agentproxy__list_request__descriptor, call_list},
	{"Quit", &agentproxy__quit_request__descriptor, call_quit},
	{"HandOver", &agentproxy__hand_over_request__descriptor, control_call_handover},
};

/* ---- connections ------------------------------------------------------------------------------ */

static void peer_call(struct peer *peer, uint32_t stream, const struct ttrpc_request *request)
{
	if (!ttrpc_bytes_equal(request->service, "peerpod.AgentProxy")) {
		answer_code(peer, stream, TTRPC_UNIMPLEMENTED, "unknown service");
		return;
	}
	for (size_t i = 0; i < array_size(methods); i++) {
		if (!ttrpc_bytes_equal(request->method, methods[i].name))
			continue;
		cleanup_error err = ERROR_INIT;
		ProtobufCMessage *message = message_unpack(methods[i].request,
			request->payload.data, request->payload.len, &err);
		if (!message) {
			control_answer_error(peer, stream, &err);
			return;
		}
		methods[i].call(peer, stream, message);
		message_free(message);
		return;
	}
	answer_code(peer, stream, TTRPC_UNIMPLEMENTED, "unknown method");
}

static void peer_frame(struct port *port, uint8_t *frame, size_t len)
{
	struct peer *peer = port->owner;
	struct ttrpc_header header;
	struct ttrpc_request request;
	cleanup_error err = ERROR_INIT;
	ttrpc_header_read(frame, &header);
	if (header.type != TTRPC_REQUEST)
		return;
	if (ttrpc_request_read(frame + TTRPC_HEADER_SIZE, header.length, &request, &err) < 0)
		control_answer_error(peer, header.stream, &err);
	else
		peer_call(peer, header.stream, &request);
	/* It may have held a private key. */
	explicit_bzero(frame, len);
}

static void peer_oversized(struct port *port, const struct ttrpc_header *header)
{
	if (header->type == TTRPC_REQUEST)
		answer_code(port->owner, header->stream, TTRPC_RESOURCE_EXHAUSTED,
			"message is too large");
}

static void free_peer(struct deferred *self)
{
	struct peer *peer = container_of(self, struct peer, grave);
	free(peer->successor);
	free(peer);
}

void control_peer_close(struct peer *peer)
{
	struct control *c = peer->control;
	for (struct peer **link = &c->peers; *link; link = &(*link)->next) {
		if (*link == peer) {
			*link = peer->next;
			c->peer_count--;
			break;
		}
	}
	while (peer->pending) {
		opener_cancel(peer->pending->opener);
		pending_end(peer->pending);
	}
	port_close(&peer->port);
	loop_bury(c->loop, &peer->grave);
}

static void peer_lost(struct port *port, const struct error *why)
{
	(void)why;
	control_peer_close(port->owner);
}

static void peer_drained(struct port *port)
{
	(void)port;
}

static const struct port_ops peer_port_ops = {
	.frame = peer_frame,
	.oversized = peer_oversized,
	.lost = peer_lost,
	.drained = peer_drained,
};

static bool may_speak(int fd, uid_t *user)
{
	struct ucred who;
	socklen_t len = sizeof(who);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
		return false;
	*user = who.uid;
	if (who.uid == 0 || who.uid == geteuid())
		return true;
	log_warn("control connection of user %u refused: only root may speak here", who.uid);
	return false;
}

void control_peer_connected(void *context, int fd)
{
	struct control *c = context;
	struct peer *peer = NULL;
	uid_t user = 0;
	if (c->peer_count >= PEERS_MAX)
		log_warn("control connection refused: there are %d already", PEERS_MAX);
	else if (may_speak(fd, &user))
		peer = calloc(1, sizeof(*peer));
	struct conn *conn = peer ? conn_new_fd(c->loop, fd) : NULL;
	if (!conn) {
		if (!peer)
			close(fd);
		free(peer);
		return;
	}
	peer->control = c;
	peer->user = user;
	peer->grave.run = free_peer;
	peer->next = c->peers;
	c->peers = peer;
	c->peer_count++;
	port_init(&peer->port, c->loop, &peer_port_ops, peer);
	port_attach(&peer->port, conn, false);
}

/*
 * Takes over from who serves already, or listens. Each may find that the other would have been right: somebody begins or
 * ends meanwhile.
 */
static int begin(struct control *c, const char *socket_path, struct error *err)
{
	for (int i = 0;; i++) {
		int taken = control_take_over(c, socket_path, err);
		if (taken)
			return taken < 0 ? -1 : 0;
		error_clear(err);
		if (listener_open_unix(&c->listener, c->loop, socket_path, control_peer_connected,
			    c, err) == 0)
			return 0;
		if (i == 2 || err->kind != ERROR_EXISTS)
			return -1;
		error_clear(err);
	}
}

struct control *control_new(struct loop *loop, const struct control_settings *settings,
	struct error *err)
{
	struct control *c = calloc(1, sizeof(*c));
	if (!c) {
		error_set(err, ERROR_INTERNAL, "out of memory");
		return NULL;
	}
	c->loop = loop;
	c->grace_ns = settings->grace_ns;
	file_identity("/proc/self/exe", c->program, NULL); /* without /proc: empty */
	c->ended = settings->ended;
	c->ended_context = settings->context;
	if (begin(c, settings->socket_path, err) < 0) {
		loop_settle(loop);
		free(c);
		return NULL;
	}
	return c;
}

size_t control_serving(const struct control *c)
{
	size_t count = 0;
	for (const struct served *s = c->served; s; s = s->next)
		count++;
	return count;
}

bool control_handed_over(const struct control *c)
{
	return c->handed_over;
}

void control_end_when_idle(struct control *c)
{
	c->end_when_idle = true;
}

void control_free(struct control *c)
{
	listener_close(&c->listener);
	while (c->peers)
		control_peer_close(c->peers);
	c->end_when_idle = false;
	while (c->served)
		drop(c, &c->served);
	loop_settle(c->loop);
	free(c);
}
