/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.c - see utf8.h. RFC 3629: shortest forms only, no surrogates, nothing above U+10FFFF. */
#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"

size_t utf8_character(const char *text, size_t len)
{
	/* Ranges of the first byte, and of the second that goes with it; the others are 80..BF. */
	static const struct {
		uint8_t first, last, second_first, second_last, size;
	} forms[] = {
		{0x00, 0x7f, 0, 0, 1},
		{0xc2, 0xdf, 0x80, 0xbf, 2},
		{0xe0, 0xe0, 0xa0, 0xbf, 3},
		{0xe1, 0xec, 0x80, 0xbf, 3},
		{0xed, 0xed, 0x80, 0x9f, 3},
		{0xee, 0xef, 0x80, 0xbf, 3},
		{0xf0, 0xf0, 0x90, 0xbf, 4},
		{0xf1, 0xf3, 0x80, 0xbf, 4},
		{0xf4, 0xf4, 0x80, 0x8f, 4},
	};
	const uint8_t *bytes = (const uint8_t *)text;
	for (size_t i = 0; len && i < array_size(forms); i++) {
		if (bytes[0] < forms[i].first || bytes[0] > forms[i].last)
			continue;
		size_t size = forms[i].size;
		if (size > len)
			return 0;
		if (size > 1 &&
			(bytes[1] < forms[i].second_first || bytes[1] > forms[i].second_last))
			return 0;
		for (size_t at = 2; at < size; at++) {
			if ((bytes[at] & 0xc0) != 0x80)
				return 0;
		}
		return size;
	}
	return 0;
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
