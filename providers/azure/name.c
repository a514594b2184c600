/* SPDX-License-Identifier: Apache-2.0 */
/* name.c - see name.h */
#include "providers/azure/name.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define SUFFIX_DIGITS 8
#define OWNER_DIGITS 6
#define DISK_MARK "-os-"
#define DISK_TAIL (sizeof(DISK_MARK) - 1 + 2 * OWNER_DIGITS)

/* The first digits of SHA-256 in hexadecimal. */
static int hash_digits(const char *text, size_t digits, char *out, struct error *err)
{
	unsigned char hash[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	if (EVP_Digest(text, strlen(text), hash, &len, EVP_sha256(), NULL) != 1 || len * 2 < digits)
		return error_set(err, ERROR_INTERNAL, "SHA-256 failed");
	for (size_t i = 0; i < digits / 2; i++)
		snprintf(out + 2 * i, 3, "%02x", hash[i]);
	return 0;
}

int vm_name_make(const struct instance_request *r, unsigned candidate, char name[VM_NAME_SIZE],
	struct error *err)
{
	char digits[SUFFIX_DIGITS + 1] = "";
	size_t most = candidate ? VM_NAME_SIZE - 2 - SUFFIX_DIGITS : VM_NAME_SIZE - 1, len = 0;
	for (const char *p = r->name; *p && len < most; p++) {
		int c = tolower((unsigned char)*p);
		bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
		if (len || good) /* a name begins with a letter or a digit */
			name[len++] = good ? (char)c : '-';
	}
	while (len && name[len - 1] == '-')
		len--;
	name[len] = '\0';
	if (!len)
		return error_set(err, ERROR_INVALID,
			"\"%.80s\" has no letter and no digit for the name of a VM", r->name);
	if (!candidate)
		return 0;
	if (hash_digits(r->token, SUFFIX_DIGITS, digits, err) < 0)
		return -1;
	snprintf(name + len, VM_NAME_SIZE - len, "-%s", digits);
	return 0;
}

int disk_name_make(const char *vm_name, const char *cluster, const char *node,
	char name[DISK_NAME_SIZE], struct error *err)
{
	char c[OWNER_DIGITS + 1], n[OWNER_DIGITS + 1];
	if (hash_digits(cluster, OWNER_DIGITS, c, err) < 0 ||
		hash_digits(node, OWNER_DIGITS, n, err) < 0)
		return -1;
	snprintf(name, DISK_NAME_SIZE, "%s" DISK_MARK "%s%s", vm_name, c, n);
	return 0;
}

bool disk_name_split(const char *disk, char vm_name[VM_NAME_SIZE])
{
	size_t len = strlen(disk);
	if (len <= DISK_TAIL || len - DISK_TAIL >= VM_NAME_SIZE)
		return false;
	const char *tail = disk + len - DISK_TAIL, *digits = tail + sizeof(DISK_MARK) - 1;
	if (strncasecmp(tail, DISK_MARK, sizeof(DISK_MARK) - 1) != 0 ||
		strspn(digits, "0123456789abcdefABCDEF") != 2 * OWNER_DIGITS)
		return false;
	snprintf(vm_name, VM_NAME_SIZE, "%.*s", (int)(len - DISK_TAIL), disk);
	return true;
}

bool disk_name_is_of(const char *disk, const char *vm_name)
{
	char found[VM_NAME_SIZE];
	return disk_name_split(disk, found) && !strcasecmp(found, vm_name);
}

bool disk_name_matches(const char *disk, const char *cluster, const char *node)
{
	char found[VM_NAME_SIZE], digits[OWNER_DIGITS + 1];
	if (!disk_name_split(disk, found))
		return false;
	const char *tail = disk + strlen(disk) - 2 * OWNER_DIGITS;
	if (*cluster && (hash_digits(cluster, OWNER_DIGITS, digits, NULL) < 0 ||
				strncasecmp(tail, digits, OWNER_DIGITS) != 0))
		return false;
	return !*node || (hash_digits(node, OWNER_DIGITS, digits, NULL) == 0 &&
				 !strcasecmp(tail + OWNER_DIGITS, digits));
}
