/* SPDX-License-Identifier: Apache-2.0 */
/* memory_conn.c - see memory_conn.h */
#include "tests/unit/memory_conn.h"

#include <string.h>

static struct wire_end *other(struct wire_end *end)
{
	return end == &end->wire->ends[0] ? &end->wire->ends[1] : &end->wire->ends[0];
}

static ssize_t failed(struct wire_end *end)
{
	error_set(&end->conn.error, ERROR_RETRY, "the wire was cut");
	return CONN_FAILED;
}

static size_t limited(const struct wire *wire, size_t len)
{
	return wire->piece && len > wire->piece ? wire->piece : len;
}

static ssize_t end_read(struct conn *conn, void *out, size_t len)
{
	struct wire_end *end = (struct wire_end *)conn;
	if (end->wire->broken)
		return failed(end);
	len = limited(end->wire, len);
	if (end->in.len == 0)
		return other(end)->freed ? 0 : CONN_AGAIN;
	if (len > end->in.len)
		len = end->in.len;
	memcpy(out, end->in.data, len);
	buf_consume(&end->in, len);
	return (ssize_t)len;
}

static ssize_t end_write(struct conn *conn, const void *bytes, size_t len)
{
	struct wire_end *end = (struct wire_end *)conn;
	struct wire *wire = end->wire;
	if (wire->broken || other(end)->freed)
		return failed(end);
	if (wire->stutter && ++wire->writes % 2 == 0)
		return CONN_AGAIN;
	len = limited(wire, len);
	if (wire->capacity && other(end)->in.len >= wire->capacity)
		return CONN_AGAIN;
	if (wire->capacity && len > wire->capacity - other(end)->in.len)
		len = wire->capacity - other(end)->in.len;
	if (len >= wire->cut_after) {
		/* Part of it still arrives in the peer's socket; whether it is read is another matter. */
		len = wire->cut_after;
		buf_append(&other(end)->in, bytes, len);
		wire->broken = true;
		return len ? (ssize_t)len : failed(end);
	}
	wire->cut_after -= wire->cut_after == SIZE_MAX ? 0 : len;
	buf_append(&other(end)->in, bytes, len);
	return (ssize_t)len;
}

static bool end_pending(struct conn *conn)
{
	return ((struct wire_end *)conn)->in.len != 0;
}

static void end_watch(struct conn *conn, bool readable, bool writable)
{
	struct wire_end *end = (struct wire_end *)conn;
	end->reads = readable;
	end->writes = writable;
}

static void end_free(struct conn *conn)
{
	struct wire_end *end = (struct wire_end *)conn;
	end->freed = true;
	end->reads = end->writes = false;
	error_clear(&conn->error);
}

static const struct conn_type memory_type = {
	.name = "memory",
	.read = end_read,
	.write = end_write,
	.pending = end_pending,
	.watch = end_watch,
	.free = end_free,
};

void wire_init(struct wire *wire, size_t piece, size_t cut_after, bool stutter)
{
	*wire = (struct wire){.piece = piece, .cut_after = cut_after, .stutter = stutter};
	for (int i = 0; i < 2; i++) {
		wire->ends[i].wire = wire;
		wire->ends[i].conn.type = &memory_type;
	}
}

void wire_free(struct wire *wire)
{
	for (int i = 0; i < 2; i++) {
		buf_free(&wire->ends[i].in);
		error_clear(&wire->ends[i].conn.error);
	}
}

bool wire_pump(struct wire *wire, struct loop *loop)
{
	bool moved = false;
	loop_settle(loop);
	for (int i = 0; i < 2; i++) {
		struct wire_end *end = &wire->ends[i];
		bool readable = end->reads && (end->in.len || wire->broken || other(end)->freed);
		bool writable =
			end->writes &&
			(!wire->capacity || other(end)->in.len < wire->capacity || wire->broken);
		if (end->freed || !end->conn.ready || (!readable && !writable))
			continue;
		end->conn.ready(end->conn.context, readable, writable);
		loop_settle(loop);
		moved = true;
	}
	return moved;
}
