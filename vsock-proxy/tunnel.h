/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel.h - agent-proxy's end of one sandbox's tunnel
 *
 * Listens on the pod's Unix socket, keeps a connection to the pod VM, and relays between them. When
 * the connection breaks, the shim's connections stay: the VM is dialled again, and with a forwarder
 * of ours nothing is lost or done twice; with another one the calls that may be repeated are, and
 * the others fail with Unavailable.
 */
#ifndef PEERPOD_VSOCK_TUNNEL_H
#define PEERPOD_VSOCK_TUNNEL_H

#include "base/log.h"
#include "base/secret.h"
#include "vsock-proxy/dial.h"
#include "vsock-proxy/listen.h"
#include "vsock-proxy/relay.h"

/* What OpenRequest says; strings are the caller's. */
struct tunnel_settings {
	const char *sandbox, *pod, *pod_namespace;
	const char *socket_path, *address;
	struct tls_client *tls; /* NULL: plain TCP */
	const char *server_name;
	uint8_t digest[32]; /* of everything that a connection to the VM depends on */
	uint64_t rules_disabled;
	uint64_t grace_ns;
};

enum tunnel_state {
	TUNNEL_DIALING, /* not up yet */
	TUNNEL_UP,
	TUNNEL_DOWN, /* was up, is being dialled again */
};

struct tunnel;

/* How opening ended: err NULL: the agent answers. Else err->message begins with the reason's name. */
typedef void tunnel_opened(void *context, struct tunnel *tunnel, const struct error *err);

/* Listens and starts dialling. NULL on failure (ERROR_EXISTS: the socket is somebody else's). */
struct tunnel *tunnel_new(struct loop *loop, const struct tunnel_settings *settings,
	struct error *err);

/* Closes everything; waiting openers are told "canceled". */
void tunnel_close(struct tunnel *tunnel);

/* Calls back once: when the agent answers, when that has become impossible, or after timeout_ns. */
struct opener;
struct opener *tunnel_wait(struct tunnel *tunnel, uint64_t timeout_ns, tunnel_opened *opened,
	void *context);
/* Nobody waits any more; not called back. */
void opener_cancel(struct opener *opener);

/* Other address or certificates: the connection is made anew. */
int tunnel_redirect(struct tunnel *tunnel, const struct tunnel_settings *settings,
	struct error *err);
bool tunnel_same(const struct tunnel *tunnel, const struct tunnel_settings *settings);

/* For List. */
struct tunnel_view {
	const struct log_context *log;
	const char *sandbox, *state, *address, *last_error, *socket_path;
	bool ever_up, resumable;
	uint32_t shim_connections, reconnects;
	uint32_t underlay_mtu; /* of the way from the VM to here; 0: not known */
	uint64_t calls, connected_ns_ago;
};
void tunnel_look(struct tunnel *tunnel, struct tunnel_view *view);

#endif
