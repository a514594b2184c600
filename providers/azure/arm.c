/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arm.c - see arm.h
 *
 * Operation URLs and next links come from the answers: the token is sent to them only where they are ARM's own.
 */
#include "providers/azure/arm.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/base64.h"
#include "base/log.h"
#include "http/attempt.h"
#include "http/bearer.h"
#include "providers/azure/failure.h"
#include "providers/azure/identity.h"

#define CALL_NS (30 * NS_PER_S) /* ARM answers within seconds; a hanging connection is given up */
#define ANSWER_MAX ((size_t)64 << 20) /* a page of resourceSkus has several MB */
#define PAGES_MAX 10000
/* Where fewer calls than this are left, they are stretched. */
#define REMAINING_LOW 10
#define REMAINING_STEP_NS (500 * NS_PER_MS)

struct arm {
	const struct azure_options *options;
	struct cloud cloud;
	struct http_client *http;
	struct identity *identity;
	struct bearer *bearer;
	struct throttle *throttles[ARM_CLASSES];
};

/*
 * Azure's buckets are a subscription's worth (reads 25 a second, writes and deletes 10, and less for virtual machines);
 * several nodes share them, so a part is ours.
 */
static const struct {
	const char *what;
	double per_second;
	unsigned burst;
	const char *remaining; /* header that counts down */
} limits[ARM_CLASSES] = {
	[ARM_READ] = {"reading calls of Azure", 20, 100,
		"x-ms-ratelimit-remaining-subscription-reads"},
	[ARM_CREATE] = {"create calls of Azure", 2, 5,
		"x-ms-ratelimit-remaining-subscription-writes"},
	[ARM_WRITE] = {"writing calls of Azure", 5, 20,
		"x-ms-ratelimit-remaining-subscription-writes"},
	[ARM_DELETE] = {"deleting calls of Azure", 5, 20,
		"x-ms-ratelimit-remaining-subscription-deletes"},
};

struct arm *arm_new(const struct azure_options *o, struct error *err)
{
	struct arm *arm = calloc(1, sizeof(*arm));
	if (!arm) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	arm->options = o;
	if (cloud_of(o, &arm->cloud, err) < 0) {
		free(arm);
		return NULL;
	}
	arm->http = http_client_new(o->ca_bundle, err);
	arm->identity = arm->http ? identity_new(o, &arm->cloud, arm->http) : NULL;
	arm->bearer = arm->identity ? bearer_new("azure", identity_fetch, arm->identity) : NULL;
	bool good = arm->bearer;
	for (size_t i = 0; i < ARM_CLASSES; i++) {
		arm->throttles[i] =
			throttle_new(limits[i].what, limits[i].per_second, limits[i].burst);
		good = good && arm->throttles[i];
	}
	if (good)
		return arm;
	arm_free(arm);
	error_set(err, ERROR_CAPACITY, "out of memory");
	return NULL;
}

void arm_free(struct arm *arm)
{
	if (!arm)
		return;
	for (size_t i = 0; i < ARM_CLASSES; i++)
		throttle_free(arm->throttles[i]);
	bearer_free(arm->bearer);
	identity_free(arm->identity);
	http_client_free(arm->http);
	free(arm);
}

const char *arm_credential(const struct arm *arm)
{
	return identity_kind(arm->identity);
}

void arm_reply_free(struct arm_reply *reply)
{
	json_decref(reply->body);
	*reply = (struct arm_reply){0};
}

/* ---- what headers say -------------------------------------------------------------------------------------- */

static uint64_t milliseconds_at(const struct http_response *response, const char *name)
{
	char text[32];
	if (!http_response_header(response, name, text, sizeof(text)) || !*text ||
		strspn(text, "0123456789") != strlen(text) || strlen(text) > 9)
		return 0;
	return strtoull(text, NULL, 10) * NS_PER_MS;
}

uint64_t arm_retry_after_ns(const struct http_response *response)
{
	uint64_t ns = milliseconds_at(response, "retry-after-ms");
	ns = ns ? ns : milliseconds_at(response, "x-ms-retry-after-ms");
	return ns ? ns : http_response_retry_after_ns(response);
}

/* The smallest number in "Microsoft.Compute/PutVM3Min;237,Microsoft.Compute/PutVM30Min;1199"; -1: none. */
static long smallest_after_semicolon(const char *text)
{
	long smallest = -1;
	for (const char *at = text; (at = strchr(at, ';')); at++) {
		char *end;
		long number = strtol(at + 1, &end, 10);
		if (end > at + 1 && number >= 0 && (smallest < 0 || number < smallest))
			smallest = number;
	}
	return smallest;
}

