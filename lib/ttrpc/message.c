/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message.c - see message.h
 *
 * A few bytes on the wire can stand for many in memory (a list of empty strings grows twentyfold),
 * so unpacking has a budget.
 */
#include "ttrpc/message.h"

#include <stdlib.h>

/* More than any message of at most 4 MiB that means something needs. */
#define UNPACK_BUDGET ((size_t)64 << 20)

struct budget {
	size_t left;
	bool spent;
};

static void *budget_alloc(void *data, size_t size)
{
	struct budget *budget = data;
	if (size > budget->left) {
		budget->spent = true;
		return NULL;
	}
	budget->left -= size;
	return malloc(size);
}

static void budget_free(void *data, void *pointer)
{
	(void)data;
	free(pointer);
}

int message_pack(const ProtobufCMessage *message, struct buf *out, struct error *err)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *at = buf_reserve(out, size);
	if (!at)
		return error_set(err, ERROR_CAPACITY, "marshal %s: no memory for %zu bytes",
			message->descriptor->name, size);
	out->len += protobuf_c_message_pack(message, at);
	return 0;
}

ProtobufCMessage *message_unpack(const ProtobufCMessageDescriptor *type, const void *data,
	size_t len, struct error *err)
{
	struct budget budget = {.left = UNPACK_BUDGET};
	ProtobufCAllocator allocator = {budget_alloc, budget_free, &budget};
	/* Zero bytes are a whole message, but protobuf-c wants a pointer all the same. */
	ProtobufCMessage *message =
		protobuf_c_message_unpack(type, &allocator, len, len ? data : (const uint8_t *)"");
	if (message)
		return message;
	if (budget.spent)
		error_set(err, ERROR_INVALID, "unmarshal %s: needs more than %zu MiB of memory",
			type->name, UNPACK_BUDGET >> 20);
	else
		error_set(err, ERROR_INVALID, "unmarshal %s: not such a message", type->name);
	return NULL;
}
