/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_call.c - one call: from its request frame to its response, and the streaming in between
 *
 * The loop decodes the envelope, finds the handler and starts it on a thread. The call is in its
 * connection's list from before it starts until just before its response leaves, so that the caller
 * may use the stream id again as soon as it has the response.
 */
#include "ttrpc/server_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

static struct running_call *find_call(struct connection *connection, uint32_t stream)
{
	struct running_call *run = connection->calls;
	while (run && run->stream_id != stream)
		run = run->next;
	return run;
}

static void free_call(struct running_call *run)
{
	if (run->call.bound.cancel)
		cancel_unref(run->call.bound.cancel);
	if (run->call.stream)
		inbox_free(&run->stream.inbox);
	buf_free(&run->call.reply);
	buf_free(&run->request);
	free(run);
}

static void unlink_call(struct running_call *run)
{
	struct connection *connection = run->connection;
	pthread_mutex_lock(&connection->lock);
	struct running_call **at = &connection->calls;
	while (*at != run)
		at = &(*at)->next;
	*at = run->next;
	size_t held = run->request.len + (run->call.stream ? run->stream.inbox.bytes : 0);
	pthread_mutex_unlock(&connection->lock);
	connection_unload(connection, held);
}

/* ---- the response ---------------------------------------------------------------------------- */

static void send_status(struct running_call *run, const struct error *err)
{
	int32_t code = err->status ? err->status : (int32_t)ttrpc_code_of(err->kind);
	connection_refuse(run->connection, run->stream_id, code ? code : TTRPC_UNKNOWN, "%s",
		error_message(err));
}

static int build_reply(struct running_call *run, struct buf *frame, struct error *err)
{
	const struct buf *reply = &run->call.reply;
	if (reply->failed)
		return error_set(err, ERROR_CAPACITY, "no memory for the reply");
	if (run->call.stream && run->method->server_streams) {
		uint8_t flags = TTRPC_FLAG_REMOTE_CLOSED;
		if (!reply->len)
			flags |= TTRPC_FLAG_NO_DATA;
		return ttrpc_data_write(frame, run->stream_id, flags, reply->data, reply->len, err);
	}
	struct ttrpc_response response = {.payload = {reply->data, reply->len}};
	return ttrpc_response_write(frame, run->stream_id, &response, err);
}

static void send_reply(struct running_call *run)
{
	cleanup_error err = ERROR_INIT;
	cleanup(buf_free) struct buf frame = BUF_INIT;
	if (build_reply(run, &frame, &err) < 0) {
		log_error("ttrpc: %s/%s: reply: %s", run->call.service, run->call.method,
			error_message(&err));
		send_status(run, &err);
	} else if (outbox_send(&run->connection->outbox, frame.data, frame.len) < 0) {
		log_debug("ttrpc: %s/%s: the connection closed before its reply", run->call.service,
			run->call.method);
	}
}

/* On a thread of its own. */
static void run_call(void *context)
{
	struct running_call *run = context;
	struct connection *connection = run->connection;
	struct ttrpc_server *server = connection->server;
	cleanup_error err = ERROR_INIT;
	int result = run->method->handle(run->context, &run->call, &err);
	unlink_call(run);
	if (result < 0)
		send_status(run, &err);
	else
		send_reply(run);
	atomic_fetch_sub(&server->calls, 1);
	free_call(run);
	connection_unref(connection);
}

/* ---- the request ----------------------------------------------------------------------------- */

static const struct ttrpc_method *find_method(const struct ttrpc_service *service,
	struct ttrpc_bytes name)
{
	for (size_t i = 0; i < service->count; i++)
		if (ttrpc_bytes_equal(name, service->methods[i].name))
			return &service->methods[i];
	return NULL;
}

static const struct ttrpc_service *find_service(const struct ttrpc_server *server,
	struct ttrpc_bytes name)
{
	for (size_t i = 0; i < server->service_count; i++)
		if (ttrpc_bytes_equal(name, server->services[i].name))
			return &server->services[i];
	return NULL;
}

static uint64_t deadline_of(int64_t timeout_ns)
{
	if (timeout_ns == 0)
		return DEADLINE_NEVER;
	return timeout_ns < 0 ? clock_ns() : deadline_in((uint64_t)timeout_ns);
}

static struct running_call *new_call(struct connection *connection, struct frame_reader *reader,
	const struct ttrpc_service *service, const struct ttrpc_method *method,
	const struct ttrpc_request *request, struct error *err)
{
	struct running_call *run = calloc(1, sizeof(*run));
	if (!run) {
		error_set_errno(err, ENOMEM, "start a call");
		return NULL;
	}
	*run = (struct running_call){
		.connection = connection,
		.method = method,
		.context = service->context,
		.stream_id = reader->header.stream,
		.call =
			{
				.service = service->name,
				.method = method->name,
				.payload = request->payload,
				.bound = {deadline_of(request->timeout_ns), cancel_new()},
				.connection = connection->number,
			},
	};
	if (!run->call.bound.cancel) {
		error_set(err, ERROR_CAPACITY, "start a call: no descriptors or memory");
		free_call(run);
		return NULL;
	}
	if (reader->header.flags & (TTRPC_FLAG_REMOTE_OPEN | TTRPC_FLAG_REMOTE_CLOSED)) {
		if (inbox_init(&run->stream.inbox, err) < 0) {
			free_call(run);
			return NULL;
		}
		run->stream.run = run;
		run->stream.received_last = !(reader->header.flags & TTRPC_FLAG_REMOTE_OPEN);
		run->call.stream = &run->stream;
	}
	/* The payload is a view into these bytes. */
	run->request = reader->data;
	reader->data = BUF_INIT;
	return run;
}

