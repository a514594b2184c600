/* SPDX-License-Identifier: Apache-2.0 */
/* gcp_names.c - names and paths from options, annotations and volumes; labels; tags. The first byte chooses. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "providers/gcp/names.h"
#include "providers/gcp/options.h"

static void fuzz_paths(const char *text)
{
	cleanup(free_ptr) char *image = image_path("p", text, NULL);
	char *others[] = {subnetwork_path("p", "us-central1-a", text), network_path(text),
		disk_path("p", "us-central1-a", text)};
	char part[16];
	if (image && (!path_is_plain(image) || strncmp(image, "projects/", 9) != 0))
		abort();
	for (size_t i = 0; i < array_size(others); i++) {
		/* What went in plain comes out plain. */
		if (others[i] && path_is_plain(text) && strlen(text) < 400 &&
			!path_is_plain(others[i]))
			abort();
		free(others[i]);
	}
	path_part(text, "zones", part, sizeof(part));
	zone_check("fuzz", text, NULL);
}

static void fuzz_names(const char *text)
{
	for (unsigned n = 0; n < 3; n++) {
		char name[NAME_SIZE];
		instance_name(text, "00ff", n, name);
		if (!name_is_plain(name))
			abort();
	}
	char label[NAME_SIZE];
	label_value(text, label);
	if (strspn(label, "abcdefghijklmnopqrstuvwxyz0123456789_-") != strlen(label))
		abort();
}

static void fuzz_labels(const char *text)
{
	for (;;) {
		cleanup(free_ptr) char *key = NULL, *value = NULL;
		if (labels_next(&text, &key, &value, NULL) <= 0)
			return;
		if (!*key || strlen(key) > 63 || strlen(value) > 63)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size || size > 1 << 12)
		return 0;
	cleanup(free_ptr) char *text = strndup((const char *)data + 1, size - 1);
	if (!text)
		return 0;
	switch (data[0] % 3) {
	case 0:
		fuzz_paths(text);
		break;
	case 1:
		fuzz_names(text);
		break;
	case 2:
		fuzz_labels(text);
		break;
	}
	return 0;
}
