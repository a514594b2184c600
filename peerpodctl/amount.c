/* SPDX-License-Identifier: Apache-2.0 */
/* amount.c - see amount.h */
#include "peerpodctl/amount.h"

#include <string.h>

#include "base/cleanup.h"

#define MIB ((double)1024 * 1024)
/* 1 PiB: nothing that is to be had comes near. */
#define MEMORY_MIB_MOST (INT64_C(1) << 30)

int memory_parse(const char *text, int64_t *mib, struct error *err)
{
	static const struct {
		const char *name;
		double mib;
	} units[] = {
		{"Mi", 1},
		{"Gi", 1024},
		{"Ti", 1024 * 1024},
		{"M", 1e6 / MIB},
		{"G", 1e9 / MIB},
		{"T", 1e12 / MIB},
	};
	size_t digits = strspn(text, "0123456789.");
	const char *unit = text + digits, *point = strchr(text, '.');
	double number = 0, scale = 1;
	if (!digits || digits > 15 || *text == '.' || (point && point + 1 == unit) ||
		(point && strchr(point + 1, '.')))
		return error_set(err, ERROR_INVALID,
			"\"%.40s\" is no amount of memory: write it like 16Gi or 512Mi", text);
	for (const char *p = text; p < unit; p++) {
		if (*p == '.')
			continue;
		number = number * 10 + (*p - '0');
		if (point && p > point)
			scale *= 10;
	}
	for (size_t i = 0; i < array_size(units); i++) {
		if (strcmp(unit, units[i].name) != 0)
			continue;
		double amount = number / scale * units[i].mib;
		if (amount > (double)MEMORY_MIB_MOST)
			return error_set(err, ERROR_INVALID,
				"\"%.40s\" is more memory than there is", text);
		*mib = (int64_t)amount;
		*mib += (double)*mib < amount;
		return 0;
	}
	return error_set(err, ERROR_INVALID, "\"%.40s\" has %s: write it like 16Gi or 512Mi", text,
		*unit ? "an unknown unit" : "no unit");
}

int count_parse(const char *text, int64_t most, int64_t *count, struct error *err)
{
	size_t digits = strspn(text, "0123456789");
	int64_t number = 0;
	for (size_t i = 0; i < digits && number <= most; i++)
		number = number * 10 + (text[i] - '0');
	if (!digits || text[digits] || number > most)
		return error_set(err, ERROR_INVALID, "\"%.40s\" is no whole number from 0 to %lld",
			text, (long long)most);
	*count = number;
	return 0;
}
