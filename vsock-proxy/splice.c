/* SPDX-License-Identifier: Apache-2.0 */
/* splice.c - see splice.h */
#include "vsock-proxy/splice.h"

#include <string.h>

#include "base/cleanup.h"

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

static bool read_varint(struct ttrpc_bytes message, size_t *at, uint64_t *value)
{
	*value = 0;
	for (unsigned int shift = 0; shift < 64 && *at < message.len; shift += 7) {
		uint8_t byte = message.data[(*at)++];
		*value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return true;
	}
	return false;
}

static size_t put_varint(uint8_t out[10], uint64_t value)
{
	size_t len = 0;
	while (value >= 0x80) {
		out[len++] = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	out[len++] = (uint8_t)value;
	return len;
}

static int malformed(size_t at, struct error *err)
{
	return error_set(err, ERROR_INVALID, "malformed message at byte %zu", at);
}

int splice_next(struct ttrpc_bytes message, size_t *at, struct splice_field *field,
	struct error *err)
{
	if (*at >= message.len)
		return 0;
	const size_t start = *at;
	size_t pos = start;
	uint64_t tag, len = 0;
	if (!read_varint(message, &pos, &tag) || tag >> 3 == 0 || tag > UINT32_MAX)
		return malformed(start, err);
	*field = (struct splice_field){.number = (uint32_t)(tag >> 3),
		.wire_type = tag & 7,
		.start = start};
	switch (field->wire_type) {
	case WIRE_VARINT:
		if (!read_varint(message, &pos, &len))
			return malformed(start, err);
		len = 0;
		break;
	case WIRE_FIXED64:
		len = 8;
		break;
	case WIRE_FIXED32:
		len = 4;
		break;
	case WIRE_BYTES:
		if (!read_varint(message, &pos, &len))
			return malformed(start, err);
		break;
	default: /* groups: proto3 has none */
		return malformed(start, err);
	}
	if (len > message.len - pos)
		return malformed(start, err);
	if (field->wire_type == WIRE_BYTES) {
		field->value = (struct ttrpc_bytes){message.data + pos, (size_t)len};
		field->value_start = pos;
	}
	field->end = pos + (size_t)len;
	*at = field->end;
	return 1;
}

void splice_put_bytes(struct buf *out, uint32_t number, const void *bytes, size_t len)
{
	uint8_t head[20];
	size_t n = put_varint(head, (uint64_t)number << 3 | WIRE_BYTES);
	n += put_varint(head + n, len);
	buf_append(out, head, n);
	buf_append(out, bytes, len);
}

void splice_put_text(struct buf *out, uint32_t number, const char *text)
{
	splice_put_bytes(out, number, text, strlen(text));
}

/* The last occurrence of a field with content. 1: there is one. */
static int find_last(struct ttrpc_bytes message, uint32_t number, struct splice_field *last,
	struct error *err)
{
	struct splice_field field = {0};
	size_t at = 0;
	int found = 0, more;
	while ((more = splice_next(message, &at, &field, err)) > 0) {
		if (field.number == number && field.wire_type == WIRE_BYTES) {
			*last = field;
			found = 1;
		}
	}
	return more < 0 ? -1 : found;
}

int splice_append(struct buf *message, const uint32_t *path, size_t depth, const struct buf *bytes,
	struct error *err)
{
	if (depth == 0) {
		buf_append(message, bytes->data, bytes->len);
		return message->failed ? error_set(err, ERROR_INTERNAL, "out of memory") : 0;
	}
	struct splice_field field = {0};
	int found =
		find_last((struct ttrpc_bytes){message->data, message->len}, path[0], &field, err);
	if (found < 0)
		return -1;

	cleanup(buf_free) struct buf child = BUF_INIT;
	if (found)
		buf_append(&child, field.value.data, field.value.len);
	if (splice_append(&child, path + 1, depth - 1, bytes, err) < 0)
		return -1;

	cleanup(buf_free) struct buf whole = BUF_INIT;
	if (found) {
		buf_append(&whole, message->data, field.start);
		splice_put_bytes(&whole, path[0], child.data, child.len);
		buf_append(&whole, message->data + field.end, message->len - field.end);
	} else {
		buf_append(&whole, message->data, message->len);
		splice_put_bytes(&whole, path[0], child.data, child.len);
	}
	if (child.failed || whole.failed)
		return error_set(err, ERROR_INTERNAL, "out of memory");
	struct buf old = *message;
	*message = whole;
	whole = old;
	return 0;
}

int splice_drop(struct buf *message, uint32_t number, size_t *dropped, struct error *err)
{
	*dropped = 0;
	struct ttrpc_bytes bytes = {message->data, message->len};
	cleanup(buf_free) struct buf kept = BUF_INIT;
	struct splice_field field = {0};
	size_t at = 0;
	int more;
	while ((more = splice_next(bytes, &at, &field, err)) > 0) {
		if (field.number == number)
			(*dropped)++;
		else
			buf_append(&kept, bytes.data + field.start, field.end - field.start);
	}
	if (more < 0)
		return -1;
	if (kept.failed)
		return error_set(err, ERROR_INTERNAL, "out of memory");
	if (*dropped) {
		struct buf old = *message;
		*message = kept;
		kept = old;
	}
	return 0;
}

int splice_child(struct ttrpc_bytes message, uint32_t number, struct ttrpc_bytes *child,
	struct error *err)
{
	struct splice_field field = {0};
	int found = find_last(message, number, &field, err);
	*child = found > 0 ? field.value : (struct ttrpc_bytes){NULL, 0};
	return found < 0 ? -1 : 0;
}

int splice_map_get(struct ttrpc_bytes message, uint32_t number, const char *key,
	struct ttrpc_bytes *value, bool *found, struct error *err)
{
	struct splice_field field = {0};
	size_t at = 0;
	int more;
	*found = false;
	*value = (struct ttrpc_bytes){NULL, 0};
	while ((more = splice_next(message, &at, &field, err)) > 0) {
		if (field.number != number || field.wire_type != WIRE_BYTES)
			continue;
		struct ttrpc_bytes entry_key, entry_value;
		if (splice_child(field.value, 1, &entry_key, err) < 0 ||
			splice_child(field.value, 2, &entry_value, err) < 0)
			return error_prefix(err, "map entry at byte %zu", field.start);
		if (ttrpc_bytes_equal(entry_key, key)) {
			*value = entry_value;
			*found = true;
		}
	}
	return more < 0 ? -1 : 0;
}
