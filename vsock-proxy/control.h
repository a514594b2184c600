/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h - the service peerpod.AgentProxy: how the adaptor says which sandboxes to serve
 *
 * Served by the loop itself; only root and the process's own user may speak to it.
 */
#ifndef PEERPOD_VSOCK_CONTROL_H
#define PEERPOD_VSOCK_CONTROL_H

#include "vsock-proxy/loop.h"

struct control;

struct control_settings {
	const char *socket_path;
	uint64_t grace_ns;
	/* Called once there is nothing left to serve: handed over, or after control_end_when_idle. */
	void (*ended)(void *context);
	void *context;
};

/*
 * Serves on the socket. Where another agent-proxy does so already, takes over from it first: its sandboxes are served
 * from here on, and not one connection of a shim breaks. Blocks for as long as that takes, some ten seconds at most.
 */
struct control *control_new(struct loop *loop, const struct control_settings *settings,
	struct error *err);

size_t control_serving(const struct control *control);
/* A successor serves: there is nothing left here. */
bool control_handed_over(const struct control *control);
/* Calls `ended` when the last sandbox was closed. */
void control_end_when_idle(struct control *control);

/* Closes all tunnels and the socket. */
void control_free(struct control *control);

#endif