static void start_call(struct connection *connection, struct running_call *run)
{
	struct ttrpc_server *server = connection->server;
	cleanup_error err = ERROR_INIT;
	pthread_mutex_lock(&connection->lock);
	run->next = connection->calls;
	connection->calls = run;
	connection->load += run->request.len;
	pthread_mutex_unlock(&connection->lock);
	atomic_fetch_add(&connection->references, 1);
	atomic_fetch_add(&server->calls, 1);
	if (workers_run(server->workers, run_call, run, &err) == 0)
		return;
	unlink_call(run);
	connection_refuse(connection, run->stream_id, TTRPC_RESOURCE_EXHAUSTED, "%s",
		error_message(&err));
	free_call(run);
	atomic_fetch_sub(&server->calls, 1);
	connection_unref(connection);
}

static bool stream_in_use(struct connection *connection, uint32_t stream)
{
	pthread_mutex_lock(&connection->lock);
	bool used = find_call(connection, stream) != NULL;
	pthread_mutex_unlock(&connection->lock);
	return used;
}

void call_request(struct connection *connection, struct frame_reader *reader)
{
	struct ttrpc_server *server = connection->server;
	uint32_t stream = reader->header.stream;
	cleanup_error err = ERROR_INIT;
	struct ttrpc_request request;
	if (!(stream & 1)) {
		connection_refuse(connection, stream, TTRPC_INVALID_ARGUMENT,
			"StreamID must be odd for client initiated streams");
		return;
	}
	if (stream_in_use(connection, stream)) {
		connection_refuse(connection, stream, TTRPC_INVALID_ARGUMENT,
			"StreamID cannot be re-used while its call runs");
		return;
	}
	if (ttrpc_request_read(reader->data.data, reader->data.len, &request, &err) < 0) {
		connection_refuse(connection, stream, TTRPC_INVALID_ARGUMENT,
			"unmarshal request error: %s", error_message(&err));
		return;
	}
	const struct ttrpc_service *service = find_service(server, request.service);
	if (!service) {
		connection_refuse(connection, stream, TTRPC_UNIMPLEMENTED, "service %.*s",
			(int)request.service.len, (const char *)request.service.data);
		return;
	}
	const struct ttrpc_method *method = find_method(service, request.method);
	if (!method) {
		connection_refuse(connection, stream, TTRPC_UNIMPLEMENTED, "method %.*s",
			(int)request.method.len, (const char *)request.method.data);
		return;
	}
	if (atomic_load(&server->calls) >= server->options.max_calls) {
		log_warn("ttrpc: %s/%s refused: %zu calls are running", service->name, method->name,
			server->options.max_calls);
		connection_refuse(connection, stream, TTRPC_RESOURCE_EXHAUSTED,
			"too many calls at once: the limit is %zu", server->options.max_calls);
		return;
	}
	struct running_call *run = new_call(connection, reader, service, method, &request, &err);
	if (!run) {
		connection_refuse(connection, stream, TTRPC_RESOURCE_EXHAUSTED, "%s",
			error_message(&err));
		return;
	}
	start_call(connection, run);
}

/* ---- streaming ------------------------------------------------------------------------------- */

void call_data(struct connection *connection, struct frame_reader *reader)
{
	pthread_mutex_lock(&connection->lock);
	struct running_call *run = find_call(connection, reader->header.stream);
	bool known = run && run->call.stream;
	if (known) {
		connection->load += reader->data.len;
		inbox_put(&run->stream.inbox, &reader->header, reader->oversized, &reader->data);
	}
	pthread_mutex_unlock(&connection->lock);
	if (!known)
		connection_refuse(connection, reader->header.stream, TTRPC_INVALID_ARGUMENT,
			"StreamID is no longer active");
}

int ttrpc_call_receive(struct ttrpc_call *call, struct buf *message, struct error *err)
{
	struct ttrpc_stream_call *stream = call->stream;
	if (!stream)
		return error_set(err, ERROR_INVALID, "%s/%s was called without a stream",
			call->service, call->method);
	while (!stream->received_last) {
		cleanup(inbox_frame_free_ptr) struct inbox_frame *frame = NULL;
		int got = inbox_get(&stream->inbox, &call->bound, call->method, &frame, err);
		if (got < 0)
			return -1;
		if (got == 0)
			return error_set(err, ERROR_CAPACITY, "%s: no memory for a message",
				call->method);
		connection_unload(stream->run->connection, frame->data.len);
		if (frame->oversized)
			return ttrpc_too_large(frame->header.length, err);
		stream->received_last = frame->header.flags & TTRPC_FLAG_REMOTE_CLOSED;
		if (frame->header.flags & TTRPC_FLAG_NO_DATA)
			continue;
		buf_append(message, frame->data.data, frame->data.len);
		return message->failed ? error_set(err, ERROR_CAPACITY,
						 "%s: no memory for a message", call->method)
				       : 1;
	}
	return 0;
}

int ttrpc_call_send(struct ttrpc_call *call, const void *message, size_t len, struct error *err)
{
	struct ttrpc_stream_call *stream = call->stream;
	if (!stream)
		return error_set(err, ERROR_INVALID, "%s/%s was called without a stream",
			call->service, call->method);
	struct outbox *outbox = &stream->run->connection->outbox;
	cleanup(buf_free) struct buf frame = BUF_INIT;
	if (ttrpc_data_write(&frame, stream->run->stream_id, 0, message, len, err) < 0 ||
		bound_check(&call->bound, call->method, err) < 0 ||
		outbox_wait(outbox, &call->bound, call->method, err) < 0)
		return -1;
	if (outbox_send(outbox, frame.data, frame.len) < 0)
		return error_set(err, ERROR_CANCELED, "%s: the connection closed", call->method);
	return 0;
}
