/* SPDX-License-Identifier: Apache-2.0 */
/* print.c - see print.h */
#include "peerpodctl/print.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

int print_json(json_t *value, bool compact, struct error *err)
{
	cleanup(free_ptr) char *text =
		value ? json_dumps(value,
				(compact ? JSON_COMPACT : JSON_INDENT(2)) | JSON_REAL_PRECISION(12))
		      : NULL;
	json_decref(value);
	if (!text)
		return error_set(err, ERROR_CAPACITY, "print JSON: out of memory");
	puts(text);
	return 0;
}

json_t *json_text(const char *text)
{
	json_t *value = text && *text ? json_string(text) : json_null();
	return value ? value : json_string("(not UTF-8)");
}

json_t *json_texts(char *const *list)
{
	json_t *array = json_array();
	for (; list && *list; list++)
		json_array_append_new(array, json_text(*list));
	return array;
}

json_t *json_time(int64_t when)
{
	time_t seconds = (time_t)when;
	struct tm parts;
	char text[32];
	if (when <= 0 || !gmtime_r(&seconds, &parts))
		return json_null();
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
	return json_string(text);
}

void print_line(const char *label, const char *text)
{
	if (!text || !*text)
		return;
	printf("%-14s ", label);
	for (const char *c = text; *c; c++)
		putchar((unsigned char)*c < ' ' || *c == 0x7f ? '?' : *c);
	putchar('\n');
}
