/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base64.c - see base64.h. Encoding is OpenSSL's; its decoder takes broken padding for zero bytes, so
 * decoding is ours.
 */
#include "base/base64.h"

#include <ctype.h>
#include <limits.h>
#include <openssl/evp.h>

void base64_encode(const void *bytes, size_t len, struct buf *out)
{
	if (len > INT_MAX / 2) {
		out->failed = true;
		return;
	}
	uint8_t *at = buf_reserve(out, (len + 2) / 3 * 4);
	if (at)
		out->len += (size_t)EVP_EncodeBlock(at, bytes, (int)len);
}

static int value_of(unsigned char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(const char *text, size_t len, size_t max, struct buf *out, struct error *err)
{
	uint32_t group = 0;
	int digits = 0, padding = 0;
	size_t start = out->len;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (isspace(c))
			continue;
		if (c == '=') {
			if (digits + ++padding > 4 || digits < 2)
				return error_set(err, ERROR_INVALID,
					"base64: misplaced padding at byte %zu", i);
			continue;
		}
		int value = value_of(c);
		if (value < 0)
			return error_set(err, ERROR_INVALID,
				"base64: byte 0x%02x at %zu is not of the alphabet", c, i);
		if (padding)
			return error_set(err, ERROR_INVALID,
				"base64: data after the padding at byte %zu", i);
		group = group << 6 | (uint32_t)value;
		if (++digits < 4)
			continue;
		uint8_t three[3] = {(uint8_t)(group >> 16), (uint8_t)(group >> 8), (uint8_t)group};
		buf_append(out, three, 3);
		group = 0;
		digits = 0;
		if (out->len - start > max)
			return error_set(err, ERROR_INVALID, "base64: more than %zu bytes decoded",
				max);
	}
	if (digits && digits + padding != 4)
		return error_set(err, ERROR_INVALID, "base64: the text is cut short");
	if (digits) {
		uint32_t bits = group << (6 * (4 - digits));
		uint8_t two[2] = {(uint8_t)(bits >> 16), (uint8_t)(bits >> 8)};
		buf_append(out, two, (size_t)digits - 1);
	}
	if (out->len - start > max)
		return error_set(err, ERROR_INVALID, "base64: more than %zu bytes decoded", max);
	if (out->failed)
		return error_set(err, ERROR_CAPACITY, "base64: out of memory");
	return 0;
}

void hex_encode(const void *bytes, size_t len, struct buf *out)
{
	const uint8_t *p = bytes;
	for (size_t i = 0; i < len; i++)
		buf_printf(out, "%02x", p[i]);
}
