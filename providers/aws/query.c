/* SPDX-License-Identifier: Apache-2.0 */
/* query.c - see query.h */
#include "providers/aws/query.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void encode(struct buf *out, const char *text)
{
	static const char plain[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~";
	while (*text) {
		size_t run = strspn(text, plain);
		buf_append(out, text, run);
		text += run;
		if (*text)
			buf_printf(out, "%%%02X", (unsigned char)*text++);
	}
}

void query_start(struct query *q, const char *action, const char *version)
{
	*q = (struct query){.action = action};
	buf_printf(&q->body, "Action=%s&Version=%s", action, version);
}

void query_add(struct query *q, const char *value, const char *key_format, ...)
{
	char key[128];
	va_list arguments;
	va_start(arguments, key_format);
	vsnprintf(key, sizeof(key), key_format, arguments);
	va_end(arguments);
	buf_append_text(&q->body, "&");
	buf_append_text(&q->body, key);
	buf_append_text(&q->body, "=");
	encode(&q->body, value);
}

void query_add_int(struct query *q, int64_t value, const char *key)
{
	char text[32];
	snprintf(text, sizeof(text), "%" PRId64, value);
	query_add(q, text, "%s", key);
}

void query_filter(struct query *q, unsigned n, const char *name, const char *const *values)
{
	query_add(q, name, "Filter.%u.Name", n);
	for (unsigned i = 0; values[i]; i++)
		query_add(q, values[i], "Filter.%u.Value.%u", n, i + 1);
}

void query_filter_one(struct query *q, unsigned n, const char *name, const char *value)
{
	const char *const values[] = {value, NULL};
	query_filter(q, n, name, values);
}

void query_free(struct query *q)
{
	buf_wipe(&q->body);
}
