/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.h - a ttrpc server for control planes
 *
 * One thread (libevent) accepts, reads and writes frames; every call runs on a thread of its own,
 * as straight-line code that may block. Replies may leave in any order. When the connection closes,
 * the calls of it are cancelled (call->bound.cancel fires); what a handler must finish all the same
 * it does with a bound of its own. A reply to a connection that is gone is dropped.
 *
 * Spec points kept: stream ids need not increase (an even one is refused, one in use too), frames
 * over 4 MiB are discarded and answered with code 8, unknown services and methods with 12, any
 * number of calls of one connection run at once. A negative timeout has passed before the call
 * began.
 *
 * Memory is bounded: a connection whose running calls hold more than 16 MiB of requests, or that
 * does not read its replies (8 MiB waiting), is not read from until that has changed.
 */
#ifndef PEERPOD_TTRPC_SERVER_H
#define PEERPOD_TTRPC_SERVER_H

#include "base/bound.h"
#include "base/buf.h"
#include "ttrpc/frame.h"

struct ttrpc_server;
struct ttrpc_stream_call; /* the streaming half of a call; private */

struct ttrpc_call {
	const char *service, *method;
	struct ttrpc_bytes payload; /* of the request; valid until the handler returns */
	struct bound bound;         /* the caller's timeout; cancelled when the connection closes */
	struct buf reply;           /* the handler puts the payload of the response here */
	uint64_t connection;        /* number of the connection, unique in the server's life */
	struct ttrpc_stream_call *stream; /* NULL for a unary call */
};

/*
 * Runs on a thread of its own (256 KiB of stack), also when the connection has closed or the
 * caller's time has passed meanwhile: a handler that need not run then looks at call->bound. 0: the
 * response is call->reply. -1: the response is a status made from err (err->status if not 0, else
 * from err->kind; err's message verbatim).
 */
typedef int ttrpc_handler(void *context, struct ttrpc_call *call, struct error *err);

struct ttrpc_method {
	const char *name;
	ttrpc_handler *handle;
	bool server_streams; /* sends messages with ttrpc_call_send: the stream ends without a response */
};

struct ttrpc_service {
	const char *name; /* "hypervisor.Hypervisor" */
	const struct ttrpc_method *methods;
	size_t count;
	void *context;
};

struct ttrpc_server_options {
	size_t max_connections; /* 0: 256; more are closed at once, with a log line */
	size_t max_calls;       /* at once, all connections; 0: 1024; more get code 8 */
};

/*
 * Serves on listen_fd (owned by the server from now on, also on failure). services is kept, not
 * copied. NULL on failure.
 */
struct ttrpc_server *ttrpc_server_start(int listen_fd, const struct ttrpc_service *services,
	size_t count, const struct ttrpc_server_options *options, struct error *err);

/*
 * Stops accepting, cancels what runs, waits for the handlers to return, closes and frees. Not to be
 * called by a handler.
 */
void ttrpc_server_stop(struct ttrpc_server *server);

/*
 * In a streaming handler: the next message of the client (what came with the request itself is
 * call->payload). Appends. 1: got one, 0: the client sent its last, -1.
 */
int ttrpc_call_receive(struct ttrpc_call *call, struct buf *message, struct error *err);
/* In a streaming handler: sends one message. Blocks while the peer does not read. */
int ttrpc_call_send(struct ttrpc_call *call, const void *message, size_t len, struct error *err);

/*
 * A listening Unix socket of mode 0600 at path; its folder must exist. A stale socket is replaced
 * only when nobody answers on it: one that a live process owns, or anything else at path, is
 * ERROR_EXISTS. *identity (may be NULL) receives device and inode, for unix_socket_remove.
 */
struct unix_socket_identity {
	uint64_t device, inode;
	uint64_t made_ns; /* its modification time: inode numbers are used again */
};
int unix_socket_listen(const char *path, struct unix_socket_identity *identity, struct error *err);

/*
 * Unlinks path only if it still is the socket of this identity: never one that a newer process
 * made.
 */
void unix_socket_remove(const char *path, const struct unix_socket_identity *identity);

#endif
