/* SPDX-License-Identifier: Apache-2.0 */
/*
 * imds.c - asking a cloud's metadata service, one request at a time
 *
 * Plain HTTP to a link-local address. Every request has its own time limit and a limit on the answer's
 * size, takes no proxy from the environment and follows no redirect: whoever answers at that address is
 * believed, and nobody else.
 *
 * AWS wants a session token first (IMDSv2). Where the token cannot be had, the user data are
 * asked for without, which instances that still allow IMDSv1 answer.
 */
#include "imds.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include "base/base64.h"
#include "base/log.h"
#include "cloudinit/cloudinit.h"

#define REQUEST_NS (10 * NS_PER_S)
#define TOKEN_NS (5 * NS_PER_S) /* upstream's limit; without IMDSv2 the request may go unanswered */
#define PROBE_NS (2 * NS_PER_S)
#define CONNECT_MS 3000L
#define TOKEN_MAX 1024 /* AWS sends 56 bytes */

DEFINE_CLEANUP(CURL, curl_easy_cleanup)
DEFINE_CLEANUP(struct curl_slist, curl_slist_free_all)

struct answer {
	struct buf body;
	size_t max;
	bool too_large;
};

struct request {
	const char *method; /* NULL: GET */
	const char *path;
	const char *header; /* NULL: none */
	size_t max;
	uint64_t limit_ns;
};

int imds_init(struct error *err)
{
	if (curl_global_init(CURL_GLOBAL_NOTHING) != CURLE_OK)
		return error_set(err, ERROR_INTERNAL, "libcurl does not start");
	return 0;
}

static size_t receive(char *bytes, size_t size, size_t count, void *context)
{
	struct answer *answer = context;
	size_t len = size * count;
	if (len > answer->max - answer->body.len) {
		answer->too_large = true;
		return 0; /* less than len: ends the transfer */
	}
	buf_append(&answer->body, bytes, len);
	return answer->body.failed ? 0 : len;
}

static bool set_up(CURL *curl, const struct request *request, const char *url,
	struct curl_slist *headers, long limit_ms, struct answer *answer)
{
	return !curl_easy_setopt(curl, CURLOPT_URL, url) &&
	       !curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http") &&
	       !curl_easy_setopt(curl, CURLOPT_PROXY, "") &&
	       !curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) &&
	       !curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L) &&
	       !curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers) &&
	       !curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method) &&
	       !curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS) &&
	       !curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, limit_ms) &&
	       !curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive) &&
	       !curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
}

/* One request; its body in answer. Fails unless the status is 200. */
static int ask(const char *endpoint, const struct request *request, const struct bound *bound,
	struct answer *answer, struct error *err)
{
	const char *method = request->method ? request->method : "GET";
	cleanup(curl_easy_cleanup_ptr) CURL *curl = curl_easy_init();
	cleanup(curl_slist_free_all_ptr) struct curl_slist *headers = NULL;
	cleanup(free_ptr) char *url = NULL;
	answer->max = request->max;
	if (request->header)
		headers = curl_slist_append(NULL, request->header);
	if (!curl || (request->header && !headers) ||
		asprintf(&url, "%s%s", endpoint, request->path) < 0)
		return error_set(err, ERROR_CAPACITY, "%s %s: out of memory", method,
			request->path);
	struct bound mine = bound_within(bound, request->limit_ns);
	int limit_ms = bound_left_ms(&mine);
	if (limit_ms <= 0) /* 0 would mean no limit to libcurl */
		return error_set(err, ERROR_TIMEOUT, "%s %s: no time left", method, url);
	if (!set_up(curl, request, url, headers, limit_ms, answer))
		return error_set(err, ERROR_INTERNAL, "%s %s: libcurl refuses a setting", method,
			url);
	CURLcode code = curl_easy_perform(curl);
	if (answer->too_large)
		return error_set(err, ERROR_INVALID,
			"%s %s: the answer is larger than the limit of %zu bytes", method, url,
			request->max);
	if (code == CURLE_OPERATION_TIMEDOUT)
		return error_set(err, ERROR_TIMEOUT, "%s %s: no answer in time", method, url);
	if (code != CURLE_OK)
		return error_set(err, ERROR_RETRY, "%s %s: %s", method, url,
			curl_easy_strerror(code));
	long status = 0;
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	if (status == 200)
		return 0;
	error_set(err, ERROR_RETRY, "%s %s: answered with status %ld", method, url, status);
	if (err)
		err->status = (int)status;
	return -1;
}

static void answer_free(struct answer *answer)
{
	buf_wipe(&answer->body);
}

/* The header that carries AWS's token, or NULL where the token cannot be had. */
static char *fetch_token(const struct cloud *cloud, const char *endpoint, const struct bound *bound)
{
	cleanup_error err = ERROR_INIT;
	cleanup(answer_free) struct answer answer = {0};
	const struct request request = {.method = "PUT",
		.path = cloud->token_path,
		.header = "X-aws-ec2-metadata-token-ttl-seconds: 60",
		.max = TOKEN_MAX,
		.limit_ns = TOKEN_NS};
	char *header = NULL;
	if (ask(endpoint, &request, bound, &answer, &err) < 0) {
		log_warn("%s; asking without a token (IMDSv1)", error_message(&err));
		return NULL;
	}
	const char *token = buf_text(&answer.body);
	/* It becomes a line of the next request. */
	for (size_t i = 0; i < answer.body.len; i++) {
		if (token[i] <= ' ' || token[i] > '~') {
			log_warn("PUT %s%s: the answer is no token; asking without (IMDSv1)",
				endpoint, cloud->token_path);
			return NULL;
		}
	}
	if (!answer.body.len || asprintf(&header, "X-aws-ec2-metadata-token: %s", token) < 0)
		return NULL;
	return header;
}

int imds_decode(const struct cloud *cloud, const struct buf *body, struct buf *out,
	struct error *err)
{
	if (cloud->base64)
		return base64_decode(buf_text(body), body->len, CLOUDINIT_DOCUMENT_MAX, out, err);
	buf_append(out, buf_text(body), body->len);
	return out->failed ? error_set(err, ERROR_CAPACITY, "user data: out of memory") : 0;
}

int imds_fetch(const struct cloud *cloud, const char *endpoint, const struct bound *bound,
	struct buf *out, struct error *err)
{
	cleanup(answer_free) struct answer answer = {0};
	cleanup(free_ptr) char *token = NULL;
	endpoint = *endpoint ? endpoint : cloud->endpoint;
	if (cloud->token_path)
		token = fetch_token(cloud, endpoint, bound);
	const struct request request = {.path = cloud->path,
		.header = token ? token : cloud->header,
		.max = IMDS_BODY_MAX,
		.limit_ns = REQUEST_NS};
	if (ask(endpoint, &request, bound, &answer, err) < 0)
		return -1;
	if (imds_decode(cloud, &answer.body, out, err) < 0)
		return error_prefix(err, "GET %s%s", endpoint, cloud->path);
	return 0;
}

bool imds_probe(const struct cloud *cloud, const char *endpoint, const struct bound *bound)
{
	cleanup_error err = ERROR_INIT;
	cleanup(answer_free) struct answer answer = {0};
	const struct request request = {.path = cloud->probe_path,
		.header = cloud->header,
		.max = IMDS_BODY_MAX,
		.limit_ns = PROBE_NS};
	if (ask(*endpoint ? endpoint : cloud->endpoint, &request, bound, &answer, &err) == 0)
		return true;
	log_info("this is not %s: %s", cloud->name, error_message(&err));
	return false;
}
