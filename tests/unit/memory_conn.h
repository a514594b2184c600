/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory_conn.h - a connection in memory that can be cut after any byte
 *
 * Two ends; what one writes the other reads. The test calls wire_pump until nothing moves. Bytes that
 * were written and not read are lost with a cut, as with TCP.
 */
#ifndef PEERPOD_TESTS_MEMORY_CONN_H
#define PEERPOD_TESTS_MEMORY_CONN_H

#include "base/buf.h"
#include "vsock-proxy/conn.h"

struct wire;

struct wire_end {
	struct conn conn;
	struct wire *wire;
	struct buf in;      /* written by the other end, not read yet */
	bool reads, writes; /* watched for */
	bool freed;
	bool closed; /* the other end sees the end of the stream */
};

struct wire {
	struct wire_end ends[2];
	size_t piece;     /* at most so many bytes a call; 0: all */
	size_t capacity;  /* bytes on their way in one direction; 0: any */
	bool stutter;     /* every second write is told to come again */
	size_t cut_after; /* bytes until the wire breaks; SIZE_MAX: never */
	unsigned int writes;
	bool broken;
};

void wire_init(struct wire *wire, size_t piece, size_t cut_after, bool stutter);
void wire_free(struct wire *wire);

/* Tells whoever has something to do; false when nothing happened. */
bool wire_pump(struct wire *wire, struct loop *loop);

#endif
