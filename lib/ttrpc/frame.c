/* SPDX-License-Identifier: Apache-2.0 */
/* frame.c - see frame.h. Header and envelope; all numbers of the header are big-endian. */
#include "ttrpc/frame.h"

#include <string.h>

#include "ttrpc/wire.h"

/* Field numbers of the envelope's messages. */
enum {
	REQUEST_SERVICE = 1,
	REQUEST_METHOD = 2,
	REQUEST_PAYLOAD = 3,
	REQUEST_TIMEOUT = 4,
	REQUEST_METADATA = 5
};
enum { RESPONSE_STATUS = 1, RESPONSE_PAYLOAD = 2 };
enum { STATUS_CODE = 1, STATUS_MESSAGE = 2 };

static void put_u32(uint8_t *out, uint32_t value)
{
	out[0] = (uint8_t)(value >> 24);
	out[1] = (uint8_t)(value >> 16);
	out[2] = (uint8_t)(value >> 8);
	out[3] = (uint8_t)value;
}

static uint32_t get_u32(const uint8_t *in)
{
	return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
}

void ttrpc_header_write(uint8_t out[TTRPC_HEADER_SIZE], const struct ttrpc_header *header)
{
	put_u32(out, header->length);
	put_u32(out + 4, header->stream);
	out[8] = header->type;
	out[9] = header->flags;
}

void ttrpc_header_read(const uint8_t in[TTRPC_HEADER_SIZE], struct ttrpc_header *header)
{
	*header = (struct ttrpc_header){
		.length = get_u32(in),
		.stream = get_u32(in + 4),
		.type = in[8],
		.flags = in[9],
	};
}

bool ttrpc_bytes_equal(struct ttrpc_bytes bytes, const char *text)
{
	size_t len = strlen(text);
	return bytes.len == len && (len == 0 || !memcmp(bytes.data, text, len));
}

int ttrpc_too_large(size_t length, struct error *err)
{
	/* The text that both existing libraries use, word for word. */
	error_set(err, ERROR_INVALID, "message length %zu exceed maximum message size of %u",
		length, TTRPC_DATA_MAX);
	if (err)
		err->status = TTRPC_RESOURCE_EXHAUSTED;
	return -1;
}

static struct ttrpc_bytes bytes_of(const struct wire_field *field)
{
	return (struct ttrpc_bytes){field->data, field->len};
}

int ttrpc_request_read(const uint8_t *data, size_t len, struct ttrpc_request *request,
	struct error *err)
{
	*request = (struct ttrpc_request){0};
	struct wire_reader reader = {data, len, 0};
	struct wire_field field;
	size_t metadata_start = 0, metadata_end = 0;
	bool scattered = false;
	int more;
	while ((more = wire_next(&reader, &field, err)) > 0) {
		/*
		 * A field of another wire type than ours is an unknown field, as protobuf has it.
		 */
		if (field.type == WIRE_VARINT && field.number == REQUEST_TIMEOUT)
			request->timeout_ns = (int64_t)field.value;
		if (field.type != WIRE_BYTES)
			continue;
		switch (field.number) {
		case REQUEST_SERVICE:
			request->service = bytes_of(&field);
			break;
		case REQUEST_METHOD:
			request->method = bytes_of(&field);
			break;
		case REQUEST_PAYLOAD:
			request->payload = bytes_of(&field);
			break;
		case REQUEST_METADATA:
			scattered |= metadata_end && metadata_end != field.start;
			if (!metadata_end)
				metadata_start = field.start;
			metadata_end = field.end;
			break;
		}
	}
	if (more < 0)
		return -1;
	if (metadata_end && !scattered)
		request->metadata =
			(struct ttrpc_bytes){data + metadata_start, metadata_end - metadata_start};
	return 0;
}

static size_t bytes_size(struct ttrpc_bytes bytes)
{
	/* All field numbers of the envelope have one-byte tags. */
	return bytes.len ? 1 + wire_varint_size(bytes.len) + bytes.len : 0;
}

static void put_bytes(struct buf *out, uint32_t field, struct ttrpc_bytes bytes)
{
	if (bytes.len)
		wire_put_bytes(out, field, bytes.data, bytes.len);
}

