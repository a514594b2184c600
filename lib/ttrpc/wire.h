/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h - protobuf fields as they lie on the wire
 *
 * For code that looks into a message or splices it without decoding all of it: a reader that walks
 * the fields of one message as views, and writers that append fields. Nothing here allocates except
 * the writers, which append to a buffer. Every length is checked before it is believed.
 */
#ifndef PEERPOD_TTRPC_WIRE_H
#define PEERPOD_TTRPC_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

struct wire_reader {
	const uint8_t *data;
	size_t len, at;
};

struct wire_field {
	uint32_t number;
	enum wire_type type;
	uint64_t value;      /* of a varint or a fixed-width field */
	const uint8_t *data; /* of a WIRE_BYTES field: a view */
	size_t len;
	size_t start, end; /* the whole field in the message, tag included */
};

/*
 * The next field. 1: *field is it, 0: the message ends here, -1: ERROR_INVALID, "byte 12: ..."
 * (groups, which proto3 does not have, are refused).
 */
int wire_next(struct wire_reader *reader, struct wire_field *field, struct error *err);

/* How many bytes the number takes as a varint (1 to 10). */
size_t wire_varint_size(uint64_t value);

void wire_put_varint(struct buf *out, uint64_t value);
void wire_put_number(struct buf *out, uint32_t field, uint64_t value);
/* Tag and length only; the caller appends len bytes. */
void wire_put_head(struct buf *out, uint32_t field, size_t len);
void wire_put_bytes(struct buf *out, uint32_t field, const void *data, size_t len);

#endif
