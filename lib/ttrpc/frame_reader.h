/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame_reader.h - bytes as they come in, frames out
 *
 * Does no I/O: the owner asks where bytes may go (frame_reader_space), puts some there, says how
 * many (frame_reader_added) and takes frames until there are no more (frame_reader_next). Any
 * fragmentation is fine. Memory grows with what has arrived, never with what a header claims; data
 * over the limit is passed over and the frame is handed out marked oversized, without data. A reader
 * in which nothing is left holds next to nothing.
 */
#ifndef PEERPOD_TTRPC_FRAME_READER_H
#define PEERPOD_TTRPC_FRAME_READER_H

#include "ttrpc/frame.h"

#define FRAME_READER_CHUNK 16384u

struct frame_reader {
	/* The frame that frame_reader_next returned; data may be taken over (leave BUF_INIT). */
	struct ttrpc_header header;
	struct buf data;
	bool oversized;

	/* private */
	uint8_t *chunk;    /* FRAME_READER_CHUNK bytes, or NULL: an idle connection holds none */
	size_t start, end; /* what of the chunk is not looked at yet */
	uint32_t left;     /* bytes of this frame's data still to come */
	enum { READER_HEAD, READER_DATA, READER_DONE } state;
	bool direct; /* frame_reader_space pointed into data, not into chunk */
};

/* Zeroed memory is a new reader, and so is one that was freed. */
void frame_reader_free(struct frame_reader *reader);

/*
 * Room for bytes from the wire: at least 1. Call only when frame_reader_next has returned 0. NULL:
 * no memory.
 */
uint8_t *frame_reader_space(struct frame_reader *reader, size_t *len);
void frame_reader_added(struct frame_reader *reader, size_t len);

/* 1: a whole frame is in header, data and oversized; 0: more bytes are needed; -1: no memory. */
int frame_reader_next(struct frame_reader *reader);

#endif
