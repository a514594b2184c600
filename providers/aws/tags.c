/* SPDX-License-Identifier: Apache-2.0 */
/* tags.c - see tags.h */
#include "providers/aws/tags.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "providers/aws/options.h"

void tags_read(xmlNode *item, struct tags *tags)
{
	const struct {
		const char *key;
		char **to;
	} known[] = {
		{"Name", &tags->name},
		{TAG_TOKEN, &tags->token},
		{TAG_CLUSTER, &tags->cluster},
		{TAG_NODE, &tags->node},
		{TAG_NAMESPACE, &tags->pod_namespace},
		{TAG_POD, &tags->pod},
		{TAG_SANDBOX, &tags->sandbox},
		{TAG_EXTRAS, &tags->extras},
	};
	for (xmlNode *tag = xml_first_item(item, "tagSet"); tag; tag = xml_next_item(tag)) {
		cleanup(free_ptr) char *key = xml_text(tag, "key");
		for (size_t i = 0; key && i < array_size(known); i++) {
			if (!strcmp(key, known[i].key) && !*known[i].to)
				*known[i].to = xml_text(tag, "value");
		}
	}
}

void tags_free(struct tags *tags)
{
	char *const all[] = {tags->name, tags->token, tags->cluster, tags->node,
		tags->pod_namespace, tags->pod, tags->sandbox, tags->extras};
	for (size_t i = 0; i < array_size(all); i++)
		free(all[i]);
	*tags = (struct tags){0};
}

static char *or_empty(char **text)
{
	return *text ? take_ptr(*text) : strdup("");
}

void tags_give(struct tags *tags, struct instance *instance)
{
	instance->name = or_empty(&tags->name);
	instance->sandbox = or_empty(&tags->sandbox);
	instance->node = or_empty(&tags->node);
	instance->cluster = or_empty(&tags->cluster);
	instance->pod = or_empty(&tags->pod);
	instance->pod_namespace = or_empty(&tags->pod_namespace);
	instance->token = or_empty(&tags->token);
}

static void add(struct query *q, unsigned spec, unsigned *n, const char *key, const char *value)
{
	char cut[TAG_VALUE_MAX + 1];
	snprintf(cut, sizeof(cut), "%s", value);
	(*n)++;
	query_add(q, key, "TagSpecification.%u.Tag.%u.Key", spec, *n);
	query_add(q, cut, "TagSpecification.%u.Tag.%u.Value", spec, *n);
}

int tags_add(struct query *q, unsigned spec, const char *kind,
	const struct instance_request *request, const char *extras, const char *operators,
	struct error *err)
{
	const struct instance_owner *owner = &request->owner;
	const char *const ours[][2] = {
		{"Name", request->name},
		{TAG_TOKEN, request->token},
		{TAG_CLUSTER, owner->cluster},
		{TAG_NODE, owner->node},
		{TAG_NAMESPACE, owner->pod_namespace},
		{TAG_POD, owner->pod},
		{TAG_SANDBOX, owner->sandbox},
		{TAG_EXTRAS, extras},
	};
	unsigned n = 0;
	query_add(q, kind, "TagSpecification.%u.ResourceType", spec);
	for (size_t i = 0; i < array_size(ours); i++) {
		if (ours[i][1] && *ours[i][1])
			add(q, spec, &n, ours[i][0], ours[i][1]);
	}
	for (;;) {
		cleanup(free_ptr) char *key = NULL, *value = NULL;
		int more = tags_next(&operators, &key, &value, err);
		if (more <= 0)
			return more;
		add(q, spec, &n, key, value);
	}
}
