/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_connection.c - the bytes and frames of one connection
 *
 * Everything here runs on the loop's thread, except where noted. A connection is closed once, on
 * end of file or on an error; its memory goes when the last call on it has returned.
 */
#include "ttrpc/server_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/utf8.h"

/* Four requests of the largest size, or any number of small ones. */
#define LOAD_FULL ((size_t)16 << 20)

/* From any thread, with any lock but the server's. */
void connection_attend(struct connection *connection)
{
	struct ttrpc_server *server = connection->server;
	pthread_mutex_lock(&server->lock);
	if (!connection->wants_attention) {
		connection->wants_attention = true;
		atomic_fetch_add(&connection->references, 1);
		connection->next_attention = server->attention;
		server->attention = connection;
		eventfd_write(server->wake_fd, 1);
	}
	pthread_mutex_unlock(&server->lock);
}

static void want_write(void *context)
{
	connection_attend(context);
}

void connection_unref(struct connection *connection)
{
	if (atomic_fetch_sub(&connection->references, 1) != 1)
		return;
	frame_reader_free(&connection->reader);
	outbox_free(&connection->outbox);
	pthread_mutex_destroy(&connection->lock);
	free(connection);
}

/* From any thread. */
void connection_refuse(struct connection *connection, uint32_t stream, int32_t code,
	const char *format, ...)
{
	char *text = NULL;
	va_list args;
	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	cleanup(free_ptr) char *message = text;
	size_t len = message ? strlen(message) : 0;
	/* A message without end cannot go out; what of it fits does. */
	if (len > TTRPC_DATA_MAX / 2) {
		len = TTRPC_DATA_MAX / 2;
		message[len] = 0;
	}
	/* A text that was cut within a character, say: Go's protobuf would refuse the whole answer. */
	if (message)
		utf8_repair(message);
	struct ttrpc_response response = {.code = code, .message = {(const uint8_t *)message, len}};
	cleanup(buf_free) struct buf frame = BUF_INIT;
	if (ttrpc_response_write(&frame, stream, &response, NULL) == 0)
		outbox_send(&connection->outbox, frame.data, frame.len);
}

static void take_frame(struct connection *connection)
{
	struct frame_reader *reader = &connection->reader;
	switch (reader->header.type) {
	case TTRPC_REQUEST:
		if (reader->oversized)
			connection_refuse(connection, reader->header.stream,
				TTRPC_RESOURCE_EXHAUSTED,
				"message length %u exceed maximum message size of %u",
				reader->header.length, TTRPC_DATA_MAX);
		else
			call_request(connection, reader);
		break;
	case TTRPC_DATA:
		call_data(connection, reader);
		break;
	default:
		/*
		 * Responses make no sense here, other types are of a future: both are passed over.
		 */
		break;
	}
}

/* From any thread. */
void connection_unload(struct connection *connection, size_t bytes)
{
	pthread_mutex_lock(&connection->lock);
	connection->load -= bytes;
	bool resume = connection->paused && connection->load < LOAD_FULL;
	pthread_mutex_unlock(&connection->lock);
	if (resume)
		connection_attend(connection);
}

/* Decides whether to read on, and lets those who make room know that they have to say so. */
static bool pause_reading(struct connection *connection)
{
	pthread_mutex_lock(&connection->lock);
	bool paused = connection->load >= LOAD_FULL || atomic_load(&connection->outbox.full) ||
		      atomic_load(&connection->server->phase) != SERVER_RUNNING;
	connection->paused = paused;
	pthread_mutex_unlock(&connection->lock);
	return paused;
}

/* Takes the frames that are there. false: the connection was closed. */
static bool take_frames(struct connection *connection)
{
	for (;;) {
		if (pause_reading(connection)) {
			event_del(connection->read_event);
			return true;
		}
		int more = frame_reader_next(&connection->reader);
		if (more < 0) {
			log_warn("ttrpc: connection %" PRIu64 " closed: no memory for a frame",
				connection->number);
			connection_close(connection);
			return false;
		}
		if (!more)
			return true;
		take_frame(connection);
	}
}

static void on_readable(evutil_socket_t fd, short events, void *context)
{
	struct connection *connection = context;
	(void)events;
	size_t len;
	uint8_t *space = frame_reader_space(&connection->reader, &len);
	ssize_t n = space ? recv(fd, space, len, MSG_DONTWAIT) : -1;
	if (space && n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return;
	if (n <= 0) {
		connection_close(connection);
		return;
	}
	frame_reader_added(&connection->reader, (size_t)n);
	take_frames(connection);
}

static void on_writable(evutil_socket_t fd, short events, void *context)
{
	(void)fd;
	(void)events;
	connection_look(context);
}

void connection_look(struct connection *connection)
{
	if (connection->fd < 0)
		return;
	int flushed = outbox_flush(&connection->outbox);
	if (flushed < 0) {
		connection_close(connection);
		return;
	}
	if (flushed)
		event_del(connection->write_event);
	else
		event_add(connection->write_event, NULL);
	if (!event_pending(connection->read_event, EV_READ, NULL) && take_frames(connection) &&
		!connection->paused)
		event_add(connection->read_event, NULL);
}

struct connection *connection_new(struct ttrpc_server *server, int fd, struct error *err)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	if (!connection) {
		error_set_errno(err, ENOMEM, "connection");
		close(fd);
		return NULL;
	}
	if (outbox_init(&connection->outbox, fd, want_write, connection, err) < 0) {
		free(connection);
		close(fd);
		return NULL;
	}
	connection->server = server;
	connection->number = ++server->last_number;
	connection->fd = fd;
	atomic_init(&connection->references, 1);
	pthread_mutex_init(&connection->lock, NULL);
	connection->read_event =
		event_new(server->base, fd, EV_READ | EV_PERSIST, on_readable, connection);
	connection->write_event =
		event_new(server->base, fd, EV_WRITE | EV_PERSIST, on_writable, connection);
	connection->next = server->connections;
	server->connections = connection;
	server->connection_count++;
	if (!connection->read_event || !connection->write_event ||
		event_add(connection->read_event, NULL) < 0) {
		error_set_errno(err, ENOMEM, "connection events");
		connection_close(connection);
		return NULL;
	}
	return connection;
}

void connection_cancel_calls(struct connection *connection)
{
	pthread_mutex_lock(&connection->lock);
	for (struct running_call *run = connection->calls; run; run = run->next)
		cancel_fire(run->call.bound.cancel);
	pthread_mutex_unlock(&connection->lock);
}

void connection_close(struct connection *connection)
{
	struct ttrpc_server *server = connection->server;
	if (connection->read_event)
		event_free(connection->read_event);
	if (connection->write_event)
		event_free(connection->write_event);
	outbox_close(&connection->outbox);
	close(connection->fd);
	connection->fd = -1;
	connection_cancel_calls(connection);
	struct connection **at = &server->connections;
	while (*at != connection)
		at = &(*at)->next;
	*at = connection->next;
	server->connection_count--;
	connection_unref(connection);
}
