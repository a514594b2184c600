/* SPDX-License-Identifier: Apache-2.0 */
/* names.c - see names.h */
#include "providers/libvirt/names.h"

#include <ctype.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* The namespace of our UUIDs: a random one, fixed for ever. */
static const unsigned char uuid_namespace[16] = {
	0x7b,
	0x0e,
	0x5d,
	0x4a,
	0x93,
	0xc1,
	0x4f,
	0x2e,
	0xb8,
	0x16,
	0x2a,
	0xd7,
	0x60,
	0x9f,
	0x35,
	0xec,
};

void uuid_of_token(const char *token, char uuid[UUID_TEXT_LEN + 1])
{
	unsigned char digest[EVP_MAX_MD_SIZE] = {0};
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	if (!context || !EVP_DigestInit_ex(context, EVP_sha1(), NULL) ||
		!EVP_DigestUpdate(context, uuid_namespace, sizeof(uuid_namespace)) ||
		!EVP_DigestUpdate(context, token, strlen(token)) ||
		!EVP_DigestFinal_ex(context, digest, NULL))
		abort(); /* SHA-1 over a few bytes fails only without memory; another VM's UUID would be worse */
	EVP_MD_CTX_free(context);
	digest[6] = (unsigned char)((digest[6] & 0x0f) | 0x50); /* RFC 9562: version 5 */
	digest[8] = (unsigned char)((digest[8] & 0x3f) | 0x80); /* and its variant */
	char *p = uuid;
	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		p += snprintf(p, 3, "%02x", digest[i]);
	}
}

bool uuid_valid(const char *text)
{
	for (int i = 0; i < UUID_TEXT_LEN; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
			return false;
	}
	return !text[UUID_TEXT_LEN];
}

void mac_of_token(const char *token, unsigned nic, unsigned salt, char mac[MAC_TEXT_LEN + 1])
{
	char text[256];
	unsigned char digest[EVP_MAX_MD_SIZE];
	int len = snprintf(text, sizeof(text), "%.200s/%u/%u", token, nic, salt);
	if (!EVP_Digest(text, (size_t)len, digest, NULL, EVP_sha256(), NULL))
		abort();
	snprintf(mac, MAC_TEXT_LEN + 1, "52:54:00:%02x:%02x:%02x", digest[0], digest[1], digest[2]);
}

void domain_name_make(const char *wish, const char *token, unsigned attempt,
	char name[DOMAIN_NAME_MAX + 1])
{
	static const size_t tail_len[NAME_ATTEMPTS] = {0, 8, 32};
	size_t tail =
		strnlen(token, tail_len[attempt < NAME_ATTEMPTS ? attempt : NAME_ATTEMPTS - 1]);
	size_t room = DOMAIN_NAME_MAX - (tail ? tail + 1 : 0);
	size_t len = 0;
	for (; len < room && wish[len]; len++) {
		unsigned char c = (unsigned char)wish[len];
		name[len] = (char)(c < 0x80 && isalnum(c) ? tolower(c) : '-');
	}
	while (len && name[len - 1] == '-') /* a label does not end with a dash */
		len--;
	if (!len)
		len = (size_t)snprintf(name, DOMAIN_NAME_MAX + 1, "podvm");
	if (tail)
		len += (size_t)snprintf(name + len, DOMAIN_NAME_MAX + 1 - len, "-%.*s", (int)tail,
			token);
	name[len] = '\0';
}

static const char *const volume_suffix[VOLUME_ROLES] = {
	[VOLUME_ROOT] = "-root.qcow2",
	[VOLUME_CIDATA] = "-cloudinit.iso",
	[VOLUME_USERDATA] = "-userdata.bin",
};

char *volume_name_make(const struct identity *identity, enum volume_role role)
{
	char *name;
	if (asprintf(&name, "%s-%s%s", identity->name, identity->uuid, volume_suffix[role]) < 0)
		return NULL;
	return name;
}

bool volume_name_parse(const char *volume, struct identity *identity)
{
	size_t len = strlen(volume);
	for (size_t role = 0; role < VOLUME_ROLES; role++) {
		size_t suffix = strlen(volume_suffix[role]);
		if (len < suffix + UUID_TEXT_LEN + 2 ||
			strcmp(volume + len - suffix, volume_suffix[role]))
			continue;
		size_t at = len - suffix - UUID_TEXT_LEN; /* where the UUID begins */
		if (volume[at - 1] != '-' || at - 1 > DOMAIN_NAME_MAX)
			return false;
		memcpy(identity->uuid, volume + at, UUID_TEXT_LEN);
		identity->uuid[UUID_TEXT_LEN] = '\0';
		memcpy(identity->name, volume, at - 1);
		identity->name[at - 1] = '\0';
		return uuid_valid(identity->uuid);
	}
	return false;
}

void reservation_name_make(const char *uuid, unsigned nic, int64_t created,
	char name[RESERVATION_NAME_MAX + 1])
{
	snprintf(name, RESERVATION_NAME_MAX + 1, "podvm%u-%s-%" PRIx64, nic % 10, uuid,
		(uint64_t)created);
}

bool reservation_name_parse(const char *name, char uuid[UUID_TEXT_LEN + 1], unsigned *nic,
	int64_t *created)
{
	const size_t at = strlen("podvm0-");
	if (strncmp(name, "podvm", 5) != 0 || !isdigit((unsigned char)name[5]) || name[6] != '-' ||
		strlen(name) < at + UUID_TEXT_LEN + 2 || name[at + UUID_TEXT_LEN] != '-')
		return false;
	*nic = (unsigned)(name[5] - '0');
	memcpy(uuid, name + at, UUID_TEXT_LEN);
	uuid[UUID_TEXT_LEN] = '\0';
	const char *digits = name + at + UUID_TEXT_LEN + 1;
	char *end;
	unsigned long long seconds = strtoull(digits, &end, 16);
	if (!isxdigit((unsigned char)*digits) || *end || seconds > INT64_MAX)
		return false;
	*created = (int64_t)seconds;
	return uuid_valid(uuid);
}
