/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.h - a growing run of bytes
 *
 * Appending never fails visibly: when memory runs out, `failed` is set and everything after is
 * dropped, so a builder checks once at the end. data is NUL-terminated beyond len whenever it is
 * not NULL, so text can be used as a string. A zeroed struct is an empty buffer.
 */
#ifndef PEERPOD_BASE_BUF_H
#define PEERPOD_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data; /* owned */
	size_t len;
	size_t cap;
	bool failed; /* memory ran out: the content is not whole */
};

#define BUF_INIT ((struct buf){0})

void buf_append(struct buf *b, const void *bytes, size_t len);
void buf_append_text(struct buf *b, const char *text);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Room for len more bytes at the end; NULL when memory runs out. The caller adds to len. */
uint8_t *buf_reserve(struct buf *b, size_t len);

/* Drops the first len bytes. */
void buf_consume(struct buf *b, size_t len);

/* The text, never NULL. */
const char *buf_text(const struct buf *b);

/* Hands the bytes over as a string to be freed, and leaves the buffer empty. NULL: no memory. */
char *buf_take(struct buf *b);

void buf_free(struct buf *b);

/* As buf_free, after overwriting what was there. */
void buf_wipe(struct buf *b);

#endif
