/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tags.h - Resource Manager tags: their names looked up once
 */
#ifndef PEERPOD_GCP_TAGS_H
#define PEERPOD_GCP_TAGS_H

#include <jansson.h>
#include "providers/gcp/compute.h"

struct tags;

/* text: TAGS; it and c must outlive it. */
struct tags *tags_new(struct compute *c, const char *text);
void tags_free(struct tags *t);

/*
 * {"tagKeys/1": "tagValues/2"}, a new reference, for params.resourceManagerTags; NULL in *out where none are configured. ERROR_INVALID: the
 * project has no such tag.
 */
int tags_resolve(struct tags *t, const char *project, json_t **out, const struct bound *bound,
	struct error *err);

#endif
