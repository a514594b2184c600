/* SPDX-License-Identifier: Apache-2.0 */
/*
 * port.c - see port.h
 *
 * Reading: small frames are delivered straight out of the loop's scratch buffer. What is left over (the
 * beginning of a frame, or everything while the port is paused) is copied to `hold`; a frame that is
 * larger than the scratch buffer is collected there without another copy.
 *
 * Writing happens at the end of the loop's round (loop_defer), in as large pieces as the log has them.
 * `boundary` follows the frames that were written whole: control frames may only go out there, and
 * without a session everything before it is forgotten.
 */
#include "vsock-proxy/port.h"

#include <arpa/inet.h>
#include <endian.h>
#include <stddef.h>
#include <string.h>

/* What one port may read before others have their turn. */
#define READ_BUDGET ((size_t)512 * 1024)

/* A TLS record: what is longer takes several writes. */
#define GATHER_MIN ((size_t)16 * 1024)

#define ACK_FRAME_SIZE (TTRPC_HEADER_SIZE + 8)

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static void port_ready(void *context, bool readable, bool writable);

static void watch(struct port *port)
{
	if (port->conn)
		conn_watch(port->conn, !port->paused, port->blocked);
}

static void drop_hold(struct port *port)
{
	free(port->hold);
	port->hold = NULL;
	port->hold_len = port->hold_cap = 0;
}

/* What belongs to a connection and not to the port. */
static void drop_connection_state(struct port *port)
{
	drop_hold(port);
	buf_free(&port->control);
	port->control_begun = port->log_committed = port->blocked = false;
	port->skip = 0;
	timer_stop(&port->ack_timer);
}

struct conn *port_detach(struct port *port)
{
	struct conn *conn = take_ptr(port->conn);
	if (conn)
		conn_watch(conn, false, false);
	drop_connection_state(port);
	return conn;
}

void port_break(struct port *port, const struct error *why)
{
	if (!port->conn)
		return;
	/* `why` may live in the connection. */
	cleanup_error copy = ERROR_INIT;
	error_set(&copy, why->kind, "%s", error_message(why));
	copy.status = why->status;
	conn_free(port_detach(port));
	port->ops->lost(port, &copy);
}

static void port_fail(struct port *port, enum error_kind kind, const char *message)
{
	cleanup_error why = ERROR_INIT;
	error_set(&why, kind, "%s", message);
	port_break(port, &why);
}

/* ---- writing ---------------------------------------------------------------------------------- */

/* Moves the boundary up to the frame that is being written. */
static void follow_boundary(struct port *port)
{
	uint8_t bytes[TTRPC_HEADER_SIZE];
	while (port->boundary < port->out.sent &&
		bytelog_peek(&port->out, port->boundary, bytes, sizeof(bytes))) {
		struct ttrpc_header header;
		ttrpc_header_read(bytes, &header);
		uint64_t next = port->boundary + TTRPC_HEADER_SIZE + header.length;
		if (next > port->out.sent)
			break;
		port->boundary = next;
	}
}

static void check_drained(struct port *port)
{
	if (port->full && bytelog_held(&port->out) < PORT_LOW) {
		port->full = false;
		port->ops->drained(port);
	}
}

/* The end of the frame that is being written. */
static uint64_t frame_end(struct port *port)
{
	uint8_t bytes[TTRPC_HEADER_SIZE];
	if (!bytelog_peek(&port->out, port->boundary, bytes, sizeof(bytes)))
		return port->out.sent;
	struct ttrpc_header header;
	ttrpc_header_read(bytes, &header);
	return port->boundary + TTRPC_HEADER_SIZE + header.length;
}

static bool next_piece(struct port *port, const uint8_t **bytes, size_t *len, bool *control)
{
	if (port->control.len)
		follow_boundary(port);
	bool between = port->greeting || (port->out.sent == port->boundary && !port->log_committed);
	*control = port->control.len && (between || port->control_begun);
	if (*control) {
		*bytes = port->control.data;
		*len = port->control.len;
		return true;
	}
	if (port->greeting)
		return false;
	*bytes = bytelog_unsent(&port->out, len);
	if (port->control.len && !port->log_committed && *len) {
		uint64_t rest = frame_end(port) - port->out.sent;
		if (*len > rest)
			*len = (size_t)rest;
	}
	return *len != 0;
}

