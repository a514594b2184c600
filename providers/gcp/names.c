/* SPDX-License-Identifier: Apache-2.0 */
/* names.c - see names.h */
#include "providers/gcp/names.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"

#define HASH_SIZE 32 /* SHA-256 */

bool name_is_plain(const char *text)
{
	size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-");
	return len && len <= NAME_MAX_LEN && !text[len] && islower((unsigned char)*text) &&
	       text[len - 1] != '-';
}

bool project_is_plain(const char *text)
{
	size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-.:");
	return len && len <= 100 && !text[len] && isalnum((unsigned char)*text) &&
	       isalnum((unsigned char)text[len - 1]);
}

bool path_is_plain(const char *text)
{
	size_t len = strspn(text,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:/");
	return len && !text[len] && len < 512 && !strstr(text, "..");
}

bool host_is_plain(const char *text)
{
	size_t len =
		strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.");
	return len && len < 200 && !text[len];
}

int zone_check(const char *what, const char *zone, struct error *err)
{
	const char *last = strrchr(zone, '-');
	if (name_is_plain(zone) && last && strchr(zone, '-') != last)
		return 0;
	return error_set(err, ERROR_INVALID,
		"%s: \"%.100s\" is no zone: they look like us-central1-a", what, zone);
}

void zone_region(const char *zone, char region[ZONE_SIZE])
{
	snprintf(region, ZONE_SIZE, "%s", zone);
	char *last = strrchr(region, '-');
	if (last)
		*last = '\0';
}

bool zone_same_region(const char *zone, const char *other)
{
	char a[ZONE_SIZE], b[ZONE_SIZE];
	zone_region(zone, a);
	zone_region(other, b);
	return !strcmp(a, b);
}

/* What is left of a URL of the API, or of a path with a slash before it. */
static const char *relative(const char *path)
{
	const char *found = strstr(path, "/projects/");
	if (!strncmp(path, "http", 4) && found)
		return found + 1;
	while (*path == '/')
		path++;
	return path;
}

char *path_format(const char *format, ...)
{
	va_list args;
	char *text;
	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	return text;
}

char *image_path(const char *project, const char *image, struct error *err)
{
	const char *path = relative(image);
	char *text = NULL;
	if (!path_is_plain(image)) {
		error_set(err, ERROR_INVALID,
			"image \"%.200s\": holds characters that no name of a resource has", image);
		return NULL;
	}
	if (strchr(path, '/') ? !strncmp(path, "projects/", 9) && strstr(path, "/global/images/") &&
					*path_last(path)
			      : name_is_plain(path)) {
		text = strchr(path, '/')
			       ? strdup(path)
			       : path_format("projects/%s/global/images/%s", project, path);
		if (!text)
			error_set(err, ERROR_CAPACITY, "out of memory");
		return text;
	}
	error_set(err, ERROR_INVALID,
		"image \"%.200s\" is neither a name nor projects/P/global/images/N or "
		"projects/P/global/images/family/F",
		image);
	return NULL;
}

char *subnetwork_path(const char *project, const char *zone, const char *subnetwork)
{
	const char *path = relative(subnetwork);
	char region[ZONE_SIZE];
	zone_region(zone, region);
	if (!strncmp(path, "projects/", 9))
		return strdup(path);
	if (!strncmp(path, "regions/", 8))
		return path_format("projects/%s/%s", project, path);
	return path_format("projects/%s/regions/%s/subnetworks/%s", project, region, path);
}

char *network_path(const char *network)
{
	const char *path = relative(network);
	char project[128];
	/* As the metadata server says it: projects/NUMBER/networks/N */
	if (path_part(path, "projects", project, sizeof(project)) &&
		!strstr(path, "/global/networks/"))
		return path_format("projects/%s/global/networks/%s", project, path_last(path));
	return strchr(path, '/') ? strdup(path) : path_format("global/networks/%s", path);
}

char *disk_path(const char *project, const char *zone, const char *disk)
{
	const char *path = relative(disk);
	if (!strncmp(path, "projects/", 9))
		return strdup(path);
	if (strchr(path, '/'))
		return path_format("projects/%s/%s", project, path);
	return path_format("projects/%s/zones/%s/disks/%s", project, zone, path);
}

bool path_part(const char *path, const char *collection, char *out, size_t size)
{
	size_t len = strlen(collection);
	for (const char *at = path; (at = strstr(at, collection)); at++) {
		if ((at != path && at[-1] != '/') || at[len] != '/')
			continue;
		snprintf(out, size, "%.*s", (int)strcspn(at + len + 1, "/"), at + len + 1);
		return *out;
	}
	return false;
}

const char *path_last(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* SHA-256; false: OpenSSL failed. */
static bool hash_of(const void *bytes, size_t len, uint8_t out[HASH_SIZE])
{
	return EVP_Digest(bytes, len, out, NULL, EVP_sha256(), NULL) == 1;
}

/* Letters that a name takes; stays within room, ends with none that it may not end with. */
static size_t plain_letters(const char *text, size_t room, char *out)
{
	size_t len = 0;
	for (; *text && len < room; text++) {
		int c = tolower((unsigned char)*text);
		out[len++] = (char)((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : '-');
	}
	while (len && out[len - 1] == '-')
		len--;
	out[len] = '\0';
	return len;
}

void instance_name(const char *wished, const char *token, unsigned n, char out[NAME_SIZE])
{
	static const char start[] = "podvm";
	char tail[16] = "";
	size_t len = 0;
	if (n) {
		cleanup(buf_free) struct buf text = BUF_INIT;
		uint8_t hash[HASH_SIZE] = {0};
		buf_printf(&text, "%s %u", token, n);
		hash_of(text.data, text.len, hash);
		snprintf(tail, sizeof(tail), "-%02x%02x%02x%02x", hash[0], hash[1], hash[2],
			hash[3]);
	}
	size_t room = NAME_MAX_LEN - strlen(tail);
	if (!isalpha((unsigned char)*wished)) {
		memcpy(out, start, len = strlen(start));
		out[len++] = '-';
	}
	plain_letters(wished, room - len, out + len);
	/* Nothing of the wished name was left. */
	if (len && out[len] == '\0')
		out[len - 1] = '\0';
	memcpy(out + strlen(out), tail, strlen(tail) + 1);
}

void label_value(const char *text, char out[NAME_SIZE])
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
	size_t len = strlen(text);
	if (len <= NAME_MAX_LEN && strspn(text, letters) == len) {
		memcpy(out, text, len + 1);
		return;
	}
	uint8_t hash[HASH_SIZE] = {0};
	hash_of(text, len, hash);
	size_t kept = plain_letters(text, NAME_MAX_LEN - 9, out);
	snprintf(out + kept, NAME_SIZE - kept, "-%02x%02x%02x%02x", hash[0], hash[1], hash[2],
		hash[3]);
}

int request_uuid(const char *const *words, char out[UUID_SIZE], struct error *err)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	uint8_t h[HASH_SIZE];
	for (; *words; words++)
		buf_append(&text, *words, strlen(*words) + 1);
	if (text.failed || !hash_of(text.data, text.len, h))
		return error_set(err, ERROR_CAPACITY, "out of memory");
	h[6] = (uint8_t)(0x80 | (h[6] & 0x0f));
	h[8] = (uint8_t)(0x80 | (h[8] & 0x3f));
	snprintf(out, UUID_SIZE,
		"%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", h[0], h[1],
		h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9], h[10], h[11], h[12], h[13], h[14],
		h[15]);
	return 0;
}
