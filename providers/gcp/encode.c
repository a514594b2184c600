/* SPDX-License-Identifier: Apache-2.0 */
/* encode.c - see encode.h */
#include "providers/gcp/encode.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void append_encoded(struct buf *out, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if (isalnum(c) || strchr("-._~", c))
			buf_append(out, text, 1);
		else
			buf_printf(out, "%%%02X", c);
	}
}

void form_add(struct buf *form, const char *name, const char *value)
{
	if (form->len)
		buf_append_text(form, "&");
	append_encoded(form, name);
	buf_append_text(form, "=");
	append_encoded(form, value);
}

void query_add(struct buf *url, const char *name, const char *value)
{
	buf_append_text(url, strchr(buf_text(url), '?') ? "&" : "?");
	append_encoded(url, name);
	buf_append_text(url, "=");
	append_encoded(url, value);
}

/* "Z" or "+01:30", to the end. */
static bool zone_read(const char *text, long *seconds)
{
	int hours, minutes, used = 0;
	if (!strcmp(text, "Z")) {
		*seconds = 0;
		return true;
	}
	if ((*text != '+' && *text != '-') || !isdigit((unsigned char)text[1]) ||
		sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 || text[1 + used] ||
		hours > 23 || minutes < 0 || minutes > 59)
		return false;
	*seconds = (*text == '-' ? -1 : 1) * (hours * 3600L + minutes * 60L);
	return true;
}

bool time_read(const char *text, int64_t *out)
{
	struct tm tm = {0};
	long zone;
	const char *rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
	if (!rest || tm.tm_year < 70 || tm.tm_year > 8000)
		return false;
	if (*rest == '.')
		rest += 1 + strspn(rest + 1, "0123456789");
	if (!zone_read(rest, &zone))
		return false;
	*out = (int64_t)timegm(&tm) - zone;
	return true;
}
