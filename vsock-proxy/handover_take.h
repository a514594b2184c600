/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handover_take.h - the successor's side of a hand-over: see handover.h
 */
#ifndef PEERPOD_VSOCK_HANDOVER_TAKE_H
#define PEERPOD_VSOCK_HANDOVER_TAKE_H

#include "vsock-proxy/handover.h"

struct handover_taking {
	const char *socket_path;
	/* The control socket; fd is the callee's. */
	int (*control)(void *context, int fd, const struct unix_socket_identity *identity,
		struct error *err);
	/* A sandbox, whose descriptors may be taken. */
	int (*sandbox)(void *context, struct told_sandbox *told, struct error *err);
	void *context;
};

/*
 * 1: everything was taken, and whoever served before does so no more: serve. 0: there is nobody to take over
 * from. -1: whoever serves goes on, or nobody knows: undo what the callbacks did without a trace. Blocks.
 */
int handover_take(const struct handover_taking *taking, struct error *err);

#endif
