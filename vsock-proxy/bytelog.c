/* SPDX-License-Identifier: Apache-2.0 */
/* bytelog.c - see bytelog.h */
#include "vsock-proxy/bytelog.h"

#include <stdlib.h>
#include <string.h>

/* gcc 12's analyzer loses sight of what hangs on a list and calls it leaked; LeakSanitizer does not. */
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

/* Half a megabyte: enough for bulk in flight, little enough to keep. */
#define POOL_MAX 8

static struct block *block_take(struct block_pool *pool)
{
	struct block *b = pool->free;
	if (!b)
		return malloc(sizeof(*b));
	pool->free = b->next;
	pool->count--;
	return b;
}

static void block_give(struct block_pool *pool, struct block *b)
{
	if (pool->count >= POOL_MAX) {
		free(b);
		return;
	}
	b->next = pool->free;
	pool->free = b;
	pool->count++;
}

void block_pool_drain(struct block_pool *pool)
{
	while (pool->free) {
		struct block *b = pool->free;
		pool->free = b->next;
		free(b);
	}
	pool->count = 0;
}

void bytelog_init(struct bytelog *log, struct block_pool *pool)
{
	*log = (struct bytelog){.pool = pool};
}

static void drop_all(struct bytelog *log)
{
	while (log->head) {
		struct block *b = log->head;
		log->head = b->next;
		block_give(log->pool, b);
	}
	log->tail = log->cursor = NULL;
}

/* Links as many blocks behind the tail as len bytes need beyond room. All or none. */
static bool extend(struct bytelog *log, size_t room, size_t len)
{
	struct block *more = NULL, **more_end = &more;
	for (size_t have = room; have < len; have += BLOCK_SIZE) {
		struct block *b = block_take(log->pool);
		if (!b) {
			while (more) {
				b = more;
				more = b->next;
				block_give(log->pool, b);
			}
			return false;
		}
		b->next = NULL;
		*more_end = b;
		more_end = &b->next;
	}
	log->tail->next = more;
	return true;
}

/* Bytes used in the tail block. */
static size_t tail_used(const struct bytelog *log)
{
	uint64_t total = log->end - log->head_base;
	return total && total % BLOCK_SIZE == 0 ? BLOCK_SIZE : (size_t)(total % BLOCK_SIZE);
}

/* Copies into the blocks that extend() made ready. */
static void fill(struct bytelog *log, const uint8_t *from, size_t len)
{
	size_t used = tail_used(log);
	log->end += len;
	for (struct block *b = log->tail; b; b = b->next) {
		size_t part = len < BLOCK_SIZE - used ? len : BLOCK_SIZE - used;
		memcpy(b->bytes + used, from, part);
		from += part;
		len -= part;
		used = 0;
		log->tail = b;
		if (len == 0)
			return;
	}
}

bool bytelog_append(struct bytelog *log, const void *first, size_t first_len, const void *second,
	size_t second_len)
{
	size_t len = first_len + second_len;
	if (len == 0)
		return true;
	if (!log->head) {
		/* Only an empty log has no blocks: start, sent and end are the same. */
		struct block *b = block_take(log->pool);
		if (!b)
			return false;
		b->next = NULL;
		log->head = log->tail = log->cursor = b;
		log->head_base = log->cursor_base = log->start;
	}
	if (!extend(log, BLOCK_SIZE - tail_used(log), len)) {
		if (log->start == log->end)
			drop_all(log);
		return false;
	}
	if (first_len)
		fill(log, first, first_len);
	if (second_len)
		fill(log, second, second_len);
	return true;
}

const uint8_t *bytelog_unsent(struct bytelog *log, size_t *len)
{
	if (log->sent == log->end) {
		*len = 0;
		return NULL;
	}
	if (log->sent - log->cursor_base == BLOCK_SIZE) {
		log->cursor = log->cursor->next;
		log->cursor_base += BLOCK_SIZE;
	}
	size_t at = (size_t)(log->sent - log->cursor_base);
	uint64_t left = log->end - log->sent;
	*len = left < BLOCK_SIZE - at ? (size_t)left : BLOCK_SIZE - at;
	return log->cursor->bytes + at;
}

void bytelog_advance(struct bytelog *log, size_t len)
{
	log->sent += len;
}

void bytelog_release(struct bytelog *log, uint64_t offset)
{
	log->start = offset;
	if (log->start == log->end) {
		drop_all(log);
		return;
	}
	while (offset - log->head_base >= BLOCK_SIZE) {
		struct block *b = log->head;
		if (log->cursor == b) {
			log->cursor = b->next;
			log->cursor_base += BLOCK_SIZE;
		}
		log->head = b->next;
		log->head_base += BLOCK_SIZE;
		block_give(log->pool, b);
	}
}

void bytelog_rewind(struct bytelog *log, uint64_t offset)
{
	log->sent = offset;
	log->cursor = log->head;
	log->cursor_base = log->head_base;
	while (log->cursor && log->cursor->next && offset - log->cursor_base >= BLOCK_SIZE) {
		log->cursor = log->cursor->next;
		log->cursor_base += BLOCK_SIZE;
	}
}

bool bytelog_peek(const struct bytelog *log, uint64_t offset, void *out, size_t len)
{
	if (offset < log->start || offset > log->end || log->end - offset < len)
		return false;
	const struct block *b = log->head;
	uint64_t base = log->head_base;
	/* Walks usually look just ahead of the cursor: start there where that is possible. */
	if (log->cursor && offset >= log->cursor_base) {
		b = log->cursor;
		base = log->cursor_base;
	}
	while (b && offset - base >= BLOCK_SIZE) {
		b = b->next;
		base += BLOCK_SIZE;
	}
	uint8_t *to = out;
	while (len && b) {
		size_t at = (size_t)(offset - base);
		size_t part = len < BLOCK_SIZE - at ? len : BLOCK_SIZE - at;
		memcpy(to, b->bytes + at, part);
		to += part;
		offset += part;
		len -= part;
		b = b->next;
		base += BLOCK_SIZE;
	}
	return true;
}

void bytelog_reset(struct bytelog *log, uint64_t offset)
{
	drop_all(log);
	log->start = log->sent = log->end = offset;
}
