/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tags.h - whose an instance is, as tags on everything that is made for it
 */
#ifndef PEERPOD_AWS_TAGS_H
#define PEERPOD_AWS_TAGS_H

#include "base/error.h"
#include "providers/aws/query.h"
#include "providers/aws/xml.h"
#include "providers/provider.h"

#define TAG_PREFIX "peerpod-"
#define TAG_TOKEN TAG_PREFIX "token" /* what carries it is ours */
#define TOKEN_FILTER "tag:" TAG_TOKEN
#define TAG_CLUSTER TAG_PREFIX "cluster"
#define TAG_NODE TAG_PREFIX "node"
#define TAG_NAMESPACE TAG_PREFIX "namespace"
#define TAG_POD TAG_PREFIX "pod"
#define TAG_SANDBOX TAG_PREFIX "sandbox"
/* On an instance alone: what is made for it after its launch (extras.h). */
#define TAG_EXTRAS TAG_PREFIX "extras"

/* As read from EC2; NULL: not there. */
struct tags {
	char *name, *token, *cluster, *node, *pod_namespace, *pod, *sandbox, *extras;
};

/* set: "tagSet". A zeroed struct before. */
void tags_read(xmlNode *item, struct tags *tags);
void tags_free(struct tags *tags);

/* Moves them to an instance that has nothing yet but an id. */
void tags_give(struct tags *tags, struct instance *instance);

/*
 * Adds TagSpecification.<spec> for a kind of resource ("volume"): the request's owner, name and token, then the
 * operator's own. extras: "" for none.
 */
int tags_add(struct query *q, unsigned spec, const char *kind,
	const struct instance_request *request, const char *extras, const char *operators,
	struct error *err);

#endif
