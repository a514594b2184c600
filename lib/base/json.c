/* SPDX-License-Identifier: Apache-2.0 */
/* json.c - see json.h */
#include "base/json.h"

#include <string.h>

json_t *json_parse(const char *name, const void *text, size_t len, size_t max, bool allow_trailing,
	struct error *err)
{
	if (len > max) {
		error_set(err, ERROR_INVALID, "%s: %zu bytes are more than the limit of %zu", name,
			len, max);
		return NULL;
	}
	json_error_t why;
	size_t flags = JSON_REJECT_DUPLICATES | (allow_trailing ? JSON_DISABLE_EOF_CHECK : 0);
	json_t *value = json_loadb(text, len, flags, &why);
	if (!value)
		error_set(err, ERROR_INVALID, "%s: line %d: %s", name, why.line, why.text);
	return value;
}

/* The member, or NULL where it may be missing; *missing tells a failure from an absence. */
static json_t *member(const json_t *object, const char *name, const char *key, enum json_need need,
	int *result, struct error *err)
{
	*result = 0;
	json_t *value = json_object_get(object, key);
	if (value && !json_is_null(value))
		return value;
	if (need == JSON_REQUIRED)
		*result = error_set(err, ERROR_INVALID, "%s: \"%s\" is missing", name, key);
	return NULL;
}

int json_read_string(const json_t *object, const char *name, const char *key, enum json_need need,
	char **out, struct error *err)
{
	int result;
	json_t *value = member(object, name, key, need, &result, err);
	if (!value)
		return result;
	if (!json_is_string(value))
		return error_set(err, ERROR_INVALID, "%s: \"%s\" must be a string", name, key);
	if (memchr(json_string_value(value), 0, json_string_length(value)))
		return error_set(err, ERROR_INVALID, "%s: \"%s\" holds a NUL character", name, key);
	char *copy = strdup(json_string_value(value));
	if (!copy)
		return error_set(err, ERROR_CAPACITY, "%s: out of memory", name);
	free(*out);
	*out = copy;
	return 0;
}

int json_read_int(const json_t *object, const char *name, const char *key, enum json_need need,
	int64_t min, int64_t max, int64_t *out, struct error *err)
{
	int result;
	json_t *value = member(object, name, key, need, &result, err);
	if (!value)
		return result;
	if (!json_is_integer(value))
		return error_set(err, ERROR_INVALID, "%s: \"%s\" must be an integer", name, key);
	int64_t number = json_integer_value(value);
	if (number < min || number > max)
		return error_set(err, ERROR_INVALID,
			"%s: \"%s\" is %lld, not between %lld and %lld", name, key,
			(long long)number, (long long)min, (long long)max);
	*out = number;
	return 0;
}

int json_read_bool(const json_t *object, const char *name, const char *key, enum json_need need,
	bool *out, struct error *err)
{
	int result;
	json_t *value = member(object, name, key, need, &result, err);
	if (!value)
		return result;
	if (!json_is_boolean(value))
		return error_set(err, ERROR_INVALID, "%s: \"%s\" must be true or false", name, key);
	*out = json_is_true(value);
	return 0;
}
