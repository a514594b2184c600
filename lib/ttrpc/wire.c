/* SPDX-License-Identifier: Apache-2.0 */
/* wire.c - see wire.h */
#include "ttrpc/wire.h"

#include <string.h>

static int bad(struct error *err, size_t at, const char *what)
{
	return error_set(err, ERROR_INVALID, "byte %zu: %s", at, what);
}

static int read_varint(struct wire_reader *r, uint64_t *value, struct error *err)
{
	size_t start = r->at;
	*value = 0;
	for (unsigned shift = 0;; shift += 7) {
		if (r->at == r->len)
			return bad(err, start, "number is cut short");
		uint8_t byte = r->data[r->at++];
		if (shift == 63 && byte > 1)
			return bad(err, start, "number has more than 64 bits");
		*value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return 0;
	}
}

static int read_fixed(struct wire_reader *r, size_t width, uint64_t *value, struct error *err)
{
	if (r->len - r->at < width)
		return bad(err, r->at, "fixed-width number is cut short");
	*value = 0;
	for (size_t i = 0; i < width; i++)
		*value |= (uint64_t)r->data[r->at + i] << (8 * i);
	r->at += width;
	return 0;
}

int wire_next(struct wire_reader *r, struct wire_field *field, struct error *err)
{
	if (r->at == r->len)
		return 0;
	*field = (struct wire_field){.start = r->at};
	uint64_t tag, len;
	if (read_varint(r, &tag, err) < 0)
		return -1;
	/* Field numbers have 29 bits, zero excluded. */
	if (tag >> 32 || tag >> 3 == 0)
		return bad(err, field->start, "field number is out of range");
	field->number = (uint32_t)(tag >> 3);
	switch (tag & 7) {
	case WIRE_VARINT:
		field->type = WIRE_VARINT;
		if (read_varint(r, &field->value, err) < 0)
			return -1;
		break;
	case WIRE_FIXED64:
		field->type = WIRE_FIXED64;
		if (read_fixed(r, 8, &field->value, err) < 0)
			return -1;
		break;
	case WIRE_FIXED32:
		field->type = WIRE_FIXED32;
		if (read_fixed(r, 4, &field->value, err) < 0)
			return -1;
		break;
	case WIRE_BYTES:
		field->type = WIRE_BYTES;
		if (read_varint(r, &len, err) < 0)
			return -1;
		if (len > r->len - r->at)
			return bad(err, field->start, "field reaches past the end of the message");
		field->data = r->data + r->at;
		field->len = (size_t)len;
		r->at += (size_t)len;
		break;
	default:
		return bad(err, field->start, "field has a wire type that proto3 does not use");
	}
	field->end = r->at;
	return 1;
}

size_t wire_varint_size(uint64_t value)
{
	size_t size = 1;
	while (value >>= 7)
		size++;
	return size;
}

void wire_put_varint(struct buf *out, uint64_t value)
{
	uint8_t bytes[10];
	size_t n = 0;
	for (; value >= 0x80; value >>= 7)
		bytes[n++] = (uint8_t)(value | 0x80);
	bytes[n++] = (uint8_t)value;
	buf_append(out, bytes, n);
}

void wire_put_number(struct buf *out, uint32_t field, uint64_t value)
{
	wire_put_varint(out, (uint64_t)field << 3 | WIRE_VARINT);
	wire_put_varint(out, value);
}

void wire_put_head(struct buf *out, uint32_t field, size_t len)
{
	wire_put_varint(out, (uint64_t)field << 3 | WIRE_BYTES);
	wire_put_varint(out, len);
}

void wire_put_bytes(struct buf *out, uint32_t field, const void *data, size_t len)
{
	wire_put_head(out, field, len);
	buf_append(out, data, len);
}
