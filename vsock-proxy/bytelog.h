/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bytelog.h - bytes on their way out, kept until they may be forgotten
 *
 * A stream of bytes with running offsets: [start, sent) was written and is kept, [sent, end) waits.
 * Where the peer acknowledges what it got, start follows the acknowledgements and a new connection
 * rewinds sent; where it does not, start follows sent. The bytes live in blocks of a fixed size that
 * come from a pool; an empty log holds none.
 */
#ifndef PEERPOD_VSOCK_BYTELOG_H
#define PEERPOD_VSOCK_BYTELOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Four TLS records of 16 KiB. */
#define BLOCK_SIZE ((size_t)64 * 1024)

struct block {
	struct block *next;
	uint8_t bytes[BLOCK_SIZE];
};

/* Blocks to use again, so that the fast path asks malloc for nothing. */
struct block_pool {
	struct block *free;
	size_t count;
};
void block_pool_drain(struct block_pool *pool);

struct bytelog {
	struct block_pool *pool;
	struct block *head, *tail, *cursor; /* cursor: the block that holds `sent` */
	uint64_t start, sent, end;
	uint64_t head_base;   /* stream offset of head->bytes[0] */
	uint64_t cursor_base; /* of cursor->bytes[0] */
};

void bytelog_init(struct bytelog *log, struct block_pool *pool);

/* Appends both parts, or nothing (false: no memory). */
bool bytelog_append(struct bytelog *log, const void *first, size_t first_len, const void *second,
	size_t second_len);

/* What can be written in one go: a view, empty when all is sent. */
const uint8_t *bytelog_unsent(struct bytelog *log, size_t *len);
void bytelog_advance(struct bytelog *log, size_t len);

/* Forgets everything before offset (start <= offset <= sent). */
void bytelog_release(struct bytelog *log, uint64_t offset);

/* Sends again from offset (start <= offset <= end). */
void bytelog_rewind(struct bytelog *log, uint64_t offset);

/* Copies len bytes at offset; false where the log does not hold them all. */
bool bytelog_peek(const struct bytelog *log, uint64_t offset, void *out, size_t len);

/* Forgets everything; the next byte appended has this offset. */
void bytelog_reset(struct bytelog *log, uint64_t offset);

static inline uint64_t bytelog_held(const struct bytelog *log)
{
	return log->end - log->start;
}

#endif
