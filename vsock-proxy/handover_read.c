/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handover_read.c - what an agent-proxy tells its successor, item by item, checked
 *
 * Nothing is believed that could harm the reader: counts and lengths are held against their limits before memory
 * is taken, and every offset, id and index against what it refers to.
 */
#include "vsock-proxy/handover.h"

#include <stdio.h>
#include <string.h>

#include "ttrpc/message.h"

/* Requests that are kept to be sent again; relay.c keeps none over 16 KiB. */
#define COPY_MAX ((size_t)64 * 1024)

/* gcc 12's analyzer loses sight of what a structure owns; LeakSanitizer does not. */
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

void socket_file_describe(const struct unix_socket_identity *identity, Handover__SocketFile *file)
{
	handover__socket_file__init(file);
	file->device = identity->device;
	file->inode = identity->inode;
	file->made_ns = identity->made_ns;
}

struct unix_socket_identity socket_file_identity(const Handover__SocketFile *file)
{
	return (struct unix_socket_identity){file->device, file->inode, file->made_ns};
}

/* A key may have been in it. */
static void free_item(Handover__Item *item)
{
	if (item && item->item_case == HANDOVER__ITEM__ITEM_SANDBOX && item->sandbox->tls) {
		char *key = item->sandbox->tls->client_key_pem;
		explicit_bzero(key, strlen(key));
	}
	message_free(item);
}

static void free_item_ptr(Handover__Item **item)
{
	free_item(*item);
}

static void free_port(struct told_port *port)
{
	buf_free(&port->log);
	buf_free(&port->held);
}

void told_sandbox_free(struct told_sandbox *told)
{
	for (size_t i = 0; i < told->front_count; i++) {
		struct told_front *front = &told->fronts[i];
		free_port(&front->port);
		message_free(front->item);
		close_fd(&front->fd);
	}
	for (size_t i = 0; i < told->call_count; i++)
		free(told->calls[i].copy.data);
	free(told->fronts);
	free(told->calls);
	free_port(&told->back);
	free_item(told->item);
	close_fd(&told->listener);
	*told = (struct told_sandbox){.listener = -1};
}

void handover_reader_init(struct handover_reader *r)
{
	*r = (struct handover_reader){.control = -1, .lifeline = -1, .told.listener = -1};
}

void handover_reader_free(struct handover_reader *r)
{
	told_sandbox_free(&r->told);
	close_fd(&r->control);
	close_fd(&r->lifeline);
	handover_reader_init(r);
}

static int wrong(struct error *err, const char *what)
{
	return error_set(err, ERROR_INVALID, "hand-over: %s", what);
}

static int no_memory(struct error *err)
{
	return error_set(err, ERROR_CAPACITY, "hand-over: out of memory");
}

/* ---- ports ------------------------------------------------------------------------------------ */

static int check_port(const Handover__Port *head, struct error *err)
{
	if (!head)
		return wrong(err, "a port is missing");
	if (head->start > head->boundary || head->boundary > head->sent || head->sent > head->end)
		return wrong(err, "the offsets of a port are out of order");
	if (head->end - head->start > HANDOVER_LOG_MAX || head->held > HANDOVER_HELD_MAX)
		return wrong(err, "a port holds too much");
	if (head->skip > UINT32_MAX || head->skip > head->skipped_length ||
		head->skipped_type > UINT8_MAX || head->skipped_flags > UINT8_MAX)
		return wrong(err, "a port skips a frame that cannot be");
	return 0;
}

/* From the frame that is being written on there are whole frames, none too large. */
static int check_log(const struct told_port *port, struct error *err)
{
	const Handover__Port *head = port->head;
	uint64_t end = head->end - head->start, at = head->boundary - head->start;
	while (at < end) {
		struct ttrpc_header header;
		if (end - at < TTRPC_HEADER_SIZE)
			return wrong(err, "a log ends within a frame");
		ttrpc_header_read(port->log.data + at, &header);
		if (header.length > TTRPC_DATA_MAX || header.length > end - at - TTRPC_HEADER_SIZE)
			return wrong(err, "a log ends within a frame");
		at += TTRPC_HEADER_SIZE + header.length;
	}
	return 0;
}

static bool is_whole(const struct told_port *port)
{
	return port->log.len == port->head->end - port->head->start &&
	       port->held.len == port->head->held;
}

