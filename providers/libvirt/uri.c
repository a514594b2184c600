/* SPDX-License-Identifier: Apache-2.0 */
/* uri.c - see uri.h */
#include "providers/libvirt/uri.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* The value of a query parameter as a new string; NULL where it is absent. */
static char *query_value(const char *query, const char *key)
{
	size_t len = strlen(key);
	for (const char *p = query; p && *p;) {
		size_t part = strcspn(p, "&;");
		if (part > len && !strncmp(p, key, len) && p[len] == '=')
			return strndup(p + len + 1, part - len - 1);
		p += part;
		p += *p != '\0';
	}
	return NULL;
}

char *uri_prepare(const char *uri, struct uri_facts *facts, struct error *err)
{
	*facts = (struct uri_facts){0};
	const char *colon = strstr(uri, "://");
	if (!colon || colon == uri || strlen(uri) > 2000 || strpbrk(uri, " \t\r\n")) {
		error_set(err, ERROR_INVALID,
			"\"%s\" is no connection URI: use for example qemu:///system or qemu+ssh://user@host/system",
			uri);
		return NULL;
	}
	cleanup(free_ptr) char *scheme = strndup(uri, (size_t)(colon - uri));
	if (!scheme) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	const char *transport = strchr(scheme, '+');
	transport = transport ? transport + 1 : "";
	const char *authority = colon + 3;
	bool host = *authority && *authority != '/';
	const char *query = strchr(authority, '?');
	bool ssh = !strcmp(transport, "ssh") || !strncmp(transport, "libssh", 6);

	facts->test = !strcmp(scheme, "test");
	facts->local = !host && (!*transport || !strcmp(transport, "unix"));
	cleanup(free_ptr) char *no_verify = query ? query_value(query + 1, "no_verify") : NULL;
	facts->unverified_ssh = ssh && no_verify && strcmp(no_verify, "0");
	if (facts->local && !facts->test) {
		facts->socket = query ? query_value(query + 1, "socket") : NULL;
		if (!facts->socket && !strncmp(authority, "/system", 7))
			facts->socket = strdup("/run/libvirt/libvirt-sock");
	}

	char *prepared = NULL;
	cleanup(free_ptr) char *no_tty = query ? query_value(query + 1, "no_tty") : NULL;
	bool add = !strcmp(transport, "ssh") && !no_tty;
	if (asprintf(&prepared, "%s%s", uri, !add ? "" : query ? "&no_tty=1" : "?no_tty=1") < 0) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	return prepared;
}
