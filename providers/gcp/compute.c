/* SPDX-License-Identifier: Apache-2.0 */
/* compute.c - see compute.h */
#include "providers/gcp/compute.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "http/attempt.h"
#include "http/bearer.h"
#include "http/http.h"
#include "providers/gcp/encode.h"
#include "providers/gcp/failure.h"
#include "providers/gcp/metadata.h"
#include "providers/gcp/names.h"
#include "providers/gcp/token.h"

#define ANSWER_NS (30 * NS_PER_S)
#define ANSWER_MAX ((size_t)32 << 20)
#define PAGE_MAX "500"
#define MANAGER_PAGE_MAX "300"
#define PAGES_MAX 1000
#define BURST_S 10 /* the cloud counts by the minute */
#define PAUSE_FIRST_NS (500 * NS_PER_MS)
#define PAUSE_MOST_NS (30 * NS_PER_S)
#define FAULTS_MAX 5

struct compute {
	struct http_client *http;
	struct metadata *metadata;
	struct token_source *source;
	struct bearer *bearer;
	struct throttle *throttles[COMPUTE_CLASSES];
	char *base, *manager; /* URLs without the slash at the end */
	char *quota_header;   /* NULL: none */
};

/*
 * A project has 1500 calls a minute in each class (25 a second), counted by the minute; several nodes share them. Of
 * creations GCP_CREATE_RATE is asked for.
 */
static const struct {
	const char *what;
	double per_second;
	unsigned burst;
} limits[COMPUTE_CLASSES] = {
	[COMPUTE_CREATE] = {"creations at Compute Engine", 0, 0},
	[COMPUTE_CHANGE] = {"changes at Compute Engine", 10, 40},
	[COMPUTE_READ] = {"reads at Compute Engine", 10, 40},
	[COMPUTE_MANAGER] = {"calls of Resource Manager", 2, 10},
};

static char *base_of(const char *set, const char *host, const char *universe, const char *tail)
{
	char *text;
	int len = (int)strlen(set);
	while (len && set[len - 1] == '/')
		len--;
	int result = *set ? asprintf(&text, "%.*s%s", len, set, tail)
			  : asprintf(&text, "https://%s.%s%s", host, universe, tail);
	return result < 0 ? NULL : text;
}

static bool throttles_make(struct compute *c, const struct gcp_options *o)
{
	for (size_t i = 0; i < COMPUTE_CLASSES; i++) {
		double rate =
			limits[i].per_second > 0 ? limits[i].per_second : (double)o->create_rate;
		unsigned burst =
			limits[i].burst ? limits[i].burst : (unsigned)(BURST_S * o->create_rate);
		c->throttles[i] = throttle_new(limits[i].what, rate, burst);
		if (!c->throttles[i])
			return false;
	}
	return true;
}

struct compute *compute_new(const struct gcp_options *o, const struct gcp_credentials *credentials,
	struct error *err)
{
	struct compute *c = calloc(1, sizeof(*c));
	const char *quota = *o->quota_project ? o->quota_project : credentials->quota_project;
	bool good = c && throttles_make(c, o);
	if (good) {
		c->http = http_client_new("", err);
		c->metadata = c->http ? metadata_new(o->metadata_host, c->http) : NULL;
		c->source = token_source_new(o, credentials, c->http, c->metadata);
		c->bearer = c->source ? bearer_new("gcp", token_fetch, c->source) : NULL;
		c->base = base_of(o->compute_endpoint, "compute", credentials->universe,
			"/compute/v1/");
		c->manager = base_of(o->manager_endpoint, "cloudresourcemanager",
			credentials->universe, "/");
		good = c->metadata && c->bearer && c->base && c->manager;
	}
	if (good && quota && *quota)
		good = asprintf(&c->quota_header, "x-goog-user-project: %s", quota) >= 0;
	if (good)
		return c;
	compute_free(c);
	if (!err || err->kind == ERROR_NONE)
		error_set(err, ERROR_CAPACITY, "out of memory");
	return NULL;
}

void compute_free(struct compute *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < COMPUTE_CLASSES; i++)
		throttle_free(c->throttles[i]);
	bearer_free(c->bearer);
	token_source_free(c->source);
	metadata_free(c->metadata);
	http_client_free(c->http);
	free(c->base);
	free(c->manager);
	free(c->quota_header);
	free(c);
}

struct metadata *compute_metadata(struct compute *c)
{
	return c->metadata;
}

