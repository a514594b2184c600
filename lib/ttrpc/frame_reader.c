/* SPDX-License-Identifier: Apache-2.0 */
/* frame_reader.c - see frame_reader.h */
#include "ttrpc/frame_reader.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* Data from here on is read straight into the frame's buffer, this much at a time at most. */
#define DIRECT_MIN FRAME_READER_CHUNK
#define DIRECT_STEP ((size_t)256 << 10)
/* A buffer larger than this is given back after its frame. */
#define KEEP_MAX ((size_t)64 << 10)

void frame_reader_free(struct frame_reader *reader)
{
	buf_free(&reader->data);
	free(reader->chunk);
	*reader = (struct frame_reader){0};
}

uint8_t *frame_reader_space(struct frame_reader *r, size_t *len)
{
	if (r->state == READER_DATA && !r->oversized && r->start == r->end &&
		r->left >= DIRECT_MIN) {
		*len = r->left < DIRECT_STEP ? r->left : DIRECT_STEP;
		uint8_t *at = buf_reserve(&r->data, *len);
		r->direct = at != NULL;
		return at;
	}
	if (!r->chunk && !(r->chunk = malloc(FRAME_READER_CHUNK)))
		return NULL;
	if (r->start) {
		memmove(r->chunk, r->chunk + r->start, r->end - r->start);
		r->end -= r->start;
		r->start = 0;
	}
	*len = FRAME_READER_CHUNK - r->end;
	return r->chunk + r->end;
}

void frame_reader_added(struct frame_reader *r, size_t len)
{
	if (r->direct) {
		r->data.len += len;
		r->left -= (uint32_t)len;
		r->direct = false;
	} else {
		r->end += len;
	}
}

static void start_frame(struct frame_reader *r)
{
	if (r->data.cap > KEEP_MAX)
		buf_free(&r->data);
	r->data.len = 0;
	r->oversized = false;
	r->state = READER_HEAD;
}

/* Waits for more bytes, which may be long in coming. */
static int need_more(struct frame_reader *r)
{
	if (r->start == r->end) {
		free(take_ptr(r->chunk));
		r->start = r->end = 0;
	}
	return 0;
}

int frame_reader_next(struct frame_reader *r)
{
	if (r->state == READER_DONE)
		start_frame(r);
	if (r->state == READER_HEAD) {
		if (r->end - r->start < TTRPC_HEADER_SIZE)
			return need_more(r);
		ttrpc_header_read(r->chunk + r->start, &r->header);
		r->start += TTRPC_HEADER_SIZE;
		r->left = r->header.length;
		r->oversized = r->header.length > TTRPC_DATA_MAX;
		r->state = READER_DATA;
	}
	size_t here = r->end - r->start;
	if (here > r->left)
		here = r->left;
	if (!r->oversized && here)
		buf_append(&r->data, r->chunk + r->start, here);
	r->start += here;
	r->left -= (uint32_t)here;
	if (r->data.failed)
		return -1;
	if (r->left)
		return need_more(r);
	r->state = READER_DONE;
	return 1;
}
