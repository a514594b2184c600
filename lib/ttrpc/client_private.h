/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_private.h - what client.c (the connection) and client_call.c (calls, streams) share
 */
#ifndef PEERPOD_TTRPC_CLIENT_PRIVATE_H
#define PEERPOD_TTRPC_CLIENT_PRIVATE_H

#include "ttrpc/client.h"
#include "ttrpc/inbox.h"

/* A call that waits for frames of its stream. */
struct pending {
	struct pending *next;
	uint32_t stream;
	struct inbox inbox;
};

struct pending *client_pending_new(struct ttrpc_client *client, struct error *err);

/*
 * Gives the frame (whose header says stream 0) the next stream id and sends it; from then on what
 * the peer sends for it arrives in pending's inbox.
 */
int client_start(struct ttrpc_client *client, struct pending *pending, struct buf *frame,
	const struct bound *bound, const char *what, struct error *err);

/* Sends one more frame of a stream. */
int client_send(struct ttrpc_client *client, const struct buf *frame, const struct bound *bound,
	const char *what, struct error *err);

/* The call is over: later frames of its stream are dropped. */
void client_finish(struct ttrpc_client *client, struct pending *pending);

/* The reader may go on: somebody has read from a full inbox. */
void client_unstall(struct ttrpc_client *client);

struct ttrpc_client *client_ref(struct ttrpc_client *client);
void client_unref(struct ttrpc_client *client);

/* ERROR_RETRY, "ttrpc: closed". Returns -1. */
int client_closed(struct error *err);

#endif