static int send_once(struct compute *c, const struct compute_call *call, const struct secret *token,
	struct http_response *response, const struct bound *bound, struct error *err)
{
	cleanup(buf_wipe) struct buf header = BUF_INIT;
	cleanup(buf_free) struct buf url = BUF_INIT;
	buf_printf(&header, "Authorization: Bearer %s", secret_reveal(token));
	buf_printf(&url, "%s%s", call->class == COMPUTE_MANAGER ? c->manager : c->base, call->path);
	if (header.failed || url.failed)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	const char *headers[5] = {buf_text(&header)};
	size_t n = 1;
	if (call->body)
		headers[n++] = "Content-Type: application/json";
	if (c->quota_header)
		headers[n++] = c->quota_header;
	const struct http_request request = {.method = call->method,
		.url = buf_text(&url),
		.headers = headers,
		.body = call->body,
		.body_len = call->body_len,
		.body_max = ANSWER_MAX};
	struct bound within = bound_within(bound, call->answer_ns ? call->answer_ns : ANSWER_NS);
	if (http_call(c->http, &request, response, &within, err) == 0)
		return 0;
	/* Our own limit of one try is a passing fault, unless the caller's bound is over, too. */
	if (err && err->kind == ERROR_TIMEOUT && bound_left_ns(bound) > 0)
		err->kind = ERROR_RETRY;
	return -1;
}

static json_t *object_of(const struct compute_call *call, const struct http_response *response,
	struct error *err)
{
	json_t *o = json_parse(call->what, response->body.data, response->body.len, ANSWER_MAX,
		false, NULL);
	if (json_is_object(o))
		return o;
	json_decref(o);
	error_set(err, ERROR_RETRY, "the answer (HTTP %d) is no JSON object", response->status);
	return NULL;
}

int compute_call(struct compute *c, const struct compute_call *call, json_t **reply, int64_t *date,
	const struct bound *bound, struct error *err)
{
	struct attempt attempt = {.who = "gcp",
		.throttle = c->throttles[call->class],
		.faults_max = call->faults ? call->faults : FAULTS_MAX,
		.first_ns = PAUSE_FIRST_NS,
		.most_ns = PAUSE_MOST_NS};
	bool renewed = false;
	*reply = NULL;
	for (;;) {
		cleanup_error why = ERROR_INIT;
		cleanup_secret token = SECRET_INIT;
		cleanup_response response = {0};
		uint64_t retry_after_ns = 0;
		if (throttle_take(c->throttles[call->class], bound, &why) < 0 ||
			bearer_get(c->bearer, &token, bound, &why) < 0) {
			error_move(err, &why);
			return error_prefix(err, "%s", call->what);
		}
		if (send_once(c, call, &token, &response, bound, &why) == 0) {
			if (date)
				*date = http_response_date(&response);
			if (response.status >= 200 && response.status < 300) {
				*reply = object_of(call, &response, &why);
				if (*reply)
					return 0;
			} else {
				failure_read(response.status, response.body.data, response.body.len,
					&why);
				retry_after_ns = http_response_retry_after_ns(&response);
			}
		}
		if (response.status == 401 && !renewed) {
			renewed = true;
			bearer_refuse(c->bearer, &token);
			continue;
		}
		if (attempt_again(&attempt, retry_after_ns, bound, &why))
			continue;
		error_move(err, &why);
		return error_prefix(err, "%s", call->what);
	}
}

int compute_get(struct compute *c, const char *what, const char *path, json_t **reply,
	const struct bound *bound, struct error *err)
{
	const struct compute_call call = {.what = what,
		.class = COMPUTE_READ,
		.method = "GET",
		.path = path};
	return compute_call(c, &call, reply, NULL, bound, err);
}

int compute_pages(struct compute *c, const struct compute_call *list,
	int (*page)(void *with, const json_t *page, struct error *err), void *with,
	const struct bound *bound, struct error *err)
{
	bool manager = list->class == COMPUTE_MANAGER;
	cleanup(free_ptr) char *next = NULL;
	for (unsigned n = 0; n < PAGES_MAX; n++) {
		cleanup(buf_free) struct buf url = BUF_INIT;
		cleanup_json *reply = NULL;
		struct compute_call call = *list;
		buf_append_text(&url, list->path);
		query_add(&url, manager ? "pageSize" : "maxResults",
			manager ? MANAGER_PAGE_MAX : PAGE_MAX);
		if (next)
			query_add(&url, "pageToken", next);
		if (url.failed)
			return error_set(err, ERROR_CAPACITY, "out of memory");
		call.method = "GET";
		call.path = buf_text(&url);
		if (compute_call(c, &call, &reply, NULL, bound, err) < 0 ||
			page(with, reply, err) < 0)
			return -1;
		free(take_ptr(next));
		if (json_read_string(reply, list->what, "nextPageToken", JSON_OPTIONAL, &next,
			    err) < 0)
			return -1;
		if (!next || !*next)
			return 0;
	}
	return error_set(err, ERROR_INTERNAL, "%s: more than %d pages", list->what, PAGES_MAX);
}
