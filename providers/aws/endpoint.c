/* SPDX-License-Identifier: Apache-2.0 */
/* endpoint.c - see endpoint.h */
#include "providers/aws/endpoint.h"

#include <stdio.h>
#include <string.h>

static const char *override_of(const struct aws_options *o, const char *service)
{
	const char *own = !strcmp(service, "ec2") ? o->endpoint_ec2 : o->endpoint_sts;
	return o->ignore_endpoints ? "" : *own ? own : o->endpoint;
}

int endpoint_make(const struct aws_options *o, const char *service, const char *region,
	struct endpoint *out, struct error *err)
{
	const char *set = override_of(o, service);
	if (*set) {
		const char *host = strstr(set, "://") + 3;
		size_t len = strcspn(host, "/?#");
		if (!len || len >= sizeof(out->host) || (host[len] && strcmp(host + len, "/") != 0))
			return error_set(err, ERROR_INVALID,
				"AWS_ENDPOINT_URL: \"%s\" must be a scheme, a host and perhaps a port, no path",
				set);
		snprintf(out->host, sizeof(out->host), "%.*s", (int)len, host);
		snprintf(out->url, sizeof(out->url), "%.*s/", (int)(host - set + (long)len), set);
		const char *own_port = !strncmp(set, "https:", 6) ? ":443" : ":80";
		size_t tail = strlen(own_port);
		if (len > tail && !strcmp(out->host + len - tail, own_port))
			out->host[len - tail] = '\0';
		return 0;
	}
	const char *domain = o->use_dualstack ? "api.aws" : "amazonaws.com";
	if (!strncmp(region, "cn-", 3))
		domain = o->use_dualstack ? "api.amazonwebservices.com.cn" : "amazonaws.com.cn";
	snprintf(out->host, sizeof(out->host), "%s%s.%s.%s", service, o->use_fips ? "-fips" : "",
		region, domain);
	snprintf(out->url, sizeof(out->url), "https://%s/", out->host);
	return 0;
}
