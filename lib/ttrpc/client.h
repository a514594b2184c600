/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - a blocking ttrpc client, safe to share between threads
 *
 * One reader thread per connection hands answers to the callers waiting for them. Late answers of
 * calls that timed out are dropped. When the connection closes every call fails with ERROR_RETRY,
 * message "ttrpc: closed"; there is no reconnecting in here.
 */
#ifndef PEERPOD_TTRPC_CLIENT_H
#define PEERPOD_TTRPC_CLIENT_H

#include <protobuf-c/protobuf-c.h>
#include "base/bound.h"
#include "base/buf.h"
#include "ttrpc/frame.h"

struct ttrpc_client;

/* Takes fd over (also on failure): a connected stream socket. */
struct ttrpc_client *ttrpc_client_new(int fd, struct error *err);

/* Connects to a Unix socket. */
struct ttrpc_client *ttrpc_client_connect(const char *path, const struct bound *bound,
	struct error *err);

/* Closes; callers that wait fail. */
void ttrpc_client_free(struct ttrpc_client *client);
DEFINE_CLEANUP(struct ttrpc_client, ttrpc_client_free)

/* false once the connection is known to be closed. */
bool ttrpc_client_alive(struct ttrpc_client *client);

/*
 * One unary call. The payload of the answer is appended to reply (may be NULL). bound's deadline
 * travels as timeout_nano. A status of the peer: -1, err->status is its code, err->message its
 * message verbatim, err->kind what the code maps to.
 */
int ttrpc_client_call(struct ttrpc_client *client, const char *service, const char *method,
	const void *payload, size_t len, struct buf *reply, const struct bound *bound,
	struct error *err);

/* The same with protobuf-c messages: packs request; unpacks into a new message of this type. */
ProtobufCMessage *ttrpc_client_call_message(struct ttrpc_client *client, const char *service,
	const char *method, const ProtobufCMessage *request,
	const ProtobufCMessageDescriptor *reply_type, const struct bound *bound, struct error *err);

/* Streaming calls. */
struct ttrpc_stream;
struct ttrpc_stream *ttrpc_stream_open(struct ttrpc_client *client, const char *service,
	const char *method, const void *payload, size_t len, bool client_sends,
	const struct bound *bound, struct error *err);
int ttrpc_stream_send(struct ttrpc_stream *stream, const void *message, size_t len,
	struct error *err);
int ttrpc_stream_close_send(struct ttrpc_stream *stream, struct error *err);
/* 1: a message, 0: the stream ended well, -1: a status or the connection failed. */
int ttrpc_stream_receive(struct ttrpc_stream *stream, struct buf *message,
	const struct bound *bound, struct error *err);
void ttrpc_stream_free(struct ttrpc_stream *stream);
DEFINE_CLEANUP(struct ttrpc_stream, ttrpc_stream_free)

#endif