static void flush(struct port *port)
{
	const uint8_t *bytes;
	size_t len;
	bool control, gather = port->conn && port->out.end - port->out.sent > GATHER_MIN;
	if (gather)
		conn_gather(port->conn, true);
	while (port->conn && !port->blocked && next_piece(port, &bytes, &len, &control)) {
		ssize_t n = conn_write(port->conn, bytes, len);
		if (n == CONN_FAILED) {
			port_break(port, &port->conn->error);
			return;
		}
		if (n == CONN_AGAIN) {
			port->control_begun = port->control_begun || control;
			port->log_committed = !control;
			port->blocked = true;
			watch(port);
			break;
		}
		if (control) {
			buf_consume(&port->control, (size_t)n);
			port->control_begun = port->control.len != 0;
			if (!port->control_begun)
				buf_free(&port->control);
			continue;
		}
		port->log_committed = false;
		bytelog_advance(&port->out, (size_t)n);
		if (port->session)
			continue; /* kept until it is acknowledged */
		follow_boundary(port);
		bytelog_release(&port->out, port->boundary);
	}
	if (gather)
		conn_gather(port->conn, false);
	check_drained(port);
}

static void flush_deferred(struct deferred *self)
{
	flush(container_of(self, struct port, flush));
}

static void want_flush(struct port *port)
{
	if (port->conn && !port->blocked)
		loop_defer(port->loop, &port->flush);
}

int port_send(struct port *port, const void *frame, size_t len)
{
	return port_send_parts(port, frame, len, NULL, 0);
}

int port_send_parts(struct port *port, const void *first, size_t first_len, const void *second,
	size_t second_len)
{
	if (!bytelog_append(&port->out, first, first_len, second, second_len))
		return -1;
	if (bytelog_held(&port->out) > PORT_HIGH)
		port->full = true;
	want_flush(port);
	return 0;
}

int port_respond(struct port *port, uint32_t stream, const struct ttrpc_response *response)
{
	cleanup(buf_free) struct buf frame = BUF_INIT;
	if (ttrpc_response_write(&frame, stream, response, NULL) < 0)
		return -1;
	return port_send(port, frame.data, frame.len);
}

int port_send_control(struct port *port, const void *frame, size_t len)
{
	buf_append(&port->control, frame, len);
	if (port->control.failed)
		return -1;
	want_flush(port);
	return 0;
}

/* ---- session ---------------------------------------------------------------------------------- */

static void send_ack(struct port *port)
{
	timer_stop(&port->ack_timer);
	if (!port->conn || !port->session || port->acked == port->received)
		return;
	uint8_t frame[ACK_FRAME_SIZE];
	ttrpc_header_write(frame, &(struct ttrpc_header){.length = 8, .type = PORT_FRAME_ACK});
	uint64_t count = htobe64(port->received);
	memcpy(frame + TTRPC_HEADER_SIZE, &count, sizeof(count));
	port->acked = port->received;
	if (port_send_control(port, frame, sizeof(frame)) < 0)
		port_fail(port, ERROR_INTERNAL, "acknowledge: out of memory");
}

static void ack_timer_fired(void *context)
{
	send_ack(context);
}

static void note_received(struct port *port, size_t len)
{
	port->received += len;
	if (port->received - port->acked >= PORT_ACK_BYTES)
		send_ack(port);
	else if (!port->ack_timer.running)
		timer_start(&port->ack_timer, PORT_ACK_DELAY_NS);
}

static void take_ack(struct port *port, const uint8_t *frame, size_t len)
{
	uint64_t count = 0;
	if (len == ACK_FRAME_SIZE)
		memcpy(&count, frame + TTRPC_HEADER_SIZE, sizeof(count));
	count = be64toh(count);
	follow_boundary(port);
	if (len != ACK_FRAME_SIZE || count < port->out.start || count > port->boundary) {
		port_fail(port, ERROR_INVALID, "the peer acknowledged what was never sent");
		return;
	}
	bytelog_release(&port->out, count);
	check_drained(port);
}

