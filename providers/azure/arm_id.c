/* SPDX-License-Identifier: Apache-2.0 */
/* arm_id.c - see arm_id.h */
#include "providers/azure/arm_id.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"

bool is_arm_name(const char *text)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.()";
	size_t len = strlen(text);
	return len && len < ARM_PART_MAX && strspn(text, allowed) == len &&
	       strcmp(text, ".") != 0 && strcmp(text, "..") != 0;
}

/*
 * Matches the path against a pattern in which "*" stands for one name; keeps the names. No more and no fewer parts
 * than the pattern has.
 */
static bool path_matches(const char *path, const char *pattern, char names[][ARM_PART_MAX],
	size_t max)
{
	size_t count = 0;
	while (*path == '/' && *pattern == '/') {
		path++;
		pattern++;
		size_t len = strcspn(path, "/"), wanted = strcspn(pattern, "/");
		if (wanted == 1 && *pattern == '*') {
			if (len >= ARM_PART_MAX || count == max)
				return false;
			snprintf(names[count], ARM_PART_MAX, "%.*s", (int)len, path);
			if (!is_arm_name(names[count++]))
				return false;
		} else if (len != wanted || strncasecmp(path, pattern, len) != 0) {
			return false;
		}
		path += len;
		pattern += wanted;
	}
	return !*path && !*pattern;
}

static int refuse(const char *what, const char *text, const char *form, struct error *err)
{
	return error_set(err, ERROR_INVALID, "%s: \"%.300s\" is not of the form %s", what, text,
		form);
}

int arm_id_parse(const char *what, const char *text, const char *kind, struct arm_id *id,
	struct error *err)
{
	char pattern[160], form[192], names[3][ARM_PART_MAX];
	snprintf(pattern, sizeof(pattern), "/subscriptions/*/resourceGroups/*/providers/%s/*",
		kind);
	if (path_matches(text, pattern, names, 3)) {
		memcpy(id->subscription, names[0], ARM_PART_MAX);
		memcpy(id->group, names[1], ARM_PART_MAX);
		memcpy(id->name, names[2], ARM_PART_MAX);
		return 0;
	}
	snprintf(form, sizeof(form), "/subscriptions/ID/resourceGroups/GROUP/providers/%s/NAME",
		kind);
	return refuse(what, text, form, err);
}

int arm_subnet_check(const char *what, const char *text, struct error *err)
{
	char names[4][ARM_PART_MAX];
	if (path_matches(text,
		    "/subscriptions/*/resourceGroups/*/providers/Microsoft.Network/virtualNetworks/*/subnets/*",
		    names, 4))
		return 0;
	return refuse(what, text,
		"/subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.Network/virtualNetworks/NAME/subnets/NAME",
		err);
}

int image_form_of(const char *what, const char *text, enum image_form *form, struct error *err)
{
	static const struct {
		const char *pattern;
		enum image_form form;
	} forms[] = {
		{"/subscriptions/*/resourceGroups/*/providers/Microsoft.Compute/images/*",
			IMAGE_MANAGED},
		{"/subscriptions/*/resourceGroups/*/providers/Microsoft.Compute/galleries/*/images/*",
			IMAGE_GALLERY},
		{"/subscriptions/*/resourceGroups/*/providers/Microsoft.Compute/galleries/*/images/*/versions/*",
			IMAGE_GALLERY},
		{"/SharedGalleries/*/Images/*", IMAGE_SHARED},
		{"/SharedGalleries/*/Images/*/Versions/*", IMAGE_SHARED},
		{"/CommunityGalleries/*/Images/*", IMAGE_COMMUNITY},
		{"/CommunityGalleries/*/Images/*/Versions/*", IMAGE_COMMUNITY},
	};
	for (size_t i = 0; i < array_size(forms); i++) {
		char names[5][ARM_PART_MAX];
		if (path_matches(text, forms[i].pattern, names, 5)) {
			*form = forms[i].form;
			return 0;
		}
	}
	return refuse(what, text,
		"/subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.Compute/galleries/NAME/images/NAME/versions/1.0.0, "
		"/subscriptions/.../images/NAME, /CommunityGalleries/NAME/Images/NAME/Versions/1.0.0 or "
		"/SharedGalleries/NAME/Images/NAME/Versions/1.0.0",
		err);
}

const char *path_part(const char *path, unsigned index, char *part, size_t size)
{
	*part = '\0';
	while (*path == '/') {
		path++;
		size_t len = strcspn(path, "/");
		if (!index--) {
			snprintf(part, size, "%.*s", (int)len, path);
			break;
		}
		path += len;
	}
	return part;
}

bool is_region(const char *location, const char *region)
{
	char plain[128];
	size_t n = 0;
	for (; *location && n + 1 < sizeof(plain); location++) {
		if (*location != ' ')
			plain[n++] = *location;
	}
	plain[n] = '\0';
	return !strcasecmp(plain, region);
}
