/* SPDX-License-Identifier: Apache-2.0 */
/* failure.c - see failure.h */
#include "providers/gcp/failure.h"

#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"

#define BODY_MAX ((size_t)1 << 20)
#define SHOWN_MAX 1000 /* of a message */

struct rule {
	const char *name; /* "*X*": holds X */
	enum error_kind kind;
};

/* Reasons of HTTP answers. */
static const struct rule reasons[] = {
	{"rateLimitExceeded", ERROR_THROTTLED},
	{"userRateLimitExceeded", ERROR_THROTTLED},
	{"RATE_LIMIT_EXCEEDED", ERROR_THROTTLED},

	{"backendError", ERROR_RETRY},
	{"internalError", ERROR_RETRY},
	{"resourceInUseByAnotherResource", ERROR_RETRY},
	{"resourceNotReady", ERROR_RETRY},

	{"quotaExceeded", ERROR_QUOTA},

	{"authError", ERROR_DENIED},
	{"forbidden", ERROR_DENIED},
	{"insufficientPermissions", ERROR_DENIED},
	{"accessNotConfigured", ERROR_DENIED},
	{"SERVICE_DISABLED", ERROR_DENIED},
	{"conditionNotMet", ERROR_DENIED},

	{"alreadyExists", ERROR_EXISTS},
	{"notFound", ERROR_GONE},

	{"invalid", ERROR_INVALID},
	{"badRequest", ERROR_INVALID},
	{"required", ERROR_INVALID},
};

/* Codes of operations. */
static const struct rule codes[] = {
	{"RATE_LIMIT_EXCEEDED", ERROR_THROTTLED},
	{"OPERATION_RATE_EXCEEDED", ERROR_THROTTLED},

	{"INTERNAL_ERROR", ERROR_RETRY},
	{"BACKEND_ERROR", ERROR_RETRY},
	{"RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", ERROR_RETRY},
	{"RESOURCE_NOT_READY", ERROR_RETRY},

	{"ZONE_RESOURCE_POOL_EXHAUSTED", ERROR_CAPACITY},
	{"ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", ERROR_CAPACITY},
	{"RESOURCE_POOL_EXHAUSTED", ERROR_CAPACITY},
	{"GPU_STOCKOUT", ERROR_CAPACITY},
	{"UNSUPPORTED_OPERATION", ERROR_CAPACITY}, /* seen where a zone had none left */
	{"IP_SPACE_EXHAUSTED", ERROR_CAPACITY},
	{"IP_SPACE_EXHAUSTED_WITH_DETAILS", ERROR_CAPACITY},

	{"QUOTA_EXCEEDED", ERROR_QUOTA},
	{"*QUOTA*", ERROR_QUOTA},

	{"PERMISSIONS_ERROR", ERROR_DENIED},
	{"CONDITION_NOT_MET", ERROR_DENIED},

	{"RESOURCE_ALREADY_EXISTS", ERROR_EXISTS},
	{"RESOURCE_NOT_FOUND", ERROR_GONE},

	{"INVALID_FIELD_VALUE", ERROR_INVALID},
	{"INVALID_USAGE", ERROR_INVALID},
};

/* What to do about some of them, added to the message. */
static const struct {
	const char *name, *advice;
} hints[] = {
	{"accessNotConfigured", "enable the API in the project"},
	{"SERVICE_DISABLED", "enable the API in the project"},
	{"insufficientPermissions", "compare the role with docs/providers/gcp-role.json"},
	{"forbidden", "compare the role with docs/providers/gcp-role.json"},
	{"PERMISSIONS_ERROR", "compare the role with docs/providers/gcp-role.json"},
	{"conditionNotMet", "a policy of the organization forbids it"},
	{"CONDITION_NOT_MET", "a policy of the organization forbids it"},
	{"IP_SPACE_EXHAUSTED", "the subnetwork has no address left: take a larger one"},
	{"IP_SPACE_EXHAUSTED_WITH_DETAILS",
		"the subnetwork has no address left: take a larger one"},
};

static enum error_kind look_up(const struct rule *rules, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		const char *rule = rules[i].name;
		if (*rule == '*') {
			char part[64];
			size_t len = strlen(rule) - 2;
			memcpy(part, rule + 1, len);
			part[len] = '\0';
			if (strstr(name, part))
				return rules[i].kind;
		} else if (!strcmp(rule, name)) {
			return rules[i].kind;
		}
	}
	return ERROR_NONE;
}

static enum error_kind kind_of_status(int status)
{
	switch (status) {
	case 401:
	case 403:
	case 412:
		return ERROR_DENIED;
	case 404:
		return ERROR_GONE;
	case 409:
		return ERROR_EXISTS;
	case 429:
		return ERROR_THROTTLED;
	default:
		return status >= 500 || status < 400 ? ERROR_RETRY : ERROR_INVALID;
	}
}

