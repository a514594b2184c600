/* SPDX-License-Identifier: Apache-2.0 */
/*
 * splice.h - edits of protobuf messages that leave every other byte as it was
 *
 * The encoding allows this: a repeated field may be added at the end of its parent, the last entry
 * of a map key wins, and a message field that occurs twice is merged. So nothing has to be decoded
 * and encoded again, and fields that no definition of ours knows are safe.
 */
#ifndef PEERPOD_VSOCK_SPLICE_H
#define PEERPOD_VSOCK_SPLICE_H

#include "base/buf.h"
#include "base/error.h"
#include "ttrpc/frame.h"

/* One field as it stands in a message. */
struct splice_field {
	uint32_t number;
	uint8_t wire_type;        /* 0 varint, 1 fixed64, 2 bytes, 5 fixed32 */
	size_t start, end;        /* tag to last byte, as offsets into the message */
	struct ttrpc_bytes value; /* wire type 2: the content */
	size_t value_start;       /* its offset */
};

/*
 * Reads the field at *at and moves *at behind it. 1: a field, 0: the end, -1: ERROR_INVALID with the
 * offset of what is not protobuf.
 */
int splice_next(struct ttrpc_bytes message, size_t *at, struct splice_field *field,
	struct error *err);

/*
 * Appends bytes (whole encoded fields) at the end of the message that is reached from the outermost one
 * by these field numbers: its last occurrence, or a new one where there is none.
 */
int splice_append(struct buf *message, const uint32_t *path, size_t depth, const struct buf *bytes,
	struct error *err);

/* Drops all occurrences of a field of the outermost message. *dropped counts them. */
int splice_drop(struct buf *message, uint32_t number, size_t *dropped, struct error *err);

/* Appends a field of wire type 2. */
void splice_put_bytes(struct buf *out, uint32_t number, const void *bytes, size_t len);
void splice_put_text(struct buf *out, uint32_t number, const char *text);

/*
 * The value of a key in a map<string, string> field of the message: the last one, empty where there is
 * none (*found tells).
 */
int splice_map_get(struct ttrpc_bytes message, uint32_t number, const char *key,
	struct ttrpc_bytes *value, bool *found, struct error *err);

/* The last occurrence of a message field: empty where there is none. */
int splice_child(struct ttrpc_bytes message, uint32_t number, struct ttrpc_bytes *child,
	struct error *err);

#endif