static void put_header(struct buf *out, size_t length, uint32_t stream, uint8_t type, uint8_t flags)
{
	uint8_t bytes[TTRPC_HEADER_SIZE];
	struct ttrpc_header header = {(uint32_t)length, stream, type, flags};
	ttrpc_header_write(bytes, &header);
	buf_append(out, bytes, sizeof(bytes));
}

static int appended(const struct buf *out, struct error *err)
{
	return out->failed ? error_set(err, ERROR_CAPACITY, "no memory for a frame") : 0;
}

int ttrpc_request_write(struct buf *out, uint32_t stream, uint8_t flags,
	const struct ttrpc_request *request, struct error *err)
{
	uint64_t timeout = (uint64_t)request->timeout_ns;
	size_t length = bytes_size(request->service) + bytes_size(request->method) +
			bytes_size(request->payload) +
			(timeout ? 1 + wire_varint_size(timeout) : 0) + request->metadata.len;
	if (length > TTRPC_DATA_MAX)
		return ttrpc_too_large(length, err);
	put_header(out, length, stream, TTRPC_REQUEST, flags);
	put_bytes(out, REQUEST_SERVICE, request->service);
	put_bytes(out, REQUEST_METHOD, request->method);
	put_bytes(out, REQUEST_PAYLOAD, request->payload);
	if (timeout)
		wire_put_number(out, REQUEST_TIMEOUT, timeout);
	buf_append(out, request->metadata.data, request->metadata.len);
	return appended(out, err);
}

static int status_read(const struct wire_field *status, struct ttrpc_response *response,
	struct error *err)
{
	struct wire_reader reader = {status->data, status->len, 0};
	struct wire_field field;
	int more;
	while ((more = wire_next(&reader, &field, err)) > 0) {
		if (field.number == STATUS_CODE && field.type == WIRE_VARINT)
			response->code = (int32_t)(uint32_t)field.value;
		else if (field.number == STATUS_MESSAGE && field.type == WIRE_BYTES)
			response->message = bytes_of(&field);
	}
	return more < 0 ? error_prefix(err, "status") : 0;
}

int ttrpc_response_read(const uint8_t *data, size_t len, struct ttrpc_response *response,
	struct error *err)
{
	*response = (struct ttrpc_response){0};
	struct wire_reader reader = {data, len, 0};
	struct wire_field field;
	int more;
	while ((more = wire_next(&reader, &field, err)) > 0) {
		if (field.type != WIRE_BYTES)
			continue;
		if (field.number == RESPONSE_PAYLOAD)
			response->payload = bytes_of(&field);
		else if (field.number == RESPONSE_STATUS && status_read(&field, response, err) < 0)
			return -1;
	}
	return more;
}

int ttrpc_response_write(struct buf *out, uint32_t stream, const struct ttrpc_response *response,
	struct error *err)
{
	/* A negative code is a ten-byte number, as protobuf writes int32. */
	uint64_t code = (uint64_t)(int64_t)response->code;
	if (!code) {
		size_t length = bytes_size(response->payload);
		if (length > TTRPC_DATA_MAX)
			return ttrpc_too_large(length, err);
		put_header(out, length, stream, TTRPC_RESPONSE, 0);
		put_bytes(out, RESPONSE_PAYLOAD, response->payload);
		return appended(out, err);
	}
	size_t status = 1 + wire_varint_size(code) + bytes_size(response->message);
	size_t length = 1 + wire_varint_size(status) + status;
	if (length > TTRPC_DATA_MAX)
		return ttrpc_too_large(length, err);
	put_header(out, length, stream, TTRPC_RESPONSE, 0);
	wire_put_head(out, RESPONSE_STATUS, status);
	wire_put_number(out, STATUS_CODE, code);
	put_bytes(out, STATUS_MESSAGE, response->message);
	return appended(out, err);
}

int ttrpc_data_write(struct buf *out, uint32_t stream, uint8_t flags, const void *message,
	size_t len, struct error *err)
{
	if (len > TTRPC_DATA_MAX)
		return ttrpc_too_large(len, err);
	put_header(out, len, stream, TTRPC_DATA, flags);
	buf_append(out, message, len);
	return appended(out, err);
}
