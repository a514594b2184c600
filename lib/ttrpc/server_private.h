/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_private.h - what server.c (listening, the loop), server_connection.c (bytes and frames of
 * one connection) and server_call.c (one call on its thread) share
 *
 * Locks, in the order in which they may be taken: connection->lock, outbox.lock, server->lock.
 */
#ifndef PEERPOD_TTRPC_SERVER_PRIVATE_H
#define PEERPOD_TTRPC_SERVER_PRIVATE_H

#include <event2/event.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include "ttrpc/frame_reader.h"
#include "ttrpc/inbox.h"
#include "ttrpc/outbox.h"
#include "ttrpc/server.h"
#include "ttrpc/workers.h"

struct connection;
struct running_call;

enum server_phase { SERVER_RUNNING, SERVER_DRAINING, SERVER_ENDING };

struct ttrpc_server {
	const struct ttrpc_service *services;
	size_t service_count;
	struct ttrpc_server_options options;
	struct workers *workers;
	atomic_size_t calls; /* running, all connections */
	struct event_base *base;
	pthread_t thread;
	sem_t drained; /* posted by the loop once no more calls begin */

	/* Of the loop's thread. */
	int listen_fd;
	struct event *accept_event, *retry_event, *wake_event;
	struct connection *connections;
	size_t connection_count;
	uint64_t last_number;

	pthread_mutex_t lock; /* guards what follows */
	int wake_fd;
	struct connection *attention; /* connections that the loop should look at */

	_Atomic enum server_phase phase;
};

struct connection {
	struct ttrpc_server *server;
	atomic_int references; /* the loop's list, the attention list, every call */
	uint64_t number;
	struct outbox outbox;

	/* Of the loop's thread. */
	struct connection *next;
	int fd;
	struct event *read_event, *write_event;
	struct frame_reader reader;

	struct connection *next_attention; /* guarded by the server's lock */
	bool wants_attention;

	pthread_mutex_t lock; /* guards what follows */
	struct running_call *calls;
	size_t load; /* bytes of requests and stream data that calls hold */
	bool paused; /* not read from until load and replies have shrunk */
};

struct ttrpc_stream_call {
	struct running_call *run;
	struct inbox inbox;
	bool received_last;
};

struct running_call {
	struct ttrpc_call call;
	struct connection *connection;
	struct running_call *next;
	const struct ttrpc_method *method;
	void *context;
	uint32_t stream_id;
	struct buf request; /* owned; what call.payload points into */
	struct ttrpc_stream_call stream;
};

/* From any thread: the loop will look at the connection. */
void connection_attend(struct connection *connection);

/* From any thread: a call gives up what it held. */
void connection_unload(struct connection *connection, size_t bytes);

/* By the loop. Takes fd over, also on failure. */
struct connection *connection_new(struct ttrpc_server *server, int fd, struct error *err);
void connection_look(struct connection *connection); /* write what waits, go on reading */
void connection_close(
	struct connection *connection); /* cancels its calls; leaves the loop's list */
void connection_cancel_calls(struct connection *connection);
void connection_unref(struct connection *connection);

/* Sends a status in place of a response. */
void connection_refuse(struct connection *connection, uint32_t stream, int32_t code,
	const char *format, ...) __attribute__((format(printf, 4, 5)));

/* By the loop: a request or data frame has come; takes the reader's data. */
void call_request(struct connection *connection, struct frame_reader *reader);
void call_data(struct connection *connection, struct frame_reader *reader);

#endif
