/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aws_text.c - small texts from outside: lists and key pairs of the metadata service, tags of the options, ids, quotas.
 * The first byte chooses.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "providers/aws/options.h"
#include "providers/aws/place.h"
#include "providers/aws/quota.h"
#include "providers/aws/resource.h"

static void fuzz_words(const char *text)
{
	char **words = imds_words(text);
	for (char **p = words; p && *p; p++) {
		if (!**p || strpbrk(*p, " \n,"))
			abort();
	}
	list_free(words);
}

static void fuzz_key_pair(const char *text)
{
	cleanup(free_ptr) char *name = imds_key_pair(text);
	if (!name || strpbrk(name, "\r\n"))
		abort();
}

static void fuzz_tags(const char *text)
{
	for (;;) {
		cleanup(free_ptr) char *key = NULL, *value = NULL;
		int more = tags_next(&text, &key, &value, NULL);
		if (more > 0 &&
			(!*key || strlen(key) > TAG_KEY_MAX || strlen(value) > TAG_VALUE_MAX))
			abort();
		if (more <= 0)
			break;
	}
}

static void fuzz_quota(const char *text, size_t size)
{
	cleanup_json *answer = json_parse("fuzz", text, strnlen(text, size), 1 << 16, true, NULL);
	cleanup(free_ptr) char *name = NULL;
	double value = -1;
	if (answer && quota_read(answer, &value, &name, NULL) == 0 && (value < 0 || !name))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size || size > 1 << 16)
		return 0;
	cleanup(free_ptr) char *text = strndup((const char *)data + 1, size - 1);
	switch (data[0] % 5) {
	case 0:
		fuzz_words(text);
		break;
	case 1:
		fuzz_key_pair(text);
		break;
	case 2:
		fuzz_tags(text);
		break;
	case 3:
		resource_kind_of(text);
		break;
	case 4:
		fuzz_quota(text, size - 1);
		break;
	}
	return 0;
}