enum error_kind failure_kind_of_reason(const char *reason, int status)
{
	enum error_kind kind = look_up(reasons, array_size(reasons), reason);
	/* Too many calls are told with many reasons. */
	if (status == 429)
		return ERROR_THROTTLED;
	return kind != ERROR_NONE ? kind : kind_of_status(status);
}

enum error_kind failure_kind_of_code(const char *code, int status)
{
	enum error_kind kind = look_up(codes, array_size(codes), code);
	if (kind != ERROR_NONE)
		return kind;
	/* An operation that ended with 503 found no room; asking again for the same is no use. */
	if (status == 503)
		return ERROR_CAPACITY;
	return status ? kind_of_status(status) : ERROR_RETRY;
}

static const char *string_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

static void add_hint(const char *name, struct error *err)
{
	for (size_t i = 0; i < array_size(hints); i++) {
		if (!strcmp(hints[i].name, name))
			error_append(err, "; %s", hints[i].advice);
	}
}

/* "reason" of error.details[], where newer services say more: SERVICE_DISABLED. */
static const char *detail_reason(const json_t *error)
{
	size_t i;
	json_t *detail;
	json_array_foreach(json_object_get(error, "details"), i, detail)
	{
		if (*string_of(detail, "reason"))
			return string_of(detail, "reason");
	}
	return "";
}

int failure_read(int status, const void *body, size_t len, struct error *err)
{
	cleanup_json *root = json_parse("error", body, len, BODY_MAX, false, NULL);
	const json_t *error = json_object_get(root, "error");
	const json_t *first = json_array_get(json_object_get(error, "errors"), 0);
	const char *detail = detail_reason(error);
	const char *reason = string_of(first, "reason");
	const char *message = string_of(error, "message");
	if (look_up(reasons, array_size(reasons), detail) != ERROR_NONE || !*reason)
		reason = *detail ? detail : *reason ? reason : string_of(error, "status");
	if (*reason)
		error_set(err, failure_kind_of_reason(reason, status), "%.200s: %.*s (HTTP %d)",
			reason, SHOWN_MAX, *message ? message : "no message", status);
	else
		error_set(err, failure_kind_of_reason("", status), "HTTP %d without a reason",
			status);
	if (err)
		err->status = status;
	add_hint(reason, err);
	return -1;
}

/* "limit CPUS-per-project: 24" and "resource_availability", of errorDetails[]. */
static void add_details(const json_t *error, struct buf *out)
{
	size_t i;
	json_t *detail;
	json_array_foreach(json_object_get(error, "errorDetails"), i, detail)
	{
		const json_t *quota = json_object_get(detail, "quotaInfo");
		const json_t *info = json_object_get(detail, "errorInfo");
		const json_t *places =
			json_object_get(quota ? quota : info, quota ? "dimensions" : "metadatas");
		const json_t *limit = json_object_get(quota, "limit");
		const char *key;
		json_t *value;
		if (quota)
			buf_printf(out, ", limit %.100s of %.100s: %g",
				string_of(quota, "limitName"), string_of(quota, "metricName"),
				json_number_value(limit));
		if (info)
			buf_printf(out, ", %.100s", string_of(info, "reason"));
		json_object_foreach((json_t *)places, key, value)
		{
			if (json_is_string(value))
				buf_printf(out, ", %.60s %.100s", key, json_string_value(value));
		}
	}
}

int failure_of_operation(const json_t *operation, struct error *err)
{
	const json_t *first =
		json_array_get(json_object_get(json_object_get(operation, "error"), "errors"), 0);
	int status = (int)json_integer_value(json_object_get(operation, "httpErrorStatusCode"));
	cleanup(buf_free) struct buf details = BUF_INIT;
	if (!first && (!status || (status >= 200 && status < 300)))
		return 0;
	const char *code = string_of(first, "code"), *message = string_of(first, "message");
	if (!*message)
		message = string_of(operation, "httpErrorMessage");
	if (status)
		buf_printf(&details, "HTTP %d, ", status);
	buf_printf(&details, "operation %.100s", string_of(operation, "name"));
	add_details(first, &details);
	error_set(err, failure_kind_of_code(code, status), "%.200s: %.*s (%s)",
		*code ? code : "the operation failed", SHOWN_MAX, *message ? message : "no message",
		buf_text(&details));
	if (err)
		err->status = status;
	add_hint(code, err);
	return -1;
}

bool failure_is_full_subnetwork(const struct error *err)
{
	return err->kind == ERROR_CAPACITY && strstr(error_message(err), "IP_SPACE_EXHAUSTED");
}
