/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ttrpc_frame.c - fuzz: bytes as a peer might send them, through the frame reader and both
 * envelopes
 *
 * The first byte says in what pieces the rest arrives. What reads as an envelope is written and
 * read again and must say the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ttrpc/frame.h"
#include "ttrpc/frame_reader.h"

#define require(condition)        \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

static bool same(struct ttrpc_bytes a, struct ttrpc_bytes b)
{
	return a.len == b.len && (!a.len || !memcmp(a.data, b.data, a.len));
}

static void try_request(const uint8_t *data, size_t len)
{
	struct ttrpc_request first, second;
	if (ttrpc_request_read(data, len, &first, NULL) < 0)
		return;
	cleanup(buf_free) struct buf out = BUF_INIT;
	/* Redundant forms are written shorter, never longer. */
	require(ttrpc_request_write(&out, 1, 0, &first, NULL) == 0);
	require(out.len <= len + TTRPC_HEADER_SIZE);
	require(ttrpc_request_read(out.data + TTRPC_HEADER_SIZE, out.len - TTRPC_HEADER_SIZE,
			&second, NULL) == 0);
	require(same(first.service, second.service) && same(first.method, second.method) &&
		same(first.payload, second.payload) && same(first.metadata, second.metadata) &&
		first.timeout_ns == second.timeout_ns);
}

static void try_response(const uint8_t *data, size_t len)
{
	struct ttrpc_response first, second;
	if (ttrpc_response_read(data, len, &first, NULL) < 0)
		return;
	cleanup(buf_free) struct buf out = BUF_INIT;
	require(ttrpc_response_write(&out, 1, &first, NULL) == 0);
	require(ttrpc_response_read(out.data + TTRPC_HEADER_SIZE, out.len - TTRPC_HEADER_SIZE,
			&second, NULL) == 0);
	require(first.code == second.code);
	if (first.code)
		require(same(first.message, second.message));
	else
		require(same(first.payload, second.payload));
}

static void try_stream(const uint8_t *data, size_t len, size_t step)
{
	struct frame_reader *reader = calloc(1, sizeof(*reader));
	require(reader != NULL);
	for (;;) {
		int more = frame_reader_next(reader);
		require(more >= 0);
		if (more) {
			require(reader->oversized == (reader->header.length > TTRPC_DATA_MAX));
			require(reader->data.len ==
				(reader->oversized ? 0 : reader->header.length));
			try_request(reader->data.data, reader->data.len);
			try_response(reader->data.data, reader->data.len);
			continue;
		}
		if (!len)
			break;
		size_t room;
		uint8_t *space = frame_reader_space(reader, &room);
		require(space && room);
		size_t n = step < len ? step : len;
		n = n < room ? n : room;
		memcpy(space, data, n);
		frame_reader_added(reader, n);
		data += n;
		len -= n;
	}
	frame_reader_free(reader);
	free(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	try_stream(data + 1, size - 1, data[0] ? data[0] : SIZE_MAX);
	try_request(data + 1, size - 1);
	try_response(data + 1, size - 1);
	return 0;
}
