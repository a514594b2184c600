/* SPDX-License-Identifier: Apache-2.0 */
/* ec2.c - see ec2.h */
#include "providers/aws/ec2.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "http/attempt.h"
#include "http/http.h"
#include "providers/aws/credentials.h"
#include "providers/aws/endpoint.h"
#include "providers/aws/failure.h"
#include "providers/aws/sign.h"

#define CALL_NS \
	(30 * NS_PER_S) /* RunInstances answers within seconds; a hanging connection is given up */
#define SKEW_MIN_S (4 * 60) /* signatures are taken within five minutes */
#define ANSWER_MAX ((size_t)16 << 20)

struct ec2 {
	const struct aws_options *options;
	struct http_client *http;
	struct place *place;
	struct credential_store *credentials;
	struct throttle *throttles[EC2_CLASSES];
	_Atomic int64_t clock_offset_s;
};

/*
 * Amazon's documented buckets are 2/s after 5, 5/s after 50 and 20/s after 100 for an account in a region; several nodes
 * share them, so of the reading ones half is ours. The burst is one less than Amazon's: calls that arrive somewhat
 * closer to each other than they were sent are not refused for it.
 */
static const struct {
	const char *what;
	double per_second;
	unsigned burst;
} limits[EC2_CLASSES] = {
	[EC2_CREATE] = {"create calls of EC2", 2, 4},
	[EC2_CHANGE] = {"changing calls of EC2", 5, 25},
	[EC2_READ] = {"reading calls of EC2", 10, 50},
};

struct ec2 *ec2_new(const struct aws_options *options, struct error *err)
{
	struct ec2 *ec2 = calloc(1, sizeof(*ec2));
	if (!ec2) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	ec2->options = options;
	ec2->http = http_client_new(options->ca_bundle, err);
	if (!ec2->http) {
		ec2_free(ec2);
		return NULL;
	}
	ec2->place = place_new(options, ec2->http);
	ec2->credentials = ec2->place ? credential_store_new(options, ec2->http, ec2->place) : NULL;
	bool good = ec2->credentials;
	for (size_t i = 0; i < EC2_CLASSES; i++) {
		ec2->throttles[i] =
			throttle_new(limits[i].what, limits[i].per_second, limits[i].burst);
		good = good && ec2->throttles[i];
	}
	if (good)
		return ec2;
	ec2_free(ec2);
	error_set(err, ERROR_CAPACITY, "out of memory");
	return NULL;
}

void ec2_free(struct ec2 *ec2)
{
	if (!ec2)
		return;
	for (size_t i = 0; i < EC2_CLASSES; i++)
		throttle_free(ec2->throttles[i]);
	credential_store_free(ec2->credentials);
	place_free(ec2->place);
	http_client_free(ec2->http);
	free(ec2);
}

struct place *ec2_place(struct ec2 *ec2)
{
	return ec2->place;
}

struct message {
	const char *service;
	const char *content_type, *target; /* NULL: a form */
	const void *body;
	size_t len;
};

/* One signed request with this key pair. */
static int send_signed(struct ec2 *ec2, const struct credentials *key, const struct message *m,
	struct http_response *response, const struct bound *bound, struct error *err)
{
	struct endpoint endpoint;
	const char *region = place_region(ec2->place, bound, err);
	if (!region || endpoint_make(ec2->options, m->service, region, &endpoint, err) < 0)
		return -1;
	struct sign_input input = {
		.key_id = key->key_id,
		.secret_key = &key->secret_key,
		.session_token = &key->session_token,
		.host = endpoint.host,
		.region = region,
		.service = m->service,
		.content_type = m->content_type,
		.target = m->target,
		.now = time(NULL) + atomic_load(&ec2->clock_offset_s),
		.body = m->body,
		.body_len = m->len,
	};
	cleanup(buf_wipe) struct buf authorization = BUF_INIT, token = BUF_INIT;
	cleanup(buf_free) struct buf date = BUF_INIT, host = BUF_INIT, type = BUF_INIT,
				     target = BUF_INIT;
	char when[SIGN_TIME_SIZE];
	sign_time(input.now, when);
	buf_append_text(&authorization, "Authorization: ");
	if (sign_request(&input, &authorization, err) < 0)
		return -1;
	buf_printf(&date, "X-Amz-Date: %s", when);
	buf_printf(&host, "Host: %s", endpoint.host);
	buf_printf(&token, "X-Amz-Security-Token: %s", secret_reveal(&key->session_token));
	buf_printf(&type, "Content-Type: %s", m->content_type ? m->content_type : FORM_TYPE);
	buf_printf(&target, "X-Amz-Target: %s", m->target ? m->target : "");
	const char *headers[7] = {buf_text(&type), buf_text(&host), buf_text(&date),
		buf_text(&authorization)};
	size_t n = 4;
	if (key->session_token.len)
		headers[n++] = buf_text(&token);
	if (m->target)
		headers[n++] = buf_text(&target);
	const struct http_request request = {.method = "POST",
		.url = endpoint.url,
		.headers = headers,
		.body = m->body,
		.body_len = m->len,
		.body_max = ANSWER_MAX};
	struct bound within = bound_within(bound, CALL_NS);
	if (http_call(ec2->http, &request, response, &within, err) == 0)
		return 0;
	/* Our own limit of one try is a passing fault, unless the caller's bound is over, too. */
	if (err && err->kind == ERROR_TIMEOUT && bound_left_ns(bound) > 0)
		err->kind = ERROR_RETRY;
	return -1;
}

