/* SPDX-License-Identifier: Apache-2.0 */
/* token.c - see token.h */
#include "providers/azure/token.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bound.h"
#include "base/json.h"
#include "providers/azure/failure.h"

#define LIFE_MAX_S (INT64_C(7) * 24 * 3600) /* no token lives longer; a wrong number is cut */
#define TEXT_MAX 500

/* A number, or the same as text. -1: neither. */
static int64_t number_at(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	if (json_is_integer(value))
		return json_integer_value(value);
	const char *text = json_string_value(value);
	if (!text || !*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 15)
		return -1;
	return strtoll(text, NULL, 10);
}

/* "06/19/2026 02:57:58 +00:00", as older hosts write it. -1: it is not. */
static int64_t old_date(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	struct tm tm = {0};
	const char *rest = text ? strptime(text, "%m/%d/%Y %H:%M:%S", &tm) : NULL;
	if (!rest || strcmp(rest, " +00:00") != 0)
		return -1;
	return timegm(&tm);
}

static int64_t life_of(const json_t *answer, int64_t now)
{
	int64_t seconds = number_at(answer, "expires_in");
	if (seconds >= 0)
		return seconds;
	int64_t end = number_at(answer, "expires_on");
	if (end < 0)
		end = old_date(answer, "expires_on");
	return end > now ? end - now : 0;
}

/* What can stand in a header. */
static bool is_clean(const char *text)
{
	for (; *text; text++) {
		if (!isgraph((unsigned char)*text))
			return false;
	}
	return true;
}

/* jansson frees strings without overwriting them: the token's are. */
static void wipe_token(json_t *answer)
{
	json_t *value = json_object_get(answer, "access_token");
	if (json_is_string(value))
		explicit_bzero((char *)json_string_value(value), json_string_length(value));
}

int token_read(const char *from, const void *text, size_t len, int64_t now, struct secret *token,
	uint64_t *lives_ns, struct error *err)
{
	cleanup_json *answer = json_parse(from, text, len, TOKEN_ANSWER_MAX, true, err);
	if (!answer)
		return -1;
	const char *value = json_string_value(json_object_get(answer, "access_token"));
	int result = 0;
	if (!value || !*value || !is_clean(value))
		result = error_set(err, ERROR_INVALID, "%s: the answer holds no token", from);
	else if (!secret_set(token, value, strlen(value)))
		result = error_set(err, ERROR_CAPACITY, "%s: out of memory", from);
	int64_t life = life_of(answer, now);
	life = life < LIFE_MAX_S ? life : LIFE_MAX_S;
	*lives_ns = (uint64_t)life * NS_PER_S;
	wipe_token(answer);
	return result;
}

static void copy_line(char *to, size_t size, const char *from)
{
	size_t n = 0;
	for (; *from && n + 1 < size; from++) {
		if ((unsigned char)*from < ' ' || *from == 127)
			break; /* trace ids and times follow, which we have in fields */
		to[n++] = *from;
	}
	to[n] = '\0';
}

int token_refusal_read(int status, const void *text, size_t len, struct error *err)
{
	cleanup_json *answer = json_parse("token", text, len, TOKEN_ANSWER_MAX, true, NULL);
	const char *code = json_string_value(json_object_get(answer, "error")),
		   *description = json_string_value(json_object_get(answer, "error_description")),
		   *trace = json_string_value(json_object_get(answer, "trace_id"));
	long number =
		(long)json_integer_value(json_array_get(json_object_get(answer, "error_codes"), 0));
	const char *at = description ? strstr(description, "AADSTS") : NULL;
	if (!number && at)
		number = strtol(at + 6, NULL, 10);
	enum error_kind kind = ERROR_DENIED;
	if (status == 429 || number == 50196)
		kind = ERROR_THROTTLED;
	else if (status == 408 || status >= 500 ||
		 (code && !strcmp(code, "temporarily_unavailable")))
		kind = ERROR_RETRY;
	char line[TEXT_MAX];
	copy_line(line, sizeof(line), description ? description : "no description");
	error_set(err, kind, "%.80s: %s (HTTP %d, trace %.80s)", code ? code : "no error code",
		line, status, trace ? trace : "unknown");
	const char *advice = aadsts_advice(number);
	return advice ? error_append(err, "; %s", advice) : -1;
}

int imds_refusal_read(int status, const void *text, size_t len, struct error *err)
{
	cleanup_json *answer = json_parse("token", text, len, TOKEN_ANSWER_MAX, true, NULL);
	const char *code = json_string_value(json_object_get(answer, "error")),
		   *description = json_string_value(json_object_get(answer, "error_description"));
	char line[TEXT_MAX];
	copy_line(line, sizeof(line), description ? description : "no description");
	bool passing = status == 404 || status == 410 || status == 429 || status >= 500;
	error_set(err, passing ? ERROR_RETRY : ERROR_DENIED,
		"instance metadata service: %.80s: %s (HTTP %d)", code ? code : "no error code",
		line, status);
	if (status == 400 && strcasestr(line, "Identity not found"))
		return error_append(err, "; %s",
			"this machine has no such managed identity: assign one to the node pool, and name it in "
			"AZURE_CLIENT_ID where there are several");
	return -1;
}
