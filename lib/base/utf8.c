/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.c - see utf8.h. RFC 3629: shortest forms only, no surrogates, nothing above U+10FFFF. */
#include "base/utf8.h"

#include <string.h>

#include "base/cleanup.h"

size_t utf8_decode(const char *text, size_t len, uint32_t *point)
{
	static const struct {
		uint8_t mask, lead;
		uint32_t least;
	} forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800},
		{0xf8, 0xf0, 0x10000}};
	const uint8_t *bytes = (const uint8_t *)text;
	for (size_t size = 1; size <= array_size(forms) && size <= len; size++) {
		if ((bytes[0] & forms[size - 1].mask) != forms[size - 1].lead)
			continue;
		uint32_t value = bytes[0] & (uint8_t)~forms[size - 1].mask;
		for (size_t i = 1; i < size; i++) {
			if ((bytes[i] & 0xc0) != 0x80)
				return 0;
			value = value << 6 | (bytes[i] & 0x3f);
		}
		*point = value;
		return value < forms[size - 1].least ? 0 : size;
	}
	return 0;
}

size_t utf8_character(const char *text, size_t len)
{
	uint32_t point = 0;
	size_t size = utf8_decode(text, len, &point);
	return (point >= 0xd800 && point < 0xe000) || point > 0x10ffff ? 0 : size;
}

void utf8_repair(char *text)
{
	size_t len = strlen(text);
	for (size_t at = 0; at < len;) {
		size_t size = utf8_character(text + at, len - at);
		if (!size)
			text[at] = '?';
		at += size ? size : 1;
	}
}
