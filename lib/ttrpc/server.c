/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.c - listening and the loop
 *
 * One thread runs a libevent loop that owns the listener and every connection's events. Other
 * threads never touch an event: they put a connection on the attention list and wake the loop with
 * an eventfd. Stopping has two phases: draining (no new connections and requests, calls are
 * cancelled, replies still go out) until the last handler has returned, then ending.
 */
#include "ttrpc/server_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"

#define MAX_CONNECTIONS 256u
#define MAX_CALLS 1024u
/* After accept(2) failed for lack of descriptors or memory. */
static const struct timeval accept_pause = {.tv_usec = 100000};

static bool accept_one(struct ttrpc_server *server)
{
	int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		int errnum = errno;
		if (errnum == EAGAIN || errnum == EWOULDBLOCK)
			return false;
		if (errnum == ECONNABORTED || errnum == EINTR)
			return true;
		log_warn("ttrpc: accept: %s; trying again", strerrordesc_np(errnum));
		event_del(server->accept_event);
		event_add(server->retry_event, &accept_pause);
		return false;
	}
	if (server->connection_count >= server->options.max_connections) {
		log_warn("ttrpc: connection refused: %zu are open", server->connection_count);
		close(fd);
		return true;
	}
	cleanup_error err = ERROR_INIT;
	if (!connection_new(server, fd, &err))
		log_warn("ttrpc: connection refused: %s", error_message(&err));
	return true;
}

static void on_acceptable(evutil_socket_t fd, short events, void *context)
{
	(void)fd;
	(void)events;
	while (accept_one(context))
		;
}

static void on_accept_retry(evutil_socket_t fd, short events, void *context)
{
	struct ttrpc_server *server = context;
	(void)fd;
	(void)events;
	event_add(server->accept_event, NULL);
}

static void drain(struct ttrpc_server *server)
{
	event_del(server->retry_event);
	event_del(server->accept_event);
	if (server->listen_fd >= 0)
		close(server->listen_fd);
	server->listen_fd = -1;
	for (struct connection *c = server->connections; c; c = c->next) {
		event_del(c->read_event);
		connection_cancel_calls(c);
	}
}

static void on_wake(evutil_socket_t fd, short events, void *context)
{
	struct ttrpc_server *server = context;
	eventfd_t ignored;
	(void)events;
	eventfd_read(fd, &ignored);
	for (;;) {
		pthread_mutex_lock(&server->lock);
		struct connection *connection = server->attention;
		if (connection) {
			server->attention = connection->next_attention;
			connection->wants_attention = false;
		}
		pthread_mutex_unlock(&server->lock);
		if (!connection)
			break;
		connection_look(connection);
		connection_unref(connection);
	}
	switch (atomic_load(&server->phase)) {
	case SERVER_RUNNING:
		break;
	case SERVER_DRAINING:
		drain(server);
		sem_post(&server->drained);
		break;
	case SERVER_ENDING:
		event_base_loopbreak(server->base);
		break;
	}
}

static void *run_loop(void *context)
{
	struct ttrpc_server *server = context;
	event_base_loop(server->base, EVLOOP_NO_EXIT_ON_EMPTY);
	return NULL;
}

static void free_server(struct ttrpc_server *server)
{
	while (server->connections)
		connection_close(server->connections);
	if (server->workers)
		workers_free(server->workers);
	while (server->attention) {
		struct connection *connection = server->attention;
		server->attention = connection->next_attention;
		connection_unref(connection);
	}
	struct event *own[] = {server->accept_event, server->retry_event, server->wake_event};
	for (size_t i = 0; i < array_size(own); i++)
		if (own[i])
			event_free(own[i]);
	if (server->base)
		event_base_free(server->base);
	if (server->wake_fd >= 0)
		close(server->wake_fd);
	if (server->listen_fd >= 0)
		close(server->listen_fd);
	sem_destroy(&server->drained);
	pthread_mutex_destroy(&server->lock);
	free(server);
}

static int prepare(struct ttrpc_server *server, struct error *err)
{
	server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (server->wake_fd < 0 || evutil_make_socket_nonblocking(server->listen_fd) < 0)
		return error_set_errno(err, errno, "ttrpc server");
	server->workers = workers_new(err);
	if (!server->workers)
		return -1;
	server->base = event_base_new();
	if (!server->base)
		return error_set(err, ERROR_CAPACITY, "ttrpc server: no event loop");
	server->accept_event = event_new(server->base, server->listen_fd, EV_READ | EV_PERSIST,
		on_acceptable, server);
	server->retry_event = event_new(server->base, -1, 0, on_accept_retry, server);
	server->wake_event =
		event_new(server->base, server->wake_fd, EV_READ | EV_PERSIST, on_wake, server);
	if (!server->accept_event || !server->retry_event || !server->wake_event ||
		event_add(server->accept_event, NULL) < 0 ||
		event_add(server->wake_event, NULL) < 0)
		return error_set(err, ERROR_CAPACITY, "ttrpc server: no events");
	int failed = thread_start(&server->thread, 0, run_loop, server);
	return failed ? error_set_errno(err, failed, "ttrpc server: start a thread") : 0;
}

struct ttrpc_server *ttrpc_server_start(int listen_fd, const struct ttrpc_service *services,
	size_t count, const struct ttrpc_server_options *options, struct error *err)
{
	struct ttrpc_server *server = calloc(1, sizeof(*server));
	if (!server) {
		error_set_errno(err, ENOMEM, "ttrpc server");
		close(listen_fd);
		return NULL;
	}
	server->listen_fd = listen_fd;
	server->services = services;
	server->service_count = count;
	server->wake_fd = -1;
	if (options)
		server->options = *options;
	if (!server->options.max_connections)
		server->options.max_connections = MAX_CONNECTIONS;
	if (!server->options.max_calls)
		server->options.max_calls = MAX_CALLS;
	pthread_mutex_init(&server->lock, NULL);
	sem_init(&server->drained, 0, 0);
	if (prepare(server, err) < 0) {
		free_server(server);
		return NULL;
	}
	return server;
}

static void enter_phase(struct ttrpc_server *server, int phase)
{
	atomic_store(&server->phase, phase);
	eventfd_write(server->wake_fd, 1);
}

void ttrpc_server_stop(struct ttrpc_server *server)
{
	enter_phase(server, SERVER_DRAINING);
	while (sem_wait(&server->drained) < 0)
		; /* EINTR */
	workers_free(server->workers);
	server->workers = NULL;
	enter_phase(server, SERVER_ENDING);
	pthread_join(server->thread, NULL);
	free_server(server);
}
