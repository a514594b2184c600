/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h - columns for people
 *
 * What a cell may not do is steer the terminal: names come from tags in a cloud that others may write.
 */
#ifndef PEERPODCTL_TABLE_H
#define PEERPODCTL_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct table {
	size_t columns;
	char **cells; /* the header is the first row */
	size_t count;
	int failed; /* memory ran out */
};

/* headers: columns of them. */
void table_start(struct table *table, size_t columns, const char *const *headers);
/* The next cell, left to right, row by row. Empty text becomes "-". */
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* -1: memory ran out, nothing was printed. */
int table_print(const struct table *table, FILE *out);
void table_free(struct table *table);

/* "45s", "12m", "5h", "3d" from then to now; "-" where then is 0 or later than now. */
void age_print(int64_t then, int64_t now, char *text, size_t size);

#endif