uint64_t arm_remaining_hold_ns(const struct http_response *response, enum arm_class class)
{
	char text[512];
	long left = -1;
	if (http_response_header(response, limits[class].remaining, text, sizeof(text)) && *text &&
		strspn(text, "0123456789") == strlen(text) && strlen(text) < 10)
		left = strtol(text, NULL, 10);
	if (http_response_header(response, "x-ms-ratelimit-remaining-resource", text,
		    sizeof(text))) {
		long of_resource = smallest_after_semicolon(text);
		if (of_resource >= 0 && (left < 0 || of_resource < left))
			left = of_resource;
	}
	return left < 0 || left >= REMAINING_LOW
		       ? 0
		       : (uint64_t)(REMAINING_LOW - left) * REMAINING_STEP_NS;
}

/* ---- one call ---------------------------------------------------------------------------------------------- */

/* A random UUID, so that Microsoft's support finds the call. */
static void request_id_make(char id[37])
{
	unsigned char r[16];
	if (getrandom(r, sizeof(r), GRND_NONBLOCK) != (ssize_t)sizeof(r))
		memset(r, 0, sizeof(r));
	r[6] = (unsigned char)((r[6] & 0x0f) | 0x40);
	r[8] = (unsigned char)((r[8] & 0x3f) | 0x80);
	snprintf(id, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12],
		r[13], r[14], r[15]);
}

static int url_make(const struct arm *arm, const char *path, struct buf *url, struct error *err)
{
	if (*path == '/')
		buf_printf(url, "%s%s", arm->cloud.arm, path);
	else if (same_origin(path, arm->cloud.arm))
		buf_append_text(url, path);
	else
		return error_set(err, ERROR_INVALID,
			"\"%.100s\" is not on %s: nothing is sent there", path, arm->cloud.arm);
	return url->failed ? error_set(err, ERROR_CAPACITY, "out of memory") : 0;
}

static int send_once(struct arm *arm, const struct arm_request *r, const char *url,
	const struct buf *body, const struct secret *token, struct http_response *response,
	const struct bound *bound, struct error *err)
{
	char uuid[37], client_request[80];
	cleanup(buf_wipe) struct buf authorization = BUF_INIT;
	request_id_make(uuid);
	snprintf(client_request, sizeof(client_request), "x-ms-client-request-id: %s", uuid);
	buf_printf(&authorization, "Authorization: Bearer %s", secret_reveal(token));
	const char *headers[6] = {"Accept: application/json", client_request,
		buf_text(&authorization)};
	size_t n = 3;
	if (r->body)
		headers[n++] = "Content-Type: application/json";
	if (r->header)
		headers[n++] = r->header;
	bool empty_body = !r->body && !strcmp(r->method, "POST");
	const struct http_request request = {.method = r->method,
		.url = url,
		.headers = headers,
		.body = r->body ? body->data : (const uint8_t *)(empty_body ? "" : NULL),
		.body_len = r->body ? body->len : 0,
		.body_max = ANSWER_MAX};
	if (authorization.failed)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	log_debug("azure: %s (client request %s)", r->what, uuid);
	struct bound within = bound_within(bound, CALL_NS);
	if (http_call(arm->http, &request, response, &within, err) == 0)
		return 0;
	/* Our own limit of one try is a passing fault, unless the caller's bound is over, too. */
	if (err && err->kind == ERROR_TIMEOUT && bound_left_ns(bound) > 0)
		err->kind = ERROR_RETRY;
	return -1;
}

static int reply_read(const struct http_response *response, struct arm_reply *reply,
	struct error *err)
{
	reply->status = response->status;
	reply->retry_after_ns = arm_retry_after_ns(response);
	http_response_header(response, "Azure-AsyncOperation", reply->operation,
		sizeof(reply->operation));
	http_response_header(response, "Location", reply->location, sizeof(reply->location));
	if (!http_response_header(response, "x-ms-request-id", reply->request_id,
		    sizeof(reply->request_id)))
		http_response_header(response, "x-ms-correlation-request-id", reply->request_id,
			sizeof(reply->request_id));
	if (response->status < 200 || response->status > 299)
		return failure_read(response->status, response->body.data, response->body.len,
			reply->request_id, err);
	if (!response->body.len)
		return 0;
	reply->body = json_parse("answer", response->body.data, response->body.len, ANSWER_MAX,
		true, err);
	if (reply->body)
		return 0;
	if (err && err->kind == ERROR_INVALID)
		err->kind = ERROR_RETRY; /* a proxy's page, or an answer that was cut */
	return -1;
}

