/* SPDX-License-Identifier: Apache-2.0 */
/* tags.c - see tags.h */
#include "providers/azure/tags.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/json.h"

/* Cut to what a tag takes, at the start of a character. */
static json_t *cut(const char *value)
{
	size_t len = strnlen(value, TAG_VALUE_MAX + 1);
	if (len > TAG_VALUE_MAX) {
		len = TAG_VALUE_MAX;
		while (len && ((unsigned char)value[len] & 0xc0) == 0x80)
			len--;
	}
	return json_stringn(value, len);
}

json_t *tags_make(const struct azure_options *o, const struct instance_request *r,
	const char *vm_name, struct error *err)
{
	const struct instance_owner *owner = &r->owner;
	char created[24];
	snprintf(created, sizeof(created), "%lld", (long long)time(NULL));
	const char *const ours[][2] = {
		{TAG_TOKEN, r->token},
		{TAG_CLUSTER, owner->cluster},
		{TAG_NODE, owner->node},
		{TAG_NAMESPACE, owner->pod_namespace},
		{TAG_POD, owner->pod},
		{TAG_SANDBOX, owner->sandbox},
		{TAG_VM, vm_name},
		{TAG_CREATED, created},
	};
	cleanup_json *tags = json_object();
	const char *text = o->tags;
	bool good = tags;
	for (size_t i = 0; i < array_size(ours); i++) {
		if (ours[i][1] && *ours[i][1])
			good = good && json_object_set_new(tags, ours[i][0], cut(ours[i][1])) == 0;
	}
	for (;;) {
		cleanup(free_ptr) char *key = NULL, *value = NULL;
		int more = tags_next(&text, &key, &value, err);
		if (more < 0)
			return NULL;
		if (!more)
			break;
		good = good && json_object_set_new(tags, key, cut(value)) == 0;
	}
	if (good)
		return take_ptr(tags);
	error_set(err, ERROR_INVALID,
		"the tags cannot be written: memory, or text that is no UTF-8");
	return NULL;
}

const char *tag_of(const json_t *resource, const char *name)
{
	const char *key;
	json_t *value;
	json_object_foreach(json_object_get(resource, "tags"), key, value)
	{
		if (!strcasecmp(key, name) && json_is_string(value))
			return json_string_value(value);
	}
	return "";
}
