/* SPDX-License-Identifier: Apache-2.0 */
/* buf.c - see buf.h */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint8_t *buf_reserve(struct buf *b, size_t len)
{
	if (b->failed)
		return NULL;
	if (len > SIZE_MAX / 2 - b->len - 1) {
		b->failed = true;
		return NULL;
	}
	size_t want = b->len + len + 1;
	if (want > b->cap) {
		size_t cap = b->cap ? b->cap : 64;
		while (cap < want)
			cap *= 2;
		uint8_t *data = realloc(b->data, cap);
		if (!data) {
			b->failed = true;
			return NULL;
		}
		b->data = data;
		b->cap = cap;
	}
	return b->data + b->len;
}

void buf_append(struct buf *b, const void *bytes, size_t len)
{
	uint8_t *at = buf_reserve(b, len);
	if (!at)
		return;
	if (len)
		memcpy(at, bytes, len);
	b->len += len;
	b->data[b->len] = 0;
}

void buf_append_text(struct buf *b, const char *text)
{
	buf_append(b, text, strlen(text));
}

void buf_printf(struct buf *b, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	uint8_t *at = len < 0 ? NULL : buf_reserve(b, (size_t)len);
	if (!at) {
		b->failed = true;
		return;
	}
	va_start(args, format);
	vsnprintf((char *)at, (size_t)len + 1, format, args);
	va_end(args);
	b->len += (size_t)len;
}

void buf_consume(struct buf *b, size_t len)
{
	if (len >= b->len) {
		b->len = 0;
	} else {
		memmove(b->data, b->data + len, b->len - len);
		b->len -= len;
	}
	if (b->data)
		b->data[b->len] = 0;
}

const char *buf_text(const struct buf *b)
{
	return b->data && b->len ? (const char *)b->data : "";
}

char *buf_take(struct buf *b)
{
	if (b->failed || !buf_reserve(b, 0)) {
		buf_free(b);
		return NULL;
	}
	char *text = (char *)b->data;
	text[b->len] = 0;
	*b = BUF_INIT;
	return text;
}

void buf_free(struct buf *b)
{
	free(b->data);
	*b = BUF_INIT;
}

void buf_wipe(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	buf_free(b);
}