/* The server's clock, where ours is further off than it takes. */
static bool clock_corrected(struct ec2 *ec2, const struct http_response *response)
{
	int64_t theirs = http_response_date(response);
	int64_t offset = theirs ? theirs - time(NULL) : 0;
	int64_t known = atomic_load(&ec2->clock_offset_s);
	if (!theirs || llabs(offset - known) < SKEW_MIN_S)
		return false;
	atomic_store(&ec2->clock_offset_s, offset);
	log_warn(
		"aws: this machine's clock differs from Amazon's by %lld s; requests are signed with theirs",
		(long long)-offset);
	return true;
}

int ec2_call(struct ec2 *ec2, enum ec2_class class, const struct query *query, xmlDoc **reply,
	const struct bound *bound, struct error *err)
{
	struct attempt attempt = {.who = "aws",
		.throttle = ec2->throttles[class],
		.faults_max = (unsigned)ec2->options->attempts_max};
	bool mended = false; /* credentials or clock, once */
	const struct message message = {.service = "ec2",
		.body = query->body.data,
		.len = query->body.len};
	*reply = NULL;
	if (query->body.failed)
		return error_set(err, ERROR_CAPACITY, "%s: out of memory", query->action);
	for (;;) {
		cleanup_error why = ERROR_INIT;
		cleanup_credentials key = {0};
		cleanup_response response = {0};
		char code[FAILURE_CODE_SIZE] = "";
		uint64_t retry_after_ns = 0;
		if (throttle_take(ec2->throttles[class], bound, &why) < 0 ||
			credentials_get(ec2->credentials, &key, bound, &why) < 0) {
			error_move(err, &why);
			return error_prefix(err, "%s", query->action);
		}
		if (send_signed(ec2, &key, &message, &response, bound, &why) == 0) {
			if (response.status == 200) {
				*reply = xml_parse(query->action, response.body.data,
					response.body.len, &why);
				if (*reply)
					return 0;
			} else {
				failure_read(response.status, response.body.data, response.body.len,
					code, sizeof(code), &why);
				retry_after_ns = http_response_retry_after_ns(&response);
			}
		}
		bool stale = failure_is_stale_credentials(code);
		if (!mended && (stale || failure_is_clock(code))) {
			mended = true;
			bool clock = failure_is_clock(code) && clock_corrected(ec2, &response);
			if (!clock && stale)
				credentials_refuse(ec2->credentials, key.key_id);
			if (clock || stale)
				continue;
		}
		bool unknown = query->once && why.kind == ERROR_RETRY;
		if (!unknown && attempt_again(&attempt, retry_after_ns, bound, &why))
			continue;
		error_move(err, &why);
		return error_prefix(err, "%s", query->action);
	}
}

int ec2_page(struct ec2 *ec2, struct query *query, struct ec2_pages *pages,
	const struct bound *bound, struct error *err)
{
	if (pages->reply && !pages->next)
		return 0;
	if (!pages->reply)
		pages->query_len = query->body.len;
	query->body.len = pages->query_len;
	if (pages->next)
		query_add(query, pages->next, "NextToken");
	xmlDoc *reply;
	if (ec2_call(ec2, EC2_READ, query, &reply, bound, err) < 0)
		return -1;
	ec2_pages_free(pages);
	pages->reply = reply;
	pages->page = xmlDocGetRootElement(reply);
	pages->next = xml_text(pages->page, "nextToken");
	return 1;
}

void ec2_pages_free(struct ec2_pages *pages)
{
	xmlFreeDoc(pages->reply);
	free(pages->next);
	pages->reply = NULL;
	pages->next = NULL;
}

/* "AccessDeniedException: text (HTTP 400)": what a JSON service says of a failure. */
static void json_failure(const struct http_response *response, struct error *err)
{
	cleanup(free_ptr) char *type = NULL, *text = NULL;
	cleanup_json *body = json_parse("error", response->body.data, response->body.len,
		ANSWER_MAX, true, NULL);
	if (body) {
		json_read_string(body, "error", "__type", JSON_OPTIONAL, &type, NULL);
		json_read_string(body, "error", "Message", JSON_OPTIONAL, &text, NULL);
		if (!text)
			json_read_string(body, "error", "message", JSON_OPTIONAL, &text, NULL);
	}
	/* "com.amazonaws.servicequotas#AccessDeniedException" */
	const char *code = type ? type : "";
	code = strrchr(code, '#') ? strrchr(code, '#') + 1 : code;
	error_set(err, failure_kind(code, response->status), "%s: %s (HTTP %d)",
		*code ? code : "no error code", text ? text : "no message", response->status);
}

int aws_json_call(struct ec2 *ec2, const char *service, const char *target, const char *body,
	json_t **reply, const struct bound *bound, struct error *err)
{
	struct attempt attempt = {.who = "aws"};
	const struct message message = {.service = service,
		.content_type = "application/x-amz-json-1.1",
		.target = target,
		.body = body,
		.len = strlen(body)};
	for (;;) {
		cleanup_error why = ERROR_INIT;
		cleanup_credentials key = {0};
		cleanup_response response = {0};
		if (credentials_get(ec2->credentials, &key, bound, &why) == 0 &&
			send_signed(ec2, &key, &message, &response, bound, &why) == 0) {
			if (response.status != 200)
				json_failure(&response, &why);
			else if ((*reply = json_parse(target, response.body.data, response.body.len,
					  ANSWER_MAX, true, &why)))
				return 0;
		}
		if (attempt_again(&attempt, http_response_retry_after_ns(&response), bound, &why))
			continue;
		error_move(err, &why);
		return error_prefix(err, "%s", target);
	}
}

int ec2_do(struct ec2 *ec2, enum ec2_class class, const struct query *query,
	const struct bound *bound, struct error *err)
{
	cleanup_xml *reply = NULL;
	return ec2_call(ec2, class, query, &reply, bound, err);
}
