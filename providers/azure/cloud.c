/* SPDX-License-Identifier: Apache-2.0 */
/* cloud.c - see cloud.h */
#include "providers/azure/cloud.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"

static const struct {
	const char *authority, *arm, *audience;
} clouds[] = {
	{"https://login.microsoftonline.com", "https://management.azure.com",
		"https://management.azure.com"},
	{"https://login.microsoftonline.us", "https://management.usgovcloudapi.net",
		"https://management.core.usgovcloudapi.net"},
	{"https://login.partner.microsoftonline.cn", "https://management.chinacloudapi.cn",
		"https://management.core.chinacloudapi.cn"},
	/* The names that two of them had before. */
	{"https://login.chinacloudapi.cn", "https://management.chinacloudapi.cn",
		"https://management.core.chinacloudapi.cn"},
	{"https://login.windows.net", "https://management.azure.com",
		"https://management.azure.com"},
};

/* The end of "scheme://host:port". */
static size_t origin_len(const char *url)
{
	const char *host = strstr(url, "://");
	return host ? (size_t)(host + 3 - url) + strcspn(host + 3, "/?#") : 0;
}

static size_t without_default_port(const char *url, size_t len)
{
	if (len > 12 && !strncasecmp(url, "https://", 8) && !strncmp(url + len - 4, ":443", 4))
		return len - 4;
	return len;
}

bool same_origin(const char *a, const char *b)
{
	size_t len_a = without_default_port(a, origin_len(a)),
	       len_b = without_default_port(b, origin_len(b));
	return len_a && len_a == len_b && !strncasecmp(a, b, len_a);
}

static bool is_loopback(const char *url)
{
	static const char *const hosts[] = {"http://127.0.0.1", "http://localhost", "http://[::1]"};
	for (size_t i = 0; i < array_size(hosts); i++) {
		size_t len = strlen(hosts[i]);
		if (!strncasecmp(url, hosts[i], len) && (!url[len] || strchr(":/", url[len])))
			return true;
	}
	return false;
}

int url_check(const char *url, const char *variable, struct error *err)
{
	if (!*url)
		return 0;
	if (origin_len(url) >= 256 || strpbrk(url, " \t\r\n\"@?#"))
		return error_set(err, ERROR_INVALID, "%s: \"%.300s\" is no URL of a service",
			variable, url);
	if ((!strncasecmp(url, "https://", 8) && origin_len(url) > 8) || is_loopback(url))
		return 0;
	return error_set(err, ERROR_INVALID,
		"%s: \"%s\" must start with https:// (plain http is for this machine alone)",
		variable, url);
}

void url_base(char *to, size_t size, const char *url)
{
	size_t len = strlen(url);
	while (len && url[len - 1] == '/')
		len--;
	snprintf(to, size, "%.*s", (int)(len < size ? len : size - 1), url);
}

int cloud_of(const struct azure_options *o, struct cloud *cloud, struct error *err)
{
	const char *authority = *o->authority ? o->authority : clouds[0].authority;
	if (url_check(o->authority, "AZURE_AUTHORITY_HOST", err) < 0 ||
		url_check(o->arm_endpoint, "AZURE_RESOURCE_MANAGER_ENDPOINT", err) < 0)
		return -1;
	*cloud = (struct cloud){0};
	url_base(cloud->authority, sizeof(cloud->authority), authority);
	for (size_t i = 0; i < array_size(clouds); i++) {
		if (!strcasecmp(cloud->authority, clouds[i].authority)) {
			url_base(cloud->arm, sizeof(cloud->arm), clouds[i].arm);
			url_base(cloud->audience, sizeof(cloud->audience), clouds[i].audience);
		}
	}
	if (*o->arm_endpoint) {
		url_base(cloud->arm, sizeof(cloud->arm), o->arm_endpoint);
		if (!*cloud->audience)
			url_base(cloud->audience, sizeof(cloud->audience), o->arm_endpoint);
	}
	if (*o->arm_audience)
		url_base(cloud->audience, sizeof(cloud->audience), o->arm_audience);
	if (!*cloud->arm)
		return error_set(err, ERROR_INVALID,
			"AZURE_AUTHORITY_HOST: %s is none of the clouds that are known: set "
			"AZURE_RESOURCE_MANAGER_ENDPOINT to the URL of its Resource Manager",
			authority);
	return 0;
}
