/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control_private.h - shared by control.c (connections and calls), control_open.c (what an Open asks) and
 * control_handover.c (one process takes the place of another)
 */
#ifndef PEERPOD_VSOCK_CONTROL_PRIVATE_H
#define PEERPOD_VSOCK_CONTROL_PRIVATE_H

#include <sys/types.h>

#include "base/file.h"
#include "proto/proxy.pb-c.h"
#include "vsock-proxy/control.h"
#include "vsock-proxy/listen.h"
#include "vsock-proxy/port.h"
#include "vsock-proxy/tunnel.h"

struct pending;

/* A connection to the control socket. */
struct peer {
	struct control *control;
	struct port port;
	struct peer *next;
	struct pending *pending;
	uid_t user;
	struct deferred grave;
	struct deferred handover; /* it has asked for everything */
	uint32_t handover_stream;
	char *successor; /* its version; owned */
};

/* One sandbox. */
struct served {
	struct tunnel *tunnel;
	struct served *next;
};

struct control {
	struct loop *loop;
	struct listener listener;
	struct peer *peers;
	size_t peer_count;
	struct served *served;
	uint64_t grace_ns;
	char program[FILE_IDENTITY_SIZE]; /* the file we were started from */
	bool end_when_idle;
	bool handed_over;
	void (*ended)(void *context); /* handed over, or idle and to end */
	void *ended_context;
};

/* ---- control.c -------------------------------------------------------------------------------------- */

void control_answer_error(struct peer *peer, uint32_t stream, const struct error *err);
void control_peer_close(struct peer *peer);
/* Accepts a connection. */
listener_accept control_peer_connected;

/* ---- control_handover.c ------------------------------------------------------------------------------- */

void control_call_handover(struct peer *peer, uint32_t stream, const ProtobufCMessage *message);
/* 1: everything is here, and the socket's listener too; 0: nobody serves; -1: who serves keeps it. */
int control_take_over(struct control *control, const char *socket_path, struct error *err);

/* ---- control_open.c --------------------------------------------------------------------------------- */

/*
 * Checks the request and makes settings of it; strings stay the request's, settings->tls is a new
 * reference. ERROR_INVALID names the field.
 */
int open_settings(const Agentproxy__OpenRequest *request, struct tunnel_settings *settings,
	struct error *err);
/* The checks of its fields one by one. */
int open_check_sandbox(const char *sandbox, struct error *err);
int open_check_socket_path(const char *path, struct error *err);
/* Rules that are not named do not apply; none named: all do. */
int open_find_rules(char *const *names, size_t count, uint64_t *disabled, struct error *err);

#endif
