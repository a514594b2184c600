/* SPDX-License-Identifier: Apache-2.0 */
/* trouble.c - see trouble.h */
#include "trouble.h"

#include <stdbool.h>
#include <string.h>

static const char *const calls[] = {"create", "addresses", "find", "delete", "list", "offerings"};

static int kind_parse(const char *text, size_t len, enum error_kind *kind)
{
	for (int k = ERROR_INTERNAL; k <= ERROR_UNSUPPORTED; k++) {
		const char *name = error_kind_name((enum error_kind)k);
		if (strlen(name) == len && !strncmp(name, text, len)) {
			*kind = (enum error_kind)k;
			return 0;
		}
	}
	return -1;
}

static int call_parse(const char *text, size_t len, char *call, size_t size)
{
	for (size_t i = 0; i < array_size(calls); i++)
		if (strlen(calls[i]) == len && !strncmp(calls[i], text, len)) {
			snprintf(call, size, "%s", calls[i]);
			return 0;
		}
	return -1;
}

static int entry_parse(const char *text, size_t len, struct trouble *trouble, struct error *err)
{
	const char *end = text + len, *kind = memchr(text, ':', len);
	const char *count = kind ? memchr(kind + 1, ':', (size_t)(end - kind - 1)) : NULL;
	long left = -1;
	if (count) {
		char *rest;
		left = strtol(count + 1, &rest, 10);
		if (rest != end || rest == count + 1 || left < 0)
			kind = NULL;
	}
	if (!kind ||
		call_parse(text, (size_t)(kind - text), trouble->call, sizeof(trouble->call)) < 0 ||
		kind_parse(kind + 1, (size_t)((count ? count : end) - kind - 1), &trouble->kind) <
			0)
		return error_set(err, ERROR_INVALID,
			"NETNS_FAIL: \"%.*s\" is not CALL:KIND[:COUNT]; calls: create, addresses, find, delete, list; kinds: capacity, quota, denied, invalid, retry, ...",
			(int)len, text);
	atomic_store(&trouble->left, left);
	return 0;
}

int troubles_parse(const char *text, struct troubles *troubles, struct error *err)
{
	troubles->count = 0;
	while (*text) {
		size_t len = strcspn(text, ",");
		if (troubles->count == TROUBLES_MAX)
			return error_set(err, ERROR_INVALID, "NETNS_FAIL: more than %d entries",
				TROUBLES_MAX);
		if (entry_parse(text, len, &troubles->list[troubles->count], err) < 0)
			return -1;
		troubles->count++;
		text += len + (text[len] == ',');
	}
	return 0;
}

/* Takes one of a limited number of failures; false when they are used up. */
static bool take_one(struct trouble *trouble)
{
	long left = atomic_load(&trouble->left);
	while (left > 0)
		if (atomic_compare_exchange_weak(&trouble->left, &left, left - 1))
			return true;
	return left < 0;
}

int trouble_due(struct troubles *troubles, const char *call, struct error *err)
{
	for (size_t i = 0; i < troubles->count; i++)
		if (!strcmp(troubles->list[i].call, call) && take_one(&troubles->list[i]))
			return error_set(err, troubles->list[i].kind,
				"ordered by NETNS_FAIL: %s fails", call);
	return 0;
}
