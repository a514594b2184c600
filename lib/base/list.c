/* SPDX-License-Identifier: Apache-2.0 */
/* list.c - see list.h */
#include "base/list.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* A copy of [start, end) without blanks around it. */
static char *trimmed(const char *start, const char *end)
{
	while (start < end && isspace((unsigned char)*start))
		start++;
	while (end > start && isspace((unsigned char)end[-1]))
		end--;
	return strndup(start, (size_t)(end - start));
}

char **list_split(const char *text)
{
	size_t words = 1;
	for (const char *p = text; *p; p++)
		words += *p == ',';
	char **list = calloc(words + 1, sizeof(*list));
	size_t count = 0;
	while (list && *text) {
		size_t len = strcspn(text, ",");
		char *word = trimmed(text, text + len);
		if (!word) {
			list_free(list);
			return NULL;
		}
		if (*word)
			list[count++] = word;
		else
			free(word);
		text += len + (text[len] == ',');
	}
	return list;
}

void list_free(char **list)
{
	for (char **p = list; p && *p; p++)
		free(*p);
	free(list);
}

size_t list_count(char *const *list)
{
	size_t count = 0;
	while (list && list[count])
		count++;
	return count;
}

bool list_holds(char *const *list, const char *text)
{
	for (; list && *list; list++) {
		if (!strcmp(*list, text))
			return true;
	}
	return false;
}

int pairs_next(const char *what, const char **text, char **key, char **value, struct error *err)
{
	*key = *value = NULL;
	while (**text == ',')
		(*text)++;
	if (!**text)
		return 0;
	const char *item = *text, *end = item + strcspn(item, ",");
	const char *equals = memchr(item, '=', (size_t)(end - item));
	*text = end;
	if (!equals)
		return error_set(err, ERROR_INVALID, "%s: \"%.*s\" is not of the form key=value",
			what, (int)(end - item), item);
	*key = trimmed(item, equals);
	*value = trimmed(equals + 1, end);
	if (*key && *value)
		return 1;
	free(take_ptr(*key));
	free(take_ptr(*value));
	return error_set(err, ERROR_CAPACITY, "out of memory");
}

int pairs_check(const char *what, const char *text,
	int (*next)(const char **text, char **key, char **value, struct error *err), size_t max,
	const char *kind, struct error *err)
{
	for (size_t count = 0;; count++) {
		cleanup(free_ptr) char *key = NULL, *value = NULL;
		int more = next(&text, &key, &value, err);
		if (more <= 0)
			return more;
		if (count == max)
			return error_set(err, ERROR_INVALID, "%s: more than %zu %s", what, max,
				kind);
	}
}