/* Bytes of this port come next, where it has any. */
static int expect(struct handover_reader *r, struct told_port *port, struct error *err)
{
	r->port = is_whole(port) ? NULL : port;
	return r->port ? 0 : check_log(port, err);
}

static int read_data(struct handover_reader *r, const ProtobufCBinaryData *data, struct error *err)
{
	struct told_port *port = r->port;
	if (!port || data->len == 0)
		return wrong(err, "bytes that belong to nothing");
	size_t log_left = (size_t)(port->head->end - port->head->start) - port->log.len;
	size_t held_left = (size_t)port->head->held - port->held.len;
	struct buf *to = log_left ? &port->log : &port->held;
	if (data->len > (log_left ? log_left : held_left))
		return wrong(err, "more bytes than a port was said to hold");
	buf_append(to, data->data, data->len);
	if (to->failed)
		return no_memory(err);
	return is_whole(port) ? expect(r, port, err) : 0;
}

/* ---- sandboxes ---------------------------------------------------------------------------------- */

static int check_sandbox(const Handover__Sandbox *s, struct error *err)
{
	if (!s->socket || !s->link || s->digest.len != 32 || s->link->session.len != 16)
		return wrong(err, "a sandbox lacks something");
	if (s->tls && s->tls->pin.len != 0 && s->tls->pin.len != 32)
		return wrong(err, "a pin is no SHA-256");
	if (s->fronts > HANDOVER_FRONTS_MAX || s->calls > HANDOVER_CALLS_MAX)
		return wrong(err, "a sandbox has too many connections or calls");
	if (s->next_id % 2 == 0 || s->next_id <= 1)
		return wrong(err, "the next call's id is even");
	return check_port(s->back, err);
}

static int read_sandbox(struct handover_reader *r, Handover__Item **item, int *fds,
	struct error *err)
{
	Handover__Sandbox *s = (*item)->sandbox;
	if (r->telling)
		return wrong(err, "a sandbox within another");
	if (r->seen >= r->sandboxes)
		return wrong(err, "more sandboxes than were said");
	if (check_sandbox(s, err) < 0)
		return -1;
	struct told_sandbox *told = &r->told;
	*told = (struct told_sandbox){.listener = take_fd(&fds[0])};
	told->item = take_ptr(*item);
	told->head = s;
	told->back.head = s->back;
	told->fronts = calloc(s->fronts + 1, sizeof(*told->fronts));
	told->calls = calloc(s->calls + 1, sizeof(*told->calls));
	r->telling = true;
	r->fronts = s->fronts;
	r->calls = s->calls;
	if (!told->fronts || !told->calls)
		return no_memory(err);
	return expect(r, &told->back, err);
}

static int read_front(struct handover_reader *r, Handover__Item **item, int *fds, struct error *err)
{
	struct told_sandbox *told = &r->told;
	if (!r->telling || r->port || told->front_count >= r->fronts)
		return wrong(err, "a connection that belongs to nothing");
	if (check_port((*item)->front->port, err) < 0)
		return -1;
	struct told_front *front = &told->fronts[told->front_count++];
	*front = (struct told_front){.item = *item, .fd = take_fd(&fds[0])};
	front->port.head = (*item)->front->port;
	*item = NULL;
	return expect(r, &front->port, err);
}

static int read_call(struct handover_reader *r, Handover__Call *call, struct error *err)
{
	struct told_sandbox *told = &r->told;
	if (told->call_count >= r->calls || call->id % 2 == 0 || call->front >= r->fronts ||
		call->offset > told->head->back->end)
		return wrong(err, "a call that cannot be");
	size_t len = call->copy.len;
	if (len && (len < TTRPC_HEADER_SIZE || len > COPY_MAX))
		return wrong(err, "a call's request that cannot be");
	struct ttrpc_header header;
	if (len) {
		ttrpc_header_read(call->copy.data, &header);
		if (header.length != len - TTRPC_HEADER_SIZE)
			return wrong(err, "a call's request that cannot be");
	}
	told->calls[told->call_count++] = *call;
	call->copy = (ProtobufCBinaryData){0}; /* moved */
	return 0;
}

static int read_calls(struct handover_reader *r, Handover__Calls *calls, struct error *err)
{
	if (!r->telling || r->port || r->told.front_count != r->fronts)
		return wrong(err, "calls that belong to nothing");
	for (size_t i = 0; i < calls->n_calls; i++) {
		if (read_call(r, calls->calls[i], err) < 0)
			return -1;
	}
	return 0;
}

