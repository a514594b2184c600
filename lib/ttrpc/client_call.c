/* SPDX-License-Identifier: Apache-2.0 */
/* client_call.c - unary calls and streams on a client's connection; see client.h */
#include "ttrpc/client_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ttrpc/message.h"

/* "grpc.Health/Check", for messages. */
struct call_name {
	char text[160];
};

static struct call_name name_of(const char *service, const char *method)
{
	struct call_name name;
	snprintf(name.text, sizeof(name.text), "%s/%s", service, method);
	return name;
}

static int build_request(struct buf *frame, uint8_t flags, const char *service, const char *method,
	const void *payload, size_t len, const struct bound *bound, struct error *err)
{
	uint64_t left = bound_left_ns(bound);
	struct ttrpc_request request = {
		.service = {(const uint8_t *)service, strlen(service)},
		.method = {(const uint8_t *)method, strlen(method)},
		.payload = {payload, len},
		.timeout_ns = left > INT64_MAX ? 0 : (int64_t)left,
	};
	return ttrpc_request_write(frame, 0, flags, &request, err);
}

/* The verdict of a response frame; its payload is appended to reply (may be NULL). */
static int finish_response(const struct inbox_frame *frame, struct buf *reply, size_t *payload_len,
	struct error *err)
{
	if (frame->oversized)
		return ttrpc_too_large(frame->header.length, err);
	struct ttrpc_response response;
	if (ttrpc_response_read(frame->data.data, frame->data.len, &response, err) < 0)
		return error_prefix(err, "unmarshal response");
	if (response.code) {
		error_set(err, ttrpc_kind_of(response.code), "%.*s", (int)response.message.len,
			response.message.len ? (const char *)response.message.data : "");
		if (err)
			err->status = response.code;
		return -1;
	}
	*payload_len = response.payload.len;
	if (!reply)
		return 0;
	buf_append(reply, response.payload.data, response.payload.len);
	return reply->failed ? error_set(err, ERROR_CAPACITY, "no memory for a reply") : 0;
}

static int await_response(struct pending *call, struct buf *reply, const struct bound *bound,
	const char *what, struct error *err)
{
	for (;;) {
		cleanup(inbox_frame_free_ptr) struct inbox_frame *frame = NULL;
		int got = inbox_get(&call->inbox, bound, what, &frame, err);
		if (got < 0)
			return -1;
		if (got == 0)
			return client_closed(err);
		size_t ignored;
		if (frame->header.type == TTRPC_RESPONSE)
			return finish_response(frame, reply, &ignored, err);
		/* Data in answer to a unary call means nothing. */
	}
}

static int call_unary(struct ttrpc_client *client, const char *service, const char *method,
	const void *payload, size_t len, struct buf *reply, const struct bound *bound,
	struct error *err)
{
	struct call_name name = name_of(service, method);
	cleanup(buf_free) struct buf frame = BUF_INIT;
	if (bound_check(bound, name.text, err) < 0 ||
		build_request(&frame, 0, service, method, payload, len, bound, err) < 0)
		return -1;
	struct pending *call = client_pending_new(client, err);
	if (!call)
		return -1;
	int result = client_start(client, call, &frame, bound, name.text, err);
	if (result == 0)
		result = await_response(call, reply, bound, name.text, err);
	client_finish(client, call);
	return result;
}

int ttrpc_client_call(struct ttrpc_client *client, const char *service, const char *method,
	const void *payload, size_t len, struct buf *reply, const struct bound *bound,
	struct error *err)
{
	struct bound none = BOUND_NONE;
	client_ref(client);
	int result = call_unary(client, service, method, payload, len, reply, bound ? bound : &none,
		err);
	client_unref(client);
	return result;
}

ProtobufCMessage *ttrpc_client_call_message(struct ttrpc_client *client, const char *service,
	const char *method, const ProtobufCMessage *request,
	const ProtobufCMessageDescriptor *reply_type, const struct bound *bound, struct error *err)
{
	cleanup(buf_free) struct buf payload = BUF_INIT, reply = BUF_INIT;
	if (message_pack(request, &payload, err) < 0 ||
		ttrpc_client_call(client, service, method, payload.data, payload.len, &reply, bound,
			err) < 0)
		return NULL;
	return message_unpack(reply_type, reply.data, reply.len, err);
}