void port_begin_plain(struct port *port)
{
	port->greeting = port->session = false;
	want_flush(port);
}

int port_begin_session(struct port *port, uint64_t peer_received, struct error *err)
{
	follow_boundary(port);
	if (peer_received < port->out.start || peer_received > port->boundary)
		return error_set(err, ERROR_INVALID,
			"resume session: the peer has received %llu bytes, between %llu and %llu are "
			"possible",
			(unsigned long long)peer_received, (unsigned long long)port->out.start,
			(unsigned long long)port->boundary);
	bytelog_rewind(&port->out, peer_received);
	bytelog_release(&port->out, peer_received);
	port->boundary = peer_received;
	port->acked = port->received;
	port->greeting = false;
	port->session = true;
	want_flush(port);
	check_drained(port);
	return 0;
}

uint64_t port_unsent(struct port *port)
{
	follow_boundary(port);
	return port->boundary == port->out.sent ? port->boundary : frame_end(port);
}

void port_reset(struct port *port)
{
	port->session = false;
	port->received = port->acked = 0;
	bytelog_reset(&port->out, 0);
	port->boundary = 0;
	port->full = false;
}

/* ---- reading ---------------------------------------------------------------------------------- */

static void deliver(struct port *port, uint8_t *frame, size_t len)
{
	if (port->session && !port->greeting) {
		if (frame[8] == PORT_FRAME_ACK) {
			take_ack(port, frame, len);
			return;
		}
		note_received(port, len);
	}
	if (port->conn)
		port->ops->frame(port, frame, len);
}

static bool taking(const struct port *port)
{
	return port->conn && !port->paused && !port->closed;
}

/*
 * Delivers the whole frames at the beginning of bytes. Returns how many bytes were used up; *need is
 * the size of the frame that begins there, as far as it is known.
 */
static size_t parse(struct port *port, uint8_t *bytes, size_t len, size_t *need)
{
	size_t used = 0;
	*need = TTRPC_HEADER_SIZE;
	while (taking(port)) {
		size_t left = len - used;
		if (port->skip) {
			size_t part = left < port->skip ? left : (size_t)port->skip;
			used += part;
			port->skip -= part;
			if (port->skip)
				break;
			if (port->session && !port->greeting)
				note_received(port, TTRPC_HEADER_SIZE + port->skipped.length);
			port->ops->oversized(port, &port->skipped);
			continue;
		}
		*need = TTRPC_HEADER_SIZE;
		if (left < TTRPC_HEADER_SIZE)
			break;
		struct ttrpc_header header;
		ttrpc_header_read(bytes + used, &header);
		if (header.length > TTRPC_DATA_MAX) {
			port->skipped = header;
			port->skip = header.length;
			used += TTRPC_HEADER_SIZE;
			continue;
		}
		*need = TTRPC_HEADER_SIZE + header.length;
		if (left < *need)
			break;
		deliver(port, bytes + used, *need);
		used += *need;
		*need = TTRPC_HEADER_SIZE;
	}
	return used;
}

/* Keeps what was read and not delivered, with room for the frame that it begins. */
static void keep(struct port *port, const uint8_t *bytes, size_t len, size_t need)
{
	if (!port->conn || len == 0)
		return;
	size_t cap = len;
	if (!port->paused && need > LOOP_SCRATCH_SIZE)
		cap = need;
	port->hold = malloc(cap);
	if (!port->hold) {
		port_fail(port, ERROR_INTERNAL, "receive: out of memory");
		return;
	}
	memcpy(port->hold, bytes, len);
	port->hold_len = len;
	port->hold_cap = cap;
}

/* Delivers from hold after a pause, or when a large frame is complete. */
static void parse_hold(struct port *port)
{
	uint8_t *bytes = take_ptr(port->hold);
	size_t len = port->hold_len, need;
	port->hold_len = port->hold_cap = 0;
	size_t used = parse(port, bytes, len, &need);
	keep(port, bytes + used, len - used, need);
	free(bytes);
}

