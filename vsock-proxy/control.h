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

struct control *control_new(struct loop *loop, const char *socket_path, uint64_t grace_ns,
	struct error *err);

/* Closes all tunnels and the socket. */
void control_free(struct control *control);

#endif