/* ---- the whole -------------------------------------------------------------------------------------- */

static int read_begin(struct handover_reader *r, const Handover__Begin *begin, int *fds,
	struct error *err)
{
	if (r->begun)
		return wrong(err, "it begins twice");
	if (begin->format < HANDOVER_FORMAT_OLDEST || begin->format > HANDOVER_FORMAT)
		return error_set(err, ERROR_UNSUPPORTED,
			"hand-over: format %u is told, %u to %u are read here", begin->format,
			HANDOVER_FORMAT_OLDEST, HANDOVER_FORMAT);
	if (begin->sandboxes > HANDOVER_SANDBOXES_MAX || !begin->control)
		return wrong(err, "it begins wrongly");
	r->begun = true;
	r->sandboxes = begin->sandboxes;
	snprintf(r->version, sizeof(r->version), "%s", begin->version);
	r->control = take_fd(&fds[0]);
	r->lifeline = take_fd(&fds[1]);
	r->control_file = socket_file_identity(begin->control);
	return 0;
}

static int read_end(struct handover_reader *r, const Handover__End *end, struct error *err)
{
	if (r->telling || r->seen != r->sandboxes || end->sandboxes != r->seen)
		return error_set(err, ERROR_INVALID, "hand-over: it ends after %u of %u sandboxes",
			r->seen, r->sandboxes);
	r->done = true;
	return 0;
}

static size_t fds_of(Handover__Item__ItemCase kind)
{
	if (kind == HANDOVER__ITEM__ITEM_BEGIN)
		return 2;
	return kind == HANDOVER__ITEM__ITEM_SANDBOX || kind == HANDOVER__ITEM__ITEM_FRONT ? 1 : 0;
}

static int read_item(struct handover_reader *r, Handover__Item **item, int *fds, size_t fd_count,
	struct error *err)
{
	Handover__Item__ItemCase kind = (*item)->item_case;
	if (fd_count != fds_of(kind))
		return error_set(err, ERROR_INVALID,
			"hand-over: item %u came with %zu descriptors instead of %zu",
			(unsigned int)kind, fd_count, fds_of(kind));
	if (r->done || (!r->begun && kind != HANDOVER__ITEM__ITEM_BEGIN))
		return wrong(err, "an item before its beginning or after its end");
	if (r->port && kind != HANDOVER__ITEM__ITEM_DATA)
		return wrong(err, "bytes of a port are missing");
	switch (kind) {
	case HANDOVER__ITEM__ITEM_BEGIN:
		return read_begin(r, (*item)->begin, fds, err);
	case HANDOVER__ITEM__ITEM_SANDBOX:
		return read_sandbox(r, item, fds, err);
	case HANDOVER__ITEM__ITEM_FRONT:
		return read_front(r, item, fds, err);
	case HANDOVER__ITEM__ITEM_DATA:
		return read_data(r, &(*item)->data, err);
	case HANDOVER__ITEM__ITEM_CALLS:
		return read_calls(r, (*item)->calls, err);
	case HANDOVER__ITEM__ITEM_END:
		return read_end(r, (*item)->end, err);
	case HANDOVER__ITEM__ITEM__NOT_SET:
	case _HANDOVER__ITEM__ITEM__CASE_IS_INT_SIZE:
		break;
	}
	return wrong(err, "an item that is not known here");
}

int handover_read(struct handover_reader *r, const uint8_t *data, size_t len, int *fds,
	size_t fd_count, struct error *err)
{
	cleanup(free_item_ptr) Handover__Item *item =
		(Handover__Item *)message_unpack(&handover__item__descriptor, data, len, err);
	bool before = r->begun;
	int result = item ? read_item(r, &item, fds, fd_count, err) : -1;
	for (size_t i = 0; i < fd_count; i++) {
		if (fds[i] >= 0)
			close(take_fd(&fds[i]));
	}
	if (result < 0)
		return -1;
	if (!before)
		return HANDOVER_BEGUN;
	if (r->done)
		return HANDOVER_DONE;
	if (r->telling && !r->port && r->told.front_count == r->fronts &&
		r->told.call_count == r->calls) {
		r->telling = false;
		r->seen++;
		return HANDOVER_SANDBOX;
	}
	return HANDOVER_MORE;
}
