/* SPDX-License-Identifier: Apache-2.0 */
/*
 * door.c - who comes in: TCP connections, TLS handshakes, and limits on both
 *
 * Until the handshake is done a visitor is a stranger: few of them at once, not for long, and only so
 * many bytes (conn.c). When the hall is full of strangers, the one that has dawdled longest leaves.
 */
#include "vsock-proxy/forwarder.h"

#include <stddef.h>
#include <string.h>

#include "base/bound.h"
#include "base/log.h"

#define VISITORS_MAX 8
#define HANDSHAKE_NS (10 * NS_PER_S)
/* A handshake over a slow link takes a few round trips; somebody who takes longer may be sent away. */
#define PATIENCE_NS NS_PER_S

struct visitor {
	struct door *door;
	struct visitor *next;
	struct conn *conn;
	struct timer timer;
	struct deferred grave;
	uint64_t since_ns;
};

static void free_visitor(struct deferred *self)
{
	free((char *)self - offsetof(struct visitor, grave));
}

/* Gives the connection back. */
static struct conn *visitor_end(struct visitor *v)
{
	struct door *door = v->door;
	for (struct visitor **link = &door->visitors; *link; link = &(*link)->next) {
		if (*link == v) {
			*link = v->next;
			door->visitor_count--;
			break;
		}
	}
	timer_stop(&v->timer);
	struct conn *conn = take_ptr(v->conn);
	conn_watch(conn, false, false);
	loop_bury(&door->forwarder->loop, &v->grave);
	return conn;
}

static void visitor_ready(void *context, bool readable, bool writable)
{
	(void)readable;
	(void)writable;
	struct visitor *v = context;
	int result = conn_handshake(v->conn);
	if (result == CONN_AGAIN)
		return;
	struct forwarder *forwarder = v->door->forwarder;
	struct conn *conn = visitor_end(v);
	if (result == 0) {
		sessions_admit(forwarder, conn);
		return;
	}
	log_warn("connection refused: %s", error_message(&conn->error));
	conn_free(conn);
}

static void visitor_timed_out(void *context)
{
	log_warn("connection closed: no TLS handshake within 10 s");
	conn_free(visitor_end(context));
}

static bool make_room(struct door *door)
{
	if (sessions_connected(door->forwarder) + door->visitor_count >= door->max_connections &&
		door->visitor_count == 0)
		return false;
	if (door->visitor_count < VISITORS_MAX &&
		sessions_connected(door->forwarder) + door->visitor_count < door->max_connections)
		return true;
	struct visitor *oldest = door->visitors;
	while (oldest->next)
		oldest = oldest->next;
	if (clock_ns() - oldest->since_ns < PATIENCE_NS)
		return false;
	conn_free(visitor_end(oldest));
	return true;
}

static void visitor_came(void *context, int fd)
{
	struct door *door = context;
	if (!make_room(door)) {
		log_warn("connection refused: %zu tunnels and %zu handshakes already",
			sessions_connected(door->forwarder), door->visitor_count);
		close(fd);
		return;
	}
	conn_tune_tcp(fd);
	if (!door->tls) {
		struct conn *plain = conn_new_fd(&door->forwarder->loop, fd);
		if (plain)
			sessions_admit(door->forwarder, plain);
		return;
	}
	struct visitor *v = calloc(1, sizeof(*v));
	SSL *ssl = v ? SSL_new(door->tls) : NULL;
	if (!ssl) {
		free(v);
		close(fd);
		return;
	}
	v->conn = conn_new_fd(&door->forwarder->loop, fd);
	if (!v->conn)
		SSL_free(ssl);
	if (!v->conn || conn_secure(v->conn, ssl, true, NULL) < 0) {
		conn_free(v->conn);
		free(v);
		return;
	}
	v->door = door;
	v->since_ns = clock_ns();
	v->grave.run = free_visitor;
	v->next = door->visitors;
	door->visitors = v;
	door->visitor_count++;
	timer_init(&v->timer, &door->forwarder->loop, visitor_timed_out, v);
	timer_start(&v->timer, HANDSHAKE_NS);
	conn_set_owner(v->conn, visitor_ready, v);
	conn_watch(v->conn, true, false);
}

int door_open(struct door *door, struct forwarder *forwarder, const char *address, SSL_CTX *tls,
	size_t max_connections, struct error *err)
{
	*door = (struct door){.forwarder = forwarder,
		.tls = tls,
		.max_connections = max_connections};
	return listener_open_tcp(&door->listener, &forwarder->loop, address, visitor_came, door,
		err);
}

void door_close(struct door *door)
{
	listener_close(&door->listener);
	while (door->visitors)
		conn_free(visitor_end(door->visitors));
}