/* ---- streams --------------------------------------------------------------------------------- */

struct ttrpc_stream {
	struct ttrpc_client *client;
	struct pending *call;
	struct call_name name;
	struct bound bound;
	bool sending; /* this side may send */
	bool ended;   /* the peer has sent its last */
};

struct ttrpc_stream *ttrpc_stream_open(struct ttrpc_client *client, const char *service,
	const char *method, const void *payload, size_t len, bool client_sends,
	const struct bound *bound, struct error *err)
{
	struct bound none = BOUND_NONE;
	if (!bound)
		bound = &none;
	uint8_t flags = client_sends ? TTRPC_FLAG_REMOTE_OPEN : TTRPC_FLAG_REMOTE_CLOSED;
	struct call_name name = name_of(service, method);
	cleanup(buf_free) struct buf frame = BUF_INIT;
	if (bound_check(bound, name.text, err) < 0 ||
		build_request(&frame, flags, service, method, payload, len, bound, err) < 0)
		return NULL;
	struct ttrpc_stream *stream = calloc(1, sizeof(*stream));
	if (!stream) {
		error_set_errno(err, ENOMEM, "%s", name.text);
		return NULL;
	}
	*stream = (struct ttrpc_stream){
		.client = client_ref(client),
		.call = client_pending_new(client, err),
		.name = name,
		.bound = *bound,
		.sending = client_sends,
	};
	if (!stream->call ||
		client_start(client, stream->call, &frame, bound, name.text, err) < 0) {
		ttrpc_stream_free(stream);
		return NULL;
	}
	return stream;
}

static int send_frame(struct ttrpc_stream *stream, uint8_t flags, const void *message, size_t len,
	struct error *err)
{
	if (!stream->sending)
		return error_set(err, ERROR_INVALID, "%s: this side of the stream is closed",
			stream->name.text);
	cleanup(buf_free) struct buf frame = BUF_INIT;
	if (ttrpc_data_write(&frame, stream->call->stream, flags, message, len, err) < 0)
		return -1;
	return client_send(stream->client, &frame, &stream->bound, stream->name.text, err);
}

int ttrpc_stream_send(struct ttrpc_stream *stream, const void *message, size_t len,
	struct error *err)
{
	return send_frame(stream, 0, message, len, err);
}

int ttrpc_stream_close_send(struct ttrpc_stream *stream, struct error *err)
{
	int result =
		send_frame(stream, TTRPC_FLAG_REMOTE_CLOSED | TTRPC_FLAG_NO_DATA, NULL, 0, err);
	stream->sending = false;
	return result;
}

/* 1: the frame gave a message, 0: it ended the stream without one, -1 */
static int read_frame(struct ttrpc_stream *stream, const struct inbox_frame *frame,
	struct buf *message, struct error *err)
{
	if (frame->header.type == TTRPC_RESPONSE) {
		size_t len = 0;
		stream->ended = true;
		if (finish_response(frame, message, &len, err) < 0)
			return -1;
		return len > 0;
	}
	if (frame->oversized)
		return ttrpc_too_large(frame->header.length, err);
	if (frame->header.flags & TTRPC_FLAG_REMOTE_CLOSED)
		stream->ended = true;
	if (frame->header.flags & TTRPC_FLAG_NO_DATA)
		return 0;
	buf_append(message, frame->data.data, frame->data.len);
	return message->failed ? error_set(err, ERROR_CAPACITY, "no memory for a message") : 1;
}

int ttrpc_stream_receive(struct ttrpc_stream *stream, struct buf *message,
	const struct bound *bound, struct error *err)
{
	if (!bound)
		bound = &stream->bound;
	while (!stream->ended) {
		cleanup(inbox_frame_free_ptr) struct inbox_frame *frame = NULL;
		int got = inbox_get(&stream->call->inbox, bound, stream->name.text, &frame, err);
		if (got < 0)
			return -1;
		if (got == 0)
			return client_closed(err);
		client_unstall(stream->client);
		got = read_frame(stream, frame, message, err);
		if (got != 0)
			return got;
	}
	return 0;
}

void ttrpc_stream_free(struct ttrpc_stream *stream)
{
	if (stream->call)
		client_finish(stream->client, stream->call);
	client_unref(stream->client);
	free(stream);
}
