/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame.h - the ttrpc wire: 10-byte header, then the envelope
 *
 * Pure functions on memory: used by the client, the server and the relay alike. Nothing here
 * allocates except the packers, which append to a buffer.
 */
#ifndef PEERPOD_TTRPC_FRAME_H
#define PEERPOD_TTRPC_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

#define TTRPC_HEADER_SIZE 10u
/* Both libraries (Go, Rust) limit the data of a frame to 4 MiB, inclusive. */
#define TTRPC_DATA_MAX 4194304u

enum ttrpc_type { TTRPC_REQUEST = 1, TTRPC_RESPONSE = 2, TTRPC_DATA = 3 };

#define TTRPC_FLAG_REMOTE_CLOSED 0x01u /* last message of this direction */
#define TTRPC_FLAG_REMOTE_OPEN 0x02u   /* request: data frames follow */
#define TTRPC_FLAG_NO_DATA 0x04u       /* data frame: carries no message */

struct ttrpc_header {
	uint32_t
		length; /* of the data that follows; may exceed TTRPC_DATA_MAX: the reader decides */
	uint32_t stream;
	uint8_t type; /* enum ttrpc_type; others are possible on the wire */
	uint8_t flags;
};

void ttrpc_header_write(uint8_t out[TTRPC_HEADER_SIZE], const struct ttrpc_header *header);
void ttrpc_header_read(const uint8_t in[TTRPC_HEADER_SIZE], struct ttrpc_header *header);

struct ttrpc_bytes {
	const uint8_t *data;
	size_t len;
};

/* Does it hold exactly this text? */
bool ttrpc_bytes_equal(struct ttrpc_bytes bytes, const char *text);

/* A request envelope, as views into the frame's data. Absent fields are empty. */
struct ttrpc_request {
	struct ttrpc_bytes service, method, payload;
	int64_t timeout_ns; /* 0: none; negative: expired before it was sent */
	struct ttrpc_bytes
		metadata; /* all metadata fields, tags included, if contiguous; else empty */
};

/* -1 (ERROR_INVALID, with the offset) for what is not a request envelope. Last field wins. */
int ttrpc_request_read(const uint8_t *data, size_t len, struct ttrpc_request *request,
	struct error *err);

/*
 * Appends a whole request frame (header and envelope). -1: larger than TTRPC_DATA_MAX, or memory.
 */
int ttrpc_request_write(struct buf *out, uint32_t stream, uint8_t flags,
	const struct ttrpc_request *request, struct error *err);

struct ttrpc_response {
	int32_t code; /* 0: OK; absent, empty and code-0 statuses are all OK */
	struct ttrpc_bytes message, payload;
};

int ttrpc_response_read(const uint8_t *data, size_t len, struct ttrpc_response *response,
	struct error *err);

/* Appends a whole response frame. With a code the payload is left out. */
int ttrpc_response_write(struct buf *out, uint32_t stream, const struct ttrpc_response *response,
	struct error *err);

/* Appends a whole data frame. */
int ttrpc_data_write(struct buf *out, uint32_t stream, uint8_t flags, const void *message,
	size_t len, struct error *err);

/*
 * The refusal of data larger than TTRPC_DATA_MAX: status 8 and the text all peers use. Returns -1.
 */
int ttrpc_too_large(size_t length, struct error *err);

/* gRPC status codes. */
enum ttrpc_code {
	TTRPC_OK = 0,
	TTRPC_CANCELED = 1,
	TTRPC_UNKNOWN = 2,
	TTRPC_INVALID_ARGUMENT = 3,
	TTRPC_DEADLINE_EXCEEDED = 4,
	TTRPC_NOT_FOUND = 5,
	TTRPC_ALREADY_EXISTS = 6,
	TTRPC_PERMISSION_DENIED = 7,
	TTRPC_RESOURCE_EXHAUSTED = 8,
	TTRPC_FAILED_PRECONDITION = 9,
	TTRPC_ABORTED = 10,
	TTRPC_OUT_OF_RANGE = 11,
	TTRPC_UNIMPLEMENTED = 12,
	TTRPC_INTERNAL = 13,
	TTRPC_UNAVAILABLE = 14,
	TTRPC_DATA_LOSS = 15,
	TTRPC_UNAUTHENTICATED = 16,
};

enum ttrpc_code ttrpc_code_of(enum error_kind kind);
enum error_kind ttrpc_kind_of(int32_t code);
const char *ttrpc_code_name(int32_t code); /* "NotFound" */

#endif
