/* SPDX-License-Identifier: Apache-2.0 */
/* cmdline.c - see cmdline.h */
#include "cmdline.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum field { CLIENT, SERVER, GATEWAY, NETMASK, HOSTNAME, DEVICE, AUTOCONF, DNS0, DNS1, FIELDS };

#define FIELD_SIZE 64

/* Splits at colons that are not inside brackets; the brackets are dropped. */
static int split(const char *text, size_t len, char fields[FIELDS][FIELD_SIZE], struct error *err)
{
	memset(fields, 0, FIELDS * sizeof(fields[0]));
	size_t field = 0, used = 0;
	bool inside = false;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (c == '[' || c == ']') {
			inside = c == '[';
			continue;
		}
		if (c == ':' && !inside) {
			if (++field == FIELDS)
				return error_set(err, ERROR_INVALID,
					"kernel command line: ip=%.*s: more than %d fields",
					(int)len, text, FIELDS);
			used = 0;
			continue;
		}
		if (used + 1 >= FIELD_SIZE)
			return error_set(err, ERROR_INVALID,
				"kernel command line: ip=%.*s: field %zu is too long", (int)len,
				text, field + 1);
		fields[field][used++] = c;
	}
	return 0;
}

static int family_of(const char *address)
{
	unsigned char bytes[16];
	if (inet_pton(AF_INET, address, bytes) == 1)
		return AF_INET;
	return inet_pton(AF_INET6, address, bytes) == 1 ? AF_INET6 : AF_UNSPEC;
}

/* Prefix length of "255.255.255.0" or "24"; -1: neither. */
static int prefix_length(const char *netmask, int family)
{
	struct in_addr mask;
	if (family == AF_INET && strchr(netmask, '.')) {
		if (inet_pton(AF_INET, netmask, &mask) != 1)
			return -1;
		uint32_t bits = ntohl(mask.s_addr);
		int length = __builtin_popcount(bits);
		uint32_t wanted = length ? ~UINT32_C(0) << (32 - length) : 0;
		return bits == wanted ? length : -1;
	}
	char *end;
	long length = strtol(netmask, &end, 10);
	long most = family == AF_INET ? 32 : 128;
	return *netmask && !*end && length >= 0 && length <= most ? (int)length : -1;
}

static int bad(struct error *err, const char *what, const char *text)
{
	return error_set(err, ERROR_INVALID, "kernel command line: ip=: \"%s\" is not %s", text,
		what);
}

static int read_static(char fields[FIELDS][FIELD_SIZE], struct cmdline_network *out,
	struct error *err)
{
	int family = family_of(fields[CLIENT]);
	if (family == AF_UNSPEC)
		return bad(err, "an address", fields[CLIENT]);
	/* Without a netmask: the host alone. */
	int length = family == AF_INET ? 32 : 128;
	if (*fields[NETMASK])
		length = prefix_length(fields[NETMASK], family);
	if (length < 0)
		return bad(err, "a netmask", fields[NETMASK]);
	if (*fields[GATEWAY] && family_of(fields[GATEWAY]) != family)
		return bad(err, "a gateway of the address's family", fields[GATEWAY]);
	for (size_t i = 0; i < 2; i++) {
		if (*fields[DNS0 + i] && family_of(fields[DNS0 + i]) == AF_UNSPEC)
			return bad(err, "a name server's address", fields[DNS0 + i]);
		memcpy(out->dns[i], fields[DNS0 + i], FIELD_SIZE);
	}
	snprintf(out->address, sizeof(out->address), "%.45s/%d", fields[CLIENT], length);
	memcpy(out->gateway, fields[GATEWAY], FIELD_SIZE);
	out->mode = CMDLINE_NETWORK_STATIC;
	return 0;
}

static int read_ip(const char *text, size_t len, struct cmdline_network *out, struct error *err)
{
	static const struct {
		const char *word;
		enum cmdline_network_mode mode;
	} words[] = {
		{"dhcp", CMDLINE_NETWORK_DHCP},
		{"on", CMDLINE_NETWORK_DHCP},
		{"any", CMDLINE_NETWORK_DHCP},
		{"off", CMDLINE_NETWORK_OFF},
		{"none", CMDLINE_NETWORK_OFF},
	};
	*out = (struct cmdline_network){.mode = CMDLINE_NETWORK_DHCP};
	for (size_t i = 0; i < array_size(words); i++) {
		if (strlen(words[i].word) == len && !strncasecmp(words[i].word, text, len)) {
			out->mode = words[i].mode;
			return 0;
		}
	}
	char fields[FIELDS][FIELD_SIZE];
	if (split(text, len, fields, err) < 0)
		return -1;
	if (strlen(fields[DEVICE]) >= sizeof(out->device))
		return bad(err, "an interface", fields[DEVICE]);
	snprintf(out->device, sizeof(out->device), "%.15s", fields[DEVICE]);
	if (*fields[CLIENT])
		return read_static(fields, out, err);
	return 0;
}

int cmdline_network(const char *line, struct cmdline_network *out, struct error *err)
{
	*out = (struct cmdline_network){.mode = CMDLINE_NETWORK_DHCP};
	static const char blanks[] = " \t\r\n";
	for (const char *at = line; *at;) {
		at += strspn(at, blanks);
		size_t len = strcspn(at, blanks);
		if (len > 3 && !strncmp(at, "ip=", 3) && read_ip(at + 3, len - 3, out, err) < 0)
			return -1;
		if (len == 2 && !strncmp(at, "--", 2))
			break; /* what follows is for us as arguments, not for the kernel */
		at += len;
	}
	return 0;
}
