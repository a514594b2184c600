/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handover.h - how one agent-proxy takes the place of another while pods run
 *
 * The shim keeps one connection for a pod's life, so an upgrade must carry it over. The new process (the successor)
 * finds the control socket served, and asks with the call HandOver. From then on the old one does nothing else: it
 * writes down everything it has, frame by frame (lib/proto/handover.proto), and descriptors travel along
 * (SCM_RIGHTS). The TLS connections to the pod VMs are not among it: the successor dials anew and resumes
 * each session, exactly as after a break of the network.
 *
 *   old                                      successor
 *                                  HandOver ->
 *   <- Begin, Sandbox, Front, Calls ..., End
 *                                     Ready ->    has it all, listens, has not moved a byte
 *   granted, through the life line
 *                                   Started ->    from here on it serves
 *   lets go
 *
 * The life line is a pipe: the old one holds the end to write to, the successor the other. One byte in it
 * decides, and its end without a byte means that the old one is dead; so nothing that is lost or late on the socket can
 * make both serve.
 *
 *   who dies or gives up     when                     who serves
 *   successor                before Started           the old one, as if nothing had been
 *   old, canceled            before it has granted    the old one: the successor reads "canceled" and ends
 *   old, killed              before Begin             nobody: the successor begins with nothing, as after any kill
 *   old, killed              before End               the successor, with the sandboxes that came whole
 *   old, killed              after End                the successor
 */
#ifndef PEERPOD_VSOCK_HANDOVER_H
#define PEERPOD_VSOCK_HANDOVER_H

#include "proto/handover.pb-c.h"
#include "vsock-proxy/calls.h"
#include "vsock-proxy/listen.h"
#include "vsock-proxy/port.h"

/* What this program writes, and the oldest that it reads. */
#define HANDOVER_FORMAT 1u
#define HANDOVER_FORMAT_OLDEST 1u

/* Bytes of a port in one frame. */
#define HANDOVER_CHUNK ((size_t)256 * 1024)
/* Descriptors of one frame; the kernel takes 253. */
#define HANDOVER_FDS 2
/*
 * More than any process of ours has; a reader takes no memory beyond. A log holds PORT_HIGH and a frame, and
 * answers of our own besides.
 */
#define HANDOVER_SANDBOXES_MAX 4096u
#define HANDOVER_FRONTS_MAX 1024u
#define HANDOVER_CALLS_MAX 16384u
#define HANDOVER_LOG_MAX (UINT64_C(32) * 1024 * 1024)
#define HANDOVER_HELD_MAX (TTRPC_HEADER_SIZE + (uint64_t)TTRPC_DATA_MAX + LOOP_SCRATCH_SIZE)

/* The life line. */
#define HANDOVER_GRANTED 'G'
#define HANDOVER_CANCELED 'C'

/* ---- one sandbox, as it was told ---------------------------------------------------------------- */

struct told_port {
	Handover__Port *head; /* belongs to the message that it came in */
	struct buf log, held;
};

struct told_front {
	Handover__Item *item; /* owned */
	int fd;               /* owned, -1: taken */
	struct told_port port;
};

struct told_sandbox {
	Handover__Item *item;    /* owned */
	Handover__Sandbox *head; /* in item */
	int listener;            /* owned, -1: taken */
	struct told_port back;
	struct told_front *fronts;
	size_t front_count;
	Handover__Call *calls; /* copies are owned */
	size_t call_count;
};

void told_sandbox_free(struct told_sandbox *told);

/* ---- telling: port_state.c, relay_state.c, tunnel_state.c ---------------------------------------- */

/* Takes one item on its way; descriptors stay the caller's. */
struct told_sink {
	int (*put)(struct told_sink *sink, const Handover__Item *item, const int *fds, size_t count,
		struct error *err);
};

/*
 * with_connection: what was read from it and not delivered goes along. ERROR_QUOTA: it holds more than a reader
 * takes.
 */
int port_describe(const struct port *port, bool with_connection, Handover__Port *head,
	struct error *err);
/* The bytes that head promises. */
int port_tell(const struct port *port, const Handover__Port *head, struct told_sink *sink,
	struct error *err);
/* To a port that was just made, with its connection attached where it has one. Moves nothing before the loop runs. */
int port_restore(struct port *port, const struct told_port *told, struct error *err);

struct relay;
/* Fronts and calls; the back's port is the caller's. */
void relay_count(const struct relay *relay, uint32_t *fronts, uint32_t *calls);
int relay_tell(const struct relay *relay, struct told_sink *sink, struct error *err);
/* All of it; takes the descriptors of the fronts. */
int relay_restore(struct relay *relay, struct told_sandbox *told, struct error *err);

struct tunnel;
int tunnel_tell(const struct tunnel *tunnel, struct told_sink *sink, struct error *err);
/*
 * The tunnel, listening, with the connections of the shim. It does not dial before tunnel_serve, and moves nothing
 * before the loop runs. NULL on failure; tunnel_let_go undoes it.
 */
struct tunnel *tunnel_restore(struct loop *loop, struct told_sandbox *told, uint64_t grace_ns,
	struct error *err);
void tunnel_serve(struct tunnel *tunnel);
/* Forgets it: another process serves it. Its sockets live on, and the file. */
void tunnel_let_go(struct tunnel *tunnel);

/* ---- reading: handover_read.c ----------------------------------------------------------------------- */

enum handover_progress {
	HANDOVER_MORE,
	HANDOVER_BEGUN, /* reader->control, lifeline and control_file are there */
	HANDOVER_SANDBOX, /* reader->told is whole; told_sandbox_free is the caller's, before the next frame */
	HANDOVER_DONE,
};

struct handover_reader {
	bool begun, done;
	char version[64];
	int control, lifeline; /* owned until taken */
	struct unix_socket_identity control_file;
	uint32_t sandboxes, seen; /* promised, told */
	struct told_sandbox told; /* the one that is being told */
	bool telling;
	uint32_t fronts, calls; /* promised of it */
	struct told_port *port; /* that the next bytes are of; NULL: none are missing */
};

void socket_file_describe(const struct unix_socket_identity *identity, Handover__SocketFile *file);
struct unix_socket_identity socket_file_identity(const Handover__SocketFile *file);

void handover_reader_init(struct handover_reader *reader);
void handover_reader_free(struct handover_reader *reader);

/*
 * Takes one frame's data with its descriptors, which are closed or kept in any case. enum handover_progress, or -1:
 * ERROR_INVALID says what is wrong with it.
 */
int handover_read(struct handover_reader *reader, const uint8_t *data, size_t len, int *fds,
	size_t fd_count, struct error *err);

#endif
