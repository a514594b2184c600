/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metadata.c - see metadata.h
 *
 * Whatever listens there has to show that it is the metadata server: its answers carry Metadata-Flavor: Google. By name
 * first, then by the address that never changes, for nodes whose pods have another resolver.
 */
#include "providers/gcp/metadata.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "http/attempt.h"

#define NAME "metadata.google.internal"
#define ADDRESS "169.254.169.254"
#define CALL_NS (5 * NS_PER_S)
#define CONNECT_NS (2 * NS_PER_S)
#define ANSWER_MAX ((size_t)64 << 10)

struct metadata {
	char *host; /* NULL: name, then address */
	struct http_client *http;
};

struct metadata *metadata_new(const char *host, struct http_client *http)
{
	struct metadata *m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	m->http = http;
	if (*host && !(m->host = strdup(host))) {
		free(m);
		return NULL;
	}
	return m;
}

void metadata_free(struct metadata *m)
{
	if (!m)
		return;
	free(m->host);
	free(m);
}

static int get_from(struct metadata *m, const char *host, const char *path, struct buf *out,
	const struct bound *bound, struct error *err)
{
	static const char *const headers[] = {"Metadata-Flavor: Google", NULL};
	cleanup_response response = {0};
	char url[512], flavor[32];
	snprintf(url, sizeof(url), "http://%s/computeMetadata/v1/%s", host, path);
	const struct http_request request = {.method = "GET",
		.url = url,
		.headers = headers,
		.body_max = ANSWER_MAX,
		.connect_ns = CONNECT_NS,
		.direct = true};
	struct bound within = bound_within(bound, CALL_NS);
	if (http_call(m->http, &request, &response, &within, err) < 0) {
		if (bound_check(bound, "metadata server", err) < 0)
			return -1;
		if (err)
			err->kind = ERROR_RETRY;
		return -1;
	}
	if (!http_response_header(&response, "Metadata-Flavor", flavor, sizeof(flavor)) ||
		strcmp(flavor, "Google") != 0)
		return error_set(err, ERROR_RETRY,
			"%s is no metadata server: its answer lacks Metadata-Flavor: Google", host);
	if (response.status == 404)
		return error_set(err, ERROR_GONE, "%s: there is none", path);
	if (response.status != 200)
		return error_set(err,
			response.status >= 500 || response.status == 429 ? ERROR_RETRY
									 : ERROR_DENIED,
			"%s was answered with HTTP %d", path, response.status);
	buf_append(out, response.body.data, response.body.len);
	return out->failed ? error_set(err, ERROR_CAPACITY, "out of memory") : 0;
}

int metadata_get(struct metadata *m, const char *path, struct buf *out, const struct bound *bound,
	struct error *err)
{
	struct attempt attempt = {.who = "gcp: metadata server", .faults_max = 3};
	for (;;) {
		cleanup_error why = ERROR_INIT;
		int result = get_from(m, m->host ? m->host : NAME, path, out, bound, &why);
		if (result < 0 && !m->host && why.kind == ERROR_RETRY) {
			error_clear(&why);
			result = get_from(m, ADDRESS, path, out, bound, &why);
		}
		if (result == 0)
			return 0;
		if (attempt_again(&attempt, 0, bound, &why))
			continue;
		error_move(err, &why);
		return error_prefix(err, "metadata server");
	}
}