static void lost_by_read(struct port *port, ssize_t n)
{
	if (n == 0)
		port_fail(port, ERROR_RETRY, "the peer closed the connection");
	else
		port_break(port, &port->conn->error);
}

static void intake(struct port *port)
{
	size_t budget = READ_BUDGET;
	while (taking(port) && budget) {
		/* Collecting a large frame: straight into its place. */
		if (port->hold && port->hold_cap > port->hold_len) {
			size_t room = port->hold_cap - port->hold_len;
			ssize_t n = conn_read(port->conn, port->hold + port->hold_len, room);
			if (n == CONN_AGAIN)
				return;
			if (n <= 0) {
				lost_by_read(port, n);
				return;
			}
			port->hold_len += (size_t)n;
			if (port->hold_len == port->hold_cap)
				parse_hold(port);
			budget -= (size_t)n < budget ? (size_t)n : budget;
			continue;
		}
		uint8_t *scratch = port->loop->scratch;
		size_t have = port->hold_len;
		if (have >= LOOP_SCRATCH_SIZE) { /* frames of a pause */
			parse_hold(port);
			continue;
		}
		if (port->hold) {
			memcpy(scratch, port->hold, have);
			drop_hold(port);
		}
		size_t room = LOOP_SCRATCH_SIZE - have;
		ssize_t n = conn_read(port->conn, scratch + have, room);
		if (n <= 0) {
			if (n == CONN_AGAIN)
				keep(port, scratch, have, 0);
			else
				lost_by_read(port, n);
			return;
		}
		size_t need, len = have + (size_t)n;
		size_t used = parse(port, scratch, len, &need);
		keep(port, scratch + used, len - used, need);
		budget -= (size_t)n < budget ? (size_t)n : budget;
		/* Less than asked for: the socket is empty, and says when that changes. */
		if ((size_t)n < room && taking(port) && !conn_pending(port->conn))
			return;
	}
	/* The budget is used up: what TLS holds makes no event of its own. */
	if (taking(port) && conn_pending(port->conn))
		loop_defer(port->loop, &port->intake);
}

static void intake_deferred(struct deferred *self)
{
	struct port *port = container_of(self, struct port, intake);
	if (taking(port) && port->hold && port->hold_len == port->hold_cap)
		parse_hold(port);
	intake(port);
}

static void port_ready(void *context, bool readable, bool writable)
{
	struct port *port = context;
	if (writable && port->blocked) {
		port->blocked = false;
		watch(port);
		want_flush(port);
	}
	if (readable)
		intake(port);
}

void port_pause(struct port *port)
{
	if (port->paused)
		return;
	port->paused = true;
	watch(port);
}

void port_resume(struct port *port)
{
	if (!port->paused)
		return;
	port->paused = false;
	watch(port);
	if (port->conn)
		loop_defer(port->loop, &port->intake);
}

/* ---- life ------------------------------------------------------------------------------------- */

void port_init(struct port *port, struct loop *loop, const struct port_ops *ops, void *owner)
{
	*port = (struct port){.loop = loop, .ops = ops, .owner = owner};
	bytelog_init(&port->out, &loop->blocks);
	port->flush.run = flush_deferred;
	port->intake.run = intake_deferred;
	timer_init(&port->ack_timer, loop, ack_timer_fired, port);
}

void port_attach(struct port *port, struct conn *conn, bool greeting)
{
	conn_free(port_detach(port));
	port->greeting = greeting;
	port->conn = conn;
	conn_set_owner(conn, port_ready, port);
	watch(port);
	/* What TLS has read already makes no event. */
	if (!port->paused && conn_pending(conn))
		loop_defer(port->loop, &port->intake);
	want_flush(port);
}

void port_close(struct port *port)
{
	port->closed = true;
	conn_free(port_detach(port));
	bytelog_reset(&port->out, port->out.end);
	port->boundary = port->out.end;
	port->full = false;
}
