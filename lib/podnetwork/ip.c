/* SPDX-License-Identifier: Apache-2.0 */
/* ip.c - see ip.h */
#include "podnetwork/ip.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const uint8_t mapped_head[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

size_t ip_size(int family)
{
	return family == AF_INET ? 4 : 16;
}

uint8_t ip_bits(int family)
{
	return family == AF_INET ? 32 : 128;
}

/* text[0..len) as an address, without zone or prefix. */
static bool address_bytes(const char *text, size_t len, struct ip_prefix *out)
{
	char copy[INET6_ADDRSTRLEN];
	if (len == 0 || len >= sizeof(copy))
		return false;
	memcpy(copy, text, len);
	copy[len] = 0;
	*out = IP_NONE;
	if (inet_pton(AF_INET, copy, out->bytes) == 1)
		out->family = AF_INET;
	else if (inet_pton(AF_INET6, copy, out->bytes) == 1)
		out->family = AF_INET6;
	else
		return false;
	out->len = ip_bits(out->family);
	return true;
}

/* IPv4 in its mapped form becomes IPv4. */
static void unmap(struct ip_prefix *p)
{
	if (p->family != AF_INET6 || memcmp(p->bytes, mapped_head, sizeof(mapped_head)))
		return;
	memmove(p->bytes, p->bytes + 12, 4);
	memset(p->bytes + 4, 0, 12);
	p->family = AF_INET;
	p->len = 32;
}

bool ip_address_parse(const char *text, struct ip_prefix *address)
{
	size_t len = strcspn(text, "%");
	struct ip_prefix parsed;
	if (!address_bytes(text, len, &parsed))
		return false;
	/* A zone is for IPv6 and is not empty. */
	if (text[len] && (parsed.family != AF_INET6 || !text[len + 1]))
		return false;
	unmap(&parsed);
	*address = parsed;
	return true;
}

bool ip_prefix_parse(const char *text, struct ip_prefix *prefix)
{
	const char *slash = strchr(text, '/');
	struct ip_prefix parsed;
	if (!slash || !address_bytes(text, (size_t)(slash - text), &parsed))
		return false;
	size_t digits = strspn(slash + 1, "0123456789");
	if (digits == 0 || digits > 3 || slash[1 + digits] || (slash[1] == '0' && digits > 1))
		return false;
	int len = 0;
	for (const char *p = slash + 1; *p; p++)
		len = len * 10 + (*p - '0');
	if (len > ip_bits(parsed.family))
		return false;
	unmap(&parsed);
	/* Upstream writes the mapped form with the bit count of IPv4. */
	if (len > ip_bits(parsed.family)) {
		if (len < 96)
			return false;
		len -= 96;
	}
	parsed.len = (uint8_t)len;
	*prefix = parsed;
	return true;
}

struct ip_prefix ip_prefix_make(int family, const void *bytes, uint8_t len)
{
	struct ip_prefix prefix = {.family = (uint8_t)family, .len = len};
	memcpy(prefix.bytes, bytes, ip_size(family));
	return prefix;
}

struct ip_prefix ip_prefix_default(int family)
{
	return (struct ip_prefix){.family = (uint8_t)family};
}

const char *ip_address_format(const struct ip_prefix *address, char *text)
{
	text[0] = 0;
	if (address->family)
		inet_ntop(address->family, address->bytes, text, IP_TEXT_MAX);
	return text;
}

const char *ip_prefix_format(const struct ip_prefix *prefix, char *text)
{
	ip_address_format(prefix, text);
	if (prefix->family)
		snprintf(text + strlen(text), 5, "/%u", prefix->len);
	return text;
}

bool ip_address_equal(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->family == b->family &&
	       (!a->family || !memcmp(a->bytes, b->bytes, ip_size(a->family)));
}

bool ip_prefix_equal(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return ip_address_equal(a, b) && a->len == b->len;
}

struct ip_prefix ip_prefix_masked(struct ip_prefix prefix)
{
	for (size_t i = 0; i < sizeof(prefix.bytes); i++) {
		size_t bit = i * 8;
		if (bit >= prefix.len)
			prefix.bytes[i] = 0;
		else if (prefix.len - bit < 8)
			prefix.bytes[i] &= (uint8_t)(0xff << (8 - (prefix.len - bit)));
	}
	return prefix;
}

bool ip_prefix_contains(const struct ip_prefix *prefix, const struct ip_prefix *address)
{
	if (!prefix->family || prefix->family != address->family)
		return false;
	struct ip_prefix cut = *address;
	cut.len = prefix->len;
	cut = ip_prefix_masked(cut);
	struct ip_prefix net = ip_prefix_masked(*prefix);
	return ip_address_equal(&cut, &net);
}

bool ip_is_default(const struct ip_prefix *prefix)
{
	static const uint8_t zero[16];
	return prefix->family && prefix->len == 0 && !memcmp(prefix->bytes, zero, sizeof(zero));
}

bool ip_is_single(const struct ip_prefix *prefix)
{
	return prefix->family && prefix->len == ip_bits(prefix->family);
}

bool ip_is_link_local(const struct ip_prefix *address)
{
	return address->family == AF_INET6 && address->bytes[0] == 0xfe &&
	       (address->bytes[1] & 0xc0) == 0x80;
}

bool mac_parse(const char *text, uint8_t mac[MAC_SIZE])
{
	uint8_t bytes[MAC_SIZE];
	if (strlen(text) != MAC_TEXT_MAX - 1)
		return false;
	for (size_t i = 0; i < MAC_SIZE; i++, text += 3) {
		if (!isxdigit((unsigned char)text[0]) || !isxdigit((unsigned char)text[1]))
			return false;
		if (text[2] != (i + 1 < MAC_SIZE ? ':' : 0))
			return false;
		unsigned int value;
		if (sscanf(text, "%2x", &value) != 1)
			return false;
		bytes[i] = (uint8_t)value;
	}
	memcpy(mac, bytes, MAC_SIZE);
	return true;
}

const char *mac_format(const uint8_t mac[MAC_SIZE], char *text)
{
	snprintf(text, MAC_TEXT_MAX, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		mac[3], mac[4], mac[5]);
	return text;
}

bool interface_name_valid(const char *name)
{
	size_t len = strlen(name);
	if (len == 0 || len >= IFNAMSIZ || !strcmp(name, ".") || !strcmp(name, ".."))
		return false;
	for (const char *p = name; *p; p++) {
		if (*p == '/' || *p == ':' || isspace((unsigned char)*p))
			return false;
	}
	return true;
}
