/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message.h - protobuf-c messages in and out of buffers, with errors
 */
#ifndef PEERPOD_TTRPC_MESSAGE_H
#define PEERPOD_TTRPC_MESSAGE_H

#include <protobuf-c/protobuf-c.h>
#include "base/buf.h"
#include "base/error.h"

/* Appends the packed message. */
int message_pack(const ProtobufCMessage *message, struct buf *out, struct error *err);

/* A new message, or NULL (ERROR_INVALID: "unmarshal <type>: ..."). Free with message_free. */
ProtobufCMessage *message_unpack(const ProtobufCMessageDescriptor *type, const void *data,
	size_t len, struct error *err);

static inline void message_free(void *message)
{
	if (message)
		protobuf_c_message_free_unpacked(message, NULL);
}

/* Frees a message by scope: cleanup(message_ptr) Hypervisor__StopVMRequest *r = ...; */
static inline void message_ptr(void *message)
{
	message_free(*(void **)message);
}

#endif
