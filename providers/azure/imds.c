/* SPDX-License-Identifier: Apache-2.0 */
/* imds.c - see imds.h */
#include "providers/azure/imds.h"

#include "providers/azure/cloud.h"

#define CALL_NS (10 * NS_PER_S)
#define CONNECT_NS (2 * NS_PER_S)

int imds_get(struct http_client *http, const struct azure_options *o, const char *path,
	struct http_response *response, const struct bound *bound, struct error *err)
{
	static const char *const headers[] = {"Metadata: true", NULL};
	cleanup(buf_wipe) struct buf url = BUF_INIT;
	char base[512];
	url_base(base, sizeof(base), o->imds);
	buf_printf(&url, "%s%s", base, path);
	if (url.failed)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	const struct http_request request = {.method = "GET",
		.url = buf_text(&url),
		.headers = headers,
		.body_max = IMDS_ANSWER_MAX,
		.connect_ns = CONNECT_NS,
		.direct = true};
	struct bound within = bound_within(bound, CALL_NS);
	if (http_call(http, &request, response, &within, err) == 0)
		return 0;
	/* One try's own limit is a passing fault, unless the caller's bound is over, too. */
	if (err && err->kind == ERROR_TIMEOUT && bound_left_ns(bound) > 0)
		err->kind = ERROR_RETRY;
	return error_prefix(err, "instance metadata service");
}
