/* SPDX-License-Identifier: Apache-2.0 */
/* console.c - see console.h */
#include "adaptor/console.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"

#define ESCAPE 0x1b

/* Behind an ESC: CSI sequences end with a letter or one of @[\]^_`{|}~, others are one character. */
static const char *skip_escape(const char *p)
{
	if (*p != '[')
		return *p ? p + 1 : p;
	for (p++; *p && (*p < 0x40 || *p > 0x7e); p++)
		;
	return *p ? p + 1 : p;
}

/* Only lines and printable characters. */
static void strip(const char *raw, struct buf *out)
{
	for (const char *p = raw; *p;) {
		unsigned char c = (unsigned char)*p++;
		if (c == ESCAPE)
			p = skip_escape(p);
		else if (c == '\n' || (c >= 0x20 && c < 0x7f))
			buf_append(out, &c, 1);
		else if (c == '\t')
			buf_append_text(out, " ");
		else if (c >= 0x80)
			buf_append_text(out, "?");
	}
}

static bool may_hold_a_secret(const char *line)
{
	static const char *const words[] = {"PRIVATE KEY", "password", "passwd", "secret", "token",
		"authorization", "credential"};
	for (size_t i = 0; i < array_size(words); i++) {
		if (strcasestr(line, words[i]))
			return true;
	}
	/* A run of base64: a key or a certificate. */
	size_t run =
		strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=");
	return run >= 40 && !line[run];
}

void console_clean(const char *raw, struct buf *out)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	cleanup(buf_free) struct buf joined = BUF_INIT;
	strip(raw, &text);
	if (!text.data || text.failed)
		return;
	char *rest = (char *)text.data;
	for (char *line; (line = strsep(&rest, "\n"));) {
		line += strspn(line, " ");
		if (!*line)
			continue;
		if (joined.len)
			buf_append_text(&joined, " | ");
		buf_append_text(&joined, may_hold_a_secret(line) ? "(withheld)" : line);
	}
	size_t skip = joined.len > CONSOLE_TEXT_MAX ? joined.len - CONSOLE_TEXT_MAX : 0;
	if (skip)
		buf_append_text(out, "...");
	buf_append_text(out, buf_text(&joined) + skip);
}
