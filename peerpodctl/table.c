/* SPDX-License-Identifier: Apache-2.0 */
/* table.c - see table.h */
#include "peerpodctl/table.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* Takes text over; NULL: no memory. */
static void add(struct table *table, char *text)
{
	char **grown = text ? reallocarray(table->cells, table->count + 1, sizeof(*grown)) : NULL;
	if (!grown) {
		table->failed = 1;
		free(text);
		return;
	}
	for (unsigned char *c = (unsigned char *)text; *c; c++) {
		if (*c < ' ' || *c == 0x7f)
			*c = '?';
	}
	table->cells = grown;
	table->cells[table->count++] = text;
}

void table_start(struct table *table, size_t columns, const char *const *headers)
{
	*table = (struct table){.columns = columns};
	for (size_t i = 0; i < columns; i++)
		add(table, strdup(headers[i]));
}

void table_cell(struct table *table, const char *format, ...)
{
	va_list args;
	char *text;
	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	if (text && !*text) {
		free(text);
		text = strdup("-");
	}
	add(table, text);
}

int table_print(const struct table *table, FILE *out)
{
	cleanup(free_ptr) size_t *widths = calloc(table->columns + 1, sizeof(*widths));
	if (!widths || table->failed)
		return -1;
	for (size_t i = 0; i < table->count; i++) {
		size_t len = strlen(table->cells[i]), *width = &widths[i % table->columns];
		*width = len > *width ? len : *width;
	}
	for (size_t i = 0; i < table->count; i++) {
		size_t column = i % table->columns;
		if (column + 1 == table->columns)
			fprintf(out, "%s\n", table->cells[i]);
		else
			fprintf(out, "%-*s  ", (int)widths[column], table->cells[i]);
	}
	return 0;
}

void table_free(struct table *table)
{
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i]);
	free(table->cells);
	*table = (struct table){0};
}

void age_print(int64_t then, int64_t now, char *text, size_t size)
{
	static const struct {
		int64_t below, unit;
		char letter;
	} steps[] = {{120, 1, 's'}, {120 * 60, 60, 'm'}, {48 * 3600, 3600, 'h'},
		{INT64_MAX, 86400, 'd'}};
	int64_t age = now - then;
	snprintf(text, size, "-");
	for (size_t i = 0; then > 0 && age >= 0 && i < array_size(steps); i++) {
		if (age >= steps[i].below)
			continue;
		snprintf(text, size, "%" PRId64 "%c", age / steps[i].unit, steps[i].letter);
		return;
	}
}