int arm_call(struct arm *arm, const struct arm_request *r, struct arm_reply *reply,
	const struct bound *bound, struct error *err)
{
	struct throttle *throttle = arm->throttles[r->class];
	struct attempt attempt = {.who = "azure", .throttle = throttle};
	cleanup(buf_wipe) struct buf body = BUF_INIT;
	cleanup(buf_free) struct buf url = BUF_INIT;
	bool renewed = false;
	*reply = (struct arm_reply){0};
	if (r->body) {
		char *text = json_dumps(r->body, JSON_COMPACT);
		buf_append_text(&body, text ? text : "");
		if (text)
			explicit_bzero(text, strlen(text));
		free(text);
		if (!text || body.failed)
			return error_set(err, ERROR_CAPACITY, "%s: out of memory", r->what);
	}
	if (url_make(arm, r->path, &url, err) < 0)
		return error_prefix(err, "%s", r->what);
	for (;;) {
		cleanup_error why = ERROR_INIT;
		cleanup_secret token = SECRET_INIT;
		cleanup_response response = {0};
		arm_reply_free(reply);
		if (throttle_take(throttle, bound, &why) < 0) {
			error_move(err, &why);
			return error_prefix(err, "%s", r->what);
		}
		if (bearer_get(arm->bearer, &token, bound, &why) == 0 &&
			send_once(arm, r, buf_text(&url), &body, &token, &response, bound, &why) ==
				0) {
			uint64_t hold = arm_remaining_hold_ns(&response, r->class);
			if (hold)
				throttle_hold(throttle, hold);
			if (reply_read(&response, reply, &why) == 0)
				return 0;
			if (failure_is_stale_token(response.status) && !renewed) {
				renewed = true;
				bearer_refuse(arm->bearer, &token);
				continue;
			}
		}
		if (attempt_again(&attempt, reply->retry_after_ns, bound, &why))
			continue;
		error_move(err, &why);
		return error_prefix(err, "%s", r->what);
	}
}

json_t *arm_get(struct arm *arm, const char *what, const struct bound *bound, struct error *err,
	const char *format, ...)
{
	cleanup_reply reply = {0};
	char *path = NULL;
	va_list args;
	va_start(args, format);
	if (vasprintf(&path, format, args) < 0)
		path = NULL;
	va_end(args);
	if (!path) {
		error_set(err, ERROR_CAPACITY, "%s: out of memory", what);
		return NULL;
	}
	const struct arm_request request = {"GET", ARM_READ, path, NULL, NULL, what};
	int result = arm_call(arm, &request, &reply, bound, err);
	free(path);
	if (result < 0)
		return NULL;
	if (json_is_object(reply.body))
		return take_ptr(reply.body);
	error_set(err, ERROR_RETRY, "%s: the answer is no object", what);
	return NULL;
}

int arm_list(struct arm *arm, const char *what, const char *path, arm_each *each, void *with,
	const struct bound *bound, struct error *err)
{
	cleanup(free_ptr) char *next = strdup(path);
	for (unsigned pages = 0; next; pages++) {
		cleanup_reply reply = {0};
		const struct arm_request request = {"GET", ARM_READ, next, NULL, NULL, what};
		if (arm_call(arm, &request, &reply, bound, err) < 0)
			return -1;
		size_t i;
		json_t *item;
		json_array_foreach(json_object_get(reply.body, "value"), i, item)
		{
			if (each(with, item, err) < 0)
				return error_prefix(err, "%s", what);
		}
		const char *link = json_string_value(json_object_get(reply.body, "nextLink"));
		if (!link || !*link)
			return 0;
		if (!strcmp(link, next) || pages == PAGES_MAX)
			return error_set(err, ERROR_RETRY, "%s: the pages have no end", what);
		free(next);
		next = strdup(link);
	}
	return error_set(err, ERROR_CAPACITY, "%s: out of memory", what);
}

void arm_fetch_blob(struct arm *arm, const char *url, size_t max, struct buf *out,
	const struct bound *bound)
{
	cleanup_response response = {0};
	cleanup_error why = ERROR_INIT;
	const struct http_request request = {.method = "GET", .url = url, .body_max = max};
	/* The signature is in the query, which url_check does not look at. */
	cleanup(free_ptr) char *place = strndup(url, strcspn(url, "?#"));
	if (!place || url_check(place, "the console's URL", &why) < 0 ||
		http_call(arm->http, &request, &response, bound, &why) < 0)
		log_debug("azure: read the console: %s", error_message(&why));
	else if (response.status == 200)
		buf_append(out, response.body.data, response.body.len);
}
